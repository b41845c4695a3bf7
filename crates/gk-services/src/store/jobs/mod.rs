//! Jobs and their runs in the host's store, for one host alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_jobs::{
    Announced, Claim, Claimed, HISTORY_MAX, JobKey, JobState, JobStore, NewRun, OPEN_RUNS_MAX,
    Requested, Run, RunEnd, RunId, RunState, STORE_RETRY, StoreError as JobsError, Trigger,
    notified_or_at,
};
use gk_manifest::{Concurrency, JobOverrides, PluginName};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::Notify;

mod rows;

use self::rows::{RUN, STATE, instant, key_of, run_of, select, state_of, waiting};
use super::{Store, StoreError};

/// The jobs of one host. Moments are kept in microseconds since 1970.
#[derive(Debug)]
pub struct StoredJobs {
    store: Store,
    queued: Notify,
    /// Runs of this host that are to be given up.
    revoked: Mutex<VecDeque<RunId>>,
    given_up: Notify,
}

impl StoredJobs {
    /// Opens the jobs of a store that no other host uses. Runs that are marked as running belong to a
    /// host that has ended: those with a repetition left wait for it, the others are lost.
    ///
    /// # Errors
    /// Unavailable: the store.
    pub async fn open(store: Store, now: Timestamp) -> Result<Self, HostError> {
        store
            .run(move |connection| {
                let transaction = begin(connection)?;
                for run in select(&transaction, "state = 'running'", [])? {
                    put(&transaction, &run, &RunEnd::lost(&run, now))?;
                }
                Ok(transaction.commit()?)
            })
            .await?;
        Ok(Self {
            store,
            queued: Notify::new(),
            revoked: Mutex::default(),
            given_up: Notify::new(),
        })
    }

    async fn write<T, F>(&self, work: F) -> Result<T, JobsError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let work = self.store.run(move |connection| {
            let transaction = begin(connection)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        work.await.map_err(told)
    }

    async fn read<T, F>(&self, work: F) -> Result<T, JobsError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.store.read(work).await.map_err(told)
    }

    /// Tells those who wait what a new run in the queue means for them.
    fn tell(&self, replaced: Vec<RunId>) {
        self.queued.notify_one();
        if !replaced.is_empty() {
            self.revoked.lock().extend(replaced);
            self.given_up.notify_one();
        }
    }
}

fn told(error: HostError) -> JobsError {
    JobsError(error.to_string())
}

/// Begins with the write lock: SQLite may refuse it to a transaction that has only read so far.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn unknown(key: &JobKey) -> StoreError {
    StoreError::Host(HostError::not_found(format!(
        "the store knows no job {key}"
    )))
}

/// Puts the end of an attempt into its run.
fn put(transaction: &Transaction<'_>, run: &Run, end: &RunEnd) -> rusqlite::Result<()> {
    let mut run = run.clone();
    end.put(&mut run);
    let update = "UPDATE job_run SET state = ?2, attempt = ?3, start_at = ?4, ended_at = ?5,
        generation = ?6, result = ?7, error = ?8 WHERE id = ?1";
    transaction.prepare_cached(update)?.execute(params![
        run.id.0,
        run.state.as_str(),
        run.attempt,
        run.start_at.as_microsecond(),
        run.ended_at.map(Timestamp::as_microsecond),
        run.generation,
        run.result,
        run.error,
    ])?;
    let forget = "DELETE FROM job_run WHERE plugin = ?1 AND job = ?2
        AND state NOT IN ('waiting', 'running') AND id <= (
            SELECT id FROM job_run WHERE plugin = ?1 AND job = ?2
            AND state NOT IN ('waiting', 'running') ORDER BY id DESC LIMIT 1 OFFSET ?3
        )";
    let (plugin, job) = (run.key.plugin.as_str(), &run.key.job);
    let kept = i64::try_from(HISTORY_MAX).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(forget)?
        .execute(params![plugin, job, kept])?;
    Ok(())
}

/// Puts a run into the queue, unless an earlier one keeps it out. Returns also the runs that this
/// host is to give up.
fn queue(
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
                if run.state == RunState::Running {
                    revoked.push(run.id);
                }
            }
        }
        _ => {}
    }
    let insert =
        "INSERT INTO job_run (plugin, job, trigger, tick, state, attempt, retries, start_at)
        VALUES (?1, ?2, ?3, ?4, 'waiting', 1, ?5, ?6)";
    transaction.prepare_cached(insert)?.execute(params![
        plugin,
        job,
        trigger.as_str(),
        tick.as_microsecond(),
        new.retries,
        new.start_at.as_microsecond(),
    ])?;
    let id = RunId(transaction.last_insert_rowid());
    Ok((Requested::Queued(id), revoked))
}

/// Takes a tick; returns also the runs that this host is to give up.
fn claim(
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
    if taken == 0 {
        let last = transaction
            .prepare_cached("SELECT last_tick FROM job WHERE plugin = ?1 AND job = ?2")?
            .query_row(params![plugin, job], |row| instant(row, 0))
            .optional()?;
        let last_tick = last.ok_or_else(|| unknown(&claim.key))?;
        return Ok((Claimed::Passed { last_tick }, Vec::new()));
    }
    let Some(new) = claim.run else {
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

#[async_trait]
impl JobStore for StoredJobs {
    async fn states(&self) -> Result<BTreeMap<JobKey, JobState>, JobsError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("SELECT {STATE} FROM job"))?;
            let rows = statement.query_map([], |row| Ok((key_of(row, 0)?, state_of(row)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn announce(
        &self,
        jobs: &[Announced],
        now: Timestamp,
    ) -> Result<Vec<JobState>, JobsError> {
        let jobs = jobs.to_vec();
        self.write(move |transaction| {
            let mut statement = transaction.prepare_cached(&format!(
                "INSERT INTO job (plugin, job, schedule, last_tick) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (plugin, job) DO UPDATE SET schedule = excluded.schedule,
                    last_tick = CASE WHEN schedule = excluded.schedule THEN last_tick
                        ELSE max(last_tick, excluded.last_tick) END
                 RETURNING {STATE}"
            ))?;
            let states = jobs.iter().map(|job| {
                let (plugin, id) = (job.key.plugin.as_str(), &job.key.job);
                let values = params![plugin, id, job.schedule, now.as_microsecond()];
                Ok(statement.query_row(values, state_of)?)
            });
            states.collect()
        })
        .await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, JobsError> {
        let claim = claim.clone();
        let claimed = self.write(move |transaction| self::claim(transaction, &claim));
        let (claimed, revoked) = claimed.await?;
        self.tell(revoked);
        Ok(claimed)
    }

    async fn reset(&self, key: &JobKey, from: Timestamp, to: Timestamp) -> Result<(), JobsError> {
        let key = key.clone();
        self.write(move |transaction| {
            let update = "UPDATE job SET last_tick = ?4
                WHERE plugin = ?1 AND job = ?2 AND last_tick = ?3";
            let (from, to) = (from.as_microsecond(), to.as_microsecond());
            transaction.execute(update, params![key.plugin.as_str(), key.job, from, to])?;
            Ok(())
        })
        .await
    }

    async fn request(&self, key: &JobKey, run: NewRun) -> Result<Requested, JobsError> {
        let key = key.clone();
        let requested = self.write(move |transaction| {
            Ok(queue(
                transaction,
                &key,
                Trigger::Manual,
                run.start_at,
                run,
            )?)
        });
        let (requested, revoked) = requested.await?;
        self.tell(revoked);
        Ok(requested)
    }

    async fn ready(&self, here: &BTreeSet<JobKey>, now: Timestamp) {
        let waiting = self.read(|connection| Ok(waiting(connection)?));
        match waiting.await {
            Ok(waiting) => {
                let next = waiting.into_iter().find(|(_, key, _)| here.contains(key));
                notified_or_at(&self.queued, next.map(|(_, _, start_at)| start_at), now).await;
            }
            // The next `take` says why.
            Err(_) => tokio::time::sleep(STORE_RETRY).await,
        }
    }

    async fn take(
        &self,
        host: &str,
        here: &Arc<BTreeSet<JobKey>>,
        now: Timestamp,
    ) -> Result<Option<Run>, JobsError> {
        let (host, here) = (host.to_owned(), Arc::clone(here));
        self.write(move |transaction| {
            let next = waiting(transaction)?.into_iter();
            let next = next.take_while(|(_, _, start_at)| *start_at <= now);
            let Some((id, ..)) = next.into_iter().find(|(_, key, _)| here.contains(key)) else {
                return Ok(None);
            };
            let take = format!(
                "UPDATE job_run SET state = 'running', host = ?2, started_at = ?3, ended_at = NULL
                 WHERE id = ?1 RETURNING {RUN}"
            );
            let mut statement = transaction.prepare_cached(&take)?;
            let values = params![id, host, now.as_microsecond()];
            Ok(Some(statement.query_row(values, run_of)?))
        })
        .await
    }

    async fn drop_waiting(&self, jobs: &[JobKey], now: Timestamp) -> Result<(), JobsError> {
        let jobs = jobs.to_vec();
        self.write(move |transaction| {
            for key in &jobs {
                let condition = "plugin = ?1 AND job = ?2 AND state = 'waiting'";
                let values = params![key.plugin.as_str(), key.job];
                for run in select(transaction, condition, values)? {
                    put(transaction, &run, &RunEnd::dropped(now))?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn finish(&self, run: RunId, attempt: u32, end: &RunEnd) -> Result<bool, JobsError> {
        let end = end.clone();
        let ended = self.write(move |transaction| {
            let condition = "id = ?1 AND state = 'running' AND attempt = ?2";
            let running = select(transaction, condition, params![run.0, attempt])?;
            let Some(run) = running.first() else {
                return Ok(false);
            };
            put(transaction, run, &end)?;
            Ok(true)
        });
        let ended = ended.await?;
        self.queued.notify_one();
        Ok(ended)
    }

    async fn revoked(&self) -> RunId {
        loop {
            if let Some(run) = self.revoked.lock().pop_front() {
                return run;
            }
            self.given_up.notified().await;
        }
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, JobsError> {
        let run = self.read(move |connection| Ok(select(connection, "id = ?1", [run.0])?));
        Ok(run.await?.pop())
    }

    async fn runs(
        &self,
        key: &JobKey,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Run>, JobsError> {
        let key = key.clone();
        self.read(move |connection| {
            let condition = "plugin = ?1 AND job = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4";
            let before = before.map_or(i64::MAX, |before| before.0);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let values = params![key.plugin.as_str(), key.job, before, limit];
            Ok(select(connection, condition, values)?)
        })
        .await
    }

    async fn newest(&self) -> Result<BTreeMap<JobKey, Run>, JobsError> {
        let newest = self.read(|connection| {
            let condition = "id IN (SELECT max(id) FROM job_run GROUP BY plugin, job)";
            Ok(select(connection, condition, [])?)
        });
        let newest = newest.await?.into_iter();
        Ok(newest.map(|run| (run.key.clone(), run)).collect())
    }

    async fn set_overrides(&self, key: &JobKey, overrides: &JobOverrides) -> Result<(), JobsError> {
        let (key, overrides) = (key.clone(), serde_json::to_string(overrides));
        let overrides = overrides.map_err(|error| JobsError(error.to_string()))?;
        self.write(move |transaction| {
            let update = "UPDATE job SET overrides = ?3 WHERE plugin = ?1 AND job = ?2";
            let values = params![key.plugin.as_str(), key.job, overrides];
            match transaction.execute(update, values)? {
                0 => Err(unknown(&key)),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn suspend(
        &self,
        key: &JobKey,
        suspended: bool,
        now: Timestamp,
    ) -> Result<(), JobsError> {
        let key = key.clone();
        self.write(move |transaction| {
            let update = "UPDATE job SET suspended = ?3, last_tick =
                CASE WHEN suspended AND NOT ?3 THEN max(last_tick, ?4) ELSE last_tick END
                WHERE plugin = ?1 AND job = ?2";
            let values = params![
                key.plugin.as_str(),
                key.job,
                suspended,
                now.as_microsecond()
            ];
            match transaction.execute(update, values)? {
                0 => Err(unknown(&key)),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), JobsError> {
        let plugin = plugin.clone();
        self.write(move |transaction| {
            for table in ["job", "job_run"] {
                let delete = format!("DELETE FROM {table} WHERE plugin = ?1");
                transaction.execute(&delete, [plugin.as_str()])?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use gk_jobs::testing::{contract, key, second};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_contract_of_a_store_of_jobs_holds() {
        contract(|| async {
            let store = Store::in_memory().unwrap();
            Arc::new(StoredJobs::open(store, second(0)).await.unwrap()) as _
        })
        .await;
    }

    #[tokio::test]
    async fn runs_of_a_host_that_ended_are_lost_or_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let key = key("nightly");
        let here = Arc::new(BTreeSet::from([key.clone()]));
        let mut ids = Vec::new();
        {
            let store = Store::open(&path).unwrap();
            let jobs = StoredJobs::open(store, second(0)).await.unwrap();
            for retries in [0, 1] {
                let run = NewRun {
                    start_at: second(1),
                    concurrency: Concurrency::Allow,
                    retries,
                };
                let Ok(Requested::Queued(id)) = jobs.request(&key, run).await else {
                    panic!("not queued")
                };
                jobs.take("host-a", &here, second(1))
                    .await
                    .unwrap()
                    .unwrap();
                ids.push(id);
            }
        }
        let store = Store::open(&path).unwrap();
        let jobs = StoredJobs::open(store, second(60)).await.unwrap();
        let lost = jobs.run(ids[0]).await.unwrap().unwrap();
        assert_eq!(
            (lost.state, lost.ended_at),
            (RunState::Lost, Some(second(60)))
        );
        assert!(lost.error.unwrap().contains("host"));
        let again = jobs
            .take("host-a", &here, second(60))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((again.id, again.attempt), (ids[1], 2));
        // The first attempt's result would come too late.
        let late = RunEnd::replaced(second(61));
        assert!(!jobs.finish(ids[1], 1, &late).await.unwrap());
        assert!(!jobs.finish(ids[0], 1, &late).await.unwrap());
    }
}
