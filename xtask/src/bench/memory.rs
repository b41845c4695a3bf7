//! Resident memory of the hosts with one and with many plugins; of ours, the real `gk-host serve`.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use super::promises::{Limit, Promises};
use super::{Programs, figure};
use crate::command::{command, output, say};

/// Processes whose memory is measured together.
const MANY: usize = 50;

/// KiB by system and number of plugins.
pub(super) struct Memory(BTreeMap<&'static str, BTreeMap<usize, f64>>);

pub(super) fn measure(programs: &Programs) -> Result<Memory> {
    // The host's memory does not depend on the plugin; ours wants one name each, which gen3 takes from its file.
    let (hello_go, gk_bench) = (programs.hello_go(), programs.gk_bench());
    let mut memory: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut add = |system, count, text: String, key| -> Result<()> {
        let line: Value = serde_json::from_str(text.lines().last().context("no output")?)?;
        let of: &mut BTreeMap<_, _> = memory.entry(system).or_default();
        of.insert(count, figure(&line, key)?);
        Ok(())
    };
    for count in [1, MANY] {
        say(format!("memory with {count} plugins"));
        let instances = count.to_string();
        let mut go = command(programs.gobench());
        go.arg("-plugin").arg(&hello_go);
        go.args(["-instances", &instances, "-calls", "0"]);
        add("go", count, output(&mut go)?, "rss_kb")?;
        let mut goplugin = command(&gk_bench);
        goplugin.arg("goplugin").arg(&hello_go);
        goplugin
            .args(["--instances", &instances])
            .stderr(Stdio::null());
        add("goplugin", count, output(&mut goplugin)?, "rss_kb")?;
        let ours = |program| {
            let mut many = command(&gk_bench);
            many.args(["many", "--idle", "0", &instances]).arg(program);
            output(&mut many)
        };
        add("gk-go", count, ours(programs.gen3())?, "host_rss_kb")?;
        if count == 1 {
            let rust = ours(programs.hello_rust())?;
            add("gk-rust", count, rust, "host_rss_kb")?;
        }
    }
    Ok(Memory(memory))
}

impl Memory {
    pub(super) fn print(&self, promises: &mut Promises) {
        println!("\nresident memory of the host:");
        for (system, counts) in &self.0 {
            for (count, kb) in counts {
                println!("  {system:<9} {count:>3} plugins {kb:>8} KiB");
            }
        }
        let one = self.0.get("gk-go").and_then(|counts| counts.get(&1));
        let megabytes = one.map_or(f64::NAN, |kb| kb / 1024.0);
        promises.look(
            "gk-host with one plugin, MiB",
            megabytes,
            Limit::AtMost(12.0),
        );
    }

    pub(super) fn json(&self) -> Value {
        let systems = self.0.iter().map(|(system, counts)| {
            let counts = counts
                .iter()
                .map(|(count, kb)| (count.to_string(), (*kb).into()));
            ((*system).to_owned(), Value::Object(counts.collect()))
        });
        Value::Object(systems.collect())
    }
}
