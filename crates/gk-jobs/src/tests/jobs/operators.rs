//! What operators do.

use super::*;

#[tokio::test(start_paused = true)]
async fn suspended_jobs_run_when_asked_for_alone() {
    let store = Arc::new(MemoryStore::new());
    let mut host = Host::new("host-a", Arc::clone(&store) as _);
    host.declare(&[spec("clean", "@hourly")]);
    settle().await;
    host.jobs.suspend(&key("clean"), true).await.unwrap();
    pass(3 * 3600 + 60).await;
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
    pass(3 * 24 * 3600).await;
    assert!(host.calls.try_recv().is_err(), "the plugin has it disabled");
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
    pass(3600).await;
    assert!(host.calls.try_recv().is_err());
    let run = newest(store.as_ref(), "clean").await;
    assert_eq!((run.state, run.attempt), (RunState::Dropped, 2));
    // Its plugin need not run.
    host.present(None);
    host.jobs.suspend(&key("clean"), false).await.unwrap();
    assert!(!host.jobs.kept(&key("clean")).await.unwrap().state.suspended);
}
