//! The tree of commands, and the options that all of them have.

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::terminal::{OutputArgs, Terminal};

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 denied, 5 the host cannot be reached.";

/// Write, test, sign and ship GoatKit plugins, and operate the host that runs them.
#[derive(Debug, Parser)]
#[command(name = "gk", version, propagate_version = true, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the version.
    Version,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Command::Version => {
                terminal.line(format_args!("gk version {}", env!("CARGO_PKG_VERSION")))
            }
        }
    }
}
