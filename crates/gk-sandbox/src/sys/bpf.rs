//! Handing a seccomp program to the kernel.

use std::io;

use libc::{c_ulong, sock_filter, sock_fprog};

/// Installs `program` for the calling thread and all it starts from here on. The thread must
/// have set no_new_privs, or hold CAP_SYS_ADMIN.
///
/// No flag: without SPEC_ALLOW, a kernel that disables speculative store bypass for confined
/// processes does so for this one; without TSYNC, other threads of the process stay as they are.
pub(crate) fn install(program: &[sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: program.as_ptr().cast_mut(),
    };
    let no_flags: c_ulong = 0;
    // SAFETY: `program` and the instructions it points to live until the call returns; the kernel
    // copies and checks them, and writes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            no_flags,
            &raw const program,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
