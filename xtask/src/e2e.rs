//! `cargo xtask test-e2e`: builds the host, the plugins and the reference programs, and runs the
//! whole-system tests.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, root, run};
use crate::go::{GO_PLUGIN, Go};
use crate::plugins::GO_SAMPLES;

/// The reference programs that the tests start.
const REFERENCE: &[&str] = &[
    "gen1",
    "gen2",
    "gen3",
    "misbehave",
    "gohost",
    "greeter",
    "greeterhost",
    "gobpeer",
    "shapes",
    "escape",
    "harmless",
];

/// The programs of the workspace that the tests start.
const RUST: &[&str] = &["gk", "gk-host", "hello-rust"];

/// The examples of gk-wire and gk-plugin, and the names the tests know them by.
const EXAMPLES: &[(&str, &str)] = &[
    ("host", "rust-greeterhost"),
    ("greeter", "rust-greeter"),
    ("kv", "rust-kv"),
    ("shapes", "rust-shapes"),
    ("notes", "rust-notes"),
    ("harmless", "rust-harmless"),
    ("versioned", "rust-versioned"),
];

/// The versions of go-plugin that plugins were built on since 1.4.0.
const GO_PLUGIN_VERSIONS: &[&str] = &[
    "1.4.0", "1.4.1", "1.4.2", "1.4.3", "1.4.4", "1.4.5", "1.4.6", "1.4.7", "1.4.8", "1.4.9",
    "1.4.10", "1.5.0", "1.5.1", "1.5.2", "1.6.0", "1.6.1", "1.6.2", "1.6.3", "1.7.0", "1.8.0",
];

/// Examples that speak net/rpc, by their packages.
const GO_PLUGIN_EXAMPLES: &[(&str, &str)] = &[
    ("grpc/plugin-go-netrpc", "kv-netrpc"),
    ("negotiated", "kv-host"),
    ("negotiated/plugin-go", "kv-negotiated"),
];

/// Builds all that is needed into `target/e2e` and returns the command that runs the tests.
pub(crate) fn prepare(arguments: &[OsString]) -> Result<Command> {
    let bin = root().join("target/e2e");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    remove_remains(&bin.join("runs"))?;
    let go = Go::find()?;
    let reference = root().join("tests/plugins");
    for program in REFERENCE {
        go.build(&reference, &format!("./{program}"), &bin.join(program))?;
    }
    for sample in GO_SAMPLES {
        go.build(&root().join("plugins").join(sample), ".", &bin.join(sample))?;
    }
    go.build(&root().join("tests/traced-go"), ".", &bin.join("traced-go"))?;
    go.build(&root().join("tests/otelcol"), ".", &bin.join("otelcol"))?;
    // A plugin of the host's, and one of gk-wire's, on each version.
    let versions = bin.join("go-plugin");
    for version in GO_PLUGIN_VERSIONS {
        let place = versions.join(version);
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        let hello = root().join("plugins/hello-go");
        go.build_on(version, &hello, ".", &place.join("hello-go"))?;
        go.build_on(version, &reference, "./greeter", &place.join("greeter"))?;
        for (package, name) in GO_PLUGIN_EXAMPLES {
            let package = format!("{GO_PLUGIN}/examples/{package}");
            go.build_on(version, &reference, &package, &place.join(name))?;
        }
    }

    let target = root().join("target");
    run(&mut build())?;
    for program in RUST {
        place(&target.join("debug").join(program), &bin.join(program))?;
    }
    for (example, name) in EXAMPLES {
        place(
            &target.join("debug/examples").join(example),
            &bin.join(name),
        )?;
    }
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--test", "e2e", "--target-dir"])
        .arg(&target)
        .env("GK_E2E_BIN", &bin);
    if !arguments.is_empty() {
        tests.arg("--").args(arguments);
    }
    Ok(tests)
}

/// Builds everything once. A narrower selection would have other features, and with them most
/// dependencies would be built another time.
pub(crate) fn build() -> Command {
    let mut build = cargo();
    build
        .args(["build", "--workspace", "--all-targets", "--target-dir"])
        .arg(root().join("target"));
    build
}

/// Copies a program into place, by rename: the one that is there may be running.
fn place(built: &Path, to: &Path) -> Result<()> {
    let staging = to.with_extension(format!("staging-{}", std::process::id()));
    fs::copy(built, &staging).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&staging, to).with_context(|| format!("cannot put {} in place", to.display()))
}

/// Removes what runs that were killed left behind; those of others that go on have a process.
fn remove_remains(runs: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(runs) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let pid = path.file_name().and_then(|name| name.to_str());
        if pid.is_some_and(|pid| Path::new("/proc").join(pid).exists()) {
            continue;
        }
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
