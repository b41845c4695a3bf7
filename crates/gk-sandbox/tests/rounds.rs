//! A thousand sandboxes, one after the other: nothing of them accumulates, in the host or in its
//! keeper. One test, so that this process has one keeper and what it counts is its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gk_sandbox::{Confinement, KeeperProgram, SandboxSpec, Spawner};
use rustix::event::{PollFd, PollFlags, Timespec};

const ROUNDS: usize = 1000;
/// Rounds before the first look: what is made once, is made then.
const FIRST: usize = 20;
/// For how many looks a count has to stay the same to be one that lasts.
const LOOKS: usize = 100;
/// By how much the keeper may grow.
const GROWTH_KB: u64 = 2048;
const DEADLINE: Duration = Duration::from_secs(120);

/// What could accumulate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    fds: usize,
    threads: usize,
    mounts: usize,
    children: usize,
    keeper_fds: usize,
    keeper_mounts: usize,
    keeper_children: usize,
    cgroups: usize,
    /// How many sandboxes they belong to.
    with_cgroups: usize,
}

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

fn lines(path: &str) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

/// The children of a process, ended ones that nobody has reaped included.
fn children(pid: &str) -> Vec<String> {
    let tasks = Path::new("/proc").join(pid).join("task");
    let mut found = Vec::new();
    for task in tasks.read_dir().unwrap().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(str::to_owned));
    }
    found
}

fn keeper() -> String {
    let is_keeper = |pid: &String| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "gk-keeper")
    };
    children("self").into_iter().find(is_keeper).unwrap()
}

fn sandboxes(below: &Path, prefix: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in below.read_dir().into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let below = entry.path().read_dir().into_iter().flatten().flatten();
            let group = |path: &PathBuf| path.is_dir();
            found.extend(below.map(|entry| entry.path()).filter(group));
        } else if depth > 0 {
            found.extend(sandboxes(&entry.path(), prefix, depth - 1));
        }
    }
    found
}

fn count(keeper: &str) -> Count {
    let prefix = format!("goatkit-{keeper}-");
    let cgroups = sandboxes(Path::new("/sys/fs/cgroup"), &prefix, 6);
    let names: BTreeSet<_> = cgroups.iter().map(|path| path.file_name()).collect();
    Count {
        fds: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        mounts: lines("/proc/self/mountinfo"),
        children: children("self").len(),
        keeper_fds: entries(&format!("/proc/{keeper}/fd")),
        keeper_mounts: lines(&format!("/proc/{keeper}/mountinfo")),
        keeper_children: children(keeper).len(),
        cgroups: cgroups.len(),
        with_cgroups: names.len(),
    }
}

fn resident_kb(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// One that ends by itself, or one that is ended.
fn round(spawner: &Spawner, number: usize) {
    let program = if number.is_multiple_of(2) {
        "/bin/true"
    } else {
        "/bin/sleep"
    };
    let mut spec = SandboxSpec::new(program, "/");
    spec.args = vec!["1000".into()];
    let confinement = Confinement::new("round", "/tmp/round");
    if number.is_multiple_of(3) {
        // These rounds follow each other too fast for one to be made ahead by itself.
        spawner.prepare(&confinement);
    }
    spec.confinement = Some(confinement);
    let mut child = spawner.spawn(spec).unwrap();
    if number.is_multiple_of(2) {
        let timeout = Timespec::try_from(DEADLINE).unwrap();
        let pidfd = child.pidfd();
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1);
        assert!(child.reap().unwrap().success());
    } else if number % 4 == 1 {
        child.kill_group().unwrap();
        child.reap().unwrap();
    } else {
        let pidfd = child.pidfd().try_clone_to_owned().unwrap();
        drop(child);
        let timeout = Timespec::try_from(DEADLINE).unwrap();
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1);
    }
}

/// The count once it is this one, or what it is at the deadline: the keeper tidies up when it gets
/// to it.
fn settled(keeper: &str, expected: Option<&Count>) -> Count {
    let started = Instant::now();
    let (mut last, mut looks) = (None, 0);
    loop {
        let now = count(keeper);
        // The keeper, and the first process that it makes ahead after each start, when there was
        // none for a moment: before that, this would be no state that lasts.
        let quiet = now.with_cgroups <= 1 && now.children == 2 && now.keeper_children == 0;
        looks = if quiet && last.as_ref() == Some(&now) {
            looks + 1
        } else {
            0
        };
        last = Some(now.clone());
        let as_expected = expected.map_or(looks >= LOOKS, |expected| *expected == now);
        if as_expected || started.elapsed() > DEADLINE {
            return now;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_thousand_rounds_leave_nothing() {
    if rustix::process::geteuid().is_root() {
        // So that what others mount and unmount meanwhile is not counted.
        #[expect(deprecated, reason = "it leaves the descriptors alone")]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).unwrap();
        let flags = rustix::mount::MountPropagationFlags::REC
            | rustix::mount::MountPropagationFlags::PRIVATE;
        rustix::mount::mount_change("/", flags).unwrap();
    }
    let program = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
    let spawner = Spawner::with_keeper(program).unwrap();
    for number in 0..FIRST {
        round(&spawner, number);
    }
    let keeper = keeper();
    let before = settled(&keeper, None);
    let resident = resident_kb(&keeper);
    let started = Instant::now();
    for number in 0..ROUNDS {
        round(&spawner, number);
    }
    let took = started.elapsed();
    let after = settled(&keeper, Some(&before));
    let grown = resident_kb(&keeper).saturating_sub(resident);
    println!(
        "{ROUNDS} rounds in {took:?}; {after:?}; the keeper has {resident} kB and grew by {grown} kB"
    );
    assert_eq!(before, after, "something is left");
    assert!(grown < GROWTH_KB, "the keeper grew by {grown} kB");
}
