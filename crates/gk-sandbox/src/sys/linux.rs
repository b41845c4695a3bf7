//! Linux: a child that shares the host's memory until it executes its program.
//!
//! `clone(CLONE_VM | CLONE_VFORK)` is what posix_spawn does inside libc: no page table is copied
//! (a large host starts a child as fast as a small one), the calling thread sleeps until the
//! exec, and the child reports a failed step by writing it into the memory it shares. libc's own
//! posix_spawn cannot set the parent-death signal, hence this file.
//!
//! The rules for code between clone and exec: system calls only. No allocation, no lock, no
//! panic, no destructor; all signals blocked until their dispositions are reset.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::{Failure, Prepared, Started, Step};
use crate::sys::prepared::Image;

/// The child's stack until the exec. It makes a dozen shallow calls; libc's posix_spawn uses half.
const STACK_BYTES: usize = 64 * 1024;
/// The highest signal number plus one.
const SIGNALS_END: c_int = 65;
/// The size of the kernel's signal set, which rt_sigaction insists on.
const KERNEL_SIGSET_BYTES: usize = 8;

/// Blocks every signal in the spawner's thread: handlers of the host belong on other threads, and
/// none may run in a child that shares the host's memory.
pub(crate) fn enter_spawner_thread() {
    // SAFETY: `all` is initialised by sigfillset before it is read; the calls touch only this
    // thread's mask.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// The wait for a child by its pidfd.
pub(crate) fn wait_id(_pid: Pid, pidfd: &OwnedFd) -> WaitId<'_> {
    WaitId::PidFd(pidfd.as_fd())
}

/// The process that listens at the other end of a connection, as this process's pid namespace
/// numbers it: 0 stands for one that cannot be seen from here. rustix's type has no room for it.
pub(crate) struct Peer {
    pub(crate) pid: libc::pid_t,
    pub(crate) uid: libc::uid_t,
}

/// Asks the kernel who listened when `socket` connected.
pub(crate) fn peer(socket: &OwnedFd) -> io::Result<Peer> {
    let mut found = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    // Twelve bytes.
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or_default();
    // SAFETY: both pointers are valid for the lengths given, for the duration of the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast::<c_void>(),
            &raw mut bytes,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer {
        pid: found.pid,
        uid: found.uid,
    })
}

/// The session a process belongs to; 0 where its leader is outside this pid namespace, which
/// rustix takes for impossible.
pub(crate) fn session(pid: libc::pid_t) -> io::Result<u32> {
    // SAFETY: getsid takes a number and touches no memory.
    let found = unsafe { libc::getsid(pid) };
    u32::try_from(found).map_err(|_| io::Error::last_os_error())
}

/// Input of the child, and the two words that it writes.
struct Shared {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    working_dir: *const c_char,
    stdio: [c_int; 3],
    /// Becomes descriptor 3, or -1.
    extra: c_int,
    /// `true` if `extra` is the program, and closed by its execution.
    extra_is_binary: bool,
    /// `true` if `extra` is the program at all.
    extra_is_program: bool,
    /// `true` if it dies with the thread that starts it.
    dies_with_host: bool,
    host: libc::pid_t,
    failed_step: AtomicI32,
    failed_errno: AtomicI32,
}

/// The steps as the child writes them; 0 stands for "none failed".
const STEPS: &[(i32, Step)] = &[
    (1, Step::Session),
    (2, Step::ParentDeathSignal),
    (3, Step::ParentGone),
    (4, Step::Descriptors),
    (5, Step::Signals),
    (6, Step::WorkingDir),
    (7, Step::Exec),
];

/// Opens `/dev/null`, out of the way of descriptors 0, 1 and 2.
fn null(flags: OFlags) -> Result<OwnedFd, Failure> {
    above(
        rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::new(Step::Pipes, errno))?,
        3,
    )
}

/// Starts a process. Must run on the spawner's thread.
pub(crate) fn start(prepared: &Prepared) -> Result<Started, Failure> {
    let pipes = |errno: rustix::io::Errno| Failure::new(Step::Pipes, errno);
    let stdin = null(OFlags::RDONLY)?;
    let (stdout, stdout_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(pipes)?;
    let (stderr, stderr_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(pipes)?;
    let (stdout_child, stderr_child) = (above(stdout_child, 3)?, above(stderr_child, 3)?);
    let program = match &prepared.image {
        Image::Path => None,
        Image::Binary(file) | Image::Script(file) => Some(
            rustix::io::fcntl_dupfd_cloexec(file, 4)
                .map_err(|errno| Failure::new(Step::Pipes, errno))?,
        ),
    };
    let (pid, pidfd) = run(
        prepared,
        [stdin.as_fd(), stdout_child.as_fd(), stderr_child.as_fd()],
        program.as_ref().map(AsFd::as_fd),
        true,
    )?;
    Ok(Started {
        pid,
        pidfd,
        stdout,
        stderr,
    })
}

/// Starts a process that outlives the host and has `socket` as its descriptor 3; without stdio.
pub(crate) fn start_keeper(
    prepared: &Prepared,
    socket: OwnedFd,
) -> Result<(Pid, OwnedFd), Failure> {
    let (read, write) = (null(OFlags::RDONLY)?, null(OFlags::WRONLY)?);
    let socket = above(socket, 4)?;
    run(
        prepared,
        [read.as_fd(), write.as_fd(), write.as_fd()],
        Some(socket.as_fd()),
        false,
    )
}

fn run(
    prepared: &Prepared,
    stdio: [BorrowedFd<'_>; 3],
    extra: Option<BorrowedFd<'_>>,
    dies_with_host: bool,
) -> Result<(Pid, OwnedFd), Failure> {
    let argv = pointers(&prepared.argv);
    let envp = pointers(&prepared.envp);
    let shared = Shared {
        program: prepared.program.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        working_dir: prepared.working_dir.as_ptr(),
        stdio: stdio.map(|fd| fd.as_raw_fd()),
        extra: extra.map_or(-1, |fd| fd.as_raw_fd()),
        extra_is_binary: matches!(prepared.image, Image::Binary(_)),
        extra_is_program: !matches!(prepared.image, Image::Path),
        dies_with_host,
        host: rustix::process::getpid().as_raw_pid(),
        failed_step: AtomicI32::new(0),
        failed_errno: AtomicI32::new(0),
    };
    let (pid, pidfd) = clone_child(&shared)?;

    let step = shared.failed_step.load(Ordering::SeqCst);
    if let Some((_, step)) = STEPS.iter().find(|(number, _)| *number == step) {
        // It is exiting; nothing but its zombie is left to collect.
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        return Err(Failure::new(
            *step,
            io::Error::from_raw_os_error(shared.failed_errno.load(Ordering::SeqCst)),
        ));
    }
    Ok((pid, pidfd))
}

/// Moves a descriptor out of the way of those below `lowest`: a host that was started without
/// stdio hands out 0, 1 and 2.
fn above(fd: OwnedFd, lowest: c_int) -> Result<OwnedFd, Failure> {
    if fd.as_raw_fd() >= lowest {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, lowest).map_err(|errno| Failure::new(Step::Pipes, errno))
}

/// The NULL-terminated array of pointers that execve wants; valid as long as `strings`.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn clone_child(shared: &Shared) -> Result<(Pid, OwnedFd), Failure> {
    let mut stack = Box::<[u128]>::new_uninit_slice(STACK_BYTES / size_of::<u128>());
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack is 64 KiB, aligned to 16, and outlives the child's use of it, because
    // CLONE_VFORK keeps this thread asleep until the child has executed or exited; the same holds
    // for `shared` and all it points to. The stack grows down on every architecture Linux and
    // this crate's clone() support, so its end is passed. The child's function keeps the rules in
    // the module's header. This thread has all signals blocked (`enter_spawner_thread`), so no
    // handler runs on the child's stack. `pidfd` is a valid place for CLONE_PIDFD's result.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        libc::clone(
            child_main,
            top,
            flags,
            ptr::from_ref(shared).cast_mut().cast::<c_void>(),
            &raw mut pidfd,
        )
    };
    // Of a negative number it would panic.
    let Some(pid) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else {
        return Err(Failure::new(Step::Clone, io::Error::last_os_error()));
    };
    // SAFETY: clone succeeded, so the kernel stored a new descriptor that nobody else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// The child, from clone to exec. Never returns normally.
extern "C" fn child_main(arg: *mut c_void) -> c_int {
    // SAFETY: `arg` is the `Shared` of `clone_child`, alive while that thread sleeps, and only
    // its atomics are written. All calls are system calls on values prepared by the parent; the
    // pointers are NUL-terminated strings and NULL-terminated arrays of them.
    unsafe {
        let shared = &*arg.cast::<Shared>();
        let number = run_child(shared);
        shared
            .failed_errno
            .store(*libc::__errno_location(), Ordering::SeqCst);
        shared.failed_step.store(number, Ordering::SeqCst);
        libc::_exit(127)
    }
}

/// Returns the number of the step that failed, with errno set.
///
/// # Safety
/// As for `child_main`.
unsafe fn run_child(shared: &Shared) -> i32 {
    // SAFETY: see `child_main`.
    unsafe {
        // A session of its own: a new process group, and no terminal to push input into.
        if libc::setsid() < 0 {
            return 1;
        }
        if shared.dies_with_host {
            if libc::prctl(
                libc::PR_SET_PDEATHSIG,
                libc::SIGKILL as libc::c_ulong,
                0,
                0,
                0,
            ) < 0
            {
                return 2;
            }
            // The host may have died before that took effect; then nobody would signal.
            if libc::getppid() != shared.host {
                return 3;
            }
        }
        let mut target: c_int = 0;
        while target < 3 {
            // The sources are above 2, so dup2 makes a copy without close-on-exec.
            if libc::dup2(shared.stdio[target as usize], target) < 0 {
                return 4;
            }
            target += 1;
        }
        let mut first_closed: libc::c_uint = 3;
        if shared.extra >= 0 {
            // A script's interpreter opens it once more, a binary needs it only to be executed.
            let flags = if shared.extra_is_binary {
                libc::O_CLOEXEC
            } else {
                0
            };
            if libc::dup3(shared.extra, 3, flags) < 0 {
                return 4;
            }
            first_closed = 4;
        }
        // The table is the child's own copy (no CLONE_FILES): closing leaves the host's alone.
        if libc::syscall(
            libc::SYS_close_range,
            first_closed,
            libc::c_uint::MAX,
            0 as libc::c_uint,
        ) < 0
        {
            return 4;
        }
        if reset_signals() < 0 {
            return 5;
        }
        if libc::chdir(shared.working_dir) < 0 {
            return 6;
        }
        if shared.extra_is_program {
            // Not every libc has a function for it.
            libc::syscall(
                libc::SYS_execveat,
                3 as c_int,
                c"".as_ptr(),
                shared.argv,
                shared.envp,
                libc::AT_EMPTY_PATH,
            );
        } else {
            libc::execve(shared.program, shared.argv, shared.envp);
        }
        7
    }
}

/// Puts every signal back to its default and unblocks them all. Ignored signals stay ignored
/// across an exec (SIGPIPE, in every Rust program). Returns what `sigprocmask` does.
///
/// # Safety
/// For a process about to execute: handlers that were set are gone.
pub(super) unsafe fn reset_signals() -> c_int {
    // SAFETY: `default` and `none` are valid for the calls; no memory of ours is kept.
    unsafe {
        // libc refuses its internal ones, so ask the kernel; all zero is SIG_DFL without flags,
        // and SIGKILL and SIGSTOP answer EINVAL.
        let default = [0u64; 8];
        let mut signal: c_int = 1;
        while signal < SIGNALS_END {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<c_void>(),
                KERNEL_SIGSET_BYTES,
            );
            signal += 1;
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    }
}
