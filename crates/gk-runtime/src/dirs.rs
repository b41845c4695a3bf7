//! Private directories: created for this user alone, never followed elsewhere.
//!
//! The temporary directory is everybody's: another user can put a link or a directory of their
//! own where the host is about to create one. So what exists is opened without following links
//! and its owner is checked before it is used.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gk_sandbox::{Identity, remove_tree};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::identity;

/// A private directory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// It cannot be created or opened.
    #[error("the directory {path} cannot be created or opened; check the permissions of the directory it is in", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something that is not this user's own directory is in its place.
    #[error("{path} is not a directory of this user ({why}); remove it", path = .path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What is there.
        why: &'static str,
    },
}

/// Makes sure that `path` is a directory of this user that no other user can enter (mode 0700),
/// creating it if need be. Its parent has to exist.
pub(crate) fn private(path: &Path) -> Result<(), DirError> {
    private_for(path, None)
}

/// The same for another user, to whom it is given; only root can.
pub(crate) fn private_for(path: &Path, owner: Option<Identity>) -> Result<(), DirError> {
    let failed = |errno: Errno| DirError::Io {
        path: path.into(),
        source: errno.into(),
    };
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        // Which of the two a link gives depends on the system.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::MLINK) => {
            return Err(DirError::Foreign {
                path: path.into(),
                why: "a link or a file",
            });
        }
        Err(Errno::ACCESS) => {
            return Err(DirError::Foreign {
                path: path.into(),
                why: "another user's directory",
            });
        }
        Err(errno) => return Err(failed(errno)),
    };
    let stat = rustix::fs::fstat(&dir).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own && owner.is_none_or(|owner| owner.uid != stat.st_uid) {
        return Err(DirError::Foreign {
            path: path.into(),
            why: "another user's directory",
        });
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

/// The temporary directory of a plugin. One with a random name is removed when dropped, as no other
/// process will use it.
#[derive(Debug)]
pub(crate) struct PluginTemp {
    path: PathBuf,
    random: bool,
}

impl PluginTemp {
    /// `goatflow-plugin-<name>` below `root`, or, where that name is taken by somebody else, one with
    /// a random name.
    pub(crate) fn create(
        root: &Path,
        name: &str,
        owner: Option<Identity>,
    ) -> Result<Self, DirError> {
        let path = root.join(format!("goatflow-plugin-{name}"));
        match private_for(&path, owner) {
            Ok(()) => Ok(Self {
                path,
                random: false,
            }),
            Err(error @ DirError::Foreign { .. }) => {
                tracing::warn!(plugin = name, %error, "the plugin gets a temporary directory with a random name");
                let prefix = format!("goatflow-plugin-{name}-");
                let made = Self {
                    path: random(root, &prefix)?.keep(),
                    random: true,
                };
                private_for(&made.path, owner)?;
                Ok(made)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PluginTemp {
    fn drop(&mut self) {
        if self.random {
            remove_aside(std::mem::take(&mut self.path));
        }
    }
}

/// Removes a directory that a plugin may have filled: where that takes long, nobody waits for it.
fn remove_aside(path: PathBuf) {
    if std::fs::remove_dir(&path).is_ok() {
        return;
    }
    let remove = move || {
        if let Err(error) = remove_tree(&path) {
            tracing::debug!(path = %path.display(), %error, "a plugin's directory was not removed");
        }
    };
    let thread = std::thread::Builder::new().name("gk-remove".into());
    // Without a thread it stays until the next host starts.
    let _ = thread.spawn(remove);
}

/// The name of the file whose lock says that a socket root is in use.
const LOCK_NAME: &str = "lock";
/// How the names of socket roots begin.
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
        // It gets its name only when it is locked: from then on another host may look at it.
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
        private_for(&path, owner)?;
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

/// Removes the socket roots of hosts that are gone: this user's own, whose lock is free.
fn remove_stale(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(ROOT_PREFIX)
            || !entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            continue;
        }
        let own = rustix::fs::lstat(&path)
            .is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
        // Without a lock file it may be one that is being created: leave it.
        let Some(lock) = own
            .then(|| open_lock(&path, OFlags::empty()).ok())
            .flatten()
        else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::debug!(path = %path.display(), "removing the sockets of a host that is gone");
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
            Err(DirError::Foreign { .. })
        ));
        let temp = PluginTemp::create(root.path(), "p", None).unwrap();
        assert_ne!(temp.path(), root.path().join("goatflow-plugin-p"));
        assert_eq!(mode(temp.path()), 0o700);
        assert_eq!(mode(&elsewhere), 0o755);
        // It would be one more with every start.
        let random = temp.path().to_owned();
        drop(temp);
        assert!(!random.exists());
        let usual = root.path().join("goatflow-plugin-q");
        let temp = PluginTemp::create(root.path(), "q", None).unwrap();
        assert_eq!(temp.path(), usual);
        drop(temp);
        assert!(usual.exists());
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
        // What a killed host left: a directory whose lock is free.
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
