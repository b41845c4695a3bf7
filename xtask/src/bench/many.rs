//! `gk-host serve` with many plugins.

use anyhow::Result;
use serde_json::{Value, json};

use super::process::System;
use super::promises::{Limit, Promises};
use super::{Programs, figure};
use crate::command::say;

/// What the bars are for.
const MOST: f64 = 1000.0;

struct Row {
    plugins: f64,
    ready_s: f64,
    host_rss_kb: f64,
    keeper_rss_kb: f64,
    idle_cores: f64,
    stop_s: f64,
}

/// Figures for each number of plugins.
pub(super) struct Many {
    rows: Vec<Row>,
    lines: Vec<Value>,
}

pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Many> {
    let counts: &[&str] = if quick {
        &["100"]
    } else {
        &["100", "300", "1000"]
    };
    let idle = if quick { "3" } else { "10" };
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for count in counts {
        say(format!("a host with {count} plugins"));
        // The smallest plugin that takes its name from its file.
        let program = programs.directory.join("gen2");
        let bench = System::start(
            &programs.gk_bench(),
            &[
                "many".as_ref(),
                count.as_ref(),
                program.as_ref(),
                "--idle".as_ref(),
                idle.as_ref(),
            ],
        )?;
        let line = bench.last_line()?;
        rows.push(Row {
            plugins: figure(&line, "plugins")?,
            ready_s: figure(&line, "ready_s")?,
            host_rss_kb: figure(&line, "host_rss_kb")?,
            keeper_rss_kb: figure(&line, "keeper_rss_kb")?,
            idle_cores: figure(&line, "idle_cores")?,
            stop_s: figure(&line, "stop_s")?,
        });
        lines.push(line);
    }
    Ok(Many { rows, lines })
}

impl Many {
    pub(super) fn print(&self, promises: &mut Promises) {
        println!("\na host with many plugins:");
        println!(
            "{:>8} {:>8} {:>9} {:>11} {:>14} {:>8}",
            "plugins", "ready s", "host MiB", "keeper MiB", "idle, % core", "stop s"
        );
        for row in &self.rows {
            println!(
                "{:>8} {:>8.2} {:>9.1} {:>11.1} {:>14.3} {:>8.2}",
                row.plugins,
                row.ready_s,
                row.host_rss_kb / 1024.0,
                row.keeper_rss_kb / 1024.0,
                row.idle_cores * 100.0,
                row.stop_s
            );
            let name = |what: &str| format!("{} plugins: {what}", row.plugins);
            let idle = row.idle_cores * 100.0;
            promises.look(name("idle, % of a core"), idle, Limit::AtMost(0.5));
            if row.plugins >= MOST {
                let mib = row.host_rss_kb / 1024.0;
                promises.look(name("ready, s"), row.ready_s, Limit::AtMost(12.0));
                promises.look(name("gk-host, MiB"), mib, Limit::AtMost(60.0));
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "rows": self.lines })
    }
}
