//! A started process, as the crate's user has it: plain, or the program of a sandbox.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::WaitIdOptions;

#[cfg(target_os = "linux")]
use crate::keeper::Sandbox;
use crate::process::{ExitStatus, Process};
use crate::report::Report;
#[cfg(target_os = "linux")]
use crate::report::{Layer, State};
use crate::sys;

/// A running (or ended, but not yet reaped) process.
///
/// Dropping a child that was not reaped kills its group and reaps it.
#[derive(Debug)]
pub struct Child {
    /// The read end of the process's stdout.
    pub stdout: OwnedFd,
    /// The read end of the process's stderr.
    pub stderr: OwnedFd,
    running: Running,
}

/// The process, and the sandbox that it is the first process of.
///
/// Dropping it kills everything in the sandbox, or the process's group.
#[derive(Debug)]
struct Running {
    process: Process,
    /// The program's end, once it was reaped.
    reaped: Option<ExitStatus>,
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
            running: Running {
                process: Process::new(pid, pidfd),
                reaped: None,
                #[cfg(target_os = "linux")]
                sandbox: None,
            },
        }
    }

    /// The program of a sandbox with this first process.
    #[cfg(target_os = "linux")]
    pub(crate) fn confined(
        mut first: Process,
        stdout: OwnedFd,
        stderr: OwnedFd,
        sandbox: Sandbox,
    ) -> Self {
        // The first process has to kill the others before it ends.
        first.leave();
        Self {
            stdout,
            stderr,
            running: Running {
                process: first,
                reaped: None,
                sandbox: Some(sandbox),
            },
        }
    }

    /// The state of the layers of its sandbox. Empty for a plain start.
    pub fn report(&self) -> Report {
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.running.sandbox {
            return sandbox.report.clone();
        }
        Report::default()
    }

    /// The directory at its [`socket_dir`](crate::Confinement::socket_dir), for
    /// [`socket::connect`](crate::socket::connect), if it is its own. `None`: it is the host's.
    pub fn sockets(&self) -> Option<BorrowedFd<'_>> {
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.running.sandbox {
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
        if let Some(sandbox) = &self.running.sandbox {
            return sandbox.directories.temp.as_ref().map(AsFd::as_fd);
        }
        None
    }

    /// The process's id, which is also its session's. Meaningful until [`Child::reap`]. Of a
    /// sandbox it is that of its first process.
    pub fn pid(&self) -> u32 {
        self.running.process.pid().as_raw_pid().unsigned_abs()
    }

    /// The id of the program's process, as this process sees it: the same as [`Child::pid`] for a
    /// plain start, that of the first process's child for a sandbox. `None` where it cannot be
    /// seen, or has ended. To show to people: nothing keeps it from being another's later.
    pub fn program_pid(&self) -> Option<u32> {
        #[cfg(target_os = "linux")]
        if self.running.sandbox.is_some() {
            let pid = self.pid();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            return children.ok()?.split_whitespace().next()?.parse().ok();
        }
        Some(self.pid())
    }

    /// A descriptor that becomes readable when the process has ended. On Linux it is a pidfd;
    /// elsewhere a pipe that plays its part.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.running.process.pidfd().as_fd()
    }

    /// How the process ended, or `None` while it runs. The process stays reapable, so its id
    /// stays its own.
    ///
    /// # Errors
    /// When the kernel refuses the question, which would be a bug.
    pub fn status(&self) -> io::Result<Option<ExitStatus>> {
        self.running
            .wait(WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    /// Waits until the process has ended, without reaping it. Blocks.
    ///
    /// # Errors
    /// As [`Child::status`].
    pub fn wait(&self) -> io::Result<ExitStatus> {
        let status = self.running.process.wait_to_end(WaitIdOptions::NOWAIT)?;
        Ok(self.running.of_program(status))
    }

    /// Sends SIGKILL to the process and to every process of its group: its children, unless they
    /// left the group. Of a sandbox, everything in it is killed. Does nothing after
    /// [`Child::reap`], when the id may be another's.
    ///
    /// # Errors
    /// When the kernel refuses; that a group is already gone is no error.
    pub fn kill_group(&self) -> io::Result<()> {
        self.running.kill_group()
    }

    /// Waits until the process has ended and reaps it. Blocks; idempotent.
    ///
    /// # Errors
    /// As [`Child::status`].
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        self.running.reap()
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

impl Running {
    fn wait(&self, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        let status = self.process.wait(options)?;
        Ok(status.map(|status| self.of_program(status)))
    }

    /// The program's end, where `first` is that of the first process of a sandbox.
    #[cfg(target_os = "linux")]
    fn of_program(&self, first: ExitStatus) -> ExitStatus {
        let Some(sandbox) = &self.sandbox else {
            return first;
        };
        if let Some(status) = self.reaped {
            return status;
        }
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

    fn kill_group(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(sandbox) = &self.sandbox {
            if self.reaped.is_some() {
                return Ok(());
            }
            sandbox.let_go();
            // In a process namespace the end of the first process is the end of all processes.
            // Elsewhere the first process has to kill the others.
            let namespace = sandbox.report.get(Layer::Pid);
            if namespace.is_some_and(|entry| entry.state == State::Enforced) {
                sys::process::kill(self.process.pidfd())?;
            }
            return Ok(());
        }
        self.process.kill_group()
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.reap()?;
        let status = self.of_program(status);
        self.reaped = Some(status);
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped.is_none() {
            let _ = self.kill_group();
        }
    }
}
