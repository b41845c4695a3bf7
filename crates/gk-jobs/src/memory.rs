//! A store in memory: for tests, and for hosts that keep nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use gk_manifest::{Concurrency, JobOverrides, PluginName};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::key::JobKey;
use crate::store::{
    Announced, Claim, Claimed, FUTURE_WAIT_MAX, HISTORY_MAX, JOBS_MAX, JobState, JobStore, NewRun,
    OPEN_RUNS_MAX, Requested, Run, RunEnd, RunId, RunState, StoreError, Trigger,
};

/// A store that is gone with the process.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    queued: Notify,
    given_up: Notify,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobKey, (String, JobState)>,
    runs: BTreeMap<RunId, Run>,
    last_id: i64,
    /// Runs that hosts are to give up.
    revoked: VecDeque<RunId>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the runs of a host that is gone. Those with a repetition left wait for it.
    pub fn lost(&self, host: &str, now: Timestamp) {
        let mut state = self.state.lock();
        let lost = state
            .runs
            .values_mut()
            .filter(|run| run.state == RunState::Running && run.host.as_deref() == Some(host));
        for run in lost {
            RunEnd::lost(run, now).put(run);
        }
        drop(state);
        self.queued.notify_one();
    }

    fn notify(&self, state: &State) {
        self.queued.notify_one();
        if !state.revoked.is_empty() {
            self.given_up.notify_one();
        }
    }
}

impl State {
    /// Puts a run into the queue, unless an earlier one keeps it out.
    fn queue(&mut self, key: &JobKey, trigger: Trigger, tick: Timestamp, new: NewRun) -> Requested {
        let open = self.runs.values().filter(|run| run.is_open_of(key));
        let open: Vec<_> = open.map(|run| run.id).collect();
        match (new.concurrency, open.first()) {
            (Concurrency::Forbid, Some(run)) => return Requested::Busy(*run),
            (Concurrency::Allow, Some(run)) if open.len() >= OPEN_RUNS_MAX => {
                return Requested::Busy(*run);
            }
            (Concurrency::Replace, _) => {
                for id in open {
                    if let Some(run) = self.runs.get_mut(&id) {
                        if run.state == RunState::Running {
                            self.revoked.push_back(id);
                        }
                        RunEnd::replaced(new.start_at).put(run);
                    }
                }
            }
            _ => {}
        }
        self.last_id += 1;
        let id = RunId(self.last_id);
        let run = Run::new(id, key.clone(), trigger, tick, new);
        self.runs.insert(id, run);
        Requested::Queued(id)
    }

    /// Takes a tick.
    fn claim(&mut self, claim: &Claim) -> Claimed {
        let Ok(job) = self.job(&claim.key) else {
            return Claimed::Unknown;
        };
        if job.last_tick >= claim.tick {
            let last_tick = job.last_tick;
            return Claimed::Passed { last_tick };
        }
        job.last_tick = claim.tick;
        job.missed += u64::from(claim.missed);
        let suspended = job.suspended;
        let ran = self
            .runs
            .values()
            .any(|run| run.key == claim.key && run.tick == claim.tick);
        let Some(new) = claim.run.filter(|_| !suspended && !ran) else {
            return Claimed::Noted;
        };
        self.end_late(new.start_at);
        match self.queue(&claim.key, Trigger::Schedule, claim.tick, new) {
            Requested::Queued(id) => Claimed::Queued(id),
            Requested::Busy(_) => {
                if let Ok(job) = self.job(&claim.key) {
                    job.skipped += 1;
                }
                Claimed::Skipped
            }
        }
    }

    /// Ends the runs that have waited for longer than their starting deadline.
    fn end_late(&mut self, now: Timestamp) {
        for run in self.runs.values_mut().filter(|run| run.is_late(now)) {
            RunEnd::late(now).put(run);
        }
    }

    fn forget_old(&mut self, key: &JobKey) {
        let ended = self.runs.values().rev();
        let ended = ended.filter(|run| run.key == *key && run.state.has_ended());
        let old: Vec<_> = ended.skip(HISTORY_MAX).map(|run| run.id).collect();
        for id in old {
            self.runs.remove(&id);
        }
    }

    /// Forgets jobs of plugins that have too many of them.
    fn forget_jobs(&mut self, declared: &[Announced]) {
        let plugins: BTreeSet<_> = declared.iter().map(|job| job.key.plugin.clone()).collect();
        let declared: BTreeSet<_> = declared.iter().map(|job| &job.key).collect();
        for plugin in plugins {
            let known = self.jobs.iter().filter(|(key, _)| key.plugin == plugin);
            let mut others: Vec<_> = known
                .filter(|(key, _)| !declared.contains(key))
                .map(|(key, (_, state))| (state.last_tick, key.clone()))
                .collect();
            others.sort();
            let here = declared.iter().filter(|key| key.plugin == plugin).count();
            let too_many = (here + others.len()).saturating_sub(JOBS_MAX);
            for (_, key) in others.into_iter().take(too_many) {
                self.jobs.remove(&key);
                self.runs.retain(|_, run| run.key != key);
            }
        }
    }

    fn job(&mut self, key: &JobKey) -> Result<&mut JobState, StoreError> {
        let found = self.jobs.get_mut(key).map(|(_, state)| state);
        found.ok_or_else(|| StoreError(format!("the store knows no job {key}")))
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn states(&self) -> Result<BTreeMap<JobKey, JobState>, StoreError> {
        let state = self.state.lock();
        let states = state.jobs.iter();
        Ok(states
            .map(|(key, (_, state))| (key.clone(), state.clone()))
            .collect())
    }

    async fn announce(
        &self,
        jobs: &[Announced],
        now: Timestamp,
    ) -> Result<Vec<JobState>, StoreError> {
        let mut state = self.state.lock();
        let states = jobs.iter().map(|job| {
            let (schedule, kept) = state
                .jobs
                .entry(job.key.clone())
                .or_insert_with(|| (job.schedule.clone(), JobState::new(now)));
            if *schedule != job.schedule {
                schedule.clone_from(&job.schedule);
                kept.last_tick = kept.last_tick.max(now);
            }
            kept.clone()
        });
        let states = states.collect();
        state.forget_jobs(jobs);
        Ok(states)
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let mut state = self.state.lock();
        let claimed = claims.iter().map(|claim| state.claim(claim)).collect();
        self.notify(&state);
        Ok(claimed)
    }

    async fn reset(&self, key: &JobKey, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let job = state.job(key)?;
        if job.last_tick == from {
            job.last_tick = to;
        }
        Ok(())
    }

    async fn request(&self, key: &JobKey, run: NewRun) -> Result<Requested, StoreError> {
        let mut state = self.state.lock();
        let requested = state.queue(key, Trigger::Manual, run.start_at, run);
        self.notify(&state);
        Ok(requested)
    }

    async fn state(&self, key: &JobKey) -> Result<Option<JobState>, StoreError> {
        let state = self.state.lock();
        Ok(state.jobs.get(key).map(|(_, state)| state.clone()))
    }

    async fn ready(&self, here: &Arc<BTreeSet<JobKey>>, now: Timestamp) {
        let next = {
            let state = self.state.lock();
            let waiting = state.runs.values();
            let waiting =
                waiting.filter(|run| run.state == RunState::Waiting && here.contains(&run.key));
            waiting.map(|run| run.start_at).min()
        };
        crate::loops::notified_or_at(&self.queued, next, now).await;
    }

    async fn take(
        &self,
        host: &str,
        here: &Arc<BTreeSet<JobKey>>,
        now: Timestamp,
    ) -> Result<Option<Run>, StoreError> {
        let mut state = self.state.lock();
        state.end_late(now);
        let far = now.checked_add(FUTURE_WAIT_MAX).unwrap_or(Timestamp::MAX);
        let waiting = state.runs.values_mut();
        let waiting = waiting.filter(|run| {
            let has_come = run.start_at <= now || run.start_at > far;
            run.state == RunState::Waiting && has_come && here.contains(&run.key)
        });
        Ok(waiting.min_by_key(|run| (run.start_at, run.id)).map(|run| {
            run.start(host, now);
            run.clone()
        }))
    }

    async fn drop_waiting(
        &self,
        jobs: &[JobKey],
        why: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let waiting = state.runs.values_mut();
        let waiting = waiting.filter(|run| run.state == RunState::Waiting);
        for run in waiting.filter(|run| jobs.contains(&run.key)) {
            RunEnd::dropped(now, why).put(run);
        }
        Ok(())
    }

    async fn finish(&self, run: RunId, attempt: u32, end: &RunEnd) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        let Some(found) = state.runs.get_mut(&run) else {
            return Ok(false);
        };
        if found.state != RunState::Running || found.attempt != attempt {
            return Ok(false);
        }
        end.put(found);
        let key = found.key.clone();
        state.forget_old(&key);
        self.notify(&state);
        Ok(true)
    }

    async fn revoked(&self) -> RunId {
        loop {
            if let Some(run) = self.state.lock().revoked.pop_front() {
                return run;
            }
            self.given_up.notified().await;
        }
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, StoreError> {
        Ok(self.state.lock().runs.get(&run).cloned())
    }

    async fn runs(
        &self,
        key: &JobKey,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        let state = self.state.lock();
        let runs = state.runs.values().rev();
        let runs =
            runs.filter(|run| run.key == *key && before.is_none_or(|before| run.id < before));
        Ok(runs.take(limit).cloned().collect())
    }

    async fn newest(&self) -> Result<BTreeMap<JobKey, Run>, StoreError> {
        let state = self.state.lock();
        let runs = state.runs.values().map(|run| Run {
            result: None,
            ..run.clone()
        });
        Ok(runs.map(|run| (run.key.clone(), run)).collect())
    }

    async fn set_overrides(
        &self,
        key: &JobKey,
        overrides: &JobOverrides,
    ) -> Result<(), StoreError> {
        self.state.lock().job(key)?.overrides = overrides.clone();
        Ok(())
    }

    async fn suspend(
        &self,
        key: &JobKey,
        suspended: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let job = state.job(key)?;
        if job.suspended && !suspended {
            job.last_tick = job.last_tick.max(now);
        }
        job.suspended = suspended;
        Ok(())
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.jobs.retain(|key, _| key.plugin != *plugin);
        state.runs.retain(|_, run| run.key.plugin != *plugin);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_contract_holds() {
        crate::testing::contract(|| async { Arc::new(MemoryStore::new()) as _ }).await;
    }
}
