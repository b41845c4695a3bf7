//! gk-wire beside go-plugin's own examples, of every version since 1.4.0, and beside a Go program with messages as large
//! plugins have them; each as host and as plugin.

use std::path::Path;
use std::process::{Command, Output};

use crate::program;
use crate::versions::versions;

#[expect(
    clippy::disallowed_methods,
    reason = "hosts are under test, not plugins"
)]
fn run(directory: &Path, host: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(host)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(directory)
        .output()
        .unwrap()
}

/// What a host prints that succeeds.
#[track_caller]
fn said(directory: &Path, host: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = run(directory, host, variables, arguments);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{host:?} {arguments:?}: {}\n{out}{err}",
        output.status
    );
    out.into_owned()
}

fn example(version: &str, name: &str) -> std::path::PathBuf {
    program(&format!("go-plugin/{version}/{name}"))
}

/// The host of gk-wire speaks versions 1 and 2, examples/grpc's plugin 1, examples/negotiated's 2 and 3.
#[test]
fn the_host_stores_values_with_the_plugins_of_each_version() {
    for version in versions() {
        for (name, spoken, note) in [
            ("kv-netrpc", 1, "Written from plugin-go-netrpc"),
            ("kv-negotiated", 2, "Written from plugin version 2"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let plugin = example(&version, name);
            let plugin = plugin.to_str().unwrap();
            let kv = program("rust-kv");
            let put = said(dir.path(), &kv, &[], &[plugin, "put", "k", "hello"]);
            assert_eq!(put, format!("put by version {spoken}\n"), "{version}");
            let got = said(dir.path(), &kv, &[], &[plugin, "get", "k"]);
            assert!(
                got.starts_with("hello") && got.contains(note),
                "{version}: {got}"
            );
        }
    }
}

/// The plugin of gk-wire has versions 1 and 2; go-plugin's host of examples/negotiated speaks one of its two at a time.
#[test]
fn the_plugin_stores_values_for_the_hosts_of_each_version() {
    for version in versions() {
        let dir = tempfile::tempdir().unwrap();
        // The example starts what has this name.
        std::os::unix::fs::symlink(program("rust-kv"), dir.path().join("kv-plugin")).unwrap();
        let host = example(&version, "kv-host");
        let netrpc = [("KV_PROTO", "netrpc")];
        said(dir.path(), &host, &netrpc, &["put", "k", "hello"]);
        let got = said(dir.path(), &host, &netrpc, &["get", "k"]);
        assert!(
            got.starts_with("hello") && got.contains("Written from gk-wire, version 2"),
            "{version}: {got}"
        );
        // Without a common version the plugin serves its lowest, and the host says so.
        let other = run(
            dir.path(),
            &host,
            &[("KV_PROTO", "grpc")],
            &["put", "k", "x"],
        );
        let text = String::from_utf8_lossy(&other.stdout);
        assert_eq!(other.status.code(), Some(1), "{version}: {text}");
        assert!(
            text.to_lowercase().contains("incompatible api version")
                && text.contains("Plugin version: 1"),
            "{version}: {text}"
        );
    }
}

#[test]
fn the_host_says_that_a_plugin_speaks_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let greeter = program("rust-greeterhost");
    let version = versions().pop().unwrap();
    // It speaks 2 and 3.
    let plugin = example(&version, "kv-negotiated");
    let output = run(dir.path(), &greeter, &[], &[plugin.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("incompatible protocol version: the plugin speaks 2, this host [1]"),
        "{text}"
    );
}

#[test]
fn messages_of_hundreds_of_types_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    for (host, plugin) in [("shapes", "rust-shapes"), ("rust-shapes", "shapes")] {
        let plugin = program(plugin);
        let host = program(host);
        // The host in Go takes all it has.
        let count = if host.ends_with("rust-shapes") {
            "400"
        } else {
            "all"
        };
        let said = said(dir.path(), &host, &[], &[plugin.to_str().unwrap(), count]);
        assert!(
            said.contains("400 types came back"),
            "{host:?} {plugin:?}: {said}"
        );
    }
}
