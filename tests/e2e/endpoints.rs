//! The host's own endpoints: health, metrics, the description of the API.

use serde_json::{Value, json};

use crate::host::{Host, Setup};
use crate::host_api::Events;

fn host() -> Host {
    Setup::new()
        .plugin("hello-go", "hello-go")
        .plugin("gen3", "gen3")
        .settled()
}

#[test]
fn metrics_are_well_formed() {
    let host = host();
    host.function("hello-go", "echo", &json!({})).expect(200);
    host.function("gen3", "fail", &json!({})).expect(500);
    let reply = host.call("GET", "/metrics").send().expect(200);
    assert!(reply.header("content-type").starts_with("text/plain"));
    let text = reply.text();
    let mut typed = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("HELP"), Some(_), Some(_)) => {}
                (Some("TYPE"), Some(name), Some("counter" | "gauge" | "histogram" | "summary")) => {
                    assert!(typed.insert(name), "{name} is described twice");
                }
                _ => panic!("not a comment of the format: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "not a number: {line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(labels.ends_with('}'), "{line}");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            name.strip_suffix(suffix)
                .filter(|name| typed.contains(name))
        });
        assert!(
            typed.contains(family.unwrap_or(name)),
            "a series without a type: {line}"
        );
    }
    for line in [
        r#"gk_plugin_calls_total{outcome="ok",plugin="hello-go"} 1"#,
        r#"gk_plugin_calls_total{outcome="application_error",plugin="gen3"} 1"#,
        r#"gk_plugin_starts_total{outcome="ok",plugin="gen3"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(
        text.contains("gk_plugin_call_duration_seconds_bucket")
            && text.contains("gk_http_requests_total")
    );
}

#[test]
fn health_needs_no_token_and_readiness_waits_for_the_plugins() {
    // A plugin that never comes up holds the host in its start.
    let host = Setup::new()
        .plugin("hang-start", "misbehave")
        .plugin("hello-go", "hello-go")
        .argument("--start-timeout")
        .argument("600s")
        .start();
    let status = |path: &str| host.call("GET", path).send().status;
    assert_eq!(status("/livez"), 200);
    assert_eq!((status("/readyz"), status("/healthz")), (503, 503));
    // What is up is served already.
    host.wait_for_log("plugin=\"hello-go\" generation=1");
    crate::eventually("hello-go comes up", || {
        (host.get("/api/plugins/hello-go/status").status == 200).then_some(())
    });
    // Which of them starts first is not said.
    let starting = crate::eventually("hang-start has a process", || {
        let plugin = host.plugin("hang-start");
        assert_eq!(plugin["state"], "starting");
        plugin["pid"].as_u64()
    });
    let starting = u32::try_from(starting).unwrap();
    crate::processes::send(starting, rustix::process::Signal::KILL);
    let host = host.wait_settled();
    let status = |path: &str| host.call("GET", path).send().status;
    assert_eq!(
        (status("/livez"), status("/readyz"), status("/healthz")),
        (200, 200, 200)
    );
}

#[test]
fn everything_that_is_described_exists() {
    let host = host();
    let document = host.call("GET", "/openapi.json").send().expect(200).json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3."))
    );
    let paths = document["paths"].as_object().unwrap();
    for expected in [
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/api/v1/plugins",
        "/api/v1/plugins/{plugin}/call/{function}",
        "/api/plugins/hello-go/status",
        "/api/plugins/gen3/echo/{id}",
    ] {
        assert!(paths.contains_key(expected), "{expected} is not described");
    }
    let made = host
        .admin("POST", "/api/v1/tokens")
        .json(&json!({ "login": "x", "role": "agent" }))
        .send();
    let token = made.expect(201).json()["id"].to_string();
    let mut asked = 0;
    for (path, operations) in paths {
        let id = match path.as_str() {
            "/api/v1/tokens/{id}" => &token,
            _ => "my-widget",
        };
        let address = path
            .replace("{plugin}", "hello-go")
            .replace("{function}", "echo")
            .replace("{channel}", "any")
            .replace("{job}", "no-job")
            .replace("{id}", id);
        assert!(
            !address.contains('{'),
            "a parameter this test does not know: {path}"
        );
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["responses"].is_object(), "{method} {path}");
            check_parameters(path, operation);
            let method = method.to_ascii_uppercase();
            // What takes a package, a job, or the plugin away has tests of its own.
            if matches!(
                (method.as_str(), path.as_str()),
                (
                    "POST" | "DELETE",
                    "/api/v1/plugins" | "/api/v1/plugins/{plugin}"
                )
            ) || path.starts_with("/api/v1/plugins/{plugin}/jobs/")
            {
                asked += 1;
                continue;
            }
            if !operation["responses"]["200"]["content"]["text/event-stream"].is_null() {
                // It has no end; that it begins is enough.
                Events::subscribe(&host, &address);
                asked += 1;
                continue;
            }
            if (method.as_str(), path.as_str()) == ("DELETE", "/api/v1/plugins/{plugin}/policy") {
                let policy = json!({ "status": "approved" });
                host.admin("PUT", &address).json(&policy).send().expect(200);
            }
            let reply = host.admin(&method, &address).send();
            assert!(
                !matches!(reply.status, 404 | 405 | 501),
                "{method} {address}: {} {}",
                reply.status,
                reply.text()
            );
            let secured = operation.get("security").is_some();
            let open = host.call(&method, &address).send().status;
            assert_eq!(open == 401, secured, "{method} {address}: {open}");
            if path.ends_with("/disable") {
                // The others are about one that runs.
                let enable = "/api/v1/plugins/hello-go/enable?wait=100s";
                host.admin("POST", enable).send().expect(200);
            }
            asked += 1;
        }
    }
    assert!(asked >= paths.len());
}

fn check_parameters(path: &str, operation: &Value) {
    let described = operation["parameters"].as_array().unwrap().iter();
    let described: Vec<_> = described
        .filter(|parameter| parameter["in"] == "path")
        .collect();
    assert_eq!(described.len(), path.matches('{').count(), "{path}");
    for parameter in described {
        let name = parameter["name"].as_str().unwrap();
        assert!(path.contains(&format!("{{{name}}}")), "{path}: {name}");
    }
}
