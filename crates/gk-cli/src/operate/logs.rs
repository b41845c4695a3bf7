//! `gk logs` and `gk events`: what plugins say, and publish.

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use gk_api::{LogEntry, LogPage, Operation};

use super::{complete_plugins, local, since};
use crate::client::{ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::{BAD, DIM, Format, Terminal, WARN, styled};

/// Show what a plugin logged and printed.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The plugin.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugin: String,
    /// Go on with what it says from now on.
    #[arg(short, long)]
    follow: bool,
    /// Only entries from this time on: a time, or how long ago, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    /// Only entries at least this serious.
    #[arg(long, value_enum, value_name = "LEVEL")]
    level: Option<Level>,
    /// Only entries with this text.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// At most this many entries that are there already, the newest ones, up to 1000.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tail: u16,
}

/// Levels, as plugins have them.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

pub(crate) fn run(
    args: &LogsArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let plugin = args.plugin.as_str();
    let mut query = vec![("limit", args.tail.to_string())];
    if let Some(since) = &args.since {
        query.push(("since", since.clone()));
    }
    if let Some(level) = args.level {
        let word = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        query.push(("level", word.to_owned()));
    }
    if let Some(text) = &args.grep {
        query.push(("contains", text.clone()));
    }
    if args.follow {
        query.push(("follow", "true".to_owned()));
        let ended = host.follow(Operation::Logs, &[plugin], &query, |event| {
            if event.kind == "log"
                && let Ok(entry) = serde_json::from_str::<LogEntry>(&event.data)
            {
                print(&entry, terminal)?;
            }
            Ok(true)
        })?;
        return match ended {
            false => Ok(()),
            true => Err(Failure::new(
                Exit::Failed,
                "the host has ended the stream: it stops, or the plugin or the token is gone",
                "follow it again when the host is there",
            )),
        };
    }
    let page: LogPage = host.get(Operation::Logs, &[plugin], &query)?;
    if terminal.format() == Format::Yaml {
        return terminal.document(&page, plugin, String::new);
    }
    page.logs
        .iter()
        .try_for_each(|entry| print(entry, terminal))
}

/// Prints a line for each entry, also in JSON, because a log that is followed comes one by one.
pub(crate) fn print(entry: &LogEntry, terminal: &Terminal) -> Result<(), Failure> {
    if terminal.format() == Format::Json {
        return terminal.line(serde_json::to_string(entry).unwrap_or_default());
    }
    let style = match entry.level.as_str() {
        "error" => BAD,
        "warn" => WARN,
        "info" => anstyle::Style::new(),
        _ => DIM,
    };
    let fields: String = entry
        .fields
        .iter()
        .map(|(name, value)| format!(" {}={value}", styled(DIM, name)))
        .collect();
    let source = match (terminal.format(), entry.source.as_str()) {
        (Format::Wide, source) => format!(" {source}#{}", entry.generation),
        (_, "host") => " host:".to_owned(),
        _ => String::new(),
    };
    terminal.line(format_args!(
        "{} {}{source} {}{fields}",
        styled(DIM, local(entry.timestamp.as_deref())),
        styled(style, format_args!("{:<5}", entry.level)),
        entry.message
    ))
}

/// Follow the events that a plugin publishes.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The plugin.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugin: String,
    /// Only those of this channel; without it, those without a channel.
    #[arg(value_name = "CHANNEL")]
    channel: Option<String>,
    /// End after this many events.
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
}

pub(crate) fn events(
    args: &EventsArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let mut left = args.count;
    let (operation, path) = match &args.channel {
        None => (Operation::Events, vec![args.plugin.as_str()]),
        Some(channel) => (
            Operation::Channel,
            vec![args.plugin.as_str(), channel.as_str()],
        ),
    };
    host.follow(operation, &path, &[], |event| {
        if event.kind == "connected" {
            terminal.say("Connected; interrupt to end.");
            return Ok(true);
        }
        match terminal.format() {
            Format::Json => {
                let data = serde_json::from_str(&event.data)
                    .unwrap_or_else(|_| serde_json::Value::from(event.data.clone()));
                let json = serde_json::json!({ "id": event.id, "event": event.kind, "data": data });
                terminal.line(json)?;
            }
            _ => terminal.line(format_args!("{} {}", styled(DIM, &event.kind), event.data))?,
        }
        left = left.map(|left| left.saturating_sub(1));
        Ok(left != Some(0))
    })
    .map(drop)
}
