//! Keys and values in the shared database.

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use gk_services::kv::{KvCondition, KvPage, KvQuota, KvStore, KvUsage, KvValue, KvWritten, end_of};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use crate::database::{Database, Failure, signed, unsigned};

#[async_trait]
impl KvStore for Database {
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<KvValue>, HostError> {
        let select = "SELECT value, version FROM kv WHERE plugin = $1 AND key = $2";
        let rows = self
            .query(select, &[&plugin.as_str(), &key.as_bytes()])
            .await?;
        Ok(rows.first().map(|row| KvValue {
            value: Bytes::from(row.get::<_, Vec<u8>>(0)),
            version: unsigned(row, 1),
        }))
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
        self.write(move |transaction| {
            Box::pin(async move {
                let (before, newest) = locked(transaction, &plugin).await?;
                let old = stored(transaction, &plugin, &key).await?;
                let version = old.map(|(_, version)| version);
                if !condition.holds(version) {
                    return Ok(KvWritten::Conflict(version));
                }
                let old = old.map(|(bytes, _)| bytes);
                let after = quota.admit(&plugin, before, key.len(), value.len(), old)?;
                let version = newest + 1;
                let upsert = "INSERT INTO kv (plugin, key, value, version) VALUES ($1, $2, $3, $4)
                    ON CONFLICT (plugin, key) DO UPDATE SET value = excluded.value,
                        version = excluded.version";
                let (name, number) = (plugin.as_str(), signed(version));
                transaction
                    .execute(upsert, &[&name, &key, &&value[..], &number])
                    .await?;
                set_usage(transaction, &plugin, after, version).await?;
                Ok(KvWritten::Stored(version))
            })
        })
        .await
    }

    async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        self.write(move |transaction| {
            Box::pin(async move {
                let (mut usage, newest) = locked(transaction, &plugin).await?;
                let Some((old, _)) = stored(transaction, &plugin, &key).await? else {
                    return Ok(false);
                };
                let delete = "DELETE FROM kv WHERE plugin = $1 AND key = $2";
                transaction
                    .execute(delete, &[&plugin.as_str(), &key])
                    .await?;
                usage.keys = usage.keys.saturating_sub(1);
                usage.bytes = usage.bytes.saturating_sub(key.len() as u64 + old);
                set_usage(transaction, &plugin, usage, newest).await?;
                Ok(true)
            })
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
        let select = "SELECT key FROM kv
            WHERE plugin = $1 AND key >= $2 AND key < $3 AND key > $4 ORDER BY key LIMIT $5";
        // Asking for one key more tells whether there is a next page.
        let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let (name, prefix, end) = (plugin.as_str(), prefix.as_bytes(), end_of(prefix));
        let values: [&(dyn ToSql + Sync); 5] = [&name, &prefix, &end, &after.as_bytes(), &more];
        let rows = self.query(select, &values).await?;
        // Only `set` writes keys, and they are text there.
        let text = |row: &Row| String::from_utf8_lossy(row.get(0)).into_owned();
        Ok(KvPage::of(rows.iter().map(text).collect(), limit))
    }

    async fn usage(&self, plugin: &PluginName) -> Result<KvUsage, HostError> {
        let select = "SELECT keys, bytes, version FROM kv_usage WHERE plugin = $1";
        let rows = self.query(select, &[&plugin.as_str()]).await?;
        Ok(rows.first().map(usage_of).unwrap_or_default().0)
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        let plugin = plugin.clone();
        self.write(move |transaction| {
            Box::pin(async move {
                locked(transaction, &plugin).await?;
                for table in ["kv", "kv_usage"] {
                    let delete = format!("DELETE FROM {table} WHERE plugin = $1");
                    transaction.execute(&delete, &[&plugin.as_str()]).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

fn usage_of(row: &Row) -> (KvUsage, u64) {
    let (keys, bytes) = (unsigned(row, 0), unsigned(row, 1));
    (KvUsage { keys, bytes }, unsigned(row, 2))
}

/// A plugin's use and its newest version, locked until the transaction ends: a plugin has one write
/// at a time, on whichever host.
async fn locked(
    transaction: &Transaction<'_>,
    plugin: &PluginName,
) -> Result<(KvUsage, u64), Failure> {
    // The update of nothing locks the row that is there.
    let lock = "INSERT INTO kv_usage (plugin) VALUES ($1)
        ON CONFLICT (plugin) DO UPDATE SET keys = kv_usage.keys RETURNING keys, bytes, version";
    let row = transaction.query_one(lock, &[&plugin.as_str()]).await?;
    Ok(usage_of(&row))
}

/// The length of a key's value, and its version.
async fn stored(
    transaction: &Transaction<'_>,
    plugin: &PluginName,
    key: &[u8],
) -> Result<Option<(u64, u64)>, Failure> {
    let select =
        "SELECT octet_length(value)::bigint, version FROM kv WHERE plugin = $1 AND key = $2";
    let row = transaction
        .query_opt(select, &[&plugin.as_str(), &key])
        .await?;
    Ok(row.map(|row| (unsigned(&row, 0), unsigned(&row, 1))))
}

async fn set_usage(
    transaction: &Transaction<'_>,
    plugin: &PluginName,
    usage: KvUsage,
    version: u64,
) -> Result<(), Failure> {
    let update = "UPDATE kv_usage SET keys = $2, bytes = $3, version = $4 WHERE plugin = $1";
    let (keys, bytes, version) = (signed(usage.keys), signed(usage.bytes), signed(version));
    transaction
        .execute(update, &[&plugin.as_str(), &keys, &bytes, &version])
        .await?;
    Ok(())
}
