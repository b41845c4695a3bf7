//! Errors as HTTP answers: a status and `{"error": …}`.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gk_runtime::CallError;
use serde_json::json;

use crate::tokens::{Identity, Role};

/// A refusal or failure, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) header: Option<(HeaderName, &'static str)>,
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
        let challenge = Some((header::WWW_AUTHENTICATE, "Bearer"));
        Problem {
            header: challenge,
            ..Problem::new(StatusCode::UNAUTHORIZED, text)
        }
    }

    /// A failed call. What went on inside of plugin and host is for administrators; everybody else
    /// learns that it failed, and the plugin's own words.
    pub(crate) fn from_call(error: &CallError, caller: Option<&Identity>) -> Self {
        let (status, public) = match error {
            CallError::UnknownPlugin { .. } => (StatusCode::NOT_FOUND, None),
            CallError::NotRunning { plugin, .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(format!("plugin \"{plugin}\" is not running")),
            ),
            CallError::Refused { plugin, .. } => (
                StatusCode::FORBIDDEN,
                Some(format!("plugin \"{plugin}\" is not called")),
            ),
            CallError::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, None),
            CallError::Timeout { plugin, .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                Some(format!("plugin \"{plugin}\" did not answer in time")),
            ),
            CallError::Crashed { plugin, .. } => (
                StatusCode::BAD_GATEWAY,
                Some(format!("plugin \"{plugin}\" ended before it answered")),
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
        let admin = caller.is_some_and(|caller| caller.role == Role::Admin);
        let text = public
            .filter(|_| !admin)
            .unwrap_or_else(|| error.to_string());
        let retry = (status == StatusCode::TOO_MANY_REQUESTS).then_some((header::RETRY_AFTER, "1"));
        Problem {
            header: retry,
            ..Problem::new(status, text)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.text }))).into_response();
        if let Some((name, value)) = self.header {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
