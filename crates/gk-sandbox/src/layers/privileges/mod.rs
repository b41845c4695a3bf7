//! Privileges that a process gives up before it executes the program. Each function is for a child
//! with one thread. Its effect is irrevocable, for the child and for its descendants.

use std::io;

use libc::c_ulong;
use rustix::process::{Resource, Rlimit};

use crate::sys::privileges as sys;

/// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, and the locks of these and of KEEP_CAPS: user
/// id 0 is an id like any other, for good.
const SECUREBITS: c_ulong = 0b1110_1111;
/// More capabilities than any kernel has; it says itself where they end (41 in 2024).
const CAPABILITIES_END: c_ulong = 64;

/// Leaves the process without capabilities, and as far as possible without a way to any.
///
/// Without CAP_SETPCAP the bounding set and the securebits stay as they are. That is no gap once
/// [`no_new_privs`] is set: an exec then gives no capability that the process did not have.
///
/// # Errors
/// When the sets cannot be emptied, which the kernel always allows.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    tolerate(sys::set_securebits(SECUREBITS), &[libc::EPERM])?;
    for capability in 0..CAPABILITIES_END {
        match sys::drop_bounding(capability) {
            Ok(()) => {}
            // EINVAL: the one after the last.
            Err(error) => {
                tolerate(Err(error), &[libc::EPERM, libc::EINVAL])?;
                break;
            }
        }
    }
    tolerate(sys::clear_ambient(), &[libc::EINVAL])?;
    sys::empty_capabilities()
}

fn tolerate(outcome: io::Result<()>, tolerated: &[i32]) -> io::Result<()> {
    match outcome {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|errno| tolerated.contains(&errno)) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// No exec gives a privilege any more: setuid bits and file capabilities are ignored. Landlock
/// and seccomp require it of processes without CAP_SYS_ADMIN.
///
/// # Errors
/// Never on a kernel since 3.5.
pub(crate) fn no_new_privs() -> io::Result<()> {
    sys::set_no_new_privs()
}

/// Memory is writable or executable, never one after the other: no injected code runs. Survives
/// fork and exec. Programs that compile at run time (JITs) fail under it.
///
/// What it does not stop: mapping a file executable that the process wrote. For that its
/// directories are mounted noexec, and it gets no memfd from the seccomp filter.
///
/// # Errors
/// `EINVAL` on a kernel before 6.3, or on a processor that has no such protection.
pub(crate) fn mdwe() -> io::Result<()> {
    sys::deny_write_execute()
}

/// Has every descriptor from 3 on closed by the exec, whatever its flags are.
///
/// # Errors
/// `EINVAL` on a kernel before 5.11.
pub(crate) fn close_descriptors() -> io::Result<()> {
    sys::close_on_exec(3)
}

/// Nobody but root looks into this process by way of /proc or ptrace, and it dumps no core. An
/// exec undoes it: for processes that stay what they are.
///
/// # Errors
/// Never.
pub(crate) fn undumpable() -> io::Result<()> {
    sys::set_undumpable()
}

/// The limits of one process; those on a whole sandbox are the control group's.
///
/// Fixed are: no core dump, no real-time priority, no negative nice value. The stack keeps what
/// the host has, and the address space is unlimited, as Go reserves 711 MB of it at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessLimits {
    /// Descriptors.
    pub(crate) open_files: u64,
    /// Processes and threads of the same *user*, in the user namespace. The kernel does not
    /// enforce it for the host's user id 0.
    pub(crate) processes: u64,
    /// The size to which a file may be written; beyond, SIGXFSZ and `EFBIG`.
    pub(crate) file_bytes: u64,
    /// Private writable memory. Shared mappings do not count, and each process counts alone.
    pub(crate) data_bytes: Option<u64>,
    /// Memory locked into RAM.
    pub(crate) locked_bytes: u64,
    /// POSIX message queues of the same user, which belong to no process.
    pub(crate) message_queue_bytes: u64,
    /// Queued signals and timers of the same user.
    pub(crate) pending_signals: u64,
}

impl Default for ProcessLimits {
    fn default() -> Self {
        Self {
            open_files: 1024,
            processes: 256,
            file_bytes: 1 << 30,
            data_bytes: None,
            locked_bytes: 64 << 10,
            message_queue_bytes: 0,
            pending_signals: 1024,
        }
    }
}

/// Sets the limits, soft and hard alike; a hard limit that is lower already stays.
///
/// # Errors
/// When the kernel refuses to lower a limit, which would be a bug.
pub(crate) fn set_limits(limits: &ProcessLimits) -> io::Result<()> {
    let settings = [
        (Resource::Core, Some(0)),
        (Resource::Nice, Some(0)),
        (Resource::Rtprio, Some(0)),
        (Resource::Nofile, Some(limits.open_files)),
        (Resource::Nproc, Some(limits.processes)),
        (Resource::Fsize, Some(limits.file_bytes)),
        (Resource::Data, limits.data_bytes),
        (Resource::Memlock, Some(limits.locked_bytes)),
        (Resource::Msgqueue, Some(limits.message_queue_bytes)),
        (Resource::Sigpending, Some(limits.pending_signals)),
    ];
    for (resource, wanted) in settings {
        let Some(wanted) = wanted else { continue };
        // `None` is infinity.
        let hard = rustix::process::getrlimit(resource).maximum;
        let value = Some(hard.map_or(wanted, |hard| hard.min(wanted)));
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: value,
                maximum: value,
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
