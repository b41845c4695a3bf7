//! A confined start, as the host makes it: the plan, what goes to the keeper, and what comes back.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::client::{AskError, FirstProcess, Keeper};
use super::message::{Event, Executable, FailedStep, Failure, Plan};
use super::root::Directories;
use super::sandbox::Sandbox;
use super::{KeeperProgram, channel};
use crate::bytes::Bytes;
use crate::elf::Needs;
use crate::report::Report;
use crate::spec::Confinement;
use crate::sys::{Image, Prepared};
use crate::{SandboxSpec, SpawnError, Strictness};

/// Maximum size of a pinned script, in bytes: half of what the root of a sandbox holds.
const SCRIPT_BYTES_MAX: u64 = 2 << 20;
/// Maximum time from the request to the execution of the program.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// A confined start that the spawner's thread passes to the keeper.
pub(crate) struct StartRequest {
    plan: Plan,
    fds: Vec<OwnedFd>,
}

impl StartRequest {
    /// The plan of the next start, if that is like this one. A probe is made once.
    pub(crate) fn next_plan(&self) -> Option<Plan> {
        (self.plan.executable != Executable::Probe).then(|| Plan {
            argv: Vec::new(),
            envp: Vec::new(),
            ..self.plan.clone()
        })
    }

    /// Has the keeper make the sandbox; starts a new keeper if the present one is gone.
    pub(crate) fn carry_out(
        self,
        keeper: &mut Option<Keeper>,
        program: &KeeperProgram,
    ) -> Result<FirstProcess, Failure> {
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
                Err(AskError::Failed(failure)) => return Err(failure),
                Err(AskError::Gone) => *keeper = None,
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

/// The host's ends of a start that is under way.
pub(crate) struct PendingStart {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    control: OwnedFd,
    lifeline: OwnedFd,
    memory_bytes: u64,
}

/// Prepares a confined start. `probe` executes nothing.
pub(crate) fn prepare(
    spec: &SandboxSpec,
    confinement: &Confinement,
    probe: bool,
) -> Result<(StartRequest, PendingStart), SpawnError> {
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
    let pending = PendingStart {
        stdout,
        stderr,
        control,
        lifeline,
        memory_bytes: confinement.resources.memory_bytes,
    };
    Ok((StartRequest { plan, fds }, pending))
}

/// The plan of a start with such a confinement, as far as it is known ahead.
pub(crate) fn prepared_plan(confinement: &Confinement) -> Result<Plan, SpawnError> {
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
                // The script's author chose its size. A script that does not fit must not fail the
                // root, which would then be built without.
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
        required: confinement.level == Strictness::Required,
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

impl PendingStart {
    /// Waits until the program is executed. Returns the sandbox, or the step that failed.
    ///
    /// A first process that ends without a message is a failure, too. The caller kills and reaps it
    /// in any case.
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
