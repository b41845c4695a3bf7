//! The keeper: a small process of the host's own program that makes the sandboxes, and cleans up
//! after them, also when the host is gone.
//!
//! It has one thread, so that it can fork, and little memory, so that forking is cheap. Each
//! sandbox it makes is a child of the host's. The host's end of a sandbox's lifeline tells it when
//! that one is over, its socket when the host is.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};

use super::channel;
use super::first::First;
use super::inside::{Assignment, Mapping, Wish};
use super::message::{Answer, FailedStep, Failure, Plan, Reply, Request};
use super::namespaces;
use crate::layers::cgroup::{self, Cgroups, Group, GroupState};
use crate::layers::seccomp::Filters;
use crate::report::{Layer, LayerReport};
use crate::sys::process;

/// How soon a control group that is not empty yet is looked at again.
const RETRY_MILLIS: i64 = 5;
/// How often, before it is left to the next keeper.
const RETRIES_MAX: u32 = 2000;

/// How often a first process that does not end is waited for before it is killed.
const PATIENCE: u32 = 200;

/// How many first processes wait for their plans: with the host's network, and without.
const SPARES_MAX: usize = 2;

/// A first process, and the descriptors for the host.
type Made = (Pid, Vec<OwnedFd>);

/// A sandbox.
struct Entry {
    pid: Pid,
    pidfd: OwnedFd,
    /// Without, it never became one.
    lifeline: Option<OwnedFd>,
    /// Until its user namespace is mapped: where it asks for that, and the user and group.
    mapping: Option<(OwnedFd, u32, u32)>,
    group: Group,
    /// Whether all of it ends with its first process.
    own_namespace: bool,
    /// How often its end was looked for.
    ending: Option<u32>,
}

struct Keeper {
    host: OwnedFd,
    host_gone: bool,
    cgroups: Option<Cgroups>,
    filters: Arc<Filters>,
    privileged: bool,
    made: u64,
    spares: Vec<First>,
    entries: Vec<Entry>,
    remove: BTreeSet<PathBuf>,
}

/// Serves the host at the other end of `host` until it is gone, and cleans up.
pub(crate) fn serve(host: OwnedFd) {
    let _ = rustix::thread::set_name(c"gk-keeper");
    // A service manager that stops the host signals every process of it; this one has to clean up.
    process::ignore_termination();
    more_descriptors();
    let mut keeper = Keeper {
        host,
        host_gone: false,
        cgroups: None,
        filters: Arc::new(Filters::compile()),
        privileged: rustix::process::geteuid().is_root(),
        made: 0,
        spares: Vec::new(),
        entries: Vec::new(),
        remove: BTreeSet::new(),
    };
    while !keeper.host_gone || !keeper.entries.is_empty() {
        keeper.turn();
    }
    for path in std::mem::take(&mut keeper.remove) {
        let _ = crate::remove_tree(&path);
    }
    // The control groups go with `cgroups`.
}

impl Keeper {
    fn turn(&mut self) {
        /// What a descriptor of the poll stands for.
        enum Of {
            Host,
            Sync(usize),
            Lifeline(usize),
        }
        let mut of = Vec::with_capacity(1 + 2 * self.entries.len());
        let mut fds = Vec::with_capacity(1 + 2 * self.entries.len());
        if !self.host_gone {
            of.push(Of::Host);
            fds.push(PollFd::new(&self.host, PollFlags::IN));
        }
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some((socket, ..)) = &entry.mapping {
                of.push(Of::Sync(index));
                fds.push(PollFd::new(socket, PollFlags::IN));
            }
            if let (Some(lifeline), None) = (&entry.lifeline, entry.ending) {
                of.push(Of::Lifeline(index));
                fds.push(PollFd::new(lifeline, PollFlags::IN));
            }
        }
        let soon = Timespec {
            tv_sec: 0,
            tv_nsec: RETRY_MILLIS * 1_000_000,
        };
        let timeout = self
            .entries
            .iter()
            .any(|entry| entry.ending.is_some())
            .then_some(&soon);
        match rustix::event::poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            // Out of memory, say: the sandboxes end with the lifelines all the same.
            Err(_) => return,
        }
        let ready: Vec<Of> = fds
            .iter()
            .zip(of)
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(_, of)| of)
            .collect();
        drop(fds);
        for of in ready {
            match of {
                Of::Host => self.hear(),
                Of::Sync(index) => self.map(index),
                Of::Lifeline(index) => {
                    if let Some(entry) = self.entries.get_mut(index) {
                        entry.end();
                    }
                }
            }
        }
        self.entries.retain_mut(|entry| !entry.is_over());
    }

    fn hear(&mut self) {
        match channel::receive::<Request>(&self.host, false) {
            Ok(Some((Request::Start { number, plan }, descriptors))) => {
                let made = self.start(*plan, descriptors);
                self.answer(number, made);
            }
            Ok(Some((Request::Expect { number, plan }, _))) => {
                let made = self.expect(&plan);
                self.answer(number, made);
            }
            Ok(Some((Request::RemoveAtEnd(path), _))) => {
                self.remove.insert(path.path().to_owned());
            }
            Ok(None) => self.lose_host(),
            Err(error) if is_gone(&error) => self.lose_host(),
            // It cannot be said which request that was; the host gives up waiting for its answer.
            Err(_) => {}
        }
    }

    fn answer(&self, number: u64, made: Result<Option<Made>, Failure>) {
        let (answer, descriptors) = match made {
            Ok(Some((pid, descriptors))) => (
                Answer::Made {
                    pid: pid.as_raw_pid(),
                },
                descriptors,
            ),
            Ok(None) => (Answer::Nothing, Vec::new()),
            Err(failure) => (Answer::Failed(failure), Vec::new()),
        };
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let _ = channel::send(&self.host, &Reply { number, answer }, &borrowed);
    }

    fn lose_host(&mut self) {
        self.host_gone = true;
        for first in std::mem::take(&mut self.spares) {
            self.discard(first);
        }
        self.entries.iter_mut().for_each(Entry::end);
    }

    /// Root of a container may have few users to give.
    fn privileged(&self, plan: &Plan) -> bool {
        self.privileged && has_user(plan.uid, "uid_map") && has_user(plan.gid, "gid_map")
    }

    fn create(&mut self, wanted: i32) -> Result<First, Failure> {
        let cgroups = self.cgroups.get_or_insert_with(|| {
            Cgroups::open(&format!("{}-{}", rustix::process::getpid(), now()))
        });
        self.made += 1;
        First::create(wanted, &self.made.to_string(), cgroups, &self.filters)
    }

    /// Has a first process ready for such a plan.
    fn expect(&mut self, plan: &Plan) -> Result<Option<Made>, Failure> {
        let wanted = namespaces::wanted(plan, self.privileged(plan));
        let ready = self.spares.iter().any(|spare| spare.wanted == wanted);
        if ready || self.spares.len() >= SPARES_MAX {
            return Ok(None);
        }
        let first = self.create(wanted)?;
        let (first, pidfd) = self.pidfd_of(first)?;
        let made = (first.pid, vec![pidfd]);
        if is_usual(&first) {
            self.spares.push(first);
        } else {
            // It would not be used: the next one may get all it was to have.
            self.discard(first);
        }
        Ok(Some(made))
    }

    /// A first process with its pidfd once more, for the host. Where that cannot be had, it ends.
    fn pidfd_of(&mut self, first: First) -> Result<(First, OwnedFd), Failure> {
        match keep(&first.pidfd) {
            Ok(pidfd) => Ok((first, pidfd)),
            Err(failure) => {
                self.discard(first);
                Err(failure)
            }
        }
    }

    /// One that waits.
    fn spare(&mut self, wanted: i32) -> Option<First> {
        while let Some(index) = self.spares.iter().position(|spare| spare.wanted == wanted) {
            let spare = self.spares.swap_remove(index);
            if !has_ended(&spare.pidfd) {
                return Some(spare);
            }
            self.discard(spare);
        }
        None
    }

    fn discard(&mut self, first: First) {
        let _ = process::kill(&first.pidfd);
        self.entries.push(Entry {
            own_namespace: true,
            pid: first.pid,
            pidfd: first.pidfd,
            lifeline: None,
            mapping: None,
            group: first.group,
            ending: Some(0),
        });
    }

    /// Makes a sandbox. Returns its first process, and the descriptors for the host.
    fn start(&mut self, plan: Plan, descriptors: Vec<OwnedFd>) -> Result<Option<Made>, Failure> {
        // The control socket, the lifeline and two pipes, at least.
        let Some(lifeline) = descriptors.get(1).filter(|_| descriptors.len() >= 4) else {
            return Err(broken("receive the descriptors of a start", None));
        };
        let lifeline = keep(lifeline)?;
        let (uid, gid) = (plan.uid, plan.gid);
        let privileged = self.privileged(&plan);
        let wanted = namespaces::wanted(&plan, privileged);
        let first = match self.spare(wanted) {
            Some(spare) => spare,
            None => self.create(wanted)?,
        };
        let (mut first, pidfd) = self.pidfd_of(first)?;
        let mut layers = first.namespaces.layers(&plan, privileged);
        layers.extend(self.limit(&mut first, &plan));
        let assignment = Assignment {
            plan,
            namespaces: first.namespaces.flags,
            host: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
            privileged,
            layers,
        };
        if first.assign(&assignment, &descriptors).is_err() {
            // Most often it ended already. One that lives would wait, and the host for it; of its end
            // the host hears from itself, as soon as it has it.
            let _ = process::kill(&first.pidfd);
        }
        let mut out = vec![pidfd];
        out.extend(first.group.oom_counter());
        let pid = first.pid;
        self.entries.push(Entry {
            own_namespace: first.namespaces.flags & libc::CLONE_NEWPID != 0,
            pid,
            pidfd: first.pidfd,
            lifeline: Some(lifeline),
            mapping: Some((first.sync, uid, gid)),
            group: first.group,
            ending: None,
        });
        Ok(Some((pid, out)))
    }

    /// Puts a plan's limits in force. Returns how these layers stand.
    fn limit(&self, first: &mut First, plan: &Plan) -> Vec<LayerReport> {
        let wanted = [
            (Layer::Memory, plan.wants(Layer::Memory)),
            (Layer::Processes, plan.wants(Layer::Processes)),
            (
                Layer::Cpu,
                plan.wants(Layer::Cpu) && plan.cpu_millis.is_some(),
            ),
        ];
        let [memory, processes, cpu] = wanted.map(|(_, wanted)| wanted);
        let limits = cgroup::Resources {
            memory_bytes: if memory { plan.memory_bytes } else { u64::MAX },
            processes: if processes { plan.processes } else { u32::MAX },
            cpu_millis: plan.cpu_millis.filter(|_| cpu),
        };
        if let Some(cgroups) = &self.cgroups {
            cgroups.limit(&mut first.group, &limits);
        }
        by_group(&first.group, &first.entered, wanted)
    }

    /// A sandbox has come as far as it gets alone.
    fn map(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        let Some((socket, uid, gid)) = entry.mapping.take() else {
            return;
        };
        // Otherwise it ended, or is executing; the host hears of that from itself.
        if let Ok(Some((Wish::Map, _))) = channel::receive::<Wish>(&socket, false) {
            let mapping = map(entry.pid, &entry.pidfd, uid, gid);
            let _ = channel::send(&socket, &mapping, &[]);
        }
    }
}

fn broken(what: &str, error: Option<Errno>) -> Failure {
    Failure {
        step: FailedStep::Process,
        what: what.to_owned(),
        errno: error.map_or(0, Errno::raw_os_error),
    }
}

/// A descriptor once more, for somebody else.
fn keep(fd: &OwnedFd) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| broken("keep a descriptor", Some(errno)))
}

/// Whether a socket's other end is gone, as opposed to having sent nothing that can be read.
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN | libc::EBADF)
    )
}

/// Whether it got all it was to have.
fn is_usual(first: &First) -> bool {
    first.namespaces.complete() && first.entered.is_ok()
}

/// Some eight descriptors per sandbox: as many as this process may have.
fn more_descriptors() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// Whether this process's user namespace has a user, or a group.
fn has_user(id: u32, map: &str) -> bool {
    let Ok(map) = std::fs::read_to_string(format!("/proc/self/{map}")) else {
        return false;
    };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.nth(1)) {
            (Some(Ok(first)), Some(Ok(count))) => {
                (first..first.saturating_add(count)).contains(&u64::from(id))
            }
            _ => false,
        }
    })
}

/// Tells keepers apart that had the same process id.
fn now() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

/// How the layers stand that a control group is, once a process was to enter it.
fn by_group(
    group: &Group,
    entered: &io::Result<()>,
    wanted: [(Layer, bool); 3],
) -> Vec<LayerReport> {
    group
        .states()
        .into_iter()
        .zip(wanted)
        .map(
            |((_, state), (layer, wanted))| match (wanted, state, entered) {
                (false, ..) => LayerReport::off(layer),
                (true, GroupState::Absent { why, errno }, _) => {
                    LayerReport::absent(layer, format!("cannot {why}"), Some(errno))
                }
                (true, _, Err(error)) => LayerReport::absent(
                    layer,
                    "cannot move it into its control group",
                    error.raw_os_error(),
                ),
                (true, GroupState::V2, Ok(())) => LayerReport::enforced(layer, "cgroup v2"),
                (true, GroupState::V1, Ok(())) => LayerReport::enforced(layer, "cgroup v1"),
            },
        )
        .collect()
}

/// Maps the user and group of a sandbox to those outside it should be, or, where that is refused,
/// to the keeper's own.
fn map(pid: Pid, pidfd: &OwnedFd, uid: u32, gid: u32) -> Mapping {
    let write = |outer_uid: u32, outer_gid: u32| -> io::Result<()> {
        for (file, line) in [
            ("gid_map", format!("{gid} {outer_gid} 1")),
            ("uid_map", format!("{uid} {outer_uid} 1")),
        ] {
            let file = rustix::fs::open(
                format!("/proc/{}/{file}", pid.as_raw_pid()),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            // The open file is this process's; its id might have become another's before.
            if has_ended(pidfd) {
                return Err(Errno::SRCH.into());
            }
            rustix::io::write(&file, line.as_bytes())?;
        }
        Ok(())
    };
    match write(uid, gid) {
        Ok(()) => Mapping::Asked,
        Err(error) => {
            let (own_uid, own_gid) = (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            );
            match write(own_uid, own_gid) {
                Ok(()) => Mapping::Host,
                Err(_) => Mapping::None(error.raw_os_error().unwrap_or(0)),
            }
        }
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(
        rustix::event::poll(&mut fds, Some(&Timespec::default())),
        Ok(1..)
    )
}

impl Entry {
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(0);
            self.mapping = None;
            // Elsewhere the first process kills the others, as nobody else knows them.
            if self.own_namespace {
                let _ = process::kill(&self.pidfd);
            }
            // Without any, the first process does it.
            let _ = self.group.kill();
        }
    }

    /// Whether nothing of it is left. Asked again and again once it ends.
    fn is_over(&mut self) -> bool {
        let Some(looks) = &mut self.ending else {
            return false;
        };
        *looks += 1;
        let last = *looks > RETRIES_MAX;
        if *looks == PATIENCE {
            let _ = process::kill(&self.pidfd);
        }
        // Without a process namespace, what it started may outlive it, and may fork meanwhile.
        if !self.own_namespace {
            let _ = self.group.kill();
        }
        let ended = has_ended(&self.pidfd);
        if !ended && !last {
            return false;
        }
        self.group.remove().is_ok() || last
    }
}
