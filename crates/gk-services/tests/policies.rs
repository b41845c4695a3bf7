//! Policies in the host's own file: what is stored is in force, whatever fails.

use std::sync::mpsc;
use std::time::Duration;

use gk_hostapi::ErrorKind;
use gk_hostapi::policy::{Origin, Policies, Policy, PolicyStatus, STATEMENTS_AT_ONCE_MAX};
use gk_manifest::{PluginName, ResourceRequest};
use gk_services::db::DbLimits;
use gk_services::store::Store;

fn plugin() -> PluginName {
    PluginName::new("p").unwrap()
}

fn blocked() -> Policy {
    Policy {
        status: PolicyStatus::Blocked,
        ..Policy::default()
    }
}

#[test]
fn a_plugin_takes_only_some_of_a_databases_connections() {
    assert!(STATEMENTS_AT_ONCE_MAX < DbLimits::default().max_connections);
}

/// Keeps the store's writer busy until the sender is dropped.
fn hold(store: &Store) -> mpsc::Sender<()> {
    let (hold, held) = mpsc::channel::<()>();
    let (store, (begun, begins)) = (store.clone(), mpsc::channel());
    tokio::spawn(async move {
        let work = move |_: &mut rusqlite::Connection| {
            begun.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        };
        store.run(work).await
    });
    begins.recv_timeout(Duration::from_secs(20)).unwrap();
    hold
}

/// An operator whose connection breaks after the policy was sent: what is stored has to be in
/// force.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_applies_although_nobody_waits_for_it() {
    let store = Store::in_memory().unwrap();
    let policies = Policies::new(store.clone(), false);
    let held = hold(&store);
    // Polled once, it is on its way to the store, where it has to wait.
    let plugin = plugin();
    let set = policies.set(&plugin, blocked());
    assert!(tokio::time::timeout(Duration::ZERO, set).await.is_err());
    assert!(!policies.is_blocked(&plugin));
    drop(held);
    // Comes after it in the store.
    store.run(|_| Ok(())).await.unwrap();
    assert!(policies.is_blocked(&plugin));
    let held = hold(&store);
    let reset = policies.reset(&plugin);
    assert!(tokio::time::timeout(Duration::ZERO, reset).await.is_err());
    drop(held);
    store.run(|_| Ok(())).await.unwrap();
    assert!(!policies.is_blocked(&plugin));
}

/// A store that fails must not make a blocked plugin one that is only not granted anything: that
/// one may be called, and has its secrets.
#[tokio::test]
async fn what_is_blocked_stays_blocked_when_the_store_fails() {
    let store = Store::in_memory().unwrap();
    let policies = Policies::new(store.clone(), false);
    policies.set(&plugin(), blocked()).await.unwrap();
    let break_it = |c: &mut rusqlite::Connection| {
        Ok(c.execute_batch("ALTER TABLE policy RENAME TO elsewhere")?)
    };
    store.run(break_it).await.unwrap();
    let request = ResourceRequest::default();
    policies
        .prepare(&plugin(), 1, &request, true)
        .await
        .unwrap_err();
    assert!(policies.is_blocked(&plugin()));
    assert_eq!(policies.view(&plugin()).unwrap().origin, Origin::Unreadable);
    // Another one gets nothing, and is not blocked for it.
    let other = PluginName::new("other").unwrap();
    policies
        .prepare(&other, 1, &request, true)
        .await
        .unwrap_err();
    assert!(!policies.is_blocked(&other));
}

/// Nobody knows what it said: it may have been that the plugin is blocked.
#[tokio::test]
async fn a_policy_that_cannot_be_read_blocks_until_it_is_removed() {
    let store = Store::in_memory().unwrap();
    let garbled = |c: &mut rusqlite::Connection| {
        Ok(c.execute(
            "INSERT INTO policy VALUES ('p', '{\"status\":\"newer\"}', 0)",
            [],
        )?)
    };
    store.run(garbled).await.unwrap();
    let policies = Policies::new(store, false);
    policies.load().await.unwrap();
    assert!(policies.is_blocked(&plugin()));
    let request = ResourceRequest::default();
    policies
        .prepare(&plugin(), 1, &request, true)
        .await
        .unwrap_err();
    assert!(policies.is_blocked(&plugin()));
    assert!(policies.reset(&plugin()).await.unwrap());
    assert_eq!(policies.view(&plugin()).unwrap().origin, Origin::Default);
    assert!(!policies.is_blocked(&plugin()));
}

/// A full disk must not keep a plugin running.
#[tokio::test]
async fn a_block_that_cannot_be_stored_is_in_force() {
    let store = Store::in_memory().unwrap();
    let policies = Policies::new(store.clone(), false);
    let request = ResourceRequest::default();
    policies
        .prepare(&plugin(), 1, &request, true)
        .await
        .unwrap();
    let full = |c: &mut rusqlite::Connection| {
        Ok(c.execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON policy BEGIN SELECT RAISE(FAIL, \
             'database or disk is full'); END",
        )?)
    };
    store.run(full).await.unwrap();
    let error = policies.set(&plugin(), blocked()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("cannot be stored"), "{error}");
    assert!(policies.is_blocked(&plugin()));
    assert!(policies.admit(&plugin()).is_err());
    // Anything else is not in force when it is not stored.
    policies
        .set(&plugin(), Policy::default())
        .await
        .unwrap_err();
    assert!(policies.is_blocked(&plugin()));
}
