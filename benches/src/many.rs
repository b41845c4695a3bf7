//! `gk-host serve` with many plugins.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::measure::print;
use crate::proc::{self, CpuTimes};
use crate::server::{self, Server};

/// Time between the last plugin's start and the measuring of the idle host, for what a start leaves
/// to be done.
const SETTLING: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many plugins.
    plugins: usize,
    /// A plugin that takes its name from its executable. A single plugin keeps the name of this
    /// file.
    program: PathBuf,
    /// Seconds for which the idle host is watched.
    #[arg(long, default_value_t = 10.0)]
    idle: f64,
}

/// Starts the host, watches it, ends it, and prints a JSON line. Its plugins are in a directory
/// `plugins-many` beside the program.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.plugins > 0, "there is at least one plugin");
    server::end_with_parent(None)?;
    let program = (arguments.program.canonicalize())
        .with_context(|| format!("cannot find {}", arguments.program.display()))?;
    // On the file system of the program, for the links to it.
    let directory = program.with_file_name("plugins-many");
    // From a run that was interrupted.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for number in 0..arguments.plugins {
        let name = match arguments.plugins {
            1 => program.file_name().context("no file name")?.into(),
            _ => std::ffi::OsString::from(format!("p{number:04}")),
        };
        let place = directory.join(&name);
        fs::create_dir(&place)?;
        // All plugins share one file: copies of a Go program would take gigabytes.
        fs::hard_link(&program, place.join(&name))
            .with_context(|| format!("cannot link to {}", program.display()))?;
        let name = name.display();
        let manifest = format!("name: {name}\nversion: \"1.0.0\"\nruntime: grpc\n");
        fs::write(place.join("plugin.yaml"), manifest)?;
    }
    let host = Server::gk_host(&directory)?;
    let ready = host.wait_running(arguments.plugins)?;
    let host_rss = proc::rss_kb(host.pid())?;
    let mut keeper_rss = 0;
    for keeper in proc::children(host.pid(), "gk-keeper")? {
        keeper_rss += proc::rss_kb(keeper)?;
    }
    let mut idle = None;
    let mut host_rss_idle = host_rss;
    if arguments.idle > 0.0 {
        std::thread::sleep(SETTLING);
        let (before, begun) = (CpuTimes::of(host.pid())?, Instant::now());
        std::thread::sleep(Duration::from_secs_f64(arguments.idle));
        let spent = CpuTimes::of(host.pid())?.since(&before);
        idle = Some(spent.as_secs_f64() / begun.elapsed().as_secs_f64());
        host_rss_idle = proc::rss_kb(host.pid())?;
    }
    let stopped = host.stop()?;
    fs::remove_dir_all(&directory)?;
    print(&json!({
        "plugins": arguments.plugins,
        "ready_s": ready.as_secs_f64(),
        "host_rss_kb": host_rss,
        "host_rss_idle_kb": host_rss_idle,
        "keeper_rss_kb": keeper_rss,
        "idle_cores": idle,
        "stop_s": stopped.as_secs_f64(),
    }))
}
