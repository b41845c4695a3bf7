//! A client that treats every status as an answer and follows nothing.

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use crate::DEADLINE;

/// A request to be sent to a host.
pub(crate) struct Call<'a> {
    url: String,
    method: &'a str,
    token: Option<String>,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<Vec<u8>>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: &'a str, url: String) -> Self {
        Self {
            url,
            method,
            token: None,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn send(self) -> Reply {
        let shown = format!("{} {}", self.method, self.url);
        self.try_send()
            .unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// As [`Call::send`]; a host that is not there is an error.
    pub(crate) fn try_send(self) -> Result<Reply, ureq::Error> {
        // A connection of its own for each request: one that the host has closed meanwhile would look like a failure.
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            // The hosts are on this machine, whatever the environment says of proxies.
            .proxy(None)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let mut request = Request::builder().method(self.method).uri(&self.url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let (parts, mut body) = match self.body {
            Some(body) => agent.run(request.body(body)?)?,
            None => agent.run(request.body(())?)?,
        }
        .into_parts();
        let body = body.with_config().limit(64 << 20).read_to_vec()?;
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The text of an error answer.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// Fails the test unless this is the status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}
