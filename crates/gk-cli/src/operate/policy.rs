//! `gk policy`: what plugins ask for, and what they are granted.

use std::fmt::Write;
use std::io::Read;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use gk_api::{Operation, PolicyDiff, PolicyView};
use serde_json::{Value, json};

use super::{complete_plugins, for_each, permission, state};
use crate::client::{Body, ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::{BAD, BOLD, GOOD, Terminal, WARN, styled};

/// Look at policies, and set them.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show what a plugin asks for, what it is granted, and what it has used.
    Show(Names),
    /// Show what a plugin asks for held against what it is granted.
    Diff(Names),
    /// Grant a plugin what it asks for at this moment.
    Approve(Approve),
    /// Store a policy, in JSON or YAML, from a file, or from stdin with -.
    Set(Set),
    /// Forbid a plugin everything, and end it.
    Block(Names),
    /// Remove the stored policy: the default applies again.
    Reset(Names),
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The plugins.
    #[arg(required = true, value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugins: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    names: Names,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The plugin.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugin: String,
    /// The file with the policy; what gk policy show -o json, or -o yaml, prints is taken, too.
    #[arg(value_name = "FILE")]
    file: String,
}

pub(crate) fn run(
    command: &PolicyCommand,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    match command {
        PolicyCommand::Show(names) => for_each(terminal, &names.plugins, |plugin| {
            let view: PolicyView = host.get(Operation::GetPolicy, &[plugin], &[])?;
            terminal.document(&view, plugin, || shown(&view))
        }),
        PolicyCommand::Diff(names) => for_each(terminal, &names.plugins, |plugin| {
            let diff: PolicyDiff = host.get(Operation::DiffPolicy, &[plugin], &[])?;
            terminal.document(&diff, plugin, || compared(&diff))
        }),
        PolicyCommand::Approve(args) => for_each(terminal, &args.names.plugins, |plugin| {
            approve(&host, plugin, args.yes, terminal)
        }),
        PolicyCommand::Set(args) => set(&host, args, terminal),
        PolicyCommand::Block(names) => for_each(terminal, &names.plugins, |plugin| {
            put(&host, plugin, json!({ "status": "blocked" }))?;
            terminal.line(format_args!("{plugin} is blocked"))
        }),
        PolicyCommand::Reset(names) => for_each(terminal, &names.plugins, |plugin| {
            host.raw(Operation::ResetPolicy, &[plugin], &[], Body::Nothing)?;
            terminal.line(format_args!(
                "the stored policy of {plugin} is removed; the default applies"
            ))
        }),
    }
}

fn put(host: &Host, plugin: &str, policy: Value) -> Result<PolicyView, Failure> {
    host.send(Operation::SetPolicy, &[plugin], &[], Body::Json(policy))
}

/// Grants what was looked at, and nothing that the plugin asks for by the time it is granted.
fn approve(host: &Host, plugin: &str, yes: bool, terminal: &Terminal) -> Result<(), Failure> {
    let diff: PolicyDiff = host.get(Operation::DiffPolicy, &[plugin], &[])?;
    if diff.missing.is_empty() && diff.granted.is_empty() {
        terminal.warn(format_args!(
            "{plugin} asks for nothing: what it is to have, its author adds to resources.permissions in plugin.yaml"
        ));
    } else if !yes {
        terminal.say(compared(&diff).trim_end());
        terminal.confirm(&format!("Grant {plugin} all it asks for?"), "--yes")?;
    }
    let view = put(host, plugin, diff.approval)?;
    for clamped in &view.clamped {
        terminal.warn(clamped);
    }
    let granted = view.policy.permissions.len();
    terminal.line(format_args!(
        "{plugin} is approved, with {granted} permissions"
    ))
}

fn set(host: &Host, args: &Set, terminal: &Terminal) -> Result<(), Failure> {
    let mut text = String::new();
    match args.file.as_str() {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(path).map(|read| text = read),
    }
    .map_err(|error| Failure::file("read", args.file.as_ref(), &error))?;
    // JSON is YAML, too.
    let policy: Value = serde_saphyr::from_str(&text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("{} is neither JSON nor YAML: {error}", args.file),
            "write a policy as gk policy show -o json, or -o yaml, prints it",
        )
    })?;
    let view = put(host, &args.plugin, policy)?;
    for clamped in &view.clamped {
        terminal.warn(clamped);
    }
    let plugin = &args.plugin;
    terminal.line(format_args!(
        "the policy of {plugin} is set: {}",
        status(&view)
    ))
}

/// The status of a policy, in JSON's word.
fn status(view: &PolicyView) -> String {
    let status = serde_json::to_value(view.policy.status).unwrap_or_default();
    status.as_str().unwrap_or_default().to_owned()
}

fn shown(view: &PolicyView) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {} ({})",
        styled(BOLD, &view.plugin_name),
        state(&status(view)),
        view.origin.as_str()
    );
    section(
        &mut text,
        "Granted:",
        view.policy.permissions.iter().map(permission),
    );
    section(
        &mut text,
        "Asked for:",
        view.requested.permissions.iter().map(permission),
    );
    let policy = serde_json::to_value(&view.policy).unwrap_or_default();
    let limits = policy.as_object().into_iter().flatten();
    let limits = limits.filter(|(name, value)| {
        !matches!(name.as_str(), "status" | "permissions") && **value != json!(0)
    });
    let limits = limits.map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{name} {value}")
    });
    section(&mut text, "Limits:", limits);
    let usage = view.usage;
    section(
        &mut text,
        "Used:",
        [format!(
            "{} requests: {} queries, {} writes, {} cache, {} HTTP, {} calls; {} refused",
            usage.requests,
            usage.db_queries,
            usage.db_execs,
            usage.cache_ops,
            usage.http_requests,
            usage.calls,
            usage.errors
        )],
    );
    text
}

fn section(text: &mut String, heading: &str, lines: impl IntoIterator<Item = String>) {
    let mut heading = Some(heading);
    for line in lines {
        if let Some(heading) = heading.take() {
            let _ = writeln!(text, "{heading}");
        }
        let _ = writeln!(text, "  {line}");
    }
}

fn compared(diff: &PolicyDiff) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {}",
        styled(BOLD, &diff.plugin_name),
        state(&diff.status)
    );
    let mut lines = Vec::new();
    for granted in &diff.granted {
        lines.push(format!(
            "{} {}",
            styled(GOOD, "granted  "),
            permission(granted)
        ));
    }
    for missing in &diff.missing {
        lines.push(format!(
            "{} {}",
            styled(BAD, "missing  "),
            permission(missing)
        ));
    }
    for extra in &diff.extra {
        lines.push(format!(
            "{} {}",
            styled(WARN, "not asked"),
            permission(extra)
        ));
    }
    for limit in &diff.limits {
        lines.push(format!(
            "{} {}: {}, asked for {}",
            styled(WARN, "limit    "),
            limit.limit,
            limit.granted,
            limit.asked
        ));
    }
    if lines.is_empty() {
        lines.push("it asks for nothing, and has nothing".to_owned());
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    if !diff.missing.is_empty() {
        let _ = writeln!(
            text,
            "gk policy approve {} grants what is missing.",
            diff.plugin_name
        );
    }
    text
}
