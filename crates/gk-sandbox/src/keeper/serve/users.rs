//! Users of a sandbox's user namespace.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::entry::has_ended;
use crate::keeper::inside::Mapping;

/// Returns `true` if this process's user namespace has a user, or a group.
pub(super) fn has_user(id: u32, map: &str) -> bool {
    let Ok(map) = std::fs::read_to_string(format!("/proc/self/{map}")) else {
        return false;
    };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(first)), Some(Ok(count))) => {
                (first..first.saturating_add(count)).contains(&u64::from(id))
            }
            _ => false,
        }
    })
}

/// Maps the user and group of a sandbox to the same ones outside, or, where the kernel refuses, to
/// the keeper's own.
pub(super) fn map(pid: Pid, pidfd: &OwnedFd, uid: u32, gid: u32) -> Mapping {
    let write = |outer_uid: u32, outer_gid: u32| -> io::Result<()> {
        for (file, line) in [
            ("gid_map", format!("{gid} {outer_gid} 1")),
            ("uid_map", format!("{uid} {outer_uid} 1")),
        ] {
            let file = rustix::fs::open(
                format!("/proc/{}/{file}", pid.as_raw_pid()),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            // The file was opened by a process id, which may have become another process's before.
            // While the process lives, the open file is its own.
            if has_ended(pidfd) {
                return Err(Errno::SRCH.into());
            }
            rustix::io::write(&file, line.as_bytes())?;
        }
        Ok(())
    };
    match write(uid, gid) {
        Ok(()) => Mapping::Asked,
        Err(error) => {
            let (own_uid, own_gid) = (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            );
            match write(own_uid, own_gid) {
                Ok(()) => Mapping::Host,
                Err(_) => Mapping::None(error.raw_os_error().unwrap_or(0)),
            }
        }
    }
}
