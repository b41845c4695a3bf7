//! Rows of the tables of jobs.

use gk_hostapi::HostError;
use gk_jobs::{JobKey, JobState, Run, RunId, RunState, Trigger};
use gk_manifest::PluginName;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use crate::database::Failure;

/// Columns of a run, in the order that [`run_of`] reads.
pub(super) const RUN: &str = "id, plugin, job, trigger, tick, state, attempt, retries, start_at, \
    start_until, started_at, ended_at, host, generation, error, result";

/// As [`RUN`], with null in place of the result.
pub(super) const RUN_WITHOUT_RESULT: &str = "id, plugin, job, trigger, tick, state, attempt, \
    retries, start_at, start_until, started_at, ended_at, host, generation, error, NULL::text";

/// Columns of a job, in the order that [`state_of`] reads.
pub(super) const STATE: &str = "plugin, job, last_tick, suspended, overrides, missed, skipped";

/// Returns the error for a value that no host has written.
fn strange(what: &str) -> HostError {
    HostError::failed(format!("the shared database has a row of jobs with {what}"))
}

pub(super) fn moment(row: &Row, column: usize) -> Result<Option<Timestamp>, HostError> {
    let micros: Option<i64> = row.get(column);
    let moment = micros.map(Timestamp::from_microsecond).transpose();
    moment.map_err(|_| strange("no moment"))
}

/// As [`moment`], for a column that is never null.
pub(super) fn instant(row: &Row, column: usize) -> Result<Timestamp, HostError> {
    moment(row, column)?.ok_or_else(|| strange("no moment"))
}

pub(super) fn key_of(row: &Row, column: usize) -> Result<JobKey, HostError> {
    let (plugin, job): (String, String) = (row.get(column), row.get(column + 1));
    let plugin = PluginName::new(plugin).map_err(|_| strange("no plugin's name"))?;
    Ok(JobKey::new(plugin, job))
}

fn number(row: &Row, column: usize) -> u32 {
    u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX)
}

pub(super) fn run_of(row: &Row) -> Result<Run, HostError> {
    let (trigger, state): (String, String) = (row.get(3), row.get(5));
    let generation: Option<i64> = row.get(13);
    Ok(Run {
        id: RunId(row.get(0)),
        key: key_of(row, 1)?,
        trigger: Trigger::of(&trigger).ok_or_else(|| strange("no trigger"))?,
        tick: instant(row, 4)?,
        state: RunState::of(&state).ok_or_else(|| strange("no state"))?,
        attempt: number(row, 6),
        retries: number(row, 7),
        start_at: instant(row, 8)?,
        start_until: moment(row, 9)?,
        started_at: moment(row, 10)?,
        ended_at: moment(row, 11)?,
        host: row.get(12),
        generation: generation.map(i64::unsigned_abs),
        error: row.get(14),
        result: row.get(15),
    })
}

pub(super) fn state_of(row: &Row) -> Result<JobState, HostError> {
    let overrides: String = row.get(4);
    let overrides = serde_json::from_str(&overrides).map_err(|_| strange("no settings"))?;
    Ok(JobState {
        last_tick: instant(row, 2)?,
        suspended: row.get(3),
        overrides,
        missed: row.get::<_, i64>(5).unsigned_abs(),
        skipped: row.get::<_, i64>(6).unsigned_abs(),
    })
}

/// Returns the runs that a condition is true for.
pub(super) async fn select(
    transaction: &Transaction<'_>,
    condition: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Run>, Failure> {
    let query = format!("SELECT {RUN} FROM job_run WHERE {condition}");
    let rows = transaction.query(&query, values).await?;
    Ok(rows.iter().map(run_of).collect::<Result<_, _>>()?)
}
