//! What plugins keep and use, by way of several hosts.

use serde_json::{Value, json};

use super::Shared;
use crate::host::Host;

const POLICY: &str = "/api/v1/plugins/gen3/policy";

fn three(shared: &Shared, policy: &Value) -> Vec<Host> {
    let start = |name| shared.host(name).plugin("gen3", "gen3").settled();
    let hosts: Vec<_> = ["a", "b", "c"].map(start).into();
    let set = hosts[0].admin("PUT", POLICY).json(policy).send();
    assert_eq!(set.header("goatkit-pending-on"), "", "{}", set.text());
    set.expect(200);
    hosts
}

/// Asks the host API as the plugin.
fn ask(host: &Host, method: &str, args: &Value) -> Result<Value, String> {
    let question = json!({ "method": method, "args": args });
    let reply = host.function("gen3", "ask_host", &question);
    match reply.status {
        200 => Ok(reply.json()),
        _ => Err(reply.error()),
    }
}

#[test]
fn what_is_kept_on_one_host_is_there_on_all() {
    let shared = Shared::new();
    let policy = json!({ "status": "approved", "permissions": [
        { "type": "file", "access": "readwrite" }, { "type": "cache", "access": "readwrite" },
    ]});
    let hosts = three(&shared, &policy);
    let file = json!({ "key": "a/b", "data": "AQID", "metadata": { "content-type": "x/y" } });
    ask(&hosts[0], "store_file", &file).unwrap();
    ask(
        &hosts[1],
        "cache_set",
        &json!({ "key": "k", "value": "BA==" }),
    )
    .unwrap();
    for host in &hosts {
        let found = ask(host, "get_file", &json!({ "key": "a/b" })).unwrap();
        assert_eq!(
            (&found["data"], &found["metadata"]),
            (&json!("AQID"), &file["metadata"])
        );
        assert_eq!(ask(host, "list_files", &json!({})).unwrap()[0]["size"], 3);
        let found = ask(host, "cache_get", &json!({ "key": "k" })).unwrap();
        assert_eq!(found["value"], "BA==");
    }
    ask(&hosts[2], "delete_file", &json!({ "key": "a/b" })).unwrap();
    let gone = ask(&hosts[0], "get_file", &json!({ "key": "a/b" })).unwrap_err();
    assert!(gone.contains("not found"), "{gone}");
}

#[test]
fn of_what_hosts_count_together_none_is_lost() {
    let shared = Shared::new();
    let hosts = three(&shared, &json!({ "status": "approved" }));
    std::thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(move || (0..20).for_each(|_| increment(host)));
        }
    });
    let found = ask(&hosts[0], "kv_get", &json!({ "key": "n" })).unwrap();
    assert_eq!(found["value"].as_str().map(str::len), Some(60 * 4));
}

/// Reads, adds one and writes, until nobody else has written in between. The number is that of three
/// bytes, which are four letters of base64.
fn increment(host: &Host) {
    loop {
        let found = ask(host, "kv_get", &json!({ "key": "n" })).unwrap();
        let next = format!("{}AAAA", found["value"].as_str().unwrap_or_default());
        let version = found["version"].as_u64().unwrap_or(0);
        let set = json!({ "key": "n", "value": next, "if_version": version });
        if ask(host, "kv_set", &set).unwrap()["ok"] == true {
            return;
        }
    }
}

#[test]
fn hosts_together_keep_to_a_rate() {
    const LIMIT: usize = 100;
    let shared = Shared::new();
    let policy = json!({ "status": "approved", "max_db_queries_per_min": LIMIT,
        "permissions": [{ "type": "db", "access": "read" }] });
    let hosts = three(&shared, &policy);
    let query = json!({ "query": "SELECT 1", "args": [] });
    let began = std::time::Instant::now();
    let allowed: usize = std::thread::scope(|scope| {
        let asking: Vec<_> = hosts
            .iter()
            .map(|host| {
                let asking = || (0..LIMIT).filter(|_| ask(host, "db_query", &query).is_ok());
                scope.spawn(move || asking().count())
            })
            .collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).sum()
    });
    // Each minute that a busy machine takes allows as many again.
    let windows = 1 + usize::try_from(began.elapsed().as_secs() / 60).unwrap();
    assert!(allowed <= windows * LIMIT * 11 / 10, "{allowed} of {LIMIT}");
    assert!(allowed >= LIMIT * 9 / 10, "{allowed} of {LIMIT}");
    let refused = (0..=LIMIT * windows).find_map(|_| ask(&hosts[0], "db_query", &query).err());
    assert!(refused.unwrap().contains("rate limit exceeded"));
}
