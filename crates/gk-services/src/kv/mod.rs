//! Keys and values of a plugin, durable: what was acknowledged survives.
//!
//! Not a cache (nothing expires) and not a database (nothing but the key is searched).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;

mod methods;
mod sqlite;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;

pub(crate) use self::methods::METHODS;

/// Longest key, in bytes of UTF-8. The shortest has one.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Keys in a page of [`Kv::list`], where the caller names no number.
pub const LIST_DEFAULT: usize = 100;
/// Most keys in a page; a larger number is taken as this one.
pub const LIST_MAX: usize = 1000;

/// The quota of each plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvQuota {
    /// Bytes of all keys and values together; 64 MiB by default.
    pub bytes: u64,
    /// Number of keys; 100 000 by default.
    pub keys: u64,
}

impl Default for KvQuota {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024 * 1024,
            keys: 100_000,
        }
    }
}

impl KvQuota {
    /// Returns a plugin's use after a write of `key` bytes and `value` bytes in place of `old`, the
    /// length of the value that the key has.
    ///
    /// # Errors
    /// Limit: the quota would be exceeded. A plugin above a quota that was lowered may still write
    /// less than before.
    pub fn admit(
        &self,
        plugin: &PluginName,
        before: KvUsage,
        key: usize,
        value: usize,
        old: Option<u64>,
    ) -> Result<KvUsage, HostError> {
        let mut after = before;
        match old {
            Some(old) => after.bytes = after.bytes.saturating_sub(old) + value as u64,
            None => {
                after.keys += 1;
                after.bytes += (key + value) as u64;
            }
        }
        if after.keys > self.keys && after.keys > before.keys {
            return Err(HostError::limit(format!(
                "plugin \"{plugin}\" has {} keys, and its quota is {}; delete some",
                before.keys, self.keys
            )));
        }
        if after.bytes > self.bytes && after.bytes > before.bytes {
            return Err(HostError::limit(format!(
                "plugin \"{plugin}\" would store {} bytes, and its quota is {}; delete some keys",
                after.bytes, self.bytes
            )));
        }
        Ok(after)
    }
}

/// A value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvValue {
    /// The value.
    pub value: Bytes,
    /// Grows with each write of the plugin; no two writes have the same.
    pub version: u64,
}

/// The state that a key must have for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvCondition {
    /// Any.
    Any,
    /// There is no such key.
    Absent,
    /// The key has a value of this version.
    Version(u64),
}

impl KvCondition {
    /// Returns whether a key of this version, or without a value, is in the state.
    #[must_use]
    pub fn holds(self, version: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => version.is_none(),
            Self::Version(wanted) => version == Some(wanted),
        }
    }
}

/// What has become of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvWritten {
    /// The value is stored, with this version.
    Stored(u64),
    /// The key is in another state, and nothing has changed: its version, `None` if there is no such
    /// key.
    Conflict(Option<u64>),
}

/// A page of keys, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPage {
    /// Keys of this page.
    pub keys: Vec<String>,
    /// The `after` of the next page; none if this is the last page.
    pub next: Option<String>,
}

impl KvPage {
    /// Makes a page of keys of which one more than `limit` was asked for.
    #[must_use]
    pub fn of(mut keys: Vec<String>, limit: usize) -> Self {
        let next = (keys.len() > limit).then(|| {
            keys.truncate(limit);
            keys.last().cloned().unwrap_or_default()
        });
        Self { keys, next }
    }
}

/// A plugin's use of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvUsage {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Where keys and values are stored. Keys are valid and values within their limit; the store does
/// nothing about either. The module `testing` has its contract.
#[async_trait]
pub trait KvStore: fmt::Debug + Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<KvValue>, HostError>;

    /// Sets a key that is in this state, within the quota: all at once, or nothing.
    ///
    /// # Errors
    /// Limit: [`KvQuota::admit`]. Unavailable, timeout: the store.
    async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        value: Bytes,
        condition: KvCondition,
        quota: KvQuota,
    ) -> Result<KvWritten, HostError>;

    /// Deletes a key, and says whether there was one.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError>;

    /// The keys that start with `prefix` and come after `after`, in the order of their bytes, at
    /// most `limit`.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<KvPage, HostError>;

    /// The plugin's use of the store.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn usage(&self, plugin: &PluginName) -> Result<KvUsage, HostError>;

    /// Deletes everything of a plugin.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError>;
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kv {
    store: Arc<dyn KvStore>,
    quota: KvQuota,
}

impl Kv {
    /// Keys and values in this store, with this quota for each plugin.
    #[must_use]
    pub fn new(store: impl KvStore, quota: KvQuota) -> Self {
        Self {
            store: Arc::new(store),
            quota,
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Invalid: a key that is empty or longer than [`KEY_BYTES_MAX`]. Unavailable, timeout: the
    /// store.
    pub async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<KvValue>, HostError> {
        check_key(key)?;
        self.store.get(plugin, key).await
    }

    /// Sets a key, new or not, if it is in this state. Several hosts, or calls of a plugin, that read
    /// a value and write a new one lose nothing if each names the version that it has read.
    ///
    /// # Errors
    /// Invalid: the key. Limit: a value longer than [`VALUE_BYTES_MAX`], or the quota would be
    /// exceeded; then nothing has changed. Unavailable, timeout: the store.
    pub async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        value: Bytes,
        condition: KvCondition,
    ) -> Result<KvWritten, HostError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a value has at most {VALUE_BYTES_MAX} bytes, not {}",
                value.len()
            )));
        }
        let set = self.store.set(plugin, key, value, condition, self.quota);
        set.await
    }

    /// Deletes a key, and says whether there was one.
    ///
    /// # Errors
    /// Invalid: the key. Unavailable, timeout: the store.
    pub async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        check_key(key)?;
        self.store.delete(plugin, key).await
    }

    /// The keys that start with `prefix` and come after `after`, in the order of their bytes, at
    /// most `limit` (0 for [`LIST_DEFAULT`], never more than [`LIST_MAX`]).
    ///
    /// # Errors
    /// Invalid: a prefix or `after` longer than [`KEY_BYTES_MAX`]. Unavailable, timeout: the store.
    pub async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KvPage, HostError> {
        let after = after.unwrap_or_default();
        for (name, text) in [("prefix", prefix), ("after", after)] {
            if text.len() > KEY_BYTES_MAX {
                return Err(HostError::invalid(format!(
                    "{name} has at most {KEY_BYTES_MAX} bytes, not {}",
                    text.len()
                )));
            }
        }
        let limit = match limit {
            0 => LIST_DEFAULT,
            limit => limit.min(LIST_MAX),
        };
        self.store.list(plugin, prefix, after, limit).await
    }

    /// The plugin's use of the store.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    pub async fn usage(&self, plugin: &PluginName) -> Result<KvUsage, HostError> {
        self.store.usage(plugin).await
    }

    /// Deletes everything of a plugin that is uninstalled.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    pub async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        self.store.clear(plugin).await
    }
}

/// The first key behind all keys with a prefix, in the order of bytes: the prefix with its last byte
/// raised by one, as bytes of UTF-8 are below 0xFF.
#[must_use]
pub fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(u8::MAX),
    }
    end
}

fn check_key(key: &str) -> Result<(), HostError> {
    match key.len() {
        0 => Err(HostError::invalid("the key is empty")),
        1..=KEY_BYTES_MAX => Ok(()),
        length => Err(HostError::invalid(format!(
            "a key has at most {KEY_BYTES_MAX} bytes, not {length}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use gk_hostapi::ErrorKind;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_contract_of_a_store_holds() {
        testing::contract(|| async { Arc::new(Store::in_memory().unwrap()) as _ }).await;
    }

    #[tokio::test]
    async fn the_limits_hold_at_the_limit() {
        let kv = Kv::new(Store::in_memory().unwrap(), KvQuota::default());
        let p = PluginName::new("p").unwrap();
        let longest = "k".repeat(KEY_BYTES_MAX);
        let largest = Bytes::from(vec![1; VALUE_BYTES_MAX]);
        let set = |key: String, value: Bytes| {
            let (kv, p) = (kv.clone(), p.clone());
            async move { kv.set(&p, &key, value, KvCondition::Any).await }
        };
        set(longest.clone(), largest.clone()).await.unwrap();
        let value = kv.get(&p, &longest).await.unwrap().unwrap().value;
        assert_eq!(value, largest);
        let kinds = [
            set(longest + "k", Bytes::new()).await,
            set(String::new(), Bytes::new()).await,
            set("k".to_owned(), Bytes::from(vec![1; VALUE_BYTES_MAX + 1])).await,
        ]
        .map(|result| result.unwrap_err().kind());
        let expected = [ErrorKind::Invalid, ErrorKind::Invalid, ErrorKind::Limit];
        assert_eq!(kinds, expected);
    }
}
