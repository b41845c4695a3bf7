//! A sandbox, as its keeper has it.

use std::os::fd::OwnedFd;

use rustix::event::PollFlags;
use rustix::event::{PollFd, Timespec};
use rustix::process::Pid;

use crate::layers::cgroup::Group;
use crate::sys::process;

/// Maximum number of looks at a control group that is not empty, before it is left to the next
/// keeper.
const RETRIES_MAX: u32 = 2000;

/// Number of looks at a first process that does not end, before it is killed.
const LOOKS_BEFORE_KILL: u32 = 200;

/// A sandbox.
pub(super) struct Entry {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// The other end is the host's. A first process that never got a plan has none.
    pub(super) lifeline: Option<OwnedFd>,
    /// The socket on which the first process asks for a mapping, with user and group; `None` once
    /// it has one.
    pub(super) mapping: Option<(OwnedFd, u32, u32)>,
    pub(super) group: Group,
    /// `true` if everything in the sandbox ends with its first process.
    pub(super) own_namespace: bool,
    /// How often the keeper has looked for the end; `None` before the sandbox is to end.
    pub(super) ending: Option<u32>,
}

/// Returns `true` if the process of a pidfd has ended.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(
        rustix::event::poll(&mut fds, Some(&Timespec::default())),
        Ok(1..)
    )
}

impl Entry {
    /// Begins to end the sandbox.
    pub(super) fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(0);
            self.mapping = None;
            // Without a process namespace only the first process knows the others, and kills them.
            if self.own_namespace {
                let _ = process::kill(&self.pidfd);
            }
            // A sandbox without control groups is killed by its first process.
            let _ = self.group.kill();
        }
    }

    /// Returns `true` if nothing is left of the sandbox. Called again and again once it ends.
    pub(super) fn is_over(&mut self) -> bool {
        let Some(looks) = &mut self.ending else {
            return false;
        };
        *looks += 1;
        let last = *looks > RETRIES_MAX;
        if *looks == LOOKS_BEFORE_KILL {
            let _ = process::kill(&self.pidfd);
        }
        // Without a process namespace the program's children may outlive it, and fork meanwhile.
        if !self.own_namespace {
            let _ = self.group.kill();
        }
        let ended = has_ended(&self.pidfd);
        if !ended && !last {
            return false;
        }
        self.group.remove().is_ok() || last
    }
}
