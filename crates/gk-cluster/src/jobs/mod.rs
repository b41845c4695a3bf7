//! Jobs and their runs, for several hosts.
//!
//! A tick is taken by one statement that moves the job's last tick forward; the host whose statement
//! does so puts the run into the queue, in the same transaction. A run is taken by one host (`FOR
//! UPDATE SKIP LOCKED`), and carries the id of its process. It is ended by its host, under the number
//! of its attempt; or by any other one, once its host has given no sign of life for too long. What a
//! host says of an attempt that is not the one that runs changes nothing.

mod changes;
mod rows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_jobs::{
    Announced, Claim, Claimed, FUTURE_WAIT_MAX, JobKey, JobState, JobStore, NewRun, Requested, Run,
    RunEnd, RunId, StoreError, Trigger,
};
use gk_manifest::{JobOverrides, PluginName};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::types::ToSql;

use self::changes::{columns, end_late, end_lost, end_waiting, forget_jobs, put, queue, trim};
use self::rows::{RUN, RUN_WITHOUT_RESULT, STATE, instant, key_of, run_of, select, state_of};
use crate::database::Database;
use crate::member::{Member, POLL};

/// Maximum number of waiting runs that are looked at for one that may start here.
const WAITING_MAX: i64 = 5000;

/// The jobs of all hosts that share a database.
#[derive(Debug)]
pub struct SharedJobs {
    /// This host, whose id the runs carry that it takes.
    member: Arc<Member>,
    /// Held while runs are taken, so that none is found that is about to be known.
    taking: tokio::sync::Mutex<()>,
    /// Runs that this process has taken and not ended.
    taken: Mutex<BTreeSet<RunId>>,
    /// Runs of them that are to be given up.
    revoked: Mutex<VecDeque<RunId>>,
}

impl SharedJobs {
    /// The jobs of the hosts that a member belongs to.
    #[must_use]
    pub fn new(member: &Arc<Member>) -> Self {
        Self {
            member: Arc::clone(member),
            taking: tokio::sync::Mutex::default(),
            taken: Mutex::default(),
            revoked: Mutex::default(),
        }
    }

    fn database(&self) -> &Database {
        self.member.database()
    }

    /// Ends the runs of hosts that have given no sign of life for too long, from time to time. Runs
    /// until it is dropped.
    pub async fn sweep(&self, now: impl Fn() -> Timestamp) {
        let seconds = i64::try_from(self.member.lost_after().as_secs())
            .unwrap_or(i64::MAX)
            .max(1);
        loop {
            // Where the database was away, or this host, the others have not been able to give signs of
            // life either: they have time to.
            let left = self
                .member
                .steady_after()
                .saturating_sub(self.member.steady());
            if !left.is_zero() {
                sleep(left).await;
                continue;
            }
            let now = now();
            let ended = self.database().write(move |transaction| {
                Box::pin(async move { end_lost(transaction, seconds, now).await })
            });
            match ended.await {
                Ok(0) => {}
                Ok(runs) => tracing::warn!(runs, "runs of jobs are lost: their hosts have ended"),
                Err(error) => tracing::debug!(%error, "lost runs of jobs cannot be looked for"),
            }
            sleep(self.member.beat()).await;
        }
    }

    /// Looks which runs of this process another host has ended, and puts back those that it has without
    /// knowing: the connection broke when they were taken.
    async fn look_for_revoked(&self) -> Result<(), HostError> {
        let _taking = self.taking.lock().await;
        let known: Vec<i64> = self.taken.lock().iter().map(|run| run.0).collect();
        let put_back = "WITH told AS (SELECT pg_notify('gk_jobs', ''))
            UPDATE job_run SET state = 'waiting', host = NULL, owner = NULL, started_at = NULL
            FROM told WHERE state = 'running' AND owner = $2 AND id <> ALL($1)";
        let have = "SELECT id FROM job_run WHERE state = 'running' AND owner = $1";
        let have = self.database().query(have, &[&self.member.id()]).await?;
        let have: BTreeSet<RunId> = have.iter().map(|row| RunId(row.get(0))).collect();
        if have.iter().any(|run| !known.contains(&run.0)) {
            self.database()
                .query(put_back, &[&known, &self.member.id()])
                .await?;
        }
        let mut taken = self.taken.lock();
        let gone = known
            .into_iter()
            .map(RunId)
            .filter(|run| !have.contains(run));
        // A run that has ended here meanwhile is none.
        let gone: Vec<_> = gone.filter(|run| taken.remove(run)).collect();
        self.revoked.lock().extend(gone);
        Ok(())
    }
}

fn failed(error: HostError) -> StoreError {
    StoreError(error.to_string())
}

fn unknown(key: &JobKey) -> HostError {
    HostError::not_found(format!("the store knows no job {key}"))
}

#[async_trait]
impl JobStore for SharedJobs {
    async fn states(&self) -> Result<BTreeMap<JobKey, JobState>, StoreError> {
        let rows = self
            .database()
            .query(&format!("SELECT {STATE} FROM job"), &[])
            .await
            .map_err(failed)?;
        let states = rows.iter().map(|row| Ok((key_of(row, 0)?, state_of(row)?)));
        states.collect::<Result<_, _>>().map_err(failed)
    }

    async fn announce(
        &self,
        jobs: &[Announced],
        now: Timestamp,
    ) -> Result<Vec<JobState>, StoreError> {
        let jobs = jobs.to_vec();
        let announced = self.database().write(move |transaction| {
            Box::pin(async move {
                let mut declared: BTreeMap<JobKey, &str> = BTreeMap::new();
                for job in &jobs {
                    declared.insert(job.key.clone(), &job.schedule);
                }
                let keys: Vec<JobKey> = declared.keys().cloned().collect();
                let (plugins, names) = columns(&keys);
                let schedules: Vec<&str> = declared.values().copied().collect();
                // In the order of the keys, so that hosts that announce at once wait for each other
                // and not in a circle.
                let put = "INSERT INTO job (plugin, job, schedule, last_tick)
                    SELECT plugin, job, schedule, $4
                    FROM unnest($1::text[], $2::text[], $3::text[]) AS of (plugin, job, schedule)
                    ORDER BY plugin COLLATE \"C\", job COLLATE \"C\"
                    ON CONFLICT (plugin, job) DO UPDATE SET schedule = excluded.schedule,
                        last_tick = greatest(job.last_tick, excluded.last_tick)
                    WHERE job.schedule <> excluded.schedule";
                let now = now.as_microsecond();
                transaction
                    .execute(put, &[&plugins, &names, &schedules, &now])
                    .await?;
                let known = format!(
                    "SELECT {STATE} FROM job JOIN unnest($1::text[], $2::text[]) AS of (plugin, job)
                     USING (plugin, job)"
                );
                let rows = transaction.query(&known, &[&plugins, &names]).await?;
                let states = rows.iter().map(|row| Ok((key_of(row, 0)?, state_of(row)?)));
                let states = states.collect::<Result<BTreeMap<_, _>, HostError>>()?;
                let all: BTreeSet<_> = keys.iter().cloned().collect();
                let owners: BTreeSet<_> = keys.iter().map(|key| key.plugin.clone()).collect();
                for plugin in owners {
                    forget_jobs(transaction, &plugin, &all).await?;
                }
                let state = |job: &Announced| states.get(&job.key).cloned();
                let states = jobs
                    .iter()
                    .map(|job| state(job).ok_or_else(|| unknown(&job.key)));
                Ok(states.collect::<Result<Vec<_>, _>>()?)
            })
        });
        announced.await.map_err(failed)
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claims = claims.to_vec();
        let starts = claims.iter().filter_map(|claim| claim.run);
        if let Some(now) = starts.map(|run| run.start_at).max() {
            self.end_late(now).await.map_err(failed)?;
        }
        let claimed = self.database().write(move |transaction| {
            Box::pin(async move {
                // In the order of the keys, as above.
                let mut order: Vec<usize> = (0..claims.len()).collect();
                order.sort_by(|a, b| claims[*a].key.cmp(&claims[*b].key));
                let mut claimed = vec![Claimed::Unknown; claims.len()];
                for place in order {
                    claimed[place] = changes::claim(transaction, &claims[place]).await?;
                }
                Ok(claimed)
            })
        });
        claimed.await.map_err(failed)
    }

    async fn reset(&self, key: &JobKey, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
        let update = "UPDATE job SET last_tick = $4
            WHERE plugin = $1 AND job = $2 AND last_tick = $3";
        let (from, to) = (from.as_microsecond(), to.as_microsecond());
        let reset = self
            .database()
            .query(update, &[&key.plugin.as_str(), &&*key.job, &from, &to])
            .await;
        reset.map(drop).map_err(failed)
    }

    async fn request(&self, key: &JobKey, run: NewRun) -> Result<Requested, StoreError> {
        let key = key.clone();
        let requested = self.database().write(move |transaction| {
            Box::pin(async move {
                let start_at = run.start_at;
                queue(transaction, &key, Trigger::Manual, start_at, run).await
            })
        });
        requested.await.map_err(failed)
    }

    async fn state(&self, key: &JobKey) -> Result<Option<JobState>, StoreError> {
        let select = format!("SELECT {STATE} FROM job WHERE plugin = $1 AND job = $2");
        let rows = self
            .database()
            .query(&select, &[&key.plugin.as_str(), &&*key.job])
            .await
            .map_err(failed)?;
        rows.first().map(state_of).transpose().map_err(failed)
    }

    async fn ready(&self, here: &Arc<BTreeSet<JobKey>>, now: Timestamp) {
        let mut told = self.database().signals().jobs.subscribe();
        let until = Instant::now() + POLL;
        let next = match self.waiting(here).await {
            Ok(waiting) => waiting.into_iter().map(|(_, start_at)| start_at).min(),
            Err(_) => return sleep(POLL).await,
        };
        let left =
            next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        let until = left.map_or(until, |left| until.min(Instant::now() + left));
        // The sender lives as long as the database.
        _ = timeout_at(until, told.changed()).await;
    }

    async fn take(
        &self,
        host: &str,
        here: &Arc<BTreeSet<JobKey>>,
        now: Timestamp,
    ) -> Result<Option<Run>, StoreError> {
        let far = now.checked_add(FUTURE_WAIT_MAX).unwrap_or(Timestamp::MAX);
        let waiting = self.waiting(here).await.map_err(failed)?;
        let may_start = |at: Timestamp| at <= now || at > far;
        let candidates = waiting.into_iter().filter(|(_, at)| may_start(*at));
        let candidates: Vec<i64> = candidates.map(|(id, _)| id).collect();
        if candidates.is_empty() {
            return Ok(None);
        }
        let _taking = self.taking.lock().await;
        let (host, owner) = (host.to_owned(), self.member.id().to_owned());
        self.end_late(now).await.map_err(failed)?;
        let taken = self.database().write(move |transaction| {
            Box::pin(async move {
                // A host that slept gives a sign of life with what it takes.
                let alive = "UPDATE host SET seen = now() WHERE id = $1";
                transaction.execute(alive, &[&owner]).await?;
                let take = format!(
                    "UPDATE job_run SET state = 'running', host = $2, owner = $3, started_at = $4,
                        ended_at = NULL
                     WHERE id = (SELECT id FROM job_run WHERE id = ANY($1) AND state = 'waiting'
                        ORDER BY start_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
                     RETURNING {RUN}"
                );
                let now = now.as_microsecond();
                let row = transaction
                    .query_opt(&take, &[&candidates, &host, &owner, &now])
                    .await?;
                Ok(row.as_ref().map(run_of).transpose()?)
            })
        });
        let taken = taken.await.map_err(failed)?;
        if let Some(run) = &taken {
            self.taken.lock().insert(run.id);
        }
        Ok(taken)
    }

    async fn drop_waiting(
        &self,
        jobs: &[JobKey],
        why: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let jobs = jobs.to_vec();
        let dropped = self.database().write(move |transaction| {
            Box::pin(async move {
                let end = RunEnd::dropped(now, why);
                end_waiting(transaction, &jobs, &end).await
            })
        });
        dropped.await.map_err(failed)
    }

    async fn finish(&self, run: RunId, attempt: u32, end: &RunEnd) -> Result<bool, StoreError> {
        let (end, owner) = (end.clone(), self.member.id().to_owned());
        let ended = self.database().write(move |transaction| {
            Box::pin(async move {
                let condition = "id = $1 AND state = 'running' AND attempt = $2 AND owner = $3
                    FOR UPDATE";
                let values: [&(dyn ToSql + Sync); 3] = [&run.0, &i64::from(attempt), &owner];
                let running = select(transaction, condition, &values).await?;
                let Some(run) = running.first() else {
                    return Ok(false);
                };
                put(transaction, run, &end).await?;
                trim(transaction, &run.key).await?;
                transaction
                    .execute("SELECT pg_notify('gk_jobs', '')", &[])
                    .await?;
                Ok(true)
            })
        });
        let ended = ended.await.map_err(failed)?;
        self.taken.lock().remove(&run);
        Ok(ended)
    }

    async fn revoked(&self) -> RunId {
        let mut told = self.database().signals().jobs.subscribe();
        loop {
            if let Some(run) = self.revoked.lock().pop_front() {
                return run;
            }
            _ = timeout_at(Instant::now() + POLL, told.changed()).await;
            if let Err(error) = self.look_for_revoked().await {
                tracing::debug!(%error, "runs that are to be given up cannot be looked for");
            }
        }
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, StoreError> {
        let select = format!("SELECT {RUN} FROM job_run WHERE id = $1");
        let rows = self.database().query(&select, &[&run.0]).await;
        let rows = rows.map_err(failed)?;
        rows.first().map(run_of).transpose().map_err(failed)
    }

    async fn runs(
        &self,
        key: &JobKey,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        let select = format!(
            "SELECT {RUN} FROM job_run WHERE plugin = $1 AND job = $2 AND id < $3
             ORDER BY id DESC LIMIT $4"
        );
        let before = before.map_or(i64::MAX, |before| before.0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .database()
            .query(
                &select,
                &[&key.plugin.as_str(), &&*key.job, &before, &limit],
            )
            .await
            .map_err(failed)?;
        rows.iter()
            .map(run_of)
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    async fn newest(&self) -> Result<BTreeMap<JobKey, Run>, StoreError> {
        let select = format!(
            "SELECT {RUN_WITHOUT_RESULT} FROM job_run
             WHERE id IN (SELECT max(id) FROM job_run GROUP BY plugin, job)"
        );
        let rows = self.database().query(&select, &[]).await.map_err(failed)?;
        let runs = rows.iter().map(run_of).collect::<Result<Vec<_>, _>>();
        let runs = runs.map_err(failed)?.into_iter();
        Ok(runs.map(|run| (run.key.clone(), run)).collect())
    }

    async fn set_overrides(
        &self,
        key: &JobKey,
        overrides: &JobOverrides,
    ) -> Result<(), StoreError> {
        let overrides = serde_json::to_string(overrides);
        let overrides = overrides.map_err(|error| StoreError(error.to_string()))?;
        let update = "UPDATE job SET overrides = $3 WHERE plugin = $1 AND job = $2 RETURNING 1";
        let rows = self
            .database()
            .query(update, &[&key.plugin.as_str(), &&*key.job, &overrides])
            .await;
        match rows.map_err(failed)?.is_empty() {
            true => Err(failed(unknown(key))),
            false => Ok(()),
        }
    }

    async fn suspend(
        &self,
        key: &JobKey,
        suspended: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let update = "UPDATE job SET suspended = $3, last_tick =
            CASE WHEN suspended AND NOT $3 THEN greatest(last_tick, $4) ELSE last_tick END
            WHERE plugin = $1 AND job = $2 RETURNING 1";
        let now = now.as_microsecond();
        let rows = self
            .database()
            .query(
                update,
                &[&key.plugin.as_str(), &&*key.job, &suspended, &now],
            )
            .await;
        match rows.map_err(failed)?.is_empty() {
            true => Err(failed(unknown(key))),
            false => Ok(()),
        }
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), StoreError> {
        let plugin = plugin.clone();
        let cleared = self.database().write(move |transaction| {
            Box::pin(async move {
                for table in ["job", "job_run"] {
                    let delete = format!("DELETE FROM {table} WHERE plugin = $1");
                    transaction.execute(&delete, &[&plugin.as_str()]).await?;
                }
                Ok(())
            })
        });
        cleared.await.map_err(failed)
    }
}

impl SharedJobs {
    /// Ends the runs that have waited for too long, in a transaction of its own: it locks runs of any
    /// jobs.
    async fn end_late(&self, now: Timestamp) -> Result<(), HostError> {
        let ended = self
            .database()
            .write(move |transaction| Box::pin(async move { end_late(transaction, now).await }));
        ended.await
    }

    /// The runs that wait and whose plugins run here, by the moment of their start.
    async fn waiting(&self, here: &BTreeSet<JobKey>) -> Result<Vec<(i64, Timestamp)>, HostError> {
        let mut plugins: Vec<&str> = here.iter().map(|key| key.plugin.as_str()).collect();
        plugins.dedup();
        let select = "SELECT id, plugin, job, start_at FROM job_run
            WHERE state = 'waiting' AND plugin = ANY($1) ORDER BY start_at, id LIMIT $2";
        let rows = self
            .database()
            .query(select, &[&plugins, &WAITING_MAX])
            .await?;
        let mut waiting = Vec::new();
        for row in &rows {
            if here.contains(&key_of(row, 1)?) {
                waiting.push((row.get(0), instant(row, 3)?));
            }
        }
        Ok(waiting)
    }
}
