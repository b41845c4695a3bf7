//! `gk hosts`: the hosts that share their state.

use clap::Args;
use gk_api::{Operation, SharingHost};

use super::{ago, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{Rows, Terminal};

/// List the hosts that share their state with this one.
#[derive(Debug, Args)]
pub(crate) struct HostsArgs {}

impl Rows for Vec<SharingHost> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["NAME", "VERSION", "STATE", "RUNNING", "UP", "SEEN", "NOTE"];
        if wide {
            headings.insert(1, "ID");
        }
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        self.iter().map(|host| row(host, wide)).collect()
    }
}

fn row(host: &SharingHost, wide: bool) -> (String, Vec<String>) {
    let word = match (host.fresh, host.ready) {
        (false, _) => "gone",
        (true, true) => "ready",
        (true, false) => "not ready",
    };
    let running = host.plugins.values();
    let running = running.filter(|plugin| plugin.state == "running").count();
    let note = match (host.this, host.fresh && !host.current) {
        (_, true) => "has not taken note of every change yet",
        (true, false) => "answers this",
        (false, false) => "",
    };
    let mut cells = vec![
        host.name.clone(),
        host.version.clone(),
        state(word),
        format!("{running} of {}", host.plugins.len()),
        ago(host.started_at.as_deref()),
        ago(host.seen_at.as_deref()),
        note.to_owned(),
    ];
    if wide {
        cells.insert(1, host.id.clone());
    }
    (host.name.clone(), cells)
}

pub(crate) fn run(
    _: &HostsArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let hosts: Vec<SharingHost> = Host::new(connect)?.get(Operation::ListHosts, &[], &[])?;
    terminal.data(&hosts)
}
