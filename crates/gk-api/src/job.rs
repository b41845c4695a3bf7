//! Jobs of plugins, and their runs.

use gk_manifest::{Concurrency, JobOverrides};
use serde::{Deserialize, Serialize};

/// A job of a running plugin, with the settings that are in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Job {
    /// Plugin that has the job.
    pub plugin: String,
    /// The job's id in the plugin.
    pub job: String,
    /// Which function it calls.
    pub handler: String,
    /// When it is due: five fields of cron, or a descriptor such as `@daily`.
    pub schedule: String,
    /// Time zone of the schedule; empty for the host's.
    pub time_zone: String,
    /// Purpose of the job, as the plugin describes it.
    pub description: String,
    /// `true` if it runs by its schedule, unless it is suspended.
    pub enabled: bool,
    /// `true` if an administrator has suspended it.
    pub suspended: bool,
    /// What happens when it is due while an earlier run has not ended.
    pub concurrency: Concurrency,
    /// Time limit of a run, in Go's duration syntax.
    pub timeout: String,
    /// Number of repetitions of a run that failed.
    pub retries: u32,
    /// Settings of an administrator among those above; empty if all are the plugin's.
    pub overrides: JobOverrides,
    /// When it starts next by its schedule, RFC 3339.
    pub next_start: Option<String>,
    /// Number of ticks that did not run because no host was there in time.
    pub missed: u64,
    /// Number of ticks that did not run because an earlier run had not ended.
    pub skipped: u64,
    /// The newest run.
    pub last_run: Option<JobRun>,
}

/// A run of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct JobRun {
    /// Number of the run; later runs have higher ones.
    pub id: i64,
    /// Plugin that has the job.
    pub plugin: String,
    /// Id of the job.
    pub job: String,
    /// `schedule`, or `manual` if somebody asked for it.
    pub trigger: String,
    /// The tick it was made for, RFC 3339; of a run that somebody asked for, when that was.
    pub tick: String,
    /// `waiting`, `running`, `succeeded`, `failed`, `timed_out`, `lost` (its host ended), `replaced`
    /// (by a later run) or `dropped` (its plugin was gone).
    pub state: String,
    /// Number of the latest attempt, from 1.
    pub attempt: u32,
    /// Moment before which that attempt does not start, RFC 3339.
    pub start_at: String,
    /// When that attempt started, RFC 3339.
    pub started_at: Option<String>,
    /// When that attempt ended, RFC 3339.
    pub ended_at: Option<String>,
    /// Duration of that attempt, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Host that ran it.
    pub host: Option<String>,
    /// Generation of the plugin that it ran in.
    pub generation: Option<u64>,
    /// Answer of the job's function; of a long one only its size, as `bytes`.
    pub result: serde_json::Value,
    /// Why it did not succeed.
    pub error: Option<String>,
}

/// Runs of a job, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct JobRunPage {
    /// The runs.
    pub runs: Vec<JobRun>,
    /// The `before` of the next page; `null` if this is the last one.
    pub next: Option<i64>,
}
