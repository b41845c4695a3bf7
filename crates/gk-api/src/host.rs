//! The host: what it is, how it stands, what its plugins use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::Usage;

/// The host, and who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostInfo {
    /// Version of the host.
    pub version: String,
    /// When it was started, RFC 3339.
    pub started_at: Option<String>,
    /// `true` if it is ready for requests.
    pub ready: bool,
    /// The directory that it looks for plugins in.
    pub plugins_dir: String,
    /// The directory that it keeps its own data in.
    pub data_dir: String,
    /// `true` if plugins start anew when their files change.
    pub hot_reload: bool,
    /// `true` if plugins must be signed by a trusted key.
    pub signatures_required: bool,
    /// `best-effort`, `required` or `off`.
    pub sandbox_level: String,
    /// Number of plugins in each state.
    pub plugins: BTreeMap<String, usize>,
    /// Login of the caller.
    pub login: String,
    /// Role of the caller.
    pub role: String,
}

/// A host that shares its state with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SharingHost {
    /// Id of the process; another one after each start.
    pub id: String,
    /// Name of the host.
    pub name: String,
    /// Version of the host.
    pub version: String,
    /// When it was started, RFC 3339.
    pub started_at: Option<String>,
    /// When it gave its last sign of life, RFC 3339.
    pub seen_at: Option<String>,
    /// `true` if that is less than 15 s ago.
    pub fresh: bool,
    /// `true` if every change of a policy, a token or a plugin is in force there.
    pub current: bool,
    /// `true` for the host that answers.
    pub this: bool,
    /// `true` if it is ready for requests.
    pub ready: bool,
    /// Its plugins, by name.
    pub plugins: BTreeMap<String, HostedPlugin>,
}

/// A plugin on one of several hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostedPlugin {
    /// State, such as `running`.
    pub state: String,
    /// Version of what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Number of its generation on that host.
    pub generation: u64,
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// All is well.
    Ok,
    /// The thing is not used, and need not be.
    Off,
    /// The thing works, and could be better.
    Warning,
    /// The thing does not work.
    Failed,
}

/// A check of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Check {
    /// Subject of the check, such as `database` or `sandbox: seccomp`.
    pub name: String,
    /// Result of the check.
    pub state: CheckState,
    /// Finding, in words.
    pub detail: String,
    /// Next step for a person; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Result of all checks of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Doctor {
    /// `true` if no check failed.
    pub healthy: bool,
    /// All that was checked.
    pub checks: Vec<Check>,
}

/// Sums over a plugin's processes and calls, since the host's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Figures {
    /// Resident memory of its processes, in bytes.
    pub memory_bytes: u64,
    /// Processor time that its present processes have used, in seconds.
    pub cpu_seconds: f64,
    /// Calls into it that have ended.
    pub calls: u64,
    /// Of these, those that failed in any way.
    pub failed: u64,
    /// Calls that run at this moment.
    pub in_flight: u64,
    /// Calls that wait at this moment.
    pub waiting: u64,
    /// Calls that were refused for want of room.
    pub shed: u64,
    /// The duration in milliseconds that half of its calls did not exceed; an estimate from a
    /// histogram.
    pub p50_ms: Option<f64>,
    /// The same for 99 of 100.
    pub p99_ms: Option<f64>,
}

/// Use of the host API by a plugin, and results of its calls (contract §7.6, and some more).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Stats {
    /// Name of the plugin.
    pub plugin_name: String,
    /// State of the plugin, as in the list.
    pub state: String,
    /// Number of the generation that serves, from 1.
    pub generation: u64,
    /// Requests of the plugin to the host API.
    #[serde(flatten)]
    pub usage: Usage,
    /// Calls of the plugin's functions.
    pub figures: Figures,
}
