//! For tests: forked children that confine themselves, and raw calls to attack with.
//!
//! A layer cannot be taken off again, so each trial has a process of its own. It is a copy of a
//! process with threads: it only does what is safe there with glibc (whose malloc survives a
//! fork), and leaves by `_exit`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::any::Any;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{c_int, c_long};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

/// The end of a child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The body returned.
    Well,
    /// The body panicked, with this message.
    Panicked(String),
    Signaled(i32),
}

/// A child that runs beside the test. Dropping it kills and reaps it.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) pid: Pid,
    messages: OwnedFd,
    reaped: bool,
}

/// Runs `body` in a forked child and waits for it.
pub(crate) fn in_child(body: impl FnOnce()) -> Ended {
    beside(body).ended()
}

/// As [`in_child`]; a child that does not end well fails the test.
#[track_caller]
pub(crate) fn ends_well(body: impl FnOnce()) {
    let ended = in_child(body);
    assert!(ended == Ended::Well, "in the child: {ended:?}");
}

/// Starts `body` in a forked child.
pub(crate) fn beside(body: impl FnOnce()) -> Beside {
    let (messages, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    // SAFETY: the child runs the body, which keeps the rules in this file's header, and exits
    // without returning to its caller.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
    if pid == 0 {
        drop(messages);
        // Should the test be killed, so are its children.
        // SAFETY: takes numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
        let outcome = catch_unwind(AssertUnwindSafe(body));
        let code = match &outcome {
            Ok(()) => 0,
            Err(panic) => {
                let _ = std::fs::File::from(writer).write_all(message(panic.as_ref()).as_bytes());
                101
            }
        };
        // SAFETY: ends the process at once, without destructors of what is the parent's.
        unsafe { libc::_exit(code) }
    }
    Beside {
        pid: Pid::from_raw(pid).unwrap(),
        messages,
        reaped: false,
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

impl Beside {
    /// Waits for the end.
    pub(crate) fn ended(mut self) -> Ended {
        let mut status: c_int = 0;
        // SAFETY: `status` is a valid place for the result.
        let waited = unsafe { libc::waitpid(self.pid.as_raw_pid(), &raw mut status, 0) };
        assert_eq!(waited, self.pid.as_raw_pid());
        self.reaped = true;
        if libc::WIFSIGNALED(status) {
            return Ended::Signaled(libc::WTERMSIG(status));
        }
        if libc::WEXITSTATUS(status) == 0 {
            return Ended::Well;
        }
        let mut said = String::new();
        let _ = std::fs::File::from(self.messages.try_clone().unwrap()).read_to_string(&mut said);
        Ended::Panicked(said)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(self.pid.as_raw_pid(), std::ptr::null_mut(), 0) };
        }
    }
}

/// Makes a system call with numbers for arguments. What the numbers mean is the test's
/// responsibility: pointers are null, or to memory that lives.
pub(crate) fn call(number: c_long, arguments: &[c_long]) -> Result<c_long, c_int> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: see the function's description; this runs in tests only.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if answer == -1 {
        Err(io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        Ok(answer)
    }
}

/// The calling process, which is a forked child of root's, becomes nobody: no group, no
/// capability.
pub(crate) fn become_nobody() {
    const NOBODY: c_long = 65534;
    call(libc::SYS_setgroups, &[0, 0]).unwrap();
    call(libc::SYS_setresgid, &[NOBODY; 3]).unwrap();
    call(libc::SYS_setresuid, &[NOBODY; 3]).unwrap();
}

/// Asks for the process id by the gate of i386.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_i386_getpid() -> i32 {
    const GETPID: i32 = 20;
    let answer: i32;
    // SAFETY: getpid takes nothing; the gate keeps all registers but rax and, at most, r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") GETPID => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            options(nostack)
        );
    }
    answer
}
