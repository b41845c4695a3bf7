//! `gk context`: the hosts that are worked with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use crate::client::context::{Config, Context, complete_contexts, place};
use crate::failure::{Exit, Failure};
use crate::terminal::{Rows, Terminal};

/// Name hosts, and choose among them.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the hosts that have a name.
    #[command(alias = "ls")]
    List,
    /// Name a host, and choose it if it is the first.
    Set(Set),
    /// Choose the host that is meant if none is named.
    Use(Name),
    /// Forget a name.
    #[command(alias = "rm")]
    Remove(Name),
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name of the context.
    #[arg(value_name = "NAME")]
    name: String,
    /// The host: an URL, or unix:/path of its local socket.
    #[arg(value_name = "PLACE")]
    place: String,
    /// A file with the token, for its owner alone (0600).
    #[arg(long = "token", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Name of the context.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete_contexts))]
    name: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    current: bool,
    #[serde(flatten)]
    context: Context,
}

impl Rows for Vec<Row> {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["", "NAME", "HOST", "TOKEN"]
    }

    fn rows(&self, _: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|row| {
            let mark = if row.current { "*" } else { "" };
            let token = row.context.token_file.as_ref();
            let token = token.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
            let cells = vec![
                mark.to_owned(),
                row.name.clone(),
                row.context.url.clone(),
                token,
            ];
            (row.name.clone(), cells)
        });
        rows.collect()
    }
}

pub(crate) fn run(command: &ContextCommand, terminal: &Terminal) -> Result<(), Failure> {
    let mut config = Config::load()?;
    match command {
        ContextCommand::List => {
            let current = config.current.clone();
            let rows: Vec<_> = config
                .contexts
                .into_iter()
                .map(|(name, context)| Row {
                    current: current.as_ref() == Some(&name),
                    name,
                    context,
                })
                .collect();
            if rows.is_empty() {
                terminal.say("No host has a name; gk context set gives one.");
            }
            terminal.data(&rows)
        }
        ContextCommand::Set(args) => {
            place(&args.place)?;
            let token_file = match &args.token_file {
                None => None,
                Some(path) => Some(
                    std::path::absolute(path)
                        .map_err(|error| Failure::file("use", path, &error))?,
                ),
            };
            let context = Context {
                url: args.place.clone(),
                token_file,
            };
            config.contexts.insert(args.name.clone(), context);
            config.current.get_or_insert_with(|| args.name.clone());
            config.store()?;
            terminal.line(format_args!("{} is {}", args.name, args.place))
        }
        ContextCommand::Use(args) => {
            if !config.contexts.contains_key(&args.name) {
                return Err(unknown(&args.name));
            }
            config.current = Some(args.name.clone());
            config.store()?;
            terminal.line(format_args!("{} is the host that is meant now", args.name))
        }
        ContextCommand::Remove(args) => {
            if config.contexts.remove(&args.name).is_none() {
                return Err(unknown(&args.name));
            }
            config.current = config.current.filter(|current| *current != args.name);
            config.store()?;
            terminal.line(format_args!("{} is forgotten", args.name))
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!("there is no context {name:?}"),
        "gk context list shows those that there are",
    )
}
