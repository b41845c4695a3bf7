//! `gk top`: a table that stays up to date.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use gk_api::{Operation, Stats};

use super::stats::millis;
use super::{bytes, state};
use crate::client::{ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::{BOLD, Terminal, styled, table};

/// Watch what plugins use and how many calls they take.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Interval between updates.
    #[arg(short = 'd', long, value_name = "DURATION", default_value = "2s")]
    delay: gk_manifest::GoDuration,
    /// End after this many looks.
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// Figures of one look.
struct Look {
    at: Instant,
    stats: BTreeMap<String, Stats>,
}

pub(crate) fn run(
    args: &TopArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let delay = args.delay.to_std().unwrap_or_default();
    if delay < Duration::from_millis(100) {
        return Err(Failure::new(
            Exit::Usage,
            format!("--delay is {}; it must be 100ms or more", args.delay),
            "leave it out for 2s",
        ));
    }
    let host = Host::new(connect)?;
    let live = std::io::stdout().is_terminal();
    let mut before: Option<Look> = None;
    let mut left = args.count;
    loop {
        let stats: Vec<Stats> = host.get(Operation::AllStats, &[], &[])?;
        let stats = stats
            .into_iter()
            .map(|stats| (stats.plugin_name.clone(), stats))
            .collect();
        let now = Look {
            at: Instant::now(),
            stats,
        };
        if live {
            terminal.clear()?;
        }
        let mut text = format!("{} {}\n\n", styled(BOLD, "gk top"), host.shown());
        text.push_str(&shown(&now, before.as_ref()));
        terminal.print(text)?;
        let _ = std::io::stdout().flush();
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            return Ok(());
        }
        before = Some(now);
        std::thread::sleep(delay);
    }
}

/// The busiest first.
fn shown(now: &Look, before: Option<&Look>) -> String {
    let mut rows: Vec<(f64, Vec<String>)> = now
        .stats
        .values()
        .map(|stats| {
            let figures = &stats.figures;
            let since = before.and_then(|before| {
                let earlier = before.stats.get(&stats.plugin_name)?;
                let seconds = now.at.duration_since(before.at).as_secs_f64();
                Some((&earlier.figures, seconds)).filter(|_| seconds > 0.0)
            });
            #[expect(clippy::cast_precision_loss, reason = "for people, to one digit")]
            let (cpu, rate, errors) = match since {
                None => (None, None, None),
                Some((earlier, seconds)) => (
                    // The plugin's processes may be others by now.
                    Some(((figures.cpu_seconds - earlier.cpu_seconds) / seconds * 100.0).max(0.0)),
                    Some(figures.calls.saturating_sub(earlier.calls) as f64 / seconds),
                    Some(figures.failed.saturating_sub(earlier.failed) as f64 / seconds),
                ),
            };
            let number = |value: Option<f64>, unit: &str| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}{unit}"))
            };
            let cells = vec![
                stats.plugin_name.clone(),
                state(&stats.state),
                number(cpu, "%"),
                bytes(figures.memory_bytes),
                number(rate, ""),
                number(errors, ""),
                figures.in_flight.to_string(),
                millis(figures.p99_ms),
            ];
            (cpu.unwrap_or_default(), cells)
        })
        .collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    let rows: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
    table(
        &[
            "NAME", "STATE", "CPU", "MEMORY", "CALLS/S", "ERRORS/S", "RUNNING", "P99",
        ],
        &rows,
    )
}
