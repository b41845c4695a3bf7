//! The file system of a sandbox: an empty root that is read-only in the end, and in it what the
//! program may see, at the paths it has outside.
//!
//! Built from detached mounts, which the kernel has since 5.12. It is done by the sandbox's first
//! process, in its own mount namespace, before that process gives its user away: what the host may
//! read can be shown.

mod make;
mod paths;
mod view;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};

use self::make::{
    attach, make_directory, make_file, own_directory, proc, relative, restrict, tmpfs,
};
pub(super) use self::make::{c_path, whole_proc};
pub(super) use self::paths::system_paths;
use self::view::{View, collect, show};
use super::message::Plan;
use crate::sys::process::MountFlags;

/// Path of a pinned script in the sandbox.
pub(crate) const SCRIPT: &str = "/.program";
/// Maximum number of files in `/tmp`.
const TEMP_FILES_MAX: u32 = 16 * 1024;
/// Size of the directory of sockets, in bytes, and its maximum number of files: a socket has no
/// size.
const SOCKETS_BYTES: u64 = 64 << 10;
const SOCKETS_MAX: u32 = 64;
/// Size of the root itself, in bytes: directories, links, and a pinned script.
const ROOT_BYTES: u64 = 4 << 20;

/// A root that was entered.
#[derive(Debug)]
pub(crate) struct NewRoot {
    /// `true` if there is a `/proc`.
    pub(crate) proc: bool,
    /// The directories that the host looks for its socket in.
    pub(crate) directories: Directories,
}

/// The directories of a program's own that the host looks for its socket in.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    /// The temporary directory.
    pub(crate) temp: Option<OwnedFd>,
    /// The directory of sockets, if the plan has one.
    pub(crate) sockets: Option<OwnedFd>,
}

impl Directories {
    /// In the order in which they are sent.
    pub(crate) fn as_fds(&self) -> Vec<BorrowedFd<'_>> {
        let both = [&self.temp, &self.sockets];
        both.into_iter().flatten().map(AsFd::as_fd).collect()
    }

    /// From what was sent.
    pub(crate) fn received(descriptors: Vec<OwnedFd>) -> Self {
        let mut descriptors = descriptors.into_iter();
        Directories {
            temp: descriptors.next(),
            sockets: descriptors.next(),
        }
    }
}

/// A step of the building that failed.
#[derive(Debug)]
pub(crate) struct RootError {
    pub(crate) what: String,
    pub(crate) errno: Option<i32>,
    /// `true` if the program must not be started without this root either.
    pub(crate) refuse: bool,
}

fn failed(what: impl Into<String>) -> impl FnOnce(Errno) -> RootError {
    let what = what.into();
    move |errno| RootError {
        what,
        errno: Some(errno.raw_os_error()),
        refuse: false,
    }
}

/// Paths that contradict each other. The operator has to correct them: a start without a root is no
/// way out.
fn conflict(what: String) -> RootError {
    RootError {
        what,
        errno: None,
        refuse: true,
    }
}

/// Builds the root and moves into it. `zero` says whether there is a real `/dev/zero`, `owner`
/// whose its own directories are: the user and group it will run as.
///
/// On an error nothing has changed but this process's own mounts.
pub(crate) fn enter(
    plan: &Plan,
    script: Option<BorrowedFd<'_>>,
    zero: bool,
    owner: (u32, u32),
) -> Result<NewRoot, RootError> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(failed("make the mounts private"))?;
    // Everything is taken out before a mount covers any of it.
    let shown = collect(plan, zero)?;
    for own in [Some(&plan.temp_dir), plan.socket_dir.as_ref()]
        .into_iter()
        .flatten()
    {
        if let Some(outer) = shown.iter().find(|part| own.path().starts_with(&part.path)) {
            return Err(conflict(format!(
                "give it {} for itself, which lies in {}, which it is shown: give it another place",
                own.path().display(),
                outer.path.display()
            )));
        }
    }
    let root = tmpfs("0755", ROOT_BYTES, 4096)?;
    // Nothing can be mounted on a detached mount, so the root gets a place first.
    rustix::mount::move_mount(
        root.as_fd(),
        "",
        CWD,
        "/tmp",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(failed("mount the root"))?;
    let built = build(plan, &root, &shown, script, owner);
    if built.is_err() {
        let _ = rustix::mount::unmount("/tmp", UnmountFlags::DETACH);
    }
    built
}

/// Fills the root and moves into it. The order is part of the sandbox: the root becomes read-only
/// only when everything is in it and the old root is gone.
fn build(
    plan: &Plan,
    root: &OwnedFd,
    shown: &[View],
    script: Option<BorrowedFd<'_>>,
    owner: (u32, u32),
) -> Result<NewRoot, RootError> {
    own_directory(
        root,
        Path::new("/tmp"),
        "1777",
        plan.temp_bytes,
        TEMP_FILES_MAX,
    )?;
    let temp_dir = plan.temp_dir.path();
    if temp_dir.starts_with("/tmp") {
        make_directory(root, temp_dir, 0o700)?;
    } else {
        own_directory(root, temp_dir, "0755", plan.temp_bytes, TEMP_FILES_MAX)?;
    }
    let own = |path: &Path, mode: u32| {
        let path = relative(path);
        let id = |number| {
            (
                rustix::fs::Uid::from_raw(number),
                rustix::fs::Gid::from_raw(number),
            )
        };
        let ((uid, _), (_, gid)) = (id(owner.0), id(owner.1));
        rustix::fs::chmodat(root, path, Mode::from_raw_mode(mode), AtFlags::empty()).and_then(
            |()| rustix::fs::chownat(root, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW),
        )
    };
    own(temp_dir, 0o700).map_err(failed("hand over the temporary directory"))?;
    let temp = rustix::fs::openat(
        root,
        relative(temp_dir),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed("open the temporary directory"))?;
    let sockets = match &plan.socket_dir {
        Some(dir) => {
            let made = own_directory(root, dir.path(), "0700", SOCKETS_BYTES, SOCKETS_MAX)?;
            own(dir.path(), 0o700).map_err(failed("hand over the directory of its sockets"))?;
            Some(made)
        }
        None => None,
    };

    for part in shown {
        show(root, part)?;
    }
    populate_root(root, plan, owner)?;
    if let Some(script) = script {
        place_script(root, script)?;
    }
    let proc = match proc() {
        Ok(proc) => {
            make_directory(root, Path::new("/proc"), 0o755)?;
            attach(&proc, root, Path::new("/proc"))?;
            true
        }
        // A masked /proc, as in a container, forbids a new one. No /proc is safer than the host's.
        Err(_) => false,
    };
    rustix::process::fchdir(root).map_err(failed("enter the root"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("change the root"))?;
    // From here on there is no way back, and a root that is half done protects nobody.
    close_behind(root).map_err(|error| RootError {
        refuse: true,
        ..error
    })?;
    let directories = Directories {
        temp: Some(temp),
        sockets,
    };
    Ok(NewRoot { proc, directories })
}

/// Lets go of the old root and makes the new one read-only.
fn close_behind(root: &OwnedFd) -> Result<(), RootError> {
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed("let go of the old root"))?;
    rustix::process::chdir("/").map_err(failed("enter the root"))?;
    restrict(
        root,
        MountFlags {
            read_only: true,
            no_devices: true,
            ..MountFlags::default()
        },
    )
}

/// Adds the files and links that most programs expect.
fn populate_root(root: &OwnedFd, plan: &Plan, (uid, gid): (u32, u32)) -> Result<(), RootError> {
    let home = plan.temp_dir.path().display();
    let name = &plan.name;
    let passwd = format!("{name}:x:{uid}:{gid}::{home}:/usr/sbin/nologin\n");
    make_file(root, Path::new("/etc/passwd"), passwd.as_bytes())?;
    make_file(
        root,
        Path::new("/etc/group"),
        format!("{name}:x:{gid}:\n").as_bytes(),
    )?;
    if !plan.network {
        make_file(root, Path::new("/etc/hosts"), b"127.0.0.1 localhost\n")?;
    }
    for (link, target) in [
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
        ("dev/shm", "/tmp"),
    ] {
        rustix::fs::symlinkat(target, root, link).map_err(failed(format!("link /{link}")))?;
    }
    Ok(())
}

fn place_script(root: &OwnedFd, script: BorrowedFd<'_>) -> Result<(), RootError> {
    let what = || failed("give the script a path");
    let file = rustix::fs::openat(
        root,
        relative(Path::new(SCRIPT)),
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o755),
    )
    .map_err(what())?;
    // The host's umask may have taken bits away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755)).map_err(what())?;
    let copied = std::fs::File::open(format!("/proc/self/fd/{}", script.as_raw_fd()))
        .and_then(|mut from| io::copy(&mut from, &mut std::fs::File::from(file)));
    copied.map(|_| ()).map_err(|error| RootError {
        what: "give the script a path".into(),
        errno: error.raw_os_error(),
        refuse: false,
    })
}
