//! Plugins, as the API shows them.

use gk_manifest::{JobSpec, MenuItemSpec, Registration, RouteSpec, WidgetSpec};
use serde::{Deserialize, Serialize};

/// A plugin, as lists and details show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Plugin {
    /// Name of the plugin. Of a directory without a valid plugin it is the directory's name, or
    /// null if that is no plugin's name.
    pub name: Option<String>,
    /// The same, as the tutorial writes it.
    #[serde(rename = "Name")]
    pub legacy_name: Option<String>,
    /// Version that the plugin registered, or that of its plugin.yaml.
    pub version: String,
    /// Purpose of the plugin, as its author describes it.
    pub description: String,
    /// Author of the plugin.
    pub author: String,
    /// Under which terms it may be used.
    pub license: String,
    /// Home page of the plugin.
    pub homepage: String,
    /// Icon: SVG, a class of an icon font, or a path.
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
    /// State of the signature at the plugin's start: `valid`, `valid-v1`, `unsigned`, `untrusted
    /// key`, `tampered` or `revoked`.
    pub signature: Option<String>,
    /// The id of the key that signed it.
    pub signing_key: Option<String>,
    /// Routes of the plugin; null before it has registered.
    pub routes: Option<Vec<RouteSpec>>,
    /// Widgets that the plugin registered.
    pub widgets: Option<Vec<WidgetSpec>>,
    /// Jobs that the plugin registered.
    pub jobs: Option<Vec<JobSpec>>,
    /// Menu items that the plugin registered.
    pub menu_items: Option<Vec<MenuItemSpec>>,
    /// Routes that are not served, with the reason of each.
    pub refused_routes: Vec<RefusedRoute>,
    /// Details for administrators.
    #[serde(flatten)]
    pub inside: Option<PluginInside>,
}

/// A route that is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RefusedRoute {
    /// HTTP method.
    pub method: String,
    /// Path that the plugin registered.
    pub path: String,
    /// Why it is not served.
    pub reason: String,
}

/// Details of a plugin for administrators.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PluginInside {
    /// Directory of the package.
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
    /// Layers of the sandbox; null while no sandbox runs.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// Warnings about its manifest and registration.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Number of times in a row that the plugin ended by itself.
    #[serde(default)]
    pub crashes: u32,
    /// Report on the last failure of a process.
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
    /// Number of the generation.
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
    /// Layers, in the order of the report.
    pub layers: Vec<SandboxLayer>,
}

/// One mechanism that confines a plugin, and whether it is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SandboxLayer {
    /// Name of the layer.
    pub layer: String,
    /// `enforced`, `partial`, `unavailable`, `failed` or `off`.
    pub state: String,
    /// Detail of the state, or the reason for a missing layer.
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
    /// The plugin as lists show it.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// The timeouts in force, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts_ms: Option<Timeouts>,
    /// Registration of the plugin, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
}

/// Timeouts in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Timeouts {
    /// Maximum duration of a call, in milliseconds.
    pub call: u64,
    /// Maximum duration of GKRegister and of Init, each, in milliseconds.
    pub init: u64,
    /// Maximum duration of Shutdown, in milliseconds.
    pub shutdown: u64,
}
