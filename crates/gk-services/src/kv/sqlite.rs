//! Keys and values in the host's store.

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{KvCondition, KvPage, KvQuota, KvStore, KvUsage, KvValue, KvWritten, end_of};
use crate::store::{Store, StoreError};

#[async_trait]
impl KvStore for Store {
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<KvValue>, HostError> {
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        self.read(move |connection| {
            let select = "SELECT value, version FROM kv WHERE plugin = ?1 AND key = ?2";
            let mut statement = connection.prepare_cached(select)?;
            let value = statement.query_row(params![plugin.as_str(), key], |row| {
                Ok(KvValue {
                    value: Bytes::from(row.get::<_, Vec<u8>>(0)?),
                    version: row.get(1)?,
                })
            });
            Ok(value.optional()?)
        })
        .await
    }

    async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        value: Bytes,
        condition: KvCondition,
        quota: KvQuota,
    ) -> Result<KvWritten, HostError> {
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        self.run(move |connection| {
            let transaction = begin(connection)?;
            let old = stored(&transaction, &plugin, &key)?;
            let version = old.map(|(_, version)| version);
            if !condition.holds(version) {
                return Ok(KvWritten::Conflict(version));
            }
            let (before, newest) = usage(&transaction, &plugin)?;
            let old = old.map(|(bytes, _)| bytes);
            let after = quota.admit(&plugin, before, key.len(), value.len(), old)?;
            let version = newest + 1;
            let upsert = "INSERT INTO kv (plugin, key, value, version) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value,
                    version = excluded.version";
            let values = params![plugin.as_str(), key, &value[..], version];
            transaction.prepare_cached(upsert)?.execute(values)?;
            set_usage(&transaction, &plugin, after, version)?;
            transaction.commit()?;
            Ok(KvWritten::Stored(version))
        })
        .await
    }

    async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        self.run(move |connection| {
            let transaction = begin(connection)?;
            let Some((old, _)) = stored(&transaction, &plugin, &key)? else {
                return Ok(false);
            };
            transaction
                .prepare_cached("DELETE FROM kv WHERE plugin = ?1 AND key = ?2")?
                .execute(params![plugin.as_str(), key])?;
            let (mut usage, newest) = usage(&transaction, &plugin)?;
            usage.keys = usage.keys.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(key.len() as u64 + old);
            set_usage(&transaction, &plugin, usage, newest)?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<KvPage, HostError> {
        let (plugin, end) = (plugin.clone(), end_of(prefix));
        let (prefix, after) = (prefix.as_bytes().to_vec(), after.as_bytes().to_vec());
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT key FROM kv WHERE plugin = ?1 AND key >= ?2 AND key < ?3 AND key > ?4
                 ORDER BY key LIMIT ?5",
            )?;
            // Asking for one key more tells whether there is a next page.
            let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            let values = params![plugin.as_str(), prefix, end, after, more];
            let rows = statement.query_map(values, |row| {
                // Only `set` writes keys, and they are text there.
                Ok(String::from_utf8_lossy(&row.get::<_, Vec<u8>>(0)?).into_owned())
            })?;
            Ok(KvPage::of(rows.collect::<Result<_, _>>()?, limit))
        })
        .await
    }

    async fn usage(&self, plugin: &PluginName) -> Result<KvUsage, HostError> {
        let plugin = plugin.clone();
        self.read(move |connection| Ok(usage(connection, &plugin)?.0))
            .await
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        let plugin = plugin.clone();
        self.run(move |connection| {
            let transaction = begin(connection)?;
            for table in ["kv", "kv_usage"] {
                let delete = format!("DELETE FROM {table} WHERE plugin = ?1");
                transaction.execute(&delete, [plugin.as_str()])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}

/// Begins with the write lock: SQLite may refuse it to a transaction that has only read so far.
fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

/// The length of a key's value, and its version.
fn stored(
    connection: &Connection,
    plugin: &PluginName,
    key: &[u8],
) -> rusqlite::Result<Option<(u64, u64)>> {
    connection
        .prepare_cached("SELECT length(value), version FROM kv WHERE plugin = ?1 AND key = ?2")?
        .query_row(params![plugin.as_str(), key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

/// A plugin's use, and its newest version.
fn usage(connection: &Connection, plugin: &PluginName) -> rusqlite::Result<(KvUsage, u64)> {
    let usage = connection
        .prepare_cached("SELECT keys, bytes, version FROM kv_usage WHERE plugin = ?1")?
        .query_row([plugin.as_str()], |row| {
            let (keys, bytes) = (row.get(0)?, row.get(1)?);
            Ok((KvUsage { keys, bytes }, row.get(2)?))
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}

fn set_usage(
    connection: &Connection,
    plugin: &PluginName,
    usage: KvUsage,
    version: u64,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO kv_usage (plugin, keys, bytes, version) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (plugin) DO UPDATE SET keys = excluded.keys, bytes = excluded.bytes,
                version = excluded.version",
        )?
        .execute(params![plugin.as_str(), usage.keys, usage.bytes, version])
}
