//! Which plugins are enabled, in the shared database.

use std::collections::BTreeMap;

use gk_hostapi::HostError;

use crate::database::{Database, lock_changes, note};
use crate::topic::Topic;

impl Database {
    /// Returns which plugins an administrator has enabled or disabled.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn enabled_plugins(&self) -> Result<BTreeMap<String, bool>, HostError> {
        let rows = self.query("SELECT name, enabled FROM plugin", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Enables or disables a plugin on all hosts.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn enable_plugin(&self, plugin: &str, enabled: bool) -> Result<(), HostError> {
        let plugin = plugin.to_owned();
        self.write(move |transaction| {
            Box::pin(async move {
                lock_changes(transaction).await?;
                let put = "INSERT INTO plugin (name, enabled) VALUES ($1, $2)
                    ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled";
                transaction.execute(put, &[&plugin, &enabled]).await?;
                note(transaction, Topic::Plugins, &plugin).await
            })
        })
        .await
    }
}
