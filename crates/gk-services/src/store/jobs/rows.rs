//! Rows of the tables of jobs.

use gk_jobs::{JobKey, JobState, Run, RunId, RunState, Trigger};
use gk_manifest::PluginName;
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};

/// Columns of a run, in the order that [`run_of`] reads.
pub(super) const RUN: &str = "id, plugin, job, trigger, tick, state, attempt, retries, start_at, \
    start_until, started_at, ended_at, host, generation, error, result";

/// As [`RUN`], with null in place of the result.
pub(super) const RUN_WITHOUT_RESULT: &str = "id, plugin, job, trigger, tick, state, attempt, \
    retries, start_at, start_until, started_at, ended_at, host, generation, error, NULL";

/// Returns an error for a value that no host has written.
fn strange(column: usize, kind: Type, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, what.into())
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(column)?;
    let wrong = |_| strange(column, Type::Integer, "no moment");
    micros
        .map(|micros| Timestamp::from_microsecond(micros).map_err(wrong))
        .transpose()
}

/// As [`moment`], for a column that is never null.
pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    moment(row, column)?.ok_or_else(|| strange(column, Type::Null, "no moment"))
}

pub(super) fn key_of(row: &Row<'_>, column: usize) -> rusqlite::Result<JobKey> {
    let (plugin, job): (String, String) = (row.get(column)?, row.get(column + 1)?);
    let plugin = PluginName::new(plugin);
    let plugin = plugin.map_err(|_| strange(column, Type::Text, "no plugin's name"))?;
    Ok(JobKey::new(plugin, job))
}

pub(super) fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let (trigger, state): (String, String) = (row.get(3)?, row.get(5)?);
    let trigger = Trigger::of(&trigger);
    let state = RunState::of(&state);
    Ok(Run {
        id: RunId(row.get(0)?),
        key: key_of(row, 1)?,
        trigger: trigger.ok_or_else(|| strange(3, Type::Text, "no trigger"))?,
        tick: instant(row, 4)?,
        state: state.ok_or_else(|| strange(5, Type::Text, "no state"))?,
        attempt: row.get(6)?,
        retries: row.get(7)?,
        start_at: instant(row, 8)?,
        start_until: moment(row, 9)?,
        started_at: moment(row, 10)?,
        ended_at: moment(row, 11)?,
        host: row.get(12)?,
        generation: row.get(13)?,
        error: row.get(14)?,
        result: row.get(15)?,
    })
}

/// Returns the runs that a condition is true for.
pub(super) fn select(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Run>> {
    let query = format!("SELECT {RUN} FROM job_run WHERE {condition}");
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_map(values, run_of)?.collect()
}

/// Returns the first run that waits and that `wanted` takes, by the moment of its start.
pub(super) fn first_waiting(
    connection: &Connection,
    wanted: impl Fn(&JobKey, Timestamp) -> bool,
) -> rusqlite::Result<Option<(i64, Timestamp)>> {
    let waiting = "SELECT id, plugin, job, start_at FROM job_run WHERE state = 'waiting'
        ORDER BY start_at, id";
    let mut statement = connection.prepare_cached(waiting)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let start_at = instant(row, 3)?;
        if wanted(&key_of(row, 1)?, start_at) {
            return Ok(Some((row.get(0)?, start_at)));
        }
    }
    Ok(None)
}

pub(super) fn state_of(row: &Row<'_>) -> rusqlite::Result<JobState> {
    let overrides: String = row.get(4)?;
    let overrides = serde_json::from_str(&overrides);
    Ok(JobState {
        last_tick: instant(row, 2)?,
        suspended: row.get(3)?,
        overrides: overrides.map_err(|_| strange(4, Type::Text, "no settings"))?,
        missed: row.get(5)?,
        skipped: row.get(6)?,
    })
}

pub(super) const STATE: &str = "plugin, job, last_tick, suspended, overrides, missed, skipped";
