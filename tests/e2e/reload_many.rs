//! What a host with a thousand plugins does when nothing happens, and how long a change of one of them takes.
//!
//! `cargo xtask test-e2e -- --ignored a_thousand --nocapture` on a quiet machine. The figures are printed; the test fails
//! for what does not serve.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::eventually;
use crate::goat::{built, generation, serving, version, write_package};
use crate::host::{Host, Setup};
use crate::processes::descendants;

/// As many as fit beside each other: a plugins directory has at most 1024.
const PLUGINS: usize = 1000;

/// What one plugin takes of the machine's memory, with its sandbox, in MiB.
const PLUGIN_MB: usize = 10;

/// How often something is measured.
const TIMES: u32 = 5;

/// The machine's own figures, in MiB.
fn memory(key: &str) -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        / 1024
}

/// A host with the plugin `goat` and so many others, all of which serve.
fn host_of(plugins: usize) -> Host {
    let names: Vec<String> = (1..plugins).map(|number| format!("p{number:04}")).collect();
    let setup = names
        .iter()
        .fold(Setup::new(), |setup, name| setup.plugin(name, "gen3"));
    // Its own program: those of the others are one file.
    write_package(&setup.path("plugins/goat"), "goat", 1);
    let begun = Instant::now();
    let host = setup.start();
    // Each of them has the usual time, not all of them together. The list is long: asking for it too often would hold up
    // the starts.
    let (mut last, mut asked) = (usize::MAX, begun);
    while last > 0 {
        last = eventually("one more plugin is up", || {
            if asked.elapsed() < Duration::from_secs(5) {
                return None;
            }
            asked = Instant::now();
            let list = host.get("/api/v1/plugins").expect(200).json();
            let list = list.as_array().unwrap();
            let failed = list.iter().find(|plugin| plugin["state"] == "failed");
            assert_eq!(failed.map(|plugin| &plugin["error"]), None);
            let left = list.iter().filter(|plugin| plugin["state"] != "running");
            Some(left.count()).filter(|left| *left < last)
        });
    }
    eprintln!("{plugins} plugins: up after {:.1?}", begun.elapsed());
    for name in &names {
        let reply = host.function(name, "version", &json!({}));
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
    assert_eq!(serving(&host), Some(version(1)));
    host
}

/// What a process has used of the processors, in ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // utime and stime, the 14th and 15th; the list begins with the third.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The host and its keepers.
fn own_processes(host: &Host) -> Vec<u32> {
    let is_keeper = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "gk-keeper"
    };
    let keepers = descendants(host.pid()).into_iter().filter(is_keeper);
    std::iter::once(host.pid()).chain(keepers).collect()
}

/// Prints what the host and its keeper use while nothing happens but probes: the first ones of a plugin cost more.
fn print_idle(host: &Host) {
    eventually("each plugin was probed twice", || {
        let text = host.call("GET", "/metrics").send().text();
        let probes = text
            .lines()
            .filter(|line| line.starts_with("gk_plugin_health_probes_total{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        let (mut plugins, mut twice) = (0, 0);
        for probes in probes {
            plugins += 1;
            twice += i32::from(probes >= 2.0);
        }
        (plugins > 0 && plugins == twice).then_some(())
    });
    let own = own_processes(host);
    assert!(own.len() > 1, "the host has no keeper");
    for window in 1..=3 {
        let all = || own.iter().map(|&pid| ticks(pid)).collect::<Vec<_>>();
        let (before, begun) = (all(), Instant::now());
        eventually("ten seconds are over", || {
            (begun.elapsed() >= Duration::from_secs(10)).then_some(())
        });
        let used: Vec<u64> = all()
            .iter()
            .zip(&before)
            .map(|(now, was)| now - was)
            .collect();
        let percent = used[0] as f64 / begun.elapsed().as_secs_f64();
        let others = used[1..].iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64();
        eprintln!(
            "idle, window {window}: the host {percent:.2} % of a core, its keeper {others:.2} %"
        );
    }
}

/// Prints how long a change takes from the end of the write to the first answer of the new version.
fn print_changes(host: &Host) {
    let mut took = Vec::new();
    for number in 2..2 + TIMES {
        let program = host.path("plugins/goat/goat");
        let bytes = built(number);
        let before = generation(host);
        fs::write(&program, bytes).unwrap();
        let written = Instant::now();
        eventually("the change serves", || {
            (serving(host)? == version(number)).then_some(())
        });
        took.push(written.elapsed());
        assert_eq!(generation(host), before + 1);
    }
    took.sort();
    eprintln!("a change serves after {took:.2?}");
}

#[test]
#[ignore = "takes minutes, and most of a machine's memory; to be run on a quiet machine"]
fn a_thousand_plugins_cost_little_while_nothing_happens() {
    let available = memory("MemAvailable:");
    eprintln!("memory: {} MiB, {available} available", memory("MemTotal:"));
    let alone = host_of(1);
    print_idle(&alone);
    print_changes(&alone);
    drop(alone);
    let plugins = PLUGINS.min(available / PLUGIN_MB);
    let many = host_of(plugins);
    let used = available.saturating_sub(memory("MemAvailable:"));
    eprintln!("{plugins} plugins take {used} MiB of the machine");
    print_idle(&many);
    print_changes(&many);
}
