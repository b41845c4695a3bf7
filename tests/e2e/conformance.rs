//! `gk test` on plugins that break the contract: an author has to learn of each way from it, before an operator does.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs as a person does"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use crate::bad_plugins::MODES;
use crate::program;

/// How many run at the same time: they mostly wait.
const WORKERS: usize = 4;

/// The check that has to find a mode; others may, too.
const CHECKS: &[(&str, &str)] = &[
    (
        "handshake",
        "banner blank-line exit-0 exit-1 half-line handshake-flood hang-start short-handshake unknown-protocol
        wrong-cookie wrong-core-version",
    ),
    (
        "connection",
        "bad-yamux-version close-at-once dotdot-path garbage-gob grpc-handshake huge-frame huge-gob no-socket other-path
        relative-path socket-file socket-link tcp temp-link unasked-cert wrong-app-version",
    ),
    (
        "registration",
        "crash-register fail-register garbage-gob-register hang-register huge-gob-register invalid-json",
    ),
    ("registration is valid", "invalid-name invalid-route"),
    ("registration is of plugin.yaml", "name-mismatch"),
    ("init", "crash-init fail-init hang-init panic-init"),
    ("goes on after init", "crash-after-init"),
    (
        "an unknown function is an error",
        "crash-call double-answer exit-during-call garbage-gob-call hang-call huge-gob-call panic-call wrong-seq",
    ),
    ("shutdown in time", "crash-shutdown hang-shutdown"),
    (
        "all routes are served",
        "foreign-route reserved-route shared-route unknown-middleware",
    ),
    (
        "output is text",
        "bad-hclog stderr-flood stdout-flood stream-flood",
    ),
    ("nothing is left", "grandchild"),
];

/// The report of `gk test` on `misbehave` in one mode, and its exit code.
fn tested(mode: &str) -> (Option<i32>, Value) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = format!("name: {mode}\nversion: 1.0.0\nruntime: grpc\n");
    fs::write(dir.path().join("plugin.yaml"), manifest).unwrap();
    let (built, place) = (program("misbehave"), dir.path().join(mode));
    if fs::hard_link(&built, &place).is_err() {
        fs::copy(&built, &place).unwrap();
    }
    let output = Command::new(program("gk"))
        .args(["test", "-o", "json", "--timeout", "2s"])
        .current_dir(dir.path())
        .env("GK_HOST", program("gk-host"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let err = String::from_utf8_lossy(&output.stderr);
        panic!("{mode}: {error}\n{err}")
    });
    (output.status.code(), report)
}

#[test]
fn each_way_to_misbehave_is_found() {
    let queue = Mutex::new(MODES.iter().map(|(mode, _)| *mode));
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(mode) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let result = tested(mode);
                    found.lock().unwrap().insert(mode, result);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let mut expected: BTreeSet<_> = MODES.iter().map(|(mode, _)| *mode).collect();
    for (check, modes) in CHECKS {
        for mode in modes.split_whitespace() {
            assert!(expected.remove(mode), "{mode} is in the table twice");
            let (code, report) = &found[mode];
            let findings = report["findings"].as_array().unwrap();
            let finding = findings.iter().find(|finding| finding["name"] == *check);
            let finding = finding.unwrap_or_else(|| panic!("{mode}: no {check:?} in {report:#}"));
            assert_eq!(finding["verdict"], "failed", "{mode}: {report:#}");
            // What it says is for its author to act on.
            assert!(!finding["detail"].as_str().unwrap().is_empty(), "{mode}");
            assert_eq!(*code, Some(1), "{mode}");
        }
    }
    assert!(expected.is_empty(), "no check for {expected:?}");
}
