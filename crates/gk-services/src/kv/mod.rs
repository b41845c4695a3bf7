//! Keys and values of a plugin, durable: what was acknowledged survives.
//!
//! Not a cache (nothing expires) and not a database (nothing but the key is searched).

use gk_hostapi::HostError;
mod methods;

use bytes::Bytes;
use gk_manifest::PluginName;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

pub(crate) use self::methods::METHODS;
use crate::store::{Store, StoreError};

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

/// A page of keys, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPage {
    /// Keys of this page.
    pub keys: Vec<String>,
    /// The `after` of the next page; none if this is the last page.
    pub next: Option<String>,
}

/// A plugin's use of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvUsage {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kv {
    store: Store,
    quota: KvQuota,
}

impl Kv {
    /// Keys and values in this store, with this quota for each plugin.
    #[must_use]
    pub fn new(store: Store, quota: KvQuota) -> Self {
        Self { store, quota }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Invalid: a key that is empty or longer than [`KEY_BYTES_MAX`]. Unavailable: the store.
    pub async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<Bytes>, HostError> {
        check_key(key)?;
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        let value = self.store.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT value FROM kv WHERE plugin = ?1 AND key = ?2")?;
            Ok(statement
                .query_row(params![plugin.as_str(), key], |row| {
                    row.get::<_, Vec<u8>>(0)
                })
                .optional()?)
        });
        Ok(value.await?.map(Bytes::from))
    }

    /// Sets a key, new or not.
    ///
    /// # Errors
    /// Invalid: the key. Limit: a value longer than [`VALUE_BYTES_MAX`], or the quota would be
    /// exceeded; then nothing has changed. Unavailable: the store.
    pub async fn set(&self, plugin: &PluginName, key: &str, value: Bytes) -> Result<(), HostError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a value has at most {VALUE_BYTES_MAX} bytes, not {}",
                value.len()
            )));
        }
        let (plugin, key, quota) = (plugin.clone(), key.as_bytes().to_vec(), self.quota);
        self.store
            .run(move |connection| set(connection, &plugin, &key, &value, quota))
            .await
    }

    /// Deletes a key, and says whether there was one.
    ///
    /// # Errors
    /// Invalid: the key. Unavailable: the store.
    pub async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        check_key(key)?;
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        self.store
            .run(move |connection| {
                let transaction = begin(connection)?;
                let Some(old) = value_bytes(&transaction, &plugin, &key)? else {
                    return Ok(false);
                };
                transaction
                    .prepare_cached("DELETE FROM kv WHERE plugin = ?1 AND key = ?2")?
                    .execute(params![plugin.as_str(), key])?;
                let mut usage = usage(&transaction, &plugin)?;
                usage.keys = usage.keys.saturating_sub(1);
                usage.bytes = usage.bytes.saturating_sub(key.len() as u64 + old);
                set_usage(&transaction, &plugin, usage)?;
                transaction.commit()?;
                Ok(true)
            })
            .await
    }

    /// The keys that start with `prefix` and come after `after`, in the order of their bytes, at
    /// most `limit` (0 for [`LIST_DEFAULT`], never more than [`LIST_MAX`]).
    ///
    /// # Errors
    /// Invalid: a prefix or `after` longer than [`KEY_BYTES_MAX`]. Unavailable: the store.
    pub async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KvPage, HostError> {
        for (name, text) in [("prefix", prefix), ("after", after.unwrap_or_default())] {
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
        let plugin = plugin.clone();
        let prefix = prefix.as_bytes().to_vec();
        let after = after.unwrap_or_default().as_bytes().to_vec();
        self.store
            .read(move |connection| list(connection, &plugin, &prefix, &after, limit))
            .await
    }

    /// The plugin's use of the store.
    ///
    /// # Errors
    /// Unavailable: the store.
    pub async fn usage(&self, plugin: &PluginName) -> Result<KvUsage, HostError> {
        let plugin = plugin.clone();
        self.store
            .read(move |connection| Ok(usage(connection, &plugin)?))
            .await
    }

    /// Deletes everything of a plugin that is uninstalled.
    ///
    /// # Errors
    /// Unavailable: the store.
    pub async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        let plugin = plugin.clone();
        self.store
            .run(move |connection| {
                let transaction = begin(connection)?;
                for table in ["kv", "kv_usage"] {
                    transaction.execute(
                        &format!("DELETE FROM {table} WHERE plugin = ?1"),
                        [plugin.as_str()],
                    )?;
                }
                Ok(transaction.commit()?)
            })
            .await
    }
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

/// Begins with the write lock: SQLite may refuse it to a transaction that has only read so far.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn set(
    connection: &mut Connection,
    plugin: &PluginName,
    key: &[u8],
    value: &[u8],
    quota: KvQuota,
) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let old = value_bytes(&transaction, plugin, key)?;
    let before = usage(&transaction, plugin)?;
    let mut after = before;
    match old {
        Some(old) => after.bytes = after.bytes.saturating_sub(old) + value.len() as u64,
        None => {
            after.keys += 1;
            after.bytes += (key.len() + value.len()) as u64;
        }
    }
    // A plugin above a quota that was lowered may still write less than before.
    if after.keys > quota.keys && after.keys > before.keys {
        return Err(HostError::limit(format!(
            "plugin \"{plugin}\" has {} keys, and its quota is {}; delete some",
            before.keys, quota.keys
        ))
        .into());
    }
    if after.bytes > quota.bytes && after.bytes > before.bytes {
        return Err(HostError::limit(format!(
            "plugin \"{plugin}\" would store {} bytes, and its quota is {}; delete some keys",
            after.bytes, quota.bytes
        ))
        .into());
    }
    transaction
        .prepare_cached(
            "INSERT INTO kv (plugin, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![plugin.as_str(), key, value])?;
    set_usage(&transaction, plugin, after)?;
    transaction.commit()?;
    Ok(())
}

fn list(
    connection: &mut Connection,
    plugin: &PluginName,
    prefix: &[u8],
    after: &[u8],
    limit: usize,
) -> Result<KvPage, StoreError> {
    // The prefix with its last byte raised by one is the first text behind all keys of the
    // prefix; bytes of UTF-8 are below 0xFF.
    let mut end = prefix.to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(u8::MAX),
    }
    let mut statement = connection.prepare_cached(
        "SELECT key FROM kv WHERE plugin = ?1 AND key >= ?2 AND key < ?3 AND key > ?4
         ORDER BY key LIMIT ?5",
    )?;
    // Asking for one key more tells whether there is a next page.
    let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![plugin.as_str(), prefix, end, after, more], |row| {
        row.get::<_, Vec<u8>>(0)
    })?;
    let mut keys = Vec::new();
    for key in rows {
        // Only `set` writes keys, and they are text there.
        keys.push(String::from_utf8_lossy(&key?).into_owned());
    }
    let next = (keys.len() > limit).then(|| {
        keys.truncate(limit);
        keys.last().cloned().unwrap_or_default()
    });
    Ok(KvPage { keys, next })
}

fn value_bytes(
    connection: &Connection,
    plugin: &PluginName,
    key: &[u8],
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT length(value) FROM kv WHERE plugin = ?1 AND key = ?2")?
        .query_row(params![plugin.as_str(), key], |row| row.get(0))
        .optional()
}

fn usage(connection: &Connection, plugin: &PluginName) -> rusqlite::Result<KvUsage> {
    let usage = connection
        .prepare_cached("SELECT keys, bytes FROM kv_usage WHERE plugin = ?1")?
        .query_row([plugin.as_str()], |row| {
            Ok(KvUsage {
                keys: row.get(0)?,
                bytes: row.get(1)?,
            })
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}

fn set_usage(
    connection: &Connection,
    plugin: &PluginName,
    usage: KvUsage,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO kv_usage (plugin, keys, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (plugin) DO UPDATE SET keys = excluded.keys, bytes = excluded.bytes",
        )?
        .execute(params![plugin.as_str(), usage.keys, usage.bytes])
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_hostapi::ErrorKind;

    fn plugin(name: &str) -> PluginName {
        PluginName::new(name).unwrap()
    }

    fn kv(quota: KvQuota) -> Kv {
        Kv::new(Store::in_memory().unwrap(), quota)
    }

    #[tokio::test]
    async fn values_are_set_read_and_deleted() {
        let (kv, p) = (kv(KvQuota::default()), plugin("p"));
        assert_eq!(kv.get(&p, "a").await.unwrap(), None);
        let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
        kv.set(&p, "a", bytes.clone()).await.unwrap();
        assert_eq!(kv.get(&p, "a").await.unwrap(), Some(bytes));
        kv.set(&p, "a", Bytes::new()).await.unwrap();
        assert_eq!(kv.get(&p, "a").await.unwrap(), Some(Bytes::new()));
        assert!(kv.delete(&p, "a").await.unwrap());
        assert!(!kv.delete(&p, "a").await.unwrap());
        assert_eq!(kv.usage(&p).await.unwrap(), KvUsage::default());
    }

    #[tokio::test]
    async fn a_plugin_sees_only_its_own() {
        let (kv, p, q) = (kv(KvQuota::default()), plugin("p"), plugin("q"));
        kv.set(&p, "k", Bytes::from_static(b"p's")).await.unwrap();
        assert_eq!(kv.get(&q, "k").await.unwrap(), None);
        assert!(kv.list(&q, "", None, 0).await.unwrap().keys.is_empty());
        assert!(!kv.delete(&q, "k").await.unwrap());
        kv.clear(&q).await.unwrap();
        assert!(kv.get(&p, "k").await.unwrap().is_some());
        kv.clear(&p).await.unwrap();
        assert!(kv.get(&p, "k").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn lists_are_ordered_and_paged() {
        let (kv, p) = (kv(KvQuota::default()), plugin("p"));
        for key in ["b", "a/2", "a/10", "a/1", "ä", "a", "\u{10ffff}"] {
            kv.set(&p, key, Bytes::new()).await.unwrap();
        }
        let all = kv.list(&p, "", None, 0).await.unwrap();
        assert_eq!(
            all.keys,
            ["a", "a/1", "a/10", "a/2", "b", "ä", "\u{10ffff}"]
        );
        assert_eq!(all.next, None);
        let first = kv.list(&p, "a/", None, 2).await.unwrap();
        assert_eq!(first.keys, ["a/1", "a/10"]);
        assert_eq!(first.next.as_deref(), Some("a/10"));
        let last = kv.list(&p, "a/", first.next.as_deref(), 2).await.unwrap();
        assert_eq!((last.keys, last.next), (vec!["a/2".to_owned()], None));
        let high = kv.list(&p, "\u{10ffff}", None, 5).await.unwrap();
        assert_eq!(high.keys, ["\u{10ffff}"]);
    }

    #[tokio::test]
    async fn the_limits_hold_at_the_limit() {
        let (kv, p) = (kv(KvQuota::default()), plugin("p"));
        let longest = "k".repeat(KEY_BYTES_MAX);
        let largest = Bytes::from(vec![1; VALUE_BYTES_MAX]);
        kv.set(&p, &longest, largest.clone()).await.unwrap();
        assert_eq!(kv.get(&p, &longest).await.unwrap(), Some(largest));
        let kinds = [
            kv.set(&p, &(longest + "k"), Bytes::new()).await,
            kv.set(&p, "", Bytes::new()).await,
            kv.set(&p, "k", Bytes::from(vec![1; VALUE_BYTES_MAX + 1]))
                .await,
        ]
        .map(|result| result.unwrap_err().kind());
        let expected = [ErrorKind::Invalid, ErrorKind::Invalid, ErrorKind::Limit];
        assert_eq!(kinds, expected);
    }

    #[tokio::test]
    async fn a_full_quota_refuses_and_changes_nothing() {
        let (kv, p) = (kv(KvQuota { bytes: 10, keys: 2 }), plugin("p"));
        kv.set(&p, "a", Bytes::from_static(b"1234")).await.unwrap();
        kv.set(&p, "b", Bytes::from_static(b"1234")).await.unwrap();
        let more = kv.set(&p, "b", Bytes::from_static(b"12345")).await;
        assert_eq!(more.unwrap_err().kind(), ErrorKind::Limit);
        let third = kv.set(&p, "c", Bytes::new()).await.unwrap_err();
        assert!(
            third
                .to_string()
                .contains("has 2 keys, and its quota is 2;"),
            "{third}"
        );
        // An overwritten value counts once.
        kv.set(&p, "b", Bytes::from_static(b"4321")).await.unwrap();
        assert_eq!(kv.usage(&p).await.unwrap(), KvUsage { keys: 2, bytes: 10 });
        kv.set(&plugin("q"), "a", Bytes::from_static(b"1234"))
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writers_at_once_do_not_get_around_the_quota() {
        let (kv, p) = (
            kv(KvQuota {
                bytes: 1 << 20,
                keys: 8,
            }),
            plugin("p"),
        );
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..64 {
            let (kv, p) = (kv.clone(), p.clone());
            writers.spawn(async move { kv.set(&p, &n.to_string(), Bytes::new()).await.is_ok() });
        }
        let stored = writers
            .join_all()
            .await
            .into_iter()
            .filter(|ok| *ok)
            .count();
        assert_eq!(stored, 8);
        assert_eq!(kv.list(&p, "", None, 0).await.unwrap().keys.len(), 8);
    }
}
