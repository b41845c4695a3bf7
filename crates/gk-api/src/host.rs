//! The host: what it is, how it stands, what its plugins use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::Usage;

/// The host, and who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostInfo {
    /// Its version.
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
    /// How many plugins are in each state.
    pub plugins: BTreeMap<String, usize>,
    /// Who asks: the login.
    pub login: String,
    /// Who asks: the role.
    pub role: String,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// All is well.
    Ok,
    /// It is not used, and need not be.
    Off,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Check {
    /// What was checked, such as `database` or `sandbox: seccomp`.
    pub name: String,
    /// How it came out.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How the host stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Doctor {
    /// `true` if nothing failed.
    pub healthy: bool,
    /// All that was checked.
    pub checks: Vec<Check>,
}

/// What a plugin's processes and calls amount to, since the host's start.
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

/// What a plugin has used, and how its calls went (contract §7.6, and some more).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Stats {
    /// The plugin.
    pub plugin_name: String,
    /// Its state.
    pub state: String,
    /// Its generation.
    pub generation: u64,
    /// What it asked of the host.
    #[serde(flatten)]
    pub usage: Usage,
    /// What was asked of it.
    pub figures: Figures,
}
