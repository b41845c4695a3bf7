//! Runs of hosts that end, or sleep.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gk_cluster::member::LOST_AFTER;
use gk_cluster::{Database, SharedJobs};
use gk_jobs::testing::{key, second};
use gk_jobs::{
    Announced, Claim, Claimed, JobStore, NewRun, Requested, Run, RunEnd, RunId, RunState,
};
use gk_manifest::Concurrency;
use jiff::Timestamp;

use crate::{database, join};

/// Deadline of what is to happen.
const SOON: Duration = Duration::from_secs(20);

async fn jobs(database: &Database, name: &str) -> (Arc<gk_cluster::Member>, Arc<SharedJobs>) {
    let member = join(database, name, Duration::from_secs(1)).await;
    let jobs = Arc::new(SharedJobs::new(&member));
    (member, jobs)
}

fn new_run(retries: u32, concurrency: Concurrency) -> NewRun {
    NewRun {
        start_at: second(1),
        start_until: None,
        concurrency,
        retries,
    }
}

async fn request(jobs: &SharedJobs, new: NewRun) -> RunId {
    match jobs.request(&key("nightly"), new).await.unwrap() {
        Requested::Queued(id) => id,
        busy => panic!("{busy:?}"),
    }
}

async fn take(jobs: &SharedJobs, host: &str) -> Option<Run> {
    let here = Arc::new(BTreeSet::from([key("nightly")]));
    jobs.take(host, &here, second(6)).await.unwrap()
}

fn ended(state: RunState) -> RunEnd {
    RunEnd {
        state,
        at: second(9),
        generation: Some(1),
        result: None,
        error: None,
        again: None,
    }
}

/// Makes a host's last sign a minute old, as if it had slept.
async fn falls_asleep(database: &Database, member: &gk_cluster::Member) {
    let sleep = "UPDATE host SET seen = now() - interval '60 s' WHERE id = $1 RETURNING 1";
    let rows = database.query(sleep, &[&member.id()]).await.unwrap();
    assert_eq!(rows.len(), 1);
}

/// Sweeps until a run is in that state.
async fn swept(jobs: &SharedJobs, run: RunId, state: RunState) -> Run {
    let found = async {
        loop {
            let found = jobs.run(run).await.unwrap().unwrap();
            if found.state == state {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        found = tokio::time::timeout(SOON, found) => found.expect("it is swept"),
        () = jobs.sweep(|| second(5)) => unreachable!("sweeps for ever"),
    }
}

#[tokio::test]
async fn a_host_that_slept_loses_its_run_and_its_late_result_is_refused() {
    let database = database().await;
    let (sleeper, asleep) = jobs(&database, "asleep").await;
    let (_awake, other) = jobs(&database, "awake").await;
    let run = request(&asleep, new_run(1, Concurrency::Forbid)).await;
    assert_eq!(take(&asleep, "asleep").await.unwrap().id, run);
    falls_asleep(&database, &sleeper).await;
    // The attempt is lost, and its repetition waits.
    swept(&other, run, RunState::Waiting).await;
    let again = take(&other, "awake").await.unwrap();
    assert_eq!((again.id, again.attempt), (run, 2));
    // The sleeper hears that its run is to be given up.
    assert_eq!(
        tokio::time::timeout(SOON, asleep.revoked()).await.unwrap(),
        run
    );
    for attempt in [1, 2] {
        let end = ended(RunState::Succeeded);
        let late = asleep.finish(run, attempt, &end);
        assert!(
            !late.await.unwrap(),
            "attempt {attempt} is not the sleeper's any more"
        );
    }
    let finished = other.finish(run, 2, &ended(RunState::Succeeded)).await;
    assert!(finished.unwrap());
    let kept = other.run(run).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.host.as_deref()),
        (RunState::Succeeded, Some("awake"))
    );
}

/// What a broken connection leaves behind in the middle of taking a run.
#[tokio::test]
async fn a_run_that_a_host_has_without_knowing_is_put_back() {
    let database = database().await;
    let (member, jobs_of_a) = jobs(&database, "a").await;
    let run = request(&jobs_of_a, new_run(0, Concurrency::Forbid)).await;
    let unknown = "UPDATE job_run SET state = 'running', owner = $1, host = 'a' RETURNING 1";
    database.query(unknown, &[&member.id()]).await.unwrap();
    let waits = async {
        while jobs_of_a.run(run).await.unwrap().unwrap().state != RunState::Waiting {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        waits = tokio::time::timeout(SOON, waits) => waits.expect("it is put back"),
        _ = jobs_of_a.revoked() => unreachable!("nothing of it runs here"),
    }
    assert_eq!(take(&jobs_of_a, "a").await.unwrap().attempt, 1);
}

#[tokio::test]
async fn a_host_that_gives_signs_of_life_keeps_its_runs() {
    let database = database().await;
    let (_alive, jobs_of_alive) = jobs(&database, "alive").await;
    let (dead, jobs_of_dead) = jobs(&database, "dead").await;
    let (_, sweeper) = jobs(&database, "sweeper").await;
    let allow = new_run(0, Concurrency::Allow);
    let (first, second_run) = (
        request(&sweeper, allow).await,
        request(&sweeper, allow).await,
    );
    assert_eq!(take(&jobs_of_alive, "alive").await.unwrap().id, first);
    assert_eq!(take(&jobs_of_dead, "dead").await.unwrap().id, second_run);
    assert!(take(&sweeper, "sweeper").await.is_none());
    falls_asleep(&database, &dead).await;
    let beat = "UPDATE host SET seen = now() + interval '1 hour' WHERE name = 'alive' RETURNING 1";
    database.query(beat, &[]).await.unwrap();
    let lost = swept(&sweeper, second_run, RunState::Lost).await;
    assert!(lost.error.unwrap().contains("host"));
    let running = sweeper.run(first).await.unwrap().unwrap();
    assert_eq!(running.state, RunState::Running);
}

#[tokio::test]
async fn a_run_that_is_replaced_on_another_host_is_given_up() {
    let database = database().await;
    let (_, a) = jobs(&database, "a").await;
    let (_, b) = jobs(&database, "b").await;
    let first = request(&a, new_run(0, Concurrency::Replace)).await;
    assert_eq!(take(&a, "a").await.unwrap().id, first);
    request(&b, new_run(0, Concurrency::Replace)).await;
    assert_eq!(
        tokio::time::timeout(SOON, a.revoked()).await.unwrap(),
        first
    );
    assert!(
        !a.finish(first, 1, &ended(RunState::Succeeded))
            .await
            .unwrap()
    );
}

/// The measurement that the claim was chosen by: 8 sessions race for 300 ticks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_hosts_each_tick_is_taken_by_one() {
    let url = crate::url();
    let mut racing = tokio::task::JoinSet::new();
    let job = key("nightly");
    for n in 0..8 {
        let (url, job) = (url.clone(), job.clone());
        racing.spawn(async move {
            let database = Database::open(&url).await.unwrap();
            let member = join(&database, &format!("host-{n}"), LOST_AFTER).await;
            let jobs = SharedJobs::new(&member);
            let announced = Announced {
                key: job.clone(),
                schedule: "@every 1s".to_owned(),
            };
            jobs.announce(&[announced], second(0)).await.unwrap();
            let mut queued = 0;
            for tick in 1..=300 {
                let claim = Claim {
                    key: job.clone(),
                    tick: second(tick),
                    missed: 0,
                    run: Some(NewRun {
                        start_at: second(tick),
                        ..new_run(0, Concurrency::Allow)
                    }),
                };
                let claimed = jobs.claim(&[claim]).await.unwrap();
                if let Claimed::Queued(run) = claimed[0] {
                    queued += 1;
                    // Ended at once, so that the next one is not too many.
                    let here = Arc::new(BTreeSet::from([job.clone()]));
                    let now: Timestamp = second(tick);
                    while let Some(taken) = jobs.take("h", &here, now).await.unwrap() {
                        let end = ended(RunState::Succeeded);
                        assert!(jobs.finish(taken.id, 1, &end).await.unwrap());
                        if taken.id == run {
                            break;
                        }
                    }
                }
            }
            queued
        });
    }
    let queued: u32 = racing.join_all().await.into_iter().sum();
    // A host that is far behind finds a later tick taken, and takes none of before.
    assert!(queued <= 300, "{queued}");
    let database = Database::open(&url).await.unwrap();
    let twice = "SELECT tick FROM job_run GROUP BY tick HAVING count(*) > 1";
    assert!(database.query(twice, &[]).await.unwrap().is_empty());
    let last: i64 = database
        .query("SELECT last_tick FROM job", &[])
        .await
        .unwrap()[0]
        .get(0);
    assert_eq!(last, second(300).as_microsecond());
}
