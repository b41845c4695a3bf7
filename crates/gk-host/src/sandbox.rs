//! The configuration of the sandbox.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use gk_manifest::PluginName;
use gk_runtime::{KeeperProgram, Layer, SandboxConfig, Strictness, limits};
use serde::{Deserialize, Serialize};

/// Strictness of the plugins' sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SandboxLevel {
    /// A plugin starts only if every layer of its sandbox holds
    Required,
    /// A plugin starts with what this machine can enforce; the rest is reported
    #[default]
    BestEffort,
    /// Without a sandbox: a plugin can do whatever the host's user can
    Off,
}

impl std::fmt::Display for SandboxLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SandboxLevel::Required => "required",
            SandboxLevel::BestEffort => "best-effort",
            SandboxLevel::Off => "off",
        })
    }
}

/// Section `[sandbox]`: how plugins are confined, and with which limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SandboxSection {
    /// Layers that no plugin gets, by their names in `gk-host doctor`.
    without: Vec<String>,
    /// Plugins that compile code while they run.
    jit: BTreeSet<PluginName>,
    /// Plugins that use the host's network themselves.
    direct_network: BTreeSet<PluginName>,
    /// Plugins that get no sandbox at all, for a debugger.
    off: BTreeSet<PluginName>,
    /// Processor time of each plugin in thousandths of a processor.
    cpu_millis: Option<u32>,
    /// Maximum number of processes and threads of each plugin.
    processes: u32,
    /// Maximum number of open descriptors of each process.
    open_files: u64,
    /// Maximum size of a plugin's temporary directory, in MiB.
    temp_mb: u64,
    /// Maximum size of a file that a plugin writes, in MiB.
    file_mb: u64,
}

impl Default for SandboxSection {
    fn default() -> Self {
        Self {
            without: Vec::new(),
            jit: BTreeSet::new(),
            direct_network: BTreeSet::new(),
            off: BTreeSet::new(),
            cpu_millis: None,
            processes: limits::PROCESSES_MAX,
            open_files: limits::OPEN_FILES_MAX,
            temp_mb: limits::TEMP_BYTES_MAX >> 20,
            file_mb: limits::FILE_BYTES_MAX >> 20,
        }
    }
}

impl SandboxSection {
    /// Checks the values. An error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        for name in &self.without {
            name.parse::<Layer>()
                .with_context(|| format!("sandbox.without names {name:?}"))?;
        }
        let small = |key: &str, value: u64, least: u64| {
            if value < least {
                bail!("sandbox.{key} is {value}; it must be at least {least}");
            }
            Ok(())
        };
        small("processes", self.processes.into(), 16)?;
        small("open_files", self.open_files, 64)?;
        small("temp_mb", self.temp_mb, 1)?;
        small("file_mb", self.file_mb, 1)?;
        small("cpu_millis", self.cpu_millis.unwrap_or(1000).into(), 10)
    }

    /// Returns the runtime's configuration; `None` without a sandbox.
    pub(crate) fn to_config(&self, level: SandboxLevel) -> Result<Option<SandboxConfig>> {
        self.check()?;
        let level = match level {
            SandboxLevel::Off => return Ok(None),
            SandboxLevel::BestEffort => Strictness::BestEffort,
            SandboxLevel::Required => Strictness::Required,
        };
        let mut config = SandboxConfig::new(KeeperProgram::this()?);
        config.level = level;
        config.without = self
            .without
            .iter()
            .map(|name| name.parse::<Layer>())
            .collect::<Result<_, _>>()?;
        config.jit = self.jit.clone();
        config.direct_network = self.direct_network.clone();
        config.off = self.off.clone();
        config.cpu_millis = self.cpu_millis;
        config.processes = self.processes;
        config.open_files = self.open_files;
        config.temp_bytes = self.temp_mb.saturating_mul(1 << 20);
        config.file_bytes = self.file_mb.saturating_mul(1 << 20);
        Ok(Some(config))
    }
}
