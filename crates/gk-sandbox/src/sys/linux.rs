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
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::{Failure, Prepared, Started, Step};

/// The child's stack until the exec. It makes a dozen shallow calls; libc's posix_spawn uses half.
const STACK_BYTES: usize = 64 * 1024;
/// One past the highest signal number.
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

/// How to wait for a child: through its pidfd.
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

/// What the child reads, and the two words it writes.
struct Shared {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    working_dir: *const c_char,
    stdio: [c_int; 3],
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

/// Starts a process. Must run on the spawner's thread.
pub(crate) fn start(prepared: &Prepared) -> Result<Started, Failure> {
    let pipes = |errno: rustix::io::Errno| Failure::new(Step::Pipes, errno);
    let stdin = above_stdio(
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(pipes)?,
    )?;
    let (stdout, stdout_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(pipes)?;
    let (stderr, stderr_child) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(pipes)?;
    let (stdout_child, stderr_child) = (above_stdio(stdout_child)?, above_stdio(stderr_child)?);

    let argv = pointers(&prepared.argv);
    let envp = pointers(&prepared.envp);
    let shared = Shared {
        program: prepared.program.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        working_dir: prepared.working_dir.as_ptr(),
        stdio: [
            stdin.as_raw_fd(),
            stdout_child.as_raw_fd(),
            stderr_child.as_raw_fd(),
        ],
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
    Ok(Started {
        pid,
        pidfd,
        stdout,
        stderr,
    })
}

/// Moves a descriptor out of the way of 0, 1 and 2, which a host started without stdio hands out.
fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Failure> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(|errno| Failure::new(Step::Pipes, errno))
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
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else {
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
        // The host may have died before the line above took effect; then nobody would signal.
        if libc::getppid() != shared.host {
            return 3;
        }
        let mut target: c_int = 0;
        while target < 3 {
            // The sources are above 2, so dup2 makes a copy without close-on-exec.
            if libc::dup2(shared.stdio[target as usize], target) < 0 {
                return 4;
            }
            target += 1;
        }
        // The table is the child's own copy (no CLONE_FILES): closing leaves the host's alone.
        if libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            0 as libc::c_uint,
        ) < 0
        {
            return 4;
        }
        // Ignored signals stay ignored across an exec (SIGPIPE, in every Rust program): back to
        // the defaults, all of them. libc refuses its internal ones, so ask the kernel; all zero
        // is SIG_DFL without flags, and SIGKILL and SIGSTOP answer EINVAL.
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
        if libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) < 0 {
            return 5;
        }
        if libc::chdir(shared.working_dir) < 0 {
            return 6;
        }
        libc::execve(shared.program, shared.argv, shared.envp);
        7
    }
}
