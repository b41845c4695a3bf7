//! The jobs of a host: the loops around planner, store and plugins.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gk_manifest::{Diagnostic, JobOverrides, JobSpec, PluginName};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::key::JobKey;
use crate::metrics;
use crate::planner::Planner;
use crate::runner::{Clock, Presence, Runner, SystemClock};
use crate::settings::problem;
use crate::store::{JobState, JobStore, NewRun, Requested, Run, RunId, StoreError};

/// Maximum number of runs on a host at once, unless the configuration has another.
pub const RUNNING_MAX: usize = 64;
/// Maximum sleep until the time of day is looked at again, so that a clock that was set is noticed.
pub const CLOCK_CHECK: Duration = Duration::from_secs(5);
/// Wait after the store failed.
pub const STORE_RETRY: Duration = Duration::from_secs(1);
/// Interval at which the end of a run is looked for that another host may run.
const END_CHECK: Duration = Duration::from_secs(1);
/// Ends of runs that somebody who waits for one may be behind.
const ENDS_MAX: usize = 256;

/// Parts of the jobs of a host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobsConfig {
    /// Name of this host in the records of its runs.
    pub host: String,
    /// Time zone of schedules that name none; UTC by default.
    pub zone: TimeZone,
    /// Maximum number of runs on this host at once; [`RUNNING_MAX`] by default.
    pub running_max: usize,
    /// Where jobs and runs are kept.
    pub store: Arc<dyn JobStore>,
    /// Calls the functions.
    pub runner: Arc<dyn Runner>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl JobsConfig {
    /// Creates a configuration with the clock of this machine.
    pub fn new(host: impl Into<String>, store: Arc<dyn JobStore>, runner: Arc<dyn Runner>) -> Self {
        Self {
            host: host.into(),
            zone: TimeZone::UTC,
            running_max: RUNNING_MAX,
            store,
            runner,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Reason why a job could not be found or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No running plugin has the job.
    #[error("no running plugin has a job {0}")]
    Unknown(JobKey),
    /// An earlier run of the job goes on, and its settings forbid a further one.
    #[error("run {run} of {key} has not ended, and the job does not run twice at a time")]
    Busy {
        /// The job.
        key: JobKey,
        /// The run.
        run: RunId,
    },
    /// The settings are wrong: field, problem and remedy.
    #[error("{}: {}; {}", .0.field, .0.message, .0.remedy)]
    Settings(Box<Diagnostic>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A job, as operators see it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobView {
    /// The job.
    pub key: JobKey,
    /// Its declaration, with the operator's settings in it.
    pub spec: JobSpec,
    /// What is kept of it.
    pub state: JobState,
    /// The next start by the schedule.
    pub next: Option<Timestamp>,
    /// The newest run.
    pub newest: Option<Run>,
}

/// The jobs of a host. A cheap clone.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: JobsConfig,
    pub(crate) state: Mutex<State>,
    /// The tick loop has something to look at.
    pub(crate) changed: Notify,
    /// Held while planner and store are brought up to what is declared.
    pub(crate) adopting: tokio::sync::Mutex<()>,
    /// Other jobs are here than before.
    pub(crate) here_changed: Notify,
    pub(crate) ended: broadcast::Sender<RunId>,
    /// Attempts under way.
    pub(crate) tasks: TaskTracker,
    /// No tick is claimed any more, and no run started.
    pub(crate) stopping: CancellationToken,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) planner: Planner,
    /// Plugins that run or are about to.
    pub(crate) present: BTreeMap<PluginName, Presence>,
    /// Jobs of running plugins.
    pub(crate) declared: Arc<BTreeMap<JobKey, JobSpec>>,
    /// Their names, as far as the planner has them.
    pub(crate) here: Arc<BTreeSet<JobKey>>,
    /// Number of changes of `present`, and the number that the planner has.
    pub(crate) version: (u64, u64),
    /// Runs under way on this host.
    pub(crate) running: HashMap<RunId, Ongoing>,
    /// Number of runs whose end could not be stored yet.
    pub(crate) unstored: usize,
    /// Runs to give up that have not begun yet.
    pub(crate) revoked: HashSet<RunId>,
}

/// A run under way on this host.
#[derive(Debug)]
pub(crate) struct Ongoing {
    pub(crate) plugin: PluginName,
    pub(crate) given_up: CancellationToken,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("host", &self.inner.config.host)
            .finish_non_exhaustive()
    }
}

impl Jobs {
    /// Creates the jobs of a host. Nothing happens until [`run`](Self::run).
    pub fn new(config: JobsConfig) -> Self {
        metrics::describe();
        Self {
            inner: Arc::new(Inner {
                config,
                state: Mutex::default(),
                changed: Notify::new(),
                adopting: tokio::sync::Mutex::default(),
                here_changed: Notify::new(),
                ended: broadcast::Sender::new(ENDS_MAX),
                tasks: TaskTracker::new(),
                stopping: CancellationToken::new(),
            }),
        }
    }

    /// Has the loops look at the plugins again, because what [`Runner::present`] returns may have
    /// changed.
    pub fn plugins_changed(&self) {
        self.inner.changed.notify_one();
    }

    /// Reads the operator's settings again, which another host may have changed.
    pub fn reread(&self) {
        self.inner.state.lock().version.0 += 1;
        self.inner.changed.notify_one();
    }

    /// Claims ticks and starts runs until [`stop`](Self::stop); then waits for the runs under way.
    pub async fn run(&self) {
        let until_stopped = async {
            tokio::join!(self.tick(), self.work());
            self.inner.tasks.close();
            self.inner.tasks.wait().await;
        };
        tokio::select! {
            () = until_stopped => {}
            never = self.give_up() => match never {},
        }
    }

    /// Claims no further tick and starts no further run. What waits in the queue stays there.
    pub fn stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Returns all jobs of running plugins.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn list(&self) -> Result<Vec<JobView>, JobError> {
        self.look();
        self.adopt().await?;
        let store = &self.inner.config.store;
        let (mut states, mut newest) = (store.states().await?, store.newest().await?);
        let state = self.inner.state.lock();
        let jobs = state.declared.iter().filter_map(|(key, spec)| {
            // The plugin may have come since.
            let kept = states.remove(key)?;
            Some(JobView {
                spec: kept.overrides.apply(spec),
                next: state.planner.next(key),
                newest: newest.remove(key),
                state: kept,
                key: key.clone(),
            })
        });
        Ok(jobs.collect())
    }

    /// Puts a run into the queue now, whatever the schedule says, and also if the job is disabled or
    /// suspended.
    ///
    /// # Errors
    /// If there is no such job, if it must not run a second time, or the store fails.
    pub async fn request(&self, key: &JobKey) -> Result<RunId, JobError> {
        self.look();
        self.adopt().await?;
        let run = self.new_run(key, self.now());
        let run = run.map(|run| NewRun {
            start_until: None,
            ..run
        });
        let run = run.ok_or_else(|| JobError::Unknown(key.clone()))?;
        match self.inner.config.store.request(key, run).await? {
            Requested::Queued(run) => Ok(run),
            Requested::Busy(run) => Err(JobError::Busy {
                key: key.clone(),
                run,
            }),
        }
    }

    /// Waits for the end of a run, on whichever host, or for the [stop](Self::stop) of this one.
    /// Returns the run as it is then; `None` if it is not kept any more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn ended(&self, run: RunId) -> Result<Option<Run>, JobError> {
        let mut ends = self.inner.ended.subscribe();
        loop {
            match self.inner.config.store.run(run).await? {
                Some(found) if !found.state.has_ended() && !self.inner.stopping.is_cancelled() => {}
                found => return Ok(found),
            }
            let told = async { while !matches!(ends.recv().await, Ok(ended) if ended == run) {} };
            tokio::select! {
                () = told => {}
                () = self.inner.stopping.cancelled() => {}
                () = tokio::time::sleep(END_CHECK) => {}
            }
        }
    }

    /// Returns a run; `None` if it is not kept any more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn find(&self, run: RunId) -> Result<Option<Run>, JobError> {
        Ok(self.inner.config.store.run(run).await?)
    }

    /// Returns runs of a job, newest first, older than `before`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn runs(
        &self,
        key: &JobKey,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Run>, JobError> {
        Ok(self.inner.config.store.runs(key, before, limit).await?)
    }

    /// Suspends a job, or lets it go on. Ticks of the time between do not run, and of a job that is
    /// suspended what waits is dropped. The plugin need not run.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn suspend(&self, key: &JobKey, suspended: bool) -> Result<(), JobError> {
        self.kept(key).await?;
        let store = &self.inner.config.store;
        store.suspend(key, suspended, self.now()).await?;
        if suspended {
            let why = "the job was suspended";
            store
                .drop_waiting(std::slice::from_ref(key), why, self.now())
                .await?;
        }
        self.reread();
        Ok(())
    }

    /// Sets the operator's settings of a job; none of the former ones stays. Of a job that does not
    /// run by its schedule any more, what waits is dropped.
    ///
    /// # Errors
    /// If no running plugin has the job, if it would have no schedule that is ever due, or the store
    /// fails.
    pub async fn set(&self, key: &JobKey, overrides: &JobOverrides) -> Result<(), JobError> {
        self.look();
        self.adopt().await?;
        let spec = overrides.apply(&self.declared(key)?);
        if let Some(problem) = problem(&spec) {
            return Err(JobError::Settings(Box::new(problem)));
        }
        let store = &self.inner.config.store;
        store.set_overrides(key, overrides).await?;
        if !spec.enabled {
            let why = "the job was disabled";
            store
                .drop_waiting(std::slice::from_ref(key), why, self.now())
                .await?;
        }
        self.reread();
        Ok(())
    }

    /// Returns a job that the store knows, with an empty declaration if its plugin does not run.
    ///
    /// # Errors
    /// If there is no such job, or the store fails.
    pub async fn kept(&self, key: &JobKey) -> Result<JobView, JobError> {
        self.look();
        self.adopt().await?;
        let store = &self.inner.config.store;
        let kept = store.state(key).await?;
        let kept = kept.ok_or_else(|| JobError::Unknown(key.clone()))?;
        let newest = store.runs(key, None, 1).await?.pop();
        let state = self.inner.state.lock();
        let spec = state.declared.get(key).cloned().unwrap_or_default();
        Ok(JobView {
            spec: kept.overrides.apply(&spec),
            next: state.planner.next(key),
            newest,
            state: kept,
            key: key.clone(),
        })
    }

    /// Removes all that is kept of the jobs of a plugin that is uninstalled.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clear(&self, plugin: &PluginName) -> Result<(), JobError> {
        Ok(self.inner.config.store.clear(plugin).await?)
    }

    /// Returns what a running plugin declares of a job.
    fn declared(&self, key: &JobKey) -> Result<JobSpec, JobError> {
        let state = self.inner.state.lock();
        let unknown = || JobError::Unknown(key.clone());
        state.declared.get(key).cloned().ok_or_else(unknown)
    }
}
