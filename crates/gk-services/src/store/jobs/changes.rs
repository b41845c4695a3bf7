//! Changes of jobs and runs, each within a transaction of its caller.

use std::collections::BTreeSet;

use gk_jobs::{
    Claim, Claimed, HISTORY_MAX, JOBS_MAX, JobKey, NewRun, OPEN_RUNS_MAX, Requested, Run, RunEnd,
    RunId, RunState, Trigger,
};
use gk_manifest::{Concurrency, PluginName};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::rows::{instant, key_of, select};
use crate::store::StoreError;

/// Puts the end of an attempt into its run.
pub(super) fn put(transaction: &Transaction<'_>, run: &Run, end: &RunEnd) -> rusqlite::Result<()> {
    let mut run = run.clone();
    end.put(&mut run);
    let update = "UPDATE job_run SET state = ?2, attempt = ?3, start_at = ?4, start_until = ?5,
        ended_at = ?6, generation = ?7, result = ?8, error = ?9 WHERE id = ?1";
    transaction.prepare_cached(update)?.execute(params![
        run.id.0,
        run.state.as_str(),
        run.attempt,
        run.start_at.as_microsecond(),
        run.start_until.map(Timestamp::as_microsecond),
        run.ended_at.map(Timestamp::as_microsecond),
        run.generation,
        run.result,
        run.error,
    ])?;
    Ok(())
}

/// Ends all waiting runs of a job that a condition is true for. `?1` to `?4` are taken.
pub(super) fn end_waiting(
    transaction: &Transaction<'_>,
    condition: &str,
    key: Option<&JobKey>,
    end: &RunEnd,
) -> rusqlite::Result<()> {
    let update = format!(
        "UPDATE job_run SET state = ?1, ended_at = ?2, error = ?3 WHERE state = 'waiting' AND {condition}"
    );
    let (state, at) = (end.state.as_str(), end.at.as_microsecond());
    let mut statement = transaction.prepare_cached(&update)?;
    match key {
        Some(key) => {
            let values = params![state, at, end.error, key.plugin.as_str(), key.job];
            statement.execute(values)?;
            trim(transaction, key)?;
        }
        None => _ = statement.execute(params![state, at, end.error])?,
    }
    Ok(())
}

/// Forgets the oldest ended runs of a job.
pub(super) fn trim(transaction: &Transaction<'_>, key: &JobKey) -> rusqlite::Result<()> {
    let forget = "DELETE FROM job_run WHERE plugin = ?1 AND job = ?2
        AND state NOT IN ('waiting', 'running') AND id <= (
            SELECT id FROM job_run WHERE plugin = ?1 AND job = ?2
            AND state NOT IN ('waiting', 'running') ORDER BY id DESC LIMIT 1 OFFSET ?3
        )";
    let kept = i64::try_from(HISTORY_MAX).unwrap_or(i64::MAX);
    let mut statement = transaction.prepare_cached(forget)?;
    statement.execute(params![key.plugin.as_str(), key.job, kept])?;
    Ok(())
}

/// Ends the runs that have waited for longer than their starting deadline.
pub(super) fn end_late(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    end_waiting(transaction, "start_until < ?2", None, &RunEnd::late(now))
}

/// Forgets jobs of a plugin that has too many of them: those that have not been due for the longest
/// time, and that it does not declare.
pub(super) fn forget_jobs(
    transaction: &Transaction<'_>,
    plugin: &PluginName,
    declared: &BTreeSet<&JobKey>,
) -> rusqlite::Result<()> {
    let known = "SELECT plugin, job FROM job WHERE plugin = ?1 ORDER BY last_tick";
    let mut statement = transaction.prepare_cached(known)?;
    let known = statement.query_map([plugin.as_str()], |row| key_of(row, 0))?;
    let known = known.collect::<rusqlite::Result<Vec<_>>>()?;
    let too_many = known.len().saturating_sub(JOBS_MAX);
    let others = known.iter().filter(|key| !declared.contains(key));
    for key in others.take(too_many) {
        for table in ["job", "job_run"] {
            let delete = format!("DELETE FROM {table} WHERE plugin = ?1 AND job = ?2");
            transaction.execute(&delete, params![key.plugin.as_str(), key.job])?;
        }
    }
    Ok(())
}

/// Puts a run into the queue, unless an earlier one keeps it out. Returns also the runs that this
/// host is to give up.
pub(super) fn queue(
    transaction: &Transaction<'_>,
    key: &JobKey,
    trigger: Trigger,
    tick: Timestamp,
    new: NewRun,
) -> rusqlite::Result<(Requested, Vec<RunId>)> {
    let (plugin, job) = (key.plugin.as_str(), &key.job);
    let open = "plugin = ?1 AND job = ?2 AND state IN ('waiting', 'running') ORDER BY id";
    let open = select(transaction, open, params![plugin, job])?;
    let mut revoked = Vec::new();
    match (new.concurrency, open.first()) {
        (Concurrency::Forbid, Some(run)) => return Ok((Requested::Busy(run.id), revoked)),
        (Concurrency::Allow, Some(run)) if open.len() >= OPEN_RUNS_MAX => {
            return Ok((Requested::Busy(run.id), revoked));
        }
        (Concurrency::Replace, _) => {
            for run in &open {
                put(transaction, run, &RunEnd::replaced(new.start_at))?;
                trim(transaction, key)?;
                if run.state == RunState::Running {
                    revoked.push(run.id);
                }
            }
        }
        _ => {}
    }
    let insert = "INSERT INTO job_run
        (plugin, job, trigger, tick, state, attempt, retries, start_at, start_until)
        VALUES (?1, ?2, ?3, ?4, 'waiting', 1, ?5, ?6, ?7)";
    transaction.prepare_cached(insert)?.execute(params![
        plugin,
        job,
        trigger.as_str(),
        tick.as_microsecond(),
        new.retries,
        new.start_at.as_microsecond(),
        new.start_until.map(Timestamp::as_microsecond),
    ])?;
    let id = RunId(transaction.last_insert_rowid());
    Ok((Requested::Queued(id), revoked))
}

/// Takes a tick; returns also the runs that this host is to give up.
pub(super) fn claim(
    transaction: &Transaction<'_>,
    claim: &Claim,
) -> Result<(Claimed, Vec<RunId>), StoreError> {
    let (plugin, job) = (claim.key.plugin.as_str(), &claim.key.job);
    let taken = transaction
        .prepare_cached(
            "UPDATE job SET last_tick = ?3, missed = missed + ?4
             WHERE plugin = ?1 AND job = ?2 AND last_tick < ?3",
        )?
        .execute(params![
            plugin,
            job,
            claim.tick.as_microsecond(),
            claim.missed
        ])?;
    let known = "SELECT last_tick, suspended, EXISTS (
        SELECT 1 FROM job_run WHERE plugin = ?1 AND job = ?2 AND tick = ?3
        ) FROM job WHERE plugin = ?1 AND job = ?2";
    let known = transaction
        .prepare_cached(known)?
        .query_row(params![plugin, job, claim.tick.as_microsecond()], |row| {
            Ok((
                instant(row, 0)?,
                row.get::<_, bool>(1)?,
                row.get::<_, bool>(2)?,
            ))
        })
        .optional()?;
    let Some((last_tick, suspended, ran)) = known else {
        return Ok((Claimed::Unknown, Vec::new()));
    };
    if taken == 0 {
        return Ok((Claimed::Passed { last_tick }, Vec::new()));
    }
    let Some(new) = claim.run.filter(|_| !suspended && !ran) else {
        return Ok((Claimed::Noted, Vec::new()));
    };
    let (queued, revoked) = queue(transaction, &claim.key, Trigger::Schedule, claim.tick, new)?;
    match queued {
        Requested::Queued(run) => Ok((Claimed::Queued(run), revoked)),
        Requested::Busy(_) => {
            transaction
                .prepare_cached(
                    "UPDATE job SET skipped = skipped + 1 WHERE plugin = ?1 AND job = ?2",
                )?
                .execute(params![plugin, job])?;
            Ok((Claimed::Skipped, revoked))
        }
    }
}
