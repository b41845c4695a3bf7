//! Remedies that errors name, in the terms of the application that embeds the runtime.

use std::fmt;

/// The next step after a failure, as the application that embeds the runtime offers it: a command,
/// a request, a page. The runtime itself knows neither.
///
/// Each function gets the plugin's name and returns the rest of a sentence.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Hints {
    /// Remedy for a missing grant.
    pub grant: fn(&str) -> String,
    /// Place of all that a plugin printed.
    pub logs: fn(&str) -> String,
    /// Command or request that enables a plugin.
    pub enable: fn(&str) -> String,
    /// Place that lists which layers of the sandbox are missing.
    pub sandbox: &'static str,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            grant: |name| {
                format!(
                    "grant it in the policy of {name} (what it does not ask for, its author adds to \
                     resources.permissions in plugin.yaml)"
                )
            },
            logs: |name| format!("the log of {name} has all that it printed"),
            enable: |name| format!("{name} is enabled again"),
            sandbox: "the report on its layers has the remedy of each",
        }
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}
