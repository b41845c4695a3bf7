//! Settings of a job, from what its plugin declares and the operator overrides.

use std::time::Duration;

use gk_manifest::{Concurrency, Diagnostic, JobSpec, Severity};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::key::JobKey;
use crate::schedule::{Schedule, ScheduleError, time_zone};

/// Time limit of a run, unless plugin or operator set another.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Maximum of the starting deadline that follows from the period.
pub const STARTING_DEADLINE_DEFAULT_MAX: Duration = Duration::from_secs(60 * 60);
/// Maximum of the jitter that follows from the period.
pub const JITTER_DEFAULT_MAX: Duration = Duration::from_secs(30);
/// Wait before the first repetition of a failed run, unless plugin or operator set another. Each
/// further wait is twice as long.
pub const BACKOFF_DEFAULT: Duration = Duration::from_secs(10);
/// Maximum wait before a repetition.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);
/// The jitter that follows from the period is one part of it in so many.
const JITTER_PART: u32 = 10;

/// Settings of a job that are in force.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// Function of the plugin that is run.
    pub handler: String,
    /// When the job is due.
    pub schedule: Schedule,
    /// False if the job does not run by its schedule.
    pub enabled: bool,
    /// What happens when the job is due while an earlier run goes on.
    pub concurrency: Concurrency,
    /// Time limit of a run.
    pub timeout: Duration,
    /// Number of repetitions of a run that failed.
    pub retries: u32,
    starting_deadline: Option<Duration>,
    jitter: Option<Duration>,
    backoff: Duration,
}

impl JobSettings {
    /// Reads a declaration. Texts that [`JobSpec::validate`] refuses count as missing. `zone` applies
    /// where the declaration names no time zone.
    ///
    /// # Errors
    /// If the schedule has another form, is never due, or the time zone is unknown.
    pub fn new(spec: &JobSpec, zone: &TimeZone) -> Result<Self, ScheduleError> {
        let zone = match spec.time_zone.as_str() {
            "" => zone.clone(),
            name => time_zone(name).map_err(ScheduleError::in_time_zone)?,
        };
        let backoff = spec.backoff().unwrap_or(BACKOFF_DEFAULT);
        Ok(Self {
            handler: spec.handler.clone(),
            schedule: Schedule::parse(&spec.schedule, &zone)?,
            enabled: spec.enabled,
            concurrency: spec.concurrency(),
            timeout: spec.timeout().unwrap_or(TIMEOUT_DEFAULT),
            retries: u32::try_from(spec.retries).unwrap_or_default(),
            starting_deadline: spec.starting_deadline(),
            jitter: spec.jitter(),
            backoff: backoff.min(BACKOFF_MAX),
        })
    }

    /// Returns how late the run of a tick may start. A later one is skipped.
    #[must_use]
    pub fn starting_deadline(&self, tick: Timestamp) -> Duration {
        self.starting_deadline.unwrap_or_else(|| {
            let period = self.schedule.period(tick);
            period.min(STARTING_DEADLINE_DEFAULT_MAX)
        })
    }

    /// Returns the moment after which a run is not started any more that may start at `start_at`.
    #[must_use]
    pub fn start_until(&self, tick: Timestamp, start_at: Timestamp) -> Option<Timestamp> {
        start_at.checked_add(self.starting_deadline(tick)).ok()
    }

    /// Returns the maximum time by which a start is delayed, so that not all jobs start at once.
    #[must_use]
    pub fn jitter(&self, tick: Timestamp) -> Duration {
        self.jitter.unwrap_or_else(|| {
            let part = self.schedule.period(tick) / JITTER_PART;
            part.min(JITTER_DEFAULT_MAX)
        })
    }

    /// Returns the moment of the start for a tick: later by a part of the [jitter](Self::jitter)
    /// that is the job's own, and the same on every host.
    #[must_use]
    pub fn start(&self, key: &JobKey, tick: Timestamp) -> Timestamp {
        let delay = self.jitter(tick).mul_f64(key.fraction());
        tick.checked_add(delay).unwrap_or(tick)
    }

    /// Returns the wait after a failed attempt, counted from 1, before the next one.
    #[must_use]
    pub fn retry_after(&self, attempt: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1));
        let wait = doubled.and_then(|factor| self.backoff.checked_mul(factor));
        wait.map_or(BACKOFF_MAX, |wait| wait.min(BACKOFF_MAX))
    }
}

/// Maximum number of wrong schedules that are looked for: to find that one is never due takes a
/// while.
const PROBLEMS_MAX: usize = 3;

/// Checks the schedules of declarations that are well-formed otherwise, and returns the first
/// problems. The findings name the field, as `jobs[2].schedule`.
pub fn check_all(specs: &[JobSpec]) -> Vec<Diagnostic> {
    let problems = specs
        .iter()
        .enumerate()
        .filter_map(|(number, spec)| check(spec, &format!("jobs[{number}].")));
    problems.take(PROBLEMS_MAX).collect()
}

/// Returns the first problem of a declaration.
pub(crate) fn problem(spec: &JobSpec) -> Option<Diagnostic> {
    let findings = spec.validate().into_iter();
    findings
        .into_iter()
        .find(Diagnostic::is_error)
        .or_else(|| check(spec, ""))
}

/// Checks what only a calendar knows of a declaration. The finding names the field, below `field`.
fn check(spec: &JobSpec, field: &str) -> Option<Diagnostic> {
    let error = JobSettings::new(spec, &TimeZone::UTC).err()?;
    Some(Diagnostic {
        severity: Severity::Error,
        file: None,
        line: None,
        column: None,
        field: format!("{field}{}", error.field()),
        message: error.to_string(),
        remedy: error.remedy().into(),
    })
}
