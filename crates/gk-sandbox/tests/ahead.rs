//! The first process that is made ahead of a start: it is used, replaced when it was lost, and
//! leaves nothing. One test, so that this process's children are its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use gk_sandbox::{Confinement, KeeperProgram, SandboxSpec, Spawner, Strictness};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

fn wait_readable(fd: impl AsFd) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(Duration::from_secs(120)).unwrap();
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1);
}

/// The ids of this process's children, ended ones that nobody has reaped included.
fn children() -> Vec<i32> {
    let mut found = Vec::new();
    for task in Path::new("/proc/self/task").read_dir().unwrap().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .map(|pid| pid.parse::<i32>().unwrap()),
        );
    }
    found
}

/// A plain start: when it returns, what was asked before is done.
fn plain(spawner: &Spawner) {
    let mut child = spawner.spawn(SandboxSpec::new("/bin/true", "/")).unwrap();
    child.reap().unwrap();
}

fn confinement(network: bool) -> Confinement {
    let mut confinement = Confinement::new("ahead", "/tmp/ahead");
    confinement.network = network;
    confinement
}

fn start(spawner: &Spawner, confinement: Confinement) -> u32 {
    let mut spec = SandboxSpec::new("/bin/true", "/");
    spec.confinement = Some(confinement);
    let mut child = spawner.spawn(spec).unwrap();
    wait_readable(child.pidfd());
    assert!(child.reap().unwrap().success());
    child.pid()
}

#[test]
fn it_is_used_replaced_and_leaves_nothing() {
    let program = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
    let spawner = Spawner::with_keeper(program).unwrap();
    plain(&spawner);
    let [keeper] = children()[..] else {
        panic!("{:?}", children())
    };
    let first_processes = || {
        let mut found = children();
        found.retain(|pid| *pid != keeper);
        found
    };

    spawner.prepare(&confinement(false));
    plain(&spawner);
    let [waiting] = first_processes()[..] else {
        panic!("{:?}", children())
    };
    // One is enough.
    spawner.prepare(&confinement(false));
    plain(&spawner);
    assert_eq!(first_processes(), [waiting]);
    assert_eq!(start(&spawner, confinement(false)), waiting.unsigned_abs());

    // One that is lost costs nobody a start.
    spawner.prepare(&confinement(false));
    plain(&spawner);
    let [lost] = first_processes()[..] else {
        panic!("{:?}", children())
    };
    let lost = Pid::from_raw(lost).unwrap();
    let pidfd = rustix::process::pidfd_open(lost, PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(lost, Signal::KILL).unwrap();
    wait_readable(&pidfd);
    assert_ne!(
        start(&spawner, confinement(false)),
        lost.as_raw_nonzero().get().unsigned_abs()
    );

    // It has what was insisted on.
    if rustix::process::geteuid().is_root() {
        let mut strict = confinement(false);
        strict.level = Strictness::Required;
        spawner.prepare(&strict);
        plain(&spawner);
        let [waiting] = first_processes()[..] else {
            panic!("{:?}", children())
        };
        assert_eq!(start(&spawner, strict), waiting.unsigned_abs());
    }

    // One that shares no network is none for a start that does.
    spawner.prepare(&confinement(false));
    plain(&spawner);
    let [waiting] = first_processes()[..] else {
        panic!("{:?}", children())
    };
    assert_ne!(start(&spawner, confinement(true)), waiting.unsigned_abs());
    assert!(first_processes().contains(&waiting));

    // With the spawner everything goes: those that wait, and the keeper.
    let left: Vec<_> = children()
        .into_iter()
        .map(|pid| {
            let pid = Pid::from_raw(pid).unwrap();
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
        })
        .collect();
    assert!(left.len() >= 2, "{}", left.len());
    drop(spawner);
    left.iter().for_each(wait_readable);
}
