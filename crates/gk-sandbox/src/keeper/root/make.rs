//! Mounts, directories and files of a new root.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use super::{RootError, failed};
use crate::sys::process::{MountFlags, set_mount_flags};

/// Makes a directory for data of the program's own, of bounded size.
pub(super) fn own_directory(
    root: &OwnedFd,
    path: &Path,
    mode: &str,
    bytes: u64,
    files: u32,
) -> Result<OwnedFd, RootError> {
    let made = tmpfs(mode, bytes, files)?;
    let flags = MountFlags {
        no_devices: true,
        no_exec: true,
        ..MountFlags::default()
    };
    restrict(&made, flags)?;
    make_directory(root, path, 0o755)?;
    attach(&made, root, path)?;
    Ok(made)
}

/// A procfs of this process's own namespace that shows no process of others to anybody.
pub(super) fn proc() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "hidepid", "invisible")?;
    rustix::mount::fsconfig_set_string(&context, "subset", "pid")?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

/// A procfs of this process's own namespace with every process in it, mounted nowhere.
pub(crate) fn whole_proc() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "subset", "pid")?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID,
    )
}

pub(super) fn tmpfs(mode: &str, bytes: u64, files: u32) -> Result<OwnedFd, RootError> {
    let make = || {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let size = bytes.to_string();
        let files = files.to_string();
        for (key, value) in [
            ("mode", mode),
            ("size", size.as_str()),
            ("nr_inodes", files.as_str()),
        ] {
            rustix::mount::fsconfig_set_string(&context, key, value)?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_NOSUID,
        )
    };
    make().map_err(failed("make a tmpfs"))
}

pub(super) fn restrict(mount: &OwnedFd, flags: MountFlags) -> Result<(), RootError> {
    set_mount_flags(mount.as_fd(), c"", flags).map_err(|error| RootError {
        what: "restrict a mount".into(),
        errno: error.raw_os_error(),
        refuse: false,
    })
}

pub(super) fn attach(tree: &OwnedFd, root: &OwnedFd, path: &Path) -> Result<(), RootError> {
    rustix::mount::move_mount(
        tree.as_fd(),
        "",
        root,
        relative(path),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(failed(format!("mount {}", path.display())))
}

pub(super) fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(relative) if relative.as_os_str().is_empty() => Path::new("."),
        Ok(relative) => relative,
        Err(_) => path,
    }
}

pub(super) fn make_parents(root: &OwnedFd, path: &Path) -> Result<(), RootError> {
    match path.parent() {
        Some(parent) if parent != Path::new("/") => make_directory(root, parent, 0o755),
        _ => Ok(()),
    }
}

/// Makes a directory and its missing parents. A directory that exists is left as it is.
pub(super) fn make_directory(root: &OwnedFd, path: &Path, mode: u32) -> Result<(), RootError> {
    let path = relative(path);
    let mut made = PathBuf::new();
    for part in path.components() {
        made.push(part);
        let mode = if made == path { mode } else { 0o755 };
        match rustix::fs::mkdirat(root, &made, Mode::from_raw_mode(mode)) {
            // The mode of mkdirat is cut by the umask, the one of chmodat is not.
            Ok(()) => rustix::fs::chmodat(root, &made, Mode::from_raw_mode(mode), AtFlags::empty())
                .map_err(failed(format!("make the directory /{}", made.display())))?,
            Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(failed(format!("make the directory /{}", made.display()))(
                    errno,
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn make_file(root: &OwnedFd, path: &Path, content: &[u8]) -> Result<(), RootError> {
    make_parents(root, path)?;
    let what = || failed(format!("make the file {}", path.display()));
    let file = match rustix::fs::openat(
        root,
        relative(path),
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::from_raw_mode(0o644),
    ) {
        Ok(file) => file,
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(what()(errno)),
    };
    if !content.is_empty() {
        rustix::io::write(&file, content).map_err(what())?;
    }
    Ok(())
}

/// A path as the C library takes it.
pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(OsStr::as_bytes(path.as_os_str())).unwrap_or_default()
}
