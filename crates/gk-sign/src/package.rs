//! A package's directory, opened once: files in it are opened relative to it and without following a link, so a path
//! that is exchanged on the way leads to an error and never out of the package.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::limits::{DIRECTORIES_MAX, FILES_MAX};
use crate::path::{self, PathError};

/// A file or directory of a package cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is none.
    #[error("{path} does not exist; build it, or correct its name where it is asked for (a plugin's binary: `binary` in plugin.yaml)", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link, or a path through one.
    #[error("{path} is a symbolic link, or behind one; put the file itself there", path = .path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// A directory, a socket, a device: no regular file.
    #[error("{path} is not a regular file; remove it from the package", path = .path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Larger than it may be.
    #[error("{path} has more than {max} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many bytes it may have.
        max: u64,
    },
    /// More files or directories than a package may have.
    #[error("{path} has more than {FILES_MAX} files or {DIRECTORIES_MAX} directories", path = .path.display())]
    TooMany {
        /// The package.
        path: PathBuf,
    },
    /// A name that a package may not have.
    #[error("{path} has a name that a package may not have", path = .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// The system refused.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path }
            | Self::Link { path }
            | Self::NotAFile { path }
            | Self::TooLarge { path, .. }
            | Self::TooMany { path }
            | Self::Name { path, .. }
            | Self::Read { path, .. } => path,
        }
    }

    /// Whether this is a fact about the package, other than a passing failure of the system.
    pub(crate) fn is_about_package(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// The open directory.
#[derive(Debug)]
pub(crate) struct Package {
    root: OwnedFd,
    path: PathBuf,
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) executable: bool,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A FIFO must not hold the host up, nor a terminal become its own.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Package {
    /// Opens the directory at `path`, which may be reached through links but not be one.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(root) => Ok(Self {
                root,
                path: path.into(),
            }),
            Err(errno) => {
                let link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
                let path = path.into();
                Err(if link {
                    FileError::Link { path }
                } else {
                    failed(path, errno)
                })
            }
        }
    }

    /// The path of a file for people.
    pub(crate) fn full(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// The directory for the signer, which writes into it.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a regular file.
    pub(crate) fn file(&self, path: &str) -> Result<Opened, FileError> {
        path::check(path).map_err(|source| FileError::Name {
            path: self.full(path),
            source,
        })?;
        let opened = open_beneath(&self.root, path).map_err(|errno| {
            // A special file without a listener or a device without a driver, say.
            if errno == Errno::NXIO || errno == Errno::NODEV {
                return FileError::NotAFile {
                    path: self.full(path),
                };
            }
            failed(self.full(path), errno)
        })?;
        let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(self.full(path), errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileError::NotAFile {
                path: self.full(path),
            });
        }
        Ok(Opened {
            file: opened.into(),
            // A size below zero does not fit, and is refused as too large.
            size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
            executable: stat.st_mode & 0o111 != 0,
        })
    }

    /// A small file as a whole; `None` if there is none.
    pub(crate) fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, FileError> {
        match self.file(path) {
            Ok(opened) => self.read_opened(path, &opened, max).map(Some),
            Err(FileError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of a small file that is open.
    pub(crate) fn read_opened(
        &self,
        path: &str,
        opened: &Opened,
        max: u64,
    ) -> Result<Vec<u8>, FileError> {
        let too_large = || FileError::TooLarge {
            path: self.full(path),
            max,
        };
        if opened.size > max {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        (&opened.file)
            .take(max + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| FileError::Read {
                path: self.full(path),
                source,
            })?;
        if bytes.len() as u64 > max {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// The paths of all files but `except` in the root, sorted. Empty directories leave no trace in it.
    pub(crate) fn list(&self, except: &str) -> Result<Vec<String>, FileError> {
        let mut files = Vec::new();
        let mut seen = 1;
        let mut queue = vec![String::new()];
        while let Some(directory) = queue.pop() {
            for (name, kind) in self.entries(&directory)? {
                let path = if directory.is_empty() {
                    name
                } else {
                    format!("{directory}/{name}")
                };
                path::check(&path).map_err(|source| FileError::Name {
                    path: self.full(&path),
                    source,
                })?;
                match kind {
                    FileType::RegularFile if path == except => {}
                    FileType::RegularFile => files.push(path),
                    FileType::Directory => {
                        seen += 1;
                        queue.push(path);
                    }
                    FileType::Symlink => {
                        return Err(FileError::Link {
                            path: self.full(&path),
                        });
                    }
                    _ => {
                        return Err(FileError::NotAFile {
                            path: self.full(&path),
                        });
                    }
                }
                if files.len() > FILES_MAX || seen > DIRECTORIES_MAX {
                    return Err(FileError::TooMany {
                        path: self.path.clone(),
                    });
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// What is in one directory, which is reached part by part without following a link.
    fn entries(&self, directory: &str) -> Result<Vec<(String, FileType)>, FileError> {
        let full = self.full(directory);
        let failed = |errno| failed(full.clone(), errno);
        let opened = walk(&self.root, directory, DIRECTORY).map_err(failed)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&opened).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(text) = name.to_str() else {
                return Err(FileError::Name {
                    path: full.join(name.to_string_lossy().as_ref()),
                    source: PathError::Character,
                });
            };
            let stat = rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW);
            let mode = stat.map_err(failed)?.st_mode;
            entries.push((text.to_owned(), FileType::from_raw_mode(mode)));
            if entries.len() > FILES_MAX + DIRECTORIES_MAX {
                return Err(FileError::TooMany {
                    path: self.path.clone(),
                });
            }
        }
        Ok(entries)
    }
}

/// One call where the system has it; else, or where a filter forbids it, part by part.
#[cfg(target_os = "linux")]
fn open_beneath(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, FILE, Mode::empty(), resolve) {
        // Again: something was renamed meanwhile, so the kernel cannot tell.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => walk(root, path, FILE),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    walk(root, path, FILE)
}

/// Opens the directories on the way one after the other, and the last part with `flags`. An empty path is the root.
fn walk(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut current: Option<OwnedFd> = None;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() {
            DIRECTORY
        } else {
            flags
        };
        let at = current.as_ref().unwrap_or(root).as_fd();
        let part = if part.is_empty() { "." } else { part };
        let next = match rustix::fs::openat(at, part, flags, Mode::empty()) {
            // With O_DIRECTORY a link is no directory; which of both it is, is asked for the message alone.
            Err(Errno::NOTDIR) => {
                let stat = rustix::fs::statat(at, part, AtFlags::SYMLINK_NOFOLLOW);
                let link = stat
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
                return Err(if link { Errno::LOOP } else { Errno::NOTDIR });
            }
            next => next?,
        };
        current = Some(next);
    }
    current.ok_or(Errno::NOENT)
}

fn failed(path: PathBuf, errno: Errno) -> FileError {
    match errno {
        Errno::NOENT | Errno::NOTDIR => FileError::Missing { path },
        // Some systems have a second name for what O_NOFOLLOW met.
        Errno::LOOP | Errno::MLINK | Errno::XDEV => FileError::Link { path },
        errno => FileError::Read {
            path,
            source: errno.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_special_files_are_refused_both_ways() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("package");
        fs::create_dir_all(root.join("real/deep")).unwrap();
        fs::write(root.join("real/deep/file"), "inside").unwrap();
        fs::write(temp.path().join("outside"), "outside").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        symlink("real", root.join("way")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        // What is defended against: the plain way in follows both links.
        assert_eq!(fs::read(root.join("link")).unwrap(), b"outside");
        assert_eq!(fs::read(root.join("way/deep/file")).unwrap(), b"inside");
        let package = Package::open(&root).unwrap();
        for open in [open_beneath, |root: &OwnedFd, path: &str| {
            walk(root, path, FILE)
        }] {
            open(&package.root, "real/deep/file").unwrap();
            assert_eq!(open(&package.root, "link").unwrap_err(), Errno::LOOP);
            assert_eq!(
                open(&package.root, "way/deep/file").unwrap_err(),
                Errno::LOOP
            );
            assert_eq!(open(&package.root, "none").unwrap_err(), Errno::NOENT);
        }
        assert!(matches!(package.file("link"), Err(FileError::Link { .. })));
        assert!(matches!(
            package.file("fifo"),
            Err(FileError::NotAFile { .. })
        ));
        assert!(matches!(
            package.file("real"),
            Err(FileError::NotAFile { .. })
        ));
        assert!(matches!(
            package.file("../outside"),
            Err(FileError::Name { .. })
        ));
        let listed = package.list("plugin.sig").unwrap_err();
        assert!(!matches!(listed, FileError::Read { .. }), "{listed}");
        let way = Package::open(&root.join("way")).unwrap_err();
        assert!(matches!(way, FileError::Link { .. }), "{way}");
    }

    #[test]
    fn files_and_directories_are_counted() {
        let temp = tempfile::tempdir().unwrap();
        let package = Package::open(temp.path()).unwrap();
        for number in 0..FILES_MAX {
            fs::write(temp.path().join(number.to_string()), "").unwrap();
        }
        fs::write(temp.path().join("plugin.sig"), "").unwrap();
        assert_eq!(package.list("plugin.sig").unwrap().len(), FILES_MAX);
        fs::write(temp.path().join("more"), "").unwrap();
        let error = package.list("plugin.sig").unwrap_err();
        assert!(matches!(error, FileError::TooMany { .. }), "{error}");

        let temp = tempfile::tempdir().unwrap();
        let package = Package::open(temp.path()).unwrap();
        // The root is one itself.
        for number in 1..DIRECTORIES_MAX {
            fs::create_dir(temp.path().join(number.to_string())).unwrap();
        }
        assert_eq!(package.list("plugin.sig").unwrap().len(), 0);
        fs::create_dir(temp.path().join("more")).unwrap();
        package.list("plugin.sig").unwrap_err();
    }
}
