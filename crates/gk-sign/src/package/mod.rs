//! A package's directory, opened once: files in it are opened relative to it and without following
//! a link, so a path that is exchanged on the way leads to an error and never out of the package.

mod error;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use self::error::FileError;
use crate::limits::{DIRECTORIES_MAX, FILES_MAX};
use crate::links::Boundary;
use crate::path::{self, PathError};

/// The open directory.
#[derive(Debug)]
pub(crate) struct Package {
    root: OwnedFd,
    path: PathBuf,
    /// Boundary within which links may lead; without it no link is followed.
    boundary: Option<Boundary>,
}

/// Device and number of an inode: a file that is reached by two paths has one.
pub(crate) type InodeId = (rustix::fs::Dev, u64);

/// A regular file of a package, as a listing has it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) inode: InodeId,
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    /// Stamp from the opening of the file, which tells whether it has been written since.
    pub(crate) stamp: Option<Stamp>,
}

/// The kernel's note of the last change to a file's content or name. Nobody sets that time at will
/// but who sets the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: InodeId,
    size: i64,
    changed: (i64, i64),
}

/// A second change within one tick of the file system's clock leaves no trace: 10 ms as a rule,
/// where inodes have no room for more a second, and two on FAT.
const TICK: Duration = match cfg!(test) {
    true => Duration::from_millis(50),
    false => Duration::from_millis(2500),
};

impl Opened {
    /// Its stamp, if nobody has written it since it was opened.
    pub(crate) fn stamp_now(&self) -> Option<Stamp> {
        let now = rustix::fs::fstat(&self.file).ok();
        let now = now.and_then(|stat| Stamp::of(&stat));
        self.stamp.filter(|stamp| now == Some(*stamp))
    }
}

impl Stamp {
    /// `None` as long as the last change is too young to be told from another one.
    fn of(stat: &Stat) -> Option<Self> {
        let changed = (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).ok()?);
        let seconds = u64::try_from(changed.0).ok()?;
        let nanos = u32::try_from(changed.1).ok()?;
        let at = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let age = SystemTime::now().duration_since(at).ok()?;
        (age > TICK).then(|| Self {
            inode: id(stat),
            size: stat.st_size,
            changed,
        })
    }
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
    /// Opens the directory at `path`, which may be reached through links but not be one. Links in
    /// it are followed as long as they stay in `within`, in which it is; both paths are absolute
    /// and without links then.
    pub(crate) fn open(path: &Path, within: Option<&Path>) -> Result<Self, FileError> {
        let boundary = within
            .map(|within| {
                Boundary::open(within, path).map_err(|errno| failed(within.to_owned(), errno))
            })
            .transpose()?;
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(root) => Ok(Self {
                root,
                path: path.into(),
                boundary,
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
        let opened = match (open_beneath(&self.root, path), &self.boundary) {
            (Err(Errno::LOOP | Errno::MLINK), Some(boundary)) => boundary
                .find(path)
                .and_then(|found| boundary.reopen(&found, FILE)),
            (opened, _) => opened,
        };
        let opened = opened.map_err(|errno| {
            // A special file without a listener or a device without a driver, say.
            if errno == Errno::NXIO || errno == Errno::NODEV {
                return FileError::NotAFile {
                    path: self.full(path),
                };
            }
            self.failed(path, errno)
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
            stamp: Stamp::of(&stat),
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

    fn failed(&self, path: &str, errno: Errno) -> FileError {
        match (errno, &self.boundary) {
            (Errno::XDEV | Errno::LOOP, Some(boundary)) => FileError::LeadsOut {
                path: self.full(path),
                within: boundary.path().to_owned(),
            },
            _ => failed(self.full(path), errno),
        }
    }

    /// Where files and directories are that links of the package lead to, outside of the package
    /// itself: absolute and without links. Of a directory, what is in it is not looked at.
    ///
    /// A link that leads nowhere, or out of the boundary, is left out: whoever opens it fails. So
    /// is what is in a directory that cannot be read, and what comes after as many entries as a
    /// signed package may have.
    pub(crate) fn link_targets(&self) -> Vec<PathBuf> {
        let Some(boundary) = &self.boundary else {
            return Vec::new();
        };
        let mut targets = Vec::new();
        let mut queue = vec![String::new()];
        let mut seen = 0;
        while let Some(directory) = queue.pop() {
            for (name, kind, _) in self.entries(&directory).unwrap_or_default() {
                seen += 1;
                if seen > FILES_MAX + DIRECTORIES_MAX {
                    queue.clear();
                    break;
                }
                let path = below(&directory, name);
                if kind == FileType::Directory {
                    queue.push(path);
                } else if kind == FileType::Symlink
                    && let Ok(found) = boundary.find(&path)
                {
                    let target = boundary.full(&found);
                    if !target.starts_with(&self.path) {
                        targets.push(target);
                    }
                }
            }
        }
        targets.sort();
        targets.dedup();
        targets
    }

    /// All files but `except` in the root, sorted. Empty directories leave no trace in it.
    pub(crate) fn list(&self, except: &str) -> Result<Vec<Listed>, FileError> {
        let boundary = self.boundary.as_ref();
        let excepted = boundary.and_then(|boundary| boundary.find(except).ok());
        let excepted = excepted.map(|found| id(&found.stat));
        let mut files = Vec::new();
        let mut seen = 1;
        let mut queue = vec![String::new()];
        while let Some(directory) = queue.pop() {
            for (name, mut kind, mut inode) in self.entries(&directory)? {
                let path = below(&directory, name);
                path::check(&path).map_err(|source| FileError::Name {
                    path: self.full(&path),
                    source,
                })?;
                if let (FileType::Symlink, Some(boundary)) = (kind, &self.boundary) {
                    let found = boundary.find(&path);
                    let found = found.map_err(|errno| self.failed(&path, errno))?;
                    (inode, kind) = (id(&found.stat), found.kind);
                }
                match kind {
                    FileType::RegularFile if path == except || Some(inode) == excepted => {}
                    FileType::RegularFile => files.push(Listed { path, inode }),
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

    /// What is in one directory, which is reached part by part, following a link only where that is
    /// allowed.
    fn entries(&self, directory: &str) -> Result<Vec<(String, FileType, InodeId)>, FileError> {
        let full = self.full(directory);
        let failed = |errno| self.failed(directory, errno);
        let opened = match (walk(&self.root, directory, DIRECTORY), &self.boundary) {
            (Err(Errno::LOOP | Errno::MLINK), Some(boundary)) => boundary
                .find(directory)
                .and_then(|found| boundary.reopen(&found, DIRECTORY)),
            (opened, _) => opened,
        };
        let opened = opened.map_err(failed)?;
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
            let stat = stat.map_err(failed)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            entries.push((text.to_owned(), kind, id(&stat)));
            if entries.len() > FILES_MAX + DIRECTORIES_MAX {
                return Err(FileError::TooMany {
                    path: self.path.clone(),
                });
            }
        }
        Ok(entries)
    }
}

/// The path of an entry of a directory.
fn below(directory: &str, name: String) -> String {
    match directory {
        "" => name,
        directory => format!("{directory}/{name}"),
    }
}

fn id(stat: &rustix::fs::Stat) -> InodeId {
    (stat.st_dev, stat.st_ino)
}

/// Opens by one system call where there is one; else, or where a filter forbids it, part by part.
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

/// Opens the directories on the way one after the other, and the last part with `flags`. An empty
/// path is the root.
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
            // With O_DIRECTORY a link is no directory; which of both it is, is asked for the
            // message alone.
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
        let package = Package::open(&root, None).unwrap();
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
        let way = Package::open(&root.join("way"), None).unwrap_err();
        assert!(matches!(way, FileError::Link { .. }), "{way}");
    }

    #[test]
    fn files_and_directories_are_counted() {
        let temp = tempfile::tempdir().unwrap();
        let package = Package::open(temp.path(), None).unwrap();
        for number in 0..FILES_MAX {
            fs::write(temp.path().join(number.to_string()), "").unwrap();
        }
        fs::write(temp.path().join("plugin.sig"), "").unwrap();
        assert_eq!(package.list("plugin.sig").unwrap().len(), FILES_MAX);
        fs::write(temp.path().join("more"), "").unwrap();
        let error = package.list("plugin.sig").unwrap_err();
        assert!(matches!(error, FileError::TooMany { .. }), "{error}");

        let temp = tempfile::tempdir().unwrap();
        let package = Package::open(temp.path(), None).unwrap();
        // The root is one itself.
        for number in 1..DIRECTORIES_MAX {
            fs::create_dir(temp.path().join(number.to_string())).unwrap();
        }
        assert_eq!(package.list("plugin.sig").unwrap().len(), 0);
        fs::create_dir(temp.path().join("more")).unwrap();
        package.list("plugin.sig").unwrap_err();
    }
}
