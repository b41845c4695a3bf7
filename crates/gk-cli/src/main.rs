//! `gk`: write, test, sign and ship GoatKit plugins, and operate the host that runs them.
//!
//! | Module | What it is |
//! |---|---|
//! | `author` | a new plugin, a build, a check |
//! | `cli` | the tree of commands and the options that all of them have |
//! | `client` | the admin API, as a client sees it, and which host is meant |
//! | `develop` | a plugin that is being written: built on every save, or waiting for a debugger |
//! | `operate` | what an operator does |
//! | `probe`, `localhost` | a plugin's process without a host, and on a host of one's own |
//! | `packages` | packages on their way to a host, and what an index offers |
//! | `reference` | completions, man pages and docs/cli.md, from the tree |
//! | `failure` | why a command failed, what to do next, and the exit code |
//! | `terminal` | where data and messages go: formats, colours, tables |
//! | `trust` | keys, signatures, packages |
//!
//! The command talks to a host over its admin API alone. What it does with plugins itself (build,
//! sign, package, test) needs no host.

#![forbid(unsafe_code)]

mod author;
mod cli;
mod client;
mod develop;
mod failure;
mod localhost;
mod operate;
mod packages;
mod probe;
mod reference;
mod terminal;
mod trust;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use crate::cli::Cli;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    // Before all else: the keeper of sandboxes is this program, started once more.
    gk_sandbox::run_if_keeper();
    // A shell that asks what may follow is answered, and that is all.
    CompleteEnv::with_factory(Cli::command).complete();
    let cli = Cli::parse();
    let terminal = Terminal::new(&cli.output);
    match cli.command.run(&cli.connect, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit().into()
        }
    }
}
