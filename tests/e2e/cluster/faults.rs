//! Servers that are cut off, slow, and back.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Shared;
use crate::eventually;
use crate::host::Host;

const POLICY: &str = "/api/v1/plugins/gen3/policy";

/// Longer than any deadline of the host's for one server, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the host API as the plugin, and returns its answer or its error.
fn ask(host: &Host, method: &str, args: &Value) -> Result<Value, String> {
    let question = json!({ "method": method, "args": args });
    let began = Instant::now();
    let reply = host.function("gen3", "ask_host", &question);
    assert!(began.elapsed() < PATIENCE, "{method} has no deadline");
    match reply.status {
        200 => Ok(reply.json()),
        _ => Err(reply.error()),
    }
}

fn set_policy(host: &Host, status: &str) -> u16 {
    let policy = json!({ "status": status, "permissions": [
        { "type": "file", "access": "readwrite" },
        { "type": "cache", "access": "readwrite" },
    ]});
    host.admin("PUT", POLICY).json(&policy).send().status
}

fn put(host: &Host, value: &str) -> Result<Value, String> {
    ask(host, "kv_set", &json!({ "key": "k", "value": value }))
}

fn value(host: &Host) -> Value {
    ask(host, "kv_get", &json!({ "key": "k" })).unwrap()["value"].clone()
}

#[test]
fn without_postgresql_calls_go_on_and_changes_are_refused_until_it_is_back() {
    let shared = Shared::behind_relays();
    let host = |name| shared.host(name).plugin("gen3", "gen3").settled();
    let (a, b) = (host("a"), host("b"));
    assert_eq!(set_policy(&a, "approved"), 200);
    put(&a, "AQ==").unwrap();
    for (host, times) in [(&a, 20), (&b, 20)] {
        (0..times).for_each(|_| host.expect_serving("gen3"));
    }
    shared.relays.as_ref().unwrap().database.cut();
    // What needs it says so; what does not goes on.
    let refused = put(&a, "Ag==").unwrap_err();
    assert!(refused.contains("shared database"), "{refused}");
    assert_eq!(set_policy(&a, "approved"), 503);
    let body = json!({ "login": "ann", "role": "agent" });
    a.admin("POST", "/api/v1/tokens")
        .json(&body)
        .send()
        .expect(503);
    a.get("/api/v1/hosts").expect(503);
    a.expect_serving("gen3");
    b.expect_serving("gen3");
    // A plugin that ends is started again, with the policy that is known.
    crate::processes::send(b.plugin_pid("gen3"), Signal::KILL);
    eventually("it serves again", || {
        let status = b.get("/api/plugins/gen3/status").status;
        (status == 200 && b.plugin("gen3")["generation"].as_u64()? > 1).then_some(())
    });
    // A plugin can be stopped all the same, here alone and until the host ends; it says so.
    let blocked = json!({ "status": "blocked" });
    let reply = a.admin("PUT", POLICY).json(&blocked).send();
    assert_eq!(reply.status, 503);
    a.get("/api/plugins/gen3/status").expect(403);
    b.expect_serving("gen3");
    shared.relays.as_ref().unwrap().database.mend();
    eventually("it is reached again, without a restart", || {
        put(&b, "Aw==").ok()
    });
    assert_eq!(value(&b), "Aw==");
    // What was blocked while nothing could be stored stays so until it is set anew.
    eventually("a policy can be set", || {
        (set_policy(&b, "restricted") == 200).then_some(())
    });
    a.get("/api/plugins/gen3/status").expect(403);
    assert_eq!(set_policy(&a, "approved"), 200);
    eventually("it serves on both", || {
        let serve = |host: &Host| host.get("/api/plugins/gen3/status").status == 200;
        (serve(&a) && serve(&b)).then_some(())
    });
}

#[test]
fn a_change_is_heard_of_also_when_nobody_tells() {
    let shared = Shared::behind_relays();
    let host = |name| shared.host(name).plugin("gen3", "gen3").settled();
    let (a, b) = (host("a"), host("b"));
    // The connection that listens breaks with the others; a host looks by itself once it is back.
    shared.relays.as_ref().unwrap().database.cut();
    shared.relays.as_ref().unwrap().database.mend();
    eventually("it is blocked", || {
        (set_policy(&a, "blocked") == 200).then_some(())
    });
    eventually("it is blocked on the other host", || {
        (b.get("/api/plugins/gen3/status").status == 403).then_some(())
    });
}

#[test]
fn slow_servers_cost_their_own_requests_and_no_others() {
    let shared = Shared::behind_relays();
    let a = shared.host("a").plugin("gen3", "gen3").settled();
    assert_eq!(set_policy(&a, "approved"), 200);
    put(&a, "AQ==").unwrap();
    let relays = shared.relays.as_ref().unwrap();
    let slow = Duration::from_secs(2);
    relays.redis.slow(slow);
    // The event is this host's own after a moment.
    let event = json!({ "channel": "c", "event_type": "t", "data": 1 });
    ask(&a, "publish_event", &event).unwrap();
    let cached = json!({ "key": "k", "value": "AQ==" });
    let error = ask(&a, "cache_set", &cached).unwrap_err();
    assert!(error.contains("cache"), "{error}");
    relays.redis.slow(Duration::ZERO);
    relays.files.slow(slow);
    let file = json!({ "key": "a", "data": "AQ==" });
    // Slow, and within its deadline.
    ask(&a, "store_file", &file).unwrap();
    relays.files.slow(Duration::ZERO);
    relays.files.cut();
    let error = ask(&a, "get_file", &json!({ "key": "a" })).unwrap_err();
    assert!(error.contains("store of files"), "{error}");
    a.expect_serving("gen3");
    relays.files.mend();
    eventually("the file is read", || {
        ask(&a, "get_file", &json!({ "key": "a" })).ok()
    });
    relays.database.slow(slow);
    let error = put(&a, "Ag==").unwrap_err();
    assert!(error.contains("shared database"), "{error}");
    a.expect_serving("gen3");
    relays.database.slow(Duration::ZERO);
    eventually("the database answers in time again", || {
        put(&a, "Aw==").ok()
    });
    eventually("the cache does, too", || ask(&a, "cache_set", &cached).ok());
}
