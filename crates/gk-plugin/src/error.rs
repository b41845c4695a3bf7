//! Errors of handlers.

use std::fmt;

use serde_json::json;

/// Why a function failed: a text, and for HTTP callers a status.
///
/// Any standard error turns into one by `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    status: Option<u16>,
}

impl Error {
    /// An error with a text for the caller.
    pub fn new(text: impl fmt::Display) -> Self {
        Error {
            text: text.to_string(),
            status: None,
        }
    }

    /// An error that a route answers with this HTTP status, 400 to 599; the host makes 500 of any
    /// other.
    pub fn with_status(status: u16, text: impl fmt::Display) -> Self {
        Error {
            text: text.to_string(),
            status: Some(status),
        }
    }

    /// The status of [`with_status`](Self::with_status); `None` without one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The wire form of an error: with a status it is a result of the form that routes know,
    /// without it is the call's error.
    pub(crate) fn into_reply(self) -> Result<Vec<u8>, String> {
        match self.status {
            Some(status) => Ok(json!({ "error": self.text, "status": status })
                .to_string()
                .into_bytes()),
            None => Err(self.text),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Error { text, status: None }
    }
}
