//! Giving up what a process could do: capabilities, securebits, and the flags of prctl.
//!
//! Everything here concerns the calling thread (the descriptors: the process), only takes away,
//! and cannot be undone.

use std::io;

use libc::{c_int, c_uint, c_ulong};

/// `_LINUX_CAPABILITY_VERSION_3`: two words per set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    /// 0 is the calling thread.
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn prctl(option: c_int, arguments: [c_ulong; 2]) -> io::Result<()> {
    let unused: c_ulong = 0;
    // SAFETY: only options whose arguments are numbers are passed (all callers are in this file),
    // so the kernel reads and writes no memory of this process.
    let answer = unsafe { libc::prctl(option, arguments[0], arguments[1], unused, unused) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sets the securebits; needs CAP_SETPCAP.
pub(crate) fn set_securebits(bits: c_ulong) -> io::Result<()> {
    prctl(libc::PR_SET_SECUREBITS, [bits, 0])
}

/// Drops one capability of the bounding set; needs CAP_SETPCAP. `EINVAL` says that the kernel
/// knows no such capability.
pub(crate) fn drop_bounding(capability: c_ulong) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, [capability, 0])
}

/// Empties the ambient set. `EINVAL` on a kernel without one.
pub(crate) fn clear_ambient() -> io::Result<()> {
    const CLEAR_ALL: c_ulong = 4;
    prctl(libc::PR_CAP_AMBIENT, [CLEAR_ALL, 0])
}

/// Empties the effective, permitted and inheritable sets, which every process may.
pub(crate) fn empty_capabilities() -> io::Result<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let sets = [CapabilitySets::default(); 2];
    // SAFETY: the header and the two sets are laid out as version 3 wants them, and live until
    // the call returns; the kernel reads them (and would correct the version, were it unknown, in
    // memory that is ours to lose).
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(crate) fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0])
}

/// Memory that was writable does not become executable, here and in children.
pub(crate) fn deny_write_execute() -> io::Result<()> {
    const PR_SET_MDWE: c_int = 65;
    const REFUSE_EXEC_GAIN: c_ulong = 1;
    prctl(PR_SET_MDWE, [REFUSE_EXEC_GAIN, 0])
}

pub(crate) fn set_undumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, [0, 0])
}

/// Has every descriptor from `from` on closed by an exec.
pub(crate) fn close_on_exec(from: u32) -> io::Result<()> {
    let (last, flags): (c_uint, c_uint) = (c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: takes numbers, and closes nothing by itself.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, from, last, flags) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
