//! Ticks, and clocks that are set.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_job_runs_at_its_ticks() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "* * * * *")]);
    for minute in 1..=3 {
        let called = host.next().await;
        assert_eq!(host.now(), minute * 60);
        assert_eq!(called.call.handler, "do_clean");
        assert_eq!(called.call.timeout, Duration::from_secs(300));
        let tick = format!("2026-11-28T00:0{minute}:00Z");
        assert_eq!(
            called.args(),
            json!({"_job": "clean", "_tick": tick, "_attempt": 1})
        );
        called.answer(Ok("{\"cleaned\":2}"));
        settle().await;
        let run = newest(store.as_ref(), "clean").await;
        assert_eq!(
            (run.state, run.trigger),
            (RunState::Succeeded, Trigger::Schedule)
        );
        assert_eq!(run.result.as_deref(), Some("{\"cleaned\":2}"));
        assert_eq!(
            (run.host.as_deref(), run.generation),
            (Some("host-a"), Some(1))
        );
    }
    let [job] = &host.jobs.list().await.unwrap()[..] else {
        panic!("one job")
    };
    assert_eq!(job.next, Some(second(240)));
    assert_eq!(job.newest.as_ref().unwrap().tick, second(180));
}

/// Three hosts whose clocks are five minutes apart.
#[tokio::test(start_paused = true)]
async fn each_tick_starts_once_among_hosts() {
    let store = Arc::new(MemoryStore::new());
    let declared = JobSpec {
        concurrency: "allow".to_owned(),
        starting_deadline: "1h".to_owned(),
        ..spec("often", "* * * * *")
    };
    let mut hosts: Vec<_> = [0, 300, 600]
        .into_iter()
        .map(|ahead| {
            let ahead = Duration::from_secs(ahead);
            let host = Host::with("host", Arc::clone(&store) as _, ahead, |_| {});
            host.declare(std::slice::from_ref(&declared));
            host
        })
        .collect();
    // The clock that is ahead finds that ten minutes have passed.
    settle().await;
    let counts = |state: &JobState| (state.missed, state.skipped);
    let before = counts(&store.states().await.unwrap()[&key("often")]);
    let mut ticks = BTreeMap::<String, u32>::new();
    for _ in 0..110 {
        pass(60).await;
        for host in &mut hosts {
            while let Ok(called) = host.calls.try_recv() {
                let tick = called.args()["_tick"].as_str().unwrap().to_owned();
                *ticks.entry(tick).or_default() += 1;
                called.answer(Ok("null"));
            }
        }
    }
    assert!(ticks.values().all(|starts| *starts == 1), "{ticks:?}");
    let expected = (11..120).map(|minute| second(minute * 60).to_string());
    let found = ticks
        .into_keys()
        .skip_while(|tick| *tick < second(660).to_string());
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(
        counts(&store.states().await.unwrap()[&key("often")]),
        before
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_away_runs_the_newest_tick() {
    let store = Arc::new(MemoryStore::new());
    let host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "@hourly"), spec("report", "0 0 * * *")]);
    settle().await;
    host.task.abort();
    let day = 24 * 60 * 60;
    let away = Duration::from_secs(2 * day + 2 * 60 * 60 + 600);
    let mut host = Host::with("host-a", Arc::clone(&store) as _, away, |_| {});
    host.declare(&[spec("clean", "@hourly"), spec("report", "0 0 * * *")]);
    let called = host.next().await;
    assert_eq!(
        called.args(),
        json!({"_job": "clean", "_tick": "2026-11-30T02:00:00Z", "_attempt": 1})
    );
    called.answer(Ok("null"));
    settle().await;
    let states = store.states().await.unwrap();
    assert_eq!(states[&key("clean")].missed, 49);
    // Two hours are too late for the daily one.
    assert_eq!(states[&key("report")].missed, 2);
    assert_eq!(host.next().await.args()["_tick"], "2026-11-30T03:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "@hourly")]);
    settle().await;
    // Forward by three hours and a half: the newest tick runs, within seconds.
    host.clock.set_by(3 * 3600 + 1800);
    let begun = Instant::now();
    let called = host.next().await;
    assert!(
        begun.elapsed() <= crate::CLOCK_CHECK,
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(called.args()["_tick"], "2026-11-28T03:00:00Z");
    called.answer(Ok("null"));
    // Back by two hours: none runs again.
    host.clock.set_by(-2 * 3600);
    let called = host.next().await;
    assert_eq!(called.args()["_tick"], "2026-11-28T04:00:00Z");
    assert_eq!(host.now(), 4 * 3600);
    called.answer(Ok("null"));
    // It was in 2031 for a while, and a tick was taken there.
    let years = 5 * 365 * 24 * 3600;
    host.clock.set_by(years);
    host.next().await.answer(Ok("null"));
    settle().await;
    host.clock.set_by(-years);
    assert_eq!(host.next().await.args()["_tick"], "2026-11-28T05:00:00Z");
}

/// The clock was ahead when a repetition was planned, and behind when a tick was due again.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_neither_delays_nor_repeats() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        retries: 1,
        ..spec("clean", "@daily")
    }]);
    let day = 24 * 3600;
    host.next().await.answer(Ok("null"));
    assert_eq!(host.now(), day);
    settle().await;
    let years = 50 * 365 * day;
    host.clock.set_by(-years);
    pass(60).await;
    host.clock.set_by(years);
    pass(60).await;
    assert!(host.calls.try_recv().is_err(), "the tick ran twice");

    host.clock.set_by(years);
    host.jobs.request(&key("clean")).await.unwrap();
    loop {
        let called = host.next().await;
        let is_it = called.args()["_attempt"] == 1
            && called.args()["_tick"].as_str().unwrap().starts_with("2076");
        called.answer(failed("no disk"));
        if is_it {
            break;
        }
    }
    host.clock.set_by(-years);
    loop {
        let called = host.next().await;
        let attempt = called.args()["_attempt"].clone();
        called.answer(Ok("null"));
        if attempt == 2 {
            break;
        }
    }
    assert!(
        host.now() < 3 * day,
        "the repetition waits for the wrong time"
    );
}
