//! The user a plugin's processes run as where the host is root: one of its own, kept by the owner
//! of its work directory.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gk_sandbox::Identity;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::dirs::{self, DirError};

/// The first of the users that plugins get. systemd's table of numbers has 1879048192 to
/// 2147483647 as unused; SSSD maps Active Directory to numbers up to 2000200000. A directory
/// service can be told to use more all the same, which docs/threat-model.md says.
const FIRST: u32 = 2_100_000_000;
/// Number of users that plugins can get.
const COUNT: u32 = 1 << 16;
/// Maximum depth of a work directory that changes its owner.
const DEPTH_MAX: u32 = 64;

/// Gives out the users, and the work directories with them.
#[derive(Debug)]
pub(crate) struct Identities {
    work_root: PathBuf,
    /// Held from looking for a free user to its directory being made.
    choosing: Mutex<()>,
}

impl Identities {
    pub(crate) fn new(work_root: PathBuf) -> Self {
        Self {
            work_root,
            choosing: Mutex::default(),
        }
    }

    /// Returns the work directory of a plugin, created if missing, and its user; `None` stands for
    /// the host's own. `own` asks for a user of the plugin's own, which only root can give.
    pub(crate) fn work_dir(
        &self,
        plugin: &str,
        own: bool,
    ) -> Result<(PathBuf, Option<Identity>), DirError> {
        let path = self.work_root.join(plugin);
        std::fs::create_dir_all(&self.work_root).map_err(|source| DirError::Io {
            path: self.work_root.clone(),
            source,
        })?;
        let euid = rustix::process::geteuid();
        let _choosing = self.choosing.lock();
        let present = owner(&path);
        // After a time as an ordinary user, the whole data directory belongs to that user.
        let former = owner(&self.work_root).filter(|uid| euid.is_root() && *uid != 0);
        if !own || !euid.is_root() {
            let back =
                present.filter(|uid| euid.is_root() && (is_ours(*uid) || former == Some(*uid)));
            // The host ran with sandboxes before, or as another user: the plugin's directory
            // becomes the host's own again.
            if let Some(uid) = back {
                dirs::private_for(&path, Some(Identity::new(uid, uid)), None)?;
                reclaim(&path)?;
            }
            dirs::private(&path)?;
            return Ok((path, None));
        }
        let taken: BTreeSet<u32> = self
            .work_root
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path() != path)
            .filter_map(|entry| owner(&entry.path()))
            .collect();
        let uid = present
            .filter(|uid| is_ours(*uid) && !taken.contains(uid))
            .or_else(|| (FIRST..FIRST + COUNT).find(|uid| !taken.contains(uid)))
            .unwrap_or(FIRST);
        let identity = Identity::new(uid, uid);
        match dirs::private_for(&path, Some(identity), former) {
            Ok(()) => Ok((path, Some(identity))),
            // A host that is root in a container with few users.
            Err(DirError::Io { source, .. })
                if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
            {
                let nobody = Identity::default();
                match dirs::private_for(&path, Some(nobody), former) {
                    Ok(()) => Ok((path, Some(nobody))),
                    // The container may even lack that user.
                    Err(_) => dirs::private(&path).map(|()| (path, None)),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns true for a user that plugins get.
pub(crate) fn is_ours(uid: u32) -> bool {
    (FIRST..FIRST + COUNT).contains(&uid)
}

fn owner(path: &Path) -> Option<u32> {
    rustix::fs::lstat(path).ok().map(|stat| stat.st_uid)
}

/// Makes a directory, and all in it, the host's own again.
fn reclaim(path: &Path) -> Result<(), DirError> {
    let failed = |errno: Errno| DirError::Io {
        path: path.into(),
        source: errno.into(),
    };
    let dir = open_dir(path).map_err(failed)?;
    let own = Identity::new(
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    hand_over(&dir, own).map_err(failed)
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Gives a directory, and all in it, to a user. No link is followed, and no file with another
/// name elsewhere is given away.
pub(crate) fn hand_over(dir: impl AsFd, to: Identity) -> Result<(), Errno> {
    let from = rustix::fs::fstat(&dir)?.st_uid;
    hand_over_below(dir.as_fd(), &|_| true, &|uid| uid == from, to, DEPTH_MAX)?;
    rustix::fs::fchown(
        &dir,
        Some(Uid::from_raw(to.uid)),
        Some(Gid::from_raw(to.gid)),
    )
}

/// Gives the entries that a host made in a data directory back to the owner of that directory:
/// those that root made in it, or gave to plugins. For the end of a host that runs as root on
/// another user's directory: the next host may run as that user, and has to read these entries.
/// `names` are the host's own entries; others are left alone. No link is followed, and no file with
/// another name elsewhere is given away.
///
/// Returns without a change unless the host runs as root and the directory is another user's.
///
/// # Errors
/// The system's error where an entry cannot be given; entries given until then stay given.
pub fn give_back(data_dir: &Path, names: &[&str]) -> std::io::Result<()> {
    let dir = open_dir(data_dir)?;
    let stat = rustix::fs::fstat(&dir)?;
    if !rustix::process::geteuid().is_root() || stat.st_uid == 0 {
        return Ok(());
    }
    let owner = Identity::new(stat.st_uid, stat.st_gid);
    let from = |uid: u32| uid == 0 || is_ours(uid);
    let is_made = |name: &[u8]| names.iter().any(|made| name == made.as_bytes());
    Ok(hand_over_below(
        dir.as_fd(),
        &is_made,
        &from,
        owner,
        DEPTH_MAX,
    )?)
}

fn hand_over_below(
    dir: std::os::fd::BorrowedFd<'_>,
    named: &dyn Fn(&[u8]) -> bool,
    from: &dyn Fn(u32) -> bool,
    to: Identity,
    depth: u32,
) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::LOOP);
    }
    let mut first_error = Ok(());
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || !named(name.to_bytes()) {
            continue;
        }
        // An entry that cannot be given must not keep back the others.
        let given = hand_over_entry(dir, name, from, to, depth);
        first_error = first_error.and(given);
    }
    first_error
}

fn hand_over_entry(
    dir: std::os::fd::BorrowedFd<'_>,
    name: &std::ffi::CStr,
    from: &dyn Fn(u32) -> bool,
    to: Identity,
    depth: u32,
) -> Result<(), Errno> {
    // The descriptor makes sure that the entry checked is the entry given, even if the name is
    // taken by another in between.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&entry)?;
    let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    let mut below = Ok(());
    if directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&entry, c".", flags, Mode::empty())?;
        below = hand_over_below(opened.as_fd(), &|_| true, from, to, depth - 1);
    }
    if from(stat.st_uid) && (directory || stat.st_nlink == 1) {
        rustix::fs::chownat(
            &entry,
            c"",
            Some(Uid::from_raw(to.uid)),
            Some(Gid::from_raw(to.gid)),
            AtFlags::EMPTY_PATH,
        )?;
    }
    below
}
