//! The keeper: a small process of the host's own program that makes the sandboxes, and cleans up
//! after them, also when the host is gone.
//!
//! It has one thread, so that it can fork, and little memory, so that forking is cheap. Each
//! sandbox's first process is forked as a child of the host, so that the host can wait for it. The
//! keeper ends a sandbox when its lifeline closes, and all when the host's socket closes.

mod entry;
mod users;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};

use self::entry::{Entry, has_ended};
use self::users::{has_user, map};
use super::channel;
use super::first::First;
use super::inside::{Assignment, KeeperRequest};
use super::message::{Answer, FailedStep, Failure, Plan, Reply, Request};
use super::namespaces;
use crate::layers::cgroup::{self, Cgroups, Group, GroupState};
use crate::layers::seccomp::Filters;
use crate::report::{Layer, LayerReport};
use crate::sys::process;

/// Interval at which a control group that is not empty yet is looked at again.
const RETRY_MILLIS: i64 = 5;
/// Maximum number of first processes that wait for their plans: one with the host's network, one
/// without.
const SPARES_MAX: usize = 2;

/// The id of a first process, and the descriptors for the host.
type CreatedProcess = (Pid, Vec<OwnedFd>);

struct Keeper {
    host: OwnedFd,
    host_gone: bool,
    cgroups: Option<Cgroups>,
    filters: Arc<Filters>,
    privileged: bool,
    /// Number of first processes so far; names the control groups of the next one.
    created: u64,
    spares: Vec<First>,
    entries: Vec<Entry>,
    remove: BTreeSet<PathBuf>,
}

/// Serves the host until it closes its end of `host`, and cleans up.
pub(crate) fn serve(host: OwnedFd) {
    let _ = rustix::thread::set_name(c"gk-keeper");
    // A service manager that stops the host signals all of its processes, and the keeper has to
    // clean up after that.
    process::ignore_termination();
    raise_descriptor_limit();
    let mut keeper = Keeper {
        host,
        host_gone: false,
        cgroups: None,
        filters: Arc::new(Filters::compile()),
        privileged: rustix::process::geteuid().is_root(),
        created: 0,
        spares: Vec::new(),
        entries: Vec::new(),
        remove: BTreeSet::new(),
    };
    while !keeper.host_gone || !keeper.entries.is_empty() {
        keeper.poll_once();
    }
    for path in std::mem::take(&mut keeper.remove) {
        let _ = crate::remove_tree(&path);
    }
    // The control groups go with `cgroups`.
}

impl Keeper {
    /// Waits for events, handles them, and forgets ended sandboxes.
    fn poll_once(&mut self) {
        /// The source of an event of the poll.
        enum Source {
            Host,
            Sync(usize),
            Lifeline(usize),
        }
        let mut of = Vec::with_capacity(1 + 2 * self.entries.len());
        let mut fds = Vec::with_capacity(1 + 2 * self.entries.len());
        if !self.host_gone {
            of.push(Source::Host);
            fds.push(PollFd::new(&self.host, PollFlags::IN));
        }
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some((socket, ..)) = &entry.mapping {
                of.push(Source::Sync(index));
                fds.push(PollFd::new(socket, PollFlags::IN));
            }
            if let (Some(lifeline), None) = (&entry.lifeline, entry.ending) {
                of.push(Source::Lifeline(index));
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
            // The kernel may be out of memory. Sandboxes end with their lifelines all the same.
            Err(_) => return,
        }
        let ready: Vec<Source> = fds
            .iter()
            .zip(of)
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(_, of)| of)
            .collect();
        drop(fds);
        for of in ready {
            match of {
                Source::Host => self.hear(),
                Source::Sync(index) => self.map(index),
                Source::Lifeline(index) => {
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
            Ok(Some((Request::Prepare { number, plan }, _))) => {
                let made = self.prepare_spare(&plan);
                self.answer(number, made);
            }
            Ok(Some((Request::RemoveAtEnd(path), _))) => {
                self.remove.insert(path.path().to_owned());
            }
            Ok(None) => self.lose_host(),
            Err(error) if is_gone(&error) => self.lose_host(),
            // The number of the request is not known, so it gets no answer: the host gives up
            // waiting for one.
            Err(_) => {}
        }
    }

    fn answer(&self, number: u64, made: Result<Option<CreatedProcess>, Failure>) {
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

    /// Returns `true` if the keeper is root, and its user namespace maps the plan's user and group.
    fn privileged(&self, plan: &Plan) -> bool {
        self.privileged && has_user(plan.uid, "uid_map") && has_user(plan.gid, "gid_map")
    }

    fn create(&mut self, wanted: i32) -> Result<First, Failure> {
        let cgroups = self.cgroups.get_or_insert_with(|| {
            Cgroups::open(&format!("{}-{}", rustix::process::getpid(), now()))
        });
        self.created += 1;
        First::create(wanted, &self.created.to_string(), cgroups, &self.filters)
    }

    /// Creates a first process for a start with such a plan, unless one waits already.
    fn prepare_spare(&mut self, plan: &Plan) -> Result<Option<CreatedProcess>, Failure> {
        let wanted = namespaces::wanted(plan, self.privileged(plan));
        let ready = self.spares.iter().any(|spare| spare.wanted == wanted);
        if ready || self.spares.len() >= SPARES_MAX {
            return Ok(None);
        }
        let first = self.create(wanted)?;
        let (first, pidfd) = self.pidfd_of(first)?;
        let made = (first.pid, vec![pidfd]);
        if is_complete(&first) {
            self.spares.push(first);
        } else {
            // An incomplete spare is thrown away: the start then creates its own, which may be
            // complete.
            self.discard(first);
        }
        Ok(Some(made))
    }

    /// Duplicates the pidfd of a first process for the host; ends the process if that fails.
    fn pidfd_of(&mut self, first: First) -> Result<(First, OwnedFd), Failure> {
        match keep(&first.pidfd) {
            Ok(pidfd) => Ok((first, pidfd)),
            Err(failure) => {
                self.discard(first);
                Err(failure)
            }
        }
    }

    /// Takes a first process that waits for its plan.
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
            // No program has run in it, so no other process can outlive the first one.
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
    fn start(
        &mut self,
        plan: Plan,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<CreatedProcess>, Failure> {
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
            // Most often the process has ended already. If it lives, it would wait for its plan for
            // ever, and the host for it. The host learns of the end by the pidfd.
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

    /// Puts a plan's limits in force. Returns the state of these layers.
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
        group_layers(&first.group, &first.entered, wanted)
    }

    /// Serves a first process that asks for the mapping of its user namespace.
    fn map(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        let Some((socket, uid, gid)) = entry.mapping.take() else {
            return;
        };
        // No message means that the process has ended, or executes the program. The host learns of
        // either by other means.
        if let Ok(Some((KeeperRequest::Map, _))) = channel::receive::<KeeperRequest>(&socket, false)
        {
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

/// Duplicates a descriptor.
fn keep(fd: &OwnedFd) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| broken("keep a descriptor", Some(errno)))
}

/// Returns `true` if the host closed the socket; `false` if it sent a message that cannot be read.
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN | libc::EBADF)
    )
}

/// Returns `true` if a first process got all its namespaces and control groups.
fn is_complete(first: &First) -> bool {
    first.namespaces.complete() && first.entered.is_ok()
}

/// Raises the limit of descriptors as far as it goes: a sandbox takes about eight.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// Nanoseconds since 1970, to tell keepers apart that have had the same process id.
fn now() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

/// Reports the memory, process and CPU layers: they hold if the process has entered its group.
fn group_layers(
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
