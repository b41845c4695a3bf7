//! Plugins, as the API shows them.

use gk_manifest::{JobSpec, MenuItemSpec, Registration, RouteSpec, WidgetSpec};
use serde::{Deserialize, Serialize};

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Plugin {
    /// Its name. Of a directory in which no plugin could be found: none, if the directory's name is
    /// no plugin's.
    pub name: Option<String>,
    /// The same, as the tutorial writes it.
    #[serde(rename = "Name")]
    pub legacy_name: Option<String>,
    /// Its version, as it registered it, else as its plugin.yaml has it.
    pub version: String,
    /// What it is.
    pub description: String,
    /// Who wrote it.
    pub author: String,
    /// Under which terms it may be used.
    pub license: String,
    /// Where to read about it.
    pub homepage: String,
    /// Its icon.
    pub icon: String,
    /// `starting`, `running`, `stopping`, `stopped`, `blocked`, `disabled`, `waiting`,
    /// `backing_off`, `crash_looping` or `failed`.
    pub state: String,
    /// `true` if it is running.
    pub loaded: bool,
    /// `true` if it may run.
    pub enabled: bool,
    /// Counts its processes since the host's start.
    pub generation: u64,
    /// Processes that were replaced and finish their calls.
    pub draining: usize,
    /// When its process was started, RFC 3339.
    pub started_at: Option<String>,
    /// When it came up, RFC 3339.
    pub running_since: Option<String>,
    /// What its signature was worth when it was started: `valid`, `valid-v1`, `unsigned`,
    /// `untrusted key`, `tampered` or `revoked`.
    pub signature: Option<String>,
    /// The id of the key that signed it.
    pub signing_key: Option<String>,
    /// Its routes; null before it has registered.
    pub routes: Option<Vec<RouteSpec>>,
    /// Its widgets.
    pub widgets: Option<Vec<WidgetSpec>>,
    /// Its jobs.
    pub jobs: Option<Vec<JobSpec>>,
    /// Its menu items.
    pub menu_items: Option<Vec<MenuItemSpec>>,
    /// Its routes that are not served, and why.
    pub refused_routes: Vec<RefusedRoute>,
    /// What only administrators see.
    #[serde(flatten)]
    pub inside: Option<PluginInside>,
}

/// A route that is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RefusedRoute {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Why it is not served.
    pub reason: String,
}

/// What only administrators see of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PluginInside {
    /// Its directory.
    pub directory: String,
    /// The id of its process.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Which of its files is no longer what runs.
    #[serde(default)]
    pub changed: Option<String>,
    /// The version that starts beside what runs, or the last one that did not come up.
    #[serde(default)]
    pub candidate: Option<Candidate>,
    /// How the layers of its sandbox stand; null while it has none.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// Warnings about its manifest and registration.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How often in a row it ended by itself.
    #[serde(default)]
    pub crashes: u32,
    /// How a process of it failed last.
    #[serde(default)]
    pub last_error: Option<String>,
    /// `true` if there is a version to go back to.
    #[serde(default)]
    pub can_roll_back: bool,
    /// When it is started again, RFC 3339.
    #[serde(default)]
    pub next_start: Option<String>,
    /// Why it does not run, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A version that is to replace what runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Candidate {
    /// Its number.
    pub generation: u64,
    /// `starting` or `failed`.
    pub state: String,
    /// Why it did not come up.
    pub error: Option<String>,
}

/// The sandbox of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Sandbox {
    /// `true` if every layer that was asked for holds.
    pub complete: bool,
    /// Its layers.
    pub layers: Vec<SandboxLayer>,
}

/// One layer of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SandboxLayer {
    /// Its name.
    pub layer: String,
    /// `enforced`, `partial`, `unavailable`, `failed` or `off`.
    pub state: String,
    /// What holds, or why it does not.
    pub detail: String,
    /// The system's error number, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

/// A plugin with all there is to see.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PluginDetail {
    /// What lists show of it.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// The timeouts in force, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts_ms: Option<Timeouts>,
    /// What it registered, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
}

/// Timeouts in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Timeouts {
    /// Of a call.
    pub call: u64,
    /// Of GKRegister and Init, each.
    pub init: u64,
    /// Of Shutdown.
    pub shutdown: u64,
}
