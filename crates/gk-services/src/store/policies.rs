//! Policies in the host's store.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_hostapi::policy::{PolicyStore, Settle};
use gk_manifest::PluginName;
use rusqlite::OptionalExtension;

use super::{Store, StoreError};

#[async_trait]
impl PolicyStore for Store {
    async fn all(&self) -> Result<BTreeMap<String, String>, HostError> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT plugin, policy FROM policy")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn get(&self, plugin: &PluginName) -> Result<Option<String>, HostError> {
        let plugin = plugin.clone();
        self.read(move |connection| {
            let policy = "SELECT policy FROM policy WHERE plugin = ?1";
            let found = connection.query_row(policy, [plugin.as_str()], |row| row.get(0));
            Ok(found.optional()?)
        })
        .await
    }

    async fn put(
        &self,
        plugin: &PluginName,
        policy: Option<String>,
        settle: Settle,
    ) -> Result<bool, HostError> {
        let plugin = plugin.clone();
        self.run(move |connection| {
            let changed = match policy {
                Some(policy) => connection.execute(
                    "INSERT INTO policy (plugin, policy, set_at) VALUES (?1, ?2, unixepoch())
                     ON CONFLICT (plugin) DO UPDATE SET policy = excluded.policy, set_at = excluded.set_at",
                    (plugin.as_str(), policy),
                ),
                None => connection.execute("DELETE FROM policy WHERE plugin = ?1", [plugin.as_str()]),
            };
            let outcome = changed.as_ref();
            let outcome = outcome.map(|_| ()).map_err(|error| error as &dyn fmt::Display);
            settle.run(outcome).map_err(StoreError::Host)?;
            Ok(changed? > 0)
        })
        .await
    }
}
