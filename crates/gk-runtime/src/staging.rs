//! Staging directories of packages: on the file system of the plugins directory, under names that
//! scans of the plugins skip, exchanged with the installed package in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gk_manifest::PluginName;
use gk_package::{OpenError, UnpackError};
use parking_lot::Mutex;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use tempfile::TempDir;

use crate::error::ControlError;

/// Prefix of the names of staging directories.
const STAGING_PREFIX: &str = ".gk-staging-";

/// Bytes that are compared at a time.
const COMPARE_BYTES: usize = 64 * 1024;

/// Reason why a package was not installed, or a plugin not removed. No file was changed, except
/// with [`InstallError::Kept`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The package cannot be used.
    #[error("{0}")]
    Package(#[from] OpenError),
    /// The package could not be unpacked.
    #[error("{0}")]
    Unpack(#[from] UnpackError),
    /// The package's plugin.yaml is not a manifest.
    #[error("its plugin.yaml is not one: {0}")]
    Manifest(#[from] Box<gk_manifest::ManifestError>),
    /// The signature does not permit the installation.
    #[error("{0}")]
    Signature(String),
    /// The package is not a plugin that this host can run.
    #[error("{0}")]
    Unusable(String),
    /// Another change of the same plugin is under way.
    #[error(
        "plugin \"{plugin}\" is being installed or removed at this moment; try again when that is done"
    )]
    Busy {
        /// Name of the plugin.
        plugin: PluginName,
    },
    /// The plugin's directory has other content.
    #[error("{path} {what}", path = .path.display())]
    Occupied {
        /// Path of the directory.
        path: PathBuf,
        /// Content of the directory, and the remedy.
        what: &'static str,
    },
    /// There is no such plugin.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The version before could not be put back, and is kept elsewhere. The next start of the host
    /// tries again.
    #[error("{source}; the version before is kept in {kept}", kept = .kept.display())]
    Kept {
        /// Directory of the version before.
        kept: PathBuf,
        /// Cause of the failure.
        #[source]
        source: Box<InstallError>,
    },
    /// A system call failed.
    #[error("{what} {path}: {source}", path = .path.display())]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// Path that it was applied to.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl InstallError {
    /// Returns true if the disk is full, or the quota used up.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let source = match self {
            InstallError::Io { source, .. } => source,
            InstallError::Unpack(
                UnpackError::Directory { source, .. } | UnpackError::Write { source, .. },
            ) => source,
            _ => return false,
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { what, path, source }
}

/// The plugins that are being installed or removed.
#[derive(Debug, Default)]
pub(crate) struct Installing(Mutex<BTreeSet<PluginName>>);

/// Exclusive right to change a plugin's package, until dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Installing, PluginName);

impl Installing {
    pub(crate) fn enter(&self, plugin: &PluginName) -> Result<Permit<'_>, InstallError> {
        match self.0.lock().insert(plugin.clone()) {
            true => Ok(Permit(self, plugin.clone())),
            false => Err(InstallError::Busy {
                plugin: plugin.clone(),
            }),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

/// A directory in the plugins directory that scans of the plugins skip. Removed with its content
/// when dropped.
#[derive(Debug)]
pub struct Staging {
    pub(crate) dir: TempDir,
    pub(crate) plugins_dir: PathBuf,
    _lock: File,
}

impl Staging {
    pub(crate) fn new(plugins_dir: &Path) -> Result<Self, InstallError> {
        let plugins_dir = plugins_dir
            .canonicalize()
            .map_err(failed("cannot use", plugins_dir))?;
        let dir = tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .permissions(PermissionsExt::from_mode(0o700))
            .tempdir_in(&plugins_dir)
            .map_err(failed("cannot make a directory in", &plugins_dir))?;
        let lock = lock(dir.path()).map_err(failed("cannot lock", dir.path()))?;
        Ok(Staging {
            dir,
            plugins_dir,
            _lock: lock,
        })
    }

    /// Returns the path for the package's file.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        self.dir.path().join("package.zip")
    }

    pub(crate) fn unpacked(&self) -> PathBuf {
        self.dir.path().join("new")
    }

    /// Notes which directory is about to be replaced, so that the next host puts it back if this
    /// one ends before the new version has come up.
    pub(crate) fn replaces(&self, directory: &Path) -> Result<(), InstallError> {
        let Ok(old) = directory.symlink_metadata() else {
            return Ok(());
        };
        let name = directory.file_name().unwrap_or_default();
        let head = format!("{} {}\n", old.dev(), old.ino());
        let note = self.dir.path().join(REPLACES);
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&note)?;
            file.write_all(&[head.as_bytes(), name.as_encoded_bytes()].concat())?;
            file.sync_all()
        };
        write().map_err(failed("cannot write", &note))?;
        sync(self.dir.path());
        Ok(())
    }

    /// Makes the replacement final: the installed package stays.
    pub(crate) fn settled(&self) {
        let note = self.dir.path().join(REPLACES);
        if let Err(error) = fs::remove_file(&note)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %note.display(), %error, "a host that ends now would put the version before back");
        }
    }

    /// Keeps the directory, with the version before in it. Returns the error that says so, with
    /// `error` as its cause.
    pub(crate) fn kept(self, error: InstallError) -> InstallError {
        InstallError::Kept {
            kept: self.dir.keep(),
            source: Box::new(error),
        }
    }

    /// Returns true if the version before is still in the directory, and so nowhere else.
    pub(crate) fn has_old(&self) -> bool {
        Replaced::read(self.dir.path()).is_some_and(|replaced| replaced.place.is_some())
    }
}

/// Name of the note that [`Staging::replaces`] writes.
const REPLACES: &str = "replaces";

/// A directory that was to be replaced, as read from the note.
struct Replaced {
    /// The name of the directory in the plugins directory.
    name: OsString,
    /// Path of the old directory, if it is in the staging directory.
    place: Option<PathBuf>,
}

impl Replaced {
    fn read(staging: &Path) -> Option<Self> {
        let note = fs::read(staging.join(REPLACES)).ok()?;
        let end = note.iter().position(|byte| *byte == b'\n')?;
        let (head, name) = note.split_at(end);
        let (device, inode) = std::str::from_utf8(head).ok()?.split_once(' ')?;
        let identity: (u64, u64) = (device.parse().ok()?, inode.parse().ok()?);
        let unpacked = staging.join("new");
        let places = [aside(&unpacked), unpacked];
        let place = places.into_iter().find(|place| {
            place
                .symlink_metadata()
                .is_ok_and(|found| (found.dev(), found.ino()) == identity)
        });
        Some(Replaced {
            name: OsStr::from_bytes(name.get(1..)?).to_owned(),
            place,
        })
    }
}

/// Returns the temporary path of the old directory on a file system that cannot exchange two.
fn aside(staged: &Path) -> PathBuf {
    staged.with_extension("aside")
}

/// Removes staging directories of installations that were interrupted, for example by the end of a
/// host. The staging directories of another host on the same plugins directory are locked.
pub(crate) fn clear_staging(plugins_dir: &Path) {
    let entries = plugins_dir.read_dir().into_iter().flatten().flatten();
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let is_staging = name
            .as_encoded_bytes()
            .starts_with(STAGING_PREFIX.as_bytes());
        if !is_staging || lock(&path).is_err() {
            continue;
        }
        if let Some(Replaced {
            name,
            place: Some(old),
        }) = Replaced::read(&path)
        {
            let directory = plugins_dir.join(name);
            let unpacked = path.join("new");
            // `put` needs a free path beside `unpacked` on a file system that cannot exchange. The
            // directory at `unpacked` is the new version.
            let moved = match old == unpacked {
                true => Ok(()),
                false => remove_if_there(&unpacked).and_then(|()| fs::rename(&old, &unpacked)),
            };
            let moved = moved.map_err(failed("cannot move", &old));
            match moved.and_then(|()| put(&unpacked, &directory)) {
                Ok(_) => {
                    tracing::warn!(path = %directory.display(), "the version before is in place again: the host ended before the new one had come up");
                }
                Err(error) => {
                    tracing::error!(path = %old.display(), %error, "the version before a new one that did not come up cannot be put back; move it to {}", directory.display());
                    continue;
                }
            }
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "left behind by an installation that was cut off; removed");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "left behind by an installation that was cut off, and cannot be removed");
            }
        }
    }
}

fn remove_if_there(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Locks a directory for as long as what is returned lives.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Difference between a file of a package and the installed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// The file is new.
    Added,
    /// The content or the x bit differs.
    Changed,
    /// The file is missing in the new package.
    Removed,
}

/// Puts `staged` at `directory`, in one step. The previous content of `directory`, if any, is at
/// `staged` then. Returns true if there was any.
pub(crate) fn put(staged: &Path, directory: &Path) -> Result<bool, InstallError> {
    let wrong = "cannot put the package to";
    let rename = |flags| rustix::fs::renameat_with(CWD, staged, CWD, directory, flags);
    let is_there = directory.symlink_metadata().is_ok();
    let put = match is_there {
        true => rename(RenameFlags::EXCHANGE),
        false => rename(RenameFlags::NOREPLACE),
    };
    match put {
        Ok(()) => {}
        // Not every file system can exchange two directories: for a moment neither is there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let aside = aside(staged);
            if is_there {
                fs::rename(directory, &aside).map_err(failed(wrong, directory))?;
            }
            if let Err(error) = fs::rename(staged, directory) {
                if is_there {
                    fs::rename(&aside, directory).map_err(failed("cannot put back", directory))?;
                }
                return Err(failed(wrong, directory)(error));
            }
            if is_there {
                fs::rename(&aside, staged).map_err(failed(wrong, staged))?;
            }
        }
        Err(error) => return Err(failed(wrong, directory)(error.into())),
    }
    if let Some(parent) = directory.parent() {
        sync(parent);
    }
    Ok(is_there)
}

/// Makes the entries of a directory durable, where the file system can.
pub(crate) fn sync(directory: &Path) {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    if let Err(error) = synced {
        tracing::debug!(path = %directory.display(), %error, "a directory cannot be synced");
    }
}

/// Removes the path of the staging directory from a text, as it means nothing to a reader.
pub(crate) fn without(text: &str, staging: &Staging) -> String {
    let unpacked = staging.unpacked().display().to_string();
    let archive = staging.archive().display().to_string();
    text.replace(&format!("{unpacked}/"), "")
        .replace(&unpacked, "the package")
        .replace(&archive, "the package")
}

/// Returns the differences between the files of two directories. Links and special files count as
/// changed.
pub(crate) fn compare(before: &Path, after: &Path) -> io::Result<BTreeMap<String, FileChange>> {
    let (old, new) = (files(before)?, files(after)?);
    let mut changes = BTreeMap::new();
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        changes.insert(path.clone(), FileChange::Removed);
    }
    for (path, file) in &new {
        let change = match old.get(path) {
            None => FileChange::Added,
            Some(known)
                if known == file
                    && same(&before.join(path), &after.join(path)).unwrap_or(false) =>
            {
                continue;
            }
            Some(_) => FileChange::Changed,
        };
        changes.insert(path.clone(), change);
    }
    Ok(changes)
}

/// Returns all files in a directory: if each is a regular file, its size, and if it has an x bit.
fn files(root: &Path) -> io::Result<BTreeMap<String, (bool, u64, bool)>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                queue.push(path);
                continue;
            }
            let file = (
                metadata.is_file(),
                metadata.size(),
                metadata.mode() & 0o111 != 0,
            );
            found.insert(path.to_string_lossy().into_owned(), file);
        }
    }
    Ok(found)
}

/// Returns true if two files have the same content.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        let (Some(left), Some(right)) = (left.get(..read), right.get_mut(..read)) else {
            return Ok(false);
        };
        match other.read_exact(right) {
            Ok(()) if left == right => {}
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(directory: &Path) -> String {
        fs::read_to_string(directory.join("version")).unwrap_or_default()
    }

    fn package(directory: &Path, version: &str) {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("version"), version).unwrap();
    }

    /// A host that ends at any step of a replacement leaves the next one with the version before.
    #[test]
    fn an_unfinished_replacement_is_taken_back() {
        let rename = |from: &Path, to: &Path| fs::rename(from, to).unwrap();
        type Step<'a> = &'a dyn Fn(&Path, &Path);
        let steps: [Step<'_>; 4] = [
            // Only the note is written.
            &|_, _| {},
            &|new, installed| assert!(put(new, installed).unwrap()),
            // The three steps of a file system that cannot exchange, and between them.
            &|new, installed| rename(installed, &aside(new)),
            &|new, installed| {
                rename(installed, &aside(new));
                rename(new, installed);
            },
        ];
        for (number, step) in steps.iter().enumerate() {
            let plugins = tempfile::tempdir().unwrap();
            let installed = plugins.path().join("p");
            package(&installed, "old");
            let staging = Staging::new(plugins.path()).unwrap();
            package(&staging.unpacked(), "new");
            staging.replaces(&installed).unwrap();
            step(&staging.unpacked(), &installed);
            // Simulates a host that is killed: no file is removed, and the lock is free.
            drop(staging.dir.keep());
            drop(staging._lock);
            clear_staging(plugins.path());
            assert_eq!(version(&installed), "old", "step {number}");
            assert_eq!(fs::read_dir(plugins.path()).unwrap().count(), 1, "{number}");
        }
    }

    /// A version that has come up stays.
    #[test]
    fn a_finished_replacement_stays() {
        let plugins = tempfile::tempdir().unwrap();
        let installed = plugins.path().join("p");
        package(&installed, "old");
        let staging = Staging::new(plugins.path()).unwrap();
        package(&staging.unpacked(), "new");
        staging.replaces(&installed).unwrap();
        put(&staging.unpacked(), &installed).unwrap();
        staging.settled();
        drop(staging.dir.keep());
        drop(staging._lock);
        clear_staging(plugins.path());
        assert_eq!(version(&installed), "new");
    }
}
