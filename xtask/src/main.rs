//! The project's own commands: `cargo xtask <command>`. One module per command.
#![forbid(unsafe_code)]

mod command;
mod go;
mod golden;
mod layers;
mod plugins;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "xtask",
    about = "The project's own commands",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check who may import whom: the floors and nevers of docs/architecture.md.
    Layers,
    /// Build the sample plugins, each into a directory of its own with its plugin.yaml.
    BuildPlugins {
        /// Where the plugin directories go.
        #[arg(long, default_value = "target/plugins")]
        out: PathBuf,
    },
    /// Vet and test the Go modules: the SDK, its sample and the reference programs.
    TestGo,
    /// Compare the golden gob vectors with what the Go at hand encodes.
    Golden {
        /// Compare only; vectors are never rewritten by this command.
        #[arg(long, required = true)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Layers => layers::run(),
        Command::BuildPlugins { out } => plugins::build(&command::root().join(out)),
        Command::TestGo => plugins::test_go(),
        Command::Golden { check: _ } => golden::check(),
    }
}
