//! Encrypted secrets in the host's store.

use std::collections::BTreeSet;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};

use super::{Reseal, SECRETS_MAX, SealedSecret, SecretStore, too_many};
use crate::store::Store;

#[async_trait]
impl SecretStore for Store {
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<SealedSecret>, HostError> {
        let (plugin, key) = (plugin.clone(), key.to_owned());
        self.read(move |connection| {
            let select = "SELECT key_id, nonce, sealed FROM secure WHERE plugin = ?1 AND key = ?2";
            let mut statement = connection.prepare_cached(select)?;
            let found = statement.query_row([plugin.as_str(), &key], |row| sealed(row, 0));
            Ok(found.optional()?)
        })
        .await
    }

    async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        secret: SealedSecret,
    ) -> Result<(), HostError> {
        let (plugin, key) = (plugin.clone(), key.to_owned());
        self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let others: i64 = transaction.query_row(
                "SELECT count(*) FROM secure WHERE plugin = ?1 AND key <> ?2",
                [plugin.as_str(), &key],
                |row| row.get(0),
            )?;
            if others >= SECRETS_MAX {
                return Err(too_many(&plugin).into());
            }
            transaction.execute(
                "INSERT OR REPLACE INTO secure (plugin, key, key_id, nonce, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    plugin.as_str(),
                    key,
                    secret.key_id,
                    secret.nonce,
                    secret.sealed
                ],
            )?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        let plugin = plugin.clone();
        self.run(move |connection| {
            connection.execute("DELETE FROM secure WHERE plugin = ?1", [plugin.as_str()])?;
            Ok(())
        })
        .await
    }

    async fn reseal(&self, mut change: Box<Reseal>) -> Result<(), HostError> {
        self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut anew = Vec::new();
            {
                let mut statement =
                    transaction.prepare("SELECT plugin, key, key_id, nonce, sealed FROM secure")?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let (plugin, key): (String, String) = (row.get(0)?, row.get(1)?);
                    if let Some(new) = change(&plugin, &key, &sealed(row, 2)?)? {
                        anew.push((plugin, key, new));
                    }
                }
            }
            for (plugin, key, new) in anew {
                transaction.execute(
                    "UPDATE secure SET key_id = ?3, nonce = ?4, sealed = ?5
                     WHERE plugin = ?1 AND key = ?2",
                    params![plugin, key, new.key_id, new.nonce, new.sealed],
                )?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn key_ids(&self) -> Result<BTreeSet<String>, HostError> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT DISTINCT key_id FROM secure")?;
            let ids = statement.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn sealed(row: &Row<'_>, first: usize) -> rusqlite::Result<SealedSecret> {
    Ok(SealedSecret {
        key_id: row.get(first)?,
        nonce: row.get(first + 1)?,
        sealed: row.get(first + 2)?,
    })
}
