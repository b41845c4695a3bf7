//! Unpacking a package into a directory.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use crate::archive::{Archive, ExtractError, OpenError};

/// A package was not unpacked. What had been written of it was removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The ZIP file cannot be used.
    #[error(transparent)]
    Archive(#[from] OpenError),
    /// The directory to unpack into is not there, is a link, or cannot be used.
    #[error("{path} cannot be unpacked into: {source}", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The directory to unpack into has something in it.
    #[error("{path} is not empty; unpack into a new directory", path = .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Unpacks the package `archive` into the empty directory `directory`: [`Archive::open`], then
/// [`Archive::unpack`].
///
/// # Errors
/// [`UnpackError`]; on any of them nothing is left of what was written.
pub fn unpack(archive: &Path, directory: &Path) -> Result<Archive, UnpackError> {
    let archive = Archive::open(archive)?;
    archive.unpack(directory, &[])?;
    Ok(archive)
}

/// The content of one file of the package `archive`, of at most `max` bytes, without unpacking
/// anything else. The whole package is judged first, as for unpacking.
///
/// # Errors
/// [`OpenError`].
pub fn read_file(archive: &Path, path: &str, max: u64) -> Result<Vec<u8>, OpenError> {
    Archive::open(archive)?.read(path, max)
}

impl Archive {
    /// Unpacks all files into `directory`, which is no link, exists, and is empty.
    ///
    /// Files get the mode 0755 if they have an x bit or are named in `executables`, and 0644
    /// otherwise; directories get 0755; the umask takes nothing away from that. Archives that were
    /// not made on Unix have no x bits: name the plugin's binary in `executables`. Every file is
    /// new (`O_EXCL`, `O_NOFOLLOW`, below the open directory), and on the disk when this returns.
    ///
    /// # Errors
    /// [`UnpackError`]; what was written until then is removed.
    pub fn unpack(&self, directory: &Path, executables: &[&str]) -> Result<(), UnpackError> {
        let unusable = |error: rustix::io::Errno| UnpackError::Directory {
            path: directory.to_owned(),
            source: error.into(),
        };
        let root = rustix::fs::open(directory, DIRECTORY, Mode::empty()).map_err(unusable)?;
        for entry in Dir::read_from(&root).map_err(unusable)? {
            let entry = entry.map_err(unusable)?;
            if ![&b"."[..], b".."].contains(&entry.file_name().to_bytes()) {
                return Err(UnpackError::NotEmpty {
                    path: directory.to_owned(),
                });
            }
        }
        let mut target = Target {
            root,
            path: directory,
            files: Vec::new(),
            directories: Vec::new(),
        };
        let written = self.write_all(&mut target, executables);
        if written.is_err() {
            target.remove();
        }
        written
    }

    fn write_all(&self, target: &mut Target<'_>, executables: &[&str]) -> Result<(), UnpackError> {
        for directory in self.directories() {
            target.directory(directory)?;
        }
        for entry in self.entries() {
            let executable = entry.is_executable() || executables.contains(&entry.path());
            let mut file = target.create(entry.path())?;
            let written = self.extract(entry, &mut |chunk| file.write_all(chunk));
            written.map_err(|error| match error {
                ExtractError::Open(error) => UnpackError::Archive(error),
                ExtractError::Sink(source) => target.unwritten(entry.path(), source),
            })?;
            let mode = if executable { 0o755 } else { 0o644 };
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                .map_err(io::Error::from)
                .and_then(|()| file.sync_all())
                .map_err(|source| target.unwritten(entry.path(), source))?;
        }
        target.sync()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directory, and what was made in it.
struct Target<'a> {
    root: OwnedFd,
    path: &'a Path,
    files: Vec<String>,
    /// Parents before their children.
    directories: Vec<String>,
}

impl Target<'_> {
    fn unwritten(&self, path: &str, source: io::Error) -> UnpackError {
        UnpackError::Write {
            path: self.path.join(path),
            source,
        }
    }

    /// Makes a directory and its parents, where they are not there yet.
    fn directory(&mut self, path: &str) -> Result<(), UnpackError> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let part = &path[..end];
            if self.directories.iter().any(|known| known == part) {
                continue;
            }
            let make = || -> io::Result<()> {
                let (parent, name) = self.parent(part)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                let made = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
                Ok(rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?)
            };
            let made = make();
            made.map_err(|source| self.unwritten(part, source))?;
            self.directories.push(part.to_owned());
        }
        Ok(())
    }

    fn create(&mut self, path: &str) -> Result<File, UnpackError> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        let open = || -> io::Result<File> {
            let (parent, name) = self.parent(path)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o600);
            Ok(File::from(rustix::fs::openat(&parent, name, flags, mode)?))
        };
        let file = open().map_err(|source| self.unwritten(path, source))?;
        self.files.push(path.to_owned());
        Ok(file)
    }

    /// The open directory that a path is in, and the path's last part. No part of the way is a
    /// link.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let mut directory = self.root.try_clone()?;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return Ok((directory, part));
            }
            directory = rustix::fs::openat(&directory, part, DIRECTORY, Mode::empty())?;
        }
        Err(io::Error::other("an empty path"))
    }

    /// The names of the files are on the disk, too.
    fn sync(&self) -> Result<(), UnpackError> {
        for path in &self.directories {
            let sync = || -> io::Result<()> {
                let (parent, name) = self.parent(path)?;
                let directory = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
                Ok(rustix::fs::fsync(&directory)?)
            };
            sync().map_err(|source| self.unwritten(path, source))?;
        }
        rustix::fs::fsync(&self.root).map_err(|error| self.unwritten("", error.into()))
    }

    /// Removes what was made. What cannot be removed stays: there is nobody to tell but through the
    /// first error.
    fn remove(&self) {
        for (paths, flags) in [
            (&self.files, AtFlags::empty()),
            (&self.directories, AtFlags::REMOVEDIR),
        ] {
            for path in paths.iter().rev() {
                if let Ok((parent, name)) = self.parent(path) {
                    let _ = rustix::fs::unlinkat(&parent, name, flags);
                }
            }
        }
    }
}
