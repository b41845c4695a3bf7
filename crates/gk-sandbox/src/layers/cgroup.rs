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
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use tree::{Tree, Version};

/// Longer labels and names are refused.
const NAME_BYTES_MAX: usize = 128;
/// What a processor limit counts in.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The kernel takes no smaller quota than a millisecond.
const CPU_QUOTA_MICROS_MIN: u64 = 1_000;

/// What is limited.
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
        /// What failed, as in "cannot …".
        why: &'static str,
        /// The kernel's answer; 0 if it was not asked.
        errno: i32,
    },
}

impl GroupState {
    /// What a person can do about an absent limit.
    pub(crate) fn remedy(self) -> Option<&'static str> {
        let GroupState::Absent { errno, .. } = self else {
            return None;
        };
        Some(match errno {
            libc::EBUSY => {
                "the host's cgroup has processes, so it cannot give controllers to others; under systemd set Delegate=yes and DelegateSubgroup=host in the unit"
            }
            libc::EACCES | libc::EPERM => {
                "the host may not make cgroups; under systemd set Delegate=yes in the unit, or run the host in a container with a writable cgroup"
            }
            libc::EROFS => {
                "the cgroup file system is mounted read-only; give the container a writable one (--cgroupns=private and a rw mount of /sys/fs/cgroup)"
            }
            libc::EWOULDBLOCK => "another host with the same label runs; give each its own",
            libc::EINVAL => "use letters, digits, '-', '_' and '.' in labels and names",
            _ => {
                "boot a kernel with this controller, mount cgroup2 at /sys/fs/cgroup, or enable the controller in the cgroups above the host's"
            }
        })
    }
}

/// What went wrong, before it becomes a state.
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

    /// What can be limited here.
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

    /// Makes the cgroups of a sandbox, with its limits in force before anything is in them. What
    /// could not be limited, [`Group::states`] tells.
    pub(crate) fn create(&self, name: &str, limits: &Resources) -> Group {
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
            let made = tree.create(name);
            for ((which, state), source) in group.states.iter_mut().zip(&self.sources) {
                let Ok(source) = source else { continue };
                if !Arc::ptr_eq(source, tree) {
                    continue;
                }
                let set = match &made {
                    Ok(dir) => set(dir, tree.version, *which, limits),
                    Err(errno) => Err(Absence::new("make the sandbox's cgroup", *errno)),
                };
                if let Err(absence) = set {
                    *state = absence.into();
                }
            }
            if let Ok(dir) = made {
                group.dirs.push(GroupDir {
                    tree: tree.clone(),
                    dir,
                    removed: false,
                });
            }
        }
        group
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

/// Whether somebody gave this cgroup away, to be managed by whom it was given to: systemd says so
/// on the directory, and to an unprivileged user it is enough that it can be written.
fn is_delegated(path: &Path) -> bool {
    let mut value = [0; 8];
    let marked = ["trusted.delegate", "user.delegate"].iter().any(|name| {
        rustix::fs::getxattr(path, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    });
    let writable = || rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    marked || (!rustix::process::geteuid().is_root() && writable())
}

fn set(dir: &OwnedFd, version: Version, which: Which, limits: &Resources) -> Result<(), Absence> {
    let bytes = limits.memory_bytes.to_string();
    let quota = limits
        .cpu_millis
        .map(|millis| (u64::from(millis) * CPU_PERIOD_MICROS / 1000).max(CPU_QUOTA_MICROS_MIN));
    match (which, version) {
        (Which::Memory, Version::Two) => files::write(dir, "memory.max", &bytes)
            // Kernels without swap accounting, and before 4.19, have no such files.
            .and_then(|()| files::write_if_there(dir, "memory.swap.max", "0"))
            .and_then(|_| files::write_if_there(dir, "memory.oom.group", "1"))
            .map(|_| ()),
        (Which::Memory, Version::One) => files::write(dir, "memory.limit_in_bytes", &bytes)
            .and_then(|()| files::write_if_there(dir, "memory.memsw.limit_in_bytes", &bytes))
            .and_then(|limited| {
                // Without accounting of swap: use as little of it as can be.
                if limited {
                    Ok(true)
                } else {
                    files::write_if_there(dir, "memory.swappiness", "0")
                }
            })
            .map(|_| ()),
        (Which::Pids, _) => files::write(dir, "pids.max", &limits.processes.to_string()),
        (Which::Cpu, Version::Two) => {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            files::write(dir, "cpu.max", &format!("{quota} {CPU_PERIOD_MICROS}"))
        }
        (Which::Cpu, Version::One) => {
            let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
            files::write(dir, "cpu.cfs_period_us", &CPU_PERIOD_MICROS.to_string())
                .and_then(|()| files::write(dir, "cpu.cfs_quota_us", &quota))
        }
    }
    .map_err(|errno| Absence::new("set the limit", errno))
}

/// The cgroups of one sandbox. Dropping it leaves them: see [`Group::remove`].
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    dirs: Vec<GroupDir>,
    states: [(Which, GroupState); 3],
}

#[derive(Debug)]
struct GroupDir {
    tree: Arc<Tree>,
    dir: OwnedFd,
    removed: bool,
}

impl Group {
    /// Which limits are in force.
    pub(crate) fn states(&self) -> [(Which, GroupState); 3] {
        self.states
    }

    /// Moves a process in, with what it starts from here on. What it has already stays where it
    /// is: memory is charged to the cgroup that was its user's when it was first used.
    ///
    /// # Errors
    /// `ESRCH`: it has ended. `EACCES`: the host may not move processes between these cgroups. It
    /// may then be in some and not in others.
    pub(crate) fn enter(&self, pid: i32) -> io::Result<()> {
        // 0 would be this process.
        if pid <= 0 {
            return Err(Errno::SRCH.into());
        }
        let pid = pid.to_string();
        for GroupDir { dir, .. } in &self.dirs {
            files::write(dir, "cgroup.procs", &pid)?;
        }
        Ok(())
    }

    /// The directory in version 2, for `CLONE_INTO_CGROUP`. Those of version 1 are not entered by
    /// that: [`Group::enter`] is still due, unless every state is `V2`.
    pub(crate) fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.dir_of(Version::Two)
    }

    fn dir_of(&self, version: Version) -> Option<BorrowedFd<'_>> {
        self.dirs
            .iter()
            .find(|dir| dir.tree.version == version)
            .map(|dir| dir.dir.as_fd())
    }

    /// The file that counts the processes killed for want of memory, for [`oom_kills`]; `None`
    /// without a memory limit.
    pub(crate) fn oom_counter(&self) -> Option<OwnedFd> {
        self.dirs.iter().find_map(|GroupDir { dir, .. }| {
            files::open_file(dir, "memory.events")
                .or_else(|_| files::open_file(dir, "memory.oom_control"))
                .ok()
        })
    }

    /// A file that polls as `PRI` when the sandbox gets its first process or loses its last, in
    /// version 2; ask [`Group::is_empty`] then.
    pub(crate) fn populated_fd(&self) -> Option<OwnedFd> {
        files::open_file(self.v2_dir()?, "cgroup.events").ok()
    }

    /// Whether no process is left.
    ///
    /// # Errors
    /// When a file cannot be read, which would be a bug.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        for dir in self.dirs.iter().filter(|dir| !dir.removed) {
            if !files::is_empty(&dir.dir)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until no process is left; `false` if some were when the time was over. Blocks.
    ///
    /// # Errors
    /// As [`Group::is_empty`].
    pub(crate) fn wait_empty(&self, time: Duration) -> io::Result<bool> {
        let end = Instant::now() + time;
        for dir in self.dirs.iter().filter(|dir| !dir.removed) {
            if !files::wait_empty(dir.dir.as_fd(), end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills every process in it, however fast they fork. With version 2 it does not wait for
    /// their ends; without, it blocks until none is left.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] without any cgroup. `ETIMEDOUT` without version 2, if some
    /// are left after five seconds.
    pub(crate) fn kill(&self) -> io::Result<()> {
        if let Some(dir) = self.v2_dir()
            && files::write_if_there(dir, "cgroup.kill", "1")?
        {
            return Ok(());
        }
        let pids = |dir: &&GroupDir| files::open_file(&dir.dir, "pids.max").is_ok();
        let dir = self
            .dirs
            .iter()
            .find(pids)
            .or(self.dirs.first())
            .ok_or(io::ErrorKind::Unsupported)?;
        files::kill(dir.dir.as_fd())
    }

    /// Removes the directories. To be repeated, on an event, until it succeeds.
    ///
    /// # Errors
    /// `EBUSY` while a process is in one of them; the others are removed.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        for dir in self.dirs.iter_mut().filter(|dir| !dir.removed) {
            match dir.tree.remove(&self.name) {
                Ok(()) => dir.removed = true,
                Err(errno) => outcome = Err(errno.into()),
            }
        }
        outcome
    }
}

/// How many processes the kernel killed for want of memory, by a file of [`Group::oom_counter`].
///
/// # Errors
/// `ENODEV` when the cgroup was removed; `EINVAL` on a kernel whose file has no such number.
pub(crate) fn oom_kills(counter: impl AsFd) -> io::Result<u64> {
    let text = files::read_from_start(counter)?;
    Ok(files::counter(&text, "oom_kill").ok_or(Errno::INVAL)?)
}
