//! Watching processes that are not children of the test.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::DEADLINE;

/// Some processes, held by file descriptors, so that a number that is given away again misleads nobody.
pub(crate) struct Watched(BTreeMap<u32, OwnedFd>);

impl Watched {
    /// These processes; one that is gone already is left out.
    pub(crate) fn these(pids: impl IntoIterator<Item = u32>) -> Self {
        let open = |pid| Some((pid, pidfd_open(native(pid), PidfdFlags::empty()).ok()?));
        Self(pids.into_iter().filter_map(open).collect())
    }

    /// Every process that was started, however indirectly, with a socket directory below `root`.
    pub(crate) fn family(root: &Path) -> Self {
        let needle = format!("PLUGIN_UNIX_SOCKET_DIR={}/", root.display());
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = environment.split(|&byte| byte == 0);
            variables
                .any(|variable| variable.starts_with(needle.as_bytes()))
                .then_some(pid)
        });
        Self::these(pids)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    /// Whether they include the process that `plugin`'s sandbox knows by this number.
    pub(crate) fn contains_inside(&self, plugin: u32, number: u32) -> bool {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let inside = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let numbers = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))?;
            numbers.split_whitespace().last()?.parse::<u32>().ok()
        };
        self.0
            .keys()
            .any(|&pid| inside(pid) == Some(number) && namespace(pid) == namespace(plugin))
    }

    /// Ends those that are still there.
    #[track_caller]
    pub(crate) fn end(self) {
        for process in self.0.values() {
            // One that has ended is what is wanted.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        self.expect_end();
    }

    /// Waits until all of them have ended.
    #[track_caller]
    pub(crate) fn expect_end(self) {
        for (pid, process) in self.0 {
            assert!(ended(&process), "process {pid} is still there");
        }
    }
}

/// Waits for the end of one process; `false` when the deadline passes first.
pub(crate) fn ended(process: &OwnedFd) -> bool {
    let deadline = Timespec::try_from(DEADLINE).unwrap();
    let mut waiting = [PollFd::new(process, PollFlags::IN)];
    loop {
        match poll(&mut waiting, Some(&deadline)) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.unwrap() == 1,
        }
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    rustix::process::kill_process(native(pid), signal).unwrap();
}

/// The directory that holds the socket directories of the host that started this process.
pub(crate) fn socket_root(pid: u32) -> PathBuf {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let socket_dir = environment
        .split('\0')
        .find_map(|variable| variable.strip_prefix("PLUGIN_UNIX_SOCKET_DIR="));
    let socket_dir = socket_dir.expect("a plugin has a socket directory");
    Path::new(socket_dir).parent().unwrap().to_owned()
}

pub(crate) fn native(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Everything that a process has started, and what that has.
pub(crate) fn descendants(of: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may have spaces and brackets.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(pid), Some(parent)) = (pid, parent) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, of): &&(u32, u32)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// The process of a host that tidies up after it.
pub(crate) fn keeper(host: u32) -> u32 {
    let named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "gk-keeper")
    };
    let mut all = descendants(host).into_iter();
    all.find(named).expect("the host has a keeper")
}

/// The control groups of the host with this keeper.
pub(crate) fn cgroups(keeper: u32) -> Vec<PathBuf> {
    cgroups_below(
        Path::new("/sys/fs/cgroup"),
        &format!("goatkit-{keeper}-"),
        6,
    )
}

fn cgroups_below(below: &Path, prefix: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(cgroups_below(&entry.path(), prefix, depth - 1));
        }
    }
    found
}
