//! Reading a plugin's log as it grows.

use std::fmt;

use gk_manifest::PluginName;

use crate::log::{LogEntry, LogQuery, LogSink};
use crate::runtime::Runtime;

/// The log of a plugin, from some entry on. It goes on over the plugin's generations.
pub struct LogFollower {
    runtime: Runtime,
    plugin: PluginName,
    sink: LogSink,
    query: LogQuery,
}

impl fmt::Debug for LogFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFollower")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// The log of a plugin from the entries on that the query asks for; `None` if there is no such plugin.
    pub fn follow_logs(&self, plugin: &str, query: LogQuery) -> Option<LogFollower> {
        Some(LogFollower {
            plugin: PluginName::new(plugin).ok()?,
            sink: self.log_of(plugin)?,
            runtime: self.clone(),
            query,
        })
    }
}

impl LogFollower {
    /// Entries that have not been read, oldest first, at most [`LogQuery::limit`] of them, the newest ones. Waits until
    /// there are some. Cancel-safe.
    pub async fn next(&mut self) -> Vec<LogEntry> {
        loop {
            let last = self.sink.more(self.query.after).await;
            let entries = self.sink.read(&self.query);
            // What came between the two may be among the entries already.
            self.query.after = entries
                .last()
                .map_or(last, |entry| entry.sequence.max(last));
            if !entries.is_empty() {
                return entries;
            }
        }
    }

    /// Whether there will be no more entries: the plugin is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let log = self.runtime.log_of(self.plugin.as_str());
        !log.is_some_and(|log| log.is(&self.sink))
    }
}
