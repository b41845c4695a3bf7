//! A started process: waiting for its end, killing its group, reaping it.
//!
//! A process id belongs to a process only until it is reaped. So everything that names the
//! process by its id ([`Child::kill_group`]) is possible only before [`Child::reap`], which the
//! borrow rules and a remembered status enforce; everything else goes through the pidfd.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, Signal, WaitIdOptions};

#[cfg(target_os = "linux")]
use crate::keeper::Sandbox;
use crate::report::Report;
#[cfg(target_os = "linux")]
use crate::report::{Layer, State};
use crate::sys;

/// The first process of a sandbox that is being set up. Dropping it ends and reaps it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Unsettled(Process);

#[cfg(target_os = "linux")]
impl Unsettled {
    pub(crate) fn pid(&self) -> Pid {
        self.0.pid
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.0.pidfd
    }

    pub(crate) fn has_ended(&self) -> bool {
        !matches!(
            self.0.wait(WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT),
            Ok(None)
        )
    }

    pub(crate) fn settled(mut self, stdout: OwnedFd, stderr: OwnedFd, sandbox: Sandbox) -> Child {
        self.0.sandbox = Some(sandbox);
        Child {
            stdout,
            stderr,
            process: self.0,
        }
    }
}

/// A running (or ended, but not yet reaped) process.
///
/// Dropping a child that was not reaped kills its group and reaps it.
#[derive(Debug)]
pub struct Child {
    /// The read end of the process's stdout.
    pub stdout: OwnedFd,
    /// The read end of the process's stderr.
    pub stderr: OwnedFd,
    process: Process,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: Option<ExitStatus>,
    /// Where the process is the first one of a sandbox, and the program another.
    #[cfg(target_os = "linux")]
    sandbox: Option<Sandbox>,
}

impl Child {
    pub(crate) fn new(started: sys::Started) -> Self {
        let sys::Started {
            pid,
            pidfd,
            stdout,
            stderr,
        } = started;
        Self {
            stdout,
            stderr,
            process: Process {
                pid,
                pidfd,
                reaped: None,
                #[cfg(target_os = "linux")]
                sandbox: None,
            },
        }
    }

    /// A process of which nothing is known yet but that it is the first one of a sandbox.
    #[cfg(target_os = "linux")]
    pub(crate) fn first_process(pid: Pid, pidfd: OwnedFd) -> Unsettled {
        Unsettled(Process {
            pid,
            pidfd,
            reaped: None,
            sandbox: None,
        })
    }

    /// How the layers of its sandbox stand. Empty for a plain start.
    pub fn report(&self) -> Report {
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.process.sandbox {
            return sandbox.report.clone();
        }
        Report::default()
    }

    /// The directory at its [`socket_dir`](crate::Confinement::socket_dir), for
    /// [`socket::connect`](crate::socket::connect), if it is its own. `None`: it is the host's.
    pub fn sockets(&self) -> Option<BorrowedFd<'_>> {
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.process.sandbox {
            return sandbox.directories.sockets.as_ref().map(AsFd::as_fd);
        }
        None
    }

    /// The directory at its [`temp_dir`](crate::Confinement::temp_dir), for
    /// [`socket::connect`](crate::socket::connect), if it is its own: some programs make their
    /// socket there. `None`: it is the host's. While the child is held, what is in it counts as
    /// used memory.
    pub fn temp_dir(&self) -> Option<BorrowedFd<'_>> {
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.process.sandbox {
            return sandbox.directories.temp.as_ref().map(AsFd::as_fd);
        }
        None
    }

    /// The process's id, which is also its session's. Meaningful until [`Child::reap`]. Of a
    /// sandbox it is that of its first process.
    pub fn pid(&self) -> u32 {
        self.process.pid.as_raw_pid().unsigned_abs()
    }

    /// The id of the program's process, as this process sees it: the same as [`Child::pid`] for a
    /// plain start, that of the first process's child for a sandbox. `None` where it cannot be
    /// seen, or has ended. To show to people: nothing keeps it from being another's later.
    pub fn program_pid(&self) -> Option<u32> {
        #[cfg(target_os = "linux")]
        if self.process.sandbox.is_some() {
            let pid = self.pid();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            return children.ok()?.split_whitespace().next()?.parse().ok();
        }
        Some(self.pid())
    }

    /// A descriptor that becomes readable when the process has ended. On Linux it is a pidfd;
    /// elsewhere a pipe that plays its part.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// How the process ended, or `None` while it runs. The process stays reapable, so its id
    /// stays its own.
    ///
    /// # Errors
    /// When the kernel refuses the question, which would be a bug.
    pub fn status(&self) -> io::Result<Option<ExitStatus>> {
        self.process
            .wait(WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    /// Waits until the process has ended, without reaping it. Blocks.
    ///
    /// # Errors
    /// As [`Child::status`].
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.process.wait_to_end(WaitIdOptions::NOWAIT)
    }

    /// Sends SIGKILL to the process and to every process of its group: its children, unless they
    /// left the group. Of a sandbox, everything in it is killed. Does nothing after [`Child::reap`], when the id may be another's.
    ///
    /// # Errors
    /// When the kernel refuses; that a group is already gone is no error.
    pub fn kill_group(&self) -> io::Result<()> {
        self.process.kill_group()
    }

    /// Waits until the process has ended and reaps it. Blocks; idempotent.
    ///
    /// # Errors
    /// As [`Child::status`].
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        self.process.reap()
    }

    /// Splits off the pipes, so that they can be drained elsewhere while the process is waited
    /// for here.
    ///
    /// # Errors
    /// When the descriptors cannot be duplicated (the host's descriptor limit).
    pub fn clone_pipes(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.stdout.try_clone()?, self.stderr.try_clone()?))
    }
}

impl Process {
    fn wait(&self, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.reaped {
            return Ok(Some(status));
        }
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(
                sys::wait_id(self.pid, &self.pidfd),
                options | WaitIdOptions::EXITED,
            )
        })?;
        Ok(status.map(|status| {
            self.of_program(if let Some(code) = status.exit_status() {
                ExitStatus::Exited { code }
            } else {
                ExitStatus::Signaled {
                    signal: status.terminating_signal().unwrap_or_default(),
                    core_dumped: status.dumped(),
                }
            })
        }))
    }

    /// The program's end, where `first` is that of the first process of a sandbox.
    #[cfg(target_os = "linux")]
    fn of_program(&self, first: ExitStatus) -> ExitStatus {
        let Some(sandbox) = &self.sandbox else {
            return first;
        };
        let status = match sandbox.end() {
            Some(end) if end.signaled => ExitStatus::Signaled {
                signal: end.status,
                core_dumped: end.core_dumped,
            },
            Some(end) => ExitStatus::Exited { code: end.status },
            None => first,
        };
        match status {
            ExitStatus::Signaled { signal, .. } => match sandbox.killed_for_memory(signal) {
                Some(bytes) => ExitStatus::MemoryLimit { bytes },
                None => status,
            },
            other => other,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn of_program(&self, first: ExitStatus) -> ExitStatus {
        first
    }

    fn wait_to_end(&self, options: WaitIdOptions) -> io::Result<ExitStatus> {
        self.wait(options)?
            .ok_or_else(|| io::Error::other("waitid returned without a status"))
    }

    fn kill_group(&self) -> io::Result<()> {
        if self.reaped.is_some() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.sandbox {
            sandbox.let_go();
            // Where all of it is in a process namespace, this is at once the end of it; elsewhere
            // the first process has to kill the others.
            let namespace = sandbox.report.get(Layer::Pid);
            if namespace.is_some_and(|entry| entry.state == State::Enforced) {
                sys::process::kill(&self.pidfd)?;
            }
            return Ok(());
        }
        match rustix::process::kill_process_group(self.pid, Signal::KILL) {
            Ok(()) => Ok(()),
            // It has no group yet, where it is the first process of a sandbox that waits.
            #[cfg(target_os = "linux")]
            Err(rustix::io::Errno::SRCH) => sys::process::kill(&self.pidfd),
            #[cfg(not(target_os = "linux"))]
            Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait_to_end(WaitIdOptions::empty())?;
        self.reaped = Some(status);
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped.is_some() {
            return;
        }
        let _ = self.kill_group();
        if let Ok(Some(_)) = self.wait(WaitIdOptions::NOHANG) {
            return;
        }
        // SIGKILL takes effect soon, but not at once, and never on a process stuck in the kernel:
        // wait for it where nobody else has to.
        let Ok(pidfd) = self.pidfd.try_clone() else {
            return;
        };
        let pid = self.pid;
        let _ = std::thread::Builder::new()
            .name("gk-reaper".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                let _ = rustix::io::retry_on_intr(|| {
                    rustix::process::waitid(sys::wait_id(pid, &pidfd), WaitIdOptions::EXITED)
                });
            });
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited by itself.
    Exited {
        /// Its exit code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core dump was written.
        core_dumped: bool,
    },
    /// It was killed because its sandbox used more memory than it may.
    MemoryLimit {
        /// The limit, in bytes.
        bytes: u64,
    },
}

impl ExitStatus {
    /// Whether the process exited with code 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Exited { code: 0 }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Exited { code } => write!(f, "exited with code {code}"),
            ExitStatus::Signaled {
                signal,
                core_dumped,
            } => {
                match signal_name(signal) {
                    Some(name) => write!(f, "ended by signal {signal} ({name})")?,
                    None => write!(f, "ended by signal {signal}")?,
                }
                if core_dumped {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
            }
            ExitStatus::MemoryLimit { bytes } => {
                write!(f, "killed: memory limit {} MB", bytes >> 20)
            }
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: &[(i32, &str)] = &[
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| *number == signal)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn statuses_read_well() {
        assert_eq!(
            ExitStatus::Exited { code: 3 }.to_string(),
            "exited with code 3"
        );
        assert_eq!(
            ExitStatus::Signaled {
                signal: 9,
                core_dumped: false
            }
            .to_string(),
            "ended by signal 9 (SIGKILL)"
        );
        assert_eq!(
            ExitStatus::Signaled {
                signal: 60,
                core_dumped: true
            }
            .to_string(),
            "ended by signal 60, core dumped"
        );
    }
}
