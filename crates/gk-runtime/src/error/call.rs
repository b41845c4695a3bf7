//! Why a call failed.

use std::time::Duration;

use gk_manifest::PluginName;

/// A call into a plugin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no plugin of that name.
    #[error("plugin {plugin:?} not found")]
    UnknownPlugin {
        /// The name asked for.
        plugin: String,
    },
    /// The plugin does not run.
    #[error("plugin \"{plugin}\" is not running: {reason}")]
    NotRunning {
        /// The plugin.
        plugin: PluginName,
        /// Why not.
        reason: String,
    },
    /// The generation that was meant takes no more calls; nothing was sent.
    #[error("the version of plugin \"{plugin}\" that was meant takes no more calls; call it again")]
    Moved {
        /// The plugin.
        plugin: PluginName,
    },
    /// The host's policy lets nobody call it.
    #[error("plugin \"{plugin}\" is not called: {reason}")]
    Refused {
        /// The plugin.
        plugin: PluginName,
        /// Why not.
        reason: String,
    },
    /// The plugin runs as many calls as it may, and this one has waited for as long as one may, or as many wait already.
    /// Nothing of it was sent.
    #[error("plugin \"{plugin}\" is busy: {running} calls run and {waiting} wait; try again later")]
    Busy {
        /// The plugin.
        plugin: PluginName,
        /// How many calls run.
        running: usize,
        /// How many calls wait.
        waiting: usize,
    },
    /// The result was thrown away because the host may hold no more at this moment.
    #[error(
        "the result of plugin \"{plugin}\" has {bytes} bytes, for which the host's memory budget has no room at this moment; try again later"
    )]
    NoMemory {
        /// The plugin.
        plugin: PluginName,
        /// The result's size in bytes.
        bytes: usize,
    },
    /// The call took too long. The plugin may still be working on it; its late reply is discarded.
    #[error(
        "plugin \"{plugin}\" did not answer the call of {function:?} within {after:?}; if it needs longer, raise resources.call_timeout in plugin.yaml, or call_timeout in its policy"
    )]
    Timeout {
        /// The plugin.
        plugin: PluginName,
        /// The function.
        function: String,
        /// The limit.
        after: Duration,
    },
    /// The plugin's process ended, or its connection broke, before it answered.
    #[error(
        "plugin \"{plugin}\" ended before it answered, and may have done what it was asked: {reason}"
    )]
    Crashed {
        /// The plugin.
        plugin: PluginName,
        /// How, and what it said last.
        reason: String,
    },
    /// The plugin answered with an error of its own.
    #[error("{message}")]
    Application {
        /// The plugin.
        plugin: PluginName,
        /// Its text.
        message: String,
    },
    /// The plugin does not know how to be called so: an error of the protocol, not of the function.
    #[error("plugin \"{plugin}\" did not understand the call: {reason}")]
    Protocol {
        /// The plugin.
        plugin: PluginName,
        /// What went wrong.
        reason: String,
    },
    /// The function's name is empty or too long.
    #[error("a function's name has 1 to {limit} bytes, not {len}")]
    FunctionName {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// The arguments are too large.
    #[error(
        "the arguments for plugin \"{plugin}\" have {len} bytes; at most {limit} are passed on"
    )]
    ArgsTooLarge {
        /// The plugin.
        plugin: PluginName,
        /// Their size in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The result is too large.
    #[error(
        "plugin \"{plugin}\" answered the call of {function:?} with {len} bytes; at most {limit} are passed on; return less, in pages"
    )]
    ResultTooLarge {
        /// The plugin.
        plugin: PluginName,
        /// The function.
        function: String,
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl CallError {
    /// Whether the plugin says that it has no such function, in the words of both SDKs.
    #[must_use]
    pub fn is_unknown_function(&self, function: &str) -> bool {
        let Self::Application { message, .. } = self else {
            return false;
        };
        let rest = message.strip_prefix("unknown function");
        rest.is_some_and(|rest| rest.trim_matches([':', ' ', '"']) == function)
    }
}
