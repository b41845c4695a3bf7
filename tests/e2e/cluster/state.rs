//! Policies, tokens, enabled plugins and what plugins keep: set on one host, in force on all.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Shared, hosts};
use crate::eventually;
use crate::host::{Host, Setup};

const POLICY: &str = "/api/v1/plugins/hello-rust/policy";

/// Two hosts with the same plugin.
fn two(shared: &Shared) -> (Host, Host) {
    let start = |name| {
        let setup = shared.host(name).plugin("hello-rust", "hello-rust");
        setup.settled()
    };
    let (a, b) = (start("a"), start("b"));
    (a, b)
}

fn set(host: &Host, status: &str) -> crate::http::Reply {
    let policy = json!({ "status": status });
    host.admin("PUT", POLICY).json(&policy).send()
}

#[test]
fn a_policy_of_one_host_holds_on_the_other_when_it_is_answered() {
    let shared = Shared::new();
    let (a, b) = two(&shared);
    b.expect_serving("hello-rust");
    let blocked = set(&a, "blocked");
    assert_eq!(blocked.header("goatkit-acknowledged-by"), "a, b");
    assert_eq!(blocked.header("goatkit-pending-on"), "");
    blocked.expect(200);
    b.get("/api/plugins/hello-rust/status").expect(403);
    assert_eq!(b.get(POLICY).json()["policy"]["status"], "blocked");
    eventually("the process has ended on the other host", || {
        (b.plugin("hello-rust")["state"] == "blocked").then_some(())
    });
    set(&b, "approved").expect(200);
    eventually("it serves again on both", || {
        let serve = |host: &Host| host.get("/api/plugins/hello-rust/status").status == 200;
        (serve(&a) && serve(&b)).then_some(())
    });
}

#[test]
fn a_token_is_known_and_revoked_everywhere() {
    let shared = Shared::new();
    let (a, b) = two(&shared);
    let body = json!({ "login": "ann", "role": "agent" });
    let made = a.admin("POST", "/api/v1/tokens").json(&body).send();
    let made = made.expect(201).json();
    let token = made["token"].as_str().unwrap();
    let ask = |host: &Host| {
        host.call("GET", "/api/v1/plugins")
            .token(token)
            .send()
            .status
    };
    assert_eq!((ask(&a), ask(&b)), (200, 200));
    let path = format!("/api/v1/tokens/{}", made["id"]);
    b.admin("DELETE", &path).send().expect(204);
    assert_eq!((ask(&a), ask(&b)), (401, 401));
}

#[test]
fn a_plugin_is_disabled_on_all_hosts_and_stays_so_on_a_new_one() {
    let shared = Shared::new();
    let (a, b) = two(&shared);
    let order = |what: &str| {
        let path = format!("/api/v1/plugins/hello-rust/{what}");
        a.admin("POST", &path).send().expect(202)
    };
    let path = "/api/v1/plugins/hello-rust/disable?wait=60s";
    a.admin("POST", path).send().expect(200);
    eventually("it is disabled on the other host", || {
        (b.plugin("hello-rust")["state"] == "disabled").then_some(())
    });
    let c = shared
        .host("c")
        .plugin("hello-rust", "hello-rust")
        .settled();
    assert_eq!(c.plugin("hello-rust")["state"], "disabled");
    let _ = order("enable");
    eventually("it serves everywhere", || {
        let serve = |host: &Host| host.get("/api/plugins/hello-rust/status").status == 200;
        [&a, &b, &c].into_iter().all(serve).then_some(())
    });
}

#[test]
fn the_hosts_know_of_each_other_and_of_who_asked_for_what() {
    let shared = Shared::new();
    let (a, mut b) = two(&shared);
    let running = |host: &Value| host["plugins"]["hello-rust"]["state"] == "running";
    eventually("both are told of", || {
        let hosts = hosts(&a);
        let names: Vec<_> = hosts.iter().map(|host| host["name"].clone()).collect();
        let well = hosts
            .iter()
            .all(|host| host["ready"] == true && host["current"] == true && running(host));
        (names == ["a", "b"] && well).then_some(())
    });
    let doctor = a.get("/api/v1/doctor").expect(200).json();
    let checks = doctor["checks"].as_array().unwrap();
    for name in ["shared database", "shared files", "cache"] {
        let found = checks.iter().find(|check| check["name"] == name);
        assert_eq!(
            found.map(|check| &check["state"]),
            Some(&json!("ok")),
            "{name}"
        );
    }
    set(&b, "approved").expect(200);
    let audit = a.get("/api/v1/audit?change=set_policy").expect(200).json();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["host"], &entry["outcome"]),
        (&json!("b"), &json!("done"))
    );
    b.signal(Signal::TERM);
    assert_eq!(b.wait().code(), Some(0));
    assert_eq!(hosts(&a).len(), 1);
}

#[test]
fn half_a_cluster_is_refused() {
    let setup = Setup::new().variable("GK_CLUSTER_DATABASE_URL", "postgres://u@localhost/d");
    let (status, text) = setup.refused();
    assert!(!status.success());
    assert!(text.contains("redis_url and files_url"), "{text}");
    assert!(text.contains("GK_CLUSTER_DATABASE_URL"), "{text}");
}
