//! The host's own start and end: signals, restarts, and what keeps it from starting.

use std::net::TcpListener;
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::eventually;
use crate::host::{Host, Setup};

pub(crate) fn in_flight(host: &Host, plugin: &str) {
    eventually("a call is under way", || {
        let running = host.metric("gk_plugin_calls_in_flight", plugin)?;
        (running >= 1.0).then_some(())
    });
}

#[test]
fn a_stop_lets_the_running_calls_finish() {
    let mut host = Setup::new()
        .plugin("gen3", "gen3")
        .plugin("hello-rust", "hello-rust")
        .settled();
    let (family, root) = host.family("gen3");
    assert_eq!(family.len(), 2);
    thread::scope(|scope| {
        // It has to be seen while it runs, and to be over before a stop gives up waiting.
        let call = loop {
            let call = scope.spawn(|| host.function("gen3", "sleep", &json!({ "ms": 3000 })));
            let runs = eventually("a call is under way, or over", || {
                let running = host.metric("gk_plugin_calls_in_flight", "gen3")?;
                (running >= 1.0 || call.is_finished()).then_some(running >= 1.0)
            });
            if runs {
                break call;
            }
            call.join().unwrap().expect(200);
        };
        host.signal(Signal::TERM);
        host.wait_for_log("stopping");
        // Whoever still gets through is told that the host is not ready.
        if let Ok(reply) = host.call("GET", "/readyz").try_send() {
            assert_eq!(reply.status, 503);
        }
        let reply = call.join().unwrap().expect(200);
        assert_eq!(reply.json()["ms"], 3000);
    });
    let status = host.wait();
    assert_eq!(status.code(), Some(0), "{status}\n{}", host.log());
    family.expect_end();
    assert!(!root.exists(), "{} is left behind", root.display());
}

#[test]
fn every_stop_signal_stops() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut host = Setup::new().plugin("hello-rust", "hello-rust").settled();
        let (family, _) = host.family("hello-rust");
        host.signal(signal);
        assert_eq!(host.wait().code(), Some(0), "{signal:?}");
        family.expect_end();
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut host = Setup::new()
        .plugin_with("gen3", "gen3", "call_timeout: 600s")
        .settled();
    let (family, _) = host.family("gen3");
    thread::scope(|scope| {
        scope.spawn(|| {
            let sleep = host
                .admin("POST", "/api/v1/plugins/gen3/call/sleep")
                .json(&json!({ "ms": 600_000 }));
            // It ends with the host, one way or the other.
            let _ = sleep.try_send();
        });
        in_flight(&host, "gen3");
        host.signal(Signal::TERM);
        host.wait_for_log("stopping");
        host.signal(Signal::TERM);
        host.wait_for_log("stopped at once");
    });
    assert_eq!(host.wait().code(), Some(0));
    family.expect_end();
}

#[test]
fn a_stop_during_the_start_stops() {
    let mut host = Setup::new()
        .plugin("hang-start", "misbehave")
        .plugin("hello-rust", "hello-rust")
        .start();
    eventually("both have a process", || {
        let list = host.get("/api/v1/plugins").json();
        list.as_array()?
            .iter()
            .all(|plugin| plugin["pid"].is_u64())
            .then_some(())
    });
    let (family, _) = host.family("hang-start");
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    family.expect_end();
}

#[test]
fn tokens_outlive_the_host_and_the_environment_can_set_one() {
    let host = Setup::new().settled();
    let (admin, agent) = (
        host.admin_token().to_owned(),
        host.new_token("anna", "agent"),
    );
    let data = std::fs::read(host.path("data/host.db")).unwrap();
    for token in [&admin, &agent] {
        let found = data
            .windows(token.len())
            .any(|window| window == token.as_bytes());
        assert!(!found, "a token is stored as it is");
    }
    let mut again = Setup::new();
    let arguments = [
        "serve".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--plugins-dir".into(),
        host.path("plugins").into_os_string(),
        "--data-dir".into(),
        host.path("data").into_os_string(),
    ];
    again = again
        .arguments(arguments)
        .variable("GK_ADMIN_TOKEN", "chosen-by-a-script-0123");
    let mut first = host;
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));
    let second = again.settled();
    for token in [&admin, "chosen-by-a-script-0123"] {
        let list = second.call("GET", "/api/v1/tokens").token(token).send();
        list.expect(200);
    }
    let list = second.call("GET", "/api/v1/plugins").token(&agent).send();
    list.expect(200);
    let kept = std::fs::read_to_string(first.path("data/admin.token")).unwrap();
    assert_eq!(kept.trim(), admin, "a second start writes no second token");
}

#[test]
fn a_flag_beats_the_environment_and_that_the_file() {
    let setup = Setup::new();
    let data = |name: &str| setup.path(name).into_os_string();
    let (by_file, by_variable) = (data("by-file"), data("by-variable"));
    let file = format!(
        "listen = \"127.0.0.1:0\"\nplugins_dir = {:?}\ndata_dir = {:?}\n",
        setup.path("plugins"),
        by_file
    );
    let host = setup
        .file("host.toml", &file)
        .arguments(["serve", "--config", "host.toml", "--data-dir", "data"])
        .variable("GK_DATA_DIR", by_variable)
        .variable("GK_LOG_FORMAT", "json")
        .settled();
    assert!(host.path("data/host.db").is_file());
    assert!(!host.path("by-file").exists() && !host.path("by-variable").exists());
    host.get("/api/v1/plugins").expect(200);
    let line = host.wait_for_log("plugins are up");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["fields"]["message"], "plugins are up");
}

#[test]
fn what_keeps_the_host_from_starting_is_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let usual = Setup::new;
    for (setup, words) in [
        (
            usual().argument("--log").argument("info").arguments([
                "serve",
                "--listen",
                &taken,
                "--data-dir",
                "data",
            ]),
            &[&*taken, "in use"][..],
        ),
        (
            usual().file("a-file", "").arguments([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--plugins-dir",
                "a-file",
            ]),
            &["a-file", "plugins directory"],
        ),
        (
            usual().file("a-file", "").arguments([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                "a-file",
            ]),
            &["a-file", "data directory"],
        ),
        (
            usual()
                .file("bad.toml", "listen = [\n")
                .arguments(["serve", "--config", "bad.toml"]),
            &["configuration", "bad.toml"],
        ),
        (
            usual()
                .file("bad.toml", "lissten = \"127.0.0.1:0\"\n")
                .arguments(["serve", "--config", "bad.toml"]),
            &["lissten", "bad.toml"],
        ),
        (
            usual().arguments(["serve", "--config", "absent.toml"]),
            &["absent.toml"],
        ),
        (
            usual()
                .variable("GK_LISTEN", "nowhere")
                .arguments(["serve"]),
            &["GK_LISTEN", "GK_"],
        ),
        (usual().argument("--start-timeout=-1s"), &["start_timeout"]),
        (
            usual().argument("--log").argument("=nonsense=["),
            &["nonsense"],
        ),
        (
            usual().variable("GK_ADMIN_TOKEN", "short"),
            &["GK_ADMIN_TOKEN"],
        ),
    ] {
        let (status, text) = setup.refused();
        assert_eq!(status.code(), Some(1), "{text}");
        let errors: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("gk-host: "))
            .collect();
        assert_eq!(errors.len(), 1, "{text}");
        for word in words {
            assert!(
                errors[0].to_lowercase().contains(&word.to_lowercase()),
                "{word:?} is not in: {text}"
            );
        }
    }
}
