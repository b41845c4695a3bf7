//! Private directories: created for this user alone, never followed elsewhere.
//!
//! The temporary directory is everybody's: another user can put a link or a directory of their
//! own where the host is about to create one. So what exists is opened without following links
//! and its owner is checked before it is used.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gk_sandbox::{Identity, remove_tree};
use parking_lot::{Condvar, Mutex};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::identity;

/// A private directory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// The directory cannot be created or opened.
    #[error("the directory {path} cannot be created or opened; check the permissions of the directory it is in", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A link or a file is in its place.
    #[error("{path} is a link or a file, and a directory is needed; move it away", path = .path.display())]
    NotADirectory {
        /// Path of the link or file.
        path: PathBuf,
    },
    /// The directory belongs to another user.
    #[error("{path} belongs to another user; nothing in it is lost: as root, give the host's whole data directory to the user that runs the host (chown -R), or run the host as the user it had", path = .path.display())]
    Foreign {
        /// Path of the directory.
        path: PathBuf,
    },
}

/// Makes sure that `path` is a directory of this user that no other user can enter (mode 0700),
/// creating it if need be. Its parent has to exist.
pub(crate) fn private(path: &Path) -> Result<(), DirError> {
    private_for(path, None, None)
}

/// Like [`private`], for the user `owner`; only root can give the directory away. The user `former`
/// is accepted as the present owner.
pub(crate) fn private_for(
    path: &Path,
    owner: Option<Identity>,
    former: Option<u32>,
) -> Result<(), DirError> {
    let failed = |errno: Errno| DirError::Io {
        path: path.into(),
        source: errno.into(),
    };
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let dir = match open_dir(path) {
        Ok(dir) => dir,
        // Which of the two a link gives depends on the system.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::MLINK) => {
            return Err(DirError::NotADirectory { path: path.into() });
        }
        Err(Errno::ACCESS) => return Err(DirError::Foreign { path: path.into() }),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = rustix::fs::fstat(&dir).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    let accepted = [Some(own), owner.map(|owner| owner.uid), former];
    if !accepted.contains(&Some(stat.st_uid)) {
        return Err(DirError::Foreign { path: path.into() });
    }
    if Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(failed)?;
    }
    match owner {
        Some(owner) if owner.uid != stat.st_uid => identity::hand_over(&dir, owner).map_err(failed),
        _ => Ok(()),
    }
}

/// A new private directory with a random name.
fn random(root: &Path, prefix: &str) -> Result<tempfile::TempDir, DirError> {
    // Without this, tempfile leaves it to the umask.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(mode)
        .tempdir_in(root)
        .map_err(|source| DirError::Io {
            path: root.into(),
            source,
        })
}

/// Prefix of the names of plugins' temporary directories.
const TEMP_PREFIX: &str = "goatflow-plugin-";
/// Marker file that tells such a directory from others of the same user with the same prefix.
const TEMP_MARKER: &str = ".goatkit-temp";

/// The temporary directory of a plugin process. Removed when dropped. The directory is locked while
/// in use, so that another host can tell it from one that a killed host left behind.
#[derive(Debug)]
pub(crate) struct PluginTemp {
    path: PathBuf,
    dir: OwnedFd,
}

impl PluginTemp {
    /// Creates `goatflow-plugin-<name>` below `root`, or a directory with a random suffix if that
    /// name is taken.
    pub(crate) fn create(
        root: &Path,
        name: &str,
        owner: Option<Identity>,
    ) -> Result<Self, DirError> {
        let failed = |source: io::Error| DirError::Io {
            path: root.into(),
            source,
        };
        // The final name comes only after the lock: from then on another host may look at the
        // directory.
        let made = random(root, &format!(".{TEMP_PREFIX}"))?;
        let dir = open_dir(made.path()).map_err(|errno| failed(errno.into()))?;
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        let marked = rustix::fs::openat(
            &dir,
            TEMP_MARKER,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR,
        );
        marked.map_err(|errno| failed(errno.into()))?;
        if let Some(owner) = owner {
            let owned = identity::hand_over(&dir, owner);
            owned.map_err(|errno| failed(errno.into()))?;
        }
        let base = format!("{TEMP_PREFIX}{name}");
        let ending = made.path().to_string_lossy();
        let ending = ending.rsplit('-').next().unwrap_or_default();
        for name in [base.clone(), format!("{base}-{ending}")] {
            let path = root.join(name);
            let renamed = rustix::fs::renameat_with(
                rustix::fs::CWD,
                made.path(),
                rustix::fs::CWD,
                &path,
                rustix::fs::RenameFlags::NOREPLACE,
            );
            match renamed {
                Ok(()) => {
                    let _ = made.keep();
                    return Ok(Self { path, dir });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(failed(Errno::EXIST.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Descriptor of the directory itself, regardless of what its path leads to by now.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for PluginTemp {
    fn drop(&mut self) {
        // The plugin owns the directory, and may have put something else in its place.
        let is_it = |found: Stat| {
            rustix::fs::fstat(&self.dir)
                .is_ok_and(|own| (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino))
        };
        if rustix::fs::lstat(&self.path).is_ok_and(is_it) {
            // Most are empty but for this, and then gone at once.
            let _ = rustix::fs::unlinkat(&self.dir, TEMP_MARKER, AtFlags::empty());
            remove_aside(std::mem::take(&mut self.path));
        }
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Number of directories that are being removed.
static REMOVALS: Mutex<usize> = Mutex::new(0);
/// Signalled after each removal.
static REMOVED: Condvar = Condvar::new();

/// Removes a directory that a plugin may have filled. A removal that takes long runs on a thread of
/// its own, which only the end of the host waits for ([`removed`]).
fn remove_aside(path: PathBuf) {
    struct Removal;
    impl Drop for Removal {
        fn drop(&mut self) {
            *REMOVALS.lock() -= 1;
            REMOVED.notify_all();
        }
    }
    if std::fs::remove_dir(&path).is_ok() {
        return;
    }
    *REMOVALS.lock() += 1;
    let removal = Removal;
    let remove = move || {
        if let Err(error) = remove_tree(&path) {
            tracing::debug!(path = %path.display(), %error, "a plugin's directory was not removed");
        }
        drop(removal);
    };
    let thread = std::thread::Builder::new().name("gk-remove".into());
    // Without a thread the directory stays until the next host starts.
    let _ = thread.spawn(remove);
}

/// Waits until no directory is being removed, or the time is over. Blocks.
pub(crate) fn removed(timeout: Duration) {
    let mut removals = REMOVALS.lock();
    REMOVED.wait_while_for(&mut removals, |removals| *removals > 0, timeout);
}

/// The name of the file whose lock says that a socket root is in use.
const LOCK_NAME: &str = "lock";
/// Prefix of the names of socket roots.
const ROOT_PREFIX: &str = "goatkit-";

/// The directory below which each plugin process gets one for its socket. Removed when dropped;
/// what a killed host left behind is removed by the next one that starts.
#[derive(Debug)]
pub(crate) struct SocketRoot {
    path: PathBuf,
    processes: AtomicU64,
    _lock: OwnedFd,
}

impl SocketRoot {
    /// Creates one below `root`, which should be short: a socket's path has at most 107 bytes.
    pub(crate) fn create(root: &Path) -> Result<Self, DirError> {
        remove_stale(root);
        let failed = |source: io::Error| DirError::Io {
            path: root.into(),
            source,
        };
        // The final name comes only after the lock: from then on another host may look at the
        // directory.
        let made = random(root, &format!(".{ROOT_PREFIX}"))?;
        let lock = open_lock(made.path(), OFlags::CREATE).map_err(|errno| failed(errno.into()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        let name = made
            .path()
            .file_name()
            .map(|name| name.to_string_lossy().replacen('.', "", 1));
        let path = root.join(name.unwrap_or_default());
        std::fs::rename(made.path(), &path).map_err(failed)?;
        let _ = made.keep();
        if rustix::process::geteuid().is_root() {
            // A plugin may have a user of its own, who has to get through to its socket where
            // mounts cannot be had.
            let through = Mode::RWXU | Mode::XGRP | Mode::XOTH;
            rustix::fs::chmod(&path, through).map_err(|errno| failed(errno.into()))?;
        }
        Ok(Self {
            path,
            processes: AtomicU64::new(0),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory of one process.
    pub(crate) fn process(&self, owner: Option<Identity>) -> Result<SocketDir, DirError> {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        let path = self.path.join(number.to_string());
        private_for(&path, owner, None)?;
        Ok(SocketDir { path })
    }
}

impl Drop for SocketRoot {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path);
    }
}

fn open_lock(dir: &Path, extra: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(
        dir.join(LOCK_NAME),
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra,
        Mode::RUSR | Mode::WUSR,
    )
}

/// Removes directories of hosts that are gone, which are those whose lock is free: socket roots of
/// this user, and plugins' temporary directories.
fn remove_stale(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    let euid = rustix::process::geteuid();
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_temp = name.starts_with(TEMP_PREFIX);
        if !(is_temp || name.starts_with(ROOT_PREFIX))
            || !entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            continue;
        }
        let own = rustix::fs::lstat(&path).is_ok_and(|stat| {
            stat.st_uid == euid.as_raw()
                || (is_temp && euid.is_root() && identity::is_ours(stat.st_uid))
        });
        // A socket root without a lock file may be one that is being created: leave it.
        let lock = match is_temp {
            true => open_dir(&path),
            false => open_lock(&path, OFlags::empty()),
        };
        let Some(lock) = own.then(|| lock.ok()).flatten() else {
            continue;
        };
        let is_marked = || {
            rustix::fs::statat(&lock, TEMP_MARKER, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
        };
        // The user may have a directory of their own with such a name.
        if is_temp && !is_marked() {
            continue;
        }
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::debug!(path = %path.display(), "removing what a host that is gone left behind");
            let _ = remove_tree(&path);
        }
    }
}

/// The directory for one process's socket. Removed, with the socket, when dropped.
#[derive(Debug)]
pub(crate) struct SocketDir {
    path: PathBuf,
}

impl SocketDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        remove_aside(std::mem::take(&mut self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn private_means_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        private(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        private(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = root.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, root.path().join("goatflow-plugin-p")).unwrap();
        assert!(matches!(
            private(&root.path().join("goatflow-plugin-p")),
            Err(DirError::NotADirectory { .. })
        ));
        let temp = PluginTemp::create(root.path(), "p", None).unwrap();
        assert_ne!(temp.path(), root.path().join("goatflow-plugin-p"));
        assert_eq!(mode(temp.path()), 0o700);
        assert_eq!(mode(&elsewhere), 0o755);
        // A directory with a random name would otherwise be left over by each start.
        let random = temp.path().to_owned();
        drop(temp);
        assert!(!random.exists());
    }

    #[test]
    fn a_temporary_directory_belongs_to_one_process_and_goes_with_it() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("goatflow-plugin-q");
        let first = PluginTemp::create(root.path(), "q", None).unwrap();
        let second = PluginTemp::create(root.path(), "q", None).unwrap();
        assert_eq!(first.path(), base);
        assert_ne!(second.path(), base);
        // A host that starts leaves alone what another one uses.
        let sockets = SocketRoot::create(root.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        let other = second.path().to_owned();
        drop(second);
        assert!(!other.exists());
        // The plugin put another directory in the place of its own: that is not removed.
        std::fs::rename(&base, root.path().join("moved")).unwrap();
        std::fs::create_dir(&base).unwrap();
        drop(first);
        assert!(base.exists());
        drop(sockets);
        // Directories of a killed host are removed; a user's own directory with such a name is not.
        let left = PluginTemp::create(root.path(), "left", None).unwrap();
        let moved = root.path().join("goatflow-plugin-of-a-killed-host");
        std::fs::rename(left.path(), &moved).unwrap();
        drop(left);
        std::fs::write(base.join("main.go"), "package main").unwrap();
        let _next = SocketRoot::create(root.path()).unwrap();
        assert!(!moved.exists());
        assert!(base.join("main.go").exists());
    }

    #[test]
    fn sockets_are_removed_also_those_of_a_killed_host() {
        let root = tempfile::tempdir().unwrap();
        let sockets = SocketRoot::create(root.path()).unwrap();
        let one = sockets.process(None).unwrap();
        let root_mode = if rustix::process::geteuid().is_root() {
            0o711
        } else {
            0o700
        };
        assert_eq!((mode(&sockets.path), mode(one.path())), (root_mode, 0o700));
        std::fs::write(one.path().join("s"), "").unwrap();
        let path = one.path().to_owned();
        drop(one);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while path.exists() {
            assert!(std::time::Instant::now() < deadline, "it is still there");
            std::thread::yield_now();
        }
        let two = sockets.process(None).unwrap();
        assert_ne!(two.path(), path);
        // Directory of a killed host: its lock is free.
        let left = root.path().join("goatkit-left");
        std::fs::create_dir_all(left.join("1")).unwrap();
        std::fs::write(left.join(LOCK_NAME), "").unwrap();
        std::fs::write(left.join("1/socket"), "").unwrap();
        // Another host removes that and leaves the living one's alone.
        let third = SocketRoot::create(root.path()).unwrap();
        assert!(!left.exists());
        assert!(two.path().exists());
        drop((two, sockets, third));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
