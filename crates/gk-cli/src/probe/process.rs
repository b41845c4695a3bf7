//! A process of a plugin.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gk_protocol::host::{
    ConnectOptions, HostApiHandler, PluginConnection, SocketPlace, connect, socket_place,
};
use gk_protocol::{Handshake, handshake_config};
use gk_sandbox::socket::ExpectedPeer;
use gk_sandbox::{
    Child, Confinement, ExitStatus, KeeperProgram, Layer, SandboxSpec, Spawner, State,
};
use gk_wire::handshake::MAX_LINE_BYTES;
use gk_wire::handshake::env::UNIX_SOCKET_DIR;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::failure::{Exit, Failure};

/// Output that is kept of each stream, in bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Value of PATH for plugins, as a host sets it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Interval at which the process is asked for its end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Program to start.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The binary, absolute.
    pub(crate) binary: PathBuf,
    /// The directory of its package, absolute.
    pub(crate) package: PathBuf,
    /// The plugin's name, for its configuration.
    pub(crate) name: String,
}

/// Lines of a stream.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The first bytes.
    pub(crate) kept: Vec<u8>,
    /// Number of all lines.
    pub(crate) bytes: u64,
    /// The most bytes without an end of line.
    pub(crate) longest: u64,
    run: u64,
    is_over: bool,
}

impl Said {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().take(room));
        for &byte in bytes {
            self.run = if byte == b'\n' { 0 } else { self.run + 1 };
            self.longest = self.longest.max(self.run);
        }
    }

    /// As text, for people.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// A stream that is being read.
pub(crate) type Stream = Arc<Mutex<Said>>;

/// The lines of a stream so far.
pub(crate) fn said<T>(stream: &Stream, look: impl FnOnce(&Said) -> T) -> T {
    look(&stream.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A started process.
pub(crate) struct Process {
    child: Child,
    dirs: TempDir,
    uid: u32,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
    /// Output that the plugin prints through its SDK.
    pub(crate) printed: [Stream; 2],
}

/// Starts processes: plainly, or in a sandbox.
pub(crate) struct Starter {
    spawner: Spawner,
    is_confined: bool,
}

impl Starter {
    /// For the plugins of whoever runs this.
    pub(crate) fn plain() -> Result<Self, Failure> {
        let spawner = Spawner::new().map_err(|error| broken(&error))?;
        Ok(Starter {
            spawner,
            is_confined: false,
        })
    }

    /// For plugins of strangers.
    pub(crate) fn confined() -> Result<Self, Failure> {
        let keeper = KeeperProgram::this().map_err(|error| broken(&error))?;
        let spawner = Spawner::with_keeper(keeper).map_err(|error| broken(&error))?;
        Ok(Starter {
            spawner,
            is_confined: true,
        })
    }

    /// Starts a process; with `cookie` it is told, as by a host, that one speaks with it.
    pub(crate) fn start(&self, subject: &Subject, cookie: bool) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("it cannot be started: {error}");
        let dirs = tempfile::Builder::new()
            .prefix("gk-probe-")
            .tempdir()
            .map_err(failed)?;
        let (temp, sockets, work) = (
            dirs.path().join("tmp"),
            dirs.path().join("s"),
            dirs.path().join("work"),
        );
        for dir in [&temp, &sockets, &work] {
            std::fs::create_dir(dir).map_err(failed)?;
        }
        let mut spec = SandboxSpec::new(subject.binary.clone(), work.clone());
        let mut env = BTreeMap::new();
        if cookie {
            let variables = handshake_config().environment().into_iter();
            env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        }
        env.insert("PATH".into(), PATH.into());
        env.insert("HOME".into(), temp.clone().into());
        env.insert("TMPDIR".into(), temp.clone().into());
        env.insert(UNIX_SOCKET_DIR.into(), sockets.clone().into());
        spec.env = env;
        if self.is_confined {
            let mut confinement = Confinement::new(&*subject.name, temp);
            confinement.read_only.push(subject.package.clone());
            confinement.writable.push(work);
            confinement.socket_dir = Some(sockets);
            spec.confinement = Some(confinement);
        }
        let inside = spec
            .confinement
            .as_ref()
            .map(|confinement| confinement.identity.uid);
        let child = self
            .spawner
            .spawn(spec)
            .map_err(|error| format!("it cannot be started: {}", chain(&error)))?;
        let report = child.report();
        let has_own = report
            .get(Layer::Identity)
            .is_some_and(|entry| entry.state == State::Enforced);
        let own = rustix::process::geteuid().as_raw();
        let (stdout, stderr) = child.clone_pipes().map_err(failed)?;
        Ok(Process {
            child,
            dirs,
            uid: inside.filter(|_| has_own).unwrap_or(own),
            stdout: read(File::from(stdout)),
            stderr: read(File::from(stderr)),
            printed: Default::default(),
        })
    }
}

/// Reads a pipe to its end, on a thread: whoever starts a plugin must, or it stalls.
fn read(mut pipe: File) -> Stream {
    let stream = Stream::default();
    let reading = Arc::clone(&stream);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let bytes = buffer.get(..read).unwrap_or_default();
            reading
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(bytes);
        }
        reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_over = true;
    });
    stream
}

impl Process {
    /// The first of its processes, whose session all others are in.
    pub(crate) fn session(&self) -> u32 {
        self.child.pid()
    }

    /// The exit status, if the process has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child.status().ok().flatten()
    }

    /// Waits until it has ended.
    pub(crate) async fn end(&self, limit: Duration) -> Option<ExitStatus> {
        until(limit, || self.ended()).await
    }

    /// The last lines of stderr, for messages.
    pub(crate) fn last_words(&self) -> String {
        let text = said(&self.stderr, Said::text);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = lines.iter().rev().take(3).rev();
        let last: Vec<_> = last.map(|line| line.trim()).collect();
        match last.is_empty() {
            true => String::new(),
            false => format!("; it printed: {}", last.join(" / ")),
        }
    }

    /// Waits for its first line, which must be the handshake, with nothing before it.
    pub(crate) async fn handshake(&self, limit: Duration) -> Result<(Handshake, String), String> {
        let line = until(limit, || {
            said(&self.stdout, |said| {
                let end = said.kept.iter().position(|byte| *byte == b'\n');
                match end {
                    Some(end) => Some(Ok(said.kept.get(..end).unwrap_or_default().to_vec())),
                    None if said.kept.len() > MAX_LINE_BYTES => Some(Err(format!(
                        "it printed {} bytes without an end of line instead of a handshake; print nothing on stdout before ServePlugin",
                        said.bytes
                    ))),
                    None if said.is_over => Some(Err(format!(
                        "its stdout ended without a handshake line ({:?})",
                        said.text()
                    ))),
                    None => None,
                }
            })
        })
        .await;
        let line = match line {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                let how = self.end(Duration::from_secs(2)).await;
                let how = how
                    .map(|how| format!("; the process ended: {how}"))
                    .unwrap_or_default();
                return Err(format!("{error}{how}{}", self.last_words()));
            }
            None => {
                return Err(format!(
                    "no handshake after {} s; serve the plugin with the SDK (ServePlugin, Plugin::run){}",
                    limit.as_secs(),
                    self.last_words()
                ));
            }
        };
        let shown = String::from_utf8_lossy(&line).into_owned();
        let handshake = Handshake::parse(&line).map_err(|error| {
            format!("its first line is no handshake ({shown:?}): {error}; print nothing on stdout before it")
        })?;
        Ok((handshake, shown))
    }

    /// Connects to the socket that the handshake names, if it is one that a host connects to.
    pub(crate) fn socket(&self, handshake: &Handshake) -> Result<UnixStream, String> {
        let (sockets, temp) = (self.dirs.path().join("s"), self.dirs.path().join("tmp"));
        let (path, place) = socket_place(handshake, &sockets, &temp)?;
        let dir = match place {
            SocketPlace::SocketDir => self.child.sockets(),
            SocketPlace::TempDir => self.child.temp_dir(),
        };
        let expected = ExpectedPeer {
            uid: self.uid,
            session: Some(self.child.pid()),
        };
        let stream = gk_sandbox::socket::connect(&path, dir, expected)
            .map_err(|error| format!("its socket cannot be used: {}", chain(&error)))?;
        UnixStream::from_std(stream).map_err(|error| error.to_string())
    }

    /// Opens the connection, and reads what it prints through its SDK from then on.
    pub(crate) async fn connect(
        &self,
        handshake: &Handshake,
        host_api: Arc<dyn HostApiHandler>,
        limit: Duration,
    ) -> Result<PluginConnection, String> {
        let socket = self.socket(handshake)?;
        let connecting = connect(socket, handshake, host_api, ConnectOptions::default());
        let (connection, output) = match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(|error| chain(&error))?,
            Err(_) => {
                return Err(format!(
                    "the connection does not come about within {} s",
                    limit.as_secs()
                ));
            }
        };
        let [out, err] = &self.printed;
        for (mut stream, kept) in [
            (output.stdout, Arc::clone(out)),
            (output.stderr, Arc::clone(err)),
        ] {
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let bytes = buffer.get(..read).unwrap_or_default();
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(bytes);
                }
            });
        }
        Ok(connection)
    }

    /// The configuration that Init brings.
    pub(crate) fn config(&self, subject: &Subject) -> BTreeMap<String, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        BTreeMap::from([
            (
                "host_version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
            ("plugin_name".to_owned(), subject.name.clone()),
            ("plugin_dir".to_owned(), text(&subject.package)),
            ("work_dir".to_owned(), text(&self.dirs.path().join("work"))),
        ])
    }

    /// Ends what is left of it.
    pub(crate) fn kill(&mut self) {
        // A process that has ended already is no error.
        let _ = self.child.kill_group();
        let _ = self.child.reap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks until there is something, for so long.
pub(crate) async fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("no process can be started: {error}"),
        "gk-host doctor says what this machine does not let it do",
    )
}
