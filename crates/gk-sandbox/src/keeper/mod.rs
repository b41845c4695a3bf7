//! The host's side of its keeper, the process that makes the sandboxes.

mod channel;
mod first;
mod inside;
mod message;
mod namespaces;
mod root;
mod serve;
mod watch;

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

pub(crate) use self::message::Plan;
use self::message::{Answer, Event, Executable, FailedStep, Reply, Request};
pub(crate) use self::message::{End, Failure};
use self::root::Directories;
use crate::bytes::Bytes;
use crate::elf::Needs;
use crate::process::Process;
use crate::report::Report;
use crate::spec::Confinement;
use crate::sys::{self, Image, Prepared};
use crate::{Level, SandboxSpec, SpawnError};

/// `argv[0]` of a keeper.
const KEEPER_NAME: &str = "gk-sandbox-keeper";
/// The descriptor of a keeper's socket.
const KEEPER_SOCKET: i32 = 3;
/// How long a keeper may take to create a process.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest script that is pinned: half of what the root of a sandbox holds.
const SCRIPT_BYTES_MAX: u64 = 2 << 20;
/// How long a sandbox may take until its program is executed.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether [`run_if_keeper`] was called in this process.
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Becomes the keeper of sandboxes if this process was started as one, and never returns then.
///
/// A confined start needs a small trusted process beside the host: its keeper, which is the
/// host's own program, started once more. So call this as the first thing in `main`, before
/// threads, before arguments are read; in an ordinary start it does nothing.
pub fn run_if_keeper() {
    HOOKED.store(true, Ordering::Relaxed);
    if std::env::args_os().next() != Some(OsString::from(KEEPER_NAME)) {
        return;
    }
    if let Ok(host) = sys::process::inherited(KEEPER_SOCKET) {
        serve::serve(host);
    }
    sys::process::exit(0)
}

/// The program that keepers are started from.
#[derive(Debug, Clone)]
pub struct KeeperProgram(PathBuf);

impl KeeperProgram {
    /// This program, whose `main` has called [`run_if_keeper`].
    ///
    /// # Errors
    /// When it has not.
    pub fn this() -> Result<Self, SpawnError> {
        if HOOKED.load(Ordering::Relaxed) {
            Ok(Self("/proc/self/exe".into()))
        } else {
            Err(SpawnError::NoKeeper)
        }
    }

    /// Another program, whose `main` begins with [`run_if_keeper`]; if it does not, it is a program
    /// that gets an odd name and never answers.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

/// A running keeper. Used from the spawner's thread, whose children the sandboxes are.
pub(crate) struct Keeper {
    /// Never blocks.
    socket: OwnedFd,
    /// How long it may take to answer.
    patience: Duration,
    /// How many requests it was sent.
    sent: u64,
    /// First processes that wait for their plans. Theirs ends when the keeper's socket does.
    spares: Vec<Process>,
}

/// A sandbox's first process, and what the host has of it.
pub(crate) struct Made {
    pub(crate) first: Process,
    /// Counts the kills for memory.
    pub(crate) oom: Option<OwnedFd>,
}

/// What came with an answer.
struct Answered {
    pid: Pid,
    pidfd: OwnedFd,
    oom: Option<OwnedFd>,
}

/// Why a keeper made nothing.
enum Unmade {
    /// It is gone.
    Gone,
    Failed(Failure),
}

impl Keeper {
    /// Starts one.
    pub(crate) fn start(program: &KeeperProgram) -> io::Result<Self> {
        let (socket, there) = channel::pair()?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        let name = CString::new(KEEPER_NAME)?;
        let prepared = Prepared {
            image: Image::Path,
            program: CString::new(program.0.as_os_str().as_bytes())?,
            argv: vec![name],
            envp: Vec::new(),
            working_dir: c"/".into(),
        };
        let (pid, pidfd) = sys::start_keeper(&prepared, there).map_err(sys::Failure::into_io)?;
        // It ends when nobody needs it any more, which may be after this process.
        let reaper = std::thread::Builder::new()
            .name("gk-keeper-end".into())
            .stack_size(64 * 1024);
        reaper.spawn(move || {
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(
                    sys::wait_id(pid, &pidfd),
                    rustix::process::WaitIdOptions::EXITED,
                )
            });
        })?;
        Ok(Self {
            socket,
            patience: KEEPER_TIMEOUT,
            sent: 0,
            spares: Vec::new(),
        })
    }

    /// Has `path` removed once this process is gone.
    pub(crate) fn remove_at_end(&self, path: &Path) -> io::Result<()> {
        channel::send(&self.socket, &Request::RemoveAtEnd(path.into()), &[])
    }

    /// Has a sandbox made.
    fn make(&mut self, plan: Plan, fds: &[OwnedFd]) -> Result<Made, Unmade> {
        let number = self.next();
        let plan = Box::new(plan);
        match self.ask(number, &Request::Start { number, plan }, fds)? {
            Some(Answered { pid, pidfd, oom }) => {
                let spare = self.spares.iter().position(|spare| spare.pid() == pid);
                let first = match spare {
                    Some(spare) => self.spares.swap_remove(spare),
                    None => Process::new(pid, pidfd),
                };
                Ok(Made { first, oom })
            }
            None => Err(Unmade::Gone),
        }
    }

    /// Has a first process ready for the next start, if that has such a plan.
    pub(crate) fn expect(&mut self, plan: Plan) {
        let number = self.next();
        let plan = Box::new(plan);
        // Where it fails, so will the start, which says why.
        if let Ok(Some(made)) = self.ask(number, &Request::Expect { number, plan }, &[]) {
            self.spares.push(Process::new(made.pid, made.pidfd));
        }
    }

    fn next(&mut self) -> u64 {
        // One that ended is reaped here.
        self.spares.retain(|spare| !spare.has_ended());
        self.sent += 1;
        self.sent
    }

    /// Sends a request and waits for its answer.
    fn ask(
        &mut self,
        number: u64,
        request: &Request,
        fds: &[OwnedFd],
    ) -> Result<Option<Answered>, Unmade> {
        let failed = |what: String, errno: Option<i32>| {
            Unmade::Failed(Failure {
                step: FailedStep::Process,
                what,
                errno: errno.unwrap_or(0),
            })
        };
        // A program that is no keeper, or one that hangs, must not stop every start.
        let deadline = Instant::now() + self.patience;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        loop {
            match channel::send_within(channel::REQUEST_BYTES_MAX, &self.socket, request, &fds) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(Unmade::Gone);
                }
                // It has not read the ones before.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, deadline)?;
                }
                Err(error) => {
                    return Err(failed(
                        format!("speak to the keeper of sandboxes ({error})"),
                        error.raw_os_error(),
                    ));
                }
            }
        }
        loop {
            self.wait(PollFlags::IN, deadline)?;
            let (reply, descriptors) = match channel::receive::<Reply>(&self.socket, true) {
                Ok(Some(received)) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(None) | Err(_) => return Err(Unmade::Gone),
            };
            let mut descriptors = descriptors.into_iter();
            let made = match reply.answer {
                Answer::Made { pid } => {
                    let pid = Pid::from_raw(pid).ok_or(Unmade::Gone)?;
                    match descriptors.next() {
                        Some(pidfd) => Some(Answered {
                            pid,
                            pidfd,
                            oom: descriptors.next(),
                        }),
                        // There was no room for it here; the keeper has nothing to do with that.
                        None => {
                            self.end(pid);
                            if reply.number == number {
                                return Err(failed(
                                    "receive the descriptor of a process: too many are open".into(),
                                    Some(libc::EMFILE),
                                ));
                            }
                            None
                        }
                    }
                }
                Answer::Nothing => None,
                Answer::Failed(failure) if reply.number == number => {
                    return Err(Unmade::Failed(failure));
                }
                Answer::Failed(_) => None,
            };
            if reply.number == number {
                return Ok(made);
            }
            // To an earlier request, which was given up. If it was a start, the keeper ends what
            // was made by its lifeline; if not, it may be what the keeper has chosen for this one.
            if let Some(late) = made {
                self.spares.push(Process::new(late.pid, late.pidfd));
            }
        }
    }

    /// Waits until the socket can be read, or written.
    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<(), Unmade> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match rustix::event::poll(&mut [PollFd::new(&self.socket, what)], timeout.as_ref()) {
                Ok(1..) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // Its sandboxes live as long as it is not given up.
                Ok(0) => {
                    return Err(Unmade::Failed(Failure {
                        step: FailedStep::Process,
                        what: format!(
                            "get an answer from the keeper of sandboxes within {:?} (its program has to call gk_sandbox::run_if_keeper)",
                            self.patience
                        ),
                        errno: 0,
                    }));
                }
                Err(_) => return Err(Unmade::Gone),
            }
        }
    }

    /// Ends a process of which only the id is known: a child that nobody has collected.
    fn end(&mut self, pid: Pid) {
        if let Some(spare) = self.spares.iter().position(|spare| spare.pid() == pid) {
            drop(self.spares.swap_remove(spare));
            return;
        }
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let reaper = std::thread::Builder::new()
            .name("gk-reaper".into())
            .stack_size(64 * 1024);
        let _ = reaper.spawn(move || {
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(
                    rustix::process::WaitId::Pid(pid),
                    rustix::process::WaitIdOptions::EXITED,
                )
            });
        });
    }
}

/// A confined start on its way: what the spawner's thread passes to the keeper.
pub(crate) struct Order {
    plan: Plan,
    fds: Vec<OwnedFd>,
}

impl Order {
    /// What may come again, without what only this one has. A probe comes once.
    pub(crate) fn like(&self) -> Option<Plan> {
        (self.plan.executable != Executable::Probe).then(|| Plan {
            argv: Vec::new(),
            envp: Vec::new(),
            ..self.plan.clone()
        })
    }

    /// Has it carried out, by a new keeper if the present one is gone.
    pub(crate) fn carry_out(
        self,
        keeper: &mut Option<Keeper>,
        program: &KeeperProgram,
    ) -> Result<Made, Failure> {
        for _ in 0..2 {
            let present = match keeper {
                Some(present) => present,
                None => keeper.insert(Keeper::start(program).map_err(|error| Failure {
                    step: FailedStep::Process,
                    what: format!(
                        "start the keeper of sandboxes from {} ({error})",
                        program.0.display()
                    ),
                    errno: error.raw_os_error().unwrap_or(0),
                })?),
            };
            match present.make(self.plan.clone(), &self.fds) {
                Ok(made) => return Ok(made),
                Err(Unmade::Failed(failure)) => return Err(failure),
                Err(Unmade::Gone) => *keeper = None,
            }
        }
        Err(Failure {
            step: FailedStep::Process,
            what: format!(
                "get an answer from the keeper of sandboxes ({} has to call gk_sandbox::run_if_keeper)",
                program.0.display()
            ),
            errno: 0,
        })
    }
}

/// What the host keeps of a start.
pub(crate) struct Pending {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    control: OwnedFd,
    lifeline: OwnedFd,
    memory_bytes: u64,
}

/// The host's side of a running sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    control: OwnedFd,
    lifeline: OwnedFd,
    oom: Option<OwnedFd>,
    memory_bytes: u64,
    pub(crate) report: Report,
    /// The directories that its socket may be in, where they are its own.
    pub(crate) directories: Directories,
    end: OnceLock<Option<End>>,
}

/// Prepares a confined start. `probe` executes nothing.
pub(crate) fn prepare(
    spec: &SandboxSpec,
    confinement: &Confinement,
    probe: bool,
) -> Result<(Order, Pending), SpawnError> {
    let prepared = if probe {
        None
    } else {
        Some(Prepared::new(spec)?)
    };
    let plan = plan(spec, confinement, prepared.as_ref())?;
    let open = |source: io::Error| SpawnError::Step {
        step: "open the pipes",
        path: spec.program.path().into(),
        source,
    };
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| open(errno.into()))
    };
    let (stdout, stdout_there) = pipe()?;
    let (stderr, stderr_there) = pipe()?;
    let (control, control_there) = channel::pair().map_err(open)?;
    let (lifeline, lifeline_there) = channel::pair().map_err(open)?;
    let mut fds = vec![control_there, lifeline_there, stdout_there, stderr_there];
    if let Some(Image::Binary(file) | Image::Script(file)) = prepared.map(|start| start.image) {
        fds.push(file.try_clone().map_err(open)?);
    }
    let pending = Pending {
        stdout,
        stderr,
        control,
        lifeline,
        memory_bytes: confinement.resources.memory_bytes,
    };
    Ok((Order { plan, fds }, pending))
}

/// What a start with such a confinement will be like.
pub(crate) fn expectation(confinement: &Confinement) -> Result<Plan, SpawnError> {
    plan(&SandboxSpec::new("/", "/"), confinement, None)
}

fn plan(
    spec: &SandboxSpec,
    confinement: &Confinement,
    prepared: Option<&Prepared>,
) -> Result<Plan, SpawnError> {
    let name = &confinement.name;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
        return Err(SpawnError::SandboxName { name: name.clone() });
    }
    let id = confinement.identity;
    if id.uid == 0 || id.gid == 0 || id.uid == u32::MAX || id.gid == u32::MAX {
        return Err(SpawnError::RootIdentity);
    }
    for path in confinement
        .read_only
        .iter()
        .chain(&confinement.writable)
        .chain(&confinement.socket_dir)
        .chain([&confinement.temp_dir, &spec.working_dir])
    {
        if !path.is_absolute() {
            return Err(SpawnError::RelativePath { path: path.clone() });
        }
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(SpawnError::NulByte {
                what: "a path of the sandbox",
            });
        }
    }
    let (executable, needs) = match prepared {
        None => (Executable::Probe, Needs::Nothing),
        Some(prepared) => match &prepared.image {
            Image::Path => {
                let path = Bytes::from(&prepared.program);
                let needs = std::fs::File::open(path.path())
                    .map_or(Needs::Libraries(None), |file| crate::elf::needs(&file));
                (Executable::Path(path), needs)
            }
            Image::Binary(file) => (Executable::Binary, crate::elf::needs(file.as_ref())),
            Image::Script(file) => {
                let bytes = rustix::fs::fstat(file).map_or(0, |stat| stat.st_size);
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                // Its author chose its size: too large for the root, it must not cost the root.
                if bytes > SCRIPT_BYTES_MAX {
                    return Err(SpawnError::ScriptTooLarge {
                        path: spec.program.path().into(),
                        bytes,
                        max: SCRIPT_BYTES_MAX,
                    });
                }
                (Executable::Script, Needs::Programs)
            }
        },
    };
    let mut read_only: Vec<Bytes> = confinement.read_only.iter().map(Bytes::from).collect();
    if let Executable::Path(path) = &executable {
        read_only.push(path.clone());
    }
    let strings = |list: Option<&Vec<CString>>| -> Vec<Bytes> {
        list.into_iter().flatten().map(Bytes::from).collect()
    };
    let resources = confinement.resources;
    Ok(Plan {
        executable,
        argv: strings(prepared.map(|prepared| &prepared.argv)),
        envp: strings(prepared.map(|prepared| &prepared.envp)),
        working_dir: Bytes::from(&spec.working_dir),
        needs,
        required: confinement.level == Level::Required,
        without: confinement.without,
        name: name.clone(),
        read_only,
        writable: confinement.writable.iter().map(Bytes::from).collect(),
        temp_dir: Bytes::from(&confinement.temp_dir),
        temp_bytes: confinement.temp_bytes,
        socket_dir: confinement.socket_dir.as_ref().map(Bytes::from),
        network: confinement.network,
        uid: id.uid,
        gid: id.gid,
        memory_bytes: resources.memory_bytes,
        processes: resources.processes,
        cpu_millis: resources.cpu_millis,
        open_files: resources.open_files,
        file_bytes: resources.file_bytes,
    })
}

impl Pending {
    /// Waits until the program is executed. Returns the sandbox, or what went wrong.
    ///
    /// Where the first process ended without a word, that is a failure, too; the caller kills and
    /// reaps it in any case.
    pub(crate) fn settle(
        self,
        pidfd: &OwnedFd,
        oom: Option<OwnedFd>,
        probe: bool,
    ) -> Result<(OwnedFd, OwnedFd, Sandbox), Failure> {
        let deadline = Instant::now() + SET_UP_TIMEOUT;
        let mut layers = Vec::new();
        let mut directories = Directories::default();
        let failure = |what: &str| Failure {
            step: FailedStep::Process,
            what: what.to_owned(),
            errno: 0,
        };
        loop {
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or_else(|| failure("set up its sandbox in time"))?;
            let mut fds = [
                PollFd::new(&self.control, PollFlags::IN),
                PollFd::new(pidfd, PollFlags::IN),
            ];
            let timeout = Timespec::try_from(left).ok();
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failure(&format!("wait for its sandbox ({errno})"))),
            }
            let ended = !fds[1].revents().is_empty();
            match channel::receive::<Event>(&self.control, false) {
                Ok(Some((Event::Layers(all), descriptors))) => {
                    layers = all;
                    directories = Directories::received(descriptors);
                }
                Ok(Some((Event::Started, _))) => break,
                Ok(Some((Event::Failed(failed), _))) => return Err(failed),
                Ok(Some((Event::Ended(_), _)) | None) if probe && !layers.is_empty() => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => {}
                Ok(Some((Event::Ended(_), _)) | None) | Err(_) => {
                    return Err(failure("keep its sandbox alive until it was set up"));
                }
            }
        }
        let sandbox = Sandbox {
            control: self.control,
            lifeline: self.lifeline,
            oom,
            memory_bytes: self.memory_bytes,
            report: Report::new(layers),
            directories,
            end: OnceLock::new(),
        };
        Ok((self.stdout, self.stderr, sandbox))
    }
}

impl Sandbox {
    /// Lets go of it: everything in it is killed.
    pub(crate) fn let_go(&self) {
        let _ = rustix::net::shutdown(&self.lifeline, rustix::net::Shutdown::Both);
    }

    /// How the program ended, once the first process has.
    pub(crate) fn end(&self) -> Option<End> {
        *self.end.get_or_init(|| {
            loop {
                match channel::receive::<Event>(&self.control, false) {
                    Ok(Some((Event::Ended(end), _))) => return Some(end),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        })
    }

    /// The limit it was killed for, if it was: `signal` ended it.
    pub(crate) fn killed_for_memory(&self, signal: i32) -> Option<u64> {
        let by_watchdog = self.end().is_some_and(|end| end.memory);
        let by_group = signal == libc::SIGKILL
            && self.oom.as_ref().is_some_and(|counter| {
                crate::layers::cgroup::oom_kills(counter).is_ok_and(|kills| kills > 0)
            });
        (by_watchdog || by_group).then_some(self.memory_bytes)
    }
}

/// The error a person can act on.
pub(crate) fn explain(failure: Failure, spec: &SandboxSpec) -> SpawnError {
    let path = spec.program.path().to_owned();
    let Failure { step, what, errno } = failure;
    let source = if errno == 0 {
        io::Error::other("no more is known")
    } else {
        io::Error::from_raw_os_error(errno)
    };
    match step {
        FailedStep::Layer(layer) => SpawnError::Layer {
            layer,
            why: what,
            remedy: crate::report::remedy(layer, Some(errno).filter(|errno| *errno != 0)),
            source,
        },
        FailedStep::Paths => SpawnError::Paths { what },
        FailedStep::WorkingDir => SpawnError::WorkingDir {
            path: spec.working_dir.clone(),
            source,
        },
        FailedStep::Exec => sys::Failure::new(sys::Step::Exec, source).explain(spec),
        FailedStep::Process => SpawnError::Sandbox { what, path, source },
    }
}

/// Whether it is worth another try: somebody still writes the program.
pub(crate) fn is_text_busy(failure: &Failure) -> bool {
    failure.step == FailedStep::Exec && failure.errno == libc::ETXTBSY
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::sys::trial::{Beside, beside};

    /// The host's side, and the end at which its keeper would be.
    fn keeper() -> (Keeper, OwnedFd) {
        let (socket, there) = channel::pair().unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        let keeper = Keeper {
            socket,
            patience: Duration::from_millis(200),
            sent: 0,
            spares: Vec::new(),
        };
        (keeper, there)
    }

    fn answer(from: &OwnedFd, number: u64, pid: Pid, descriptors: &[BorrowedFd<'_>]) {
        let pid = pid.as_raw_pid();
        let answer = Answer::Made { pid };
        channel::send(from, &Reply { number, answer }, descriptors).unwrap();
    }

    /// One that waits, and its pidfd.
    fn waiting() -> (Beside, OwnedFd) {
        let process = beside(|| {
            loop {
                let _ = rustix::event::poll(&mut [], None);
            }
        });
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = rustix::process::pidfd_open(process.pid, flags).unwrap();
        (process, pidfd)
    }

    fn request() -> Request {
        Request::RemoveAtEnd(Path::new("/nothing").into())
    }

    /// The keeper was slow, so the host no longer waits for the process that was to be ready; then
    /// the keeper gives that one to the next start.
    #[test]
    fn one_that_was_made_too_late_is_still_good_for_the_next_start() {
        let (mut keeper, there) = keeper();
        let (process, pidfd) = waiting();
        answer(&there, 1, process.pid, &[pidfd.as_fd()]);
        answer(&there, 2, process.pid, &[pidfd.as_fd()]);
        let Ok(Some(made)) = keeper.ask(2, &request(), &[]) else {
            panic!("it is not made");
        };
        assert_eq!(made.pid, process.pid);
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        let soon = Timespec::try_from(Duration::from_millis(100)).unwrap();
        assert_eq!(rustix::event::poll(&mut ended, Some(&soon)), Ok(0));
    }

    /// A host that has no descriptor left loses this start, and not its keeper with all sandboxes.
    #[test]
    fn a_descriptor_that_is_lost_is_no_reason_to_give_up_the_keeper() {
        let (mut keeper, there) = keeper();
        let (process, pidfd) = waiting();
        answer(&there, 1, process.pid, &[]);
        let Err(Unmade::Failed(failure)) = keeper.ask(1, &request(), &[]) else {
            panic!("the keeper is given up");
        };
        assert_eq!(failure.errno, libc::EMFILE);
        // What nobody can watch is not left running.
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(Duration::from_secs(120)).unwrap();
        assert_eq!(rustix::event::poll(&mut ended, Some(&timeout)), Ok(1));
    }

    /// What it does not read fills the socket in the end; the thread that starts everything must not
    /// wait for that without end.
    #[test]
    fn a_keeper_that_reads_nothing_stops_nobody() {
        let (mut keeper, _there) = keeper();
        let long = Request::RemoveAtEnd(Bytes(vec![b'/'; channel::REQUEST_BYTES_MAX / 2]));
        for number in 1..8 {
            assert!(matches!(
                keeper.ask(number, &long, &[]),
                Err(Unmade::Failed(_))
            ));
        }
    }
}
