//! The contracts that the stores of one host pass, too.

use std::sync::Arc;

use gk_cluster::database::{BREAKING, MigrateError};
use gk_cluster::{Database, SharedJobs};
use gk_hostapi::policy::{Policies, Policy, PolicyStatus};
use gk_manifest::PluginName;

use crate::{database, join, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_values() {
    gk_services::kv::testing::contract(|| async { Arc::new(database().await) as _ }).await;
}

#[tokio::test]
async fn secrets() {
    gk_services::secure::testing::contract(|| async { Arc::new(database().await) as _ }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs() {
    gk_jobs::testing::contract(|| async {
        let member = join(&database().await, "a", gk_cluster::member::LOST_AFTER).await;
        Arc::new(SharedJobs::new(&member)) as _
    })
    .await;
}

#[tokio::test]
async fn policies() {
    let database = database().await;
    let policies = Policies::new(database.clone(), false);
    let plugin = PluginName::new("p").unwrap();
    let policy = |status| Policy {
        status,
        ..Policy::default()
    };
    policies
        .set(&plugin, policy(PolicyStatus::Approved))
        .await
        .unwrap();
    policies
        .set(&plugin, policy(PolicyStatus::Blocked))
        .await
        .unwrap();
    // Another host, or this one after a restart.
    let again = Policies::new(database, false);
    again.load().await.unwrap();
    assert!(again.is_blocked(&plugin));
    assert!(policies.reset(&plugin).await.unwrap());
    assert!(!policies.reset(&plugin).await.unwrap());
    assert_eq!(
        again.refresh().await.unwrap(),
        std::slice::from_ref(&plugin)
    );
    assert!(!again.is_blocked(&plugin));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_hosts_make_the_tables_at_once() {
    let url = url();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        opening.spawn(async move { Database::open(&url).await.map(drop) });
    }
    for opened in opening.join_all().await {
        opened.unwrap();
    }
}

#[tokio::test]
async fn tables_of_a_newer_host_are_used_unless_they_are_others() {
    let url = url();
    let database = Database::open(&url).await.unwrap();
    let set = "UPDATE schema_version SET version = 99 RETURNING 1";
    database.query(set, &[]).await.unwrap();
    Database::open(&url).await.unwrap();
    let version = "SELECT version FROM schema_version";
    let kept: i32 = database.query(version, &[]).await.unwrap()[0].get(0);
    assert_eq!(kept, 99, "an older host has changed the version");
    let set = "UPDATE schema_version SET breaking = $1 RETURNING 1";
    database.query(set, &[&(BREAKING + 1)]).await.unwrap();
    let refused = Database::open(&url).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Newer { .. }), "{refused}");
    assert!(refused.to_string().contains("start the newer host"));
}
