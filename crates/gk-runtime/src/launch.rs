//! How a plugin process is started and spoken to, behind a trait: tests start none.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use gk_manifest::PluginName;
use gk_protocol::PROTOCOL_VERSION;
use gk_sandbox::socket::{ExpectedPeer, SocketError};
use gk_sandbox::{Child, ExitStatus, SandboxSpec, SpawnError, Spawner};
use gk_sign::VerifiedArtifact;
use gk_wire::{Handshake, Network, Protocol};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::dirs::{self, DirError, SocketDir, SocketRoot};
use crate::environment;

/// What to start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LaunchRequest {
    /// The plugin.
    pub plugin: PluginName,
    /// The number of its process, from 1.
    pub generation: u64,
    /// What was verified; its bytes are what is to be executed.
    pub artifact: Arc<VerifiedArtifact>,
    /// Where the binary was found, absolute: for the process's own name and for messages, not to be
    /// executed.
    pub program: PathBuf,
    /// The plugin's package, absolute.
    pub plugin_dir: PathBuf,
    /// The directory it starts in, absolute; exists.
    pub work_dir: PathBuf,
    /// Whether it may use the network.
    pub network: bool,
    /// How many bytes of memory it may have.
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

/// A stream of a plugin's output.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A started plugin process.
#[non_exhaustive]
pub struct Launched {
    /// The process.
    pub process: Box<dyn Process>,
    /// What it prints on stdout, the handshake line first.
    pub stdout: Output,
    /// What it prints on stderr.
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
    /// Its id, where it has one.
    fn pid(&self) -> Option<u32>;
    /// Resolves when it has ended, with how. Cancel-safe; may be asked again.
    async fn exited(&self) -> ExitStatus;
    /// Kills it and what it started.
    fn kill(&self);
    /// Connects to where it says it listens, if that is a place it may name.
    ///
    /// # Errors
    /// [`LaunchError`] says why not.
    async fn connect(&self, handshake: &Handshake) -> Result<UnixStream, LaunchError>;
}

/// A process was not started, or not connected to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A directory it needs cannot be had.
    #[error("one of its directories cannot be used")]
    Directory(#[from] DirError),
    /// The process cannot be started.
    #[error("its process cannot be started")]
    Spawn(#[from] SpawnError),
    /// Its output cannot be read.
    #[error("its output cannot be read")]
    Pipes(#[source] io::Error),
    /// Its handshake names what the host does not speak or a place it may not listen at.
    #[error("its handshake is refused: {why}")]
    Refused {
        /// What is wrong, and what to do.
        why: String,
    },
    /// Its socket is not what it should be.
    #[error("its socket is refused")]
    Socket(#[from] SocketError),
}

/// Starts real processes through a [`Spawner`], each with the contract's minimal environment.
#[derive(Debug)]
pub struct ProcessLauncher {
    spawner: Arc<Spawner>,
    temp_root: PathBuf,
    sockets: SocketRoot,
    timezone: Option<OsString>,
}

impl ProcessLauncher {
    /// A launcher that keeps plugins' temporary directories and sockets below `temp_root`, and
    /// passes on `timezone` as `TZ`.
    ///
    /// # Errors
    /// When the directory for sockets cannot be created, or the thread not be started.
    pub fn new(temp_root: &Path, timezone: Option<OsString>) -> Result<Self, crate::StartError> {
        let temp_root =
            temp_root
                .canonicalize()
                .map_err(|source| crate::StartError::Directory {
                    what: "temporary directory",
                    path: temp_root.into(),
                    source,
                })?;
        let sockets = SocketRoot::create(&temp_root)?;
        let spawner = Arc::new(Spawner::new().map_err(crate::StartError::Spawner)?);
        Ok(Self {
            spawner,
            temp_root,
            sockets,
            timezone,
        })
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        let temp_dir = dirs::plugin_temp(&self.temp_root, request.plugin.as_str())?;
        let socket_dir = self.sockets.process()?;
        let program = program(&request, &socket_dir)?;
        let mut spec = SandboxSpec::new(program, request.work_dir);
        spec.env = environment::process(
            &temp_dir,
            socket_dir.path(),
            request.network,
            self.timezone.clone(),
        );
        let spawner = Arc::clone(&self.spawner);
        let child = tokio::task::spawn_blocking(move || spawner.spawn(spec))
            .await
            .map_err(|_| SpawnError::SpawnerGone)??;

        let (stdout, stderr) = child.clone_pipes().map_err(LaunchError::Pipes)?;
        let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(LaunchError::Pipes)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(LaunchError::Pipes)?;
        let pidfd = watchable(&child).map_err(LaunchError::Pipes)?;
        let process = PluginProcess {
            pidfd,
            child,
            socket_dir,
            _artifact: request.artifact,
        };
        Ok(Launched::new(
            Box::new(process),
            Box::new(stdout),
            Box::new(stderr),
        ))
    }
}

/// What is executed: the verified bytes, by a name that leads to the memory they are in. The path they
/// came from is not looked at again.
///
/// The name is in a directory that only this user can write; the program's own name is its last part, by which plugins
/// know themselves.
fn program(request: &LaunchRequest, socket_dir: &SocketDir) -> Result<PathBuf, DirError> {
    let name = request.program.file_name().unwrap_or(OsStr::new("plugin"));
    socket_dir.name(name, &pinned(&request.artifact))
}

/// A path to the pinned bytes that holds in another process, too.
#[cfg(target_os = "linux")]
fn pinned(artifact: &VerifiedArtifact) -> PathBuf {
    let fd = artifact.as_fd().as_raw_fd();
    format!("/proc/{}/fd/{fd}", std::process::id()).into()
}

#[cfg(not(target_os = "linux"))]
fn pinned(artifact: &VerifiedArtifact) -> PathBuf {
    artifact.exec_path()
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
    /// An interpreter opens its script by a path that leads here.
    _artifact: Arc<VerifiedArtifact>,
}

#[async_trait]
impl Process for PluginProcess {
    fn pid(&self) -> Option<u32> {
        Some(self.child.pid())
    }

    async fn exited(&self) -> ExitStatus {
        loop {
            if let Ok(Some(status)) = self.child.status() {
                return status;
            }
            match self.pidfd.readable().await {
                // Level-triggered in effect: an ended process's pidfd stays readable.
                Ok(mut ready) => ready.clear_ready_matching(tokio::io::Ready::READABLE),
                // The runtime is shutting down; nobody will ask again.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn kill(&self) {
        if let Err(error) = self.child.kill_group() {
            tracing::error!(pid = self.child.pid(), %error, "a plugin's process group could not be killed");
        }
    }

    async fn connect(&self, handshake: &Handshake) -> Result<UnixStream, LaunchError> {
        let path =
            check(handshake, self.socket_dir.path()).map_err(|why| LaunchError::Refused { why })?;
        let uid = rustix::process::geteuid().as_raw();
        let expected = ExpectedPeer {
            uid,
            session: Some(self.child.pid()),
        };
        let stream = gk_sandbox::socket::connect(&path, expected)?;
        UnixStream::from_std(stream).map_err(LaunchError::Pipes)
    }
}

/// The socket's path, if the handshake is one that a plugin started here may print.
fn check(handshake: &Handshake, socket_dir: &Path) -> Result<PathBuf, String> {
    if handshake.app_version != PROTOCOL_VERSION {
        return Err(format!(
            "it speaks version {} of the plugin protocol, this host version {PROTOCOL_VERSION}; rebuild it with a matching SDK",
            handshake.app_version
        ));
    }
    if !matches!(handshake.protocol, Protocol::NetRpc) {
        return Err("it speaks gRPC, this host net/rpc; serve the plugin with the SDK's grpcutil.ServePlugin".into());
    }
    if handshake.cert.is_some() {
        return Err(
            "it sends a certificate that nobody asked for; serve the plugin without TLS".into(),
        );
    }
    if !matches!(handshake.network, Network::Unix) {
        return Err("it listens on TCP; a plugin must listen on a unix socket".into());
    }
    let path = Path::new(&handshake.address);
    // The parent is compared as a whole: a deeper path could lead elsewhere through a link.
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let named = path
        .as_os_str()
        .to_str()
        .is_some_and(|path| !path.contains("/../") && !path.contains("/./"));
    if !plain || !named || path.parent() != Some(socket_dir) || path.file_name().is_none() {
        return Err(format!(
            "its socket {} is not directly in PLUGIN_UNIX_SOCKET_DIR, {}; create it there",
            path.display(),
            socket_dir.display()
        ));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<PathBuf, String> {
        check(
            &Handshake::parse(line.as_bytes()).unwrap(),
            Path::new("/tmp/s/1"),
        )
    }

    #[test]
    fn only_a_socket_in_the_private_directory_is_connected_to() {
        assert_eq!(
            checked("1|1|unix|/tmp/s/1/plugin7|netrpc|").unwrap(),
            Path::new("/tmp/s/1/plugin7")
        );
        for (line, why) in [
            ("1|2|unix|/tmp/s/1/p|netrpc|", "version 2"),
            ("1|1|tcp|127.0.0.1:1234|netrpc|", "TCP"),
            ("1|1|unix|/tmp/s/1/p|grpc|", "gRPC"),
            ("1|1|unix|/tmp/s/1/../2/p|netrpc|", "not directly in"),
            ("1|1|unix|/tmp/s/1/..|netrpc|", "not directly in"),
            ("1|1|unix|/tmp/s/1/.|netrpc|", "not directly in"),
            ("1|1|unix|/tmp/s/1/link/p|netrpc|", "not directly in"),
            ("1|1|unix|/tmp/s/10/p|netrpc|", "not directly in"),
            ("1|1|unix|/run/docker.sock|netrpc|", "not directly in"),
            ("1|1|unix|p|netrpc|", "not directly in"),
        ] {
            let refused = checked(line).unwrap_err();
            assert!(refused.contains(why), "{line}: {refused}");
        }
        let cert = "A".repeat(400);
        assert!(
            checked(&format!("1|1|unix|/tmp/s/1/p|netrpc|{cert}"))
                .unwrap_err()
                .contains("certificate")
        );
    }
}
