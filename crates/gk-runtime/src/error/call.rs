//! Errors of calls.

use std::time::Duration;

use gk_manifest::PluginName;

/// A call into a plugin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no plugin of that name.
    #[error("plugin {plugin:?} not found")]
    UnknownPlugin {
        /// Name that was asked for.
        plugin: String,
    },
    /// The plugin does not run.
    #[error("plugin \"{plugin}\" is not running: {reason}")]
    NotRunning {
        /// Name of the plugin.
        plugin: PluginName,
        /// State of the plugin.
        reason: String,
    },
    /// The generation `target` takes no more calls. No part of the call was sent.
    #[error("the version of plugin \"{plugin}\" that was meant takes no more calls; call it again")]
    Moved {
        /// Name of the plugin.
        plugin: PluginName,
    },
    /// The host's policy forbids all calls of the plugin.
    #[error("plugin \"{plugin}\" is not called: {reason}")]
    Refused {
        /// Name of the plugin.
        plugin: PluginName,
        /// Reason of the refusal.
        reason: String,
    },
    /// The plugin runs its maximum number of calls, and either the queue is full or this call has
    /// waited for the maximum time. No part of the call was sent.
    #[error("plugin \"{plugin}\" is busy: {running} calls run and {waiting} wait; try again later")]
    Busy {
        /// Name of the plugin.
        plugin: PluginName,
        /// Number of running calls.
        running: usize,
        /// Number of waiting calls.
        waiting: usize,
    },
    /// The result was dropped because the host's memory budget is used up at this moment.
    #[error(
        "the result of plugin \"{plugin}\" has {bytes} bytes, for which the host's memory budget has no room at this moment; try again later"
    )]
    NoMemory {
        /// Name of the plugin.
        plugin: PluginName,
        /// Size of the result in bytes.
        bytes: usize,
    },
    /// The call took too long. The plugin may still be working on it; its late reply is discarded.
    #[error(
        "plugin \"{plugin}\" did not answer the call of {function:?} within {after:?}; if it needs longer, raise resources.call_timeout in plugin.yaml, or call_timeout in its policy"
    )]
    Timeout {
        /// Name of the plugin.
        plugin: PluginName,
        /// Name of the function.
        function: String,
        /// Time limit of the call.
        after: Duration,
    },
    /// The plugin's process ended, or its connection broke, before it answered.
    #[error(
        "plugin \"{plugin}\" ended before it answered, and may have done what it was asked: {reason}"
    )]
    Crashed {
        /// Name of the plugin.
        plugin: PluginName,
        /// Exit status and last output of the process.
        reason: String,
    },
    /// The plugin answered with an error of its own.
    #[error("{message}")]
    Application {
        /// Name of the plugin.
        plugin: PluginName,
        /// Error text of the plugin.
        message: String,
    },
    /// The plugin did not accept the form of the call: an error of the protocol, not of the
    /// function.
    #[error("plugin \"{plugin}\" did not understand the call: {reason}")]
    Protocol {
        /// Name of the plugin.
        plugin: PluginName,
        /// Cause of the failure.
        reason: String,
    },
    /// The function's name is empty or too long.
    #[error("a function's name has 1 to {limit} bytes, not {len}")]
    FunctionName {
        /// Length of the name in bytes.
        len: usize,
        /// Maximum length in bytes.
        limit: usize,
    },
    /// The arguments are too large.
    #[error(
        "the arguments for plugin \"{plugin}\" have {len} bytes; at most {limit} are passed on"
    )]
    ArgsTooLarge {
        /// Name of the plugin.
        plugin: PluginName,
        /// Size of the arguments in bytes.
        len: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
    /// The plugin answered with more bytes than a result may have.
    #[error(
        "plugin \"{plugin}\" answered the call of {function:?} with {len} bytes; at most {limit} are passed on; return less, in pages"
    )]
    ResultTooLarge {
        /// Name of the plugin.
        plugin: PluginName,
        /// Name of the function.
        function: String,
        /// Size of the result in bytes.
        len: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
}

impl CallError {
    /// Returns true if the plugin answered that it has no such function, in the wording of both
    /// SDKs.
    #[must_use]
    pub fn is_unknown_function(&self, function: &str) -> bool {
        let Self::Application { message, .. } = self else {
            return false;
        };
        let rest = message.strip_prefix("unknown function");
        rest.is_some_and(|rest| rest.trim_matches([':', ' ', '"']) == function)
    }
}
