//! Jobs and their runs in the host's store, for one host alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_jobs::{
    Announced, Claim, Claimed, FUTURE_WAIT_MAX, JobKey, JobState, JobStore, NewRun, Requested, Run,
    RunEnd, RunId, STORE_RETRY, StoreError as JobsError, Trigger, notified_or_at,
};
use gk_manifest::{JobOverrides, PluginName};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::Notify;

mod changes;
mod rows;

use self::changes::{end_late, end_waiting, forget_jobs, put, queue, trim};
use self::rows::{RUN, RUN_WITHOUT_RESULT, STATE, first_waiting, key_of, run_of, select, state_of};
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
            let states = states.collect::<Result<Vec<_>, StoreError>>()?;
            let declared: BTreeSet<_> = jobs.iter().map(|job| &job.key).collect();
            let plugins: BTreeSet<_> = jobs.iter().map(|job| &job.key.plugin).collect();
            for plugin in plugins {
                forget_jobs(transaction, plugin, &declared)?;
            }
            Ok(states)
        })
        .await
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, JobsError> {
        let claims = claims.to_vec();
        let claimed = self.write(move |transaction| {
            let starts = claims.iter().filter_map(|claim| claim.run);
            if let Some(now) = starts.map(|run| run.start_at).max() {
                end_late(transaction, now)?;
            }
            let claimed = claims
                .iter()
                .map(|claim| changes::claim(transaction, claim));
            claimed.collect::<Result<Vec<_>, StoreError>>()
        });
        let (claimed, revoked): (Vec<_>, Vec<_>) = claimed.await?.into_iter().unzip();
        self.tell(revoked.concat());
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

    async fn state(&self, key: &JobKey) -> Result<Option<JobState>, JobsError> {
        let key = key.clone();
        self.read(move |connection| {
            let query = format!("SELECT {STATE} FROM job WHERE plugin = ?1 AND job = ?2");
            let mut statement = connection.prepare_cached(&query)?;
            let values = params![key.plugin.as_str(), key.job];
            Ok(statement.query_row(values, state_of).optional()?)
        })
        .await
    }

    async fn ready(&self, here: &Arc<BTreeSet<JobKey>>, now: Timestamp) {
        let here = Arc::clone(here);
        let next = self
            .read(move |connection| Ok(first_waiting(connection, |key, _| here.contains(key))?));
        match next.await {
            Ok(next) => {
                let next = next.map(|(_, start_at)| start_at);
                notified_or_at(&self.queued, next, now).await;
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
            end_late(transaction, now)?;
            let far = now.checked_add(FUTURE_WAIT_MAX).unwrap_or(Timestamp::MAX);
            let next = first_waiting(transaction, |key, start_at| {
                (start_at <= now || start_at > far) && here.contains(key)
            });
            let Some((id, _)) = next? else {
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

    async fn drop_waiting(
        &self,
        jobs: &[JobKey],
        why: &'static str,
        now: Timestamp,
    ) -> Result<(), JobsError> {
        let jobs = jobs.to_vec();
        self.write(move |transaction| {
            let waiting = "SELECT DISTINCT plugin, job FROM job_run WHERE state = 'waiting'";
            let mut statement = transaction.prepare_cached(waiting)?;
            let waiting = statement.query_map([], |row| key_of(row, 0))?;
            let waiting = waiting.collect::<rusqlite::Result<BTreeSet<_>>>()?;
            let end = RunEnd::dropped(now, why);
            for key in jobs.iter().filter(|key| waiting.contains(key)) {
                end_waiting(transaction, "plugin = ?4 AND job = ?5", Some(key), &end)?;
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
            trim(transaction, &run.key)?;
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
            let query = format!(
                "SELECT {RUN_WITHOUT_RESULT} FROM job_run
                 WHERE id IN (SELECT max(id) FROM job_run GROUP BY plugin, job)"
            );
            let mut statement = connection.prepare_cached(&query)?;
            let runs = statement.query_map([], run_of)?;
            Ok(runs.collect::<rusqlite::Result<Vec<_>>>()?)
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
    use gk_jobs::RunState;
    use gk_jobs::testing::{contract, key, second};
    use gk_manifest::Concurrency;

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
                    start_until: None,
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
