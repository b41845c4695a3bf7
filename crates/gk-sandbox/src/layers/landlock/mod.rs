//! Landlock: which files, TCP ports, abstract sockets and processes can be reached.
//!
//! A ruleset says what it *handles*; all of that is denied but for what a rule allows. So a right
//! that a kernel does not know yet is not handled by it, and stays open: that is what
//! [`Outcome::Degraded`] tells. What Landlock never governs: descriptors that are open already,
//! execution of a memfd, UDP, path sockets (before ABI 9), and metadata such as stat and chmod.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::sys::landlock::{self as sys, RulesetAttributes};

mod fs {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const REMOVE_DIR: u64 = 1 << 4;
    pub(super) const REMOVE_FILE: u64 = 1 << 5;
    pub(super) const MAKE_DIR: u64 = 1 << 7;
    pub(super) const MAKE_REG: u64 = 1 << 8;
    pub(super) const MAKE_SOCK: u64 = 1 << 9;
    pub(super) const MAKE_FIFO: u64 = 1 << 10;
    pub(super) const MAKE_SYM: u64 = 1 << 12;
    /// ABI 2.
    pub(super) const REFER: u64 = 1 << 13;
    /// ABI 3.
    pub(super) const TRUNCATE: u64 = 1 << 14;
    /// ABI 5.
    pub(super) const IOCTL_DEV: u64 = 1 << 15;

    /// All that ABI 1 knows: the above and MAKE_CHAR, MAKE_BLOCK.
    pub(super) const ABI_1: u64 = REFER - 1;
    /// The rights that make sense for something that is no directory; the kernel refuses others.
    pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

    pub(super) const READ: u64 = READ_FILE | READ_DIR;
    pub(super) const WRITE: u64 = READ
        | WRITE_FILE
        | REMOVE_DIR
        | REMOVE_FILE
        | MAKE_DIR
        | MAKE_REG
        | MAKE_SOCK
        | MAKE_FIFO
        | MAKE_SYM
        | REFER
        | TRUNCATE;
}

/// ABI 4: binding and connecting TCP sockets.
const NET_TCP: u64 = 0b11;
/// ABI 6: abstract sockets, and signals.
const SCOPES: u64 = 0b11;

/// What stays reachable. A path that does not exist, or cannot be opened, is passed over: nothing
/// is allowed there. Of `read` and `execute`, paths lead where they lead when the rules are made,
/// through links; the last part of the others, which not only root may be able to exchange, is no
/// link, or passed over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// Files, and directories with all beneath them, to read. Not to execute.
    pub(crate) read: &'a [PathBuf],
    /// The same to read and to execute: programs, libraries, the loader.
    pub(crate) execute: &'a [PathBuf],
    /// The same as `execute`: what is the program's own.
    pub(crate) read_only: &'a [PathBuf],
    /// The same to read and write, with all that can be done to files but executing them and
    /// making devices.
    pub(crate) write: &'a [PathBuf],
    /// `true` if TCP is left alone. Signals to processes outside, and abstract sockets made
    /// outside, never are.
    pub(crate) network: bool,
}

/// State of the layer after it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it holds.
    Enforced {
        /// The kernel's version of Landlock.
        abi: u32,
    },
    /// The kernel's version does not know all; the rest holds.
    Degraded {
        /// The kernel's version of Landlock, below 6.
        abi: u32,
        /// Kinds of access that this kernel does not restrict.
        missing: Missing,
    },
    /// Nothing holds.
    Absent {
        /// The call that failed.
        step: &'static str,
        /// `ENOSYS`: the kernel is older than 5.13 or built without. `EOPNOTSUPP`: switched off
        /// at boot (add landlock to `lsm=`). `EPERM`: without no_new_privs, or a filter forbids
        /// it. `E2BIG`: sixteen rulesets lie on the process already.
        errno: i32,
    },
}

/// Kinds of access that a kernel's version of Landlock does not restrict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Missing {
    /// Moving and linking files between directories is denied altogether (before ABI 2), which is
    /// stricter and may break a program.
    pub(crate) refer: bool,
    /// Truncating files that may be read (before ABI 3).
    pub(crate) truncate: bool,
    /// TCP (before ABI 4), where it was to be denied.
    pub(crate) tcp: bool,
    /// Device commands (before ABI 5).
    pub(crate) device_ioctl: bool,
    /// Signals and abstract sockets (before ABI 6).
    pub(crate) scopes: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (is, what) in [
            (
                self.refer,
                "moving files between directories (denied altogether)",
            ),
            (self.truncate, "truncating files outside"),
            (self.tcp, "TCP"),
            (self.device_ioctl, "ioctl on devices"),
            (self.scopes, "signals and abstract sockets"),
        ] {
            if is {
                write!(f, "{separator}{what}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// Confines the calling thread, and what it starts, to `access`. It must be the only thread of
/// its process, and have set no_new_privs.
pub(crate) fn restrict(access: &Access<'_>) -> Outcome {
    match sys::abi() {
        Ok(abi) => restrict_with(access, abi).unwrap_or_else(|absent| absent),
        Err(error) => absent("landlock_create_ruleset", &error),
    }
}

fn absent(step: &'static str, error: &io::Error) -> Outcome {
    Outcome::Absent {
        step,
        errno: error.raw_os_error().unwrap_or_default(),
    }
}

/// Kinds of access that a ruleset of this ABI handles, and the size of their structure in bytes.
fn handled(access: &Access<'_>, abi: u32) -> (RulesetAttributes, usize) {
    let from = |first: u32, rights: u64| if abi >= first { rights } else { 0 };
    let attributes = RulesetAttributes {
        fs: fs::ABI_1 | from(2, fs::REFER) | from(3, fs::TRUNCATE) | from(5, fs::IOCTL_DEV),
        net: if access.network { 0 } else { from(4, NET_TCP) },
        scoped: from(6, SCOPES),
    };
    let words = match abi {
        ..4 => 1,
        4..6 => 2,
        6.. => 3,
    };
    (attributes, words * size_of::<u64>())
}

fn restrict_with(access: &Access<'_>, abi: u32) -> Result<Outcome, Outcome> {
    let (attributes, bytes) = handled(access, abi);
    let ruleset = sys::create_ruleset(&attributes, bytes)
        .map_err(|error| absent("landlock_create_ruleset", &error))?;
    let (through_links, no_link) = (OFlags::empty(), OFlags::NOFOLLOW);
    for (paths, rights, links) in [
        (access.read, fs::READ, through_links),
        (access.execute, fs::READ | fs::EXECUTE, through_links),
        (access.read_only, fs::READ | fs::EXECUTE, no_link),
        (access.write, fs::WRITE, no_link),
    ] {
        for path in paths {
            allow(&ruleset, path, rights & attributes.fs, links)
                .map_err(|error| absent("landlock_add_rule", &error))?;
        }
    }
    sys::restrict_self(ruleset.as_fd())
        .map_err(|error| absent("landlock_restrict_self", &error))?;
    Ok(outcome(access, abi))
}

fn allow(ruleset: &OwnedFd, path: &Path, rights: u64, links: OFlags) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | links;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else {
        return Ok(());
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind == FileType::Symlink {
        return Ok(());
    }
    let rights = if kind == FileType::Directory {
        rights
    } else {
        rights & fs::OF_FILES
    };
    match sys::allow_beneath(ruleset.as_fd(), file.as_fd(), rights) {
        // Of a file system without files that could be named, such as a pipe: never governed.
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Ok(()),
        other => other,
    }
}

fn outcome(access: &Access<'_>, abi: u32) -> Outcome {
    let missing = Missing {
        refer: abi < 2,
        truncate: abi < 3,
        tcp: abi < 4 && !access.network,
        device_ioctl: abi < 5,
        scopes: abi < 6,
    };
    if missing == Missing::default() {
        Outcome::Enforced { abi }
    } else {
        Outcome::Degraded { abi, missing }
    }
}

#[cfg(test)]
mod tests;
