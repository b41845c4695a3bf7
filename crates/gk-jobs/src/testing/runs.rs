//! The queue, and the ends of attempts.

use std::sync::Arc;

use gk_manifest::Concurrency;

use super::*;

pub(super) async fn a_run_starts_when_its_time_has_come(store: Arc<dyn JobStore>) {
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

pub(super) async fn many_take_each_run_once(store: Arc<dyn JobStore>) {
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

pub(super) async fn a_run_waits_for_its_plugin(store: Arc<dyn JobStore>) {
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
    let dropped = store.drop_waiting(&keys[..2], "gone", second(10)).await;
    dropped.expect("dropped");
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

pub(super) async fn a_run_that_waits_for_too_long_ends(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let keys = ["nightly", "often"].map(key);
    announce(store, &keys).await;
    let until = |at, until| NewRun {
        start_until: Some(second(until)),
        ..new(at, Concurrency::Forbid)
    };
    let claim = |at, run| Claim {
        key: keys[0].clone(),
        tick: second(at),
        missed: 0,
        run: Some(run),
    };
    let first = queued(claimed(store, claim(1, until(1, 10))).await);
    // It does not keep out the next one.
    let next = queued(claimed(store, claim(20, until(20, 30))).await);
    let ended = run(store, first).await;
    assert_eq!(
        (ended.state, ended.ended_at),
        (RunState::Dropped, Some(second(20)))
    );
    assert!(ended.error.expect("a reason").contains("deadline"));
    assert_eq!(take(store, 31).await, None);
    assert_eq!(run(store, next).await.state, RunState::Dropped);
    // In time to the second; put back, it has the rest of its time.
    let last = queued(claimed(store, claim(40, until(40, 50))).await);
    let taken = take(store, 50).await.expect("waits");
    let put_back = RunEnd {
        state: RunState::Waiting,
        again: Some(Again {
            at: second(51),
            until: taken.start_until,
            is_same_attempt: true,
        }),
        ..succeeded(50)
    };
    assert!(store.finish(last, 1, &put_back).await.expect("ended"));
    let waits = run(store, last).await;
    assert_eq!((waits.state, waits.attempt), (RunState::Waiting, 1));
    assert_eq!(take(store, 52).await, None);
    assert_eq!(run(store, last).await.state, RunState::Dropped);
}

pub(super) async fn a_run_of_a_wrong_clock_starts(store: Arc<dyn JobStore>) {
    let store = store.as_ref();
    let keys = ["nightly", "often"].map(key);
    announce(store, &keys).await;
    let hours = |hours: i64| new(hours * 3600, Concurrency::Forbid);
    let near = store.request(&keys[0], hours(2)).await;
    let far = store.request(&keys[1], hours(3)).await;
    let Ok(Requested::Queued(far)) = far else {
        panic!("not queued")
    };
    assert!(matches!(near, Ok(Requested::Queued(_))));
    assert_eq!(take(store, 0).await.map(|run| run.id), Some(far));
    assert_eq!(take(store, 0).await, None);
}

pub(super) async fn an_end_counts_for_its_attempt(store: Arc<dyn JobStore>) {
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
        again: Some(Again {
            at: second(13),
            until: None,
            is_same_attempt: false,
        }),
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

pub(super) async fn history_is_bounded(store: Arc<dyn JobStore>) {
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
