//! Limits on all of a sandbox together, whatever processes it consists of: memory, number of
//! processes, processor time. And the surest way to end it.
//!
//! Version 2 is used for the controllers it has and gives; the hierarchies of version 1 for the
//! others, side by side as machines have them. What can be used is found out by doing it. A
//! sandbox's directory lies below the host's own cgroup (so below what limits the host), in a
//! directory that the host locks while it lives: `goatkit-<label>/sandbox-<name>`.
//!
//! In version 2 a cgroup that has processes cannot give controllers to its children. A host that
//! is alone in its unit's cgroup therefore gets none there, unless that is the root; but if the
//! directory above was delegated to it (systemd: `Delegate=yes` with `DelegateSubgroup=`), it
//! makes its own beside itself.

mod files;
mod find;
mod group;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use group::GroupDir;
pub(crate) use group::{Group, oom_kills};
use tree::{Tree, Version};

/// Longer labels and names are refused.
const NAME_BYTES_MAX: usize = 128;

/// A resource that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// Memory of every kind: private, shared, tmpfs, the kernel's on behalf of the sandbox.
    Memory,
    /// Processes and threads.
    Pids,
    /// Processor time.
    Cpu,
}

const ALL: [Which; 3] = [Which::Memory, Which::Pids, Which::Cpu];

impl Which {
    /// The kernel's name of the controller.
    pub(crate) fn controller(self) -> &'static str {
        match self {
            Which::Memory => "memory",
            Which::Pids => "pids",
            Which::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.controller())
    }
}

/// Whether a limit can be, or is, enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// By a cgroup of version 2.
    V2,
    /// By a cgroup of version 1.
    V1,
    /// By none.
    Absent {
        /// The step that failed, as in "cannot …".
        why: &'static str,
        /// The kernel's answer; 0 if it was not asked.
        errno: i32,
    },
}

/// A failed step, before it becomes a state.
#[derive(Debug, Clone, Copy)]
struct Absence {
    why: &'static str,
    errno: i32,
}

impl Absence {
    fn new(why: &'static str, error: impl Into<io::Error>) -> Self {
        Self {
            why,
            errno: error.into().raw_os_error().unwrap_or_default(),
        }
    }
}

impl From<Absence> for GroupState {
    fn from(Absence { why, errno }: Absence) -> Self {
        GroupState::Absent { why, errno }
    }
}

/// The limits of one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Memory; none may be swapped out beyond it. Rounded down to pages.
    pub(crate) memory_bytes: u64,
    /// Processes and threads.
    pub(crate) processes: u32,
    /// Processor time, in thousandths of a core, at least 10; `None` is unlimited.
    pub(crate) cpu_millis: Option<u32>,
}

/// The host's place in each hierarchy it can use. Held for as long as the host lives.
///
/// A forked child has a copy, locks included: it must exec, or close the descriptors and leave by
/// `_exit`. Otherwise a dead host seems to live, or a live one loses its directory.
#[derive(Debug)]
pub(crate) struct Cgroups {
    trees: Vec<Arc<Tree>>,
    sources: [Result<Arc<Tree>, Absence>; 3],
}

impl Cgroups {
    /// Finds out what can be used, by using it; removes what hosts left that died. `host_label`
    /// tells hosts on one machine apart.
    pub(crate) fn open(host_label: &str) -> Self {
        match valid(host_label).and_then(|()| {
            find::Own::read().map_err(|error| Absence::new("read /proc/self/cgroup", error))
        }) {
            Ok(own) => Self::open_in(&own, host_label),
            Err(absence) => Self {
                trees: Vec::new(),
                sources: [Err(absence), Err(absence), Err(absence)],
            },
        }
    }

    fn open_in(own: &find::Own, label: &str) -> Self {
        let mut trees = Vec::new();
        let nowhere = Absence {
            why: "find a mounted cgroup hierarchy with this controller",
            errno: libc::ENOENT,
        };
        let mut sources = [(); 3].map(|()| Err(nowhere));
        if let Some(path) = own.unified() {
            match unified(&path, label) {
                Ok((tree, states)) => {
                    let tree = Arc::new(tree);
                    sources = states.map(|state| state.map(|()| tree.clone()));
                    trees.push(tree);
                }
                Err(absence) => sources = [Err(absence), Err(absence), Err(absence)],
            }
        }
        for (which, source) in ALL.into_iter().zip(&mut sources) {
            if source.is_ok() {
                continue;
            }
            let Some(path) = own.with_controller(which.controller()) else {
                continue;
            };
            // Two controllers may share a hierarchy.
            if let Some(tree) = trees.iter().find(|tree| tree.path == path) {
                *source = Ok(tree.clone());
                continue;
            }
            *source = Tree::open(Version::One, &path, label)
                .map(Arc::new)
                .map_err(|error| Absence::new("make a cgroup of version 1", error));
            if let Ok(tree) = source {
                trees.push(tree.clone());
            }
        }
        Self { trees, sources }
    }

    /// State of each limit on this machine.
    pub(crate) fn states(&self) -> [(Which, GroupState); 3] {
        let mut states = ALL.map(|which| (which, GroupState::V1));
        for ((_, state), source) in states.iter_mut().zip(&self.sources) {
            *state = match source {
                Ok(tree) if tree.version == Version::Two => GroupState::V2,
                Ok(_) => GroupState::V1,
                Err(absence) => (*absence).into(),
            };
        }
        states
    }

    /// The host's directories with their locks, for processes that are to keep them: as long as
    /// one does, the sandboxes count as a living host's.
    pub(crate) fn locks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.trees.iter().map(|tree| tree.dir())
    }

    /// Makes the cgroups of a sandbox, without limits. What could not be made,
    /// [`Group::states`] tells.
    pub(crate) fn create(&self, name: &str) -> Group {
        let mut group = Group {
            name: name.to_owned(),
            dirs: Vec::new(),
            states: self.states(),
        };
        if let Err(absence) = valid(name) {
            group.states = ALL.map(|which| (which, absence.into()));
            return group;
        }
        for tree in &self.trees {
            match tree.create(name) {
                Ok(dir) => group.dirs.push(GroupDir {
                    tree: tree.clone(),
                    dir,
                    removed: false,
                }),
                Err(errno) => {
                    let absence = Absence::new("make the sandbox's cgroup", errno);
                    for ((_, state), source) in group.states.iter_mut().zip(&self.sources) {
                        if source
                            .as_ref()
                            .is_ok_and(|source| Arc::ptr_eq(source, tree))
                        {
                            *state = absence.into();
                        }
                    }
                }
            }
        }
        group
    }

    /// Puts a sandbox's limits in force. Which could not be, [`Group::states`] tells.
    pub(crate) fn limit(&self, group: &mut Group, limits: &Resources) {
        for ((which, state), source) in group.states.iter_mut().zip(&self.sources) {
            let Ok(source) = source else { continue };
            let dir = group.dirs.iter().find(|dir| Arc::ptr_eq(&dir.tree, source));
            if let Some(GroupDir { dir, .. }) = dir
                && let Err(absence) = group::set(dir, source.version, *which, limits)
            {
                *state = absence.into();
            }
        }
    }
}

fn valid(name: &str) -> Result<(), Absence> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fine) {
        Ok(())
    } else {
        Err(Absence {
            why: "use this name for a cgroup",
            errno: libc::EINVAL,
        })
    }
}

/// The host's directory in version 2, and which controllers it has for its children. It is made
/// even if it has none: then for killing and for events.
fn unified(own: &Path, label: &str) -> Result<(Tree, [Result<(), Absence>; 3]), Absence> {
    let cannot_make = |error: io::Error| Absence::new("make a cgroup of version 2", error);
    let given = |path: &Path| -> Result<[Result<(), Absence>; 3], Absence> {
        let base = tree::open_base(path).map_err(|errno| cannot_make(errno.into()))?;
        Ok(ALL.map(|which| give(base.as_fd(), which.controller())))
    };
    let mut path = own;
    let mut states = given(own)?;
    if states.iter().all(Result::is_err)
        && let Some(above) = own.parent()
        && is_delegated(above)
        && let Ok(there) = given(above)
        && there.iter().any(Result::is_ok)
    {
        (path, states) = (above, there);
    }
    let tree = Tree::open(Version::Two, path, label).map_err(cannot_make)?;
    for (which, state) in ALL.into_iter().zip(&mut states) {
        if state.is_ok() {
            *state = give(tree.dir(), which.controller());
        }
    }
    Ok((tree, states))
}

/// Makes a cgroup of version 2 give a controller to its children.
fn give(dir: BorrowedFd<'_>, controller: &str) -> Result<(), Absence> {
    let listed = |name| {
        files::lists(dir, name, controller)
            .map_err(|errno| Absence::new("read the controllers of version 2", errno))
    };
    if !listed("cgroup.controllers")? {
        return Err(Absence {
            why: "find the controller in the host's cgroup of version 2",
            errno: libc::ENOENT,
        });
    }
    if listed("cgroup.subtree_control")? {
        return Ok(());
    }
    files::write(dir, "cgroup.subtree_control", &format!("+{controller}"))
        .map_err(|errno| Absence::new("give the controller to cgroups below the host's", errno))
}

/// Returns `true` if somebody gave this cgroup away, to be managed by whom it was given to: systemd
/// says so on the directory, and to an unprivileged user it is enough that it can be written.
fn is_delegated(path: &Path) -> bool {
    let mut value = [0; 8];
    let marked = ["trusted.delegate", "user.delegate"].iter().any(|name| {
        rustix::fs::getxattr(path, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    });
    let writable = || rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    marked || (!rustix::process::geteuid().is_root() && writable())
}
