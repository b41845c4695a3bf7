//! What plugins print reaches the host's log and the API, line by line and with levels.

use serde_json::{Value, json};

use crate::eventually;
use crate::host::{Host, Setup};

fn entry(host: &Host, plugin: &str, text: &str) -> Value {
    eventually(text, || {
        let logs = host.get(&format!("/api/v1/plugins/{plugin}/logs?limit=1000"));
        let logs = logs.expect(200).json();
        logs["logs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["message"].as_str().unwrap().contains(text))
            .cloned()
    })
}

#[test]
fn every_way_to_print_is_captured() {
    let host = Setup::new()
        .plugin("gen1", "gen1")
        .plugin("gen3", "gen3")
        .settled();
    for plugin in ["gen1", "gen3"] {
        host.function(plugin, "print", &json!({})).expect(200);
        let out = entry(&host, plugin, "a line on stdout");
        assert_eq!(
            (&out["source"], &out["level"]),
            (&json!("stdout"), &json!("info"))
        );
        let err = entry(&host, plugin, "a line on stderr");
        assert_eq!(err["source"], "stderr");
        let log = entry(&host, plugin, "a line of the log package");
        assert_eq!(log["source"], "stderr");
        let structured = entry(&host, plugin, "a structured line");
        assert_eq!(
            (&structured["level"], &structured["fields"]["answer"]),
            (&json!("info"), &json!("42"))
        );
        let up = entry(&host, plugin, "running, version");
        assert_eq!(up["source"], "host");
        host.wait_for_log("a structured line");
    }
    let errors = host.get("/api/v1/plugins/gen1/logs?level=error");
    assert_eq!(errors.expect(200).json(), json!({ "count": 0, "logs": [] }));
    let one = host.get("/api/v1/plugins/gen1/logs?limit=1").expect(200);
    assert_eq!(one.json()["count"], 1);
    host.get("/api/v1/plugins/gen1/logs?level=loud").expect(400);
    host.get("/api/v1/plugins/gen1/logs?limit=-1").expect(400);
    host.get("/api/v1/plugins/absent/logs").expect(404);
}

#[test]
fn the_samples_log_where_people_look() {
    let host = Setup::new()
        .plugin("hello-go", "hello-go")
        .plugin("hello-rust", "hello-rust")
        .settled();
    entry(&host, "hello-go", "hello-go 1.0.0 on host");
    let hello = entry(&host, "hello-rust", "initialised");
    assert_eq!(
        (&hello["level"], hello["fields"]["host_version"].is_string()),
        (&json!("info"), true)
    );
}
