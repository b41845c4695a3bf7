//! `gk stats`: what plugins use, and how their calls go.

use clap::Args;
use clap_complete::ArgValueCompleter;
use gk_api::{Operation, Stats};

use super::{bytes, complete_plugins, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{Rows, Terminal};

/// Show what plugins have used since the host's start, and how their calls went.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// The plugins; all without one.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugins: Vec<String>,
}

impl Rows for Vec<Stats> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec![
            "NAME", "STATE", "MEMORY", "CPU", "CALLS", "FAILED", "P50", "P99",
        ];
        if wide {
            headings.extend([
                "RUNNING", "WAITING", "SHED", "QUERIES", "WRITES", "CACHE", "HTTP", "REFUSED",
            ]);
        }
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|stats| {
            let figures = &stats.figures;
            let mut cells = vec![
                stats.plugin_name.clone(),
                state(&stats.state),
                bytes(figures.memory_bytes),
                format!("{:.1}s", figures.cpu_seconds),
                figures.calls.to_string(),
                figures.failed.to_string(),
                millis(figures.p50_ms),
                millis(figures.p99_ms),
            ];
            if wide {
                let usage = stats.usage;
                let numbers = [
                    figures.in_flight,
                    figures.waiting,
                    figures.shed,
                    usage.db_queries,
                    usage.db_execs,
                    usage.cache_ops,
                    usage.http_requests,
                    usage.errors,
                ];
                cells.extend(numbers.map(|number| number.to_string()));
            }
            (stats.plugin_name.clone(), cells)
        });
        rows.collect()
    }
}

/// Milliseconds, to three digits.
pub(super) fn millis(time: Option<f64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < 10.0 => format!("{time:.2} ms"),
        Some(time) if time < 100.0 => format!("{time:.1} ms"),
        Some(time) => format!("{time:.0} ms"),
    }
}

pub(crate) fn run(
    args: &StatsArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    let stats: Vec<Stats> = match args.plugins.as_slice() {
        [] => host.get(Operation::AllStats, &[], &[])?,
        plugins => {
            let each = plugins
                .iter()
                .map(|plugin| host.get(Operation::Stats, &[plugin], &[]));
            each.collect::<Result<_, _>>()?
        }
    };
    terminal.data(&stats)
}
