//! Configuration that a runtime is started with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gk_manifest::PluginName;
use gk_wire::MemoryBudget;
use parking_lot::RwLock;

use crate::error::StartError;
use crate::health::HealthConfig;
use crate::hints::Hints;
use crate::limits::{RESCAN_INTERVAL, START_TIMEOUT};
use crate::sandbox::SandboxConfig;
use crate::signatures::Signatures;

/// The keys of Init's configuration that only the host sets.
pub const PROTECTED_KEYS: [&str; 4] = ["host_version", "plugin_dir", "plugin_name", "work_dir"];

/// Settings from the operator's configuration that the Init of each plugin gets.
pub type PluginSettings = BTreeMap<PluginName, BTreeMap<String, String>>;

/// Configuration that a runtime is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// Directory of the plugins. Created when missing.
    pub plugins_dir: PathBuf,
    /// Directory of the host's data. Plugins get `plugins/<name>` in it as their work directory.
    /// Created when missing.
    pub data_dir: PathBuf,
    /// Parent of the plugins' temporary directories and sockets. Keep its path short: a socket's
    /// path has at most 107 bytes.
    pub temp_dir: PathBuf,
    /// The version plugins are told, and that their `min_host_version` is compared with.
    pub host_version: String,
    /// Value of the variable `TZ` of plugin processes.
    pub timezone: Option<OsString>,
    /// The variables among which each plugin's own (`GOATFLOW_PLUGIN_<NAME>_<KEY>`) are looked
    /// for.
    pub variables: Vec<(OsString, OsString)>,
    /// Maximum time from the start of a process to its handshake.
    pub start_timeout: Duration,
    /// Confinement of plugins. `None` runs them without a sandbox and logs a warning.
    pub sandbox: Option<SandboxConfig>,
    /// Keys that are trusted to sign plugins, and the rule for plugins without a trusted signature.
    pub signatures: Signatures,
    /// Restart plugins when their files change, and start and stop them as they come and go. If
    /// off, changes are only reported.
    pub hot_reload: bool,
    /// Interval, timeout and number of the health probes.
    pub health: HealthConfig,
    /// Interval between full scans of the plugins directory, which do not depend on change
    /// notifications: [`RESCAN_INTERVAL_MIN`](crate::limits::RESCAN_INTERVAL_MIN) to
    /// [`RESCAN_INTERVAL_MAX`](crate::limits::RESCAN_INTERVAL_MAX). A value outside of this range
    /// counts as the nearest limit.
    pub rescan_interval: Duration,
    /// Settings that the Init of plugins gets in addition to their variables.
    pub settings: PluginSettings,
    /// Budget for the memory that all plugins together make this process hold: results, requests to
    /// the host API and its answers. `None` leaves the memory to the limits of each connection.
    pub memory: Option<MemoryBudget>,
    /// Plugins that an operator has enabled or disabled on another host, by name: it counts in place
    /// of what this host has kept.
    pub enabled: Arc<RwLock<BTreeMap<String, bool>>>,
    /// Advice that errors give to a person.
    pub hints: Hints,
}

impl RuntimeConfig {
    /// Returns a configuration that takes no value from the environment.
    pub fn new(
        plugins_dir: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
        host_version: impl Into<String>,
    ) -> Self {
        Self {
            plugins_dir: plugins_dir.into(),
            data_dir: data_dir.into(),
            temp_dir: "/tmp".into(),
            host_version: host_version.into(),
            timezone: None,
            variables: Vec::new(),
            start_timeout: START_TIMEOUT,
            sandbox: None,
            signatures: Signatures::default(),
            hot_reload: true,
            health: HealthConfig::default(),
            settings: PluginSettings::new(),
            rescan_interval: RESCAN_INTERVAL,
            memory: None,
            enabled: Arc::default(),
            hints: Hints::default(),
        }
    }

    /// Takes `TZ` and the plugins' variables from this process's environment.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        self.timezone = std::env::var_os("TZ");
        self.variables = std::env::vars_os().collect();
        self
    }
}

/// The directory, absolute, created when missing.
pub(crate) fn made(what: &'static str, path: &Path) -> Result<PathBuf, StartError> {
    std::fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .map_err(|source| StartError::Directory {
            what,
            path: path.into(),
            source,
        })
}
