//! `gk audit`: who changed what.

use clap::Args;
use gk_api::{AuditEntry, AuditPage, Operation};

use super::{local, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{Rows, Terminal};

/// Show who changed what, newest first.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only changes of this plugin, or of the token with this number.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Only changes of this kind, such as set_policy.
    #[arg(long, value_name = "CHANGE")]
    change: Option<String>,
    /// Only changes that this login asked for.
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    /// Only entries before this number.
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// At most this many entries.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

impl Rows for Vec<AuditEntry> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["ID", "TIME", "WHO", "FROM", "CHANGE", "TARGET", "OUTCOME"];
        if wide {
            headings.extend(["BEFORE", "AFTER"]);
        }
        headings.push("ERROR");
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|entry| {
            let mut cells = vec![
                entry.id.to_string(),
                local(Some(&entry.at)),
                entry.actor.login.clone(),
                entry
                    .actor
                    .address
                    .clone()
                    .unwrap_or_else(|| "this machine".to_owned()),
                entry.change.as_str().to_owned(),
                entry.target.clone(),
                state(&entry.outcome),
            ];
            if wide {
                cells.extend([entry.before.to_string(), entry.after.to_string()]);
            }
            cells.push(entry.error.clone().unwrap_or_default());
            (entry.id.to_string(), cells)
        });
        rows.collect()
    }
}

pub(crate) fn run(
    args: &AuditArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let mut query = vec![("limit", args.limit.to_string())];
    for (name, value) in [
        ("target", &args.target),
        ("change", &args.change),
        ("login", &args.login),
    ] {
        if let Some(value) = value {
            query.push((name, value.clone()));
        }
    }
    if let Some(before) = args.before {
        query.push(("before", before.to_string()));
    }
    let page: AuditPage = host.get(Operation::Audit, &[], &query)?;
    terminal.data(&page.entries)?;
    if let Some(next) = page.next {
        terminal.say(format_args!("There are older ones: --before {next}"));
    }
    Ok(())
}
