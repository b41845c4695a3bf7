//! Errors as HTTP answers: a status and `{"error": …}`.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gk_runtime::CallError;
use serde_json::json;

use gk_hostapi::{User, UserRole};

/// A refusal or failure, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Problem {
            status,
            text: text.into(),
            header: None,
        }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn unauthorized(text: &str) -> Self {
        Problem::new(StatusCode::UNAUTHORIZED, text)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(crate) fn internal(text: &str) -> Self {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Error for a plugin that does not exist.
    pub(crate) fn no_plugin(plugin: &str) -> Self {
        Problem::not_found(format!(
            "plugin {plugin:?} not found; GET /api/v1/plugins lists those that are there"
        ))
    }

    /// Error for a plugin that does not run at this moment.
    pub(crate) fn not_running(plugin: &str) -> Self {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("plugin \"{plugin}\" is not running"),
        )
    }

    /// Error for a request that exceeds the memory budget at this moment.
    pub(crate) fn no_memory() -> Self {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the host holds as much as it may at this moment; try again later",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Error for a request that exceeds its client's share of the memory at this moment.
    pub(crate) fn client_memory() -> Self {
        let text = "this client makes the host hold as much as one may; read the answers that are under way, then try again";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, text)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Error for a failed call. Details about plugin and host are for administrators. Other callers
    /// get the kind of the failure, and the plugin's own error text.
    pub(crate) fn from_call(error: &CallError, caller: Option<&User>) -> Self {
        let (status, public) = match error {
            CallError::UnknownPlugin { plugin } => return Problem::no_plugin(plugin),
            CallError::NotRunning { plugin, .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(format!("plugin \"{plugin}\" is not running")),
            ),
            CallError::Moved { .. } => (StatusCode::SERVICE_UNAVAILABLE, None),
            CallError::Refused { plugin, .. } => (
                StatusCode::FORBIDDEN,
                Some(format!("plugin \"{plugin}\" is not called")),
            ),
            CallError::Busy { .. } | CallError::NoMemory { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, None)
            }
            CallError::Timeout { plugin, .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                Some(format!("plugin \"{plugin}\" did not answer in time")),
            ),
            CallError::Crashed { plugin, .. } => (
                StatusCode::BAD_GATEWAY,
                Some(format!(
                    "plugin \"{plugin}\" ended before it answered, and may have done what it was asked"
                )),
            ),
            CallError::Application { .. } => (StatusCode::INTERNAL_SERVER_ERROR, None),
            CallError::FunctionName { .. } => (StatusCode::BAD_REQUEST, None),
            CallError::ArgsTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
            CallError::Protocol { plugin, .. } | CallError::ResultTooLarge { plugin, .. } => (
                StatusCode::BAD_GATEWAY,
                Some(format!("plugin \"{plugin}\" gave an unusable answer")),
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Some("the call failed".to_owned()),
            ),
        };
        let admin = caller.is_some_and(|caller| caller.role == UserRole::Admin);
        let text = public
            .filter(|_| !admin)
            .unwrap_or_else(|| error.to_string());
        let problem = Problem::new(status, text);
        match error {
            CallError::Busy { .. }
            | CallError::NoMemory { .. }
            | CallError::NotRunning { .. }
            | CallError::Moved { .. } => {
                problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.text }))).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
