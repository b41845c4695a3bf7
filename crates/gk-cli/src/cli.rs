//! The tree of commands, and the options that all of them have.

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::terminal::{OutputArgs, Terminal};
use crate::{author, trust};

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
    /// Create a plugin.
    Init(author::init::InitArgs),
    /// Build a plugin's program.
    Build(author::build::BuildArgs),
    /// Say what is wrong with a plugin, and where.
    Validate(author::validate::ValidateArgs),
    /// Make keys to sign with, and look at them.
    #[command(subcommand)]
    Keys(trust::keys::KeysCommand),
    /// Sign a plugin, or a file.
    Sign(trust::sign::SignArgs),
    /// Say what a plugin's signature is worth.
    Verify(trust::verify::VerifyArgs),
    /// Pack a plugin into a ZIP file.
    Package(trust::package::PackageArgs),
    /// Commands under the names of GoatFlow's tool.
    #[command(subcommand)]
    Plugin(author::init::PluginCommand),
    /// Print the version.
    Version,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            Command::Init(args) => args.run(terminal),
            Command::Build(args) => args.run(terminal),
            Command::Validate(args) => args.run(terminal),
            Command::Keys(command) => command.run(terminal),
            Command::Sign(args) => args.run(terminal),
            Command::Verify(args) => args.run(terminal),
            Command::Package(args) => args.run(terminal),
            Command::Plugin(command) => command.run(terminal),
            Command::Version => {
                terminal.line(format_args!("gk version {}", env!("CARGO_PKG_VERSION")))
            }
        }
    }
}
