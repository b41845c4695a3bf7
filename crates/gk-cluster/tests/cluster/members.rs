//! Hosts that tell each other of changes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gk_cluster::member::LOST_AFTER;
use gk_cluster::{Database, Follower, Member, Topic};
use gk_hostapi::HostError;
use gk_hostapi::policy::{Policies, Policy, PolicyStatus};
use gk_manifest::PluginName;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::{database, join};

/// Deadline of what is to happen. The promise of two seconds is for a host that is not short of
/// processor time; a test has no quiet machine.
const SOON: Duration = Duration::from_secs(20);

/// A host that has policies and nothing else.
struct Host {
    member: Arc<Member>,
    policies: Arc<Policies>,
    applied: watch::Receiver<u32>,
    following: AbortHandle,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.following.abort();
    }
}

struct Applies {
    policies: Arc<Policies>,
    applied: watch::Sender<u32>,
    fails: Mutex<u32>,
}

#[async_trait]
impl Follower for Applies {
    async fn apply(&self, topic: Topic) -> Result<(), HostError> {
        {
            let mut fails = self.fails.lock();
            if *fails > 0 {
                *fails -= 1;
                return Err(HostError::unavailable("not yet"));
            }
        }
        if topic == Topic::Policies {
            self.policies.refresh().await?;
        }
        self.applied.send_modify(|applied| *applied += 1);
        Ok(())
    }

    fn details(&self) -> Value {
        json!({ "plugins": 1 })
    }
}

async fn host_that_fails(database: &Database, name: &str, fails: u32) -> Host {
    let policies = Arc::new(Policies::new(database.clone(), false));
    let member = join(database, name, LOST_AFTER).await;
    let (sender, applied) = watch::channel(0);
    let follower = Applies {
        policies: Arc::clone(&policies),
        applied: sender,
        fails: Mutex::new(fails),
    };
    let following = tokio::spawn({
        let member = Arc::clone(&member);
        async move { member.follow(&follower).await }
    });
    Host {
        member,
        policies,
        applied,
        following: following.abort_handle(),
    }
}

async fn host(database: &Database, name: &str) -> Host {
    host_that_fails(database, name, 0).await
}

fn plugin() -> PluginName {
    PluginName::new("p").unwrap()
}

async fn set(host: &Host, status: PolicyStatus) {
    let policy = Policy {
        status,
        ..Policy::default()
    };
    host.policies.set(&plugin(), policy).await.unwrap();
}

/// Waits until the other hosts have taken note, over several attempts of a busy machine.
async fn settled(host: &Host) -> Vec<String> {
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let settled = host.member.settle().await.unwrap();
        if settled.pending.is_empty() {
            return settled.acknowledged;
        }
        assert!(tokio::time::Instant::now() < until, "{settled:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_in_force_on_all_hosts_once_they_have_said_so() {
    let database = database().await;
    let (a, b) = (host(&database, "a").await, host(&database, "b").await);
    for status in [
        PolicyStatus::Blocked,
        PolicyStatus::Approved,
        PolicyStatus::Blocked,
    ] {
        set(&a, status).await;
        assert_eq!(settled(&a).await, ["a", "b"]);
        assert_eq!(
            b.policies.is_blocked(&plugin()),
            status == PolicyStatus::Blocked
        );
    }
    assert!(a.policies.reset(&plugin()).await.unwrap());
    settled(&a).await;
    assert!(!b.policies.is_blocked(&plugin()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_answer_is_named() {
    let database = database().await;
    let (a, b) = (host(&database, "a").await, host(&database, "b").await);
    settled(&a).await;
    b.following.abort();
    set(&a, PolicyStatus::Blocked).await;
    let settled = a.member.settle().await.unwrap();
    assert_eq!(settled.pending, ["b"]);
    let hosts = a.member.hosts().await.unwrap();
    let current: Vec<_> = hosts
        .iter()
        .map(|host| (&*host.name, host.is_current))
        .collect();
    assert_eq!(current, [("a", true), ("b", false)]);
    b.member.leave().await;
    let names = a.member.hosts().await.unwrap();
    assert_eq!(names.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_put_in_force_is_tried_again() {
    let database = database().await;
    let a = host(&database, "a").await;
    let mut b = host_that_fails(&database, "b", 2).await;
    set(&a, PolicyStatus::Blocked).await;
    let applied = tokio::time::timeout(SOON, b.applied.wait_for(|applied| *applied > 0));
    applied.await.unwrap().unwrap();
    assert_eq!(settled(&a).await, ["a", "b"]);
    assert!(b.policies.is_blocked(&plugin()));
}

/// Nobody is told of what is written in this way: only a look finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_found_also_by_a_host_that_was_not_told() {
    let database = database().await;
    let a = host(&database, "a").await;
    set(&a, PolicyStatus::Approved).await;
    settled(&a).await;
    let block = "UPDATE policy SET policy = replace(policy, 'approved', 'blocked') RETURNING 1";
    assert_eq!(database.query(block, &[]).await.unwrap().len(), 1);
    let note = "INSERT INTO change (topic, key) VALUES ('policies', 'p') RETURNING 1";
    database.query(note, &[]).await.unwrap();
    let plugin = plugin();
    let blocked = a.policies.blocked(&plugin);
    tokio::time::timeout(SOON, blocked).await.expect("it looks");
}

/// A row that was written before a newer one does not undo it.
#[tokio::test]
async fn a_sign_of_life_takes_back_nothing() {
    let database = database().await;
    let member = join(&database, "a", LOST_AFTER).await;
    let newer = "UPDATE host SET applied = 7 RETURNING 1";
    database.query(newer, &[]).await.unwrap();
    member.appear().await.unwrap();
    let applied: i64 = database
        .query("SELECT applied FROM host", &[])
        .await
        .unwrap()[0]
        .get(0);
    assert_eq!(applied, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_cut_off_is_pending_until_it_is_started_anew() {
    let database = database().await;
    let a = host(&database, "a").await;
    let _cut_off = join(&database, "b", LOST_AFTER).await;
    let silent = "UPDATE host SET seen = now() - interval '60 s' WHERE name = 'b' RETURNING 1";
    database.query(silent, &[]).await.unwrap();
    set(&a, PolicyStatus::Blocked).await;
    let pending = async { while a.member.settle().await.unwrap().pending != ["b"] {} };
    tokio::time::timeout(SOON, pending)
        .await
        .expect("it is named, and not waited for");
    let anew = host(&database, "b").await;
    assert_eq!(settled(&a).await, ["a", "b"]);
    drop(anew);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_lacks_forgotten_changes_reads_everything() {
    let database = database().await;
    let a = host(&database, "a").await;
    // The first host has seen changes; they are forgotten before another one looks.
    let late = join(&database, "late", LOST_AFTER).await;
    for _ in 0..3 {
        set(&a, PolicyStatus::Approved).await;
    }
    set(&a, PolicyStatus::Blocked).await;
    let forget = "DELETE FROM change RETURNING 1";
    database.query(forget, &[]).await.unwrap();
    let note = "INSERT INTO change (topic, key) VALUES ('tokens', '1') RETURNING 1";
    database.query(note, &[]).await.unwrap();
    let policies = Arc::new(Policies::new(database.clone(), false));
    let (sender, mut applied) = watch::channel(0);
    let follower = Applies {
        policies: Arc::clone(&policies),
        applied: sender,
        fails: Mutex::default(),
    };
    let following = tokio::spawn(async move { late.follow(&follower).await });
    let all = tokio::time::timeout(SOON, applied.wait_for(|applied| *applied >= 3));
    all.await.unwrap().unwrap();
    assert!(policies.is_blocked(&plugin()));
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_are_committed_at_once_are_all_seen() {
    let database = database().await;
    let (a, b) = (host(&database, "a").await, host(&database, "b").await);
    let mut setting = tokio::task::JoinSet::new();
    for n in 0..40 {
        let policies = Arc::clone(if n % 2 == 0 { &a.policies } else { &b.policies });
        setting.spawn(async move {
            let policy = Policy {
                status: PolicyStatus::Blocked,
                ..Policy::default()
            };
            let plugin = PluginName::new(format!("p{n}")).unwrap();
            policies.set(&plugin, policy).await.unwrap();
        });
    }
    setting.join_all().await;
    settled(&a).await;
    for n in 0..40 {
        let plugin = PluginName::new(format!("p{n}")).unwrap();
        assert!(
            a.policies.is_blocked(&plugin) && b.policies.is_blocked(&plugin),
            "{n}"
        );
    }
}
