//! The contract of a [`JobStore`], as tests that every store passes.

mod jobs;
mod runs;

use std::collections::BTreeSet;
use std::sync::Arc;

use gk_manifest::{Concurrency, PluginName};
use jiff::{Timestamp, ToSpan};

use crate::key::JobKey;
use crate::store::{
    Again, Announced, Claim, Claimed, HISTORY_MAX, JOBS_MAX, JobStore, NewRun, OPEN_RUNS_MAX,
    Requested, Run, RunEnd, RunId, RunState, Trigger,
};

/// A job of the plugin `tickets`.
#[must_use]
pub fn key(job: &str) -> JobKey {
    let plugin = PluginName::new("tickets").expect("a valid name");
    JobKey::new(plugin, job)
}

/// A moment: so many seconds after the begin of 2026-11-28.
#[must_use]
pub fn second(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-28T00:00:00Z".parse().expect("a timestamp");
    begin + seconds.seconds()
}

/// Runs all tests, each with a store that `make` creates, which is empty.
///
/// # Panics
/// If the store breaks the contract.
pub async fn contract<M, F>(make: M)
where
    M: Fn() -> F,
    F: Future<Output = Arc<dyn JobStore>>,
{
    jobs::a_new_job_and_a_new_schedule_begin_now(make().await).await;
    jobs::a_tick_is_taken_once(make().await).await;
    jobs::many_take_each_tick_once(make().await).await;
    jobs::overlapping_runs(make().await).await;
    jobs::open_runs_are_bounded(make().await).await;
    runs::a_run_starts_when_its_time_has_come(make().await).await;
    runs::many_take_each_run_once(make().await).await;
    runs::a_run_waits_for_its_plugin(make().await).await;
    runs::a_run_that_waits_for_too_long_ends(make().await).await;
    jobs::a_tick_of_a_suspended_job_and_one_that_ran_have_no_run(make().await).await;
    runs::a_run_of_a_wrong_clock_starts(make().await).await;
    jobs::too_many_jobs_of_a_plugin_are_forgotten(make().await).await;
    runs::an_end_counts_for_its_attempt(make().await).await;
    runs::history_is_bounded(make().await).await;
    jobs::what_the_operator_sets(make().await).await;
    jobs::a_tick_of_the_future_is_corrected(make().await).await;
    jobs::a_plugin_is_forgotten(make().await).await;
}

async fn announce(store: &dyn JobStore, keys: &[JobKey]) {
    let jobs = keys.iter().map(|key| Announced {
        key: key.clone(),
        schedule: "UTC * * * * *".to_owned(),
    });
    let jobs: Vec<_> = jobs.collect();
    store.announce(&jobs, second(0)).await.expect("announced");
}

async fn claim(store: &dyn JobStore, key: &JobKey, at: i64, concurrency: Concurrency) -> Claimed {
    let claim = Claim {
        key: key.clone(),
        tick: second(at),
        missed: 0,
        run: Some(new(at, concurrency)),
    };
    claimed(store, claim).await
}

async fn claimed(store: &dyn JobStore, claim: Claim) -> Claimed {
    let claimed = store.claim(&[claim]).await.expect("claimed");
    assert_eq!(claimed.len(), 1);
    claimed[0]
}

fn new(at: i64, concurrency: Concurrency) -> NewRun {
    NewRun {
        start_at: second(at),
        start_until: None,
        concurrency,
        retries: 2,
    }
}

fn queued(claimed: Claimed) -> RunId {
    match claimed {
        Claimed::Queued(run) => run,
        other => panic!("not queued: {other:?}"),
    }
}

/// The jobs of the tests.
fn here() -> Arc<BTreeSet<JobKey>> {
    let jobs = [
        "nightly", "often", "forbid", "allow", "replace", "slow", "late", "early", "flaky",
    ];
    let other = JobKey::new(PluginName::new("mail").expect("a name"), "nightly");
    Arc::new(jobs.map(key).into_iter().chain([other]).collect())
}

async fn take(store: &dyn JobStore, at: i64) -> Option<Run> {
    let taken = store.take("host-a", &here(), second(at)).await;
    taken.expect("taken")
}

async fn run(store: &dyn JobStore, run: RunId) -> Run {
    let run = store.run(run).await.expect("read");
    run.expect("the run is kept")
}

fn succeeded(at: i64) -> RunEnd {
    RunEnd {
        state: RunState::Succeeded,
        at: second(at),
        generation: Some(3),
        result: Some("{\"cleaned\":2}".to_owned()),
        error: None,
        again: None,
    }
}
