//! Rows of the tables of jobs.

use gk_jobs::{JobKey, JobState, Run, RunId, RunState, Trigger};
use gk_manifest::PluginName;
use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};

/// Columns of a run, in the order that [`run_of`] reads.
pub(super) const RUN: &str = "id, plugin, job, trigger, tick, state, attempt, retries, start_at, started_at, \
                   ended_at, host, generation, result, error";

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
        started_at: moment(row, 9)?,
        ended_at: moment(row, 10)?,
        host: row.get(11)?,
        generation: row.get(12)?,
        result: row.get(13)?,
        error: row.get(14)?,
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

/// Returns the runs that wait, by the moment of their start.
pub(super) fn waiting(connection: &Connection) -> rusqlite::Result<Vec<(i64, JobKey, Timestamp)>> {
    let waiting = "SELECT id, plugin, job, start_at FROM job_run WHERE state = 'waiting'
        ORDER BY start_at, id";
    let mut statement = connection.prepare_cached(waiting)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, key_of(row, 1)?, instant(row, 3)?))
    })?;
    rows.collect()
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
