//! What becomes of sandboxes when their keeper is killed. One test, so that this process has one
//! keeper.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use gk_sandbox::{Confinement, KeeperProgram, SandboxSpec, Spawner};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

fn wait_readable(fd: impl AsFd) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(Duration::from_secs(120)).unwrap();
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1);
}

fn keeper() -> Pid {
    for task in Path::new("/proc/self/task").read_dir().unwrap().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            // Others of them may end meanwhile.
            let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if name.trim() == "gk-keeper" {
                return Pid::from_raw(child.parse().unwrap()).unwrap();
            }
        }
    }
    panic!("this process has no keeper");
}

#[test]
fn a_keeper_that_was_killed_is_replaced_and_sandboxes_go_on() {
    let program = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
    let spawner = Spawner::with_keeper(program).unwrap();
    let mut spec = SandboxSpec::new("/bin/cat", "/");
    spec.args = vec!["/dev/zero".into()];
    spec.confinement = Some(Confinement::new("first", "/tmp/first"));
    let first = spawner.spawn(spec).unwrap();
    let mut some = [0; 100];
    let mut stdout = std::fs::File::from(first.stdout.try_clone().unwrap());
    stdout.read_exact(&mut some).unwrap();

    let killed = keeper();
    let pidfd = rustix::process::pidfd_open(killed, PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(killed, Signal::KILL).unwrap();
    wait_readable(pidfd);

    let mut spec = SandboxSpec::new("/bin/echo", "/");
    spec.args = vec!["second".into()];
    spec.confinement = Some(Confinement::new("second", "/tmp/second"));
    let mut second = spawner.spawn(spec).unwrap();
    wait_readable(second.pidfd());
    let mut said = String::new();
    let out = second.stdout.try_clone().unwrap();
    std::fs::File::from(out).read_to_string(&mut said).unwrap();
    assert_eq!(said, "second\n");
    assert!(second.reap().unwrap().success());
    assert_ne!(keeper(), killed);
    // More than fits in a pipe: it is still there to write.
    let mut more = vec![0; 1 << 20];
    stdout.read_exact(&mut more).unwrap();
    assert_eq!(first.status().unwrap(), None);
    // And it can still be ended.
    let pidfd = first.pidfd().try_clone_to_owned().unwrap();
    drop(first);
    wait_readable(pidfd);
}
