//! What the runtime knows about its plugins at one moment: immutable, swapped as a whole.

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

/// One plugin at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its name.
    pub name: PluginName,
    /// Its directory, absolute.
    pub dir: PathBuf,
    /// Counts its processes, from 1; 0 before the first.
    pub generation: u64,
    /// What it is doing.
    pub state: PluginState,
    /// What it registered; `None` before that.
    pub registration: Option<Arc<Registration>>,
    /// Its manifest; `None` when that is not valid.
    pub manifest: Option<Arc<Manifest>>,
    /// What its signature was worth; `None` before it was looked at, and where it cannot be.
    pub signature: Option<SignatureState>,
    /// Warnings about manifest and registration.
    pub warnings: Arc<[Diagnostic]>,
    /// The process's id while it runs.
    pub pid: Option<u32>,
    /// When this generation was started.
    pub started_at: Option<SystemTime>,
    /// When it came up.
    pub running_since: Option<SystemTime>,
    /// How the layers of its sandbox stand; `None` while it has none.
    pub sandbox: Option<Arc<Report>>,
    /// The timeouts in force since its start; a policy's later `call_timeout` holds for calls, and is
    /// not seen here.
    pub timeouts: Timeouts,
    /// Which of its files is no longer what runs, for people; `None` as long as nothing differs, and where the host
    /// starts what is there by itself.
    pub changed: Option<&'static str>,
    /// What is to replace the generation that runs, while it starts; or what was, if it did not come up.
    pub candidate: Option<Candidate>,
    /// Generations that another one has replaced and that still finish their calls.
    pub draining: usize,
    /// Whether the operator wants it to run.
    pub is_enabled: bool,
    /// Whether there is a version that came up before this one, to go back to.
    pub can_roll_back: bool,
    /// How often in a row it ended by itself; one that ran out of memory counts twice.
    pub crashes: u32,
    /// When it last ended by itself.
    pub last_crash: Option<SystemTime>,
    /// How a process of it that served, or was to, failed last; names the plugin. It stays when another one comes up.
    pub last_error: Option<Arc<str>>,
    /// When it is started again, if it ended by itself.
    pub next_start: Option<SystemTime>,
    /// Whether it keeps ending by itself.
    pub is_crash_looping: bool,
    /// Whether nothing is under way but what is draining.
    pub(crate) is_settled: bool,
    /// Whether that was so before: it has come up, failed or been stopped at least once.
    pub(crate) has_settled: bool,
    /// How long a call may wait for it, while it comes up.
    pub(crate) awaited: Option<Awaited>,
    /// What the call path needs while it runs.
    pub(crate) instance: Option<Arc<Instance>>,
}

impl PluginStatus {
    /// Whether calls are possible and its routes are to be served.
    pub fn is_running(&self) -> bool {
        matches!(self.state, PluginState::Running)
    }

    /// How it is, as far as probes and calls tell; nothing is while it does not run.
    #[must_use]
    pub fn health(&self) -> PluginHealth {
        let instance = self.instance.as_ref();
        instance
            .map(|instance| instance.health.known())
            .unwrap_or_default()
    }

    /// What calls go to while it serves.
    #[must_use]
    pub fn target(&self) -> Option<CallTarget> {
        self.instance.clone().map(CallTarget)
    }
}

/// For how long, and by how many calls, a plugin that comes up is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    pub(crate) limit: Duration,
    pub(crate) waiters: Arc<Waiters>,
}

/// How many calls wait for a plugin.
#[derive(Debug, Default)]
pub(crate) struct Waiters(AtomicUsize);

/// A call that waits, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter<'a>(&'a AtomicUsize);

impl Waiters {
    /// Lets a call wait, if fewer than `max` do.
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
    /// Its number.
    pub generation: u64,
    /// Why it did not come up; `None` while it starts.
    pub error: Option<String>,
}

/// What a plugin is doing.
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
        /// What it waits for.
        reason: String,
    },
    /// It ended by itself, and is started again.
    BackingOff {
        /// How it ended; names the plugin.
        error: String,
        /// When it is started.
        until: SystemTime,
    },
    /// It keeps ending by itself, and is started again, but less and less often.
    CrashLooping {
        /// How it ended last; names the plugin.
        error: String,
        /// When it is started.
        until: SystemTime,
    },
    /// Not running because something failed.
    Failed {
        /// What, and what to do; names the plugin.
        error: String,
    },
}

impl PluginState {
    /// Why it does not run, where that is because something went wrong.
    pub fn error(&self) -> Option<&str> {
        match self {
            PluginState::Failed { error }
            | PluginState::BackingOff { error, .. }
            | PluginState::CrashLooping { error, .. } => Some(error),
            _ => None,
        }
    }

    /// `starting`, `running`, `stopping`, `stopped`, `blocked`, `disabled`, `waiting`, `backing_off`,
    /// `crash_looping` or `failed`.
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
