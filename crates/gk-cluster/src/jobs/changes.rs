//! Changes of jobs and runs, each within a transaction of its caller.

use std::collections::BTreeSet;

use gk_jobs::{
    Claim, Claimed, HISTORY_MAX, JOBS_MAX, JobKey, NewRun, OPEN_RUNS_MAX, Requested, Run, RunEnd,
    RunId, RunState, Trigger,
};
use gk_manifest::{Concurrency, PluginName};
use jiff::Timestamp;
use tokio_postgres::Transaction;

use super::rows::{instant, key_of, select};
use crate::database::Failure;

/// Puts the end of an attempt into its run.
pub(super) async fn put(
    transaction: &Transaction<'_>,
    run: &Run,
    end: &RunEnd,
) -> Result<(), Failure> {
    let mut run = run.clone();
    end.put(&mut run);
    let update = "UPDATE job_run SET state = $2, attempt = $3, start_at = $4, start_until = $5,
        ended_at = $6, generation = $7, result = $8, error = $9 WHERE id = $1";
    let generation = run.generation.and_then(|number| i64::try_from(number).ok());
    transaction
        .execute(
            update,
            &[
                &run.id.0,
                &run.state.as_str(),
                &i64::from(run.attempt),
                &run.start_at.as_microsecond(),
                &run.start_until.map(Timestamp::as_microsecond),
                &run.ended_at.map(Timestamp::as_microsecond),
                &generation,
                &run.result,
                &run.error,
            ],
        )
        .await?;
    Ok(())
}

/// Forgets the oldest ended runs of a job.
pub(super) async fn trim(transaction: &Transaction<'_>, key: &JobKey) -> Result<(), Failure> {
    let forget = "DELETE FROM job_run WHERE plugin = $1 AND job = $2
        AND state NOT IN ('waiting', 'running') AND id <= (
            SELECT id FROM job_run WHERE plugin = $1 AND job = $2
            AND state NOT IN ('waiting', 'running') ORDER BY id DESC LIMIT 1 OFFSET $3
        )";
    let kept = i64::try_from(HISTORY_MAX).unwrap_or(i64::MAX);
    let (plugin, job) = (key.plugin.as_str(), &*key.job);
    transaction.execute(forget, &[&plugin, &job, &kept]).await?;
    Ok(())
}

/// Ends the runs that have waited for longer than their starting deadline. Those that another host
/// is about to change are left to it.
pub(super) async fn end_late(transaction: &Transaction<'_>, now: Timestamp) -> Result<(), Failure> {
    let update = "UPDATE job_run SET state = $1, ended_at = $2, error = $3 WHERE id IN (
        SELECT id FROM job_run WHERE state = 'waiting' AND start_until < $2
        FOR UPDATE SKIP LOCKED)";
    let end = RunEnd::late(now);
    let at = end.at.as_microsecond();
    transaction
        .execute(update, &[&end.state.as_str(), &at, &end.error])
        .await?;
    Ok(())
}

/// Ends the waiting runs of these jobs.
pub(super) async fn end_waiting(
    transaction: &Transaction<'_>,
    jobs: &[JobKey],
    end: &RunEnd,
) -> Result<(), Failure> {
    let update = "UPDATE job_run SET state = $1, ended_at = $2, error = $3 WHERE id IN (
        SELECT id FROM job_run JOIN unnest($4::text[], $5::text[]) AS of (plugin, job)
        USING (plugin, job) WHERE state = 'waiting' ORDER BY id FOR UPDATE OF job_run)
        RETURNING plugin, job";
    let (plugins, names) = columns(jobs);
    let at = end.at.as_microsecond();
    let ended = transaction
        .query(
            update,
            &[&end.state.as_str(), &at, &end.error, &plugins, &names],
        )
        .await?;
    let keys = ended.iter().map(|row| key_of(row, 0));
    for key in keys.collect::<Result<BTreeSet<_>, _>>()? {
        trim(transaction, &key).await?;
    }
    Ok(())
}

/// Plugins and names of jobs, as two arrays.
pub(super) fn columns(jobs: &[JobKey]) -> (Vec<&str>, Vec<&str>) {
    let pairs = jobs.iter().map(|key| (key.plugin.as_str(), &*key.job));
    pairs.unzip()
}

/// Forgets jobs of a plugin that has too many of them: those that have not been due for the longest
/// time, and that it does not declare.
pub(super) async fn forget_jobs(
    transaction: &Transaction<'_>,
    plugin: &PluginName,
    declared: &BTreeSet<JobKey>,
) -> Result<(), Failure> {
    let known = "SELECT plugin, job FROM job WHERE plugin = $1 ORDER BY last_tick";
    let known = transaction.query(known, &[&plugin.as_str()]).await?;
    let too_many = known.len().saturating_sub(JOBS_MAX);
    let known = known.iter().map(|row| key_of(row, 0));
    let known = known.collect::<Result<Vec<_>, _>>()?;
    let others = known.iter().filter(|key| !declared.contains(key));
    for key in others.take(too_many) {
        for table in ["job", "job_run"] {
            let delete = format!("DELETE FROM {table} WHERE plugin = $1 AND job = $2");
            let (plugin, job) = (key.plugin.as_str(), &*key.job);
            transaction.execute(&delete, &[&plugin, &job]).await?;
        }
    }
    Ok(())
}

/// Puts a run into the queue, unless an earlier one keeps it out. The runs of a job are looked at and
/// changed by one transaction at a time.
pub(super) async fn queue(
    transaction: &Transaction<'_>,
    key: &JobKey,
    trigger: Trigger,
    tick: Timestamp,
    new: NewRun,
) -> Result<Requested, Failure> {
    let (plugin, job) = (key.plugin.as_str(), &*key.job);
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))";
    transaction.execute(lock, &[&plugin, &job]).await?;
    let open = "plugin = $1 AND job = $2 AND state IN ('waiting', 'running')
        ORDER BY id FOR UPDATE";
    let open = select(transaction, open, &[&plugin, &job]).await?;
    match (new.concurrency, open.first()) {
        (Concurrency::Forbid, Some(run)) => return Ok(Requested::Busy(run.id)),
        (Concurrency::Allow, Some(run)) if open.len() >= OPEN_RUNS_MAX => {
            return Ok(Requested::Busy(run.id));
        }
        (Concurrency::Replace, _) => {
            for run in &open {
                put(transaction, run, &RunEnd::replaced(new.start_at)).await?;
                trim(transaction, key).await?;
            }
        }
        _ => {}
    }
    let insert = "INSERT INTO job_run
        (plugin, job, trigger, tick, state, attempt, retries, start_at, start_until)
        VALUES ($1, $2, $3, $4, 'waiting', 1, $5, $6, $7) RETURNING id";
    let row = transaction
        .query_one(
            insert,
            &[
                &plugin,
                &job,
                &trigger.as_str(),
                &tick.as_microsecond(),
                &i64::from(new.retries),
                &new.start_at.as_microsecond(),
                &new.start_until.map(Timestamp::as_microsecond),
            ],
        )
        .await?;
    transaction
        .execute("SELECT pg_notify('gk_jobs', '')", &[])
        .await?;
    Ok(Requested::Queued(RunId(row.get(0))))
}

/// Takes a tick: of the hosts that try, the one whose statement finds the older tick.
pub(super) async fn claim(
    transaction: &Transaction<'_>,
    claim: &Claim,
) -> Result<Claimed, Failure> {
    let (plugin, job) = (claim.key.plugin.as_str(), &*claim.key.job);
    let (tick, missed) = (claim.tick.as_microsecond(), i64::from(claim.missed));
    let take = "UPDATE job SET last_tick = $3, missed = missed + $4
        WHERE plugin = $1 AND job = $2 AND last_tick < $3";
    let taken = transaction
        .execute(take, &[&plugin, &job, &tick, &missed])
        .await?;
    let known = "SELECT last_tick, suspended, EXISTS (
        SELECT 1 FROM job_run WHERE plugin = $1 AND job = $2 AND tick = $3
        ) FROM job WHERE plugin = $1 AND job = $2";
    let known = transaction
        .query_opt(known, &[&plugin, &job, &tick])
        .await?;
    let Some(known) = known else {
        return Ok(Claimed::Unknown);
    };
    if taken == 0 {
        return Ok(Claimed::Passed {
            last_tick: instant(&known, 0)?,
        });
    }
    let (suspended, ran): (bool, bool) = (known.get(1), known.get(2));
    let Some(new) = claim.run.filter(|_| !suspended && !ran) else {
        return Ok(Claimed::Noted);
    };
    let queued = queue(transaction, &claim.key, Trigger::Schedule, claim.tick, new);
    match queued.await? {
        Requested::Queued(run) => Ok(Claimed::Queued(run)),
        Requested::Busy(_) => {
            let skipped = "UPDATE job SET skipped = skipped + 1 WHERE plugin = $1 AND job = $2";
            transaction.execute(skipped, &[&plugin, &job]).await?;
            Ok(Claimed::Skipped)
        }
    }
}

/// Ends the runs whose hosts have given no sign of life for so many seconds, and says how many.
pub(super) async fn end_lost(
    transaction: &Transaction<'_>,
    seconds: i64,
    now: Timestamp,
) -> Result<usize, Failure> {
    let lost = "state = 'running' AND NOT EXISTS (
            SELECT 1 FROM host WHERE host.id = job_run.owner
            AND seen > now() - make_interval(secs => $1::bigint)
        ) ORDER BY id FOR UPDATE SKIP LOCKED";
    let lost = select(transaction, lost, &[&seconds]).await?;
    for run in &lost {
        put(transaction, run, &RunEnd::lost(run, now)).await?;
        if run.state == RunState::Running {
            trim(transaction, &run.key).await?;
        }
    }
    if !lost.is_empty() {
        transaction
            .execute("SELECT pg_notify('gk_jobs', '')", &[])
            .await?;
    }
    Ok(lost.len())
}
