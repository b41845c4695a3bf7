//! What an operator changes acts at once: what runs, what it may, what it depends on, whom the host trusts.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::eventually;
use crate::goat::{
    built, generation, goat, goat_in, manifest, serving, version, wait_for, write_package,
    write_program,
};
use crate::host::{Host, Setup};
use crate::users::User;

fn control(host: &Host, plugin: &str, action: &str) -> Value {
    let path = format!("/api/v1/plugins/{plugin}/{action}?wait=100s");
    host.admin("POST", &path).send().expect(200).json()
}

fn state(host: &Host, plugin: &str) -> String {
    host.plugin(plugin)["state"].as_str().unwrap().to_owned()
}

fn until(host: &Host, plugin: &str, state: &str) {
    eventually(&format!("{plugin} is {state}"), || {
        (self::state(host, plugin) == state).then_some(())
    });
}

/// A package of the reference program with more lines in its manifest.
fn package(setup: &Setup, name: &str, lines: &str) {
    let dir = setup.path("plugins").join(name);
    write_program(&dir.join(name), 1);
    fs::write(dir.join("plugin.yaml"), manifest(name, 1) + lines).unwrap();
}

#[test]
fn one_that_is_disabled_stays_so_until_it_is_enabled() {
    let (host, place) = goat();
    let disabled = control(&host, "goat", "disable");
    assert_eq!(
        (&disabled["status"], &disabled["outcome"]),
        (&json!("disabled"), &json!("stopped"))
    );
    let entry = host.plugin("goat");
    assert_eq!(
        (&entry["state"], &entry["enabled"], &entry["pid"]),
        (&json!("disabled"), &json!(false), &Value::Null)
    );
    let refused = host.function("goat", "version", &json!({})).expect(403);
    assert!(refused.error().contains("disabled"), "{}", refused.error());
    // A change of its files does not start it, nor does the next host.
    fs::write(place.join("goat"), built(2)).unwrap();
    let host = host.again(User::Same).settled();
    assert!(host.printed().contains("1 disabled"), "{}", host.printed());
    assert_eq!(state(&host, "goat"), "disabled");
    let enabled = control(&host, "goat", "enable");
    assert_eq!(
        (&enabled["status"], &enabled["outcome"]),
        (&json!("enabled"), &json!("serving"))
    );
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
    let host = host.again(User::Same).settled();
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
}

#[test]
fn the_version_before_comes_back_when_the_operator_says_so() {
    let (host, place) = goat();
    host.admin("POST", "/api/v1/plugins/goat/rollback")
        .send()
        .expect(409);
    fs::write(place.join("goat"), built(2)).unwrap();
    wait_for(&host, 2);
    assert_eq!(host.plugin("goat")["can_roll_back"], true);
    let back = control(&host, "goat", "rollback");
    assert_eq!(
        (&back["outcome"], &back["generation"]),
        (&json!("serving"), &json!(3))
    );
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    // What lies there is not started by itself; what comes next is.
    host.admin("POST", "/api/v1/plugins/goat/reload?wait=100s")
        .send()
        .expect(200);
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    assert_eq!(generation(&host), 3);
    control(&host, "goat", "restart");
    fs::write(place.join("goat"), built(4)).unwrap();
    wait_for(&host, 4);
}

/// `shop` needs `goat`, and `till` needs `shop`.
#[test]
fn plugins_start_after_and_stop_before_what_they_depend_on() {
    let setup = Setup::new();
    package(&setup, "shop", "dependencies: [\"goat >= 1.0.1\"]\n");
    package(&setup, "till", "dependencies: [shop]\n");
    package(&setup, "lost", "dependencies: [nobody]\n");
    package(&setup, "new", "dependencies: [\"goat >= 2\"]\n");
    package(&setup, "ring-a", "dependencies: [ring-b]\n");
    package(&setup, "ring-b", "dependencies: [ring-a]\n");
    let (mut host, place) = goat_in(setup);
    let error = |host: &Host, plugin: &str| {
        host.plugin(plugin)["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for name in ["shop", "till"] {
        until(&host, name, "running");
    }
    let started = |name: &str| host.plugin(name)["started_at"].as_str().unwrap().to_owned();
    let up = |name: &str| {
        host.plugin(name)["running_since"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(started("shop") >= up("goat") && started("till") >= up("shop"));
    assert_eq!(state(&host, "lost"), "waiting");
    assert!(error(&host, "lost").contains("\"nobody\", which is not installed"));
    assert_eq!(state(&host, "new"), "waiting");
    assert!(
        error(&host, "new").contains("goat >=2 is needed"),
        "{}",
        error(&host, "new")
    );
    assert_eq!(state(&host, "ring-a"), "failed");
    assert!(error(&host, "ring-a").contains("ring-a → ring-b → ring-a"));
    // What one depends on is replaced, or ends by itself: it goes on.
    fs::write(place.join("goat"), built(2)).unwrap();
    wait_for(&host, 2);
    crate::processes::send(host.plugin_pid("goat"), Signal::KILL);
    eventually("it is noticed", || {
        (host.plugin("goat")["crashes"] == 1).then_some(())
    });
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
    for name in ["shop", "till"] {
        assert_eq!(host.plugin(name)["generation"], 1);
    }
    // It stops for good: they stop before it, and come back with it.
    control(&host, "goat", "disable");
    for name in ["shop", "till"] {
        until(&host, name, "waiting");
    }
    assert!(
        error(&host, "shop").contains("\"goat\", which is disabled"),
        "{}",
        error(&host, "shop")
    );
    let log = host.log();
    let stopped = |name: &str| {
        log.lines()
            .collect::<Vec<_>>()
            .iter()
            .rposition(|line| {
                line.contains(&format!("plugin=\"{name}\"")) && line.contains("it was stopped")
            })
            .unwrap_or_else(|| panic!("{name} was not stopped:\n{log}"))
    };
    assert!(
        stopped("till") < stopped("shop") && stopped("shop") < stopped("goat"),
        "{log}"
    );
    control(&host, "goat", "enable");
    for name in ["shop", "till"] {
        until(&host, name, "running");
    }
    // One that was missing is installed.
    write_package(&host.path("plugins/nobody"), "nobody", 1);
    until(&host, "lost", "running");
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
}

/// What a version that does not run needs ends nothing that does.
#[test]
fn a_version_that_needs_what_is_not_there_changes_nothing() {
    let setup = Setup::new()
        .plugin("slow", "gen3")
        .variable("GOATFLOW_PLUGIN_SLOW_INIT_DELAY", "5s")
        .variable("GOATFLOW_PLUGIN_GOAT_INIT_DELAY", "2s")
        .variable("GK_RESCAN_INTERVAL", "1s");
    package(&setup, "shop", "dependencies: [slow]\n");
    let (host, place) = goat_in(setup);
    fs::write(place.join("goat"), built(2)).unwrap();
    fs::write(
        place.join("plugin.yaml"),
        manifest("goat", 2) + "dependencies: [nobody]\n",
    )
    .unwrap();
    let error = eventually("it is refused", || {
        let candidate = &host.plugin("goat")["candidate"];
        candidate["error"].as_str().map(str::to_owned)
    });
    assert!(
        error.contains("\"nobody\", which does not serve"),
        "{error}"
    );
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    assert_eq!(generation(&host), 1);
    // Whatever else has a plugin started anew starts what served before.
    let policy = host.admin("PUT", "/api/v1/plugins/goat/policy");
    let approved = json!({ "status": "approved", "permissions": [] });
    policy.json(&approved).send().expect(200);
    // The answers are about what is there.
    let refused = |action: &str| {
        let path = format!("/api/v1/plugins/goat/{action}?wait=100s");
        let answer = host.admin("POST", &path).send().expect(409).text();
        assert!(answer.contains("nobody"), "{answer}");
    };
    refused("restart");
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    assert_eq!(generation(&host), 2);
    crate::processes::send(host.plugin_pid("goat"), Signal::KILL);
    eventually("it is started again", || {
        let goat = host.plugin("goat");
        (goat["crashes"] == 1).then_some(())
    });
    refused("reload");
    until(&host, "goat", "running");
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    write_package(&host.path("plugins/nobody"), "nobody", 1);
    wait_for(&host, 2);
    assert!(host.plugin("goat")["candidate"].is_null());
    // Nor does it concern one that runs that what it needs is started again.
    until(&host, "shop", "running");
    let seen = (1..=3).any(|crashes| {
        crate::processes::send(host.plugin_pid("slow"), Signal::KILL);
        eventually("it is started again", || {
            (host.plugin("slow")["crashes"] == crashes).then_some(())
        });
        control(&host, "shop", "reload");
        let shop = host.plugin("shop");
        assert_eq!(
            (&shop["generation"], &shop["candidate"]),
            (&json!(1), &Value::Null)
        );
        let is_away = state(&host, "slow") != "running";
        until(&host, "slow", "running");
        is_away
    });
    assert!(seen, "it was there again each time");
}

#[test]
fn another_limit_replaces_what_runs_and_loses_no_call() {
    let (host, _) = goat();
    let policy = |text: Value| {
        host.admin("PUT", "/api/v1/plugins/goat/policy")
            .json(&text)
            .send()
            .expect(200);
    };
    policy(json!({ "status": "approved", "permissions": [], "memory_mb": 200 }));
    eventually("it is replaced", || (generation(&host) == 2).then_some(()));
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    // What concerns no process replaces none, and neither does the same once more.
    policy(
        json!({ "status": "approved", "permissions": [], "memory_mb": 200, "call_timeout": "20s" }),
    );
    policy(json!({ "status": "approved", "permissions": [], "memory_mb": 200 }));
    policy(
        json!({ "status": "approved", "permissions": [{"type": "http", "scope": ["example.org"]}], "memory_mb": 200 }),
    );
    eventually("it is replaced", || (generation(&host) == 3).then_some(()));
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
}

/// Of this one two cannot run at the same time: calls wait while it changes.
#[test]
fn one_that_is_recreated_ends_before_the_next_one_starts() {
    let setup = Setup::new();
    let dir = setup.path("plugins/goat");
    write_program(&dir.join("goat"), 1);
    let text = manifest("goat", 1) + "reload: {strategy: recreate, wait: 60s}\n";
    fs::write(dir.join("plugin.yaml"), text).unwrap();
    let host = setup.settled();
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    let before = host.plugin_pid("goat");
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let mut last = version(1);
            while last == version(1) {
                last = serving(&host).expect("no call fails");
            }
            last
        });
        fs::write(dir.join("goat"), built(2)).unwrap();
        assert_eq!(calling.join().unwrap(), version(2));
    });
    let log = host.log();
    let at = |text: &str| {
        log.find(text)
            .unwrap_or_else(|| panic!("{text} is not in {log}"))
    };
    assert!(
        at("it was stopped") < log.rfind("running, version").unwrap(),
        "{log}"
    );
    assert_ne!(host.plugin_pid("goat"), before);
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let setup = Setup::new()
        .file("host.toml", "log = \"info\"\n")
        .heeding_hup();
    let file = setup.path("host.toml");
    let setup = setup.argument("--config").argument(&file);
    let (mut host, _) = goat_in(setup);
    let config = |host: &Host| {
        host.function("goat", "config", &json!({}))
            .expect(200)
            .json()
    };
    assert!(config(&host).get("colour").is_none());
    // What is wrong changes nothing, and says so.
    fs::write(&file, "log = \"info\"\nlog_format = \"loud\"\n").unwrap();
    host.signal(Signal::HUP);
    host.wait_for_log("nothing of it was changed");
    fs::write(
        &file,
        "log = \"debug\"\nstart_timeout = \"50s\"\n[limits]\nmemory_mb = 128\nconnections_per_client = 8\n[plugin_config.goat]\ncolour = \"brown\"\n",
    )
    .unwrap();
    host.signal(Signal::HUP);
    eventually("it is configured anew", || {
        (config(&host).get("colour")? == "brown").then_some(())
    });
    assert_eq!(generation(&host), 2);
    let later = host.wait_for_log("take effect at the host's next start");
    assert!(later.contains("start_timeout"), "{later}");
    host.wait_for_log("DEBUG");
    // Both are in the audit log, newest first.
    let entries = eventually("the change is written down", || {
        let path = "/api/v1/audit?change=reconfigure";
        let page = host.admin("GET", path).send().expect(200).json();
        let entries = page["entries"].as_array()?.clone();
        (entries.len() == 2 && entries[0]["outcome"] != "unknown").then_some(entries)
    });
    let outcomes: Vec<_> = entries.iter().map(|entry| &entry["outcome"]).collect();
    assert_eq!(outcomes, ["done", "failed"]);
    assert_eq!(entries[0]["actor"]["login"], "SIGHUP");
    assert_eq!(
        entries[0]["after"]["at_next_start"],
        json!(["start_timeout"])
    );
    let metrics = host.admin("GET", "/metrics").send().expect(200).text();
    let budget = format!("gk_memory_budget_bytes {}", (128 << 20) / 2);
    assert!(metrics.contains(&budget), "{metrics}");
    let open: Vec<_> = (0..9)
        .map(|_| TcpStream::connect(host.address()).unwrap())
        .collect();
    let mut last = open.last().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert!(
        !matches!(last.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock),
        "it has more connections than it may"
    );
    drop(open);
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
}

/// The first call of all comes while the plugin starts.
#[test]
fn a_call_waits_for_the_first_start() {
    let setup = Setup::new()
        .plugin("slow", "gen3")
        .variable("GOATFLOW_PLUGIN_SLOW_INIT_DELAY", "3s");
    let host = setup.start();
    host.function("slow", "echo", &json!({ "a": 1 }))
        .expect(200);
    let host = Setup::new()
        .plugin("slow", "gen3")
        .variable("GOATFLOW_PLUGIN_SLOW_INIT_DELAY", "3s")
        .start();
    host.get("/api/plugins/slow/status").expect(200);
}
