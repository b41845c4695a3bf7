//! The files of one cgroup directory, and what is done with them. All by the directory's
//! descriptor and a name, so that nothing renamed or replaced above leads elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// More is not read of a file; of `cgroup.procs` that is some 30,000 processes.
const READ_MAX: usize = 256 * 1024;
/// Maximum time that killed processes take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// The most processes that are killed by one pass: so many descriptors are open meanwhile.
const KILLED_AT_ONCE: usize = 128;

pub(super) fn open_dir(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

pub(super) fn open_file(dir: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Writes a setting: in one piece, as the kernel takes each write for a whole one.
pub(super) fn write(dir: impl AsFd, name: &str, value: &str) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(
        dir,
        name,
        OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes())).map(|_| ())
}

/// As [`fn@write`], where a kernel without the file is one that cannot do it, and need not.
pub(super) fn write_if_there(dir: impl AsFd, name: &str, value: &str) -> rustix::io::Result<bool> {
    match write(dir, name, value) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

pub(super) fn read(dir: impl AsFd, name: &str) -> rustix::io::Result<String> {
    read_from_start(open_file(dir, name)?)
}

/// Reads an open file from its beginning, as often as one likes.
pub(super) fn read_from_start(file: impl AsFd) -> rustix::io::Result<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while text.len() < READ_MAX {
        let at = u64::try_from(text.len()).unwrap_or(u64::MAX);
        match rustix::io::pread(&file, &mut chunk, at) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a word stands in a list such as `cgroup.controllers`.
pub(super) fn lists(dir: impl AsFd, name: &str, word: &str) -> rustix::io::Result<bool> {
    Ok(read(dir, name)?
        .split_ascii_whitespace()
        .any(|listed| listed == word))
}

/// The number after `key` in a file of lines `key number`.
pub(super) fn counter(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, number)| number.trim().parse().ok())
}

/// The processes in the cgroup, without those that this pid namespace does not show: they are
/// listed as 0, which a kill would take for this process's own group.
fn processes(dir: impl AsFd) -> rustix::io::Result<Vec<Pid>> {
    Ok(read(dir, "cgroup.procs")?
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .filter_map(Pid::from_raw)
        .collect())
}

/// Whether no process is in the cgroup.
pub(super) fn is_empty(dir: impl AsFd) -> rustix::io::Result<bool> {
    match read(&dir, "cgroup.events") {
        Ok(events) => Ok(counter(&events, "populated") == Some(0)),
        // Version 1.
        Err(Errno::NOENT) => Ok(read(dir, "cgroup.procs")?.trim().is_empty()),
        Err(errno) => Err(errno),
    }
}

/// Waits until no process is in the cgroup; `false` if some were at `end`. An event tells in
/// version 2; in version 1 the ends of the processes do.
pub(super) fn wait_empty(dir: BorrowedFd<'_>, end: Instant) -> io::Result<bool> {
    match open_file(dir, "cgroup.events") {
        Ok(events) => loop {
            let populated = counter(&read_from_start(&events)?, "populated");
            if populated == Some(0) {
                return Ok(true);
            }
            if !poll(&[events.as_fd()], PollFlags::PRI, end)? {
                return Ok(false);
            }
        },
        Err(Errno::NOENT) => loop {
            if is_empty(dir)? {
                return Ok(true);
            }
            let watched = pidfds(dir)?;
            let watched: Vec<BorrowedFd<'_>> = watched.iter().map(|(_, fd)| fd.as_fd()).collect();
            if !poll_all(&watched, end)? {
                return Ok(false);
            }
        },
        Err(errno) => Err(errno.into()),
    }
}

/// Kills what is in the cgroup, without waiting. Returns those that were killed, or `None` if there
/// is nothing to kill, or nothing that could outlive the kill.
///
/// In version 2 that is all of it, by `cgroup.kill`. In version 1 it is to be repeated until none
/// is left; with the pids controller nothing can fork meanwhile.
pub(super) fn kill_pass(dir: BorrowedFd<'_>) -> io::Result<Option<Vec<OwnedFd>>> {
    if write_if_there(dir, "cgroup.kill", "1")? {
        return Ok(None);
    }
    let _ = write_if_there(dir, "pids.max", "0");
    let members = pidfds(dir)?;
    // What is a member still was one when its pidfd was opened: no id was reused in between.
    let still = processes(dir)?;
    if still.is_empty() {
        return Ok(None);
    }
    let mut killed = Vec::new();
    for (pid, pidfd) in members {
        if still.contains(&pid) {
            match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => killed.push(pidfd),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(Some(killed))
}

/// Kills all that is in the cgroup. In version 1 it waits until none is left.
///
/// # Errors
/// `ETIMEDOUT` when after five seconds some are left, which the kernel cannot end or which fork
/// faster.
fn kill(dir: BorrowedFd<'_>) -> io::Result<()> {
    let end = Instant::now() + KILL_DEADLINE;
    while let Some(killed) = kill_pass(dir)? {
        let killed: Vec<BorrowedFd<'_>> = killed.iter().map(AsFd::as_fd).collect();
        if !poll_all(&killed, end)? {
            return Err(Errno::TIMEDOUT.into());
        }
    }
    Ok(())
}

fn pidfds(dir: impl AsFd) -> rustix::io::Result<Vec<(Pid, OwnedFd)>> {
    let mut pidfds = Vec::new();
    for pid in processes(dir)?.into_iter().take(KILLED_AT_ONCE) {
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfds.push((pid, pidfd)),
            Err(Errno::SRCH) => {}
            // A thread's id, of a process whose first thread is gone: the whole goes with it.
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(pidfds)
}

/// Waits until each of the processes has ended; `false` at `end`.
fn poll_all(pidfds: &[BorrowedFd<'_>], end: Instant) -> io::Result<bool> {
    for pidfd in pidfds {
        if !poll(&[*pidfd], PollFlags::IN, end)? {
            return Ok(false);
        }
    }
    // With none to wait for, the caller looks again: somebody is just ending.
    std::thread::yield_now();
    Ok(Instant::now() < end)
}

fn poll(fds: &[BorrowedFd<'_>], events: PollFlags, end: Instant) -> io::Result<bool> {
    let mut fds: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, events)).collect();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The names of the directories in a directory.
pub(super) fn children(dir: impl AsFd) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

pub(super) fn remove_dir(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Kills what is in a cgroup's children and removes them: all that a host which died left there.
/// They have no children of their own, as no confined program sees a control group.
pub(super) fn clear(dir: impl AsFd) -> io::Result<()> {
    for name in children(&dir)? {
        let child = match open_dir(&dir, name.as_c_str()) {
            Ok(child) => child,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        kill(child.as_fd())?;
        if !wait_empty(child.as_fd(), Instant::now() + KILL_DEADLINE)? {
            return Err(Errno::TIMEDOUT.into());
        }
        remove_dir(&dir, name.as_c_str())?;
    }
    Ok(())
}
