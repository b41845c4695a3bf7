//! Figures of a process, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Resident memory of a process, in KiB.
pub(crate) fn rss_kb(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .with_context(|| format!("no VmRSS in {path}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// The processor time of each thread of a process so far.
pub(crate) struct CpuTimes(BTreeMap<String, u64>);

impl CpuTimes {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let tasks = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            let task = task?;
            // A thread that has just ended has none.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let nanoseconds = text
                .split_whitespace()
                .next()
                .context("an empty schedstat: the kernel lacks CONFIG_SCHED_INFO")?;
            let name = task.file_name().to_string_lossy().into_owned();
            threads.insert(name, nanoseconds.parse()?);
        }
        Ok(Self(threads))
    }

    /// What was spent since `before`. That of threads that have ended meanwhile is not in it.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let spent = self.0.iter().map(|(thread, now)| {
            now.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(spent.sum())
    }
}

/// The children of a process that have this name.
pub(crate) fn children(parent: u32, name: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that has just ended has none.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if name_and_parent(&stat) == Some((name, parent)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Of a line `PID (NAME) STATE PARENT …`; a name may have blanks and parentheses.
fn name_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let parent = rest.split_whitespace().nth(1)?;
    Some((name, parent.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_stat() {
        for (line, expected) in [
            ("12 (gk-keeper) S 7 12 12 0", Some(("gk-keeper", 7))),
            ("12 (a) (b c) R 1 2", Some(("a) (b c", 1))),
            ("12 (cut", None),
            ("12 (cut) S", None),
        ] {
            assert_eq!(name_and_parent(line), expected, "{line}");
        }
    }

    #[test]
    fn this_process() {
        let before = CpuTimes::of(std::process::id()).unwrap();
        assert_eq!(before.since(&before), Duration::ZERO);
        assert!(rss_kb(std::process::id()).unwrap() > 0);
    }
}
