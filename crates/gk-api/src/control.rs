//! Orders of an operator to a plugin, and the plugin's condition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Outcome of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeWord {
    /// The package that is there serves.
    Serving,
    /// The package that is there did not come up.
    Failed,
    /// The plugin waits for a plugin that it depends on.
    Waiting,
    /// The plugin is still starting.
    Starting,
    /// The plugin is still stopping.
    Stopping,
    /// No process of the plugin runs.
    Stopped,
}

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// Outcome of the order.
    pub outcome: OutcomeWord,
    /// The generation that the plugin has now.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Why it failed or waits.
    #[serde(default)]
    pub error: Option<String>,
    /// Outcome in upstream's word, for the endpoints that upstream has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Health of a plugin, in upstream's words and some more (contract §3.8). Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Health {
    /// `true` if it runs, answers probes, and is not degraded.
    pub healthy: bool,
    /// `true` if all its last calls timed out.
    pub degraded: bool,
    /// State of the plugin, as in the list.
    pub state: String,
    /// Number of the generation that serves, from 1.
    pub generation: u64,
    /// When it was looked at last.
    pub last_check: Option<String>,
    /// When it was last found well.
    pub last_success: Option<String>,
    /// Number of health probes in a row that were not answered.
    pub consecutive_failures: u32,
    /// Last problem that a probe found, for administrators.
    pub last_error: Option<String>,
    /// Last answer of the plugin's own health function, for administrators.
    pub payload: Option<serde_json::Value>,
    /// Number of times in a row that the plugin ended by itself.
    pub restart_attempts: u32,
    /// When it last ended by itself.
    pub last_restart_at: Option<String>,
    /// When it is started again.
    pub next_restart_at: Option<String>,
    /// Always false: this host gives no plugin up.
    pub crash_loop_abandoned: bool,
    /// `true` if it keeps ending by itself.
    pub crash_looping: bool,
}

/// Health of all plugins, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct HealthOfAll {
    /// Health by plugin.
    pub plugins: BTreeMap<String, Health>,
}
