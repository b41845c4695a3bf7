//! The loops around planner, store and plugins, on virtual time.

mod clocks;
mod operators;
mod plugins;
mod runs;
mod stores;

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

/// Lets seconds of the paused clock pass, and all that is due in them happen.
async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// Lets everything that can run now do so.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
