//! `gk ps`: the plugins of a host.

use clap::Args;
use gk_api::{Operation, Plugin};

use super::{ago, or_dash, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{Rows, Terminal};

/// List the plugins of the host.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only those in this state, such as failed.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

impl Rows for Vec<Plugin> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "VERSION", "STATE", "SIGNATURE", "GEN", "UP"];
        if wide {
            headings.extend(["PID", "CRASHES", "ROUTES", "DIRECTORY"]);
        }
        headings.push("NOTE");
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        self.iter().map(|plugin| row(plugin, wide)).collect()
    }
}

fn row(plugin: &Plugin, wide: bool) -> (String, Vec<String>) {
    let inside = plugin.inside.clone().unwrap_or_default();
    let name = plugin.name.clone().unwrap_or_else(|| {
        // A directory without a plugin.
        let directory = std::path::Path::new(&inside.directory).file_name();
        directory.map_or_else(String::new, |name| format!("({})", name.to_string_lossy()))
    });
    let mut cells = vec![
        name.clone(),
        or_dash(plugin.version.clone()),
        state(&plugin.state),
        plugin
            .signature
            .as_deref()
            .map_or_else(|| "-".to_owned(), state),
        plugin.generation.to_string(),
        ago(plugin.running_since.as_deref()),
    ];
    if wide {
        let routes = plugin.routes.as_ref().map_or(0, Vec::len);
        cells.extend([
            inside
                .pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            inside.crashes.to_string(),
            routes.to_string(),
            or_dash(inside.directory.clone()),
        ]);
    }
    cells.push(note(plugin));
    (name, cells)
}

/// A remark on a plugin, in one line.
pub(super) fn note(plugin: &Plugin) -> String {
    let Some(inside) = &plugin.inside else {
        return String::new();
    };
    if let Some(error) = &inside.error {
        return error.lines().next().unwrap_or_default().to_owned();
    }
    match (&inside.candidate, inside.changed.as_deref()) {
        (Some(candidate), _) if candidate.error.is_some() => {
            "a new version does not come up; gk info says why".to_owned()
        }
        (Some(_), _) => "a new version is starting".to_owned(),
        (None, Some(changed)) => format!("{changed} has changed; gk reload takes it"),
        (None, None) => match plugin.refused_routes.len() {
            0 => String::new(),
            refused => format!("{refused} routes are not served; gk info says why"),
        },
    }
}

pub(crate) fn run(
    args: &PsArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let mut plugins: Vec<Plugin> = host.get(Operation::ListPlugins, &[], &[])?;
    if let Some(state) = &args.state {
        plugins.retain(|plugin| plugin.state == *state);
    }
    if plugins.is_empty() {
        terminal.say(match args.state {
            Some(_) => "There is no plugin in that state.",
            None => "There are no plugins yet; gk install adds one.",
        });
    }
    terminal.data(&plugins)
}
