//! The cgroups of one sandbox: its limits, its members, its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
#[cfg(test)]
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::tree::{Tree, Version};
use super::{Absence, GroupState, Resources, Which, files};

/// Period of a processor limit.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The kernel takes no smaller quota than a millisecond.
const CPU_QUOTA_MICROS_MIN: u64 = 1_000;

/// The cgroups of one sandbox. Dropping it leaves them: see [`Group::remove`].
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) name: String,
    pub(super) dirs: Vec<GroupDir>,
    pub(super) states: [(Which, GroupState); 3],
}

#[derive(Debug)]
pub(super) struct GroupDir {
    pub(super) tree: Arc<Tree>,
    pub(super) dir: OwnedFd,
    pub(super) removed: bool,
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

    pub(super) fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
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
    #[cfg(test)]
    pub(crate) fn populated_fd(&self) -> Option<OwnedFd> {
        files::open_file(self.v2_dir()?, "cgroup.events").ok()
    }

    /// Whether no process is left.
    ///
    /// # Errors
    /// When a file cannot be read, which would be a bug.
    #[cfg(test)]
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
    #[cfg(test)]
    pub(crate) fn wait_empty(&self, time: Duration) -> io::Result<bool> {
        let end = Instant::now() + time;
        for dir in self.dirs.iter().filter(|dir| !dir.removed) {
            if !files::wait_empty(dir.dir.as_fd(), end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills every process in it, without waiting for their ends. Returns whether that was enough;
    /// where it was not, it is to be repeated, as some may fork meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] without any cgroup.
    pub(crate) fn kill(&self) -> io::Result<bool> {
        if let Some(dir) = self.v2_dir()
            && files::write_if_there(dir, "cgroup.kill", "1")?
        {
            return Ok(true);
        }
        let pids = |dir: &&GroupDir| files::open_file(&dir.dir, "pids.max").is_ok();
        let dir = self
            .dirs
            .iter()
            .find(pids)
            .or(self.dirs.first())
            .ok_or(io::ErrorKind::Unsupported)?;
        files::kill_pass(dir.dir.as_fd()).map(|killed| killed.is_none())
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

/// Sets one limit of a directory, in which little is yet.
pub(super) fn set(
    dir: &OwnedFd,
    version: Version,
    which: Which,
    limits: &Resources,
) -> Result<(), Absence> {
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
