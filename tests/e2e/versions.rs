//! Plugins built on each version of go-plugin since 1.4.0. Before 1.5 it makes its socket in `TMPDIR`, because it does not
//! know `PLUGIN_UNIX_SOCKET_DIR`.

use std::path::Path;

use serde_json::json;

use crate::greeter::greeting;
use crate::host::Setup;
use crate::users::User;
use crate::{program, programs};

/// The versions, oldest first.
pub(crate) fn versions() -> Vec<String> {
    let directory = programs().join("go-plugin");
    let mut versions: Vec<String> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| {
            panic!("{}: {error}: run cargo xtask test-e2e", directory.display())
        })
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    versions.sort_by_key(|version| {
        let numbers = version
            .split('.')
            .map(|number| number.parse::<u32>().unwrap());
        numbers.collect::<Vec<_>>()
    });
    assert!(versions.len() >= 20, "{versions:?}");
    assert_eq!(versions[0], "1.4.0");
    versions
}

fn serves(arguments: &[&str]) {
    for version in versions() {
        let setup = Setup::new().plugin("hello-go", &format!("go-plugin/{version}/hello-go"));
        let setup = arguments
            .iter()
            .fold(setup, |setup, argument| setup.argument(*argument));
        let host = setup.settled();
        let plugin = host.plugin("hello-go");
        assert_eq!(plugin["state"], "running", "{version}: {plugin}");
        let answer = host.get("/api/plugins/hello-go/status").expect(200).json();
        assert_eq!(
            answer,
            json!({"status": "running", "version": "1.0.0"}),
            "{version}"
        );
    }
}

#[test]
fn each_loads_confined() {
    serves(&[]);
}

#[test]
fn each_loads_without_a_sandbox() {
    serves(&["--sandbox-level", "off"]);
}

#[test]
fn each_loads_where_no_mounts_can_be_had() {
    for version in ["1.4.0", "1.8.0"] {
        let host = Setup::of(User::Unprivileged)
            .plugin("hello-go", &format!("go-plugin/{version}/hello-go"))
            .without_user_namespaces()
            .settled();
        let plugin = host.plugin("hello-go");
        assert_eq!(plugin["state"], "running", "{version}: {plugin}");
    }
}

#[test]
fn each_speaks_with_the_host_of_gk_wire() {
    for version in versions() {
        let plugin = program(&format!("go-plugin/{version}/greeter"));
        let said = greeting(&program("rust-greeterhost"), &[Path::new(&plugin)]);
        assert!(said.contains("Hello!"), "{version}: {said}");
    }
}
