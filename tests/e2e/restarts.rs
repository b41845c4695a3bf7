//! Plugins that end by themselves, hang, or never come up: they are started again, and nobody else notices.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::eventually;
use crate::goat::{built, goat, goat_in, serving, tool, version, wait_for, write_package};
use crate::host::{Host, Setup};
use crate::processes;
use crate::users::User;

/// Probes that are soon missed.
const HEALTH: &str = "[health]\ninterval = \"300ms\"\ntimeout = \"200ms\"\n";

fn configured(setup: Setup, configuration: &str) -> Setup {
    let setup = setup.file("host.toml", configuration);
    let file = setup.path("host.toml");
    setup.argument("--config").argument(file)
}

fn health(host: &Host, plugin: &str) -> Value {
    host.get(&format!("/api/v1/plugins/{plugin}/health"))
        .expect(200)
        .json()
}

/// A package whose program is this script.
fn write_script(host: &Host, name: &str, script: &str) {
    let dir = host.path("plugins").join(name);
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = format!("name: {name}\nversion: 1.0.0\nruntime: grpc\n");
    fs::write(dir.join("plugin.yaml"), manifest).unwrap();
}

#[test]
fn one_that_is_killed_is_back_before_anybody_calls() {
    let (host, _) = goat();
    for crash in 1..=2 {
        processes::send(host.plugin_pid("goat"), Signal::KILL);
        eventually("it is noticed", || {
            (host.plugin("goat")["crashes"] == crash).then_some(())
        });
        // Whoever calls waits for the new process, and is not told that there was none.
        assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    }
    let shown = health(&host, "goat");
    assert_eq!(
        (
            &shown["restart_attempts"],
            &shown["healthy"],
            &shown["crash_looping"]
        ),
        (&json!(2), &json!(true), &json!(false))
    );
    assert!(
        shown["last_error"].as_str().unwrap().contains("SIGKILL"),
        "{shown}"
    );
    assert!(shown["last_restart_at"].is_string());
    assert_eq!(host.metric("gk_plugin_crashes_total", "goat"), Some(2.0));
}

#[test]
fn one_that_keeps_crashing_is_seen_and_left_alone_more_and_more() {
    let (host, _) = goat();
    write_script(&host, "doomed", "exit 4");
    eventually("it is a crash loop", || {
        let entry = host.get("/api/v1/plugins/doomed");
        (entry.status == 200 && entry.json()["state"] == "crash_looping").then_some(())
    });
    let entry = host.plugin("doomed");
    assert!(
        entry["error"].as_str().unwrap().contains("code 4"),
        "{entry}"
    );
    assert!(entry["next_start"].is_string());
    assert_eq!(host.metric("gk_plugin_crash_looping", "doomed"), Some(1.0));
    let ready = host
        .call("GET", "/readyz?verbose")
        .send()
        .expect(200)
        .text();
    assert!(ready.contains("[-] plugin doomed crash_looping"), "{ready}");
    let crashes = entry["crashes"].as_u64().unwrap();
    assert!((5..=6).contains(&crashes), "{entry}");
    // Its calls are refused at once, and say why.
    let refused = host.function("doomed", "echo", &json!({})).expect(503);
    assert!(refused.error().contains("code 4"), "{}", refused.error());
    // The next start of the host knows.
    let host = host.again(User::Same).settled();
    eventually("it crashes once more", || {
        (host.plugin("doomed")["crashes"].as_u64().unwrap() > crashes).then_some(())
    });
    assert_eq!(host.plugin("doomed")["state"], "crash_looping");
    // The operator's word starts it at once, and so do other bytes, which begin anew.
    let before = host.plugin("doomed")["generation"].as_u64().unwrap();
    let reset = host
        .admin("POST", "/api/v1/plugins/doomed/reset-crashloop?wait=60s")
        .send();
    assert_eq!(reset.status, 409, "it crashes again: {}", reset.text());
    assert_eq!(reset.json()["status"], "reset");
    let entry = host.plugin("doomed");
    assert!(entry["generation"].as_u64().unwrap() > before, "{entry}");
    assert!(entry["crashes"].as_u64().unwrap() < crashes, "{entry}");
    write_package(&host.path("plugins/doomed"), "doomed", 5);
    eventually("it serves", || {
        (host.function("doomed", "version", &json!({})).status == 200).then_some(())
    });
    assert_eq!(host.plugin("doomed")["crashes"], 0);
    assert_eq!(host.metric("gk_plugin_crash_looping", "doomed"), Some(0.0));
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
}

/// A process that hangs answers no probe, and is taken for one that crashed.
#[test]
fn one_that_hangs_is_found_by_probes() {
    let (host, _) = goat_in(configured(Setup::new(), HEALTH));
    let before = host.plugin_pid("goat");
    processes::send(before, Signal::STOP);
    let error = eventually("it is given up", || host.failure("goat"));
    assert!(error.contains("3 health probes in a row"), "{error}");
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    assert_ne!(host.plugin_pid("goat"), before);
    let shown = eventually("it is probed", || {
        let shown = health(&host, "goat");
        (shown["last_check"].as_str() > shown["last_restart_at"].as_str()).then_some(shown)
    });
    assert_eq!(
        (&shown["healthy"], &shown["consecutive_failures"]),
        (&json!(true), &json!(0))
    );
    assert!(
        host.metric("gk_plugin_health_probes_total", "goat")
            .is_some()
    );
}

/// What is there does not start; what served does, though its process is killed: the files are no longer its own.
#[test]
fn one_that_is_killed_comes_back_as_it_was_while_what_is_there_is_broken() {
    let (host, place) = goat();
    fs::write(place.join("goat"), "#!/bin/sh\nexit 7\n").unwrap();
    eventually("the candidate fails", || {
        (host.plugin("goat")["candidate"]["state"] == "failed").then_some(())
    });
    processes::send(host.plugin_pid("goat"), Signal::KILL);
    eventually("it is noticed", || {
        (host.plugin("goat")["crashes"] == 1).then_some(())
    });
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    assert_eq!(host.plugin("goat")["candidate"]["state"], "failed");
    fs::write(place.join("goat"), built(2)).unwrap();
    wait_for(&host, 2);
}

/// Whatever one does while it starts or stops, the others are served.
#[test]
fn one_that_hangs_or_crashes_at_any_step_disturbs_nobody() {
    let setup = Setup::new()
        .plugin_with("hang-register", "misbehave", "init_timeout: 300ms")
        .plugin_with("hang-init", "misbehave", "init_timeout: 300ms")
        .plugin_with("hang-call", "misbehave", "call_timeout: 300ms")
        .plugin_with("hang-shutdown", "misbehave", "shutdown_timeout: 300ms")
        .plugin("crash-init", "misbehave");
    let (mut host, _) = goat_in(setup);
    thread::scope(|scope| {
        let calling = scope.spawn(|| {
            for _ in 0..200 {
                assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
            }
        });
        for (name, words) in [
            ("hang-register", "GKRegister took longer"),
            ("hang-init", "Init took longer"),
            ("crash-init", "during Init"),
        ] {
            let error = eventually(name, || host.failure(name));
            assert!(error.contains(words), "{name}: {error}");
            eventually("it is started again", || {
                (host.plugin(name)["generation"].as_u64() > Some(1)).then_some(())
            });
        }
        let late = host.function("hang-call", "echo", &json!({})).expect(504);
        assert!(late.error().contains("within"), "{}", late.error());
        let stopped = host
            .admin("POST", "/api/v1/plugins/hang-shutdown/disable?wait=100s")
            .send();
        assert_eq!(stopped.expect(200).json()["outcome"], "stopped");
        calling.join().unwrap();
    });
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
}

/// A request whose answer is lost with the process is sent once more only where that does no harm.
#[test]
fn what_may_be_asked_twice_is_asked_again() {
    let (host, _) = goat();
    let ask = |method: &'static str, path: &str| {
        host.call(method, &format!("/api/plugins/goat/{path}"))
            .send()
    };
    let lost = ask("POST", "once").expect(502);
    assert!(lost.error().contains("may have done"), "{}", lost.error());
    ask("POST", "once").expect(200);
    assert_eq!(
        ask("POST", "twice").expect(200).json(),
        json!({ "asked": "again" })
    );
    ask("GET", "read").expect(502);
    ask("GET", "read").expect(200);
    host.admin("PUT", "/api/v1/plugins/goat/policy")
        .json(&json!({ "status": "approved", "permissions": [], "retry_safe": true }))
        .send()
        .expect(200);
    ask("GET", "read").expect(200);
    ask("POST", "once").expect(502);
}

/// A host that is killed while a version takes over leaves nothing that keeps the next one from starting.
#[test]
fn a_host_that_is_killed_during_a_swap_is_followed_by_one_that_serves() {
    let (mut host, place) = goat();
    fs::write(place.join("goat"), built(2)).unwrap();
    eventually("another version is on its way", || {
        let entry = host.plugin("goat");
        (!entry["candidate"].is_null() || entry["generation"] == 2).then_some(())
    });
    host.kill();
    let host = host.after_kill(User::Same).settled();
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
}

/// What is only counted of a plugin goes with it, and nothing of it is left but its data.
#[test]
fn of_a_removed_plugin_only_its_data_stays() {
    let (host, _) = goat();
    write_package(&host.path("plugins/sheep"), "sheep", 1);
    eventually("it serves", || {
        (host.function("sheep", "version", &json!({})).status == 200).then_some(())
    });
    let work = host.path("data/plugins/sheep");
    assert!(work.is_dir());
    let (family, _) = host.family("sheep");
    let before = family.len();
    let pid = host.plugin_pid("sheep");
    let metrics = || host.call("GET", "/metrics").send().text();
    assert!(metrics().contains("plugin=\"sheep\""));
    fs::remove_dir_all(host.path("plugins/sheep")).unwrap();
    eventually("it is gone", || {
        (host.get("/api/v1/plugins/sheep").status == 404).then_some(())
    });
    assert!(!metrics().contains("plugin=\"sheep\""), "{}", metrics());
    processes::Watched::these([pid]).expect_end();
    assert!(before > 0 && work.is_dir());
    host.get("/api/v1/plugins/sheep/logs").expect(404);
    host.get("/api/v1/plugins/sheep/policy").expect(404);
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
}

/// What cannot be kept for the next start of the host is told, and holds until then; nobody's calls fail for it.
#[test]
fn where_nothing_can_be_kept_plugins_run_on() {
    tool(&["unshare"], "util-linux");
    let setup = Setup::new();
    let place = setup.path("plugins/goat");
    write_package(&place, "goat", 1);
    let full = "mkdir -p data/plugin-state && mount -t tmpfs -o size=4k none data/plugin-state && \
         head -c 4096 /dev/zero > data/plugin-state/filler && exec \"$0\" \"$@\"";
    let words = [
        "/usr/bin/unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        full,
    ];
    let host = setup.through(words).settled();
    processes::send(host.plugin_pid("goat"), Signal::KILL);
    eventually("it is noticed", || {
        (host.plugin("goat")["crashes"] == 1).then_some(())
    });
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    host.wait_for_log("its crashes cannot be kept");
    let control = |action: &str| {
        let path = format!("/api/v1/plugins/goat/{action}?wait=100s");
        host.admin("POST", &path).send()
    };
    let told = control("disable").expect(500);
    assert!(told.error().contains("cannot be kept"), "{}", told.error());
    assert_eq!(host.plugin("goat")["enabled"], false);
    eventually("it is stopped", || {
        (host.plugin("goat")["state"] == "disabled").then_some(())
    });
    // The default needs no file; the crash does.
    control("enable").expect(500);
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
}
