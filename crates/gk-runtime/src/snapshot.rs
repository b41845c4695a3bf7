//! State of all plugins at one moment: immutable, swapped as a whole.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use gk_manifest::{Diagnostic, Manifest, PluginName, Registration};
use gk_sandbox::Report;

use crate::Problem;
use crate::calls::{CallTarget, Instance};
use crate::health::PluginHealth;
use crate::signatures::SignatureState;
use crate::timeouts::Timeouts;

/// All plugins at one moment, ordered by name.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The plugins, by name.
    pub plugins: Vec<Arc<PluginStatus>>,
    /// Directories whose plugin has no entry above: duplicates, and bad manifests in directories
    /// whose name is no plugin name.
    pub problems: Vec<Problem>,
    /// Counts the swaps.
    pub version: u64,
}

impl Snapshot {
    /// The plugin of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<PluginStatus>> {
        let at = self
            .plugins
            .binary_search_by(|status| status.name.as_str().cmp(name))
            .ok()?;
        self.plugins.get(at)
    }

    /// A copy in which `status` replaces the entry of its name, or is added.
    pub(crate) fn with(&self, status: PluginStatus) -> Self {
        let mut plugins = self.plugins.clone();
        let status = Arc::new(status);
        match plugins.binary_search_by(|known| known.name.cmp(&status.name)) {
            Ok(at) => plugins[at] = status,
            Err(at) => plugins.insert(at, status),
        }
        Self {
            plugins,
            problems: self.problems.clone(),
            version: self.version + 1,
        }
    }

    /// A copy without a plugin.
    pub(crate) fn without(&self, name: &PluginName) -> Self {
        let plugins = self.plugins.iter().filter(|status| status.name != *name);
        Self {
            plugins: plugins.cloned().collect(),
            problems: self.problems.clone(),
            version: self.version + 1,
        }
    }

    /// A copy with other problems.
    pub(crate) fn with_problems(&self, problems: Vec<Problem>) -> Self {
        Self {
            plugins: self.plugins.clone(),
            problems,
            version: self.version + 1,
        }
    }
}

/// State of one plugin at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Name of the plugin.
    pub name: PluginName,
    /// Directory of its package, absolute.
    pub dir: PathBuf,
    /// Number of its current process, from 1; 0 before the first.
    pub generation: u64,
    /// State of the plugin.
    pub state: PluginState,
    /// Registration of this generation; `None` before it has registered.
    pub registration: Option<Arc<Registration>>,
    /// Manifest of the package; `None` if it is not valid.
    pub manifest: Option<Arc<Manifest>>,
    /// State of its signature; `None` before the check, and where there is nothing to check.
    pub signature: Option<SignatureState>,
    /// Warnings about manifest and registration.
    pub warnings: Arc<[Diagnostic]>,
    /// Id of its process, while that runs.
    pub pid: Option<u32>,
    /// Time at which this generation was started.
    pub started_at: Option<SystemTime>,
    /// Time at which this generation came up.
    pub running_since: Option<SystemTime>,
    /// State of its sandbox's layers; `None` while it has no sandbox.
    pub sandbox: Option<Arc<Report>>,
    /// Timeouts in force since its start. A later `call_timeout` of its policy applies to calls,
    /// and is not shown here.
    pub timeouts: Timeouts,
    /// Name, for people, of a file that differs from the one that runs. `None` if no file differs,
    /// and where the host restarts changed plugins by itself.
    pub changed: Option<&'static str>,
    /// Generation that is to replace the running one, while it starts; or the last one that did not
    /// come up.
    pub candidate: Option<Candidate>,
    /// Number of replaced generations that still finish their calls.
    pub draining: usize,
    /// The operator wants the plugin to run.
    pub is_enabled: bool,
    /// A version that came up before this one can be restored.
    pub can_roll_back: bool,
    /// Number of times in a row that the plugin ended by itself; running out of memory counts
    /// twice.
    pub crashes: u32,
    /// Time at which the plugin last ended by itself.
    pub last_crash: Option<SystemTime>,
    /// Last failure of a process of the plugin that served, or was to; names the plugin. Kept when
    /// another process comes up.
    pub last_error: Option<Arc<str>>,
    /// Time of the next start, if the plugin ended by itself.
    pub next_start: Option<SystemTime>,
    /// The plugin keeps ending by itself.
    pub is_crash_looping: bool,
    /// No generation is starting or stopping, except those that drain.
    pub(crate) is_settled: bool,
    /// The plugin was settled before: it has come up, failed or been stopped at least once.
    pub(crate) has_settled: bool,
    /// Limits for calls that wait for the plugin, while it comes up.
    pub(crate) awaited: Option<Awaited>,
    /// Handle for calls, while the plugin runs.
    pub(crate) instance: Option<Arc<Instance>>,
}

impl PluginStatus {
    /// Returns true if calls are possible and the plugin's routes are to be served.
    pub fn is_running(&self) -> bool {
        matches!(self.state, PluginState::Running)
    }

    /// Returns the plugin's health, as far as probes and calls tell; the default while it does not
    /// run.
    #[must_use]
    pub fn health(&self) -> PluginHealth {
        let instance = self.instance.as_ref();
        instance
            .map(|instance| instance.health.known())
            .unwrap_or_default()
    }

    /// Returns the target for calls while the plugin serves.
    #[must_use]
    pub fn target(&self) -> Option<CallTarget> {
        self.instance.clone().map(CallTarget)
    }
}

/// Maximum time that calls wait for a plugin that comes up, and the calls that do.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    pub(crate) limit: Duration,
    pub(crate) waiters: Arc<Waiters>,
}

/// Number of calls that wait for a plugin.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// Guard of a call that waits, until dropped.
#[derive(Debug)]
pub(crate) struct Waiter<'a>(&'a AtomicUsize);

impl Waiters {
    /// Counts a call as waiting if fewer than `max` do.
    pub(crate) fn enter(&self, max: usize) -> Option<Waiter<'_>> {
        let waiter = Waiter(&self.0);
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        (before < max).then_some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A generation that is to replace the one that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Number of the generation.
    pub generation: u64,
    /// Reason why the generation did not come up; `None` while it starts.
    pub error: Option<String>,
}

/// Visible state of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginState {
    /// On its way up.
    Starting,
    /// Up: its routes are served.
    Running,
    /// On its way down: no new calls, running ones are finished.
    Stopping,
    /// Stopped by the host.
    Stopped,
    /// Not started, because the operator has blocked it.
    Blocked,
    /// Not started, because the operator has disabled it.
    Disabled,
    /// Not started yet, because of a plugin that it depends on.
    Waiting {
        /// Name of the plugin that this one waits for, and why that does not serve.
        reason: String,
    },
    /// Waiting for a restart after the plugin ended by itself.
    BackingOff {
        /// Reason for its end; names the plugin.
        error: String,
        /// Time of the restart.
        until: SystemTime,
    },
    /// Waiting for a restart after the plugin ended by itself repeatedly, at growing intervals.
    CrashLooping {
        /// Reason for its last end; names the plugin.
        error: String,
        /// Time of the restart.
        until: SystemTime,
    },
    /// Not running because something failed.
    Failed {
        /// The failure and its remedy; names the plugin.
        error: String,
    },
}

impl PluginState {
    /// Returns the failure, if that is why the plugin does not run.
    pub fn error(&self) -> Option<&str> {
        match self {
            PluginState::Failed { error }
            | PluginState::BackingOff { error, .. }
            | PluginState::CrashLooping { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Returns the state's name: `starting`, `running`, `stopping`, `stopped`, `blocked`,
    /// `disabled`, `waiting`, `backing_off`, `crash_looping` or `failed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            PluginState::Starting => "starting",
            PluginState::Running => "running",
            PluginState::Stopping => "stopping",
            PluginState::Stopped => "stopped",
            PluginState::Blocked => "blocked",
            PluginState::Disabled => "disabled",
            PluginState::Waiting { .. } => "waiting",
            PluginState::BackingOff { .. } => "backing_off",
            PluginState::CrashLooping { .. } => "crash_looping",
            PluginState::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
