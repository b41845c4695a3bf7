//! Plugins on HashiCorp's go-plugin alone, in each generation of the contract, and HashiCorp's host with our plugin.

use std::process::Command;

use serde_json::{Value, json};

use crate::host::Setup;
use crate::program;

#[test]
fn each_generation_loads_and_answers() {
    let generations = ["gen1", "gen2", "gen3"];
    let host = generations
        .into_iter()
        .fold(Setup::new(), |setup, name| setup.plugin(name, name))
        .variable("GOATFLOW_PLUGIN_GEN2_API_KEY", "secret of gen2")
        .settled();
    for name in generations {
        host.expect_serving(name);
        let args = json!({ "text": "ü\n\0", "list": [1, 2.5, null], "nested": { "a": {} } });
        let echo = host.function(name, "echo", &args).expect(200).json();
        for key in ["text", "list", "nested"] {
            assert_eq!(echo[key], args[key], "{name}: {echo}");
        }
        assert_eq!(echo["_user_login"], "admin", "{name}: {echo}");
        let failed = host.function(name, "fail", &json!({})).expect(500);
        assert_eq!(failed.error(), "this function always fails", "{name}");
        host.expect_serving(name);
        let widget = host.get(&format!("/api/v1/plugins/{name}/widgets/my-widget"));
        assert_eq!(widget.expect(200).text(), "<p>reference</p>", "{name}");

        let config = host.function(name, "config", &json!({})).expect(200).json();
        assert_eq!(config["plugin_name"], name);
        assert!(
            config["host_version"]
                .as_str()
                .is_some_and(|version| !version.is_empty())
        );
        let plugin_dir = host.path("plugins").join(name).canonicalize().unwrap();
        assert_eq!(
            config["plugin_dir"].as_str(),
            plugin_dir.to_str(),
            "{config}"
        );
        let work_dir = config["work_dir"].as_str().unwrap();
        assert!(std::path::Path::new(work_dir).is_dir(), "{config}");
        let key = config.get("api_key").and_then(Value::as_str);
        assert_eq!(
            key,
            (name == "gen2").then_some("secret of gen2"),
            "{name}: {config}"
        );
    }
    // What only the first generation's gob struct carries through all of its nesting.
    let first = host.plugin("gen1");
    let registration = &first["registration"];
    assert_eq!(registration["menu_items"][0]["children"][0]["id"], "child");
    assert_eq!(registration["widgets"][0]["refresh_sec"], 30);
    assert_eq!(
        registration["i18n"]["translations"]["de"]["hello"], "Hallo",
        "{registration}"
    );
    assert_eq!(registration["error_codes"][0]["http_status"], 418);
}

#[test]
fn plugins_reach_the_host_api() {
    let host = Setup::new()
        .plugin("gen2", "gen2")
        .plugin("gen3", "gen3")
        .settled();
    for name in ["gen2", "gen3"] {
        let answer = host.function(name, "ask_host", &json!({})).expect(200);
        let now = answer.json()["now"].as_str().unwrap().to_owned();
        assert!(now.contains('T') && now.ends_with('Z'), "{now}");
        let logged = json!({ "method": "log", "args": { "level": "warn", "message": "from the plugin", "fields": { "n": 1 } } });
        let answer = host.function(name, "ask_host", &logged).expect(200);
        assert_eq!(answer.json(), json!({ "ok": true }));
        let unknown = host.function(name, "ask_host", &json!({ "method": "no_such_method" }));
        let error = unknown.expect(500).error();
        assert!(
            error.contains("unknown host API method: no_such_method"),
            "{error}"
        );
        let logs = host.get(&format!("/api/v1/plugins/{name}/logs?level=warn"));
        let logs = logs.expect(200).json();
        let logs = logs["logs"].as_array().unwrap();
        let record = logs
            .iter()
            .find(|entry| entry["message"] == "from the plugin")
            .unwrap();
        assert_eq!(
            (&record["level"], &record["source"], &record["fields"]["n"]),
            (&json!("warn"), &json!("host_api"), &json!("1"))
        );
    }
    let forged = json!({ "call_token": "0123456789abcdef0123456789abcdef" });
    let refused = host
        .function("gen3", "ask_host", &forged)
        .expect(500)
        .error();
    assert!(
        refused.contains("unknown or finished call context"),
        "{refused}"
    );
    let without = host.function("gen3", "ask_host", &json!({ "call_token": "" }));
    without.expect(200);
}

/// go-plugin's own broker gives up on a stream that is not dialled within five seconds. Ours must not.
#[test]
fn a_slow_init_and_a_late_dial_are_waited_for() {
    let host = Setup::new()
        .plugin_with("slow-two", "gen2", "init_timeout: 100s")
        .plugin_with("slow-three", "gen3", "init_timeout: 100s")
        .plugin_with("late-two", "gen2", "init_timeout: 100s")
        .plugin_with("late-three", "gen3", "init_timeout: 100s")
        .variable("GOATFLOW_PLUGIN_SLOW_TWO_INIT_DELAY", "6s")
        .variable("GOATFLOW_PLUGIN_SLOW_THREE_INIT_DELAY", "6s")
        .variable("GOATFLOW_PLUGIN_LATE_TWO_DIAL", "late")
        .variable("GOATFLOW_PLUGIN_LATE_THREE_DIAL", "late")
        .settled();
    // The late ones have been up for about as long as the slow ones took.
    for name in ["late-two", "late-three", "slow-two", "slow-three"] {
        host.expect_serving(name);
        let answer = host.function(name, "ask_host", &json!({}));
        assert!(answer.expect(200).json()["now"].is_string(), "{name}");
    }
}

#[test]
fn hashicorps_host_runs_the_rust_plugin() {
    #[expect(
        clippy::disallowed_methods,
        reason = "this starts a host, not a plugin"
    )]
    let mut gohost = Command::new(program("gohost"));
    gohost
        .args(["-parallel", "32"])
        .args(["-call", r#"echo:{"a":[1,"x",null]}"#])
        .args(["-call", "get_status", "-call", "no_such_function"])
        .arg(program("hello-rust"));
    let output = gohost.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    assert!(output.status.success(), "{report:#}");
    for step in ["ping", "init", "shutdown", "exited"] {
        assert_eq!(report[step], true, "{step}: {report:#}");
    }
    let registration = &report["registration"];
    assert_eq!(registration["name"], "hello-rust");
    assert_eq!(registration["widgets"][0]["id"], "my-widget");
    let calls = &report["calls"];
    assert_eq!(calls[0]["result"], json!({ "a": [1, "x", null] }));
    assert_eq!(
        calls[1]["result"],
        json!({ "status": "running", "version": "1.0.0" })
    );
    assert!(
        calls[2]["error"]
            .as_str()
            .is_some_and(|error| error.contains("no_such_function")),
        "{calls}"
    );
    assert_eq!(report["parallel_ok"], 32);
}
