//! What a plugin may do, it can do: in every host, whatever the plugin is written in.

use serde_json::{Value, json};

use crate::host::Setup;
use crate::users::HOSTS;

pub(crate) const RESOURCES: &str = "call_timeout: 2m
permissions:
  - type: db
    access: readwrite
  - type: cache
    access: readwrite";

#[test]
fn everything_that_is_allowed_works() {
    for user in HOSTS {
        // Go is linked statically, Rust dynamically to glibc.
        let host = Setup::of(user)
            .plugin_with("harmless", "harmless", RESOURCES)
            .plugin_with("harmless-rust", "rust-harmless", RESOURCES)
            .argument("--trust-declared-permissions")
            .settled();
        for (plugin, at_least) in [("harmless", 27), ("harmless-rust", 17)] {
            let layers = &host.plugin(plugin)["sandbox"]["layers"];
            for layer in ["mount", "seccomp", "landlock"] {
                let entry = layers
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|entry| entry["layer"] == layer);
                assert_eq!(entry.unwrap()["state"], "enforced", "{plugin}: {layers}");
            }
            let checks = host.function(plugin, "checks", &json!({ "database": true }));
            all_are_well(plugin, &checks.expect(200).json(), at_least);
        }
    }
}

#[track_caller]
pub(crate) fn all_are_well(plugin: &str, checks: &Value, at_least: usize) {
    let checks = checks.as_array().unwrap();
    let failed: Vec<&Value> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(failed.is_empty(), "{plugin}: {failed:#?}");
    assert!(
        checks.len() >= at_least,
        "{plugin}: {} checks",
        checks.len()
    );
}

#[test]
fn a_script_starts_as_a_program_does() {
    for user in HOSTS {
        let name = "script";
        let setup = Setup::of(user)
            .plugin(name, "gen3")
            .beside(name, "program/script");
        // Its name is the executable's. `$0` is where the sandbox shows the bytes that were judged, so a script finds
        // what is beside it by its full path.
        let program = setup.path("plugins/script/program/script");
        let text = format!("#!/bin/sh\nexec {} \"$@\"\n", program.display());
        let host = setup
            .file(&format!("plugins/{name}/{name}"), &text)
            .executable(&format!("plugins/{name}/{name}"))
            .settled();
        assert_eq!(
            host.plugin(name)["state"],
            "running",
            "{}",
            host.plugin(name)
        );
        host.function(name, "echo", &json!({})).expect(200);
    }
}
