//! Where there are no sealed memory files: a copy (mode 0500) in a directory of its own (0700).
//! Weaker, since whoever runs as the host's user can still change it, and the plugin does unless it
//! runs as another user.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::pin::{are_equal, copy};

/// The copy, its digest, which was taken from the copy, and its directory, which ends with it.
#[derive(Debug)]
pub(crate) struct Pinned {
    directory: tempfile::TempDir,
    file: File,
    digest: Digest,
    size: u64,
}

impl Pinned {
    /// Copies what is left of `file`, at most `max` bytes; `None` if it has more.
    pub(crate) fn new(file: &File, max: u64) -> io::Result<Option<Self>> {
        let private = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new()
            .prefix("gk-plugin-")
            .permissions(private)
            .tempdir()?;
        let path = directory.path().join("plugin");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o500);
        let Some(size) = copy(file, &options.open(&path)?, max)? else {
            return Ok(None);
        };
        let file = File::open(&path)?;
        let hashed = Digest::of_file(&file, max)?;
        let (digest, hashed) = hashed.ok_or_else(|| io::Error::other("the copy grew"))?;
        if hashed != size {
            return Err(io::Error::other("the copy is not what was written"));
        }
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        Ok(Some(Self {
            directory,
            file,
            digest,
            size,
        }))
    }

    /// Whether a file has the same bytes, each of which is looked at.
    pub(crate) fn has_content_of(&self, file: &File) -> io::Result<bool> {
        are_equal(file, &self.file, self.size)
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn exec_path(&self) -> PathBuf {
        self.directory.path().join("plugin")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_its_own_that_only_this_user_reaches() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("binary");
        std::fs::write(&path, "binary").unwrap();
        let open = || File::open(&path).unwrap();
        assert!(Pinned::new(&open(), 5).unwrap().is_none());
        let pinned = Pinned::new(&open(), 6).unwrap().unwrap();
        std::fs::write(&path, "attack").unwrap();
        assert_eq!(
            (pinned.size(), *pinned.digest()),
            (6, Digest::of(b"binary"))
        );
        let copy = pinned.exec_path();
        assert_eq!(std::fs::read(&copy).unwrap(), b"binary");
        assert_ne!(std::os::fd::AsRawFd::as_raw_fd(&pinned.as_fd()), -1);
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(copy.as_path()), 0o500);
        assert_eq!(mode(copy.parent().unwrap()), 0o700);
        drop(pinned);
        assert!(!copy.exists());
    }
}
