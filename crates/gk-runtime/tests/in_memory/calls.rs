//! More calls than a plugin may run.

use std::pin::Pin;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

type Answer = Result<Bytes, CallError>;

/// A plugin that runs this many calls while this many wait.
async fn goat(running: usize, waiting: usize) -> (Runtime, Arc<Fake>, Arc<Ruling>, Kept) {
    let ruling = Arc::new(Ruling::default());
    *ruling.calls.lock() = (Some(running), Some(waiting));
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    *fake.registration.lock() = Registration {
        name: "goat".into(),
        version: "1.0.0".into(),
        ..Registration::default()
    };
    let successors = Arc::clone(&host.launcher.successors);
    let (runtime, root) = host.start_ruled(Arc::clone(&ruling) as _).unwrap();
    within(runtime.settled()).await;
    let kept = Kept {
        _root: root,
        successors,
    };
    (runtime, fake, ruling, kept)
}

struct Kept {
    _root: tempfile::TempDir,
    successors: Arc<Mutex<VecDeque<Arc<Fake>>>>,
}

fn spawn(runtime: &Runtime, function: &'static str, context: CallContext) -> JoinHandle<Answer> {
    let runtime = runtime.clone();
    tokio::spawn(async move {
        runtime
            .call("goat", function, Bytes::from_static(b"{}"), context)
            .await
    })
}

/// Calls of `wait` that are in the plugin.
async fn fill(runtime: &Runtime, fake: &Fake, calls: usize) -> Vec<JoinHandle<Answer>> {
    let mut running = Vec::new();
    for _ in 0..calls {
        running.push(spawn(runtime, "wait", CallContext::new()));
        within(fake.entered.notified()).await;
    }
    running
}

/// A call that has been asked once, so that it waits if there is no room.
async fn begun(runtime: &Runtime, function: &'static str) -> Pin<Box<dyn Future<Output = Answer>>> {
    let runtime = runtime.clone();
    let mut call: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(async move {
        let args = Bytes::from_static(b"{}");
        runtime
            .call("goat", function, args, CallContext::new())
            .await
    });
    tokio::select! {
        biased;
        answer = &mut call => panic!("{answer:?}"),
        () = std::future::ready(()) => {}
    }
    call
}

fn nested() -> CallContext {
    CallContext::new().with_chain(Chain::new().then("kid".parse().unwrap(), "f"))
}

#[track_caller]
fn assert_busy(answer: &Answer, running: usize, waiting: usize) {
    let expected = CallError::Busy {
        plugin: "goat".parse().unwrap(),
        running,
        waiting,
    };
    assert_eq!(answer.as_ref().unwrap_err(), &expected);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_there_is_room_and_for_a_second_at_most() {
    let (runtime, fake, ruling, _kept) = goat(2, 1).await;
    let mut running = fill(&runtime, &fake, 2).await;
    let start = Instant::now();
    let waiting = begun(&runtime, "echo").await;
    // The queue is full with one waiting call.
    let refused = within(spawn(&runtime, "echo", CallContext::new())).await;
    assert_busy(&refused.unwrap(), 2, 1);
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    // No call ends, so the waiting one is refused without having been sent.
    assert_busy(&within(waiting).await, 2, 0);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let start = Instant::now();
    let short = CallContext::new().with_timeout(Duration::from_millis(200));
    let refused = within(spawn(&runtime, "echo", short)).await;
    assert_busy(&refused.unwrap(), 2, 0);
    assert_eq!(start.elapsed(), Duration::from_millis(200), "its own time");
    assert_eq!(*fake.events.lock(), ["call wait", "call wait"]);
    // A running call ends.
    let waiting = begun(&runtime, "echo").await;
    fake.release.notify_one();
    within(waiting).await.unwrap();
    running.push(spawn(&runtime, "wait", CallContext::new()));
    within(fake.entered.notified()).await;
    // A higher limit is in force from the next call on, also for one that waits.
    let waiting = begun(&runtime, "echo").await;
    *ruling.calls.lock() = (Some(4), Some(1));
    let next = spawn(&runtime, "echo", CallContext::new());
    within(waiting).await.unwrap();
    within(next).await.unwrap().unwrap();
    running.push(spawn(&runtime, "wait", CallContext::new()));
    within(fake.entered.notified()).await;
    // Time spent waiting is time spent.
    *ruling.calls.lock() = (Some(3), Some(1));
    let start = Instant::now();
    let context = CallContext::new().with_timeout(Duration::from_millis(700));
    let hanging = spawn(&runtime, "hang", context);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fake.release.notify_one();
    let late = within(hanging).await.unwrap();
    assert!(matches!(late, Err(CallError::Timeout { after, .. }) if after.as_millis() == 700));
    assert_eq!(start.elapsed(), Duration::from_millis(700));
    for _ in 0..2 {
        fake.release.notify_one();
        within(fake.late.notified()).await;
    }
    for call in running {
        within(call).await.unwrap().unwrap();
    }
}

/// The calls that run may have made it, and do not end before it.
#[tokio::test(start_paused = true)]
async fn a_call_made_during_another_one_waits_for_nobody() {
    let (runtime, fake, _, _kept) = goat(1, 1).await;
    let running = fill(&runtime, &fake, 1).await;
    let waiting = begun(&runtime, "echo").await;
    let start = Instant::now();
    within(spawn(&runtime, "echo", nested()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    fake.release.notify_one();
    within(waiting).await.unwrap();
    for call in running {
        within(call).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_generations_change_goes_to_the_next_one() {
    let (runtime, first, _, kept) = goat(1, 2).await;
    let second = Arc::new(Fake::default());
    *second.registration.lock() = first.registration.lock().clone();
    kept.successors.lock().push_back(Arc::clone(&second));
    let running = fill(&runtime, &first, 1).await;
    let waiting = [begun(&runtime, "echo").await, begun(&runtime, "echo").await];
    // As many as may wait there, too.
    let reloaded = within(runtime.reload("goat", true, DEADLINE)).await;
    assert_eq!(reloaded.unwrap(), Outcome::Serving(2));
    for call in waiting {
        within(call).await.unwrap();
    }
    assert_eq!(*first.events.lock(), ["call wait"]);
    assert_eq!(*second.events.lock(), ["call echo", "call echo"]);
    first.release.notify_one();
    for call in running {
        within(call).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_what_stops_for_good_are_told_so_at_once() {
    let (runtime, fake, _, _kept) = goat(1, 8).await;
    let running = fill(&runtime, &fake, 1).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(begun(&runtime, "echo").await);
    }
    let start = Instant::now();
    let stopping = {
        let runtime = runtime.clone();
        tokio::spawn(async move { runtime.shutdown().await })
    };
    for call in waiting {
        let refused = within(call).await;
        assert!(
            matches!(refused, Err(CallError::NotRunning { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    fake.release.notify_one();
    for call in running {
        within(call).await.unwrap().unwrap();
    }
    within(stopping).await.unwrap();
    assert!(!fake.events.lock().contains(&"call echo".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_leaves_the_queue_and_its_place() {
    let (runtime, fake, _, _kept) = goat(1, 2).await;
    let running = fill(&runtime, &fake, 1).await;
    let (first, second) = (begun(&runtime, "echo").await, begun(&runtime, "echo").await);
    drop(first);
    let third = begun(&runtime, "echo").await;
    fake.release.notify_one();
    within(async {
        while fake.events.lock().last().unwrap() != "answered" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for call in running {
        within(call).await.unwrap().unwrap();
    }
    // The call has been let in by now, but was not polled since.
    drop(second);
    within(third).await.unwrap();
    assert_eq!(*fake.events.lock(), ["call wait", "answered", "call echo"]);
}

#[tokio::test]
async fn the_token_of_a_call_ends_when_its_caller_goes_away() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let hanging = spawn(&runtime, "hang", CallContext::new());
    within(fake.entered.notified()).await;
    let log = serde_json::json!({ "method": "log", "args": { "message": "m" },
        "token": &*fake.token.lock() });
    let log = log.to_string();
    call(&runtime, "host", &log).await.unwrap();
    hanging.abort();
    within(hanging).await.unwrap_err();
    let refused = call(&runtime, "host", &log).await.unwrap_err();
    assert!(
        refused.to_string().contains("finished call context"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_start_counts_in_the_time_of_the_caller() {
    let (runtime, fake, _ruling, _kept) = goat(64, 64).await;
    fake.crash().await;
    until_status(&runtime, |status| !status.is_running()).await;
    let (begun, limit) = (Instant::now(), Duration::from_secs(1));
    let context = CallContext::new().with_timeout(limit);
    let error = runtime.call("goat", "hang", Bytes::new(), context).await;
    let Err(CallError::Timeout { after, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(after < limit, "{after:?}");
    // The clock of the runtime is one of milliseconds.
    let most = limit + Duration::from_millis(2);
    assert!(begun.elapsed() <= most, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_ten_thousand_calls_is_answered_once_and_other_plugins_do_not_notice() {
    const CALLS: usize = 10_000;
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (host, other) = host.with("other", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let runtime = runtime.clone();
        calls.spawn(async move { call(&runtime, "wait", "").await });
    }
    let elsewhere = {
        let runtime = runtime.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                within(runtime.call("other", "echo", "1".into(), CallContext::new())).await?;
            }
            Ok::<_, CallError>(())
        })
    };
    within(elsewhere).await.unwrap().unwrap();
    // As many as are let in before the others give up.
    let (mut answered, mut busy) = (0, 0);
    within(async {
        loop {
            tokio::select! {
                ended = calls.join_next() => match ended {
                    None => break,
                    Some(ended) => match ended.unwrap() {
                        Ok(_) => answered += 1,
                        Err(CallError::Busy { running, .. }) => {
                            assert!(running <= 64, "{running}");
                            busy += 1;
                        }
                        Err(error) => panic!("{error}"),
                    },
                },
                () = fake.entered.notified() => fake.release.notify_one(),
                () = fake.late.notified() => fake.release.notify_one(),
            }
        }
    })
    .await;
    assert_eq!(answered + busy, CALLS);
    assert!(answered >= 64, "{answered}");
    let events = fake.events.lock();
    let count = |wanted: &str| events.iter().filter(|event| *event == wanted).count();
    assert_eq!(
        (count("call wait"), count("answered")),
        (answered, answered)
    );
    assert_eq!(other.events.lock().len(), 200);
}
