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
use super::inside::{self, Given, Go, Mapping, Ready};
use super::message::{FailedStep, Failure, Plan, Reply, Request};
use crate::layers::cgroup::{self, Cgroups, Group, GroupState};
use crate::layers::seccomp;
use crate::report::{Layer, LayerReport};
use crate::sys::process::{self, Forked};

/// How soon a control group that is not empty yet is looked at again.
const RETRY_MILLIS: i64 = 5;
/// How often, before it is left to the next keeper.
const RETRIES_MAX: u32 = 2000;

/// How often a first process that does not end is waited for before it is killed.
const PATIENCE: u32 = 200;

/// A sandbox.
struct Entry {
    pid: Pid,
    pidfd: OwnedFd,
    lifeline: OwnedFd,
    /// Until it needs nothing more.
    sync: Option<Starting>,
    group: Group,
    /// Whether all of it ends with its first process.
    own_namespace: bool,
    /// How often its end was looked for.
    ending: Option<u32>,
}

struct Starting {
    socket: OwnedFd,
    uid: u32,
    gid: u32,
    layers: Vec<LayerReport>,
}

struct Keeper {
    host: OwnedFd,
    host_gone: bool,
    cgroups: Option<Cgroups>,
    filters: Arc<[Vec<libc::sock_filter>; 2]>,
    privileged: bool,
    made: u64,
    entries: Vec<Entry>,
    remove: BTreeSet<PathBuf>,
}

/// Serves the host at the other end of `host` until it is gone, and cleans up.
pub(crate) fn serve(host: OwnedFd) {
    let _ = rustix::thread::set_name(c"gk-keeper");
    // A service manager that stops the host signals every process of it; this one has to clean up.
    process::ignore_termination();
    more_descriptors();
    let filter = |network| seccomp::program(seccomp::Filter { network });
    let mut keeper = Keeper {
        host,
        host_gone: false,
        cgroups: None,
        filters: Arc::new([filter(false), filter(true)]),
        privileged: rustix::process::geteuid().is_root(),
        made: 0,
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
            if let Some(starting) = &entry.sync {
                of.push(Of::Sync(index));
                fds.push(PollFd::new(&starting.socket, PollFlags::IN));
            }
            if entry.ending.is_none() {
                of.push(Of::Lifeline(index));
                fds.push(PollFd::new(&entry.lifeline, PollFlags::IN));
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
                Of::Sync(index) => self.go_on(index),
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
            Ok(Some((Request::Start(plan), descriptors))) => {
                let (reply, descriptors) = match self.start(*plan, descriptors) {
                    Ok((pid, descriptors)) => (Reply::Made { pid }, descriptors),
                    Err(failure) => (Reply::Failed(failure), Vec::new()),
                };
                let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                let _ = channel::send(&self.host, &reply, &borrowed);
            }
            Ok(Some((Request::RemoveAtEnd(path), _))) => {
                self.remove.insert(path.path().to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => {
                self.host_gone = true;
                self.entries.iter_mut().for_each(Entry::end);
            }
        }
    }

    /// Creates the first process of a sandbox. Returns its id, and the descriptors for the host.
    fn start(
        &mut self,
        plan: Plan,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(i32, Vec<OwnedFd>), Failure> {
        let broken = |what: &str, error: Option<io::Error>| Failure {
            step: FailedStep::Process,
            what: what.to_owned(),
            errno: error.and_then(|error| error.raw_os_error()).unwrap_or(0),
        };
        let mut descriptors = descriptors.into_iter();
        let (Some(control), Some(lifeline), Some(stdout), Some(stderr)) = (
            descriptors.next(),
            descriptors.next(),
            descriptors.next(),
            descriptors.next(),
        ) else {
            return Err(broken("receive the descriptors of a start", None));
        };
        let program = descriptors.next();
        let keep = |fd: &OwnedFd| {
            rustix::io::fcntl_dupfd_cloexec(fd, 3)
                .map_err(|errno| broken("keep a descriptor", Some(errno.into())))
        };
        let lifeline_kept = keep(&lifeline)?;
        let (sync, sync_there) =
            channel::pair().map_err(|error| broken("open a channel", Some(error)))?;
        let (uid, gid) = (plan.uid, plan.gid);
        // Root of a container may have few users to give.
        let privileged = self.privileged && has_user(uid, "uid_map") && has_user(gid, "gid_map");
        let (namespaces, layers) = namespaces(&plan, privileged);
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
        let cgroups = self.cgroups.get_or_insert_with(|| {
            Cgroups::open(&format!("{}-{}", rustix::process::getpid(), now()))
        });
        let locks = cgroups
            .locks()
            .map(|lock| rustix::io::fcntl_dupfd_cloexec(lock, 3))
            .collect::<Result<_, _>>()
            .map_err(|errno| broken("keep a descriptor", Some(errno.into())))?;
        self.made += 1;
        let name = format!("{}-{}", plan.name, self.made);
        let host = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let required = plan.required;
        let mut given = Given {
            plan,
            control: Arc::new(control),
            lifeline,
            stdout,
            stderr,
            program,
            sync: sync_there,
            namespaces,
            host,
            privileged,
            layers,
            filters: Arc::clone(&self.filters),
            locks,
        };
        let (pid, pidfd) = loop {
            if required && let Some(entry) = given.layers.iter().find(|entry| !entry.holds()) {
                return Err(inside::refusal(entry));
            }
            match process::fork(given.namespaces, true) {
                Ok(Forked::Child) => inside::first_process(given),
                Ok(Forked::Parent { pid, pidfd }) => break (pid, pidfd),
                Err(error) if given.namespaces != 0 => {
                    let without = without_namespaces(&given, &error);
                    (given.namespaces, given.layers) = without;
                }
                Err(error) => return Err(broken("create a process", Some(error))),
            }
        };
        let own_namespace = given.namespaces & libc::CLONE_NEWPID != 0;
        drop(given);

        let group = cgroups.create(&name, &limits);
        let layers = by_group(&group, group.enter(pid.as_raw_pid()), wanted);
        let mut out = vec![keep(&pidfd)?];
        out.extend(group.oom_counter());
        self.entries.push(Entry {
            pid,
            pidfd,
            lifeline: lifeline_kept,
            sync: Some(Starting {
                socket: sync,
                uid,
                gid,
                layers,
            }),
            group,
            own_namespace,
            ending: None,
        });
        Ok((pid.as_raw_pid(), out))
    }

    /// A sandbox has come as far as it gets alone.
    fn go_on(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        let Some(starting) = entry.sync.take() else {
            return;
        };
        let Ok(Some((ready, _))) = channel::receive::<Ready>(&starting.socket, false) else {
            // It ended early; the host hears of that from itself.
            return;
        };
        let map = if ready.map {
            map(entry.pid, &entry.pidfd, starting.uid, starting.gid)
        } else {
            Mapping::Asked
        };
        let go = Go {
            map,
            layers: starting.layers,
        };
        let _ = channel::send(&starting.socket, &go, &[]);
    }
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
    entered: io::Result<()>,
    wanted: [(Layer, bool); 3],
) -> Vec<LayerReport> {
    group
        .states()
        .into_iter()
        .zip(wanted)
        .map(
            |((_, state), (layer, wanted))| match (wanted, state, &entered) {
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

/// The namespaces that a process can be created in, and the layers they are.
const NAMESPACES: [(Layer, i32); 5] = [
    (Layer::Mount, libc::CLONE_NEWNS),
    (Layer::Pid, libc::CLONE_NEWPID),
    (Layer::Network, libc::CLONE_NEWNET),
    (Layer::Ipc, libc::CLONE_NEWIPC),
    (Layer::Uts, libc::CLONE_NEWUTS),
];

/// The namespaces a plan wants, and how these layers stand if they can be had.
///
/// Unprivileged, all of them need a user namespace, made together with them. A privileged process
/// comes into its user namespace last, so that the others, and the mounts, are not its own.
fn namespaces(plan: &Plan, privileged: bool) -> (i32, Vec<LayerReport>) {
    let mut flags = 0;
    let mut layers = Vec::new();
    for (layer, flag) in NAMESPACES {
        let shared = layer == Layer::Network && plan.network;
        if shared || !plan.wants(layer) {
            layers.push(LayerReport::off(layer));
        } else {
            flags |= flag;
            // The mounts are still to be made.
            if layer != Layer::Mount {
                layers.push(LayerReport::enforced(layer, ""));
            }
        }
    }
    if !plan.wants(Layer::User) {
        layers.push(LayerReport::off(Layer::User));
    } else if !privileged {
        flags |= libc::CLONE_NEWUSER;
        layers.push(LayerReport::enforced(Layer::User, ""));
    }
    (flags, layers)
}

/// After a refusal: a user namespace more, or none at all.
fn without_namespaces(given: &Given, error: &io::Error) -> (i32, Vec<LayerReport>) {
    let mut layers: Vec<LayerReport> = given
        .layers
        .iter()
        .filter(|entry| entry.holds() && entry.state == crate::State::Off)
        .cloned()
        .collect();
    // The user namespace first: where it is missing, the others follow, and its remedy is theirs.
    for (layer, flag) in [(Layer::User, libc::CLONE_NEWUSER)]
        .into_iter()
        .chain(NAMESPACES)
    {
        if given.namespaces & flag != 0 {
            layers.push(LayerReport::absent(
                layer,
                "no namespace",
                error.raw_os_error(),
            ));
        }
    }
    (0, layers)
}

impl Entry {
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(0);
            self.sync = None;
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
        let ended = has_ended(&self.pidfd);
        if !ended && !last {
            return false;
        }
        // Without a process namespace, what it started may still be ending.
        if !self.own_namespace {
            let _ = self.group.kill();
        }
        self.group.remove().is_ok() || last
    }
}
