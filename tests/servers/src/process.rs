//! A server's process: started as a user it accepts, ended with its owner, stopped and continued.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take until it answers, and until it has gone.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// How often it is looked whether a server answers.
const POLL: Duration = Duration::from_millis(20);

/// The program at one of these places, or the first of this name on PATH.
///
/// # Errors
///
/// It is not there: the error names Debian's package.
pub(crate) fn program(name: &str, places: &[PathBuf], package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join(name));
    let system = ["/usr/sbin", "/usr/bin"].map(|directory| Path::new(directory).join(name));
    places
        .iter()
        .cloned()
        .chain(on_path)
        .chain(system)
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is missing: apt-get install {package}"))
}

/// Below the ports that the kernel gives to whoever asks for any: what nobody listens on for a moment, before a server
/// has started or while it is down, would be another test's by then.
const PORTS: Range<u16> = 15_000..32_000;

/// A port of the loopback interface that nobody listens on, and that this process gives to one server alone.
pub(crate) fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().map_err(|_| anyhow!("a thread panicked"))?;
    // Other processes do the same, and are unlikely to begin at the same place.
    let mut random = [0; 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let begin = u16::from_ne_bytes(random) % (PORTS.end - PORTS.start);
    let rounds = (PORTS.start + begin..PORTS.end).chain(PORTS.start..PORTS.start + begin);
    for port in rounds {
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port from {} to {}", PORTS.start, PORTS.end)
}

/// Connects to a port of the loopback interface, for a probe.
pub(crate) fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

/// Some letters and digits nobody can guess, for passwords.
pub(crate) fn random_word() -> Result<String> {
    let mut bytes = [0; 12];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The files of a server's certificate in its directory.
pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const KEY: &str = "server.key";

/// A server's certificate and its key, both PEM.
#[derive(Clone, Copy)]
pub struct Certificate<'a> {
    /// What it shows.
    pub certificate: &'a str,
    /// What it keeps.
    pub key: &'a str,
}

impl std::fmt::Debug for Certificate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Certificate<'_> {
    pub(crate) fn put(&self, home: &Home) -> Result<()> {
        home.write(CERTIFICATE, self.certificate)?;
        home.write(KEY, self.key).map(drop)
    }
}

/// A directory of a server, which goes with it and, at the latest, with this process.
pub(crate) struct Home {
    directory: TempDir,
    /// Removes the directory when this process has gone without doing so: its stdin ends then.
    reaper: Child,
    user: Option<User>,
}

/// Whom a server runs as: database servers refuse root.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Home {
    /// A directory for a server that runs as this user, or as nobody where there is no such
    /// user, when this process is root's; as whoever we are otherwise.
    pub(crate) fn new(prefix: &str, user: &str) -> Result<Self> {
        let user = rustix::process::geteuid()
            .is_root()
            .then(|| find_user(user).or_else(|_| find_user("nobody")))
            .transpose()?;
        // A socket's path has at most 107 bytes, and the server's user must come there: TMPDIR may be long, or private.
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        if let Some(User { uid, gid }) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        let script =
            r#"cat; n=0; while ! rm -rf "$1" && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.1; done"#;
        let mut reaper = command("sh");
        reaper.args(["-c", script, "sh"]).arg(directory.path());
        reaper.stdin(Stdio::piped()).stdout(Stdio::null());
        // Of a group of its own, so that Ctrl-C leaves it alone.
        reaper.stderr(Stdio::null()).process_group(0);
        let reaper = reaper.spawn().context("cannot start sh")?;
        Ok(Self {
            directory,
            reaper,
            user,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file in the directory that the server may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(User { uid, gid }) = self.user {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(path)
    }

    /// The program, to be run in the directory as the server's user; it dies with this process.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut setpriv = command("setpriv");
        setpriv.args(["--pdeathsig", "KILL"]);
        if let Some(User { uid, gid }) = self.user {
            setpriv.arg(format!("--reuid={uid}"));
            setpriv.arg(format!("--regid={gid}"));
            setpriv.arg("--clear-groups");
        }
        setpriv.arg("--").arg(program);
        setpriv.current_dir(self.path()).stdin(Stdio::null());
        setpriv.env("LC_ALL", "C.UTF-8").env("TMPDIR", self.path());
        setpriv
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// It fails: the error holds what it printed.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(program);
        command.args(arguments);
        let output = in_nursery(move || command.output())?
            .with_context(|| format!("cannot start {}", program.display()))?;
        if !output.status.success() {
            bail!(
                "{} failed: {}\n{}{}",
                program.display(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The reaper removes the directory, and TempDir finds it removed.
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
    }
}

/// A server that runs; dropping it kills it.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// It ends or does not answer in time: the error holds the end of what it printed.
    pub(crate) fn start(
        home: &Home,
        mut command: Command,
        mut ready: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let log = home.path().join("server.log");
        let output = File::options().create(true).append(true).open(&log)?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = in_nursery(move || command.spawn())?
            .context("cannot start setpriv (package util-linux)")?;
        let mut server = Self { child, log };
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let Err(error) = ready() else {
                return Ok(server);
            };
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended ({status}): {}", server.last_words());
            }
            if Instant::now() > deadline {
                return Err(error.context(format!(
                    "the server does not answer after {} s: {}",
                    READY_TIMEOUT.as_secs(),
                    server.last_words()
                )));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal to the server and to what it started.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let own = pid(self.child.id())?;
        // The server first: it starts no more processes once it is stopped.
        kill_process(own, signal)?;
        for child in children(own) {
            let _ = kill_process(child, signal);
        }
        Ok(())
    }

    /// Stops the server and what it started, and waits until they stand still: a signal takes its time.
    pub(crate) fn pause(&self) -> Result<()> {
        let own = pid(self.child.id())?;
        let deadline = Instant::now() + READY_TIMEOUT;
        let stop = |process: Pid| {
            if kill_process(process, Signal::STOP).is_err() {
                return Ok(());
            }
            while !stands_still(process) {
                if Instant::now() > deadline {
                    bail!("process {} does not stop", process.as_raw_nonzero());
                }
                std::thread::sleep(POLL);
            }
            Ok(())
        };
        // The server first: it starts no more processes once it stands still.
        stop(own)?;
        children(own).into_iter().try_for_each(stop)
    }

    /// Kills the server and waits until it and what it started have gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let own = pid(self.child.id())?;
        let rest = children(own);
        self.child.kill()?;
        for child in &rest {
            let _ = kill_process(*child, Signal::KILL);
        }
        self.child.wait()?;
        let deadline = Instant::now() + READY_TIMEOUT;
        while rest.iter().any(|child| is_alive(*child)) {
            if Instant::now() > deadline {
                bail!("processes of a killed server are still there");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(2000);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The only place of this crate that starts programs.
#[allow(
    clippy::disallowed_methods,
    reason = "test servers are Debian's programs, not plugins"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}

type Task = Box<dyn FnOnce() + Send>;

/// Runs something on a thread that lives as long as the process: the kernel sends the death
/// signal when the *thread* ends that started a program, and a test's thread ends with the test.
fn in_nursery<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    static NURSERY: OnceLock<Mutex<mpsc::Sender<Task>>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (sender, tasks) = mpsc::channel::<Task>();
        std::thread::spawn(move || tasks.into_iter().for_each(|task| task()));
        Mutex::new(sender)
    });
    let (sender, result) = mpsc::channel();
    let task: Task = Box::new(move || drop(sender.send(work())));
    let sent = nursery
        .lock()
        .map_err(|_| anyhow!("a thread panicked while it started a server"))?
        .send(task);
    sent.map_err(|_| anyhow!("the thread that starts servers has gone"))?;
    result
        .recv()
        .context("the thread that starts servers has gone")
}

fn find_user(name: &str) -> Result<User> {
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { uid, gid })
    };
    users
        .lines()
        .find_map(find)
        .with_context(|| format!("there is no user {name}"))
}

fn pid(id: u32) -> Result<Pid> {
    Pid::from_raw(i32::try_from(id)?).context("no process id")
}

/// The processes that this one started.
fn children(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id: &i32| parent_of(*id) == Some(parent.as_raw_nonzero().get()))
        .filter_map(Pid::from_raw)
        .collect()
}

/// From /proc/ID/stat, whose second field is a name in parentheses that may hold anything.
fn parent_of(id: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn is_alive(process: Pid) -> bool {
    // A zombie has ended; whoever inherited it has not looked yet.
    state(&format!("/proc/{}/stat", process.as_raw_nonzero())).is_some_and(|state| state != 'Z')
}

/// Whether all threads of a process are stopped, or it has gone.
fn stands_still(process: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()));
    threads.into_iter().flatten().flatten().all(|thread| {
        let path = thread.path().join("stat").display().to_string();
        state(&path).is_none_or(|state| matches!(state, 'T' | 'Z' | 'X'))
    })
}

/// The state of a process or thread; none when it has gone.
fn state(path: &str) -> Option<char> {
    let stat = fs::read_to_string(path).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

/// What can be done with a running server, whichever it is: it has a port, a `server` while it runs, and
/// `launch` starts it.
macro_rules! controls {
    ($server:ident) => {
        impl $server {
            /// The port, the same over restarts.
            #[must_use]
            pub fn port(&self) -> u16 {
                self.port
            }

            /// Kills the server, with SIGKILL.
            ///
            /// # Errors
            ///
            /// It does not go.
            pub fn stop(&mut self) -> anyhow::Result<()> {
                let server = self.server.take();
                server.map_or(Ok(()), |mut server| server.kill())
            }

            /// Stops all its processes, with SIGSTOP: connections stay, nobody answers.
            ///
            /// # Errors
            ///
            /// It does not run.
            pub fn pause(&self) -> anyhow::Result<()> {
                let server = self.server.as_ref();
                server.map_or(Err(anyhow::anyhow!("it does not run")), |server| {
                    server.pause()
                })
            }

            /// Continues it, with SIGCONT.
            ///
            /// # Errors
            ///
            /// It does not run.
            pub fn resume(&self) -> anyhow::Result<()> {
                self.signal(rustix::process::Signal::CONT)
            }

            fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
                let server = anyhow::Context::context(self.server.as_ref(), "it does not run")?;
                server.signal(signal)
            }

            /// Kills the server where it runs, and starts it on the same port with the data it has.
            ///
            /// # Errors
            ///
            /// It does not go, or not start.
            pub fn restart(&mut self) -> anyhow::Result<()> {
                self.stop()?;
                self.launch()
            }
        }
    };
}
pub(crate) use controls;
