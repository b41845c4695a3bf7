//! The contract of a [`JobStore`], as tests that every store passes.

use std::collections::BTreeSet;
use std::sync::Arc;

use gk_manifest::{Concurrency, JobOverrides, PluginName};
use jiff::{Timestamp, ToSpan};

use crate::key::JobKey;
use crate::store::{
    Announced, Claim, Claimed, HISTORY_MAX, JobStore, NewRun, OPEN_RUNS_MAX, Requested, Run,
    RunEnd, RunId, RunState, Trigger,
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
    a_new_job_and_a_new_schedule_begin_now(make().await).await;
    a_tick_is_taken_once(make().await).await;
    many_take_each_tick_once(make().await).await;
    overlapping_runs(make().await).await;
    open_runs_are_bounded(make().await).await;
    a_run_starts_when_its_time_has_come(make().await).await;
    many_take_each_run_once(make().await).await;
    a_run_waits_for_its_plugin(make().await).await;
    an_end_counts_for_its_attempt(make().await).await;
    history_is_bounded(make().await).await;
    what_the_operator_sets(make().await).await;
    a_tick_of_the_future_is_corrected(make().await).await;
    a_plugin_is_forgotten(make().await).await;
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
    store.claim(&claim).await.expect("claimed")
}

fn new(at: i64, concurrency: Concurrency) -> NewRun {
    NewRun {
        start_at: second(at),
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
        retry_at: None,
    }
}

async fn a_new_job_and_a_new_schedule_begin_now(store: Arc<dyn JobStore>) {
    let job = |schedule: &str| Announced {
        key: key("nightly"),
        schedule: schedule.to_owned(),
    };
    for (schedule, at, last_tick) in [
        ("UTC 0 1 * * *", 10, 10),
        ("UTC 0 1 * * *", 20, 10),
        ("UTC 0 2 * * *", 30, 30),
        // Another host's clock is behind.
        ("UTC 0 3 * * *", 25, 30),
    ] {
        let states = store.announce(&[job(schedule)], second(at)).await;
        let last = states.expect("announced")[0].last_tick;
        assert_eq!(last, second(last_tick), "{schedule} at {at}");
    }
    let states = store.states().await.expect("read");
    assert_eq!(states.len(), 1);
    assert_eq!(states[&key("nightly")].last_tick, second(30));
}

async fn a_tick_is_taken_once(store: Arc<dyn JobStore>) {
    let (store, key) = (store.as_ref(), key("nightly"));
    announce(store, std::slice::from_ref(&key)).await;
    let id = queued(claim(store, &key, 60, Concurrency::Forbid).await);
    let last_tick = second(60);
    for tick in [60, 30] {
        let again = claim(store, &key, tick, Concurrency::Allow).await;
        assert_eq!(again, Claimed::Passed { last_tick }, "{tick}");
    }
    let found = run(store, id).await;
    let expected = Run::new(
        id,
        key.clone(),
        Trigger::Schedule,
        last_tick,
        new(60, Concurrency::Forbid),
    );
    assert_eq!(found, expected);
    let late = Claim {
        key: key.clone(),
        tick: second(120),
        missed: 7,
        run: None,
    };
    assert_eq!(store.claim(&late).await.expect("claimed"), Claimed::Noted);
    let state = &store.states().await.expect("read")[&key];
    assert_eq!(
        (state.last_tick, state.missed, state.skipped),
        (second(120), 7, 0)
    );
    let unknown = Claim {
        key: self::key("unknown"),
        ..late
    };
    store.claim(&unknown).await.expect_err("no such job");
}

async fn many_take_each_tick_once(store: Arc<dyn JobStore>) {
    const TICKS: i64 = 40;
    let key = key("often");
    announce(store.as_ref(), std::slice::from_ref(&key)).await;
    let mut hosts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, key) = (Arc::clone(&store), key.clone());
        hosts.spawn(async move {
            let mut taken = 0;
            for tick in 1..=TICKS {
                let claimed = claim(store.as_ref(), &key, tick, Concurrency::Allow).await;
                taken += i64::from(matches!(claimed, Claimed::Queued(_)));
            }
            taken
        });
    }
    let taken: i64 = hosts.join_all().await.into_iter().sum();
    assert_eq!(taken, TICKS);
}

async fn overlapping_runs(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let keys = ["forbid", "allow", "replace"].map(key);
    announce(store, &keys).await;
    let [forbid, allow, replace] = keys;

    let first = queued(claim(store, &forbid, 1, Concurrency::Forbid).await);
    assert_eq!(
        claim(store, &forbid, 2, Concurrency::Forbid).await,
        Claimed::Skipped
    );
    assert_eq!(take(store, 2).await.map(|run| run.id), Some(first));
    assert_eq!(
        claim(store, &forbid, 3, Concurrency::Forbid).await,
        Claimed::Skipped
    );
    let busy = store.request(&forbid, new(3, Concurrency::Forbid)).await;
    assert_eq!(busy.expect("asked"), Requested::Busy(first));
    assert!(store.finish(first, 1, &succeeded(4)).await.expect("ended"));
    let second_run = queued(claim(store, &forbid, 5, Concurrency::Forbid).await);
    assert!(second_run > first);
    let state = &store.states().await.expect("read")[&forbid];
    assert_eq!((state.last_tick, state.skipped), (second(5), 2));
    assert_eq!(take(store, 5).await.map(|run| run.id), Some(second_run));

    queued(claim(store, &allow, 1, Concurrency::Allow).await);
    queued(claim(store, &allow, 2, Concurrency::Allow).await);
    for _ in 0..2 {
        let taken = take(store, 5).await.expect("waits");
        assert_eq!(taken.key, allow);
    }

    let old = queued(claim(store, &replace, 1, Concurrency::Replace).await);
    assert_eq!(take(store, 5).await.map(|run| run.id), Some(old));
    let next = queued(claim(store, &replace, 2, Concurrency::Replace).await);
    assert_eq!(store.revoked().await, old);
    assert_eq!(run(store, old).await.state, RunState::Replaced);
    let late = store.finish(old, 1, &succeeded(6)).await;
    assert!(!late.expect("answered"), "a late result is stored");
    let kept = run(store, old).await;
    assert_eq!((kept.state, kept.result), (RunState::Replaced, None));
    // One that only waits is given up, too; no host has to be told.
    let newest = store.request(&replace, new(7, Concurrency::Replace)).await;
    assert_eq!(run(store, next).await.state, RunState::Replaced);
    let Requested::Queued(newest) = newest.expect("asked") else {
        panic!("not queued")
    };
    let taken = take(store, 8).await.expect("waits");
    assert_eq!(
        (taken.id, taken.trigger, taken.tick),
        (newest, Trigger::Manual, second(7))
    );
    let latest = store.newest().await.expect("read");
    assert_eq!(latest.len(), 3);
    assert_eq!(latest[&replace], taken);
}

async fn open_runs_are_bounded(store: Arc<dyn JobStore>) {
    let (store, key) = (store.as_ref(), key("slow"));
    announce(store, std::slice::from_ref(&key)).await;
    let most = i64::try_from(OPEN_RUNS_MAX).expect("a small number");
    for tick in 1..=most {
        queued(claim(store, &key, tick, Concurrency::Allow).await);
    }
    let more = claim(store, &key, most + 1, Concurrency::Allow).await;
    assert_eq!(more, Claimed::Skipped);
    let asked = store.request(&key, new(0, Concurrency::Allow)).await;
    assert!(matches!(asked.expect("asked"), Requested::Busy(_)));
}

async fn a_run_starts_when_its_time_has_come(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let keys = ["late", "early"].map(key);
    announce(store, &keys).await;
    let late = queued(claim(store, &keys[0], 20, Concurrency::Forbid).await);
    let early = queued(claim(store, &keys[1], 10, Concurrency::Forbid).await);
    assert_eq!(take(store, 9).await, None);
    let taken = take(store, 30).await.expect("waits");
    assert_eq!(
        (
            taken.id,
            taken.state,
            taken.host.as_deref(),
            taken.started_at
        ),
        (early, RunState::Running, Some("host-a"), Some(second(30)))
    );
    assert_eq!(take(store, 30).await.map(|run| run.id), Some(late));
    assert_eq!(take(store, 30).await, None);
}

async fn many_take_each_run_once(store: Arc<dyn JobStore>) {
    const RUNS: usize = 40;
    let key = key("often");
    announce(store.as_ref(), std::slice::from_ref(&key)).await;
    for tick in 1..=RUNS {
        let tick = i64::try_from(tick).expect("a small number");
        queued(claim(store.as_ref(), &key, tick, Concurrency::Allow).await);
    }
    let mut hosts = tokio::task::JoinSet::new();
    for host in 0..8 {
        let store = Arc::clone(&store);
        hosts.spawn(async move {
            let mut taken = Vec::new();
            let host = format!("host-{host}");
            while let Some(run) = store
                .take(&host, &here(), second(100))
                .await
                .expect("taken")
            {
                taken.push(run.id);
            }
            taken
        });
    }
    let mut taken = hosts.join_all().await.concat();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), RUNS);
}

async fn a_run_waits_for_its_plugin(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let keys = ["nightly", "often", "late"].map(key);
    announce(store, &keys).await;
    let mut ids = Vec::new();
    for (at, key) in (1..).zip(&keys) {
        ids.push(queued(claim(store, key, at, Concurrency::Forbid).await));
    }
    let only = Arc::new(BTreeSet::from([keys[1].clone()]));
    let taken = store.take("host-a", &only, second(9)).await.expect("taken");
    assert_eq!(taken.map(|run| run.id), Some(ids[1]));
    assert_eq!(store.take("host-a", &only, second(9)).await, Ok(None));
    // The one that runs goes on.
    store
        .drop_waiting(&keys[..2], second(10))
        .await
        .expect("dropped");
    let states = [
        run(store, ids[0]).await,
        run(store, ids[1]).await,
        run(store, ids[2]).await,
    ];
    assert_eq!(
        states.map(|run| run.state),
        [RunState::Dropped, RunState::Running, RunState::Waiting]
    );
    assert_eq!(run(store, ids[0]).await.ended_at, Some(second(10)));
}

async fn an_end_counts_for_its_attempt(store: Arc<dyn JobStore>) {
    let (store, key) = (store.as_ref(), key("flaky"));
    announce(store, std::slice::from_ref(&key)).await;
    let id = queued(claim(store, &key, 1, Concurrency::Forbid).await);
    assert!(
        !store.finish(id, 1, &succeeded(1)).await.expect("answered"),
        "it waits"
    );
    take(store, 2).await.expect("waits");
    assert!(
        !store.finish(id, 2, &succeeded(2)).await.expect("answered"),
        "another attempt"
    );
    let failed = RunEnd {
        state: RunState::Failed,
        at: second(3),
        generation: Some(2),
        result: None,
        error: Some("the database is locked".to_owned()),
        retry_at: Some(second(13)),
    };
    assert!(store.finish(id, 1, &failed).await.expect("ended"));
    assert!(
        !store.finish(id, 1, &succeeded(4)).await.expect("answered"),
        "twice"
    );
    let waits = run(store, id).await;
    assert_eq!(
        (waits.state, waits.attempt, waits.start_at, waits.error),
        (RunState::Waiting, 2, second(13), failed.error)
    );
    assert_eq!(take(store, 12).await, None);
    let taken = take(store, 13).await.expect("waits");
    assert_eq!((taken.id, taken.attempt), (id, 2));
    assert!(
        !store.finish(id, 1, &succeeded(14)).await.expect("answered"),
        "the first attempt"
    );
    assert!(store.finish(id, 2, &succeeded(15)).await.expect("ended"));
    let ended = run(store, id).await;
    assert_eq!(
        (ended.state, ended.attempt, ended.ended_at, ended.generation),
        (RunState::Succeeded, 2, Some(second(15)), Some(3))
    );
    assert_eq!((ended.result, ended.error), (succeeded(15).result, None));
    let none = store.finish(RunId(i64::MAX), 1, &succeeded(1)).await;
    assert!(!none.expect("answered"), "no such run");
    assert_eq!(store.run(RunId(i64::MAX)).await.expect("read"), None);
}

async fn history_is_bounded(store: Arc<dyn JobStore>) {
    let (store, key) = (store.as_ref(), key("often"));
    announce(store, std::slice::from_ref(&key)).await;
    let runs = i64::try_from(HISTORY_MAX).expect("a small number") + 3;
    let mut ids = Vec::new();
    for tick in 1..=runs {
        let id = queued(claim(store, &key, tick, Concurrency::Forbid).await);
        take(store, tick).await.expect("waits");
        assert!(store.finish(id, 1, &succeeded(tick)).await.expect("ended"));
        ids.push(id);
    }
    ids.reverse();
    let ids_of = |runs: Vec<Run>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
    let kept = store.runs(&key, None, usize::MAX).await.expect("read");
    assert_eq!(ids_of(kept), ids[..HISTORY_MAX]);
    let page = store.runs(&key, Some(ids[4]), 2).await.expect("read");
    assert_eq!(ids_of(page), ids[5..7]);
    assert_eq!(
        store
            .runs(&self::key("other"), None, 9)
            .await
            .expect("read"),
        []
    );
}

async fn what_the_operator_sets(store: Arc<dyn JobStore>) {
    let (store, key) = (store.as_ref(), key("nightly"));
    announce(store, std::slice::from_ref(&key)).await;
    let overrides = JobOverrides {
        schedule: Some("0 4 * * *".to_owned()),
        concurrency: Some(Concurrency::Replace),
        retries: Some(3),
        ..JobOverrides::default()
    };
    store.set_overrides(&key, &overrides).await.expect("set");
    store
        .suspend(&key, true, second(50))
        .await
        .expect("suspended");
    let state = &store.states().await.expect("read")[&key];
    assert_eq!((state.suspended, state.last_tick), (true, second(0)));
    assert_eq!(state.overrides, overrides);
    store
        .suspend(&key, false, second(90))
        .await
        .expect("resumed");
    // Going on twice moves nothing.
    store
        .suspend(&key, false, second(95))
        .await
        .expect("resumed");
    store
        .set_overrides(&key, &JobOverrides::default())
        .await
        .expect("set");
    let state = &store.states().await.expect("read")[&key];
    assert_eq!((state.suspended, state.last_tick), (false, second(90)));
    assert!(state.overrides.is_empty());
    let unknown = self::key("unknown");
    store
        .suspend(&unknown, true, second(1))
        .await
        .expect_err("no such job");
    store
        .set_overrides(&unknown, &overrides)
        .await
        .expect_err("no such job");
}

async fn a_tick_of_the_future_is_corrected(store: Arc<dyn JobStore>) {
    let (store, key) = (store.as_ref(), key("nightly"));
    announce(store, std::slice::from_ref(&key)).await;
    claim(store, &key, 1_000_000, Concurrency::Forbid).await;
    for (from, to, last_tick) in [(7, 10, 1_000_000), (1_000_000, 20, 20), (1_000_000, 30, 20)] {
        store
            .reset(&key, second(from), second(to))
            .await
            .expect("answered");
        let state = &store.states().await.expect("read")[&key];
        assert_eq!(state.last_tick, second(last_tick));
    }
}

async fn a_plugin_is_forgotten(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let other = JobKey::new(PluginName::new("mail").expect("a name"), "nightly");
    announce(store, &[key("nightly"), other.clone()]).await;
    let id = queued(claim(store, &key("nightly"), 1, Concurrency::Forbid).await);
    let kept = queued(claim(store, &other, 1, Concurrency::Forbid).await);
    store.clear(&key("nightly").plugin).await.expect("cleared");
    assert_eq!(store.run(id).await.expect("read"), None);
    assert_eq!(take(store, 5).await.map(|run| run.id), Some(kept));
    let states = store.states().await.expect("read");
    assert_eq!(states.keys().collect::<Vec<_>>(), [&other]);
}
