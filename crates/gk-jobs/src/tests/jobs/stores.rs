//! Stores that several hosts share, and that are out of reach.

use super::*;

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
            settle().await;
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
    pass(300).await;
    let error = host.jobs.list().await.unwrap_err();
    assert!(matches!(error, JobError::Store(_)), "{error}");
    store.down.store(false, Ordering::SeqCst);
    let called = host.next().await;
    assert_eq!(host.now(), 600);

    // Down when the run ends, and over the next tick.
    store.down.store(true, Ordering::SeqCst);
    called.answer(Ok("\"kept\""));
    pass(700).await;
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
