//! The rates of a policy. They belong to the plugin, not to its process, so a reload starts no new
//! window.

use std::time::Duration;

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
    pub(super) fn window(self) -> Duration {
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
