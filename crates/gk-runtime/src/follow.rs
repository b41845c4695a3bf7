//! Reading a plugin's log as it grows.

use std::fmt;

use gk_manifest::PluginName;

use crate::log::{LogQuery, LogSink, MoreLogs};
use crate::runtime::Runtime;

/// The log of a plugin, from some entry on. It goes on over the plugin's generations.
pub struct LogFollower {
    runtime: Runtime,
    plugin: PluginName,
    sink: LogSink,
    query: LogQuery,
    /// The entries that existed at the beginning have been read.
    has_begun: bool,
}

impl fmt::Debug for LogFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFollower")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Returns a follower of a plugin's log, from the entries on that the query selects; `None` if
    /// there is no such plugin.
    pub fn follow_logs(&self, plugin: &str, query: LogQuery) -> Option<LogFollower> {
        Some(LogFollower {
            plugin: PluginName::new(plugin).ok()?,
            sink: self.log_of(plugin)?,
            runtime: self.clone(),
            query,
            has_begun: false,
        })
    }
}

impl LogFollower {
    /// Returns entries that have not been read. The first call returns at most [`LogQuery::limit`]
    /// entries, the newest ones; later calls return all. Waits until there are some. Cancel-safe.
    pub async fn next(&mut self) -> MoreLogs {
        loop {
            self.sink.more(self.query.after).await;
            let (mut more, last) = self.sink.read_on(&self.query);
            if !std::mem::replace(&mut self.has_begun, true) {
                more.missed = 0;
                self.query.limit = None;
            }
            self.query.after = last;
            if !more.entries.is_empty() || more.missed > 0 {
                return more;
            }
        }
    }

    /// Returns true if there will be no more entries, because the plugin is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let log = self.runtime.log_of(self.plugin.as_str());
        !log.is_some_and(|log| log.is(&self.sink))
    }
}
