//! Inside a sandbox: its first process, which sets it up and stays to watch, and the program's
//! process up to the exec.
//!
//! The first process is the host's own code. It runs as long as the program does: it takes over
//! what is orphaned, kills all that is left when the program ends or the host lets go of the
//! lifeline, and, where no control group limits memory, adds up what the sandbox uses. The program
//! cannot trace it (it is not dumpable) and cannot signal it (the first process of a namespace gets
//! only signals it handles, and it handles none).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::channel;
use super::message::{Event, Executable, FailedStep, Failure, NOT_SET_UP, Plan};
use super::root::{self, Directories, Entered};
use super::watch::{WATCHDOG_MILLIS, Watch, Watched};
use crate::bytes::Bytes;
use crate::layers::seccomp::{self, Filter, Filters};
use crate::layers::{landlock, privileges};
use crate::report::{Layer, LayerReport, State};
use crate::sys::process::{self, Exec, Forked};

/// A sandbox's `oom_score_adj`, at least: of -1000 to 1000, where ordinary processes have 0.
const OUT_OF_MEMORY_SCORE: i32 = 300;

/// From the first process to the keeper. An empty message would pass for the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// It is in a new user namespace and needs its user and group mapped.
    Map,
}

/// From the keeper to the first process, which goes on: how its user namespace maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mapping {
    /// To the user that was asked for.
    Asked,
    /// To the host's own user.
    Host,
    /// Not at all; the errno.
    None(i32),
}

/// What a first process is created with.
pub(crate) struct Birth {
    pub(crate) sync: OwnedFd,
    /// The locks of the host's control groups, so that a keeper's death does not free them: the
    /// next keeper would take the sandboxes for a dead host's.
    pub(crate) locks: Vec<OwnedFd>,
    pub(crate) filters: Arc<Filters>,
}

/// What the keeper gives it later: a plan, and with it, in this order, the control socket, the
/// lifeline, stdout, stderr, and the program if it is pinned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) plan: Plan,
    /// The namespaces (`CLONE_NEW…`) this process was created in.
    pub(crate) namespaces: i32,
    /// The keeper's user and group.
    pub(crate) host: (u32, u32),
    /// Whether the keeper is privileged, so that the user namespace comes last.
    pub(crate) privileged: bool,
    /// How the layers stand that the creation and the control groups decided on.
    pub(crate) layers: Vec<LayerReport>,
}

/// Both.
struct Given {
    sync: OwnedFd,
    locks: Vec<OwnedFd>,
    filters: Arc<Filters>,
    plan: Plan,
    namespaces: i32,
    host: (u32, u32),
    privileged: bool,
    layers: Vec<LayerReport>,
    control: Arc<OwnedFd>,
    lifeline: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    program: Option<OwnedFd>,
}

impl Birth {
    /// Waits for the plan; `None` if there will be none.
    fn wait(self) -> Option<Given> {
        let Birth {
            sync,
            locks,
            filters,
        } = self;
        let kept: Vec<_> = locks.iter().chain([&sync]).map(AsFd::as_fd).collect();
        // Among the keeper's are the lifelines of other sandboxes.
        process::close_all_but(&kept).ok()?;
        let _ = rustix::thread::set_name(c"gk-sandbox");
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let (assignment, descriptors) = channel::receive::<Assignment>(&sync, true).ok()??;
        let Assignment {
            plan,
            namespaces,
            host,
            privileged,
            layers,
        } = assignment;
        let mut descriptors = descriptors.into_iter();
        Some(Given {
            control: Arc::new(descriptors.next()?),
            lifeline: descriptors.next()?,
            stdout: descriptors.next()?,
            stderr: descriptors.next()?,
            program: descriptors.next(),
            sync,
            locks,
            filters,
            plan,
            namespaces,
            host,
            privileged,
            layers,
        })
    }
}

/// A step that ends the start.
struct Fatal(Failure);

impl Fatal {
    fn new(step: FailedStep, what: impl Into<String>, errno: Option<i32>) -> Self {
        Self(Failure {
            step,
            what: what.into(),
            errno: errno.unwrap_or(0),
        })
    }
}

fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error()
}

/// The first process of a sandbox, from its creation on.
pub(crate) fn first_process(birth: Birth) -> ! {
    // A panic must not unwind into the keeper's frames, of which this process has a copy.
    let given = std::panic::catch_unwind(AssertUnwindSafe(|| birth.wait()));
    let Ok(Some(given)) = given else {
        process::exit(NOT_SET_UP)
    };
    let control = Arc::clone(&given.control);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        Inside::new(given).and_then(Inside::run)
    }));
    let code = match outcome {
        Ok(Ok(code)) => code,
        Err(_) => NOT_SET_UP,
        Ok(Err(Fatal(failure))) => {
            // If the host is gone, nobody needs to know.
            let _ = channel::send(&*control, &Event::Failed(failure), &[]);
            NOT_SET_UP
        }
    };
    process::exit(code)
}

struct Inside {
    given: Given,
    layers: Vec<LayerReport>,
    /// Whether the root is the sandbox's own.
    own_root: bool,
    proc: bool,
    /// Where the program may make its socket, for the host.
    directories: Directories,
}

impl Inside {
    fn new(mut given: Given) -> Result<Self, Fatal> {
        let layers = std::mem::take(&mut given.layers);
        let mut inside = Self {
            given,
            layers: Vec::new(),
            own_root: false,
            proc: true,
            directories: Directories::default(),
        };
        for entry in layers {
            inside.note(entry)?;
        }
        Ok(inside)
    }

    /// Notes how a layer stands; where all are insisted on, one that does not hold is the end.
    fn note(&mut self, entry: LayerReport) -> Result<(), Fatal> {
        if self.given.plan.required && !entry.holds() {
            return Err(refused(&entry));
        }
        self.layers.push(entry);
        Ok(())
    }

    fn wants(&self, layer: Layer) -> bool {
        self.given.plan.wants(layer)
    }

    /// Whether no control group limits the memory that is to be limited.
    fn adds_up_memory(&self) -> bool {
        let mut entries = self.layers.iter().rev();
        let entry = entries.find(|entry| entry.layer == Layer::Memory);
        entry.is_some_and(|entry| matches!(entry.state, State::Absent | State::Degraded))
    }

    fn has(&self, namespace: i32) -> bool {
        self.given.namespaces & namespace != 0
    }

    fn run(mut self) -> Result<i32, Fatal> {
        if !self.given.privileged {
            // Before it is undumpable, when these files belong to root.
            self.map_myself()?;
        }
        let own_mounts = self.mount_namespace()?;
        self.settle()?;
        self.memfd()?;
        let processes = self.watched();
        if own_mounts {
            self.root()?;
        }
        if self.has(libc::CLONE_NEWUTS) {
            let named = rustix::system::sethostname(self.given.plan.name.as_bytes());
            let entry = match named {
                Ok(()) => LayerReport::enforced(Layer::Uts, ""),
                Err(errno) => LayerReport::degraded(
                    Layer::Uts,
                    "the host's name could not be replaced",
                    Some(errno.raw_os_error()),
                ),
            };
            self.note(entry)?;
        }
        let unmapped = self.user_namespace()?;
        let mapping = if unmapped {
            Some(self.mapped_by_keeper()?)
        } else {
            None
        };
        self.cgroup_namespace()?;
        self.identity(mapping)?;
        // A change of users clears both.
        let _ = privileges::undumpable();
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        if lifeline_cut(&self.given.lifeline) {
            return Ok(NOT_SET_UP);
        }
        let no_group = self
            .layers
            .iter()
            .rev()
            .find(|entry| entry.layer == Layer::Memory && entry.state == State::Absent)
            .cloned();
        // Only what can be read can be watched.
        let watched =
            processes.filter(|processes| no_group.is_some() && processes.memory().is_ok());
        if let (Some(entry), true) = (no_group, watched.is_some()) {
            self.note(LayerReport::degraded(
                Layer::Memory,
                format!(
                    "added up every {WATCHDOG_MILLIS} ms, as the host {}",
                    entry.detail
                ),
                entry.errno,
            ))?;
        }
        self.start(watched)
    }

    /// Makes this process one of its own: a session, the program's stdio.
    fn settle(&mut self) -> Result<(), Fatal> {
        let given = &self.given;
        let step = |what: &'static str| {
            move |error: io::Error| Fatal::new(FailedStep::Process, what, errno(&error))
        };
        process::stdio(given.stdout.as_fd(), 1).map_err(step("arrange stdout"))?;
        process::stdio(given.stderr.as_fd(), 2).map_err(step("arrange stderr"))?;
        rustix::process::setsid().map_err(|errno| step("start a session")(errno.into()))?;
        expendable();
        let _ = privileges::undumpable();
        if !self.has(libc::CLONE_NEWPID) {
            // What is orphaned comes here, to be killed with the rest.
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        Ok(())
    }

    /// Forbids programs from memory files in this process namespace. Only the real root may.
    fn memfd(&mut self) -> Result<(), Fatal> {
        if !self.wants(Layer::MemfdNoexec) {
            return self.note(LayerReport::off(Layer::MemfdNoexec));
        }
        let by_filter = self.wants(Layer::Seccomp);
        let set = if self.has(libc::CLONE_NEWPID) {
            process::write_at_once("/proc/sys/vm/memfd_noexec", "2")
        } else {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        };
        self.note(match set {
            Ok(()) => LayerReport::enforced(Layer::MemfdNoexec, "vm.memfd_noexec=2"),
            Err(_) if by_filter => {
                LayerReport::enforced(Layer::MemfdNoexec, "by the seccomp filter")
            }
            Err(error) => LayerReport::absent(
                Layer::MemfdNoexec,
                "vm.memfd_noexec cannot be set",
                errno(&error),
            ),
        })
    }

    /// A view of this namespace's processes for the watchdog, taken while it can be had.
    fn watched(&self) -> Option<Watched> {
        if self.has(libc::CLONE_NEWPID)
            && let Ok(proc) = root::whole_proc()
        {
            return Some(Watched::All(proc));
        }
        let proc = rustix::fs::open(
            "/proc",
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .ok()?;
        // In a process namespace this one has another number there.
        let own = rustix::fs::readlinkat(&proc, "self", Vec::new()).ok()?;
        Some(Watched::Below(proc, own.to_str().ok()?.parse().ok()?))
    }

    /// Moves into a mount namespace: now, as this process may have waited for its plan while the
    /// host's mounts changed. Returns whether it has one.
    fn mount_namespace(&mut self) -> Result<bool, Fatal> {
        if !self.wants(Layer::Mount) {
            self.note(LayerReport::off(Layer::Mount))?;
            return Ok(false);
        }
        let Err(error) = process::unshare(libc::CLONE_NEWNS) else {
            return Ok(true);
        };
        // Where the user namespace is missing that is the reason, and what to do about it is the same.
        let user = self.layers.iter().find(|entry| entry.layer == Layer::User);
        let reason = user.filter(|entry| entry.state == State::Absent);
        let errno = reason.map_or(errno(&error), |entry| entry.errno);
        self.note(LayerReport::absent(Layer::Mount, "no namespace", errno))?;
        Ok(false)
    }

    fn root(&mut self) -> Result<(), Fatal> {
        let plan = &self.given.plan;
        let script = match plan.executable {
            Executable::Script => self.given.program.as_ref().map(AsFd::as_fd),
            _ => None,
        };
        let owner = if self.given.privileged && !self.wants(Layer::Identity) {
            self.given.host
        } else {
            (plan.uid, plan.gid)
        };
        let entered = root::enter(plan, script, !self.adds_up_memory(), owner);
        let entry = match entered {
            Ok(Entered { proc, directories }) => {
                (self.own_root, self.proc, self.directories) = (true, proc, directories);
                LayerReport::enforced(Layer::Mount, if proc { "" } else { "without /proc" })
            }
            // Landlock would be led the same way.
            Err(error) if error.refuse => {
                let step = match error.errno {
                    None => FailedStep::Paths,
                    Some(_) => FailedStep::Process,
                };
                return Err(Fatal::new(step, error.what, error.errno));
            }
            Err(error) => LayerReport::absent(
                Layer::Mount,
                format!("could not {}", error.what),
                error.errno,
            ),
        };
        self.note(entry)
    }

    /// An unprivileged process maps its own user, and nothing else, by itself.
    fn map_myself(&mut self) -> Result<(), Fatal> {
        if !self.has(libc::CLONE_NEWUSER) {
            return Ok(());
        }
        let (host_uid, host_gid) = self.given.host;
        let Plan { uid, gid, .. } = self.given.plan;
        let write = process::write_at_once;
        let mapped = write("/proc/self/setgroups", "deny")
            .and_then(|()| write("/proc/self/gid_map", &format!("{gid} {host_gid} 1")))
            .and_then(|()| write("/proc/self/uid_map", &format!("{uid} {host_uid} 1")));
        if let Err(error) = mapped {
            return self.note(LayerReport::degraded(
                Layer::User,
                "the user could not be mapped",
                errno(&error),
            ));
        }
        Ok(())
    }

    /// Moves a privileged process into a user namespace. Returns whether it awaits a mapping.
    fn user_namespace(&mut self) -> Result<bool, Fatal> {
        if !self.given.privileged || !self.wants(Layer::User) {
            return Ok(false);
        }
        match process::unshare(libc::CLONE_NEWUSER) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.note(LayerReport::absent(
                    Layer::User,
                    "no user namespace",
                    errno(&error),
                ))?;
                Ok(false)
            }
        }
    }

    /// Has the user namespace mapped, from outside.
    fn mapped_by_keeper(&self) -> Result<Mapping, Fatal> {
        let gone =
            |error: Option<i32>| Fatal::new(FailedStep::Process, "speak to the keeper", error);
        channel::send(&self.given.sync, &Wish::Map, &[]).map_err(|error| gone(errno(&error)))?;
        match channel::receive::<Mapping>(&self.given.sync, true) {
            Ok(Some((mapping, _))) => Ok(mapping),
            Ok(None) => Err(gone(None)),
            Err(error) => Err(gone(errno(&error))),
        }
    }

    fn cgroup_namespace(&mut self) -> Result<(), Fatal> {
        if !self.wants(Layer::Cgroup) {
            return self.note(LayerReport::off(Layer::Cgroup));
        }
        let entry = match process::unshare(libc::CLONE_NEWCGROUP) {
            Ok(()) => LayerReport::enforced(Layer::Cgroup, ""),
            Err(error) => LayerReport::absent(Layer::Cgroup, "no cgroup namespace", errno(&error)),
        };
        self.note(entry)
    }

    /// Becomes the program's user.
    fn identity(&mut self, mapping: Option<Mapping>) -> Result<(), Fatal> {
        if self.given.privileged
            && let Some(mapping) = mapping
        {
            self.note(match mapping {
                Mapping::Asked => LayerReport::enforced(Layer::User, ""),
                Mapping::Host => LayerReport::enforced(Layer::User, "maps to the host's own user"),
                Mapping::None(errno) => {
                    LayerReport::degraded(Layer::User, "its user is not mapped", Some(errno))
                }
            })?;
        }
        if !self.wants(Layer::Identity) {
            return self.note(LayerReport::off(Layer::Identity));
        }
        let plan = &self.given.plan;
        if !self.given.privileged {
            let uid = self.given.host.0;
            return self.note(LayerReport::degraded(
                Layer::Identity,
                format!("the host's own user {uid}, as the host is not root"),
                Some(libc::EPERM),
            ));
        }
        let change = || -> Result<(), Errno> {
            let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)
        };
        let entry = match change() {
            Ok(()) if mapping == Some(Mapping::Host) => {
                LayerReport::degraded(Layer::Identity, "the host's own user outside", None)
            }
            Ok(()) => LayerReport::enforced(Layer::Identity, format!("user {}", plan.uid)),
            // It would run as root, whose files are the host's.
            Err(errno) => {
                return Err(Fatal::new(
                    FailedStep::Process,
                    format!("become user {}", plan.uid),
                    Some(errno.raw_os_error()),
                ));
            }
        };
        self.note(entry)
    }

    /// Forks the program's process and watches it to its end.
    fn start(self, watched: Option<Watched>) -> Result<i32, Fatal> {
        let step = |what: &'static str| {
            move |error: io::Error| Fatal::new(FailedStep::Process, what, errno(&error))
        };
        let children = process::child_signals().map_err(step("watch the program"))?;
        let (outcome, outcome_there) = channel::pair().map_err(step("open a channel"))?;
        let own_namespace = self.has(libc::CLONE_NEWPID);
        let (pid, pidfd) = match process::fork(0, false).map_err(step("create a process"))? {
            Forked::Child => {
                drop(outcome);
                self.become_program(&outcome_there)
            }
            Forked::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(outcome_there);
        let (given, own_root) = (self.given, self.own_root);
        drop(self.directories);
        drop((given.stdout, given.stderr, given.program, given.sync));
        for fd in [1, 2] {
            // The program's pipes end with the program.
            if let Ok(null) = rustix::fs::open(
                "/dev/null",
                rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            ) {
                let _ = process::stdio(null.as_fd(), fd);
            }
        }
        // The exec closes it without a word.
        match channel::receive::<Failure>(&outcome, true) {
            Ok(None) => {}
            Ok(Some((failure, _))) => return Err(Fatal(failure)),
            Err(error) => return Err(step("hear of the program")(error)),
        }
        let _ = privileges::no_new_privs();
        let _ = privileges::drop_capabilities();
        let _ = channel::send(&*given.control, &Event::Started, &[]);
        let watch = Watch {
            plan: given.plan,
            control: given.control,
            lifeline: given.lifeline,
            children,
            program: pid,
            pidfd,
            own_namespace,
            own_root,
            memory: watched,
            locks: given.locks,
        };
        Ok(watch.run())
    }

    /// The program's process. What it has to say goes to the host; a failure to the first process,
    /// too.
    fn become_program(mut self, outcome: &OwnedFd) -> ! {
        let Err(Fatal(failure)) = self.confine_and_execute();
        let _ = channel::send(outcome, &failure, &[]);
        process::exit(NOT_SET_UP)
    }

    fn confine_and_execute(&mut self) -> Result<std::convert::Infallible, Fatal> {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let plan = self.given.plan.clone();
        let (argv, envp): (Vec<CString>, Vec<CString>) = (
            plan.argv.iter().map(Bytes::c_string).collect(),
            plan.envp.iter().map(Bytes::c_string).collect(),
        );
        rustix::process::chdir(plan.working_dir.path()).map_err(|errno| {
            Fatal::new(
                FailedStep::WorkingDir,
                format!("enter {}", plan.working_dir.path().display()),
                Some(errno.raw_os_error()),
            )
        })?;
        self.step(Layer::Descriptors, privileges::close_descriptors)?;
        self.limits(&plan)?;
        self.step(Layer::Mdwe, privileges::mdwe)?;
        self.step(Layer::NoNewPrivileges, privileges::no_new_privs)?;
        self.landlock(&plan)?;
        self.step(Layer::Capabilities, privileges::drop_capabilities)?;
        process::default_signals()
            .map_err(|error| Fatal::new(FailedStep::Process, "reset the signals", errno(&error)))?;
        self.seccomp(&plan)?;
        let _ = channel::send(
            &*self.given.control,
            &Event::Layers(std::mem::take(&mut self.layers)),
            &self.directories.as_fds(),
        );
        if plan.executable == Executable::Probe {
            process::exit(0);
        }
        let path;
        let exec = match (&plan.executable, &self.given.program) {
            (Executable::Binary, Some(program)) => Exec::Fd(program.as_fd()),
            (Executable::Script, Some(_)) if self.own_root => {
                path = root::c_path(std::path::Path::new(root::SCRIPT));
                Exec::Path(&path)
            }
            (Executable::Script, Some(program)) => {
                // Its interpreter opens it once more.
                let _ = rustix::io::fcntl_setfd(program, rustix::io::FdFlags::empty());
                path = root::c_path(&PathBuf::from(format!(
                    "/proc/self/fd/{}",
                    program.as_raw_fd()
                )));
                Exec::Path(&path)
            }
            (Executable::Path(at), _) => {
                path = at.c_string();
                Exec::Path(&path)
            }
            _ => {
                return Err(Fatal::new(FailedStep::Exec, "find the program", None));
            }
        };
        let error = process::execute(exec, &argv, &envp);
        Err(Fatal::new(
            FailedStep::Exec,
            "execute the program",
            errno(&error),
        ))
    }

    fn step(&mut self, layer: Layer, apply: fn() -> io::Result<()>) -> Result<(), Fatal> {
        let entry = if !self.wants(layer) {
            LayerReport::off(layer)
        } else {
            match apply() {
                Ok(()) => LayerReport::enforced(layer, ""),
                Err(error) => LayerReport::absent(layer, "the kernel refused", errno(&error)),
            }
        };
        self.note(entry)
    }

    fn limits(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if !self.wants(Layer::Limits) {
            return self.note(LayerReport::off(Layer::Limits));
        }
        let state = |layer: Layer| {
            self.layers
                .iter()
                .rev()
                .find(|entry| entry.layer == layer)
                .map(|entry| entry.state.clone())
        };
        let by_group = |layer| state(layer) == Some(State::Enforced);
        let ungrouped = self.given.plan.wants(Layer::Memory) && !by_group(Layer::Memory);
        // Counted per user, and per user namespace where there is one; the host's own user has
        // other processes that would count.
        let counted = self.given.plan.wants(Layer::Processes)
            && (self.given.privileged || state(Layer::User) == Some(State::Enforced));
        let limits = privileges::ProcessLimits {
            open_files: plan.open_files,
            processes: if counted {
                u64::from(plan.processes)
            } else {
                u64::MAX
            },
            file_bytes: plan.file_bytes,
            // What the watchdog does not see between two looks. A runtime such as Go's reserves
            // much more than it uses, but what it reserves is not writable and does not count.
            data_bytes: ungrouped
                .then(|| plan.memory_bytes.saturating_mul(2).saturating_add(64 << 20)),
            ..privileges::ProcessLimits::default()
        };
        let entry = match privileges::set_limits(&limits) {
            Ok(()) => LayerReport::enforced(Layer::Limits, ""),
            Err(error) => LayerReport::absent(Layer::Limits, "the kernel refused", errno(&error)),
        };
        let set = entry.state == State::Enforced;
        let grouped = by_group(Layer::Processes);
        self.note(entry)?;
        if counted && set && !grouped {
            let why = self
                .layers
                .iter()
                .rev()
                .find(|entry| entry.layer == Layer::Processes)
                .and_then(|entry| entry.errno);
            self.note(LayerReport::degraded(
                Layer::Processes,
                "limited per user, without a control group",
                why,
            ))?;
        }
        Ok(())
    }

    fn landlock(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if !self.wants(Layer::Landlock) {
            return self.note(LayerReport::off(Layer::Landlock));
        }
        let paths = |bytes: &[Bytes]| -> Vec<PathBuf> {
            bytes.iter().map(|path| path.path().to_owned()).collect()
        };
        let mut execute = root::system_paths(plan);
        let read_only = paths(&plan.read_only);
        if let Executable::Path(path) = &plan.executable {
            execute.push(path.path().to_owned());
        }
        if let Some(program) = &self.given.program {
            // A memory file is none of Landlock's business, another one is.
            execute.push(format!("/proc/self/fd/{}", program.as_raw_fd()).into());
        }
        let mut write = paths(&plan.writable);
        write.extend(plan.socket_dir.iter().map(|dir| dir.path().to_owned()));
        write.push(plan.temp_dir.path().to_owned());
        let read = if self.own_root {
            execute.push(root::SCRIPT.into());
            write.push("/tmp".into());
            vec![PathBuf::from("/")]
        } else {
            vec![PathBuf::from("/proc/self"), PathBuf::from("/dev")]
        };
        for device in ["/dev/null", "/dev/zero", "/dev/full"] {
            write.push(device.into());
        }
        let outcome = landlock::restrict(&landlock::Access {
            read: &read,
            execute: &execute,
            read_only: &read_only,
            write: &write,
            network: plan.network,
        });
        self.note(match outcome {
            landlock::Outcome::Enforced { abi } => {
                LayerReport::enforced(Layer::Landlock, format!("version {abi}"))
            }
            landlock::Outcome::Degraded { abi, missing } => LayerReport::degraded(
                Layer::Landlock,
                format!("version {abi} does not know: {missing}"),
                None,
            ),
            landlock::Outcome::Absent { step, errno } => {
                LayerReport::absent(Layer::Landlock, step, Some(errno))
            }
        })
    }

    fn seccomp(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if !self.wants(Layer::Seccomp) {
            return self.note(LayerReport::off(Layer::Seccomp));
        }
        let filter = Filter {
            network: plan.network,
            shared_memory: !self.adds_up_memory(),
        };
        let entry = match seccomp::install(self.given.filters.program(filter)) {
            Ok(()) => LayerReport::enforced(Layer::Seccomp, ""),
            Err(error) => LayerReport::absent(Layer::Seccomp, "the kernel refused", errno(&error)),
        };
        self.note(entry)
    }
}

/// The failure of a start that insists on a layer.
pub(crate) fn refusal(entry: &LayerReport) -> Failure {
    Failure {
        step: FailedStep::Layer(entry.layer),
        what: if entry.detail.is_empty() {
            entry.state.to_string()
        } else {
            format!("{}: {}", entry.state, entry.detail)
        },
        errno: entry.errno.unwrap_or(0),
    }
}

fn refused(entry: &LayerReport) -> Fatal {
    Fatal(refusal(entry))
}

/// Where the machine runs out of memory, a plugin goes before the host, whatever the host was given
/// for its own protection, and before most others.
fn expendable() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let inherited = std::fs::read_to_string(SCORE).ok();
    let inherited: i32 = inherited
        .and_then(|score| score.trim().parse().ok())
        .unwrap_or(0);
    let score = inherited.max(OUT_OF_MEMORY_SCORE).to_string();
    let _ = process::write_at_once(SCORE, &score);
}

/// Whether the host has let go.
fn lifeline_cut(lifeline: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(lifeline, PollFlags::IN)];
    matches!(
        rustix::event::poll(&mut fds, Some(&Timespec::default())),
        Ok(1..)
    )
}
