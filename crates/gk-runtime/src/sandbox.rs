//! Confinement of plugins, as an operator configures it for all of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gk_manifest::PluginName;
use gk_sandbox::{Confinement, KeeperProgram, LayerSet, Report, SpawnError, Spawner, Strictness};

use crate::limits::{FILE_BYTES_MAX, OPEN_FILES_MAX, PROCESSES_MAX, TEMP_BYTES_MAX};

/// The sandbox of every plugin.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SandboxConfig {
    /// The program that makes the sandboxes: the host itself, in most cases.
    pub keeper: KeeperProgram,
    /// Strictness of a start: only if every layer holds, or with the layers that the machine has.
    pub level: Strictness,
    /// Layers that no plugin gets.
    pub without: LayerSet,
    /// Plugins that compile code while they run, and so need memory that is writable and
    /// executable: they are started without the layer `mdwe`.
    pub jit: BTreeSet<PluginName>,
    /// Plugins that use the host's network themselves. The others reach it through the host API
    /// alone, where hosts are checked; these reach all that the host can.
    pub direct_network: BTreeSet<PluginName>,
    /// Plugins that get no sandbox at all: for a debugger, which no sandbox lets in.
    pub off: BTreeSet<PluginName>,
    /// Processor time of each plugin in thousandths of a processor; `None` is no limit.
    pub cpu_millis: Option<u32>,
    /// Maximum number of processes and threads of each plugin.
    pub processes: u32,
    /// Maximum number of open descriptors of each process.
    pub open_files: u64,
    /// Maximum size of a plugin's temporary directory, in bytes.
    pub temp_bytes: u64,
    /// Maximum size of a file that a plugin writes, in bytes.
    pub file_bytes: u64,
}

impl SandboxConfig {
    /// All layers as far as this machine has them, with the limits of [`limits`](crate::limits).
    pub fn new(keeper: KeeperProgram) -> Self {
        Self {
            keeper,
            level: Strictness::BestEffort,
            without: LayerSet::default(),
            jit: BTreeSet::new(),
            direct_network: BTreeSet::new(),
            off: BTreeSet::new(),
            cpu_millis: None,
            processes: PROCESSES_MAX,
            open_files: OPEN_FILES_MAX,
            temp_bytes: TEMP_BYTES_MAX,
            file_bytes: FILE_BYTES_MAX,
        }
    }

    /// Creates such a sandbox without a program in it, and reports the state of its layers.
    ///
    /// # Errors
    /// When no sandbox can be created at all.
    pub fn probe(&self) -> Result<Report, SpawnError> {
        let spawner =
            Spawner::with_keeper(self.keeper.clone()).map_err(|source| SpawnError::Step {
                step: "start a thread",
                path: PathBuf::new(),
                source,
            })?;
        spawner.probe(&self.default_confinement("doctor", "/tmp/goatflow-plugin-doctor".into()))
    }

    /// The confinement of one plugin, without its directories.
    pub fn confinement(&self, plugin: &PluginName, temp_dir: PathBuf) -> Confinement {
        let mut confinement = self.default_confinement(plugin.as_str(), temp_dir);
        if self.jit.contains(plugin) {
            confinement.without = confinement.without.with(gk_sandbox::Layer::Mdwe);
        }
        confinement.network = self.direct_network.contains(plugin);
        confinement
    }

    /// Returns the confinement of a plugin without rights of its own.
    pub(crate) fn default_confinement(&self, name: &str, temp_dir: PathBuf) -> Confinement {
        let mut confinement = Confinement::new(name, temp_dir);
        confinement.level = self.level;
        confinement.without = self.without;
        confinement.temp_bytes = self.temp_bytes;
        let resources = &mut confinement.resources;
        resources.cpu_millis = self.cpu_millis;
        resources.processes = self.processes;
        resources.open_files = self.open_files;
        resources.file_bytes = self.file_bytes;
        confinement
    }
}
