//! What an operator does to a plugin, and how it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeWord {
    /// What is there serves.
    Serving,
    /// What is there did not come up.
    Failed,
    /// It waits for a plugin that it depends on.
    Waiting,
    /// It is still starting.
    Starting,
    /// It is still stopping.
    Stopping,
    /// Nothing of it runs.
    Stopped,
}

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// What came of it.
    pub outcome: OutcomeWord,
    /// The generation that the plugin has now.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Why it failed or waits.
    #[serde(default)]
    pub error: Option<String>,
    /// What was done, in upstream's word, of the endpoints that upstream has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// How a plugin is, in upstream's words and some more (contract §3.8). Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Health {
    /// `true` if it runs, answers probes, and is not degraded.
    pub healthy: bool,
    /// `true` if all its last calls timed out.
    pub degraded: bool,
    /// Its state.
    pub state: String,
    /// Its generation.
    pub generation: u64,
    /// When it was looked at last.
    pub last_check: Option<String>,
    /// When it was last found well.
    pub last_success: Option<String>,
    /// How many probes in a row were not answered.
    pub consecutive_failures: u32,
    /// What was wrong last, for administrators.
    pub last_error: Option<String>,
    /// What its own health function answered last, for administrators.
    pub payload: Option<serde_json::Value>,
    /// How often in a row it ended by itself.
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

/// How all plugins are, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct HealthOfAll {
    /// Each of them.
    pub plugins: BTreeMap<String, Health>,
}

/// A job that a plugin has registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Job {
    /// The plugin.
    pub plugin: String,
    /// The job's id in the plugin.
    pub job: String,
    /// Which function it calls.
    pub handler: String,
    /// When it is due: five fields of cron, or a descriptor such as `@daily`, in UTC.
    pub schedule: String,
    /// What it does.
    pub description: String,
    /// `true` if the plugin has switched it on.
    pub enabled: bool,
}

/// What came of a job that was run by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct JobRun {
    /// The plugin.
    pub plugin: String,
    /// The job.
    pub job: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What it answered.
    pub result: serde_json::Value,
}
