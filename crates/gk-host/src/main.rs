//! The GoatKit plugin host: `gk-host serve`.
//!
//! This binary puts the libraries together: configuration, telemetry, signals. The functionality is
//! in the libraries.

#![forbid(unsafe_code)]

mod access;
mod backup;
mod cluster;
mod config;
mod data;
mod doctor;
mod front;
mod idle;
mod insight;
mod jobs;
mod lock;
mod observe;
mod otlp;
mod reread;
mod sandbox;
mod sections;
mod serve;
mod service;
mod services;
mod signatures;
mod sources;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs native GoatKit plugins as separate processes and serves their routes.
#[derive(Debug, Parser)]
#[command(name = "gk-host", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts all plugins of a directory and serves them over HTTP
    Serve(config::ServeArgs),
    /// Copies what is in the data directory of a host, which may be running, into one file
    Backup(backup::BackupArgs),
    /// Makes a data directory of a backup
    Restore(backup::RestoreArgs),
    /// Says which layers of the sandbox this machine enforces, and how to get the missing ones
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    // First of all: the keeper of sandboxes is this program, started once more.
    gk_runtime::run_if_keeper();
    let outcome = match Cli::parse().command {
        Command::Serve(args) => config::Config::load(&args)
            .and_then(|config| serve::run(args, config))
            .map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => doctor::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let text = format!("gk-host: {error:#}\n");
            // An error here has no other channel to be reported on.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            ExitCode::FAILURE
        }
    }
}
