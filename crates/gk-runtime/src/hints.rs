//! What a person can do, in the words of whoever embeds the runtime.

use std::fmt;

/// The next step after a failure, as the application that embeds the runtime offers it: a command,
/// a request, a page. The runtime itself knows neither.
///
/// Each function gets the plugin's name and returns the rest of a sentence.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Hints {
    /// How to grant a plugin what it was refused.
    pub grant: fn(&str) -> String,
    /// Where all that a plugin printed can be read.
    pub logs: fn(&str) -> String,
    /// How to enable a plugin.
    pub enable: fn(&str) -> String,
    /// How to learn what a sandbox that is not complete lacks.
    pub sandbox: &'static str,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            grant: |name| format!("grant it in the policy of {name}"),
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
