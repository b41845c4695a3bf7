//! The first process of a sandbox while its program runs: it waits for the program's end, the
//! host's letting go, and, where no control group limits memory, for too much of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::channel;
use super::message::{End, Event, NOT_SET_UP, Plan};
use crate::layers::rss;
use crate::sys::process;

/// Interval at which the memory of a sandbox without a memory control group is added up.
pub(super) const WATCHDOG_MILLIS: i64 = 50;
/// Maximum number of rounds of killing what is left, before this process ends all the same.
const KILL_TURNS_MAX: u32 = 1000;
/// The bit of a wait status that tells of a core dump.
const CORE_DUMPED: i32 = 0x80;

/// The processes of a sandbox, in a procfs.
pub(super) enum Watched {
    /// All processes of the procfs but the first.
    All(OwnedFd),
    /// The descendants of a process, by its number in the procfs.
    Below(OwnedFd, i32),
}

impl Watched {
    /// The memory of all of them, in bytes.
    pub(super) fn memory(&self) -> io::Result<u64> {
        let usage = match self {
            Watched::All(proc) => rss::summed(proc.as_fd())?,
            Watched::Below(proc, first) => {
                rss::summed_of(proc.as_fd(), &rss::descendants(proc.as_fd(), *first)?)
            }
        };
        Ok(usage.total_bytes())
    }
}

/// The first process while the program runs.
pub(super) struct Watch {
    pub(super) plan: Plan,
    pub(super) control: Arc<OwnedFd>,
    pub(super) lifeline: OwnedFd,
    pub(super) children: OwnedFd,
    pub(super) program: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) own_namespace: bool,
    pub(super) own_root: bool,
    /// The processes whose memory is added up; `None` if a control group limits it.
    pub(super) memory: Option<Watched>,
    /// Locks of the host's control groups, held as long as this process lives.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(super) locks: Vec<OwnedFd>,
}

impl Watch {
    /// Returns this process's exit code.
    pub(super) fn run(self) -> i32 {
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: WATCHDOG_MILLIS * 1_000_000,
        };
        let mut killed_for_memory = false;
        loop {
            let mut fds = [
                PollFd::new(&self.lifeline, PollFlags::IN),
                PollFd::new(&self.children, PollFlags::IN),
            ];
            let timeout = self.memory.as_ref().map(|_| &tick);
            match rustix::event::poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
            if !fds[0].revents().is_empty() {
                break;
            }
            if !fds[1].revents().is_empty() {
                self.forget_signals();
                if let Some(end) = self.reap(killed_for_memory) {
                    let code = if end.signaled {
                        128 + end.status
                    } else {
                        end.status
                    };
                    if !self.own_namespace {
                        let _ = self.kill_all(false);
                    }
                    let _ = channel::send(&*self.control, &Event::Ended(end), &[]);
                    return code;
                }
            }
            if let Some(processes) = &self.memory
                && !killed_for_memory
                && self.usage(processes) > self.plan.memory_bytes
            {
                killed_for_memory = true;
                if let Some(end) = self.kill_all(true) {
                    let _ = channel::send(&*self.control, &Event::Ended(end), &[]);
                    return NOT_SET_UP;
                }
            }
        }
        if let Some(end) = self.kill_all(killed_for_memory) {
            let _ = channel::send(&*self.control, &Event::Ended(end), &[]);
        }
        NOT_SET_UP
    }

    /// Collects ended children; the program's end is returned.
    fn reap(&self, memory: bool) -> Option<End> {
        self.collect(WaitOptions::NOHANG, memory)
    }

    /// As [`Watch::reap`]; without `NOHANG`, until there are no children.
    fn collect(&self, options: WaitOptions, memory: bool) -> Option<End> {
        let mut end = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(options) {
            if pid == self.program {
                let code = status.exit_status();
                end = Some(End {
                    status: code.or(status.terminating_signal()).unwrap_or_default(),
                    signaled: code.is_none(),
                    core_dumped: code.is_none() && status.as_raw() & CORE_DUMPED != 0,
                    memory,
                });
            }
        }
        end
    }

    fn usage(&self, processes: &Watched) -> u64 {
        let temp = if self.own_root {
            temp_usage(&self.plan)
        } else {
            0
        };
        processes.memory().unwrap_or_default().saturating_add(temp)
    }

    /// Kills all but this process, and, without a process namespace, waits until they are gone.
    /// Returns the program's end, if it was collected here.
    fn kill_all(&self, memory: bool) -> Option<End> {
        if self.own_namespace {
            process::kill_all_others();
            return self.collect(WaitOptions::empty(), memory);
        }
        let _ = process::kill(&self.pidfd);
        // This process is the subreaper: orphans of the program are its children, or will be.
        let proc = rustix::fs::open(
            "/proc",
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let own = rustix::process::getpid().as_raw_pid();
        let descendants = || match &proc {
            Ok(proc) => rss::descendants(proc.as_fd(), own).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let soon = Timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000,
        };
        let mut end = None;
        // Processes that fork while they are killed need another round.
        for _ in 0..KILL_TURNS_MAX {
            end = end.or(self.reap(memory));
            let left = descendants();
            if left.is_empty() {
                break;
            }
            let mut held = Vec::new();
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                if let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                    held.push((pid, pidfd));
                }
            }
            // A process that is still a descendant was one when its pidfd was opened, so its number
            // has not become another process's.
            let still = descendants();
            for (pid, pidfd) in &held {
                if still.contains(&pid.as_raw_pid()) {
                    let _ = process::kill(pidfd);
                }
            }
            let mut fds = [PollFd::new(&self.children, PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, Some(&soon));
            self.forget_signals();
        }
        end
    }

    fn forget_signals(&self) {
        let mut drained = [0; 128];
        while rustix::io::read(&self.children, &mut drained).is_ok_and(|count| count > 0) {}
    }
}

/// Bytes in the temporary directory, which is a tmpfs and thus memory, too.
fn temp_usage(plan: &Plan) -> u64 {
    let used = |path: &Path| {
        rustix::fs::statvfs(path).map_or(0, |stat| {
            stat.f_blocks
                .saturating_sub(stat.f_bfree)
                .saturating_mul(stat.f_frsize)
        })
    };
    let temp = plan.temp_dir.path();
    if temp.starts_with("/tmp") {
        used("/tmp".as_ref())
    } else {
        used("/tmp".as_ref()).saturating_add(used(temp))
    }
}
