//! `cargo xtask bench`: all systems side by side, interleaved in one run, because absolute figures
//! move from run to run and only ratios within one mean anything. One module per table.

#![expect(
    clippy::print_stdout,
    reason = "the tables are what this command is for"
)]

mod callbacks;
mod calls;
mod many;
mod memory;
mod process;
mod promises;
mod route;
mod starts;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub(crate) use calls::{CALLERS, Calls, PAYLOADS};

use crate::command::{cargo, root, run as run_command, say};
use crate::go::Go;
use promises::Promises;

pub(crate) fn run(quick: bool, check: bool) -> Result<()> {
    let programs = Programs::build()?;
    let mut promises = Promises::default();
    let calls = calls::measure(&programs, quick)?;
    let starts = starts::measure(&programs, quick)?;
    let route = route::measure(&programs, quick)?;
    let callbacks = callbacks::measure(&programs, quick)?;
    let memory = memory::measure(&programs)?;
    let many = many::measure(&programs, quick)?;
    calls.print(&mut promises);
    starts.print(&mut promises);
    route.print(&mut promises);
    callbacks.print(&mut promises);
    memory.print(&mut promises);
    many.print(&mut promises);
    calls.write(&memory)?;
    write("starts", &starts.json())?;
    write("route", &route.json())?;
    write("many", &many.json())?;
    if !promises.print() && check {
        bail!("a promised figure is not met");
    }
    Ok(())
}

/// Writes what was measured to `target/bench/<name>.json`.
fn write(name: &str, document: &Value) -> Result<()> {
    let path = root().join(format!("target/bench/{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(document)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    say(format!("written: target/bench/{name}.json"));
    Ok(())
}

/// A figure of a line that a measured program printed.
fn figure(line: &Value, key: &str) -> Result<f64> {
    line[key]
        .as_f64()
        .with_context(|| format!("no {key} in {line}"))
}

/// The one in the middle; no number where there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Everything that is measured, built.
struct Programs {
    directory: PathBuf,
    release: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        let directory = root().join("target/bench");
        fs::create_dir_all(&directory)?;
        say("building the Go programs");
        let go = Go::find()?;
        let reference = root().join("tests/plugins");
        go.build(
            &root().join("plugins/hello-go"),
            ".",
            &directory.join("hello-go"),
        )?;
        go.build(&reference, "./gobench", &directory.join("gobench"))?;
        go.build(&reference, "./gogateway", &directory.join("gogateway"))?;
        go.build(&reference, "./gen3", &directory.join("gen3"))?;
        go.build_small(&reference, "./gen2", &directory.join("gen2"))?;
        say("building the Rust programs");
        run_command(cargo().args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "gk-bench",
            "--package",
            "gk-host",
            "--package",
            "hello-rust",
        ]))?;
        Ok(Self {
            directory,
            release: root().join("target/release"),
        })
    }

    /// A directory with plugins as hosts expect it: one per name, each a copy of a binary.
    fn plugins_dir(&self, name: &str, plugins: &[(&str, PathBuf)]) -> Result<PathBuf> {
        let directory = self.directory.join(name);
        // From an earlier run, perhaps with other plugins.
        let _ = fs::remove_dir_all(&directory);
        for (plugin, binary) in plugins {
            let place = directory.join(plugin);
            fs::create_dir_all(&place)?;
            fs::copy(binary, place.join(plugin))
                .with_context(|| format!("cannot copy {}", binary.display()))?;
            fs::set_permissions(place.join(plugin), fs::Permissions::from_mode(0o755))?;
            fs::write(
                place.join("plugin.yaml"),
                format!("name: {plugin}\nversion: \"1.0.0\"\nruntime: grpc\n"),
            )?;
        }
        Ok(directory)
    }

    /// A plugins directory with the Go sample.
    fn go_dir(&self) -> Result<PathBuf> {
        self.plugins_dir("plugins-go", &[("hello-go", self.hello_go())])
    }

    /// A plugins directory with the Rust sample.
    fn rust_dir(&self) -> Result<PathBuf> {
        self.plugins_dir("plugins-rust", &[("hello-rust", self.hello_rust())])
    }

    fn hello_go(&self) -> PathBuf {
        self.directory.join("hello-go")
    }

    fn hello_rust(&self) -> PathBuf {
        self.release.join("hello-rust")
    }

    fn gen3(&self) -> PathBuf {
        self.directory.join("gen3")
    }

    fn gobench(&self) -> PathBuf {
        self.directory.join("gobench")
    }

    fn gk_bench(&self) -> PathBuf {
        self.release.join("gk-bench")
    }
}
