//! The host's side of a running sandbox.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use super::channel;
use super::message::{End, Event};
use super::root::Directories;
use crate::report::Report;

/// The host's side of a running sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(super) control: OwnedFd,
    pub(super) lifeline: OwnedFd,
    pub(super) oom: Option<OwnedFd>,
    pub(super) memory_bytes: u64,
    pub(crate) report: Report,
    /// Directories of the sandbox's own in which the program's socket may be.
    pub(crate) directories: Directories,
    pub(super) end: OnceLock<Option<End>>,
}

impl Sandbox {
    /// Closes the lifeline, so that everything in the sandbox is killed.
    pub(crate) fn let_go(&self) {
        let _ = rustix::net::shutdown(&self.lifeline, rustix::net::Shutdown::Both);
    }

    /// The program's end; known once the first process has ended.
    pub(crate) fn end(&self) -> Option<End> {
        *self.end.get_or_init(|| {
            loop {
                match channel::receive::<Event>(&self.control, false) {
                    Ok(Some((Event::Ended(end), _))) => return Some(end),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        })
    }

    /// The memory limit in bytes if the program, which `signal` ended, was killed for its memory.
    pub(crate) fn killed_for_memory(&self, signal: i32) -> Option<u64> {
        let by_watchdog = self.end().is_some_and(|end| end.memory);
        let by_group = signal == libc::SIGKILL
            && self.oom.as_ref().is_some_and(|counter| {
                crate::layers::cgroup::oom_kills(counter).is_ok_and(|kills| kills > 0)
            });
        (by_watchdog || by_group).then_some(self.memory_bytes)
    }
}
