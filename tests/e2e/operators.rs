//! What operators do with a host and its directories, by the book and otherwise.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::eventually;
use crate::host::{Host, Setup};
use crate::users::{UNPRIVILEGED, User};

fn serve_on(host: &Host) -> [std::ffi::OsString; 7] {
    let data = host.path("data").into_os_string();
    let plugins = host.path("plugins").into_os_string();
    [
        "serve".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--plugins-dir".into(),
        plugins,
        "--data-dir".into(),
        data,
    ]
}

#[test]
fn a_data_directory_has_one_host() {
    let mut host = Setup::new().settled();
    let (status, text) = Setup::new().arguments(serve_on(&host)).refused();
    assert_eq!(status.code(), Some(1), "{text}");
    let pid = format!("process {}", host.pid());
    assert!(text.contains(&pid) && text.contains("--data-dir"), "{text}");
    host.get("/api/v1/plugins").expect(200);
    // What a killed host leaves is no lock.
    host.kill();
    Setup::new().arguments(serve_on(&host)).settled();
}

#[test]
fn directories_change_hands_and_lose_nothing() {
    let host = Setup::of(User::Unprivileged)
        .plugin("gen3", "gen3")
        .settled();
    host.expect_serving("gen3");
    let kept = "data/plugins/gen3/kept";
    fs::write(host.path(kept), "kept").unwrap();
    std::os::unix::fs::chown(host.path(kept), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();

    let host = host.again(User::Root).settled();
    host.expect_serving("gen3");
    let owner = fs::metadata(host.path(kept)).unwrap().uid();
    assert!(owner > 2_000_000_000, "it is the plugin's, not {owner}'s");
    // Made by root, to be read by the user.
    let token = host.new_token("anna", "agent");
    let order = |host: &Host, order: &str| {
        let path = format!("/api/v1/plugins/gen3/{order}?wait=100s");
        host.admin("POST", &path).send().expect(200);
    };
    order(&host, "disable");

    let host = host.again(User::Unprivileged).settled();
    assert_eq!(host.plugin("gen3")["state"], "disabled");
    order(&host, "enable");
    host.expect_serving("gen3");
    let listed = host.call("GET", "/api/v1/plugins").token(&token).send();
    listed.expect(200);
    assert_eq!(fs::metadata(host.path(kept)).unwrap().uid(), UNPRIVILEGED);
    assert_eq!(fs::read_to_string(host.path(kept)).unwrap(), "kept");
}

/// After a kill nothing could be given back: what to do is said, and it is not to remove anything.
#[test]
fn what_a_killed_root_host_left_is_said_and_kept() {
    let mut host = Setup::of(User::Unprivileged)
        .plugin("gen3", "gen3")
        .settled();
    host = host.again(User::Root).settled();
    host.kill();
    let host = host.after_kill(User::Unprivileged).settled();
    let error = host.plugin("gen3")["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("chown -R") && !error.contains("remove"),
        "{error}"
    );
}

#[test]
fn hup_is_ignored_where_it_was() {
    let mut host = Setup::new().ignoring_hup().settled();
    host.signal(Signal::HUP);
    // It is delivered before the next signal.
    host.get("/api/v1/plugins").expect(200);
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    let log = host.log();
    assert_eq!(log.matches("stopping; a second signal").count(), 1, "{log}");
}

#[test]
fn what_is_mistyped_is_said() {
    let host = Setup::new().variable("GK_LISTN", "127.0.0.1:1").settled();
    host.wait_for_log("did you mean GK_LISTEN?");
    let mistyped = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--plugins-dir",
        "plugin",
    ];
    let (status, text) = Setup::new().arguments(mistyped).refused();
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains("plugins directory plugin does not exist"),
        "{text}"
    );
    let netrpc = "name: n\nversion: 1.0.0\nruntime: netrpc\n";
    let host = Setup::new().file("plugins/n/plugin.yaml", netrpc).settled();
    let listed = host.get("/api/v1/plugins").expect(200).json();
    let error = listed[0]["error"].as_str().unwrap();
    assert!(
        error.contains("netrpc") && error.contains("runtime: grpc"),
        "{error}"
    );
}

fn policy(host: &Host, policy: &Value) -> Value {
    let path = "/api/v1/plugins/gen3/policy";
    host.admin("PUT", path)
        .json(policy)
        .send()
        .expect(200)
        .json()
}

#[test]
fn a_blocked_plugin_is_blocked_after_a_restart() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    policy(&host, &json!({"status": "blocked"}));
    let before = host
        .function("gen3", "get_status", &json!({}))
        .expect(403)
        .error();
    let host = host.again(User::Same).settled();
    let plugin = host.plugin("gen3");
    assert_eq!(
        (&plugin["state"], &plugin["enabled"]),
        (&json!("blocked"), &json!(false))
    );
    assert!(plugin["pid"].is_null(), "{plugin}");
    let after = host
        .function("gen3", "get_status", &json!({}))
        .expect(403)
        .error();
    assert_eq!(before, after);
}

#[test]
fn what_was_asked_for_is_approved() {
    let asked =
        "permissions:\n  - {type: cache, access: read}\n  - {type: http, scope: [a.example]}\n";
    let host = Setup::new().plugin_with("gen3", "gen3", asked).settled();
    let path = "/api/v1/plugins/gen3/policy";
    let shown = host.get(path).expect(200).json();
    assert_eq!(
        shown["policy"]["permissions"].as_array().unwrap().len(),
        1,
        "{shown}"
    );
    for approve in [
        json!({"status": "approved"}),
        json!({"status": "approved", "permissions": "requested"}),
    ] {
        let shown = policy(&host, &approve);
        assert_eq!(
            shown["policy"]["permissions"],
            shown["requested"]["permissions"]
        );
        assert_eq!(policy(&host, &shown)["policy"], shown["policy"]);
        host.admin("DELETE", path).send().expect(204);
    }
    let mistyped = json!({"status": "approved", "permissions": [{"type": "db", "access": "read", "scopes": ["tickets"]}]});
    let refused = host.admin("PUT", path).json(&mistyped).send().expect(400);
    assert!(refused.error().contains("scopes"), "{}", refused.error());
}

#[test]
fn a_changed_file_is_said_until_it_runs() {
    let host = Setup::new()
        .plugin("gen3", "gen3")
        .variable("GOATFLOW_PLUGIN_HOT_RELOAD", "false")
        .settled();
    assert!(host.plugin("gen3")["changed"].is_null());
    let place = host.path("plugins/gen3");
    // By rename, as installers do.
    fs::write(place.join("new"), "another program").unwrap();
    fs::rename(place.join("new"), place.join("gen3")).unwrap();
    eventually("the change is seen", || {
        (host.plugin("gen3")["changed"] == "its binary").then_some(())
    });
    host.wait_for_log("its binary is no longer what runs");
    host.expect_serving("gen3");
}

/// As Kubernetes mounts a directory: each file is a link into one that is exchanged as a whole.
#[test]
fn a_package_of_links_loads() {
    let setup = Setup::new().plugin("gen3", "gen3");
    let place = setup.path("plugins/gen3");
    fs::create_dir(place.join("..2026_11_27")).unwrap();
    symlink("..2026_11_27", place.join("..data")).unwrap();
    for file in ["gen3", "plugin.yaml"] {
        fs::rename(place.join(file), place.join("..2026_11_27").join(file)).unwrap();
        symlink(format!("..data/{file}"), place.join(file)).unwrap();
    }
    let host = setup.settled();
    host.expect_serving("gen3");
}

/// 48 MB that live, and garbage without end, within 96 MB: Go has to be told of the limit.
#[test]
fn a_go_program_collects_its_garbage_in_time() {
    let setup = Setup::of(User::Root);
    let host = setup.plugin_with("gen3", "gen3", "memory_mb: 96").settled();
    host.function("gen3", "churn", &json!({})).expect(200);
    host.expect_serving("gen3");
}

#[test]
fn a_variable_of_a_broken_plugin_reaches_nobody() {
    let host = Setup::new()
        .plugin("gen3", "gen3")
        .file("plugins/gen3-x/plugin.yaml", "name: gen3-x\nversion: [\n")
        .variable("GOATFLOW_PLUGIN_GEN3_X_KEY", "a secret")
        .variable("GOATFLOW_PLUGIN_GEN3_OWN", "its own")
        .settled();
    let config = host
        .function("gen3", "config", &json!({}))
        .expect(200)
        .json();
    assert_eq!(config["own"], "its own");
    assert!(!config.to_string().contains("a secret"), "{config}");
}
