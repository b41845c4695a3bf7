//! Runs: overlaps, repetitions, and the stop of a host.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_keeps_the_next_one_out() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("slow", "* * * * *")]);
    let called = host.next().await;
    pass(150).await;
    assert!(host.calls.try_recv().is_err());
    assert_eq!(store.states().await.unwrap()[&key("slow")].skipped, 2);
    called.answer(Ok("null"));
    assert_eq!(host.next().await.args()["_tick"], "2026-11-28T00:04:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_run_is_given_up() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        concurrency: "replace".to_owned(),
        ..spec("slow", "* * * * *")
    }]);
    let mut first = host.next().await;
    let second = host.next().await;
    // The call's future was dropped.
    first.answer.closed().await;
    second.answer(Ok("2"));
    settle().await;
    let runs = store.runs(&key("slow"), None, 9).await.unwrap();
    let states: Vec<_> = runs.iter().map(|run| run.state).collect();
    assert_eq!(states, [RunState::Succeeded, RunState::Replaced]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_repeated_with_a_wait() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        retries: 2,
        backoff: "10s".to_owned(),
        ..spec("flaky", "@hourly")
    }]);
    for (attempt, at) in [(1, 3600), (2, 3610), (3, 3630)] {
        let called = host.next().await;
        assert_eq!(
            (called.args()["_attempt"].as_u64(), host.now()),
            (Some(attempt), at)
        );
        assert_eq!(called.args()["_tick"], "2026-11-28T01:00:00Z");
        called.answer(failed("no disk"));
    }
    settle().await;
    let run = newest(store.as_ref(), "flaky").await;
    assert_eq!((run.state, run.attempt), (RunState::Failed, 3));
    assert_eq!(run.error.as_deref(), Some("no disk"));
    // The next tick is a run of its own.
    assert_eq!(host.next().await.args()["_attempt"], 1);
    assert_eq!(host.now(), 7200);
}

/// Runs of a plugin that has no room at the moment, and of one whose run waits for too long.
#[tokio::test(start_paused = true)]
async fn a_run_that_did_not_reach_its_plugin_is_tried_until_its_deadline() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        starting_deadline: "10s".to_owned(),
        ..spec("clean", "@hourly")
    }]);
    let not_sent = || Err(RunFailure::NotSent("no room".to_owned()));
    host.next().await.answer(not_sent());
    let called = host.next().await;
    assert_eq!(
        (called.args()["_attempt"].as_u64(), host.now()),
        (Some(1), 3601)
    );
    called.answer(not_sent());
    for _ in 0..8 {
        host.next().await.answer(not_sent());
    }
    let called = host.next().await;
    assert_eq!(host.now(), 3610);
    called.answer(not_sent());
    // The next one is that of the next tick.
    assert_eq!(host.next().await.args()["_tick"], "2026-11-28T02:00:00Z");
    let runs = store.runs(&key("clean"), None, 9).await.unwrap();
    assert_eq!(runs[1].state, RunState::Dropped);
    assert!(runs[1].error.as_ref().unwrap().contains("deadline"));
}

/// A stop while many runs wait and there is room for all of them.
#[tokio::test(start_paused = true)]
async fn a_stop_begins_no_run_although_there_is_room() {
    for _ in 0..20 {
        let store = Arc::new(MemoryStore::new());
        let mut host = Host::new("host-a", Arc::clone(&store) as _);
        let jobs: Vec<_> = (0..9)
            .map(|job| spec(&format!("job-{job}"), "@hourly"))
            .collect();
        host.declare(&jobs);
        settle().await;
        let mut runs = Vec::new();
        host.jobs.stop();
        for job in &jobs {
            runs.push(host.jobs.request(&key(&job.id)).await.unwrap());
        }
        host.task.await.unwrap();
        assert!(host.calls.try_recv().is_err());
        // Nobody waits for them here.
        let waits = host.jobs.ended(runs[0]).await.unwrap().unwrap();
        assert_eq!(waits.state, RunState::Waiting);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_runs_and_begins_no_more() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::with(
        "host-a",
        Arc::clone(&store) as _,
        Duration::ZERO,
        |config| {
            config.running_max = 1;
        },
    );
    host.declare(&[spec("first", "@hourly"), spec("next", "@hourly")]);
    let called = host.next().await;
    settle().await;
    host.jobs.stop();
    pass(2 * 3600).await;
    assert!(!host.task.is_finished());
    called.answer(Ok("null"));
    host.task.await.unwrap();
    let states = store.newest().await.unwrap();
    assert_eq!(states[&key("first")].state, RunState::Succeeded);
    // Handed back: it waits in the queue for another host.
    assert_eq!(states[&key("next")].state, RunState::Waiting);
    let mut other = Host::new("host-b", Arc::clone(&store) as _);
    other.declare(&[spec("first", "@hourly"), spec("next", "@hourly")]);
    assert_eq!(other.next().await.args()["_job"], "next");
}
