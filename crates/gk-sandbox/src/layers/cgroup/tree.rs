//! A hierarchy as a host uses it: a directory of the host's own, locked, with the sandboxes below.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::files;

/// All directories of hosts begin so; what begins so and is locked by nobody is swept up.
const PREFIX: &str = "goatkit-";
const SANDBOX_PREFIX: &str = "sandbox-";
const MODE: Mode = Mode::from_raw_mode(0o755);
/// Another host's sweep may hold the lock of a directory that was made a moment ago, before it
/// was locked: then the sweep removes it, and it is made again.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The directory of this host in one hierarchy. Dropping it removes the directory, if it is empty.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) version: Version,
    /// The host's own control group, which identifies the hierarchy.
    pub(super) path: PathBuf,
    base: OwnedFd,
    name: String,
    /// The host's directory, open and locked: the lock says that the host lives.
    dir: OwnedFd,
}

impl Tree {
    /// Makes and locks the host's directory in `base`, and sweeps up those of dead hosts.
    pub(super) fn open(version: Version, path: &Path, label: &str) -> io::Result<Self> {
        let base = open_base(path)?;
        let name = format!("{PREFIX}{label}");
        sweep(base.as_fd(), &name)?;
        let dir = lock_own(base.as_fd(), &name)?;
        // Of an earlier host with this label.
        files::clear(&dir)?;
        Ok(Self {
            version,
            path: path.to_owned(),
            base,
            name,
            dir,
        })
    }

    /// The host's directory.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Makes the directory of a sandbox.
    pub(super) fn create(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let name = format!("{SANDBOX_PREFIX}{name}");
        match rustix::fs::mkdirat(&self.dir, &name, MODE) {
            Ok(()) => {}
            // Left by an earlier sandbox of that name; removed if empty, else its processes are
            // somebody's still.
            Err(Errno::EXIST) => {
                files::remove_dir(&self.dir, &name)?;
                rustix::fs::mkdirat(&self.dir, &name, MODE)?;
            }
            Err(errno) => return Err(errno),
        }
        files::open_dir(&self.dir, &name)
    }

    pub(super) fn remove(&self, name: &str) -> rustix::io::Result<()> {
        files::remove_dir(&self.dir, format!("{SANDBOX_PREFIX}{name}"))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = files::remove_dir(&self.base, &self.name);
    }
}

pub(super) fn open_base(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn lock(dir: impl AsFd) -> rustix::io::Result<()> {
    rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive)
}

fn lock_own(base: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::mkdirat(base, name, MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let dir = match files::open_dir(base, name) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        match lock(&dir) {
            // Locked, and still what the name stands for.
            Ok(()) if is_at(&dir, base, name) => return Ok(dir),
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_WAIT),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::WOULDBLOCK)
}

fn is_at(dir: &OwnedFd, base: BorrowedFd<'_>, name: &str) -> bool {
    let there = rustix::fs::statat(base, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    match (rustix::fs::fstat(dir), there) {
        (Ok(here), Ok(there)) => here.st_ino == there.st_ino && here.st_dev == there.st_dev,
        _ => false,
    }
}

/// Ends and removes what hosts left that were killed: their locks are free.
fn sweep(base: BorrowedFd<'_>, own: &str) -> io::Result<()> {
    for name in files::children(base)? {
        let is_hosts = name.to_bytes().starts_with(PREFIX.as_bytes());
        if !is_hosts || name.to_bytes() == own.as_bytes() {
            continue;
        }
        let Ok(dir) = files::open_dir(base, name.as_c_str()) else {
            continue;
        };
        // A directory that cannot be removed (another user's) is no reason not to start.
        if lock(&dir).is_ok() && files::clear(&dir).is_ok() {
            let _ = files::remove_dir(base, name.as_c_str());
        }
    }
    Ok(())
}
