//! What is kept of jobs and their runs: the interface of a store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gk_manifest::{Concurrency, JobOverrides, PluginName};
use jiff::Timestamp;

use crate::key::JobKey;

/// Maximum number of ended runs that are kept of a job.
pub const HISTORY_MAX: usize = 50;
/// Maximum number of runs of a job that wait or go on.
pub const OPEN_RUNS_MAX: usize = 100;
/// Maximum number of jobs that are kept of a plugin: beyond, those go first that it does not declare
/// any more, with their runs.
pub const JOBS_MAX: usize = 1024;
/// Maximum wait of a run in the queue by its own moment of start. No rule makes a longer one.
pub const FUTURE_WAIT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// Maximum length of a result that is kept, in bytes of JSON.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;
/// Maximum length of an error that is kept, in bytes.
pub const ERROR_BYTES_MAX: usize = 4 * 1024;

/// The store failed; the text says how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Number of a run, unique in its store and rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is kept of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobState {
    /// The tick that was dealt with last; of a job that never had one, the moment it was added.
    pub last_tick: Timestamp,
    /// The operator has suspended the job.
    pub suspended: bool,
    /// The operator's settings.
    pub overrides: JobOverrides,
    /// Number of ticks that did not run because no host was there in time.
    pub missed: u64,
    /// Number of ticks that did not run because an earlier run went on.
    pub skipped: u64,
}

impl JobState {
    /// Returns what is kept of a job that is new at this moment.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            last_tick: now,
            suspended: false,
            overrides: JobOverrides::default(),
            missed: 0,
            skipped: 0,
        }
    }
}

/// A job that a running plugin has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The job.
    pub key: JobKey,
    /// Text that is another one whenever the schedule is.
    pub schedule: String,
}

/// A tick that is to be taken: by one host, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub key: JobKey,
    /// The tick.
    pub tick: Timestamp,
    /// Number of ticks to be counted as missed.
    pub missed: u32,
    /// The run; `None` if the tick is only noted.
    pub run: Option<NewRun>,
}

/// A run to be put into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRun {
    /// Moment before which the run does not start.
    pub start_at: Timestamp,
    /// Moment after which it is not started any more; `None` for no such moment.
    pub start_until: Option<Timestamp>,
    /// What happens if an earlier run of the job waits or goes on.
    pub concurrency: Concurrency,
    /// Number of repetitions if it fails.
    pub retries: u32,
}

/// What has become of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The run is in the queue.
    Queued(RunId),
    /// An earlier run waits or goes on, and there is no further one beside it.
    Skipped,
    /// The tick is noted.
    Noted,
    /// This tick, or a later one, was taken before.
    Passed {
        /// The tick that was taken last.
        last_tick: Timestamp,
    },
    /// The store knows no such job.
    Unknown,
}

/// What a run was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A tick of the schedule.
    Schedule,
    /// Somebody asked for it.
    Manual,
}

impl Trigger {
    /// Returns the trigger of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let all = [Self::Schedule, Self::Manual];
        all.into_iter().find(|trigger| trigger.as_str() == word)
    }

    /// The word in answers and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        }
    }
}

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// In the queue, for the first time or before a repetition.
    Waiting,
    /// A host runs it.
    Running,
    /// The function returned a result.
    Succeeded,
    /// The function returned an error, or could not be called.
    Failed,
    /// The function did not answer in time.
    TimedOut,
    /// The host that ran it ended.
    Lost,
    /// A later run took its place.
    Replaced,
    /// The plugin was not there any more, or disabled, when it was to start.
    Dropped,
}

impl RunState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Lost,
        Self::Replaced,
        Self::Dropped,
    ];

    /// The word in answers, metrics and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
            Self::Dropped => "dropped",
        }
    }

    /// Returns the state of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// True if the run has ended.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// A run, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// The job.
    pub key: JobKey,
    /// What it was made for.
    pub trigger: Trigger,
    /// The tick; of a run that somebody asked for, the moment of that.
    pub tick: Timestamp,
    /// State of the latest attempt.
    pub state: RunState,
    /// Number of the latest attempt, from 1.
    pub attempt: u32,
    /// Number of repetitions if it fails.
    pub retries: u32,
    /// Moment before which the attempt does not start.
    pub start_at: Timestamp,
    /// Moment after which it is not started any more.
    pub start_until: Option<Timestamp>,
    /// Moment of its start.
    pub started_at: Option<Timestamp>,
    /// Moment of its end.
    pub ended_at: Option<Timestamp>,
    /// The host that ran it.
    pub host: Option<String>,
    /// Generation of the plugin that it ran in.
    pub generation: Option<u64>,
    /// The function's answer, as JSON.
    pub result: Option<String>,
    /// Why it did not succeed.
    pub error: Option<String>,
}

impl Run {
    /// Creates a run that waits for its first attempt.
    #[must_use]
    pub fn new(id: RunId, key: JobKey, trigger: Trigger, tick: Timestamp, new: NewRun) -> Self {
        Self {
            id,
            key,
            trigger,
            tick,
            state: RunState::Waiting,
            attempt: 1,
            retries: new.retries,
            start_at: new.start_at,
            start_until: new.start_until,
            started_at: None,
            ended_at: None,
            host: None,
            generation: None,
            result: None,
            error: None,
        }
    }

    /// Marks the attempt as running on a host.
    pub(crate) fn start(&mut self, host: &str, now: Timestamp) {
        self.state = RunState::Running;
        self.host = Some(host.to_owned());
        self.started_at = Some(now);
        self.ended_at = None;
    }

    /// True if a further attempt is left after the latest one.
    #[must_use]
    pub fn has_repetition(&self) -> bool {
        self.attempt <= self.retries
    }

    /// True if the run waits, and its starting deadline has passed.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.state == RunState::Waiting && self.start_until.is_some_and(|until| until < now)
    }

    /// True for a run of this job that waits or goes on.
    pub(crate) fn is_open_of(&self, key: &JobKey) -> bool {
        self.key == *key && !self.state.has_ended()
    }
}

/// End of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// State that the attempt ended in.
    pub state: RunState,
    /// Moment of the end.
    pub at: Timestamp,
    /// Generation of the plugin that it ran in.
    pub generation: Option<u64>,
    /// The function's answer, as JSON.
    pub result: Option<String>,
    /// Why it did not succeed.
    pub error: Option<String>,
    /// The run goes back into the queue.
    pub again: Option<Again>,
}

/// How a run goes back into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Moment before which it does not start.
    pub at: Timestamp,
    /// Moment after which it is not started any more.
    pub until: Option<Timestamp>,
    /// The attempt did not reach the plugin, so that the next one has its number.
    pub is_same_attempt: bool,
}

impl RunEnd {
    fn without_answer(state: RunState, at: Timestamp, error: &str) -> Self {
        Self {
            state,
            at,
            generation: None,
            result: None,
            error: Some(error.to_owned()),
            again: None,
        }
    }

    /// The end of an attempt of this run, whose host has ended. A repetition that is left is made at
    /// once: the failure was not the job's.
    #[must_use]
    pub fn lost(run: &Run, at: Timestamp) -> Self {
        let lateness = run
            .start_until
            .map(|until| until.duration_since(run.start_at));
        let again = Again {
            at,
            until: lateness.and_then(|lateness| at.checked_add(lateness).ok()),
            is_same_attempt: false,
        };
        Self {
            again: run.has_repetition().then_some(again),
            ..Self::without_answer(RunState::Lost, at, "the host that ran it ended")
        }
    }

    /// The end of a run that waited, and is not to start any more for this reason.
    #[must_use]
    pub fn dropped(at: Timestamp, why: &str) -> Self {
        Self::without_answer(RunState::Dropped, at, why)
    }

    /// The end of a run that waited for longer than its starting deadline.
    #[must_use]
    pub fn late(at: Timestamp) -> Self {
        Self::dropped(at, "it could not start before its starting deadline")
    }

    /// The end of an attempt whose place a later run took.
    #[must_use]
    pub fn replaced(at: Timestamp) -> Self {
        Self::without_answer(RunState::Replaced, at, "a later run took its place")
    }

    /// Puts the end into the run: it has ended, or waits for its next attempt.
    pub fn put(&self, run: &mut Run) {
        run.state = self.state;
        run.ended_at = Some(self.at);
        run.generation = self.generation.or(run.generation);
        run.result.clone_from(&self.result);
        run.error.clone_from(&self.error);
        if let Some(again) = self.again {
            run.state = RunState::Waiting;
            run.attempt += u32::from(!again.is_same_attempt);
            (run.start_at, run.start_until) = (again.at, again.until);
        }
    }
}

/// What has become of a request for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// The run is in the queue.
    Queued(RunId),
    /// An earlier run waits or goes on, and there is no further one beside it.
    Busy(RunId),
}

/// A store of jobs and their runs, and the queue of the runs that wait. Several hosts may share one.
#[async_trait]
pub trait JobStore: fmt::Debug + Send + Sync + 'static {
    /// Returns what is kept of all jobs.
    async fn states(&self) -> Result<BTreeMap<JobKey, JobState>, StoreError>;

    /// Tells the store which jobs there are, and returns what is kept of them, in the same order.
    /// `now` becomes the last tick of a job that is new, or whose schedule is not the one of the last
    /// time: no tick of a time without this schedule is run.
    async fn announce(
        &self,
        jobs: &[Announced],
        now: Timestamp,
    ) -> Result<Vec<JobState>, StoreError>;

    /// Takes ticks, and puts their runs into the queue, all or none. No run is made of a tick that has
    /// one already, nor of a job that is suspended. Runs that have waited for longer than their
    /// starting deadline end before.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError>;

    /// Sets the last tick of a job from one value to another; nothing happens if it is not the first.
    async fn reset(&self, key: &JobKey, from: Timestamp, to: Timestamp) -> Result<(), StoreError>;

    /// Puts a run into the queue that somebody asks for. Its tick is the moment of its start.
    async fn request(&self, key: &JobKey, run: NewRun) -> Result<Requested, StoreError>;

    /// Returns what is kept of a job.
    async fn state(&self, key: &JobKey) -> Result<Option<JobState>, StoreError>;

    /// Waits until [`take`](Self::take) is worth a call. May be cancelled.
    async fn ready(&self, here: &Arc<BTreeSet<JobKey>>, now: Timestamp);

    /// Marks the run that waits for the longest time as running on this host; `None` if no run may
    /// start now. Only jobs whose plugin runs `here` count. Runs that have waited for longer than their
    /// starting deadline end before. A run that is not to start within [`FUTURE_WAIT_MAX`] was put
    /// into the queue by a wrong clock, and starts now.
    async fn take(
        &self,
        host: &str,
        here: &Arc<BTreeSet<JobKey>>,
        now: Timestamp,
    ) -> Result<Option<Run>, StoreError>;

    /// Ends the runs of these jobs that wait, for this reason.
    async fn drop_waiting(
        &self,
        jobs: &[JobKey],
        why: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Ends an attempt, and puts the next one into the queue if there is one. Returns false, and
    /// changes nothing, if the attempt is not the one that runs.
    async fn finish(&self, run: RunId, attempt: u32, end: &RunEnd) -> Result<bool, StoreError>;

    /// Waits for a run of this host that is to be given up because another one took its place.
    async fn revoked(&self) -> RunId;

    /// Returns a run.
    async fn run(&self, run: RunId) -> Result<Option<Run>, StoreError>;

    /// Returns runs of a job, newest first, older than `before`.
    async fn runs(
        &self,
        key: &JobKey,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError>;

    /// Returns the newest run of each job, without its result.
    async fn newest(&self) -> Result<BTreeMap<JobKey, Run>, StoreError>;

    /// Sets the operator's settings of a job.
    async fn set_overrides(&self, key: &JobKey, overrides: &JobOverrides)
    -> Result<(), StoreError>;

    /// Suspends a job, or lets it go on. Ticks of the time between are dealt with: `now` becomes the
    /// last tick of a job that goes on.
    async fn suspend(
        &self,
        key: &JobKey,
        suspended: bool,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes all that is kept of a plugin's jobs.
    async fn clear(&self, plugin: &PluginName) -> Result<(), StoreError>;
}
