//! Policies in the shared database.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_hostapi::policy::{PolicyStore, Settle};
use gk_manifest::PluginName;

use crate::database::{Database, lock_changes, note};
use crate::topic::Topic;

#[async_trait]
impl PolicyStore for Database {
    async fn all(&self) -> Result<BTreeMap<String, String>, HostError> {
        let rows = self.query("SELECT plugin, policy FROM policy", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn get(&self, plugin: &PluginName) -> Result<Option<String>, HostError> {
        let policy = "SELECT policy FROM policy WHERE plugin = $1";
        let rows = self.query(policy, &[&plugin.as_str()]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn is_followed(&self) -> bool {
        true
    }

    async fn put(
        &self,
        plugin: &PluginName,
        policy: Option<String>,
        settle: Settle,
    ) -> Result<bool, HostError> {
        let (database, plugin) = (self.clone(), plugin.clone());
        // Also what follows the write runs to its end.
        let put = tokio::spawn(async move {
            let changed = database.write(move |transaction| {
                Box::pin(async move {
                    lock_changes(transaction).await?;
                    let name = plugin.as_str();
                    let changed = match policy {
                        Some(policy) => {
                            let put = "INSERT INTO policy (plugin, policy) VALUES ($1, $2)
                                ON CONFLICT (plugin) DO UPDATE
                                SET policy = excluded.policy, set_at = now()";
                            transaction.execute(put, &[&name, &policy]).await?
                        }
                        None => {
                            let delete = "DELETE FROM policy WHERE plugin = $1";
                            transaction.execute(delete, &[&name]).await?
                        }
                    };
                    note(transaction, Topic::Policies, name).await?;
                    Ok(changed > 0)
                })
            });
            let changed = changed.await;
            let outcome = changed.as_ref();
            let outcome = outcome
                .map(|_| ())
                .map_err(|error| error as &dyn fmt::Display);
            settle.run(outcome)?;
            changed
        });
        put.await
            .unwrap_or_else(|_| Err(HostError::unavailable("a change of a policy panicked")))
    }
}
