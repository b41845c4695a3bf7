//! HTTP requests that the host makes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::wire::{bytes, encode};
use super::{Host, HostError};

/// A request being put together.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct HttpRequest<'a> {
    host: &'a Host,
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: Option<Bytes>,
}

impl<'a> HttpRequest<'a> {
    pub(super) fn new(host: &'a Host, method: &str, url: &str) -> Self {
        Self {
            host,
            method: method.to_owned(),
            url: url.to_owned(),
            headers: BTreeMap::new(),
            body: None,
        }
    }

    /// Sets a header. Those of the connection (`Host`, `Content-Length` …) are the host's to set.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .insert(name.to_ascii_lowercase(), value.to_owned());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body to JSON, and the content type.
    ///
    /// # Errors
    /// If the value cannot be written as JSON.
    pub fn json(self, value: &impl Serialize) -> Result<Self, HostError> {
        let body = serde_json::to_vec(value)
            .map_err(|error| HostError::arguments("http_request", error))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Sends it. A response with a status of 400 and above is a response, no error.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn send(self) -> Result<HttpResponse, HostError> {
        let args = json!({
            "method": self.method,
            "url": self.url,
            "headers": self.headers,
            "body": self.body.as_deref().map(encode),
        });
        self.host.call("http_request", &args).await
    }
}

/// An answer to an outgoing request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HttpResponse {
    /// HTTP status, 100 to 599.
    pub status: u16,
    /// The headers by lower-case name. Upstream's hosts give none.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Bytes of the body.
    #[serde(default, deserialize_with = "bytes")]
    pub body: Bytes,
}

impl HttpResponse {
    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers.get(&name.to_ascii_lowercase())?;
        values.first().map(String::as_str)
    }

    /// Returns `true` if the status is 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
