//! The context of a call: the plugin around it, and the host behind it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
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
