//! Encrypted secrets in the shared database.

use std::collections::BTreeSet;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use gk_services::secure::{Reseal, SECRETS_MAX, SealedSecret, SecretStore, too_many};
use tokio_postgres::Row;

use crate::database::{Database, LOCKS};

#[async_trait]
impl SecretStore for Database {
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<SealedSecret>, HostError> {
        let select = "SELECT key_id, nonce, sealed FROM secure WHERE plugin = $1 AND key = $2";
        let rows = self.query(select, &[&plugin.as_str(), &key]).await?;
        Ok(rows.first().map(|row| sealed(row, 0)))
    }

    async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        secret: SealedSecret,
    ) -> Result<(), HostError> {
        let (plugin, key) = (plugin.clone(), key.to_owned());
        self.write(move |transaction| {
            Box::pin(async move {
                // One change at a time, so that two hosts do not count past each other.
                transaction
                    .execute("SELECT pg_advisory_xact_lock($1, 2)", &[&LOCKS])
                    .await?;
                let others = "SELECT count(*) FROM secure WHERE plugin = $1 AND key <> $2";
                let name = plugin.as_str();
                let others: i64 = transaction.query_one(others, &[&name, &key]).await?.get(0);
                if others >= SECRETS_MAX {
                    return Err(too_many(&plugin).into());
                }
                let upsert = "INSERT INTO secure (plugin, key, key_id, nonce, sealed)
                    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plugin, key) DO UPDATE SET
                    key_id = excluded.key_id, nonce = excluded.nonce, sealed = excluded.sealed";
                let SealedSecret {
                    key_id,
                    nonce,
                    sealed,
                } = secret;
                transaction
                    .execute(upsert, &[&name, &key, &key_id, &nonce, &sealed])
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        let delete = "DELETE FROM secure WHERE plugin = $1";
        self.query(delete, &[&plugin.as_str()]).await.map(drop)
    }

    async fn reseal(&self, mut change: Box<Reseal>) -> Result<(), HostError> {
        self.write(move |transaction| {
            Box::pin(async move {
                transaction
                    .execute("SELECT pg_advisory_xact_lock($1, 2)", &[&LOCKS])
                    .await?;
                let all =
                    "SELECT plugin, key, key_id, nonce, sealed FROM secure ORDER BY plugin, key";
                let update = "UPDATE secure SET key_id = $3, nonce = $4, sealed = $5
                    WHERE plugin = $1 AND key = $2";
                let update = transaction.prepare(update).await?;
                for row in transaction.query(all, &[]).await? {
                    let (plugin, key): (String, String) = (row.get(0), row.get(1));
                    let Some(new) = change(&plugin, &key, &sealed(&row, 2))? else {
                        continue;
                    };
                    let SealedSecret {
                        key_id,
                        nonce,
                        sealed,
                    } = new;
                    transaction
                        .execute(&update, &[&plugin, &key, &key_id, &nonce, &sealed])
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn key_ids(&self) -> Result<BTreeSet<String>, HostError> {
        let rows = self
            .query("SELECT DISTINCT key_id FROM secure", &[])
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

fn sealed(row: &Row, first: usize) -> SealedSecret {
    SealedSecret {
        key_id: row.get(first),
        nonce: row.get(first + 1),
        sealed: row.get(first + 2),
    }
}
