//! The rates of a policy. They belong to the plugin, not to its process, so a reload starts no new
//! window.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use gk_manifest::PluginName;

/// A rate that requests of a plugin count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Calls to other plugins, per second.
    Calls,
    /// Statements, per minute.
    Db,
    /// Outgoing HTTP requests, per minute.
    Http,
    /// Mails, per minute.
    Mail,
}

impl Rate {
    /// All rates.
    pub const ALL: [Self; 4] = [Self::Calls, Self::Db, Self::Http, Self::Mail];

    /// The rate's name, for keys and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Rate::Calls => "calls",
            Rate::Db => "db",
            Rate::Http => "http",
            Rate::Mail => "mail",
        }
    }

    /// Time that the rate is a number in.
    #[must_use]
    pub fn window(self) -> Duration {
        match self {
            Rate::Calls => Duration::from_secs(1),
            Rate::Db | Rate::Http | Rate::Mail => Duration::from_secs(60),
        }
    }

    /// The rate's name in an error.
    pub(super) fn what(self) -> &'static str {
        match self {
            Rate::Calls => "plugin call",
            Rate::Db => "DB query",
            Rate::Http => "HTTP request",
            Rate::Mail => "email",
        }
    }
}

/// Rates that several hosts keep together.
#[async_trait]
pub trait SharedRates: Send + Sync + fmt::Debug + 'static {
    /// Takes from a plugin's rate, of which the hosts together have `limit` in its window: `want` if so
    /// many are left, else `need`, else none. Returns the number taken; `None` if it is not known.
    async fn take(
        &self,
        plugin: &PluginName,
        rate: Rate,
        limit: u32,
        (need, want): (u32, u32),
    ) -> Option<u32>;

    /// Number of hosts, as last known; at least 1.
    fn hosts(&self) -> u32;
}
