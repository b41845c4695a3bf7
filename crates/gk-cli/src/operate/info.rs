//! `gk info`: all there is to see of a plugin.

use std::fmt::Write;

use clap::Args;
use clap_complete::ArgValueCompleter;
use gk_api::{Health, Operation, Plugin, PluginDetail, PluginInside};
use gk_manifest::Registration;
use serde::Serialize;

use super::{ago, complete_plugins, for_each, local, or_dash, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{BOLD, Terminal, styled};

/// Show a plugin: what it is, how it is, what it offers.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The plugins.
    #[arg(required = true, value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugins: Vec<String>,
}

#[derive(Serialize)]
struct Info {
    #[serde(flatten)]
    plugin: PluginDetail,
    health: Health,
}

pub(crate) fn run(
    args: &InfoArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let mut first = true;
    for_each(terminal, &args.plugins, |name| {
        let info = Info {
            plugin: host.get(Operation::GetPlugin, &[name], &[])?,
            health: host.get(Operation::Health, &[name], &[])?,
        };
        let separator = if std::mem::take(&mut first) { "" } else { "\n" };
        terminal.document(&info, name, || format!("{separator}{}", text(&info)))
    })
}

/// A line with a heading; nothing where there is nothing to tell.
fn line(text: &mut String, heading: &str, value: impl AsRef<str>) {
    let value = value.as_ref();
    if !value.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:<12} {value}", format!("{heading}:"));
    }
}

fn text(info: &Info) -> String {
    let PluginDetail {
        plugin,
        timeouts_ms,
        registration,
    } = &info.plugin;
    let inside = plugin.inside.clone().unwrap_or_default();
    let mut text = String::new();
    let name = plugin.name.clone().unwrap_or_default();
    let _ = writeln!(text, "{} {}", styled(BOLD, name), plugin.version);
    line(&mut text, "About", &plugin.description);
    line(&mut text, "Author", &plugin.author);
    line(&mut text, "License", &plugin.license);
    line(&mut text, "Homepage", &plugin.homepage);
    let mut how = state(&plugin.state);
    if plugin.loaded {
        let _ = write!(
            how,
            " for {}, generation {}",
            ago(plugin.running_since.as_deref()),
            plugin.generation
        );
        if let Some(pid) = inside.pid {
            let _ = write!(how, ", process {pid}");
        }
    }
    line(&mut text, "State", how);
    process(&mut text, &info.health, plugin, &inside);
    trust(&mut text, plugin, &inside);
    line(&mut text, "Directory", &inside.directory);
    if let Some(timeouts) = timeouts_ms {
        let seconds = |millis: u64| format!("{}s", millis / 1000);
        line(
            &mut text,
            "Timeouts",
            format!(
                "call {}, init {}, shutdown {}",
                seconds(timeouts.call),
                seconds(timeouts.init),
                seconds(timeouts.shutdown)
            ),
        );
    }
    for warning in &inside.warnings {
        line(&mut text, "Warning", warning);
    }
    offer(&mut text, plugin, registration.as_ref());
    text
}

/// Lines about the process, and about what follows it.
fn process(text: &mut String, health: &Health, plugin: &Plugin, inside: &PluginInside) {
    line(text, "Error", inside.error.as_deref().unwrap_or_default());
    if let Some(next) = &inside.next_start {
        line(text, "Next start", local(Some(next)));
    }
    if let Some(candidate) = &inside.candidate {
        let error = candidate.error.as_deref().unwrap_or("it is starting");
        line(
            text,
            "New version",
            format!("generation {}: {error}", candidate.generation),
        );
    }
    line(
        text,
        "Changed",
        inside.changed.as_deref().unwrap_or_default(),
    );
    if plugin.loaded {
        let word = match (health.healthy, health.degraded) {
            (_, true) => "degraded: its calls time out",
            (true, false) => "ok",
            (false, false) => "not answering",
        };
        line(
            text,
            "Health",
            format!(
                "{word}, looked at {} ago",
                ago(health.last_check.as_deref())
            ),
        );
    }
    if inside.crashes > 0 {
        line(text, "Crashes", format!("{} in a row", inside.crashes));
    }
    if plugin.loaded {
        line(
            text,
            "Last error",
            inside.last_error.as_deref().unwrap_or_default(),
        );
    }
}

/// Lines about the signature and the sandbox.
fn trust(text: &mut String, plugin: &Plugin, inside: &PluginInside) {
    let mut signature = plugin.signature.as_deref().map_or_else(String::new, state);
    if let Some(key) = &plugin.signing_key {
        let _ = write!(signature, " (key {key})");
    }
    line(text, "Signature", signature);
    if let Some(sandbox) = &inside.sandbox {
        let missing: Vec<_> = sandbox
            .layers
            .iter()
            .filter(|layer| !matches!(layer.state.as_str(), "enforced" | "off"))
            .map(|layer| layer.layer.as_str())
            .collect();
        line(
            text,
            "Sandbox",
            match missing.as_slice() {
                [] => "all layers hold".to_owned(),
                missing => format!("without {}; gk doctor says why", missing.join(", ")),
            },
        );
    }
}

/// Lists of what the plugin offers and asks for.
fn offer(text: &mut String, plugin: &Plugin, registration: Option<&Registration>) {
    let routes = plugin.routes.iter().flatten();
    for (number, route) in routes.enumerate() {
        let heading = if number == 0 { "Routes" } else { "" };
        let access = match route.middleware.as_slice() {
            [] => "anybody".to_owned(),
            middleware => middleware.join(", "),
        };
        list(
            text,
            heading,
            &format!("{:<6} {} ({access})", route.method, route.path),
        );
    }
    for (number, refused) in plugin.refused_routes.iter().enumerate() {
        let heading = if number == 0 { "Not served" } else { "" };
        list(
            text,
            heading,
            &format!("{:<6} {}: {}", refused.method, refused.path, refused.reason),
        );
    }
    for (number, widget) in plugin.widgets.iter().flatten().enumerate() {
        let heading = if number == 0 { "Widgets" } else { "" };
        list(
            text,
            heading,
            &format!(
                "{} {:?} at {}",
                widget.id,
                widget.title,
                or_dash(widget.location.clone())
            ),
        );
    }
    for (number, job) in plugin.jobs.iter().flatten().enumerate() {
        let heading = if number == 0 { "Jobs" } else { "" };
        list(text, heading, &format!("{} {}", job.id, job.schedule));
    }
    if let Some(registration) = registration {
        let asks: Vec<_> = registration
            .resources
            .iter()
            .flat_map(|resources| &resources.permissions)
            .map(super::permission)
            .collect();
        for (number, permission) in asks.iter().enumerate() {
            let heading = if number == 0 { "Asks for" } else { "" };
            list(text, heading, permission);
        }
    }
}

/// A line of several under a heading.
fn list(text: &mut String, heading: &str, value: &str) {
    let heading = match heading {
        "" => String::new(),
        heading => format!("{heading}:"),
    };
    let _ = writeln!(text, "{heading:<12} {value}");
}
