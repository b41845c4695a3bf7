//! Policies without a store on disk: grants and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::policy::{FILES_AT_ONCE_MAX, MemoryPolicyStore, Queue, STATEMENTS_AT_ONCE_MAX};

fn plugin() -> PluginName {
    PluginName::new("p").unwrap()
}

fn blocked() -> Policy {
    Policy {
        status: PolicyStatus::Blocked,
        ..Policy::default()
    }
}

#[tokio::test]
async fn a_stored_policy_limits_the_process_and_nothing_else_gives_it_a_network() {
    let http = ResourceRequest {
        permissions: vec![gk_manifest::Permission {
            kind_name: "http".into(),
            ..Default::default()
        }],
        call_timeout: "2m".into(),
        ..ResourceRequest::default()
    };
    let policies = Policies::new(MemoryPolicyStore::default(), false);
    // What it asks for is the supervisor's to look at, but for the network.
    assert_eq!(policies.limits(&plugin(), &http), PluginLimits::default());
    policies.prepare(&plugin(), 1, &http, true).await.unwrap();
    assert_eq!(policies.limits(&plugin(), &http), PluginLimits::default());
    assert_eq!(policies.admit(&plugin()).unwrap().call_timeout, None);

    let set = br#"{"status":"approved","permissions":[{"type":"http","scope":["a.example"]}],
        "call_timeout":"5s","job_timeout":"8s","init_timeout":"6s","shutdown_timeout":"7s","memory_mb":64,
        "max_calls_in_flight":3,"max_calls_waiting":4}"#;
    let set = Policy::from_json(set).unwrap();
    policies.set(&plugin(), set).await.unwrap();
    let limits = policies.limits(&plugin(), &ResourceRequest::default());
    let seconds = |number| Some(Duration::from_secs(number));
    assert_eq!(
        (
            limits.call_timeout,
            limits.init_timeout,
            limits.shutdown_timeout
        ),
        (seconds(5), seconds(6), seconds(7))
    );
    assert_eq!(
        (limits.memory_bytes, limits.network),
        (Some(64 << 20), true)
    );
    // The next call has it, and after a reset the next call has it no more.
    let admitted = policies.admit(&plugin()).unwrap();
    assert_eq!(
        (admitted.call_timeout, admitted.job_timeout),
        (seconds(5), seconds(8))
    );
    let calls = (admitted.calls_in_flight, admitted.calls_waiting);
    assert_eq!(calls, (Some(3), Some(4)));
    policies.reset(&plugin()).await.unwrap();
    let admitted = policies.admit(&plugin()).unwrap();
    let calls = (admitted.calls_in_flight, admitted.calls_waiting);
    assert_eq!((admitted.call_timeout, calls), (None, (None, None)));
    assert_eq!(policies.limits(&plugin(), &http), PluginLimits::default());

    policies.set(&plugin(), blocked()).await.unwrap();
    assert!(policies.admit(&plugin()).is_err());
    assert!(!policies.limits(&plugin(), &http).network);

    let trusting = Policies::new(MemoryPolicyStore::default(), true);
    let limits = trusting.limits(&plugin(), &http);
    assert!(limits.network);
    assert_eq!(limits.call_timeout, seconds(120));
    let none = trusting.limits(&plugin(), &ResourceRequest::default());
    assert_eq!(none, PluginLimits::default());
}

fn asks_for(scope: &[&str]) -> ResourceRequest {
    ResourceRequest {
        permissions: vec![Permission {
            kind_name: "db".into(),
            access: "readwrite".into(),
            scope: scope.iter().map(|&pattern| pattern.into()).collect(),
        }],
        max_file_storage_bytes: 1 << 40,
        ..ResourceRequest::default()
    }
}

async fn update(policies: &Policies, json: &str) -> Result<PolicyView, HostError> {
    let update = PolicyUpdate::from_json(json.as_bytes())?;
    policies.update(&plugin(), update).await?;
    Ok(policies.view(&plugin()).unwrap())
}

#[tokio::test]
async fn what_was_asked_for_is_approved_and_pinned() {
    let policies = Policies::new(MemoryPolicyStore::default(), false);
    let error = update(&policies, r#"{"status":"approved"}"#).await;
    assert!(error.unwrap_err().to_string().contains("not installed"));
    let asked = asks_for(&["a", "b"]);
    policies.prepare(&plugin(), 1, &asked, true).await.unwrap();
    for json in [
        r#"{"status":"approved"}"#,
        r#"{"status":"approved","permissions":"requested"}"#,
    ] {
        let view = update(&policies, json).await.unwrap();
        assert_eq!(view.policy.permissions, asked.permissions, "{json}");
        assert_eq!(view.policy.max_file_storage_bytes, 1 << 40);
        assert_eq!(view.exceeds_grant, []);
        policies.reset(&plugin()).await.unwrap();
    }
    // The answer of GET, whole or its parts, is taken back.
    let view = update(&policies, r#"{"status":"approved"}"#).await.unwrap();
    for json in [
        serde_json::to_value(&view).unwrap(),
        serde_json::to_value(&view.policy).unwrap(),
    ] {
        let again = update(&policies, &json.to_string()).await.unwrap();
        assert_eq!(again.policy, view.policy);
    }
    let mut requested = serde_json::to_value(&view.requested).unwrap();
    requested["status"] = "approved".into();
    let again = update(&policies, &requested.to_string()).await.unwrap();
    assert_eq!(again.policy.permissions, view.policy.permissions);
    let mut another = serde_json::to_value(&view).unwrap();
    another["plugin_name"] = "another".into();
    let error = update(&policies, &another.to_string()).await.unwrap_err();
    assert!(error.to_string().contains("another"), "{error}");

    // A later version asks for more: it does not get it, and that is shown.
    let mut seen = serde_json::to_value(policies.view(&plugin()).unwrap()).unwrap();
    let more = asks_for(&["a", "b", "c"]);
    policies.prepare(&plugin(), 1, &more, true).await.unwrap();
    // Nor is it approved by who looked at what was asked for before.
    seen["policy"]["permissions"] = "requested".into();
    let error = update(&policies, &seen.to_string()).await.unwrap_err();
    assert!(
        error.to_string().contains("something else by now"),
        "{error}"
    );
    let view = policies.view(&plugin()).unwrap();
    assert_eq!(view.policy.permissions, asked.permissions);
    assert_eq!(view.exceeds_grant, more.permissions);
}

/// An operator decides before a stranger's program runs, and about one that is blocked.
#[tokio::test]
async fn what_plugin_yaml_asks_for_is_known_before_it_runs() {
    let policies = Policies::new(MemoryPolicyStore::default(), false);
    let error = update(&policies, r#"{"status":"approved"}"#).await;
    error.unwrap_err();
    // What was refused leaves nothing behind.
    assert!(policies.view(&plugin()).is_none());
    let asked = asks_for(&["a"]);
    policies.installed(&BTreeMap::from([(plugin(), asked.clone())]));
    let view = policies.view(&plugin()).unwrap();
    assert_eq!(view.requested.permissions, asked.permissions);
    update(&policies, r#"{"status":"blocked"}"#).await.unwrap();
    let view = update(
        &policies,
        r#"{"status":"approved","permissions":"requested"}"#,
    )
    .await
    .unwrap();
    assert_eq!(view.policy.permissions, asked.permissions);
    // Once it has registered, that is what it asks for, whatever is found again.
    let registered = asks_for(&["a", "b"]);
    policies
        .prepare(&plugin(), 1, &registered, true)
        .await
        .unwrap();
    policies.installed(&BTreeMap::from([(plugin(), asked)]));
    let view = policies.view(&plugin()).unwrap();
    assert_eq!(view.requested.permissions, registered.permissions);
    assert_eq!(view.exceeds_grant, registered.permissions);
}

#[tokio::test]
async fn each_status_has_its_own_effect() {
    let policies = Policies::new(MemoryPolicyStore::default(), false);
    let asked = asks_for(&["gk_p_x", "customer"]);
    policies.prepare(&plugin(), 1, &asked, true).await.unwrap();
    let tables = |view: &PolicyView| -> Vec<String> {
        let permissions = view.policy.permissions.iter();
        permissions.flat_map(|p| p.scope.clone()).collect()
    };
    let list = r#","max_calls_per_second":7,"permissions":[{"type":"db","access":"read","scope":["customer"]}]}"#;
    // Nothing is decided: the default, whatever is listed, also after the host starts anew.
    let pending = format!(r#"{{"status":"pending_review"{list}"#);
    let view = update(&policies, &pending).await.unwrap();
    assert_eq!(tables(&view), ["gk_p_x"]);
    assert_eq!(view.policy.max_calls_per_second, 7);
    policies.load().await.unwrap();
    assert_eq!(tables(&policies.view(&plugin()).unwrap()), ["gk_p_x"]);
    for (status, exceeds) in [("approved", 1), ("restricted", 0)] {
        let json = format!(r#"{{"status":"{status}"{list}"#);
        let view = update(&policies, &json).await.unwrap();
        assert_eq!(tables(&view), ["customer"], "{status}");
        assert_eq!(view.exceeds_grant.len(), exceeds, "{status}");
    }
    let error = update(&policies, r#"{"status":"restricted"}"#).await;
    assert!(error.unwrap_err().to_string().contains("permissions"));
    update(&policies, r#"{"status":"blocked"}"#).await.unwrap();
    assert!(policies.is_blocked(&plugin()));
}

#[tokio::test]
async fn a_plugin_takes_only_some_of_a_databases_connections() {
    let policies = Policies::new(MemoryPolicyStore::default(), false);
    let (greedy, now) = (policies.of(&plugin()), tokio::time::Instant::now());
    let later = now + Duration::from_secs(60);
    let mut running = Vec::new();
    for _ in 0..STATEMENTS_AT_ONCE_MAX {
        running.push(greedy.permit(Queue::Statements, later).await.unwrap());
    }
    let error = greedy.permit(Queue::Statements, now).await.err().unwrap();
    assert_eq!(error.kind(), crate::ErrorKind::Timeout);
    let modest = policies.of(&PluginName::new("modest").unwrap());
    let _own = modest.permit(Queue::Statements, later).await.unwrap();
    running.pop();
    let _next = greedy.permit(Queue::Statements, later).await.unwrap();
}

/// A plugin that asks for its largest file a thousand times at once: what is read would wait,
/// whole, to be passed on.
#[tokio::test]
async fn permits_for_files_are_few_and_each_plugins_own() {
    let policies = Policies::new(MemoryPolicyStore::default(), false);
    let (greedy, now) = (policies.of(&plugin()), tokio::time::Instant::now());
    let later = now + Duration::from_secs(60);
    let mut held = Vec::new();
    for _ in 0..FILES_AT_ONCE_MAX {
        held.push(greedy.permit(Queue::Files, later).await.unwrap());
    }
    let late = greedy.permit(Queue::Files, later);
    assert!(tokio::time::timeout(Duration::ZERO, late).await.is_err());
    let modest = policies.of(&PluginName::new("modest").unwrap());
    let _own = modest.permit(Queue::Files, later).await.unwrap();
    held.pop();
    let _next = greedy.permit(Queue::Files, later).await.unwrap();
}
