//! Metrics of processes from the kernel's tables: of the host's own, and of its plugins'.

use std::collections::HashMap;
use std::fs;

use gk_api::Metric;
use gk_runtime::{PluginState, Snapshot};

use super::render;

/// Fields of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    parent: u32,
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read(pid: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name of the program, in parentheses, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        // proc(5) numbers them from 1; these begin with the third.
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        Some(Stat {
            parent: u32::try_from(field(4)?).ok()?,
            // Ticks of the process itself, and of its children that have ended.
            cpu_ticks: (14..=17).filter_map(field).sum(),
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn seconds(ticks: u64) -> f64 {
    // Ticks and frequency are far below 2^52.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of a tick is nothing"
    )]
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    seconds
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or_default())
}

/// Sets the gauges of each plugin: its state, its memory, its processor time.
pub(super) fn record_plugins(snapshot: &Snapshot) {
    let processes = all();
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in &processes {
        children.entry(stat.parent).or_default().push(*pid);
    }
    for status in &snapshot.plugins {
        let (mut ticks, mut pages) = (0_u64, 0_u64);
        let mut family: Vec<u32> = status.pid.into_iter().collect();
        while let Some(pid) = family.pop() {
            if let Some(stat) = processes.get(&pid) {
                ticks = ticks.saturating_add(stat.cpu_ticks);
                pages = pages.saturating_add(stat.resident_pages);
            }
            family.extend(children.remove(&pid).unwrap_or_default());
        }
        #[expect(clippy::cast_precision_loss, reason = "memory is below 2^52 bytes")]
        let memory = bytes(pages) as f64;
        let plugin = status.name.as_str();
        let up = if status.is_running() { 1.0 } else { 0.0 };
        let is_kept = matches!(status.state, PluginState::Disabled | PluginState::Blocked);
        let enabled = if is_kept { 0.0 } else { 1.0 };
        metrics::gauge!("gk_plugin_up", "plugin" => plugin.to_owned()).set(up);
        metrics::gauge!("gk_plugin_enabled", "plugin" => plugin.to_owned()).set(enabled);
        metrics::gauge!("gk_plugin_memory_bytes", "plugin" => plugin.to_owned()).set(memory);
        metrics::gauge!("gk_plugin_cpu_seconds", "plugin" => plugin.to_owned()).set(seconds(ticks));
    }
}

/// Returns every visible process.
fn all() -> HashMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let name = name.to_str()?;
            Some((name.parse().ok()?, Stat::read(name)?))
        })
        .collect()
}

/// Returns the metrics of the host's own process, by the names that Prometheus' client libraries
/// use. Values that cannot be read are left out.
pub(super) fn own() -> String {
    let mut text = String::new();
    for (name, value) in values() {
        if let Some(metric) = Metric::named(name) {
            render::head(&mut text, name, metric.kind.as_str(), metric.help);
            render::sample(&mut text, name, "", "", value);
        }
    }
    text
}

/// Returns the values of these metrics.
pub(super) fn values() -> Vec<(&'static str, f64)> {
    let mut values = Vec::new();
    let mut put = |name, value: Option<f64>| values.extend(value.map(|value| (name, value)));
    let stat = Stat::read("self");
    #[expect(clippy::cast_precision_loss, reason = "all are below 2^52")]
    let of = |what: fn(&Stat) -> u64| stat.as_ref().map(|stat| what(stat) as f64);
    put(
        "process_cpu_seconds_total",
        stat.as_ref().map(|stat| seconds(stat.cpu_ticks)),
    );
    put(
        "process_resident_memory_bytes",
        of(|stat| bytes(stat.resident_pages)),
    );
    put(
        "process_virtual_memory_bytes",
        of(|stat| stat.virtual_bytes),
    );
    put("process_threads", of(|stat| stat.threads));
    put(
        "process_start_time_seconds",
        stat.and_then(|stat| Some(boot_time()? + seconds(stat.start_ticks))),
    );
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count());
    #[expect(clippy::cast_precision_loss, reason = "descriptors are few")]
    put(
        "process_open_fds",
        // Minus the descriptor that reads the directory.
        open.ok().map(|count| count.saturating_sub(1) as f64),
    );
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[expect(clippy::cast_precision_loss, reason = "descriptors are few")]
    put("process_max_fds", limit.map(|limit| limit as f64));
    values
}

/// Time of the machine's boot, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_anything() {
        let line = "7 (a) R (b) S 3 7 7 0 -1 4194560 1 0 0 0 5 6 7 8 20 0 9 0 100 4096 12 184 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                parent: 3,
                cpu_ticks: 26,
                threads: 9,
                start_ticks: 100,
                virtual_bytes: 4096,
                resident_pages: 12,
            }
        );
        assert_eq!(Stat::parse("7 (a"), None);
        assert_eq!(Stat::parse("7 (a) S x"), None);
    }

    #[test]
    fn this_process_has_all_the_standard_figures() {
        let text = own();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_start_time_seconds",
            "process_open_fds",
        ] {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .unwrap_or_else(|| panic!("{name} is missing: {text}"));
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 0.0, "{line}");
        }
    }
}
