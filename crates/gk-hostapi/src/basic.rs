//! The host API of a host without services: a plugin can log, and nothing else.

use async_trait::async_trait;
use bytes::Bytes;

use crate::api::HostApi;
use crate::caller::Caller;
use crate::error::HostError;

/// `log`, and for everything else the answer that this host does not provide it.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct BasicHostApi;

impl BasicHostApi {
    /// The host API.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl HostApi for BasicHostApi {
    async fn call(&self, caller: &Caller, method: &str, args: Bytes) -> Result<Bytes, HostError> {
        match method {
            "log" => crate::record::log(caller, &args),
            other => Err(HostError::not_provided(format!(
                "method \"{}\" is not provided by this host",
                other.chars().take(128).collect::<String>()
            ))),
        }
    }
}
