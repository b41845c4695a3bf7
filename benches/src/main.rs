//! One measured system per process: `gk-bench host|goplugin|raw`, driven by `cargo xtask bench`.
//!
//! Each reads lines `PAYLOAD CALLERS SECONDS` and answers each with a JSON line, so that the driver
//! can interleave the systems within one run. The Go side has the same in `tests/plugins/gobench`.
//! `starts` does so for starts of plugins; `many` and `route` measure processes: `gk-host serve`,
//! and the Go gateway beside it.

#![forbid(unsafe_code)]

mod callback;
mod goplugin_host;
mod host;
mod load;
mod many;
mod measure;
mod proc;
mod raw;
mod route;
mod server;
mod start;
mod starts;

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
        /// Only start so many processes, and report the first start and the memory.
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
    /// Starts of plugins as lines of stdin ask for them, confined and verified: `unsigned DIR` or
    /// `signed DIR`.
    Starts,
    /// A host with many plugins: until they are up, memory, idling, until they are ended.
    Many(many::Arguments),
    /// Requests to a route of a plugin, our gateway and the Go one in turn.
    Route(route::Arguments),
    /// Requests over connections that are kept, one at a time on each, from one thread.
    Load(load::Arguments),
    /// Runs a program that is told to end (SIGTERM) when the process that started this one is gone.
    #[command(hide = true)]
    Tied {
        /// The child process.
        parent: i32,
        /// The program.
        program: PathBuf,
        /// What it is given.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
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
        System::Starts => measure::runtime(Some(host::threads()))?.block_on(starts::run()),
        System::Many(arguments) => many::run(&arguments),
        System::Route(arguments) => route::run(&arguments),
        System::Load(arguments) => load::print(&arguments),
        System::Tied {
            parent,
            program,
            arguments,
        } => server::tied(parent, &program, &arguments),
        System::Raw => raw::run(),
        System::RawPeer { socket } => raw::peer(&socket),
    };
    measured.map(|()| ExitCode::SUCCESS)
}
