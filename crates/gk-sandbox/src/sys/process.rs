//! Processes of the keeper and inside a sandbox: forking, descriptors, signals, executing.
//!
//! Everything here is for a process with one thread, which a keeper and what it forks are: such a
//! child may allocate, lock and panic like any other program.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

/// Which of the two processes a fork returned in.
pub(crate) enum Forked {
    /// The new one.
    Child,
    /// The old one.
    Parent {
        /// The new one's id, as the old one's process namespace numbers it.
        pid: Pid,
        /// Its pidfd.
        pidfd: OwnedFd,
    },
}

/// Forks, with a pidfd and into new namespaces (`CLONE_NEW…`). As a `sibling` the new process
/// becomes a child of this one's parent.
///
/// The call is clone and not clone3, which seccomp profiles of containers answer with ENOSYS:
/// a filter cannot see its flags.
pub(crate) fn fork(namespaces: c_int, sibling: bool) -> io::Result<Forked> {
    let mut pidfd: c_int = -1;
    // With CLONE_PARENT the kernel takes the caller's exit signal in place of this one.
    let mut flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    if sibling {
        flags |= libc::CLONE_PARENT;
    }
    // The order of the last two arguments differs between machines; no flag reads them.
    let unused = ptr::null_mut::<c_void>();
    // SAFETY: without CLONE_VM the child gets a copy of the memory, and without a stack it goes
    // on with that copy of this one, as after fork(). `pidfd`, which the kernel writes in place
    // of the parent's thread id, outlives the call. The process has one thread (see the module).
    let answer = unsafe {
        libc::syscall(
            libc::SYS_clone,
            c_long::from(flags),
            unused,
            ptr::from_mut(&mut pidfd),
            unused,
            unused,
        )
    };
    match answer {
        0 => Ok(Forked::Child),
        pid if pid > 0 => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // SAFETY: clone succeeded with CLONE_PIDFD, so this is a new descriptor of ours.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            match pid {
                Some(pid) => Ok(Forked::Parent { pid, pidfd }),
                None => Err(io::Error::other("clone returned no process id")),
            }
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks a process into new namespaces that ends at once, and collects it: whether they can be had.
pub(crate) fn fork_and_end(namespaces: c_int) -> io::Result<()> {
    match fork(namespaces, false)? {
        Forked::Child => exit(0),
        Forked::Parent { pidfd, .. } => {
            rustix::io::retry_on_intr(|| {
                rustix::process::waitid(
                    rustix::process::WaitId::PidFd(pidfd.as_fd()),
                    rustix::process::WaitIdOptions::EXITED,
                )
            })?;
            Ok(())
        }
    }
}

/// Ends this process at once.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it does not return, and runs nothing of ours.
    unsafe { libc::_exit(code) }
}

/// Takes over a descriptor that this process was started with.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl touches no memory; a number that is not open answers an error.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and this runs once, before anything else could have taken it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor but 0, 1, 2 and `kept`.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .filter(|&number| number > 2)
        .collect();
    numbers.sort_unstable();
    let mut first = 3u32;
    for number in numbers {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: it takes numbers. Whoever owned one of these descriptors is the forked copy of a
    // value that this process never uses again.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes `from` the descriptor `to` (0, 1 or 2), which stays open across an exec.
pub(crate) fn stdio(from: BorrowedFd<'_>, to: c_int) -> io::Result<()> {
    // SAFETY: dup2 takes numbers; 0 to 2 are nobody's OwnedFd.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Puts every signal back to its default and unblocks them all.
pub(crate) fn default_signals() -> io::Result<()> {
    // SAFETY: this process is about to execute.
    if unsafe { super::linux::reset_signals() } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ignores the signals that ask a process to end.
pub(crate) fn ignore_termination() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no handler of ours is set, so none can be called.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

/// Blocks SIGCHLD, and returns a descriptor that is readable when a child has ended.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is initialised by sigemptyset before it is used, and outlives the calls.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor of ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The program to execute.
pub(crate) enum Exec<'a> {
    /// The file at a path.
    Path(&'a CStr),
    /// The file behind a descriptor.
    Fd(BorrowedFd<'a>),
}

/// Executes. Returns only the error.
pub(crate) fn execute(what: Exec<'_>, argv: &[CString], envp: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: NUL-terminated strings and NULL-terminated arrays of them, alive during the calls.
    unsafe {
        match what {
            Exec::Path(path) => {
                libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
            }
            Exec::Fd(fd) => {
                // Not every libc has a function for it.
                libc::syscall(
                    libc::SYS_execveat,
                    fd.as_raw_fd(),
                    c"".as_ptr(),
                    argv.as_ptr(),
                    envp.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
            }
        }
    }
    io::Error::last_os_error()
}

/// Moves into new namespaces (`CLONE_NEW…`).
pub(crate) fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: only namespaces are asked for, which have no part in this process's memory.
    if unsafe { libc::unshare(namespaces) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What of a mount is to be set. Nothing is ever cleared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountFlags {
    pub(crate) read_only: bool,
    pub(crate) no_devices: bool,
    pub(crate) no_exec: bool,
    /// Also the mounts below it.
    pub(crate) recursive: bool,
}

/// Sets flags of the mount at `path` below `dir`, or of `dir` itself when `path` is empty. It is
/// always made nosuid.
pub(crate) fn set_mount_flags(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: MountFlags,
) -> io::Result<()> {
    let mut set = libc::MOUNT_ATTR_NOSUID;
    for (wanted, flag) in [
        (flags.read_only, libc::MOUNT_ATTR_RDONLY),
        (flags.no_devices, libc::MOUNT_ATTR_NODEV),
        (flags.no_exec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= flag;
        }
    }
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attributes: [u64; 4] = [set, 0, 0, 0];
    let at = libc::AT_EMPTY_PATH
        | if flags.recursive {
            libc::AT_RECURSIVE
        } else {
            0
        };
    // SAFETY: the string and the attributes are valid for the call, with the size that is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            at,
            attributes.as_ptr().cast::<c_void>(),
            size_of_val(&attributes),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends SIGKILL to every process that this one may signal but itself: in a process namespace of
/// which it is the first, to all others.
pub(crate) fn kill_all_others() {
    // SAFETY: kill takes numbers.
    unsafe {
        libc::kill(-1, libc::SIGKILL);
    }
}

/// Sends SIGKILL to a process by its pidfd.
pub(crate) fn kill(pidfd: impl AsFd) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes a whole small file of the kernel's, in one write.
pub(crate) fn write_at_once(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(
        path.as_ref(),
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let written = rustix::io::write(&file, text.as_bytes())?;
    if written == text.len() {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::WriteZero))
    }
}
