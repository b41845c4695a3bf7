//! Orders to plugins: enable, disable, reload, restart, reset, rollback.

use clap::Args;
use clap_complete::ArgValueCompleter;
use gk_api::{Operation, Outcome, OutcomeWord};
use serde::Serialize;

use super::{complete_plugins, for_each};
use crate::client::{Body, ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::{Format, Terminal};

/// Maximum time that an order waits for its outcome.
const WAIT_DEFAULT: &str = "30s";

/// Options of all orders.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// The plugins.
    #[arg(required = true, value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugins: Vec<String>,
    /// How long to wait for the outcome, at most 2m; 0s does not wait.
    #[arg(long, value_name = "DURATION", default_value = WAIT_DEFAULT)]
    wait: gk_manifest::GoDuration,
}

/// Options of `gk reload`.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Start what is there also if it is what runs.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct OrderOutcome<'a> {
    plugin: &'a str,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Lets plugins run, or ends them, or starts them anew.
pub(crate) fn run(
    operation: Operation,
    args: &OrderArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    order(operation, args, &[], connect, terminal)
}

pub(crate) fn reload(
    args: &ReloadArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let force = [("force", args.force.to_string())];
    order(
        Operation::ReloadPlugin,
        &args.order,
        &force,
        connect,
        terminal,
    )
}

fn order(
    operation: Operation,
    args: &OrderArgs,
    query: &[(&str, String)],
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let mut query = query.to_vec();
    query.push(("wait", args.wait.to_string()));
    for_each(terminal, &args.plugins, |plugin| {
        let outcome: Outcome = host.send(operation, &[plugin], &query, Body::Nothing)?;
        tell(plugin, outcome, terminal)
    })
}

/// Prints what came of an order; an outcome that nobody wanted is a failure.
pub(crate) fn tell(plugin: &str, outcome: Outcome, terminal: &Terminal) -> Result<(), Failure> {
    let generation = outcome.generation.unwrap_or_default();
    let (word, error) = (outcome.outcome, outcome.error.clone());
    match terminal.format() {
        Format::Json | Format::Yaml | Format::Name => {
            let told = OrderOutcome { plugin, outcome };
            terminal.document(&told, plugin, String::new)?;
        }
        Format::Table | Format::Wide if error.is_none() => {
            let text = match word {
                OutcomeWord::Serving => format!("{plugin} is running, generation {generation}"),
                OutcomeWord::Starting => format!("{plugin} is starting"),
                OutcomeWord::Stopping => format!("{plugin} is stopping"),
                OutcomeWord::Stopped => format!("{plugin} is stopped"),
                OutcomeWord::Waiting => format!("{plugin} waits"),
                OutcomeWord::Failed => format!("{plugin} failed"),
            };
            terminal.line(text)?;
        }
        Format::Table | Format::Wide => {}
    }
    match error {
        None => Ok(()),
        Some(error) => Err(Failure::new(
            Exit::Failed,
            error,
            match word {
                OutcomeWord::Stopped => format!(
                    "gk info {plugin} says which; gk enable or gk policy approve lets it run"
                ),
                _ => format!("gk logs {plugin} shows what it printed"),
            },
        )),
    }
}
