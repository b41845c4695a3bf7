//! Parts of the host's file system, taken out of it to be shown in a sandbox.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::make::{attach, make_directory, make_file, make_parents, relative, restrict};
use super::paths::{is_plain, system_paths};
use super::{RootError, conflict, failed};
use crate::keeper::message::{Executable, Plan};
use crate::sys::process::MountFlags;

/// The devices of a sandbox.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
/// The zero device, and the device that takes its place where memory is added up. Shared mappings
/// of the former are counted for no process. The latter reads the same and cannot be mapped.
const ZERO_AND_SUBSTITUTE: (&str, &str) = ("/dev/zero", "/dev/full");
/// A part of the host's file system, taken out of it.
pub(super) struct View {
    pub(super) path: PathBuf,
    tree: Tree,
    writable: bool,
    device: bool,
}

enum Tree {
    Directory(OwnedFd),
    File(OwnedFd),
    /// A link, made again with the same target.
    Link(PathBuf),
}

/// Takes out of the host's file system what is to be shown, shorter paths first.
pub(super) fn collect(plan: &Plan, zero: bool) -> Result<Vec<View>, RootError> {
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
    let mut shown: Vec<View> = Vec::with_capacity(wanted.len());
    for (path, writable, device) in wanted {
        if !is_plain(&path) {
            return Err(conflict(format!(
                "show {}, which is not an absolute path without dots",
                path.display()
            )));
        }
        // A path within an earlier one is shown with that.
        let covered = shown.iter().any(|earlier| {
            !writable
                && !earlier.writable
                && !matches!(earlier.tree, Tree::File(_))
                && path.starts_with(&earlier.path)
        });
        if covered {
            continue;
        }
        // A path within a writable directory could be a link by now, which would lead the mount
        // elsewhere.
        if let Some(outer) = shown.iter().find(|earlier| path.starts_with(&earlier.path)) {
            return Err(conflict(format!(
                "show {}, which lies in {}, which it is shown, too: give it another place",
                path.display(),
                outer.path.display()
            )));
        }
        let (zero_device, substitute) = ZERO_AND_SUBSTITUTE;
        let taken = if path == Path::new(zero_device) && !zero {
            take(substitute.as_ref()).map_err(failed(format!("show {substitute}")))?
        } else if is_named(plan, &path) {
            take_named(&path)?
        } else {
            take(&path).map_err(failed(format!("show {}", path.display())))?
        };
        let Some(tree) = taken else { continue };
        shown.push(View {
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

/// Returns `true` if a path is one that the plan names, other than the program's own.
fn is_named(plan: &Plan, path: &Path) -> bool {
    let own = matches!(&plan.executable, Executable::Path(own) if own.path() == path);
    let mut named = plan.read_only.iter().chain(&plan.writable);
    !own && named.any(|named| named.path() == path)
}

/// As [`take`], for a path that users other than root may be able to exchange. The tree that is
/// shown is the one that was examined. A link would show its target, so it ends the start.
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

pub(super) fn show(root: &OwnedFd, part: &View) -> Result<(), RootError> {
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
