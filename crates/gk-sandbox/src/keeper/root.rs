//! The file system of a sandbox: an empty root that is read-only in the end, and in it what the
//! program may see, at the paths it has outside.
//!
//! Built from detached mounts, which the kernel has since 5.12. It is done by the sandbox's first
//! process, in its own mount namespace, before that process gives its user away: what the host may
//! read can be shown.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::message::{Executable, Plan};
use crate::elf::Needs;
use crate::sys::process::{MountFlags, set_mount_flags};

/// Where a script that is pinned gets a path.
pub(crate) const SCRIPT: &str = "/.program";
/// The devices there are.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
/// What is mapped from this one shared belongs to nobody, so that adding up memory does not see it.
/// The other one reads the same and cannot be mapped.
const ZERO_AND_ITS_LIKE: (&str, &str) = ("/dev/zero", "/dev/full");
/// What is shown of the system's configuration.
const CONFIGURATION: &[&str] = &["/etc/localtime", "/usr/share/zoneinfo"];
/// And where the host's network is used.
const NETWORK_CONFIGURATION: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/pki",
    "/usr/share/ca-certificates",
];
/// What a dynamic program loads from.
const LIBRARIES: &[&str] = &[
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
];
/// What a script runs.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/etc/alternatives"];
/// How many files `/tmp` holds at most.
const TEMP_FILES_MAX: u32 = 16 * 1024;
/// How much fits where its sockets are, and how many: a socket has no size.
const SOCKETS_BYTES: u64 = 64 << 10;
const SOCKETS_MAX: u32 = 64;
/// The size of the root itself: directories, links, and a pinned script.
const ROOT_BYTES: u64 = 4 << 20;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Entered {
    /// Whether there is a `/proc`.
    pub(crate) proc: bool,
    /// The directories that the host looks for its socket in.
    pub(crate) directories: Directories,
}

/// The directories of a program's own that the host looks for its socket in.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    /// Its temporary directory.
    pub(crate) temp: Option<OwnedFd>,
    /// Where its sockets are, if that was asked for.
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
    /// Whether the program must not be started without this root either.
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

/// Paths that cannot go together, which is for the operator to mend: no reason to do without a root.
fn conflict(what: String) -> RootError {
    RootError {
        what,
        errno: None,
        refuse: true,
    }
}

/// A part of the host's file system, taken out of it.
struct Shown {
    path: PathBuf,
    tree: Tree,
    writable: bool,
    device: bool,
}

enum Tree {
    Directory(OwnedFd),
    File(OwnedFd),
    /// Made again as it is.
    Link(PathBuf),
}

/// The paths beyond those a plan names, which its program needs.
pub(crate) fn system_paths(plan: &Plan) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = CONFIGURATION.iter().map(PathBuf::from).collect();
    let mut add = |more: &[&str]| paths.extend(more.iter().map(PathBuf::from));
    if plan.network {
        add(NETWORK_CONFIGURATION);
    }
    match &plan.needs {
        Needs::Nothing => {}
        Needs::Libraries(loader) => {
            add(LIBRARIES);
            let loader = loader.iter().map(|loader| loader.path());
            paths.extend(
                loader
                    .filter(|loader| believed(loader, plan))
                    .map(Path::to_owned),
            );
        }
        Needs::Programs => {
            add(LIBRARIES);
            add(PROGRAMS);
        }
    }
    paths
}

/// Whether a loader is shown. The program's author wrote its path: one that could not be shown must
/// not cost the whole root, and one that the program can write to must not become executable. What
/// is passed over is executed all the same if it is there by other means.
fn believed(loader: &Path, plan: &Plan) -> bool {
    let shown = plan.read_only.iter().chain(&plan.writable);
    is_plain(loader)
        && !["/tmp", "/dev", "/proc"]
            .iter()
            .any(|dir| loader.starts_with(dir))
        && !shown
            .chain([&plan.temp_dir])
            .any(|dir| loader.starts_with(dir.path()) || dir.path().starts_with(loader))
}

/// Whether a path is absolute and has no dots, so that it leads where it seems to.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// Builds the root and moves into it. `zero` says whether there is a real `/dev/zero`, `owner` whose
/// its own directories are: the user and group it will run as.
///
/// On an error nothing has changed but this process's own mounts.
pub(crate) fn enter(
    plan: &Plan,
    script: Option<BorrowedFd<'_>>,
    zero: bool,
    owner: (u32, u32),
) -> Result<Entered, RootError> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(failed("make the mounts private"))?;
    // All of it, before anything is covered.
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
    // A detached mount cannot be mounted on: it gets a place.
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

/// Fills the root, and moves into it.
fn build(
    plan: &Plan,
    root: &OwnedFd,
    shown: &[Shown],
    script: Option<BorrowedFd<'_>>,
    owner: (u32, u32),
) -> Result<Entered, RootError> {
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
    furnish(root, plan, owner)?;
    if let Some(script) = script {
        place_script(root, script)?;
    }
    let proc = match proc() {
        Ok(proc) => {
            make_directory(root, Path::new("/proc"), 0o755)?;
            attach(&proc, root, Path::new("/proc"))?;
            true
        }
        // Masked, as in a container: none is safer than the host's.
        Err(_) => false,
    };
    rustix::process::fchdir(root).map_err(failed("enter the root"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("change the root"))?;
    // There is no way back, and what is half done is no wall.
    close_behind(root).map_err(|error| RootError {
        refuse: true,
        ..error
    })?;
    let directories = Directories {
        temp: Some(temp),
        sockets,
    };
    Ok(Entered { proc, directories })
}

/// A directory for data of the program's own, of bounded size.
fn own_directory(
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

/// A procfs of this process's own namespace that shows no process of others to anybody.
fn proc() -> Result<OwnedFd, Errno> {
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

fn tmpfs(mode: &str, bytes: u64, files: u32) -> Result<OwnedFd, RootError> {
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

/// Takes out of the host's file system what is to be shown, shorter paths first.
fn collect(plan: &Plan, zero: bool) -> Result<Vec<Shown>, RootError> {
    let mut wanted: Vec<(PathBuf, bool, bool)> = system_paths(plan)
        .into_iter()
        .chain(plan.read_only.iter().map(|path| path.path().to_owned()))
        .map(|path| (path, false, false))
        .chain(
            plan.writable
                .iter()
                .map(|path| (path.path().to_owned(), true, false)),
        )
        .chain(
            DEVICES
                .iter()
                .map(|name| (Path::new("/dev").join(name), true, true)),
        )
        .collect();
    wanted.sort();
    wanted.dedup_by(|later, first| later.0 == first.0);
    let mut shown: Vec<Shown> = Vec::with_capacity(wanted.len());
    for (path, writable, device) in wanted {
        if !is_plain(&path) {
            return Err(conflict(format!(
                "show {}, which is not an absolute path without dots",
                path.display()
            )));
        }
        // It comes with what it lies in.
        let covered = shown.iter().any(|earlier| {
            !writable
                && !earlier.writable
                && !matches!(earlier.tree, Tree::File(_))
                && path.starts_with(&earlier.path)
        });
        if covered {
            continue;
        }
        // What lies in a directory that the program or its author writes could be a link by now,
        // and lead the mount elsewhere.
        if let Some(outer) = shown.iter().find(|earlier| path.starts_with(&earlier.path)) {
            return Err(conflict(format!(
                "show {}, which lies in {}, which it is shown, too: give it another place",
                path.display(),
                outer.path.display()
            )));
        }
        let (whole_zero, like_zero) = ZERO_AND_ITS_LIKE;
        let taken = if path == Path::new(whole_zero) && !zero {
            take(like_zero.as_ref()).map_err(failed(format!("show {like_zero}")))?
        } else if is_named(plan, &path) {
            take_named(&path)?
        } else {
            take(&path).map_err(failed(format!("show {}", path.display())))?
        };
        let Some(tree) = taken else { continue };
        shown.push(Shown {
            path,
            tree,
            writable,
            device,
        });
    }
    Ok(shown)
}

fn take(path: &Path) -> Result<Option<Tree>, Errno> {
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    // `/lib` is a link to `usr/lib` on most systems, `/etc/localtime` one into the zones; a link
    // whose target is not shown leads nowhere inside, so what lies outside is taken itself.
    if kind == FileType::Symlink {
        let target = std::fs::read_link(path).unwrap_or_default();
        let whole = path.parent().unwrap_or(Path::new("/")).join(&target);
        if whole.starts_with("/usr") && target.components().all(|part| part != Component::ParentDir)
        {
            return Ok(Some(Tree::Link(target)));
        }
    }
    match rustix::mount::open_tree(CWD, path, CLONE) {
        Ok(tree) => of_kind(tree).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE);

fn of_kind(tree: OwnedFd) -> Result<Tree, Errno> {
    let directory =
        FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) == FileType::Directory;
    Ok(if directory {
        Tree::Directory(tree)
    } else {
        Tree::File(tree)
    })
}

/// Whether a path is one that the plan names, other than the program's own.
fn is_named(plan: &Plan, path: &Path) -> bool {
    let own = matches!(&plan.executable, Executable::Path(own) if own.path() == path);
    let mut named = plan.read_only.iter().chain(&plan.writable);
    !own && named.any(|named| named.path() == path)
}

/// As [`take`], for a directory that others than root may be able to exchange: what is shown is what
/// was looked at, and a link, which would show whatever it leads to, ends the start.
fn take_named(path: &Path) -> Result<Option<Tree>, RootError> {
    let what = || failed(format!("show {}", path.display()));
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(what()(errno)),
    };
    let stat = rustix::fs::fstat(&found).map_err(what())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(RootError {
            what: format!("show {}, which is a symbolic link now", path.display()),
            errno: Some(Errno::LOOP.raw_os_error()),
            refuse: true,
        });
    }
    let flags = CLONE | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(&found, "", flags).map_err(what())?;
    of_kind(tree).map(Some).map_err(what())
}

fn show(root: &OwnedFd, part: &Shown) -> Result<(), RootError> {
    let tree = match &part.tree {
        Tree::Link(target) => {
            make_parents(root, &part.path)?;
            return match rustix::fs::symlinkat(target, root, relative(&part.path)) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(failed(format!("link {}", part.path.display()))(errno)),
            };
        }
        Tree::Directory(tree) => {
            make_directory(root, &part.path, 0o755)?;
            tree
        }
        Tree::File(tree) => {
            make_file(root, &part.path, b"")?;
            tree
        }
    };
    let flags = MountFlags {
        read_only: !part.writable,
        no_devices: !part.device,
        no_exec: part.writable,
        recursive: true,
    };
    restrict(tree, flags)?;
    attach(tree, root, &part.path)
}

/// The small things programs look for.
fn furnish(root: &OwnedFd, plan: &Plan, (uid, gid): (u32, u32)) -> Result<(), RootError> {
    let home = plan.temp_dir.path().display();
    let name = &plan.name;
    let passwd = format!("{name}:x:{uid}:{gid}:plugin:{home}:/usr/sbin/nologin\n");
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
    // Whatever the host's umask has taken away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755)).map_err(what())?;
    let copied = std::fs::File::open(format!("/proc/self/fd/{}", script.as_raw_fd()))
        .and_then(|mut from| io::copy(&mut from, &mut std::fs::File::from(file)));
    copied.map(|_| ()).map_err(|error| RootError {
        what: "give the script a path".into(),
        errno: error.raw_os_error(),
        refuse: false,
    })
}

fn restrict(mount: &OwnedFd, flags: MountFlags) -> Result<(), RootError> {
    set_mount_flags(mount.as_fd(), c"", flags).map_err(|error| RootError {
        what: "restrict a mount".into(),
        errno: error.raw_os_error(),
        refuse: false,
    })
}

fn attach(tree: &OwnedFd, root: &OwnedFd, path: &Path) -> Result<(), RootError> {
    rustix::mount::move_mount(
        tree.as_fd(),
        "",
        root,
        relative(path),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(failed(format!("mount {}", path.display())))
}

fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(relative) if relative.as_os_str().is_empty() => Path::new("."),
        Ok(relative) => relative,
        Err(_) => path,
    }
}

fn make_parents(root: &OwnedFd, path: &Path) -> Result<(), RootError> {
    match path.parent() {
        Some(parent) if parent != Path::new("/") => make_directory(root, parent, 0o755),
        _ => Ok(()),
    }
}

/// Makes a directory, with its missing parents. One that is there is left as it is.
fn make_directory(root: &OwnedFd, path: &Path, mode: u32) -> Result<(), RootError> {
    let path = relative(path);
    let mut made = PathBuf::new();
    for part in path.components() {
        made.push(part);
        let mode = if made == path { mode } else { 0o755 };
        match rustix::fs::mkdirat(root, &made, Mode::from_raw_mode(mode)) {
            // The umask has nothing to say here.
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

fn make_file(root: &OwnedFd, path: &Path, content: &[u8]) -> Result<(), RootError> {
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
