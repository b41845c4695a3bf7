//! Removing a directory that a confined program filled.
//!
//! The standard library goes down a tree by recursion and holds a descriptor for each level. Who
//! makes ten thousand directories in one another thereby ends the process that removes them, by
//! its stack, or keeps it from opening anything meanwhile. Here what is deep is moved up before it
//! is removed: a few descriptors are open and nothing recurs, however the tree is shaped.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Prefix of the names of directories that were moved up.
const MOVED: &str = ".gk-removed-";

/// Removes a directory and all that is in it, however deep. No link is followed. Memory is needed
/// for the names of directories that lie beside each other.
///
/// # Errors
/// What cannot be opened or removed: some of it is left then. `ENOENT` if there is no directory,
/// `ENOTDIR` or `ELOOP` if it is something else.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = open(CWD, path)?;
    let mut moved = 0_u64;
    let mut directories = remove_files(&top)?;
    while let Some(next) = directories.pop() {
        let inner = open(&top, &next)?;
        for below in remove_files(&inner)? {
            directories.push(raise(&inner, &below, &top, &mut moved)?);
        }
        rustix::fs::unlinkat(&top, &next, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Removes what is no directory. Returns the names of the directories.
fn remove_files(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let directory = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            _ => false,
        };
        if directory {
            directories.push(name.to_owned());
        } else {
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(directories)
}

/// Moves a directory up, under a name that is free there, which is returned.
fn raise(from: &OwnedFd, name: &CString, top: &OwnedFd, moved: &mut u64) -> io::Result<CString> {
    // Where it lies is a thing of its own that one needs a right to change.
    drop(open(from, name)?);
    loop {
        *moved += 1;
        let new = CString::new(format!("{MOVED}{moved}"))?;
        match rustix::fs::statat(top, &new, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => continue,
            Err(errno) => return Err(errno.into()),
        }
        rustix::fs::renameat(from, name, top, &new)?;
        return Ok(new);
    }
}

/// Opens a directory. If its owner took away their own rights, and is this process's user, they
/// are given back.
fn open(dir: impl AsFd, path: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(&dir, path, flags | OFlags::RDONLY, Mode::empty());
    let opened = match open() {
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => {
            use std::os::fd::AsRawFd;
            // By what was opened: a link put at the path meanwhile must not lead to another file.
            let found = rustix::fs::openat(&dir, path, flags | OFlags::PATH, Mode::empty())?;
            let by = format!("/proc/self/fd/{}", found.as_raw_fd());
            rustix::fs::chmod(by, Mode::RWXU)?;
            open()?
        }
        other => other?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // What cannot be changed here is found out by the next step.
        let _ = rustix::fs::fchmod(&opened, Mode::RWXU);
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deeper than the standard library gets with the stack of a runtime's thread.
    const DEPTH: u32 = 10_000;

    fn deep(dir: &Path) {
        let mut at = open(CWD, dir).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(&at, c"d").unwrap();
        }
    }

    #[test]
    fn a_deep_tree_needs_neither_stack_nor_descriptors() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        deep(&tree);
        // With the standard library this ends the process, or answers EMFILE.
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let removing = small.spawn(move || remove_tree(&tree)).unwrap();
        removing.join().unwrap().unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_wide_one_goes_with_all_kinds_and_no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        let kept = root.path().join("kept");
        std::fs::create_dir_all(kept.join("inside")).unwrap();
        std::fs::write(kept.join("file"), "kept").unwrap();
        // Names that it uses itself, full and empty.
        for name in [".gk-removed-1/full", ".gk-removed-2", "a/b/c", "a/d", "e"] {
            std::fs::create_dir_all(tree.join(name)).unwrap();
        }
        std::fs::write(tree.join("a/b/c/file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(tree.join("e/socket")).unwrap();
        for (name, mode) in [("a/b", Mode::empty()), ("a/d", Mode::RUSR | Mode::XUSR)] {
            rustix::fs::chmod(tree.join(name), mode).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(kept.join("inside").exists() && kept.join("file").exists());

        std::os::unix::fs::symlink(&kept, &tree).unwrap();
        assert!(remove_tree(&tree).is_err());
        assert!(kept.join("file").exists());
        assert!(remove_tree(&root.path().join("absent")).is_err());
    }
}
