//! The data directory: private, but for the way through to the plugins' own directories.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// Directory of the plugins' work directories, each of which is private in itself.
const PLUGINS: &str = "plugins";

/// Creates the directory if missing, for this user alone.
pub(crate) fn make(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| {
            if is_roots(dir)? {
                fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            }
            Ok(())
        })
        .with_context(|| format!("the data directory {} cannot be made", dir.display()))
}

/// Lets plugins through whose processes have users of their own, as under root: where mounts cannot
/// be had, they reach their work directories by the ordinary path. All other entries stay private
/// in themselves.
pub(crate) fn let_through(dir: &Path) -> Result<()> {
    let open = || -> io::Result<()> {
        if !is_roots(dir)? {
            return Ok(());
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if entry.file_name() == PLUGINS || kind.is_symlink() {
                continue;
            }
            let mode = if kind.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
    };
    open().with_context(|| {
        format!(
            "the data directory {} cannot be opened to plugins",
            dir.display()
        )
    })
}

/// Removes the local socket that a killed host left in the data directory. The directory is locked,
/// so no host listens there. Connecting would be no test, as the socket may be another user's, such
/// as root's.
pub(crate) fn remove_left_socket(dir: &Path, socket: &Path) -> Result<()> {
    let is_left = socket.parent() == Some(dir)
        && fs::symlink_metadata(socket).is_ok_and(|file| file.file_type().is_socket());
    if !is_left {
        return Ok(());
    }
    fs::remove_file(socket).with_context(|| {
        format!(
            "the socket {} that a host left cannot be removed; remove it",
            socket.display()
        )
    })
}

/// Names of the host's own entries. SQLite's files beside a database begin with the database's
/// name.
const NAMES: &[&str] = &[
    "admin.token",
    "plugin-state",
    "files",
    "host.lock",
    "host.db",
    "host.db-shm",
    "host.db-wal",
    "hostapi.db",
    "hostapi.db-shm",
    "hostapi.db-wal",
    "plugins.db",
    "plugins.db-shm",
    "plugins.db-wal",
    PLUGINS,
];

/// Gives the host's entries back to the owner of the directory, at the end of a host that ran as
/// root on another user's directory.
pub(crate) fn give_back(dir: &Path) {
    if let Err(error) = gk_runtime::give_back(dir, NAMES) {
        tracing::warn!(
            %error,
            "{} cannot be given back to the user it belongs to; before the host runs as that user again, do so with chown -R",
            dir.display()
        );
    }
}

fn is_roots(dir: &Path) -> io::Result<bool> {
    Ok(fs::metadata(dir)?.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn only_the_way_through_is_open() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        make(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        fs::create_dir(dir.join(PLUGINS)).unwrap();
        fs::create_dir(dir.join("files")).unwrap();
        fs::write(dir.join("host.db"), "").unwrap();
        for name in ["files", "host.db", PLUGINS] {
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let_through(&dir).unwrap();
        if is_roots(&dir).unwrap() {
            assert_eq!(mode(&dir), 0o711);
            assert_eq!(mode(&dir.join("files")), 0o700);
            assert_eq!(mode(&dir.join("host.db")), 0o600);
            assert_eq!(mode(&dir.join(PLUGINS)), 0o755);
        } else {
            assert_eq!(mode(&dir), 0o700);
        }
        make(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
    }
}
