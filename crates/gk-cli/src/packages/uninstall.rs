//! `gk uninstall`.

use clap::Args;
use clap_complete::ArgValueCompleter;
use gk_api::{Operation, UninstallReport};

use crate::client::{Body, ConnectArgs, Host};
use crate::failure::Failure;
use crate::operate::{complete_plugins, for_each};
use crate::terminal::Terminal;

/// Stop plugins and remove their packages.
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// The plugins.
    #[arg(required = true, value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugins: Vec<String>,
    /// Also remove what they stored: work directory, files, keys and values, secrets, policy.
    #[arg(long)]
    delete_data: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(
    args: &UninstallArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let query = [("keep_data", (!args.delete_data).to_string())];
    if args.delete_data && !args.yes {
        let names = args.plugins.join(", ");
        terminal.confirm(
            &format!("Remove {names} with all data? This cannot be undone."),
            "--yes",
        )?;
    }
    for_each(terminal, &args.plugins, |plugin| {
        let report: UninstallReport =
            host.send(Operation::Uninstall, &[plugin], &query, Body::Nothing)?;
        terminal.document(&report, plugin, || {
            let mut text = format!("{plugin} {} is uninstalled\n", report.version);
            for removed in &report.removed {
                text.push_str(&format!("  removed  {removed}\n"));
            }
            for kept in &report.kept {
                text.push_str(&format!("  kept     {kept}\n"));
            }
            text
        })
    })
}
