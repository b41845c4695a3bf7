//! Where user namespaces cannot be had: a limit of none is in force for the host, as administrators set it.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::escape::{Attacked, UNSTEADY, golden, sorted};
use crate::host::Setup;
use crate::program;
use crate::users::{self, Limits, User};

/// The errno of a limit that is reached.
const ENOSPC: i64 = 28;

const ABSENT: [&str; 7] = ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"];

#[test]
fn best_effort_starts_and_says_what_is_missing() {
    let attacked = Attacked::start_without_user_namespaces();
    let sandbox = attacked.sandbox();
    for entry in sandbox.as_array().unwrap() {
        let name = entry["layer"].as_str().unwrap();
        if ABSENT.contains(&name) {
            assert_eq!(entry["state"], "absent", "{entry}");
            if name != "cgroup" {
                assert_eq!(entry["errno"], ENOSPC, "{entry}");
            }
        }
        if [
            "landlock",
            "seccomp",
            "mdwe",
            "no_new_privileges",
            "capabilities",
            "limits",
            "descriptors",
        ]
        .contains(&name)
        {
            assert_eq!(entry["state"], "enforced", "{entry}");
        }
    }
    let outcomes = attacked.attack();
    attacked.end();
    let mut open = String::from("id\tattack\n");
    for id in sorted(outcomes.keys().cloned()) {
        let outcome = &outcomes[&id];
        if outcome.outcome == "open" {
            println!("{id}: {}", outcome.detail);
            open.push_str(&format!("{id}\t{}\n", outcome.name));
        }
    }
    golden(
        "e2e/without-namespaces.tsv",
        &open,
        "the list of what is open then",
        |line| {
            let id = line.split('\t').next().unwrap_or_default();
            if UNSTEADY.contains(&id) {
                String::new()
            } else {
                line.to_owned()
            }
        },
    );
}

#[test]
fn required_refuses_and_says_why() {
    let setup = Setup::of(User::Unprivileged)
        .without_user_namespaces()
        .argument("--sandbox-level=required")
        .plugin("refused-greeter", "gen3");
    let host = setup.settled();
    let plugin = host.plugin("refused-greeter");
    assert_eq!(plugin["state"], "failed", "{plugin}");
    let error = plugin["error"].as_str().unwrap();
    for words in ["no namespace", "No space left on device", "best-effort"] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn doctor_says_how_to_get_them() {
    let mut doctor = users::command(
        &program("gk-host"),
        User::Unprivileged,
        Limits::No("user_namespaces"),
    );
    let said = doctor
        .arg("doctor")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(!said.status.success(), "{text}");
    assert!(text.contains("user.max_user_namespaces"), "{text}");
}

#[test]
fn an_honest_plugin_works_there() {
    let host = Setup::of(User::Unprivileged)
        .without_user_namespaces()
        .plugin_with("harmless-alone", "harmless", crate::harmless::RESOURCES)
        .argument("--trust-declared-permissions")
        .settled();
    let checks: Value = host
        .function("harmless-alone", "checks", &json!({ "database": true }))
        .expect(200)
        .json();
    crate::harmless::all_are_well("harmless-alone", &checks, 27);
}
