//! Ticks, settings, and runs that overlap.

use std::sync::Arc;

use gk_manifest::{Concurrency, JobOverrides, PluginName};

use super::*;

pub(super) async fn a_new_job_and_a_new_schedule_begin_now(store: Arc<dyn JobStore>) {
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

pub(super) async fn a_tick_is_taken_once(store: Arc<dyn JobStore>) {
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
    assert_eq!(claimed(store, late.clone()).await, Claimed::Noted);
    let state = &store.states().await.expect("read")[&key];
    assert_eq!(
        (state.last_tick, state.missed, state.skipped),
        (second(120), 7, 0)
    );
    let unknown = Claim {
        key: self::key("unknown"),
        ..late
    };
    assert_eq!(claimed(store, unknown).await, Claimed::Unknown);
}

pub(super) async fn many_take_each_tick_once(store: Arc<dyn JobStore>) {
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

pub(super) async fn overlapping_runs(store: Arc<dyn JobStore>) {
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

pub(super) async fn open_runs_are_bounded(store: Arc<dyn JobStore>) {
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

pub(super) async fn a_tick_of_a_suspended_job_and_one_that_ran_have_no_run(
    store: Arc<dyn JobStore>,
) {
    let (store, key) = (store.as_ref(), key("nightly"));
    announce(store, std::slice::from_ref(&key)).await;
    queued(claim(store, &key, 60, Concurrency::Allow).await);
    store
        .reset(&key, second(60), second(0))
        .await
        .expect("reset");
    let again = claim(store, &key, 60, Concurrency::Allow).await;
    assert_eq!(again, Claimed::Noted, "a tick has two runs");
    store
        .suspend(&key, true, second(61))
        .await
        .expect("suspended");
    let suspended = claim(store, &key, 120, Concurrency::Allow).await;
    assert_eq!(suspended, Claimed::Noted);
    let state = store.state(&key).await.expect("read").expect("known");
    assert_eq!((state.last_tick, state.suspended), (second(120), true));
    assert_eq!(store.state(&self::key("other")).await, Ok(None));
}

pub(super) async fn too_many_jobs_of_a_plugin_are_forgotten(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let keys: Vec<_> = (0..JOBS_MAX)
        .map(|job| key(&format!("job-{job}")))
        .collect();
    announce(store, &keys).await;
    claim(store, &keys[0], 60, Concurrency::Forbid).await;
    let new = [key("new-1"), key("new-2")];
    announce(store, &new).await;
    let states = store.states().await.expect("read");
    assert_eq!(states.len(), JOBS_MAX);
    assert!(new.iter().all(|key| states.contains_key(key)));
    assert!(states.contains_key(&keys[0]), "it was due most recently");
}

pub(super) async fn what_the_operator_sets(store: Arc<dyn JobStore>) {
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

pub(super) async fn a_tick_of_the_future_is_corrected(store: Arc<dyn JobStore>) {
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

pub(super) async fn a_plugin_is_forgotten(store: Arc<dyn JobStore>) {
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
