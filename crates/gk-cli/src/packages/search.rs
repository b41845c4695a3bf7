//! `gk search` and `gk update`: what an index offers.

use clap::Args;
use clap_complete::ArgValueCompleter;
use gk_api::{HostInfo, Operation, Plugin};

use super::apply::Options;
use super::index::{Entry, IndexArgs, version};
use super::offered::{Purpose, of_index};
use crate::client::{ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::operate::{complete_plugins, for_each, or_dash};
use crate::terminal::{Rows, Terminal};

/// Search an index for plugins.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What to look for in names, descriptions and tags; all without it.
    #[arg(value_name = "TEXT", default_value = "")]
    text: String,
    #[command(flatten)]
    index: IndexArgs,
}

impl Rows for Vec<&Entry> {
    fn headings(wide: bool) -> Vec<&'static str> {
        match wide {
            false => vec!["NAME", "LATEST", "NEEDS HOST", "CATEGORY", "DESCRIPTION"],
            true => vec![
                "NAME",
                "LATEST",
                "NEEDS HOST",
                "CATEGORY",
                "VERSIONS",
                "AUTHOR",
                "LICENCE",
                "DESCRIPTION",
            ],
        }
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|entry| {
            let offers = entry.offers();
            let newest = offers.first();
            let mut cells = vec![
                entry.name.clone(),
                newest.map_or_else(|| "-".to_owned(), |offered| offered.version.clone()),
                or_dash(newest.map_or_else(String::new, |offered| entry.needs(offered))),
                or_dash(entry.category.clone()),
            ];
            if wide {
                let versions: Vec<_> = offers
                    .iter()
                    .map(|offered| offered.version.as_str())
                    .collect();
                cells.extend([
                    versions.join(" "),
                    or_dash(entry.author.clone()),
                    or_dash(entry.licence.clone()),
                ]);
            }
            cells.push(entry.description.clone());
            (entry.name.clone(), cells)
        });
        rows.collect()
    }
}

pub(crate) fn search(args: &SearchArgs, terminal: &Terminal) -> Result<(), Failure> {
    let index = args.index.load(terminal)?;
    let found = index.search(&args.text);
    if found.is_empty() {
        terminal.say(format_args!("Nothing in the index has {:?}.", args.text));
    }
    terminal.data(&found)
}

/// Update plugins to the newest version that an index offers and the host can run.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The plugins; all that the index has, without one.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugins: Vec<String>,
    /// Only say what would be updated.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    index: IndexArgs,
    #[command(flatten)]
    options: Options,
}

pub(crate) fn update(
    args: &UpdateArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let index = args.index.load(terminal)?;
    let host = Host::new(connect)?;
    let info: HostInfo = host.get(Operation::HostInfo, &[], &[])?;
    let installed: Vec<Plugin> = host.get(Operation::ListPlugins, &[], &[])?;
    let installed = |name: &str| {
        let of_name = |plugin: &&Plugin| plugin.name.as_deref() == Some(name);
        installed
            .iter()
            .find(of_name)
            .map(|plugin| plugin.version.clone())
    };
    let names: Vec<String> = match args.plugins.is_empty() {
        false => args.plugins.clone(),
        true => {
            let names = index.plugins.iter().map(|entry| entry.name.clone());
            names.filter(|name| installed(name).is_some()).collect()
        }
    };
    for_each(terminal, &names, |name| {
        let entry = index.get(name)?;
        let current = installed(name).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("{name} is not installed"),
                format!("gk install {name} installs it"),
            )
        })?;
        let offered = entry.choose(None, &info.version)?;
        let is_newer = match (version(&offered.version), version(&current)) {
            (Some(offered), Some(current)) => offered > current,
            // A text that is not a version cannot be compared, so the plugin is left alone.
            _ => false,
        };
        if !is_newer {
            return terminal.line(format_args!("{name} {current} is up to date"));
        }
        if args.dry_run {
            return terminal.line(format_args!(
                "{name} {current} would become {}",
                offered.version
            ));
        }
        of_index(
            &index,
            entry,
            &offered,
            Purpose::Update,
            &host,
            &args.options,
            terminal,
        )
    })
}
