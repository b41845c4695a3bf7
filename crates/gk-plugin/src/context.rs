//! The context of a call: the plugin around it, and the host behind it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gk_protocol::call_token;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Host};

/// A call and the plugin around it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) function: Arc<str>,
    pub(crate) host: Host,
}

impl Context {
    /// The function that was called.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// A value of the configuration that the host gave to `Init`.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<&str> {
        self.host.plugin.config.get(key).map(String::as_str)
    }

    /// The directory of the plugin's own files; absolute.
    #[must_use]
    pub fn plugin_dir(&self) -> Option<&Path> {
        self.config("plugin_dir").map(Path::new)
    }

    /// The directory in which the plugin may write; absolute.
    #[must_use]
    pub fn work_dir(&self) -> Option<&Path> {
        self.config("work_dir").map(Path::new)
    }

    /// The trace that this call belongs to and its span in it, as the value of a `traceparent` header
    /// of W3C Trace Context; `None` if it belongs to none. The host sends the like with the requests
    /// that it makes for the plugin, and passes the trace on to other plugins.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        call_token::traceparent(&self.host.call_token)
    }

    /// What tracing systems have added to the trace, as the value of a `tracestate` header; at most
    /// 512 bytes.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        call_token::tracestate(&self.host.call_token)
    }

    /// The host API, with this call's token: the host applies the call's user and deadline.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Calls a method of the host API by its wire name, on behalf of this call.
    ///
    /// # Errors
    ///
    /// If there is no host API, the host refuses, or its reply is not a `T`.
    pub async fn host_call<T: DeserializeOwned>(
        &self,
        method: &str,
        args: &impl Serialize,
    ) -> Result<T, Error> {
        Ok(self.host.call(method, args).await?)
    }

    /// Like [`host_call`](Self::host_call), with JSON as it is.
    ///
    /// # Errors
    ///
    /// If there is no host API, or the host refuses.
    pub async fn host_call_raw(&self, method: &str, args: Bytes) -> Result<Bytes, Error> {
        Ok(self.host.call_raw(method, args).await?)
    }
}
