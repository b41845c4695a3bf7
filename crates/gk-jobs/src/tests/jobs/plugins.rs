//! Plugins that come, go, and share the places.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_reload_neither_fires_nor_loses_a_tick() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "@hourly")]);
    let called = host.next().await;
    // A new generation, with another handler; the run goes on.
    let reloaded = JobSpec {
        handler: "clean_better".to_owned(),
        ..spec("clean", "@hourly")
    };
    host.declare(std::slice::from_ref(&reloaded));
    pass(60).await;
    called.answer(Ok("null"));
    let called = host.next().await;
    assert_eq!(
        (host.now(), called.call.handler.as_str()),
        (7200, "clean_better")
    );
    called.answer(Ok("null"));

    // For a moment it is not there, and a tick passes.
    pass(3590).await;
    host.declare(&[]);
    pass(20).await;
    host.declare(std::slice::from_ref(&reloaded));
    let called = host.next().await;
    assert_eq!(
        (host.now(), called.args()["_tick"].as_str()),
        (10_810, Some("2026-11-28T03:00:00Z"))
    );
    called.answer(Ok("null"));

    // Another schedule begins now: none of its ticks in the past is run.
    pass(1000).await;
    host.declare(&[spec("clean", "*/5 * * * *")]);
    assert_eq!(host.next().await.args()["_tick"], "2026-11-28T03:20:00Z");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_plugin_that_is_gone_is_dropped() {
    for gone in [None, Some(Presence::Running(Arc::default()))] {
        let store = Arc::new(MemoryStore::new());
        let mut host = Host::new("host-a", Arc::clone(&store) as _);
        host.declare(&[JobSpec {
            retries: 3,
            ..spec("clean", "@hourly")
        }]);
        host.next().await.answer(failed("no disk"));
        settle().await;
        host.present(gone);
        pass(60).await;
        let run = newest(store.as_ref(), "clean").await;
        assert_eq!((run.state, run.attempt), (RunState::Dropped, 2));
        assert!(run.error.unwrap().contains("gone"));
        assert!(host.calls.try_recv().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_plugin_that_starts_again_waits() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    let declared = JobSpec {
        retries: 3,
        ..spec("clean", "@hourly")
    };
    host.declare(std::slice::from_ref(&declared));
    host.next().await.answer(failed("no disk"));
    settle().await;
    let coming = |host: &Host| host.present(Some(Presence::Coming));
    coming(&host);
    pass(60).await;
    assert!(host.calls.try_recv().is_err());
    host.declare(std::slice::from_ref(&declared));
    let called = host.next().await;
    assert_eq!(
        (called.args()["_attempt"].as_u64(), host.now()),
        (Some(2), 3660)
    );
    called.answer(Ok("null"));
    // It is away for a moment while a run is taken.
    coming(&host);
    settle().await;
    let unknown = host.jobs.request(&key("clean")).await;
    assert!(unknown.is_ok(), "its settings are known");
}

/// A run fails after its plugin was disabled.
#[tokio::test(start_paused = true)]
async fn a_repetition_for_a_plugin_that_has_gone_is_dropped() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        retries: 3,
        ..spec("clean", "@hourly")
    }]);
    let called = host.next().await;
    host.present(None);
    settle().await;
    called.answer(failed("no disk"));
    settle().await;
    let run = newest(store.as_ref(), "clean").await;
    assert_eq!((run.state, run.attempt), (RunState::Dropped, 2));
}

/// A plugin is started again and again for hours.
#[tokio::test(start_paused = true)]
async fn ticks_are_missed_while_a_plugin_is_coming() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "@hourly")]);
    settle().await;
    host.present(Some(Presence::Coming));
    pass(3 * 3600 + 1800).await;
    assert_eq!(store.runs(&key("clean"), None, 9).await.unwrap(), []);
    host.declare(&[spec("clean", "@hourly")]);
    let called = host.next().await;
    assert_eq!(called.args()["_tick"], "2026-11-28T03:00:00Z");
    assert_eq!(store.states().await.unwrap()[&key("clean")].missed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_has_a_part_of_the_places() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::with(
        "host-a",
        Arc::clone(&store) as _,
        Duration::ZERO,
        |config| {
            config.running_max = 8;
        },
    );
    let jobs: Vec<_> = (0..5)
        .map(|job| spec(&format!("job-{job}"), "@hourly"))
        .collect();
    host.declare(&jobs);
    let first = host.next().await;
    let _second = host.next().await;
    pass(60).await;
    assert!(host.calls.try_recv().is_err(), "more than a quarter");
    first.answer(Ok("null"));
    let _third = host.next().await;
    settle().await;
    assert!(host.calls.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_run_at_once() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::with(
        "host-a",
        Arc::clone(&store) as _,
        Duration::ZERO,
        |config| {
            config.running_max = 2;
        },
    );
    let plugins = ["one", "two", "three"].map(|name| PluginName::new(name).unwrap());
    let present = plugins.map(|name| {
        let registration = Registration {
            jobs: vec![spec("clean", "@hourly")],
            ..Registration::default()
        };
        (name, Presence::Running(Arc::new(registration)))
    });
    *host.runner.present.lock() = present.into_iter().collect();
    host.jobs.plugins_changed();
    let first = host.next().await;
    let _second = host.next().await;
    pass(60).await;
    assert!(host.calls.try_recv().is_err());
    first.answer(Ok("null"));
    host.next().await.answer(Ok("null"));
}
