//! One measured system per process: `gk-bench host|goplugin|raw`, driven by `cargo xtask bench`.
//!
//! Each reads lines `PAYLOAD CALLERS SECONDS` and answers each with a JSON line, so that the driver can
//! interleave the systems within one run. The Go side has the same in `tests/plugins/gobench`.

#![forbid(unsafe_code)]

mod callback;
mod goplugin_host;
mod host;
mod measure;
mod raw;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    system: System,
}

#[derive(Subcommand)]
enum System {
    /// Our runtime, with the one plugin of a directory.
    Host {
        /// The plugins directory.
        plugins_dir: PathBuf,
    },
    /// The crate `goplugin` as host.
    Goplugin {
        /// The plugin's executable.
        plugin: PathBuf,
        /// Only start so many processes and report the memory.
        #[arg(long)]
        instances: Option<usize>,
    },
    /// A plugin's requests to the host API, beside plain calls.
    Callback {
        /// How often all of it is measured.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Calls and requests of each kind in a round.
        #[arg(long, default_value_t = 5000)]
        count: usize,
    },
    /// What the sandbox costs at a start and per call.
    Start {
        /// The plugins directory, with one plugin.
        plugins_dir: PathBuf,
        /// Starts of each kind.
        #[arg(long, default_value_t = 40)]
        rounds: usize,
    },
    /// Two processes and a Unix socket, without any protocol.
    Raw,
    /// The other end of `raw`.
    #[command(hide = true)]
    RawPeer {
        /// The socket to connect to.
        socket: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    gk_runtime::run_if_keeper();
    if std::env::var_os("GOATKIT_PLUGIN").is_some() {
        return Ok(callback::plugin().run());
    }
    let measured = match Cli::parse().system {
        System::Host { plugins_dir } => {
            measure::runtime(Some(host::threads()))?.block_on(host::run(plugins_dir))
        }
        System::Goplugin { plugin, instances } => {
            measure::runtime(None)?.block_on(goplugin_host::run(plugin, instances))
        }
        System::Callback { rounds, count } => {
            measure::runtime(Some(host::threads()))?.block_on(callback::run(rounds, count))
        }
        System::Start {
            plugins_dir,
            rounds,
        } => measure::runtime(Some(host::threads()))?.block_on(start::run(plugins_dir, rounds)),
        System::Raw => raw::run(),
        System::RawPeer { socket } => raw::peer(&socket),
    };
    measured.map(|()| ExitCode::SUCCESS)
}
