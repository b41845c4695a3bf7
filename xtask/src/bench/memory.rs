//! Resident memory of the hosts with one and with many plugins; of ours, the real `gk-host serve`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::process::System;
use super::promises::{Limit, Promises};
use super::{Programs, figure};
use crate::command::say;

/// Processes whose memory is measured together.
const MANY: usize = 50;

/// KiB by system and number of plugins.
pub(super) struct Memory(BTreeMap<&'static str, BTreeMap<usize, f64>>);

pub(super) fn measure(programs: &Programs) -> Result<Memory> {
    // The host's memory does not depend on the plugin; ours wants one name each, which gen3 takes
    // from its file.
    let (hello_go, gk_bench) = (programs.hello_go(), programs.gk_bench());
    let mut memory: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut add = |system, count, program: &Path, arguments: &[&OsStr], key| -> Result<()> {
        let line = System::start(program, arguments)?.last_line()?;
        let of: &mut BTreeMap<_, _> = memory.entry(system).or_default();
        of.insert(count, figure(&line, key)?);
        Ok(())
    };
    for count in [1, MANY] {
        say(format!("memory with {count} plugins"));
        let count_text = count.to_string();
        let instances = OsStr::new(&count_text);
        let plugin = hello_go.as_ref();
        let go = ["-calls", "0", "-instances"].map(OsStr::new);
        let go = [&go[..], &[instances, "-plugin".as_ref(), plugin]].concat();
        add("go", count, &programs.gobench(), &go, "rss_kb")?;
        let goplugin = [
            "goplugin".as_ref(),
            plugin,
            "--instances".as_ref(),
            instances,
        ];
        add("goplugin", count, &gk_bench, &goplugin, "rss_kb")?;
        let mut ours = |system, program: PathBuf| {
            let many = ["many", "--idle", "0"].map(OsStr::new);
            let many = [&many[..], &[instances, program.as_ref()]].concat();
            add(system, count, &gk_bench, &many, "host_rss_kb")
        };
        ours("gk-go", programs.gen3())?;
        if count == 1 {
            ours("gk-rust", programs.hello_rust())?;
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
