//! The bytes of a binary in a memfd that nothing can change any more: not its writer, not the
//! plugin that runs from it, not root.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::pin::{are_equal, copy};

/// Sealed bytes and their digest, which was taken after they were sealed.
#[derive(Debug)]
pub(crate) struct Pinned {
    memfd: File,
    digest: Digest,
    size: u64,
}

/// Without these it is not pinned.
const REQUIRED: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

impl Pinned {
    /// Copies what is left of `file`, at most `max` bytes; `None` if it has more.
    pub(crate) fn new(file: &File, max: u64) -> io::Result<Option<Self>> {
        let memfd = create()?;
        let Some(size) = copy(file, &memfd, max)? else {
            return Ok(None);
        };
        // Nobody but the plugin needs it, whatever user that is mapped to: read and execute.
        let mode = Mode::from_raw_mode(0o555);
        rustix::fs::fchmod(&memfd, mode)?;
        seal(&memfd)?;
        // Over what is pinned, not over what was read.
        rustix::fs::seek(&memfd, rustix::fs::SeekFrom::Start(0))?;
        let hashed = Digest::of_file(&memfd, max)?;
        let (digest, hashed) = hashed.ok_or_else(|| io::Error::other("the copy grew"))?;
        if hashed != size {
            return Err(io::Error::other("the copy is not what was written"));
        }
        rustix::fs::seek(&memfd, rustix::fs::SeekFrom::Start(0))?;
        Ok(Some(Self {
            memfd,
            digest,
            size,
        }))
    }

    /// Whether a file has the same bytes, each of which is looked at.
    pub(crate) fn has_content_of(&self, file: &File) -> io::Result<bool> {
        are_equal(file, &self.memfd, self.size)
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    pub(crate) fn exec_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.memfd.as_raw_fd()).into()
    }
}

fn create() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let created = match rustix::fs::memfd_create(c"gk-plugin", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every memfd may be executed, and the flag is unknown.
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"gk-plugin", flags),
        created => created,
    };
    match created {
        Ok(memfd) => Ok(memfd.into()),
        Err(Errno::ACCESS) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the system forbids memory files that can be executed; set the sysctl vm.memfd_noexec to 0 or 1",
        )),
        Err(errno) => Err(errno.into()),
    }
}

fn seal(memfd: &File) -> io::Result<()> {
    let newer = [
        SealFlags::FUTURE_WRITE | SealFlags::EXEC,
        SealFlags::FUTURE_WRITE,
        SealFlags::empty(),
    ];
    for more in newer {
        match rustix::fs::fcntl_add_seals(memfd, REQUIRED | more) {
            // A seal this kernel does not have.
            Err(Errno::INVAL) => {}
            sealed => {
                sealed?;
                break;
            }
        }
    }
    if !rustix::fs::fcntl_get_seals(memfd)?.contains(REQUIRED) {
        return Err(io::Error::other("the system did not seal the memory file"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    fn pin(bytes: &[u8], max: u64) -> Option<Pinned> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
        Pinned::new(&file, max).unwrap()
    }

    #[test]
    fn nothing_changes_sealed_bytes() {
        let pinned = pin(b"binary", 100).unwrap();
        assert_eq!(
            (pinned.size(), *pinned.digest()),
            (6, Digest::of(b"binary"))
        );
        // The attack works on a memory file that is not sealed: through its path, opened anew.
        let open = create().unwrap();
        (&open).write_all(b"binary").unwrap();
        let path = format!("/proc/self/fd/{}", open.as_raw_fd());
        let again = OpenOptions::new().write(true).open(path).unwrap();
        again.write_all_at(b"attack", 0).unwrap();
        let mut read = [0; 6];
        open.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"attack");
        // Not on one that is.
        let refused = |result: io::Result<()>| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        };
        if let Ok(again) = OpenOptions::new().write(true).open(pinned.exec_path()) {
            refused(again.write_all_at(b"attack", 0));
            refused(again.set_len(3));
            refused(again.set_len(9));
        }
        refused(pinned.memfd.write_all_at(b"attack", 0));
        refused(pinned.memfd.write_all_at(b"attack", 6));
        refused(pinned.memfd.set_len(0));
        let more = SealFlags::WRITE;
        assert_eq!(
            rustix::fs::fcntl_add_seals(&pinned.memfd, more),
            Err(Errno::PERM)
        );
        pinned.memfd.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"binary");
    }

    #[test]
    fn the_seals_are_all_this_kernel_has() {
        let pinned = pin(b"binary", 100).unwrap();
        let seals = rustix::fs::fcntl_get_seals(&pinned.memfd).unwrap();
        assert!(seals.contains(REQUIRED), "{seals:?}");
        if seals.contains(SealFlags::EXEC) {
            let none = Mode::from_raw_mode(0o444);
            assert_eq!(rustix::fs::fchmod(&pinned.memfd, none), Err(Errno::PERM));
        }
    }

    #[test]
    fn a_binary_at_its_limit_and_one_byte_more() {
        assert_eq!(pin(&[1; 200_000], 200_000).unwrap().size(), 200_000);
        assert!(pin(&[1; 200_001], 200_000).is_none());
        assert_eq!(pin(b"", 0).unwrap().size(), 0);
    }
}
