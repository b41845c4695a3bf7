//! What a plugin may do, it can do.

use serde_json::{Value, json};

use crate::host::Setup;

const RESOURCES: &str = "call_timeout: 2m
permissions:
  - type: db
    access: readwrite
  - type: cache
    access: readwrite";

#[test]
fn everything_that_is_allowed_works() {
    let host = Setup::new()
        .plugin_with("harmless", "harmless", RESOURCES)
        .plugin_with("harmless-rust", "rust-harmless", RESOURCES)
        .argument("--trust-declared-permissions")
        .settled();
    for (plugin, at_least) in [("harmless", 27), ("harmless-rust", 17)] {
        let checks = host.function(plugin, "checks", &json!({ "database": true }));
        let checks = checks.expect(200).json();
        let checks = checks.as_array().unwrap();
        let failed: Vec<&Value> = checks.iter().filter(|check| check["ok"] != true).collect();
        assert!(failed.is_empty(), "{plugin}: {failed:#?}");
        assert!(
            checks.len() >= at_least,
            "{plugin}: {} checks",
            checks.len()
        );
    }
}
