//! Calls: every system, payload and number of callers in each round.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::memory::Memory;
use super::process::System;
use super::promises::{Limit, Promises};
use super::{Programs, figure, median, write};
use crate::chart;
use crate::command::{root, say};

/// The systems, the one that the others are compared with first.
const SYSTEMS: [&str; 5] = ["go", "gk-go", "gk-rust", "goplugin", "raw"];

pub(crate) const PAYLOADS: [usize; 4] = [64, 1024, 64 * 1024, 1024 * 1024];
pub(crate) const CALLERS: [usize; 3] = [1, 16, 64];

/// The figures of one system in one round.
#[derive(Debug, Clone, Copy)]
struct Row {
    p50_us: f64,
    p99_us: f64,
    calls_per_s: f64,
}

fn p50(row: &Row) -> f64 {
    row.p50_us
}

fn rate(row: &Row) -> f64 {
    row.calls_per_s
}

/// The rounds of each system, payload and number of callers.
pub(crate) struct Calls(BTreeMap<(&'static str, usize, usize), Vec<Row>>);

/// A ratio to the Go host that the project promises.
type Promise = (
    &'static str,
    usize,
    usize,
    fn(&Row) -> f64,
    &'static str,
    Limit,
);

const PROMISES: &[Promise] = &[
    ("gk-go", 64, 1, p50, "p50", Limit::AtMost(0.75)),
    ("gk-go", 64 * 1024, 1, p50, "p50", Limit::AtMost(0.5)),
    ("gk-go", 64, 64, rate, "calls/s", Limit::AtLeast(1.5)),
    ("gk-rust", 64, 1, p50, "p50", Limit::AtMost(0.6)),
    ("gk-rust", 64, 64, rate, "calls/s", Limit::AtLeast(3.0)),
    (
        "gk-rust",
        1024 * 1024,
        1,
        rate,
        "calls/s",
        Limit::AtLeast(3.0),
    ),
];

pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Calls> {
    let (seconds, rounds) = if quick { (0.2, 3) } else { (0.5, 9) };
    let (go_dir, rust_dir) = (programs.go_dir()?, programs.rust_dir()?);
    let (hello_go, bench) = (programs.hello_go(), programs.gk_bench());
    let start = |system: &str| match system {
        "go" => System::start(
            &programs.gobench(),
            &["-stdin".as_ref(), "-plugin".as_ref(), hello_go.as_ref()],
        ),
        "gk-go" => System::start(&bench, &["host".as_ref(), go_dir.as_ref()]),
        "gk-rust" => System::start(&bench, &["host".as_ref(), rust_dir.as_ref()]),
        "goplugin" => System::start(&bench, &["goplugin".as_ref(), hello_go.as_ref()]),
        _ => System::start(&bench, &["raw".as_ref()]),
    };
    let mut samples: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for round in 1..=rounds {
        // New processes in each round, so that a lucky or unlucky start does not count for all.
        let mut running = Vec::new();
        for name in SYSTEMS {
            running.push((name, start(name)?));
        }
        for payload in PAYLOADS {
            for callers in CALLERS {
                say(format!(
                    "round {round} of {rounds}: {payload} bytes, {callers} callers"
                ));
                for (name, system) in &mut running {
                    let line = system
                        .ask(&format!("{payload} {callers} {seconds}"))
                        .with_context(|| format!("measuring {name}"))?;
                    let row = Row {
                        p50_us: figure(&line, "p50_us")?,
                        p99_us: figure(&line, "p99_us")?,
                        calls_per_s: figure(&line, "calls_per_s")?,
                    };
                    let rows = samples.entry((*name, payload, callers)).or_default();
                    rows.push(row);
                }
            }
        }
    }
    Ok(Calls(samples))
}

impl Calls {
    fn rows(&self, system: &'static str, payload: usize, callers: usize) -> &[Row] {
        self.0
            .get(&(system, payload, callers))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The median of the ratios within each round: its systems run one after the other. Their own
    /// medians scatter more.
    fn ratio(
        &self,
        (system, to): (&'static str, &'static str),
        payload: usize,
        callers: usize,
        what: fn(&Row) -> f64,
    ) -> f64 {
        let (rows, others) = (
            self.rows(system, payload, callers),
            self.rows(to, payload, callers),
        );
        median(
            rows.iter()
                .zip(others)
                .map(|(row, other)| what(row) / what(other))
                .collect(),
        )
    }

    /// Calls per second relative to the Go host.
    pub(crate) fn rate_to_go(&self, system: &'static str, payload: usize, callers: usize) -> f64 {
        self.ratio((system, "go"), payload, callers, rate)
    }

    pub(super) fn print(&self, promises: &mut Promises) {
        println!(
            "{:>9} {:>7}  {:<9} {:>11} {:>7} {:>11} {:>12} {:>7}",
            "payload", "callers", "system", "p50 µs", "/go", "p99 µs", "calls/s", "/go"
        );
        for payload in PAYLOADS {
            for callers in CALLERS {
                for system in SYSTEMS {
                    let of = |what: fn(&Row) -> f64| self.median(system, payload, callers, what);
                    println!(
                        "{payload:>9} {callers:>7}  {system:<9} {:>11.1} {:>7.2} {:>11.1} {:>12.0} {:>7.2}",
                        of(p50),
                        self.ratio((system, "go"), payload, callers, p50),
                        of(|row| row.p99_us),
                        of(rate),
                        self.rate_to_go(system, payload, callers),
                    );
                }
            }
        }
        for (system, payload, callers, what, name, limit) in PROMISES {
            promises.look(
                format!("{system} {name} to the Go host's at {payload} bytes, {callers} callers"),
                self.ratio((system, "go"), *payload, *callers, *what),
                *limit,
            );
        }
        for payload in PAYLOADS {
            for callers in CALLERS {
                promises.look(
                    format!("gk-go calls/s to goplugin's at {payload} bytes, {callers} callers"),
                    self.ratio(("gk-go", "goplugin"), payload, callers, rate),
                    Limit::Above(1.0),
                );
            }
        }
    }

    fn median(
        &self,
        system: &'static str,
        payload: usize,
        callers: usize,
        what: fn(&Row) -> f64,
    ) -> f64 {
        let rows = self.rows(system, payload, callers);
        median(rows.iter().map(what).collect())
    }

    /// Writes the rows and the chart.
    pub(super) fn write(&self, memory: &Memory) -> Result<()> {
        let rows: Vec<_> = self
            .0
            .keys()
            .map(|(system, payload, callers)| {
                let of = |what: fn(&Row) -> f64| self.median(system, *payload, *callers, what);
                json!({
                    "system": system, "payload_bytes": payload, "callers": callers,
                    "p50_us": of(p50), "p99_us": of(|row| row.p99_us), "calls_per_s": of(rate),
                    "p50_to_go": self.ratio((system, "go"), *payload, *callers, p50),
                    "calls_per_s_to_go": self.rate_to_go(system, *payload, *callers),
                })
            })
            .collect();
        write(
            "calls",
            &json!({ "rows": rows, "host_rss_kb": memory.json() }),
        )?;
        let assets = root().join("docs/assets");
        fs::create_dir_all(&assets)?;
        fs::write(assets.join("calls.svg"), chart::draw(self))?;
        say("written: docs/assets/calls.svg");
        Ok(())
    }
}
