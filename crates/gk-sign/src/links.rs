//! Following symbolic links, as long as they stay in one directory.
//!
//! The kernel can do most of this (`RESOLVE_BENEATH`), but refuses every absolute link, also one
//! that leads back into the directory. So links are followed here, part by part: each directory on
//! the way is opened relative to the one before it, and `..` goes back to one that was opened
//! before, never to what the file system has as the parent by now.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Maximum number of links on the way to one file, as in the kernel.
const LINKS_MAX: usize = 40;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directory that links may not lead out of.
#[derive(Debug)]
pub(crate) struct Boundary {
    root: OwnedFd,
    /// Absolute and without links.
    path: PathBuf,
    /// The parts of the way from there to the package.
    package: Vec<OsString>,
}

/// Target of a path.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) stat: Stat,
    pub(crate) kind: FileType,
    /// The directory it is in, and its name there.
    parent: Option<OwnedFd>,
    name: OsString,
    /// Place of the target, below the boundary.
    pub(crate) below: PathBuf,
}

impl Boundary {
    /// The boundary `path` of a package at `package`; both without links.
    pub(crate) fn open(path: &Path, package: &Path) -> Result<Self, Errno> {
        let below = package.strip_prefix(path).map_err(|_| Errno::XDEV)?;
        Ok(Self {
            root: rustix::fs::open(path, DIRECTORY, Mode::empty())?,
            path: path.to_owned(),
            package: below.iter().map(OsString::from).collect(),
        })
    }

    /// Finds what is at `path` in the package.
    ///
    /// # Errors
    /// `XDEV`: a link leads out of the boundary. `LOOP`: there are too many links. Else what the
    /// system says.
    pub(crate) fn find(&self, path: &str) -> Result<Found, Errno> {
        let mut queue: VecDeque<OsString> = self.package.iter().cloned().collect();
        queue.extend(path.split('/').map(OsString::from));
        // The directories on the way, without the root, and their names.
        let mut way: Vec<(OwnedFd, OsString)> = Vec::new();
        let mut links = 0;
        while let Some(part) = queue.pop_front() {
            match part.as_bytes() {
                b"" | b"." => continue,
                b".." => {
                    way.pop().ok_or(Errno::XDEV)?;
                    continue;
                }
                _ => {}
            }
            let at = self.at(&way);
            let stat = rustix::fs::statat(at, &*part, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            match kind {
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(at, &*part, Vec::new())?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    let target = match target.is_absolute() {
                        true => {
                            way.clear();
                            target.strip_prefix(&self.path).map_err(|_| Errno::XDEV)?
                        }
                        false => &target,
                    };
                    for part in target.components().rev() {
                        match part {
                            Component::CurDir => {}
                            part => queue.push_front(part.as_os_str().to_owned()),
                        }
                    }
                }
                FileType::Directory => {
                    let opened = rustix::fs::openat(at, &*part, DIRECTORY, Mode::empty())?;
                    way.push((opened, part));
                }
                _ if queue.is_empty() => {
                    let mut below: PathBuf = way.iter().map(|(_, name)| name).collect();
                    below.push(&part);
                    return Ok(Found {
                        stat,
                        kind,
                        parent: way.pop().map(|(directory, _)| directory),
                        name: part,
                        below,
                    });
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        // A directory, or the root itself.
        let below = way.iter().map(|(_, name)| name).collect();
        let (stat, name) = match way.pop() {
            Some((directory, name)) => (rustix::fs::fstat(&directory)?, name),
            None => (rustix::fs::fstat(&self.root)?, ".".into()),
        };
        Ok(Found {
            stat,
            kind: FileType::Directory,
            parent: way.pop().map(|(directory, _)| directory),
            name,
            below,
        })
    }

    /// Opens what was found. Something else may be there by now: the caller looks at what it gets.
    pub(crate) fn reopen(&self, found: &Found, flags: OFlags) -> Result<OwnedFd, Errno> {
        let at = found
            .parent
            .as_ref()
            .map_or(self.root.as_fd(), OwnedFd::as_fd);
        rustix::fs::openat(at, &*found.name, flags, Mode::empty())
    }

    fn at<'a>(&'a self, way: &'a [(OwnedFd, OsString)]) -> BorrowedFd<'a> {
        way.last()
            .map_or(self.root.as_fd(), |(directory, _)| directory.as_fd())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole path of what was found.
    pub(crate) fn full(&self, found: &Found) -> PathBuf {
        self.path.join(&found.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_within_and_never_out() {
        let temp = tempfile::tempdir().unwrap();
        let temp = temp.path().canonicalize().unwrap();
        let root = temp.join("plugins");
        let package = root.join("goat");
        fs::create_dir_all(package.join("..2026_1")).unwrap();
        fs::create_dir_all(root.join(".store/v2")).unwrap();
        fs::write(package.join("..2026_1/a"), "a").unwrap();
        fs::write(root.join(".store/v2/b"), "b").unwrap();
        fs::write(temp.join("secret"), "secret").unwrap();
        let link = |target: &str, name: &str| symlink(target, package.join(name)).unwrap();
        // As Kubernetes mounts configuration, and as releases are switched.
        link("..2026_1", "..data");
        link("..data/a", "a");
        link("../.store/v2/b", "b");
        link(root.join(".store/v2/b").to_str().unwrap(), "absolute");
        link("../.store/v2", "directory");
        let boundary = Boundary::open(&root, &package).unwrap();
        for (path, below) in [
            ("a", "goat/..2026_1/a"),
            ("..data/a", "goat/..2026_1/a"),
            ("b", ".store/v2/b"),
            ("absolute", ".store/v2/b"),
            ("directory/b", ".store/v2/b"),
        ] {
            let found = boundary.find(path).unwrap();
            assert_eq!(found.below, Path::new(below), "{path}");
            assert_eq!(found.kind, FileType::RegularFile);
            let file = boundary
                .reopen(&found, OFlags::RDONLY | OFlags::NOFOLLOW)
                .unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut fs::File::from(file), &mut text).unwrap();
            assert_eq!(text, &below[below.len() - 1..]);
        }
        link("../../secret", "out");
        link(temp.join("secret").to_str().unwrap(), "out-absolute");
        link("../../plugins/.store/v2/b", "out-and-back");
        link("/etc", "etc");
        link("/proc/self/root/etc/hostname", "magic");
        link("../../../../../../../../etc/hostname", "far");
        link(&format!("{}-evil/x", root.display()), "prefix");
        link("round", "round");
        for path in [
            "out",
            "out-absolute",
            "out-and-back",
            "etc/hostname",
            "magic",
            "far",
            "prefix",
        ] {
            assert_eq!(boundary.find(path).unwrap_err(), Errno::XDEV, "{path}");
        }
        assert_eq!(boundary.find("round").unwrap_err(), Errno::LOOP);
        assert_eq!(boundary.find("a/x").unwrap_err(), Errno::NOTDIR);
        assert_eq!(boundary.find("none").unwrap_err(), Errno::NOENT);
    }
}
