//! A route over HTTP: our gateway with the Go and the Rust sample, beside a Go gateway.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::process::System;
use super::promises::{Limit, Promises};
use super::{Programs, figure, median};
use crate::command::say;

const SYSTEMS: [&str; 3] = ["go", "gk-go", "gk-rust"];
const CONNECTIONS: [u64; 3] = [1, 16, 64];

/// The figures of one system in one round.
#[derive(Debug, Clone, Copy)]
struct Row {
    p50_us: f64,
    p99_us: f64,
    per_s: f64,
    /// Processor time of the host's process for a request.
    cpu_us: f64,
    rss_kb: f64,
}

fn rate(row: &Row) -> f64 {
    row.per_s
}

fn cpu(row: &Row) -> f64 {
    row.cpu_us
}

pub(super) struct Route {
    /// The rounds of each system and number of connections.
    rows: BTreeMap<(&'static str, u64), Vec<Row>>,
    /// Resident memory of each system's host in KiB, once it is idle after the last round.
    idle_rss_kb: BTreeMap<&'static str, f64>,
}

pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Route> {
    let (rounds, seconds) = if quick { ("3", "0.4") } else { ("9", "1") };
    say(format!("requests to a route, {rounds} rounds"));
    let (go_dir, rust_dir) = (programs.go_dir()?, programs.rust_dir()?);
    let gateway = programs.directory.join("gogateway");
    let bench = System::start(
        &programs.gk_bench(),
        &[
            "route".as_ref(),
            gateway.as_ref(),
            programs.hello_go().as_ref(),
            go_dir.as_ref(),
            rust_dir.as_ref(),
            "--rounds".as_ref(),
            rounds.as_ref(),
            "--seconds".as_ref(),
            seconds.as_ref(),
        ],
    )?;
    let mut rows: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    let mut idle_rss_kb = BTreeMap::new();
    for line in bench.lines()? {
        let system = SYSTEMS
            .into_iter()
            .find(|system| line["system"] == *system)
            .with_context(|| format!("no known system in {line}"))?;
        if let Some(kb) = line["idle_rss_kb"].as_f64() {
            idle_rss_kb.insert(system, kb);
            continue;
        }
        let connections = line["connections"].as_u64().context("no connections")?;
        rows.entry((system, connections)).or_default().push(Row {
            p50_us: figure(&line, "p50_us")?,
            p99_us: figure(&line, "p99_us")?,
            per_s: figure(&line, "requests_per_s")?,
            cpu_us: figure(&line, "host_cpu_us")?,
            rss_kb: figure(&line, "host_rss_kb")?,
        });
    }
    Ok(Route { rows, idle_rss_kb })
}

impl Route {
    fn rows(&self, system: &'static str, connections: u64) -> &[Row] {
        self.rows
            .get(&(system, connections))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn median(&self, system: &'static str, connections: u64, what: fn(&Row) -> f64) -> f64 {
        let rows = self.rows(system, connections);
        median(rows.iter().map(what).collect())
    }

    /// To the Go gateway: the median of the ratios within each round.
    fn ratio(&self, system: &'static str, connections: u64, what: fn(&Row) -> f64) -> f64 {
        let (rows, go) = (self.rows(system, connections), self.rows("go", connections));
        median(
            rows.iter()
                .zip(go)
                .map(|(row, go)| what(row) / what(go))
                .collect(),
        )
    }

    pub(super) fn print(&self, promises: &mut Promises) {
        println!("\na route over HTTP, CPU is that of the host's process for a request:");
        println!(
            "{:>11}  {:<9} {:>11} {:>7} {:>9} {:>7} {:>9} {:>9} {:>8}",
            "connections",
            "system",
            "requests/s",
            "/go",
            "CPU µs",
            "/go",
            "p50 µs",
            "p99 µs",
            "RSS KiB"
        );
        for connections in CONNECTIONS {
            for system in SYSTEMS {
                let of = |what: fn(&Row) -> f64| self.median(system, connections, what);
                println!(
                    "{connections:>11}  {system:<9} {:>11.0} {:>7.2} {:>9.1} {:>7.2} {:>9.1} {:>9.1} {:>8}",
                    of(rate),
                    self.ratio(system, connections, rate),
                    of(cpu),
                    self.ratio(system, connections, cpu),
                    of(|row| row.p50_us),
                    of(|row| row.p99_us),
                    of(|row| row.rss_kb),
                );
            }
        }
        for (system, alone, many, cpu_limit) in
            [("gk-go", 1.5, 1.3, 0.5), ("gk-rust", 2.0, 1.5, 0.35)]
        {
            for connections in CONNECTIONS {
                let limit = if connections == 1 { alone } else { many };
                promises.look(
                    format!("{system} requests/s to the Go gateway's, {connections} connections"),
                    self.ratio(system, connections, rate),
                    Limit::AtLeast(limit),
                );
                if connections > 1 {
                    promises.look(
                        format!("{system} CPU for a request to the Go gateway's, {connections} connections"),
                        self.ratio(system, connections, cpu),
                        Limit::AtMost(cpu_limit),
                    );
                }
            }
            let idle = self.idle_rss_kb.get(system).copied().unwrap_or(f64::NAN);
            println!("  {system}: {idle} KiB once it is idle again");
            promises.look(
                format!("gk-host idle after load ({system}), MiB"),
                idle / 1024.0,
                Limit::AtMost(12.0),
            );
        }
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows.keys().map(|(system, connections)| {
            let of = |what: fn(&Row) -> f64| self.median(system, *connections, what);
            json!({
                "system": system, "connections": connections,
                "requests_per_s": of(rate), "host_cpu_us": of(cpu),
                "p50_us": of(|row| row.p50_us), "p99_us": of(|row| row.p99_us),
                "host_rss_kb": of(|row| row.rss_kb),
                "requests_per_s_to_go": self.ratio(system, *connections, rate),
                "host_cpu_to_go": self.ratio(system, *connections, cpu),
            })
        });
        json!({ "rows": rows.collect::<Vec<_>>(), "idle_rss_kb": self.idle_rss_kb })
    }
}
