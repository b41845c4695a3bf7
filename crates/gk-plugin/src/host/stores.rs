//! The cache, and the durable keys and values.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::wire::{Found, encode, list};
use super::{Host, HostError};

/// The cache of this plugin.
#[derive(Debug, Clone, Copy)]
pub struct Cache<'a> {
    host: &'a Host,
}

impl<'a> Cache<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, HostError> {
        let found: Found = self.host.call("cache_get", &json!({ "key": key })).await?;
        Ok(found.value())
    }

    /// Sets a key for this long, in whole seconds, rounded up; none for the host's default.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<(), HostError> {
        let seconds = |ttl: Duration| ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = ttl.map_or(0, seconds);
        let args = json!({ "key": key, "value": encode(value), "ttl": ttl });
        self.host.done("cache_set", &args).await
    }

    /// Deletes a key, if there is one.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.host.done("cache_delete", &json!({ "key": key })).await
    }
}

/// The durable keys and values of this plugin.
#[derive(Debug, Clone, Copy)]
pub struct Kv<'a> {
    host: &'a Host,
}

/// A page of keys, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KvPage {
    /// Keys of this page, in their order.
    #[serde(default, deserialize_with = "list")]
    pub keys: Vec<String>,
    /// Value of `after` for the next page; `None` on the last page.
    #[serde(default)]
    pub next: Option<String>,
}

impl<'a> Kv<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, HostError> {
        let found: Found = self.host.call("kv_get", &json!({ "key": key })).await?;
        Ok(found.value())
    }

    /// Sets a key. Once it returns, the value survives the end of the host.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), HostError> {
        let args = json!({ "key": key, "value": encode(value) });
        self.host.done("kv_set", &args).await
    }

    /// The value of a key, and its version, which is another one after each write.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn get_versioned(&self, key: &str) -> Result<Option<(Bytes, u64)>, HostError> {
        let found: Found = self.host.call("kv_get", &json!({ "key": key })).await?;
        Ok(found.versioned())
    }

    /// Sets a key whose value still has this version, or that does not exist (`None`), and returns
    /// whether it was so: otherwise nothing has changed. The plugin may run on several hosts; who
    /// reads a value and writes a new one loses nothing in this way.
    ///
    /// # Errors
    /// See [`HostError`]. A host without versions of values sets the key in any case.
    pub async fn set_if(
        &self,
        key: &str,
        value: &[u8],
        version: Option<u64>,
    ) -> Result<bool, HostError> {
        #[derive(Deserialize)]
        struct Written {
            ok: bool,
        }
        let version = version.unwrap_or(0);
        let args = json!({ "key": key, "value": encode(value), "if_version": version });
        let written: Written = self.host.call("kv_set", &args).await?;
        Ok(written.ok)
    }

    /// Deletes a key, if there is one.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.host.done("kv_delete", &json!({ "key": key })).await
    }

    /// A page of the keys that start with `prefix` and come after `after`, at most `limit`; 0 for
    /// the host's default.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<KvPage, HostError> {
        let args = json!({ "prefix": prefix, "after": after.unwrap_or_default(), "limit": limit });
        self.host.call("kv_list", &args).await
    }

    /// All keys that start with `prefix`, fetched page by page.
    #[must_use = "nothing is fetched until a key is asked for"]
    pub fn keys(&self, prefix: &str) -> Keys<'a> {
        Keys {
            kv: *self,
            prefix: prefix.to_owned(),
            after: None,
            page: VecDeque::new(),
            last: false,
        }
    }
}

/// Keys that are fetched as they are asked for. See [`Kv::keys`].
#[derive(Debug)]
pub struct Keys<'a> {
    kv: Kv<'a>,
    prefix: String,
    after: Option<String>,
    page: VecDeque<String>,
    last: bool,
}

impl Keys<'_> {
    /// The next key, none after the last.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn next(&mut self) -> Result<Option<String>, HostError> {
        while self.page.is_empty() && !self.last {
            let page = self.kv.list(&self.prefix, self.after.as_deref(), 0).await?;
            self.last = page.next.is_none();
            self.after = page.next;
            self.page = page.keys.into();
        }
        Ok(self.page.pop_front())
    }
}
