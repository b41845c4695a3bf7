//! A plugin's directory, opened once; every path is relative to it and stays below it.
//!
//! Keys cannot name a way out, and nobody but the host writes here. That paths are resolved beneath
//! the directory and through no symbolic link all the same is for whoever finds a way around one of
//! the two.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::key::{FileKey, OnDisk, UNFINISHED, on_disk};

const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// How paths are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolve {
    /// By the kernel, in one call: `openat2`, Linux 5.6.
    Kernel,
    /// The host opens part after part of a path, following no link.
    Step,
}

impl Resolve {
    /// Finds out how this kernel, and whatever filters system calls, lets paths be resolved.
    pub(super) fn detect(directory: impl AsFd) -> Self {
        match openat2(directory.as_fd(), ".", DIRECTORY) {
            Ok(_) => Self::Kernel,
            Err(_) => Self::Step,
        }
    }
}

fn openat2(base: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(base.as_fd(), path, flags, Mode::empty(), resolve) {
            // The kernel saw a rename on the way and could not be sure.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Opens a directory, or makes it with mode 0700.
pub(super) fn open_or_make(base: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(base.as_fd(), name, DIRECTORY_MODE) {
        // A directory is only there after a loss of power if its parent was synced.
        Ok(()) => rustix::fs::fsync(base.as_fd())?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(base.as_fd(), name, flags, Mode::empty())
}

/// The files and directories below a directory, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) files: u64,
    /// Directories, with files or without.
    pub(super) directories: u64,
    pub(super) bytes: u64,
}

/// A plugin's directory.
#[derive(Debug)]
pub(super) struct Tree {
    directory: OwnedFd,
    resolve: Resolve,
}

impl Tree {
    pub(super) fn new(directory: OwnedFd, resolve: Resolve) -> Self {
        Self { directory, resolve }
    }

    /// Opens what the path leads to, if it leads through directories of this tree alone.
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if self.resolve == Resolve::Kernel {
            return openat2(&self.directory, path, flags);
        }
        let mut parts = path.split('/').peekable();
        let mut current: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let flags = match parts.peek() {
                Some(_) => DIRECTORY,
                None => flags,
            };
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let base = current.as_ref().unwrap_or(&self.directory);
            current = Some(rustix::fs::openat(base, part, flags, Mode::empty())?);
        }
        current.ok_or(Errno::NOENT)
    }

    fn open_directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        match path {
            "" => self.open(".", DIRECTORY),
            path => self.open(path, DIRECTORY),
        }
    }

    /// Bytes on disk of a key's file, if there is one.
    pub(super) fn size(&self, key: &FileKey) -> Result<Option<u64>, Errno> {
        match self.open(&key.path(), OFlags::PATH) {
            Ok(file) => Ok(Some(
                u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0),
            )),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many of a key's directories there are not yet.
    pub(super) fn missing(&self, key: &FileKey) -> Result<u64, Errno> {
        for there in (1..=key.directories.len()).rev() {
            let path = key.directories.get(..there).unwrap_or_default().join("/");
            match self.open_directory(&path) {
                Ok(_) => return Ok((key.directories.len() - there) as u64),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(key.directories.len() as u64)
    }

    /// Opens a key's file for reading.
    pub(super) fn read(&self, key: &FileKey) -> Result<File, Errno> {
        // Not blocking: a pipe in the file's place must not hold the host up.
        let file = self.open(&key.path(), OFlags::RDONLY | OFlags::NONBLOCK)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(Errno::NOENT),
        }
    }

    /// Puts a file in the key's place: whole or not at all, whatever happens meanwhile.
    pub(super) fn replace(&self, key: &FileKey, parts: &[&[u8]]) -> std::io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut directory = self.open(".", DIRECTORY)?;
        for name in &key.directories {
            directory = open_or_make(&directory, name)?;
        }
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = format!("{UNFINISHED}{}-{next}", std::process::id());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&directory, &*new, flags, FILE_MODE)?;
        let write = || -> std::io::Result<()> {
            let mut file = File::from(file);
            for part in parts {
                file.write_all(part)?;
            }
            file.sync_all()?;
            Ok(rustix::fs::renameat(
                &directory, &*new, &directory, &*key.file,
            )?)
        };
        write().inspect_err(|_| {
            // The file may be gone or never have come to be; either is what is wanted.
            let _ = rustix::fs::unlinkat(&directory, &*new, AtFlags::empty());
        })?;
        Ok(rustix::fs::fsync(&directory)?)
    }

    /// Deletes a key's file, and the directories that it leaves empty; says how many these were.
    pub(super) fn delete(&self, key: &FileKey) -> Result<u64, Errno> {
        let mut directories = key.directories.clone();
        let directory = self.open_directory(&directories.join("/"))?;
        rustix::fs::unlinkat(&directory, &*key.file, AtFlags::empty())?;
        rustix::fs::fsync(&directory)?;
        let mut emptied = 0;
        while let Some(empty) = directories.pop() {
            let parent = self.open_directory(&directories.join("/"))?;
            // Usually because it is not empty.
            if rustix::fs::unlinkat(&parent, &*empty, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            emptied += 1;
        }
        Ok(emptied)
    }

    /// All keys that start with `prefix`, in no order.
    pub(super) fn keys(&self, prefix: &str) -> Result<Vec<String>, Errno> {
        let mut keys = Vec::new();
        self.walk(&mut |_, name, key| {
            if let (OnDisk::File(_), true) = (on_disk(name), key.starts_with(prefix)) {
                keys.push(key.to_owned());
            }
            // A directory leads on if its keys can begin with the prefix.
            Ok(key.starts_with(prefix) || prefix.starts_with(&format!("{key}/")))
        })?;
        Ok(keys)
    }

    /// Adds up all files, and deletes what was left unfinished. Nobody may be writing.
    pub(super) fn usage(&self) -> Result<Usage, Errno> {
        let mut usage = Usage::default();
        self.walk(&mut |directory, name, _| {
            match on_disk(name) {
                OnDisk::File(_) => {
                    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    usage.files += 1;
                    usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
                OnDisk::Unfinished => {
                    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
                }
                OnDisk::Directory(_) => usage.directories += 1,
                OnDisk::Foreign => {}
            }
            Ok(true)
        })?;
        Ok(usage)
    }

    /// Deletes everything.
    pub(super) fn clear(&self) -> Result<(), Errno> {
        let mut directories = Vec::new();
        self.walk(&mut |directory, name, key| {
            match on_disk(name) {
                OnDisk::File(_) | OnDisk::Unfinished => {
                    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
                }
                OnDisk::Directory(_) => directories.push(key.to_owned()),
                OnDisk::Foreign => {}
            }
            Ok(true)
        })?;
        // The deepest first.
        for key in directories.iter().rev() {
            let mut names: Vec<String> = key.split('/').map(|part| format!("{part}.d")).collect();
            let name = names.pop().unwrap_or_default();
            let parent = self.open_directory(&names.join("/"))?;
            let _ = rustix::fs::unlinkat(&parent, &*name, AtFlags::REMOVEDIR);
        }
        rustix::fs::fsync(&self.directory)
    }

    /// Shows every entry: its directory, its name on disk and its key. Whether a directory is gone
    /// into is up to the answer. Directories are shown before what they hold.
    fn walk(
        &self,
        visit: &mut dyn FnMut(&OwnedFd, &str, &str) -> Result<bool, Errno>,
    ) -> Result<(), Errno> {
        let mut waiting = vec![(String::new(), String::new())];
        while let Some((path, key)) = waiting.pop() {
            let directory = match self.open_directory(&path) {
                // Deleted meanwhile, or a link that somebody put there.
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => continue,
                directory => directory?,
            };
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                // A name that is not text is none of this host's.
                let Ok(name) = entry.file_name().to_str() else {
                    continue;
                };
                let segment = match on_disk(name) {
                    OnDisk::File(segment) | OnDisk::Directory(segment) => segment,
                    OnDisk::Unfinished => "",
                    OnDisk::Foreign => continue,
                };
                let below = |parent: &str, name: &str| match parent {
                    "" => name.to_owned(),
                    parent => format!("{parent}/{name}"),
                };
                let inner = below(&key, segment);
                let follow = match visit(&directory, name, &inner) {
                    Err(Errno::NOENT) => continue,
                    follow => follow?,
                };
                if follow && matches!(on_disk(name), OnDisk::Directory(_)) {
                    waiting.push((below(&path, name), inner));
                }
            }
        }
        Ok(())
    }
}

/// Reads a file up to `max` bytes; a longer one is none of this host's.
pub(super) fn read_up_to(file: File, max: u64) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > max {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
