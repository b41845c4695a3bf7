//! Why a request to the host failed.

use gk_protocol::RpcError;
use gk_protocol::plugin::HostApiError;

/// A request to the host that failed. In a handler, `?` turns it into the call's error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The host refused, or its service failed; the text is the host's own.
    #[error("host: {0}")]
    Refused(String),
    /// The request did not get through, or the connection ended before the reply.
    #[error("host rpc")]
    Rpc(#[source] RpcError),
    /// This host offers no host API, or could not be reached when the plugin was initialised.
    #[error("the host offers no host API")]
    NoHost,
    /// The arguments cannot be written as JSON, or not in the form that the method wants.
    #[error("arguments of {method}: {why}")]
    Arguments {
        /// The method's wire name.
        method: String,
        /// Description of the problem.
        why: String,
    },
    /// The result is not of the wanted type.
    #[error("result of {method}")]
    Result {
        /// The method's wire name.
        method: String,
        /// Description of the problem.
        #[source]
        source: serde_json::Error,
    },
}

impl HostError {
    pub(crate) fn arguments(method: &str, why: impl ToString) -> Self {
        Self::Arguments {
            method: method.to_owned(),
            why: why.to_string(),
        }
    }
}

impl From<HostApiError> for HostError {
    fn from(error: HostApiError) -> Self {
        match error {
            HostApiError::Host(text) => Self::Refused(text),
            HostApiError::Rpc(error) => Self::Rpc(error),
            other => Self::Refused(other.to_string()),
        }
    }
}
