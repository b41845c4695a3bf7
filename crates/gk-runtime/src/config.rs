//! What a runtime is started with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gk_manifest::PluginName;
use gk_wire::MemoryBudget;

use crate::error::StartError;
use crate::health::HealthConfig;
use crate::hints::Hints;
use crate::limits::{RESCAN_INTERVAL, START_TIMEOUT};
use crate::sandbox::SandboxConfig;
use crate::signatures::Signatures;

/// The keys of Init's configuration that only the host sets.
pub const PROTECTED_KEYS: [&str; 4] = ["host_version", "plugin_dir", "plugin_name", "work_dir"];

/// What the operator's configuration gives to the Init of each plugin.
pub type PluginSettings = BTreeMap<PluginName, BTreeMap<String, String>>;

/// What a runtime is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// Where the plugins are; created when missing.
    pub plugins_dir: PathBuf,
    /// Where the host keeps its data; plugins get `plugins/<name>` in it as their work directory.
    pub data_dir: PathBuf,
    /// Below it are the plugins' temporary directories and sockets. Keep it short: a socket's
    /// path has at most 107 bytes.
    pub temp_dir: PathBuf,
    /// The version plugins are told, and that their `min_host_version` is compared with.
    pub host_version: String,
    /// What plugins get as `TZ`.
    pub timezone: Option<OsString>,
    /// The variables among which each plugin's own (`GOATFLOW_PLUGIN_<NAME>_<KEY>`) are looked
    /// for.
    pub variables: Vec<(OsString, OsString)>,
    /// How long a plugin may take to its handshake.
    pub start_timeout: Duration,
    /// How plugins are confined; `None` is not at all, which is warned about.
    pub sandbox: Option<SandboxConfig>,
    /// Who is trusted to sign plugins, and whether others run.
    pub signatures: Signatures,
    /// Whether plugins are started anew when their files change, and started and ended when they come and go. Without
    /// it what is there is only told.
    pub hot_reload: bool,
    /// How running plugins are probed.
    pub health: HealthConfig,
    /// How often the plugins directory is looked through whatever its file system tells of changes:
    /// [`RESCAN_INTERVAL_MIN`](crate::limits::RESCAN_INTERVAL_MIN) to
    /// [`RESCAN_INTERVAL_MAX`](crate::limits::RESCAN_INTERVAL_MAX); what is outside counts as the nearest of them.
    pub rescan_interval: Duration,
    /// What the Init of plugins is given besides their variables.
    pub settings: PluginSettings,
    /// What all plugins together may make this process hold: results, requests to the host API and
    /// its answers. `None` leaves it to the limits of each connection.
    pub memory: Option<MemoryBudget>,
    /// What errors advise a person to do.
    pub hints: Hints,
}

impl RuntimeConfig {
    /// A configuration that takes nothing from the environment.
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
