//! A child process: waiting for its end, killing its group, reaping it.
//!
//! A process id belongs to a process only until the process is reaped. So everything that names the
//! process by its id is possible only before [`Process::reap`]; everything else goes through the
//! pidfd.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, Signal, WaitIdOptions};

use crate::sys;

/// A child that was not reaped yet. Dropping it kills its group, unless that was
/// [left](Self::leave) to somebody else, and reaps it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: Option<ExitStatus>,
    left: bool,
}

impl Process {
    /// A child of this process, with its pidfd.
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            reaped: None,
            left: false,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Leaves killing to the caller: dropping this only reaps from now on.
    #[cfg(target_os = "linux")]
    pub(crate) fn leave(&mut self) {
        self.left = true;
    }

    /// Returns `true` if the process has ended, or cannot be asked.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(self.wait(options), Ok(None))
    }

    /// How the process ended; `None` while it runs and `options` do not wait.
    pub(crate) fn wait(&self, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.reaped {
            return Ok(Some(status));
        }
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(
                sys::wait_id(self.pid, &self.pidfd),
                options | WaitIdOptions::EXITED,
            )
        })?;
        Ok(status.map(|status| match status.exit_status() {
            Some(code) => ExitStatus::Exited { code },
            None => ExitStatus::Signaled {
                signal: status.terminating_signal().unwrap_or_default(),
                core_dumped: status.dumped(),
            },
        }))
    }

    /// As [`Process::wait`], with options that wait.
    pub(crate) fn wait_to_end(&self, options: WaitIdOptions) -> io::Result<ExitStatus> {
        self.wait(options)?
            .ok_or_else(|| io::Error::other("waitid returned without a status"))
    }

    /// Kills the process and its group.
    pub(crate) fn kill_group(&self) -> io::Result<()> {
        if self.reaped.is_some() {
            return Ok(());
        }
        match rustix::process::kill_process_group(self.pid, Signal::KILL) {
            Ok(()) => Ok(()),
            // A first process of a sandbox that waits for its plan has no group yet.
            #[cfg(target_os = "linux")]
            Err(rustix::io::Errno::SRCH) => sys::process::kill(&self.pidfd),
            #[cfg(not(target_os = "linux"))]
            Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the process has ended and reaps it; idempotent.
    pub(crate) fn reap(&mut self) -> io::Result<ExitStatus> {
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
        if !self.left {
            let _ = self.kill_group();
        }
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

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// The process exited by itself.
    Exited {
        /// Exit code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// `true` if a core dump was written.
        core_dumped: bool,
    },
    /// The process was killed because its sandbox used more memory than its limit.
    MemoryLimit {
        /// The limit, in bytes.
        bytes: u64,
    },
}

impl ExitStatus {
    /// Returns `true` if the process exited with code 0.
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
