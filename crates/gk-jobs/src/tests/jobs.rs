//! The loops around planner, store and plugins, on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::testing::{key, second};
use crate::{
    Announced, Claim, Claimed, Clock, JobError, JobKey, JobState, JobStore, Jobs, JobsConfig,
    MemoryStore, NewRun, Presence, Requested, Run, RunAnswer, RunCall, RunEnd, RunFailure, RunId,
    RunState, Runner, StoreError, Trigger,
};
use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::{Concurrency, JobOverrides, JobSpec, PluginName, Registration};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A clock that follows the paused clock of tokio, and can be set.
#[derive(Debug)]
struct TestClock {
    begun: Instant,
    /// Milliseconds that it is ahead.
    ahead: AtomicI64,
}

impl TestClock {
    fn new(ahead: Duration) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            ahead: AtomicI64::new(i64::try_from(ahead.as_millis()).unwrap()),
        })
    }

    fn set_by(&self, seconds: i64) {
        self.ahead.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_millis(self.ahead.load(Ordering::SeqCst));
        second(0) + self.begun.elapsed() + ahead
    }
}

/// A call of a function, which the test answers.
struct Called {
    call: RunCall,
    answer: oneshot::Sender<RunAnswer>,
}

impl Called {
    fn args(&self) -> Value {
        serde_json::from_slice(&self.call.args).unwrap()
    }

    fn answer(self, outcome: Result<&'static str, RunFailure>) {
        let _ = self.answer.send(RunAnswer {
            generation: Some(1),
            outcome: outcome.map(|text| Bytes::from_static(text.as_bytes())),
        });
    }
}

#[derive(Debug)]
struct TestRunner {
    called: mpsc::UnboundedSender<Called>,
    present: Mutex<BTreeMap<PluginName, Presence>>,
}

#[async_trait]
impl Runner for TestRunner {
    fn present(&self) -> BTreeMap<PluginName, Presence> {
        self.present.lock().clone()
    }

    async fn run(&self, call: RunCall) -> RunAnswer {
        let (answer, answered) = oneshot::channel();
        self.called.send(Called { call, answer }).unwrap();
        answered.await.unwrap()
    }
}

/// A host, and the calls of its functions.
struct Host {
    jobs: Jobs,
    runner: Arc<TestRunner>,
    clock: Arc<TestClock>,
    calls: mpsc::UnboundedReceiver<Called>,
    task: JoinHandle<()>,
}

impl Host {
    fn new(name: &str, store: Arc<dyn JobStore>) -> Self {
        Self::with(name, store, Duration::ZERO, |_| {})
    }

    fn with(
        name: &str,
        store: Arc<dyn JobStore>,
        ahead: Duration,
        change: impl FnOnce(&mut JobsConfig),
    ) -> Self {
        let (called, calls) = mpsc::unbounded_channel();
        let clock = TestClock::new(ahead);
        let runner = Arc::new(TestRunner {
            called,
            present: Mutex::default(),
        });
        let mut config = JobsConfig::new(name, store, Arc::clone(&runner) as _);
        config.clock = Arc::clone(&clock) as _;
        change(&mut config);
        let jobs = Jobs::new(config);
        let task = tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.run().await }
        });
        Self {
            jobs,
            runner,
            clock,
            calls,
            task,
        }
    }

    fn declare(&self, specs: &[JobSpec]) {
        let registration = Registration {
            jobs: specs.to_vec(),
            ..Registration::default()
        };
        self.present(Some(Presence::Running(Arc::new(registration))));
    }

    fn present(&self, presence: Option<Presence>) {
        let presence = presence.map(|presence| (key("").plugin, presence));
        *self.runner.present.lock() = presence.into_iter().collect();
        self.jobs.plugins_changed();
    }

    async fn next(&mut self) -> Called {
        let next = tokio::time::timeout(Duration::from_secs(1_000_000), self.calls.recv());
        next.await.expect("no call comes").expect("the host ended")
    }

    fn now(&self) -> i64 {
        self.clock.now().duration_since(second(0)).as_secs()
    }
}

fn spec(id: &str, schedule: &str) -> JobSpec {
    JobSpec {
        id: id.to_owned(),
        handler: format!("do_{id}"),
        schedule: schedule.to_owned(),
        enabled: true,
        jitter: "0s".to_owned(),
        ..JobSpec::default()
    }
}

fn failed(text: &str) -> Result<&'static str, RunFailure> {
    Err(RunFailure::Failed(text.to_owned()))
}

async fn newest(store: &dyn JobStore, job: &str) -> Run {
    let runs = store.runs(&key(job), None, 1).await.unwrap();
    runs.into_iter().next().expect("a run")
}

/// Lets everything that can run now do so.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

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
        sleep(Duration::from_secs(60)).await;
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
async fn a_run_that_goes_on_keeps_the_next_one_out() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("slow", "* * * * *")]);
    let called = host.next().await;
    sleep(Duration::from_secs(150)).await;
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
    sleep(Duration::from_secs(60)).await;
    called.answer(Ok("null"));
    let called = host.next().await;
    assert_eq!(
        (host.now(), called.call.handler.as_str()),
        (7200, "clean_better")
    );
    called.answer(Ok("null"));

    // For a moment it is not there, and a tick passes.
    sleep(Duration::from_secs(3590)).await;
    host.declare(&[]);
    sleep(Duration::from_secs(20)).await;
    host.declare(std::slice::from_ref(&reloaded));
    let called = host.next().await;
    assert_eq!(
        (host.now(), called.args()["_tick"].as_str()),
        (10_810, Some("2026-11-28T03:00:00Z"))
    );
    called.answer(Ok("null"));

    // Another schedule begins now: none of its ticks in the past is run.
    sleep(Duration::from_secs(1000)).await;
    host.declare(&[spec("clean", "*/5 * * * *")]);
    assert_eq!(host.next().await.args()["_tick"], "2026-11-28T03:20:00Z");
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

#[tokio::test(start_paused = true)]
async fn suspended_jobs_run_when_asked_for_alone() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "@hourly")]);
    settle().await;
    host.jobs.suspend(&key("clean"), true).await.unwrap();
    sleep(Duration::from_secs(3 * 3600 + 60)).await;
    assert!(host.calls.try_recv().is_err());
    assert_eq!(host.jobs.list().await.unwrap()[0].next, None);

    let asked = host.clock.now();
    let run = host.jobs.request(&key("clean")).await.unwrap();
    let busy = host.jobs.request(&key("clean")).await.unwrap_err();
    assert!(
        matches!(busy, JobError::Busy { run: open, .. } if open == run),
        "{busy}"
    );
    let called = host.next().await;
    assert_eq!(called.args()["_tick"], asked.to_string());
    let ended = tokio::spawn({
        let jobs = host.jobs.clone();
        async move { jobs.ended(run).await }
    });
    called.answer(Ok("7"));
    let ended = ended.await.unwrap().unwrap().unwrap();
    assert_eq!(
        (ended.result.as_deref(), ended.trigger),
        (Some("7"), Trigger::Manual)
    );

    host.jobs.suspend(&key("clean"), false).await.unwrap();
    assert_eq!(host.next().await.args()["_tick"], "2026-11-28T04:00:00Z");
    let unknown = host.jobs.suspend(&key("other"), true).await.unwrap_err();
    assert_eq!(unknown, JobError::Unknown(key("other")));
    let unknown = host.jobs.request(&key("other")).await.unwrap_err();
    assert_eq!(unknown, JobError::Unknown(key("other")));
}

#[tokio::test(start_paused = true)]
async fn the_operators_settings_come_first() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    let other = Host::new("host-b", Arc::clone(&store) as _);
    let declared = JobSpec {
        enabled: false,
        ..spec("clean", "@hourly")
    };
    for host in [&host, &other] {
        host.declare(std::slice::from_ref(&declared));
    }
    settle().await;
    let mut overrides = JobOverrides {
        enabled: Some(true),
        schedule: Some("30 9 * * *".to_owned()),
        time_zone: Some("Europe/Berlin".to_owned()),
        concurrency: Some(Concurrency::Allow),
        timeout: Some("2s".parse().unwrap()),
        ..JobOverrides::default()
    };
    // On the other host, as far as this one has read it.
    other.jobs.set(&key("clean"), &overrides).await.unwrap();
    other.jobs.stop();
    host.jobs.reread();
    let called = host.next().await;
    assert_eq!(called.args()["_tick"], "2026-11-28T08:30:00Z");
    assert_eq!(called.call.timeout, Duration::from_secs(2));
    overrides.schedule = Some("0 0 30 2 *".to_owned());
    let error = host.jobs.set(&key("clean"), &overrides).await.unwrap_err();
    assert!(error.to_string().contains("never due"), "{error}");
    let [job] = &host.jobs.list().await.unwrap()[..] else {
        panic!("one job")
    };
    assert_eq!(
        (job.spec.schedule.as_str(), job.spec.concurrency.as_str()),
        ("30 9 * * *", "allow")
    );
    host.jobs
        .set(&key("clean"), &JobOverrides::default())
        .await
        .unwrap();
    sleep(Duration::from_secs(3 * 24 * 3600)).await;
    assert!(host.calls.try_recv().is_err(), "the plugin has it disabled");
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
        sleep(Duration::from_secs(60)).await;
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
    sleep(Duration::from_secs(60)).await;
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
    sleep(Duration::from_secs(60)).await;
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
    sleep(Duration::from_secs(60)).await;
    assert!(host.calls.try_recv().is_err());
    first.answer(Ok("null"));
    host.next().await.answer(Ok("null"));
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
    sleep(Duration::from_secs(60)).await;
    host.clock.set_by(years);
    sleep(Duration::from_secs(60)).await;
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

#[tokio::test(start_paused = true)]
async fn a_suspended_job_is_not_repeated() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        retries: 3,
        ..spec("clean", "@hourly")
    }]);
    host.next().await.answer(failed("no disk"));
    settle().await;
    host.jobs.suspend(&key("clean"), true).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    assert!(host.calls.try_recv().is_err());
    let run = newest(store.as_ref(), "clean").await;
    assert_eq!((run.state, run.attempt), (RunState::Dropped, 2));
    // Its plugin need not run.
    host.present(None);
    host.jobs.suspend(&key("clean"), false).await.unwrap();
    assert!(!host.jobs.kept(&key("clean")).await.unwrap().state.suspended);
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
    sleep(Duration::from_secs(2 * 3600)).await;
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

/// A host that sleeps while another one is told that it has ended.
#[tokio::test(start_paused = true)]
async fn a_late_result_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let declared = JobSpec {
        retries: 1,
        ..spec("clean", "@hourly")
    };
    let mut slow = Host::new("host-a", Arc::clone(&store) as _);
    slow.declare(std::slice::from_ref(&declared));
    let late = slow.next().await;
    slow.jobs.stop();
    let mut other = Host::new("host-b", Arc::clone(&store) as _);
    other.declare(std::slice::from_ref(&declared));
    store.lost("host-a", second(3700));
    let called = other.next().await;
    assert_eq!(called.args()["_attempt"], 2);
    late.answer(Ok("\"late\""));
    slow.task.await.unwrap();
    assert_eq!(
        newest(store.as_ref(), "clean").await.state,
        RunState::Running
    );
    called.answer(Ok("\"in time\""));
    settle().await;
    let run = newest(store.as_ref(), "clean").await;
    assert_eq!(
        (run.result.as_deref(), run.host.as_deref()),
        (Some("\"in time\""), Some("host-b"))
    );
}

/// A store that can be out of reach.
#[derive(Debug)]
struct Flaky {
    store: MemoryStore,
    down: AtomicBool,
    /// The next run is replaced right after it was taken.
    replaces: AtomicBool,
}

impl Flaky {
    fn up(&self) -> Result<&MemoryStore, StoreError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(StoreError("the database is out of reach".to_owned())),
            false => Ok(&self.store),
        }
    }
}

#[async_trait]
impl JobStore for Flaky {
    async fn states(&self) -> Result<BTreeMap<JobKey, JobState>, StoreError> {
        self.up()?.states().await
    }
    async fn announce(
        &self,
        jobs: &[Announced],
        now: Timestamp,
    ) -> Result<Vec<JobState>, StoreError> {
        self.up()?.announce(jobs, now).await
    }
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.up()?.claim(claims).await
    }
    async fn state(&self, key: &JobKey) -> Result<Option<JobState>, StoreError> {
        self.up()?.state(key).await
    }
    async fn reset(&self, key: &JobKey, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
        self.up()?.reset(key, from, to).await
    }
    async fn request(&self, key: &JobKey, run: NewRun) -> Result<Requested, StoreError> {
        self.up()?.request(key, run).await
    }
    async fn ready(&self, here: &Arc<BTreeSet<JobKey>>, now: Timestamp) {
        self.store.ready(here, now).await;
    }
    async fn take(
        &self,
        host: &str,
        here: &Arc<BTreeSet<JobKey>>,
        now: Timestamp,
    ) -> Result<Option<Run>, StoreError> {
        let taken = self.up()?.take(host, here, now).await?;
        if let Some(run) = &taken
            && self.replaces.swap(false, Ordering::SeqCst)
        {
            let next = NewRun {
                start_at: now,
                start_until: None,
                concurrency: Concurrency::Replace,
                retries: 0,
            };
            self.store.request(&run.key, next).await?;
            // The host is told before it has begun the run.
            sleep(Duration::from_millis(1)).await;
        }
        Ok(taken)
    }
    async fn drop_waiting(
        &self,
        jobs: &[JobKey],
        why: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.up()?.drop_waiting(jobs, why, now).await
    }
    async fn finish(&self, run: RunId, attempt: u32, end: &RunEnd) -> Result<bool, StoreError> {
        self.up()?.finish(run, attempt, end).await
    }
    async fn revoked(&self) -> RunId {
        self.store.revoked().await
    }
    async fn run(&self, run: RunId) -> Result<Option<Run>, StoreError> {
        self.up()?.run(run).await
    }
    async fn runs(
        &self,
        key: &JobKey,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        self.up()?.runs(key, before, limit).await
    }
    async fn newest(&self) -> Result<BTreeMap<JobKey, Run>, StoreError> {
        self.up()?.newest().await
    }
    async fn set_overrides(
        &self,
        key: &JobKey,
        overrides: &JobOverrides,
    ) -> Result<(), StoreError> {
        self.up()?.set_overrides(key, overrides).await
    }
    async fn suspend(
        &self,
        key: &JobKey,
        suspended: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.up()?.suspend(key, suspended, now).await
    }
    async fn clear(&self, plugin: &PluginName) -> Result<(), StoreError> {
        self.up()?.clear(plugin).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_out_of_reach_loses_nothing() {
    let store = Arc::new(Flaky {
        store: MemoryStore::new(),
        down: AtomicBool::new(true),
        replaces: AtomicBool::new(false),
    });
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    // Down at the start already.
    host.declare(&[spec("clean", "*/10 * * * *")]);
    sleep(Duration::from_secs(300)).await;
    let error = host.jobs.list().await.unwrap_err();
    assert!(matches!(error, JobError::Store(_)), "{error}");
    store.down.store(false, Ordering::SeqCst);
    let called = host.next().await;
    assert_eq!(host.now(), 600);

    // Down when the run ends, and over the next tick.
    store.down.store(true, Ordering::SeqCst);
    called.answer(Ok("\"kept\""));
    sleep(Duration::from_secs(700)).await;
    assert!(host.calls.try_recv().is_err());
    store.down.store(false, Ordering::SeqCst);
    let called = host.next().await;
    assert_eq!(called.args()["_tick"], "2026-11-28T00:20:00Z");
    assert!(host.now() <= 1302, "{}", host.now());
    let runs = store.runs(&key("clean"), None, 9).await.unwrap();
    assert_eq!(runs[1].result.as_deref(), Some("\"kept\""));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_replaced_before_it_begins_does_not_begin() {
    let store = Arc::new(Flaky {
        store: MemoryStore::new(),
        down: AtomicBool::new(false),
        replaces: AtomicBool::new(true),
    });
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[JobSpec {
        concurrency: "replace".to_owned(),
        ..spec("clean", "@hourly")
    }]);
    let called = host.next().await;
    settle().await;
    assert!(host.calls.try_recv().is_err(), "both run");
    called.answer(Ok("null"));
    settle().await;
    let runs = store.runs(&key("clean"), None, 9).await.unwrap();
    let states: Vec<_> = runs.iter().map(|run| (run.state, run.trigger)).collect();
    assert_eq!(
        states,
        [
            (RunState::Succeeded, Trigger::Manual),
            (RunState::Replaced, Trigger::Schedule)
        ]
    );
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
    sleep(Duration::from_secs(3 * 3600 + 1800)).await;
    assert_eq!(store.runs(&key("clean"), None, 9).await.unwrap(), []);
    host.declare(&[spec("clean", "@hourly")]);
    let called = host.next().await;
    assert_eq!(called.args()["_tick"], "2026-11-28T03:00:00Z");
    assert_eq!(store.states().await.unwrap()[&key("clean")].missed, 2);
}
