//! The host's admin API, as a client sees it.
//!
//! A [`Host`] is a place (an URL, or the host's local socket) and a token. What is asked of it are
//! the operations of [`gk_api::ENDPOINTS`]; what it answers are that crate's types. A refusal
//! becomes a [`Failure`] with the exit code that fits its status.

pub(crate) mod context;
mod events;

use std::time::Duration;

use gk_api::{Method, Operation, Plugin};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::context::ConnectArgs;
use self::context::{Place, Target};
pub(crate) use self::events::Event;
use self::events::Parser;
use crate::failure::{Exit, Failure};

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Beyond what an operation itself waits and what its body takes, how long an answer may take. An
/// installation that fails waits once more, for the version before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// The slowest that a body is sent, in bytes a second. A host ends an upload of which nothing
/// comes.
const SEND_RATE_MIN: u64 = 4096;

/// Maximum time that the other end is silent on the level of TCP, until a connection counts as
/// broken. It holds also where an answer may take any time.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A host that can be asked.
pub(crate) struct Host {
    http: reqwest::Client,
    base: String,
    target: Target,
    answer_timeout: Option<Duration>,
    runtime: tokio::runtime::Runtime,
}

/// Body of a request.
pub(crate) enum Body {
    Nothing,
    Json(serde_json::Value),
    Package(Vec<u8>),
}

/// Warns if hosts that share their state have not said that a change is in force.
fn warn_of_pending(response: &Response) {
    let pending = response.headers().get("goatkit-pending-on");
    if let Some(names) = pending.and_then(|names| names.to_str().ok()) {
        anstream::eprintln!(
            "warning: the change is stored, and not in force yet on {names}; `gk hosts` shows when it is"
        );
    }
}

/// Parameters of a query.
pub(crate) type Query<'a> = &'a [(&'a str, String)];

impl Host {
    /// The host that options, environment or configuration name. Nothing is asked of it yet.
    pub(crate) fn new(args: &ConnectArgs) -> Result<Self, Failure> {
        Self::with(args.target()?, CONNECT_TIMEOUT)
    }

    /// The host that a command line names, for its completion: who presses Tab waits for no answer
    /// longer than this.
    pub(crate) fn for_completion(args: &ConnectArgs, wait: Duration) -> Result<Self, Failure> {
        let mut host = Self::with(args.target()?, wait)?;
        host.answer_timeout = Some(wait);
        Ok(host)
    }

    /// The host at a place that is known.
    pub(crate) fn at(target: Target) -> Result<Self, Failure> {
        Self::with(target, CONNECT_TIMEOUT)
    }

    /// Address of the host, and the token.
    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }

    fn with(target: Target, connect_timeout: Duration) -> Result<Self, Failure> {
        let runtime = runtime()?;
        let builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .tcp_keepalive(SILENCE_MAX / 4)
            .tcp_keepalive_interval(SILENCE_MAX / 4)
            .tcp_keepalive_retries(3)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("gk/", env!("CARGO_PKG_VERSION")));
        let base = match &target.place {
            Place::Socket(_) => "http://localhost".to_owned(),
            Place::Url(_) => target.place.to_string(),
        };
        // A proxy has no part in what is on this machine, and must not see its tokens.
        let builder = match &target.place {
            Place::Socket(path) => builder.unix_socket(&**path).no_proxy(),
            Place::Url(url) if context::is_here(url) => builder.no_proxy(),
            Place::Url(_) => builder,
        };
        // The certificates of the system, which a small one may lack, are for https alone.
        let builder = match base.starts_with("https://") {
            true => builder,
            false => builder.tls_certs_only([]),
        };
        Ok(Host {
            http: builder.build().map_err(|error| broken(&error))?,
            base,
            target,
            answer_timeout: None,
            runtime,
        })
    }

    /// The address of the host, for messages.
    pub(crate) fn shown(&self) -> String {
        self.target.place.to_string()
    }

    /// Asks, and reads the answer.
    pub(crate) fn get<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[&str],
        query: Query<'_>,
    ) -> Result<T, Failure> {
        self.send(operation, path, query, Body::Nothing)
    }

    /// Asks with a body, and reads the answer. An answer of 202 or 409 that is of the type is one,
    /// too: what came of an order is in it.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[&str],
        query: Query<'_>,
        body: Body,
    ) -> Result<T, Failure> {
        let text = self.raw(operation, path, query, body)?;
        serde_json::from_slice(&text).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{} answers what cannot be read: {error}", self.shown()),
                "check that the URL is that of a GoatKit host, and that its version is not older than this command's",
            )
        })
    }

    /// Asks, and returns the answer as it is.
    pub(crate) fn raw(
        &self,
        operation: Operation,
        path: &[&str],
        query: Query<'_>,
        body: Body,
    ) -> Result<Vec<u8>, Failure> {
        let answer = self.asked(operation, path, query, body);
        answer.map_err(|failure| match (failure.exit(), path) {
            (Exit::NotFound, [plugin, ..]) => self.not_found(failure, plugin),
            _ => failure,
        })
    }

    /// Says which plugin was probably meant, or where to look for what this one does not have.
    fn not_found(&self, failure: Failure, name: &str) -> Failure {
        let list = self.asked(Operation::ListPlugins, &[], &[], Body::Nothing);
        let list: Option<Vec<Plugin>> = list
            .ok()
            .and_then(|list| serde_json::from_slice(&list).ok());
        let names = list.into_iter().flatten().filter_map(|plugin| plugin.name);
        let closest = names
            .map(|known| (strsim::damerau_levenshtein(&known, name), known))
            .min();
        let help = match closest {
            Some((0, known)) => format!("`gk info {known}` shows what it offers"),
            // A third of the letters may be wrong.
            Some((distance, known)) if distance * 3 <= known.len() => {
                format!("did you mean {known}? `gk ps` lists the plugins")
            }
            _ => return failure,
        };
        Failure::new(failure.exit(), failure.message(), help)
    }

    fn asked(
        &self,
        operation: Operation,
        path: &[&str],
        query: Query<'_>,
        body: Body,
    ) -> Result<Vec<u8>, Failure> {
        let limit = self
            .answer_timeout
            .or_else(|| limit(operation, query, &body));
        let mut request = self.request(operation, path, query, body);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        self.runtime.block_on(async {
            let response = request
                .send()
                .await
                .map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            warn_of_pending(&response);
            let body = response.bytes().await;
            let body = body.map_err(|error| self.unreachable(&error))?;
            // With 409 comes what became of an order, unless it was not carried out.
            let is_outcome = status == StatusCode::CONFLICT && told(&body).is_none();
            match status.is_success() || is_outcome {
                true => Ok(body.into()),
                false => Err(self.refused(status, &body)),
            }
        })
    }

    /// Asks for any path, as a browser does, and returns status and body whatever they are.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Body,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let method = reqwest::Method::from_bytes(method.as_bytes());
        let method = method.unwrap_or(reqwest::Method::GET);
        let request = self.with_body(
            self.http.request(method, format!("{}{path}", self.base)),
            body,
        );
        self.runtime.block_on(async {
            // A plugin answers, in as much time as its policy gives.
            let response = request.send().await;
            let response = response.map_err(|error| self.unreachable(&error))?;
            let status = response.status().as_u16();
            let body = response
                .bytes()
                .await
                .map_err(|error| self.unreachable(&error))?;
            Ok((status, body.into()))
        })
    }

    /// Reads a stream of server-sent events until `each` says that it is enough, the host ends it,
    /// or the user interrupts. Says whether the host ended it.
    pub(crate) fn follow(
        &self,
        operation: Operation,
        path: &[&str],
        query: Query<'_>,
        mut each: impl FnMut(Event) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let request = self.request(operation, path, query, Body::Nothing);
        self.runtime.block_on(async {
            let reading = async {
                let mut response = self.answer(request).await?;
                let mut parser = Parser::default();
                while let Some(chunk) = response
                    .chunk()
                    .await
                    .map_err(|error| self.unreachable(&error))?
                {
                    for event in parser.push(&chunk) {
                        if !each(event)? {
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            };
            tokio::select! {
                read = reading => read,
                _ = tokio::signal::ctrl_c() => Ok(false),
            }
        })
    }

    fn request(
        &self,
        operation: Operation,
        path: &[&str],
        query: Query<'_>,
        body: Body,
    ) -> RequestBuilder {
        let endpoint = operation.endpoint();
        let method = match endpoint.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut url = format!("{}{}", self.base, operation.path(path));
        for (number, (name, value)) in query.iter().enumerate() {
            url.push(if number == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encoded(value));
        }
        self.with_body(self.http.request(method, url), body)
    }

    fn with_body(&self, mut request: RequestBuilder, body: Body) -> RequestBuilder {
        if let Some(token) = &self.target.token {
            request = request.bearer_auth(token);
        }
        match body {
            Body::Nothing => request,
            Body::Json(value) => request
                .header("content-type", "application/json")
                .body(value.to_string()),
            Body::Package(bytes) => request
                .header("content-type", "application/zip")
                .body(bytes),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(self.refused(status, &body))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let error = told(body).unwrap_or_else(|| {
            let reason = status.canonical_reason().unwrap_or_default();
            format!("{} answers {} {reason}", self.shown(), status.as_u16())
        });
        let (exit, help) = match status {
            StatusCode::UNAUTHORIZED => (
                Exit::Denied,
                "give a valid token: in GK_TOKEN, with --token-file, or by `gk context set`; or use the host's local socket",
            ),
            StatusCode::FORBIDDEN
                if REFUSED_SIGNATURES
                    .iter()
                    .any(|state| error.starts_with(state)) =>
            {
                (
                    Exit::Denied,
                    "sign it with a key that the host trusts: gk sign, after the last build",
                )
            }
            StatusCode::FORBIDDEN => (
                Exit::Denied,
                "ask with an administrator's token, or see what forbids it",
            ),
            StatusCode::NOT_FOUND => (Exit::NotFound, "`gk ps` lists what is there"),
            StatusCode::BAD_REQUEST => (Exit::Usage, "correct what the host names"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (
                Exit::Failed,
                "try again in a moment; `gk doctor` says how the host stands",
            ),
            _ => (Exit::Failed, "`gk logs` and the host's own log say more"),
        };
        Failure::new(exit, error, help)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut text = String::new();
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = source {
            // The last one is what the system said.
            text = error.to_string();
            source = error.source();
        }
        let (what, exit) = match error.is_timeout() {
            true => ("does not answer in time", Exit::Unreachable),
            false => ("cannot be reached", Exit::Unreachable),
        };
        let help = match &self.target.place {
            Place::Socket(path) if !path.exists() => {
                "start the host, or name it: --url, GK_URL, or `gk context set`"
            }
            Place::Socket(_) => {
                "the socket is for the host's own user and root; be one of them, or use --url with a token"
            }
            Place::Url(_) => "check that the host runs, and --url, GK_URL or `gk context list`",
        };
        let passed_over = match self.target.passed_over.as_slice() {
            [] => String::new(),
            sockets => format!("; passed over: {}", sockets.join(", ")),
        };
        Failure::new(
            exit,
            format!("{} {what}: {text}", self.shown()),
            format!("{help}{passed_over}"),
        )
    }
}

/// Beginning of the host's text when it refuses a package for its signature.
const REFUSED_SIGNATURES: &[&str] = &["unsigned", "untrusted key", "tampered"];

/// How long an answer may take; what a plugin does may take as long as its policy says, which the
/// host sees to.
fn limit(operation: Operation, query: Query<'_>, body: &Body) -> Option<Duration> {
    if matches!(operation, Operation::Call | Operation::RunJob) {
        return None;
    }
    let wait = query.iter().find(|(name, _)| *name == "wait");
    let wait = wait.and_then(|(_, wait)| wait.parse::<gk_manifest::GoDuration>().ok()?.to_std());
    let sending = match body {
        Body::Package(bytes) => Duration::from_secs(bytes.len() as u64 / SEND_RATE_MIN),
        Body::Nothing | Body::Json(_) => Duration::ZERO,
    };
    // Twice: for the version before, too.
    Some(ANSWER_TIMEOUT + 2 * wait.unwrap_or_default() + sending)
}

/// The error that a host tells, and nothing but that.
fn told(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Only {
        error: String,
    }
    serde_json::from_slice::<Only>(body)
        .ok()
        .map(|only| only.error)
}

/// A value of a query, encoded.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The runtime of requests, and of conversations with plugins.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(&error))
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the HTTP client cannot be set up: {error}"),
        "please report this",
    )
}

/// The body of a request, as JSON.
pub(crate) fn json(value: &impl Serialize) -> Body {
    // The API's types have keys of text only: it cannot fail.
    Body::Json(serde_json::to_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_take_what_its_operation_may() {
        let of = |operation, wait: &str, body| {
            limit(operation, &[("wait", wait.to_owned())], &body).map(|limit| limit.as_secs())
        };
        // A policy gives a call up to 10 minutes.
        assert_eq!(of(Operation::Call, "", json(&1)), None);
        assert_eq!(of(Operation::RunJob, "", Body::Nothing), None);
        let quick = ANSWER_TIMEOUT.as_secs();
        assert_eq!(of(Operation::GetPlugin, "", Body::Nothing), Some(quick));
        let order = of(Operation::RestartPlugin, "2m", Body::Nothing);
        assert!(order > Some(quick + 120), "{order:?}");
        // 64 MiB over 1 Mbit/s take 9 minutes.
        let package = Body::Package(vec![0; 64 << 20]);
        let install = of(Operation::Install, "2m", package);
        assert!(install > Some(9 * 60 + quick + 2 * 120), "{install:?}");
    }
}
