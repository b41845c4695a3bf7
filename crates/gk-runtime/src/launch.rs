//! Starting a plugin process and connecting to it, behind a trait: tests start no process.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use gk_manifest::PluginName;
use gk_protocol::host::{SocketPlace, socket_place};
use gk_sandbox::socket::ExpectedPeer;
use gk_sandbox::{
    Child, ExitStatus, Layer, Program, Report, SandboxSpec, SpawnError, Spawner, State,
};
use gk_sign::VerifiedArtifact;
use gk_wire::Handshake;
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::config::{RuntimeConfig, made};
use crate::dirs::{PluginTemp, SocketDir, SocketRoot};
use crate::environment::{self, ProcessEnvironment};
use crate::error::{LaunchError, StartError};
use crate::hints::Hints;
use crate::identity::Identities;
use crate::log::Output;
use crate::sandbox::SandboxConfig;

/// Request to start a process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LaunchRequest {
    /// Name of the plugin.
    pub plugin: PluginName,
    /// The number of its process, from 1.
    pub generation: u64,
    /// The verified artifact; its bytes are executed.
    pub artifact: Arc<VerifiedArtifact>,
    /// Path at which the binary was found, absolute: for the process's own name and for messages,
    /// not to be executed.
    pub program: PathBuf,
    /// The plugin's package as it was judged, absolute and without links.
    pub plugin_dir: PathBuf,
    /// Files and directories outside of the package that links in it lead to.
    pub linked: Vec<PathBuf>,
    /// Tell the plugin that it may use the network.
    pub network: bool,
    /// Limit of its memory in bytes.
    pub memory_bytes: u64,
}

/// Starts plugin processes.
#[async_trait]
pub trait Launcher: Send + Sync + fmt::Debug + 'static {
    /// Starts one.
    ///
    /// # Errors
    /// [`LaunchError`] says what failed and what to do.
    async fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError>;
}

/// A started plugin process.
#[non_exhaustive]
pub struct Launched {
    /// Handle of the process.
    pub process: Box<dyn Process>,
    /// Standard output of the process, beginning with the handshake line.
    pub stdout: Output,
    /// Standard error of the process.
    pub stderr: Output,
}

impl Launched {
    /// A started process and its output.
    pub fn new(process: Box<dyn Process>, stdout: Output, stderr: Output) -> Self {
        Self {
            process,
            stdout,
            stderr,
        }
    }
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// A plugin process, not yet reaped. Dropping it kills what is left of it and removes its files.
#[async_trait]
pub trait Process: Send + Sync + fmt::Debug + 'static {
    /// Process id, if there is one.
    fn pid(&self) -> Option<u32>;
    /// Resolves when the process has ended, with its status. Cancel-safe; may be called again.
    async fn exited(&self) -> ExitStatus;
    /// State of its sandbox's layers; `None` if the process is not confined.
    fn sandbox(&self) -> Option<Arc<Report>> {
        None
    }
    /// Kills it and what it started.
    fn kill(&self);
    /// Connects to where it says it listens, if that is a place it may name.
    ///
    /// # Errors
    /// [`LaunchError`] says why not.
    async fn connect(&self, handshake: &Handshake) -> Result<UnixStream, LaunchError>;
}

/// Starts real processes through a [`Spawner`], each with the contract's minimal environment, and
/// each in a sandbox if there are any.
#[derive(Debug)]
pub struct ProcessLauncher {
    spawner: Arc<Spawner>,
    temp_root: PathBuf,
    sockets: SocketRoot,
    timezone: Option<OsString>,
    sandbox: Option<SandboxConfig>,
    identities: Identities,
    hints: Hints,
    /// Last warning about missing layers, which are the same for every plugin.
    last_warning: Mutex<String>,
}

impl ProcessLauncher {
    /// A launcher for the plugins of a runtime with this configuration.
    ///
    /// # Errors
    /// When a directory cannot be created, or the thread not be started.
    pub fn new(config: &RuntimeConfig) -> Result<Self, StartError> {
        let temp_root = config
            .temp_dir
            .canonicalize()
            .map_err(|source| StartError::Directory {
                what: "temporary directory",
                path: config.temp_dir.clone(),
                source,
            })?;
        let work_root = made("data directory", &config.data_dir)?.join("plugins");
        let spawner = match &config.sandbox {
            Some(sandbox) => Spawner::with_keeper(sandbox.keeper.clone()),
            None => {
                tracing::warn!(
                    "plugins are not confined: each can do whatever the host's user can"
                );
                Spawner::new()
            }
        };
        let spawner = Arc::new(spawner.map_err(StartError::Spawner)?);
        if let Some(sandbox) = &config.sandbox {
            spawner.prepare(&sandbox.default_confinement("expected", temp_root.clone()));
        }
        let sockets = SocketRoot::create(&temp_root)?;
        spawner.remove_at_end(sockets.path());
        Ok(Self {
            spawner,
            temp_root,
            sockets,
            timezone: config.timezone.clone(),
            sandbox: config.sandbox.clone(),
            identities: Identities::new(work_root),
            hints: config.hints,
            last_warning: Mutex::default(),
        })
    }

    /// Returns true if each plugin gets a user of its own, as far as the host can give it one.
    fn gives_users(&self) -> bool {
        self.sandbox
            .as_ref()
            .is_some_and(|sandbox| !sandbox.without.has(Layer::Identity))
    }

    /// Warns once in the host's log of missing layers.
    fn warn_of_missing_layers(&self, report: &Report) {
        let text = report.to_string();
        let mut last = self.last_warning.lock();
        if report.missing().next().is_some() && *last != text {
            tracing::warn!(missing = %text, "plugins run in a sandbox that is not complete; {}", self.hints.sandbox);
            *last = text;
        }
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        let name = request.plugin.as_str();
        let sandbox = self.sandbox.as_ref();
        let sandbox = sandbox.filter(|sandbox| !sandbox.off.contains(&request.plugin));
        let gives_user = sandbox.is_some() && self.gives_users();
        let (work_dir, identity) = self.identities.work_dir(name, gives_user)?;
        let temp_dir = PluginTemp::create(&self.temp_root, name, identity)?;
        let temp_path = temp_dir.path().to_owned();
        let socket_dir = self.sockets.process(identity)?;
        let program = program(request.program, &request.artifact)?;
        let mut spec = SandboxSpec::new(program, work_dir.clone());
        let direct =
            sandbox.is_some_and(|sandbox| sandbox.direct_network.contains(&request.plugin));
        spec.env = environment::process(ProcessEnvironment {
            temp_dir: &temp_path,
            socket_dir: socket_dir.path(),
            network: request.network || direct,
            timezone: self.timezone.clone(),
            memory_bytes: sandbox.map(|_| request.memory_bytes),
            cpu_millis: sandbox.and_then(|sandbox| sandbox.cpu_millis),
        });
        spec.confinement = sandbox.map(|sandbox| {
            let mut confinement = sandbox.confinement(&request.plugin, temp_path.clone());
            confinement.read_only.push(request.plugin_dir);
            confinement.read_only.extend(request.linked);
            confinement.writable.push(work_dir);
            confinement.socket_dir = Some(socket_dir.path().into());
            confinement.resources.memory_bytes = request.memory_bytes;
            if let Some(identity) = identity {
                confinement.identity = identity;
            }
            confinement
        });
        let spawner = Arc::clone(&self.spawner);
        let child = tokio::task::spawn_blocking(move || spawner.spawn(spec))
            .await
            .map_err(|_| SpawnError::SpawnerGone)??;

        let report = child.report();
        let holds = |layer| {
            let entry = report.get(layer);
            entry.is_some_and(|entry| entry.state == State::Enforced)
        };
        // With mounts the process has a directory inside; this one is for a machine without.
        let temp_dir = Some(temp_dir).filter(|_| !holds(Layer::Mount));
        let own = holds(Layer::Identity);
        let uid = match identity {
            Some(identity) if own => identity.uid,
            _ => rustix::process::geteuid().as_raw(),
        };
        let sandbox = sandbox.is_some().then(|| Arc::new(report));
        if let Some(report) = &sandbox {
            self.warn_of_missing_layers(report);
        }
        let (stdout, stderr) = child.clone_pipes().map_err(LaunchError::Pipes)?;
        let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(LaunchError::Pipes)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(LaunchError::Pipes)?;
        let pidfd = watchable(&child).map_err(LaunchError::Pipes)?;
        let program_pid = child.program_pid();
        let process = PluginProcess {
            pidfd,
            child,
            socket_dir,
            temp_path,
            temp_dir,
            uid,
            sandbox,
            program_pid,
        };
        Ok(Launched::new(
            Box::new(process),
            Box::new(stdout),
            Box::new(stderr),
        ))
    }
}

/// The pinned bytes, as what is executed.
fn program(name: PathBuf, artifact: &VerifiedArtifact) -> Result<Program, LaunchError> {
    let file = artifact
        .as_fd()
        .try_clone_to_owned()
        .map_err(LaunchError::Pipes)?;
    Ok(Program::Pinned {
        name,
        file: Arc::new(file),
    })
}

/// The pidfd, registered with tokio.
#[expect(
    deprecated,
    reason = "the successor is an unsafe fn because of types that change their descriptor; an OwnedFd does not"
)]
fn watchable(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(child.pidfd().try_clone_to_owned()?, Interest::READABLE)
}

/// A real process and the directory of its socket.
#[derive(Debug)]
struct PluginProcess {
    pidfd: AsyncFd<OwnedFd>,
    child: Child,
    socket_dir: SocketDir,
    /// Path of its temporary directory inside the sandbox.
    temp_path: PathBuf,
    /// The host's directory of that path, unless the process has one of its own.
    temp_dir: Option<PluginTemp>,
    /// The user it runs as.
    uid: u32,
    sandbox: Option<Arc<Report>>,
    /// Id of the program, for display.
    program_pid: Option<u32>,
}

#[async_trait]
impl Process for PluginProcess {
    fn pid(&self) -> Option<u32> {
        self.program_pid
    }

    async fn exited(&self) -> ExitStatus {
        loop {
            if let Ok(Some(status)) = self.child.status() {
                return status;
            }
            match self.pidfd.readable().await {
                // Level-triggered in effect: an ended process's pidfd stays readable.
                Ok(mut ready) => ready.clear_ready_matching(tokio::io::Ready::READABLE),
                // The runtime is shutting down; the result is not awaited any more.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn sandbox(&self) -> Option<Arc<Report>> {
        self.sandbox.clone()
    }

    fn kill(&self) {
        if let Err(error) = self.child.kill_group() {
            tracing::error!(pid = self.child.pid(), %error, "a plugin's process group could not be killed");
        }
    }

    async fn connect(&self, handshake: &Handshake) -> Result<UnixStream, LaunchError> {
        let (path, place) = socket_place(handshake, self.socket_dir.path(), &self.temp_path)
            .map_err(|why| LaunchError::Refused { why })?;
        let dir = match place {
            SocketPlace::SocketDir => self.child.sockets(),
            SocketPlace::TempDir => self
                .child
                .temp_dir()
                .or_else(|| self.temp_dir.as_ref().map(PluginTemp::dir)),
        };
        let expected = ExpectedPeer {
            uid: self.uid,
            session: Some(self.child.pid()),
        };
        let stream = gk_sandbox::socket::connect(&path, dir, expected)?;
        UnixStream::from_std(stream).map_err(LaunchError::Pipes)
    }
}
