//! Landlock's three system calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long, c_void};

/// What a ruleset handles: an access that is handled is denied unless a rule allows it. Kernels
/// of an older ABI know a shorter structure and are given its beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RulesetAttributes {
    pub(crate) fs: u64,
    /// From ABI 4 on.
    pub(crate) net: u64,
    /// From ABI 6 on.
    pub(crate) scoped: u64,
}

/// `struct landlock_path_beneath_attr`, which the kernel declares packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: c_int,
}

const RULE_PATH_BENEATH: c_int = 1;

fn answer(value: c_long) -> io::Result<c_long> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// The newest ABI that the kernel speaks. `ENOSYS`: built without; `EOPNOTSUPP`: switched off.
pub(crate) fn abi() -> io::Result<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel takes no structure: a null pointer and zero bytes.
    let version = answer(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<c_void>(),
            0_usize,
            VERSION,
        )
    })?;
    Ok(u32::try_from(version).unwrap_or(u32::MAX))
}

/// A ruleset that handles what the first `bytes` of `attributes` say.
pub(crate) fn create_ruleset(attributes: &RulesetAttributes, bytes: usize) -> io::Result<OwnedFd> {
    let bytes = bytes.min(size_of::<RulesetAttributes>());
    // SAFETY: the kernel reads `bytes` bytes of a structure that has at least so many.
    let fd = answer(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::from_ref(attributes),
            bytes,
            0_u32,
        )
    })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the call succeeded: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `allowed` on the file `parent`, or on all beneath it if it is a directory.
pub(crate) fn allow_beneath(
    ruleset: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    allowed: u64,
) -> io::Result<()> {
    let rule = PathBeneath {
        allowed,
        parent: parent.as_raw_fd(),
    };
    // SAFETY: the rule has the layout that its type announces, and lives until the call returns.
    answer(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    })
    .map(|_| ())
}

/// Confines the calling thread, and all it starts from here on. It must have set no_new_privs, or
/// hold CAP_SYS_ADMIN.
pub(crate) fn restrict_self(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers.
    answer(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) })
        .map(|_| ())
}
