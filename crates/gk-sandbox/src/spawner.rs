//! The thread that starts every process, and the checks around a start.
//!
//! The kernel ties a parent-death signal to the *thread* that created the child: were a child
//! created from a pool's thread, it would be killed when that thread idles out. So one thread
//! creates them all and lives as long as its [`Spawner`]. Sandboxes are created by the keeper, but
//! as children of the thread that started the keeper, which is this one.

use std::io;
use std::path::Path;
use std::sync::mpsc;
#[cfg(target_os = "linux")]
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

#[cfg(target_os = "linux")]
use crate::keeper;
use crate::report::Report;
use crate::spec::Confinement;
use crate::sys;
use crate::{Child, KeeperProgram, SandboxSpec, SpawnError};

/// How often a program that somebody holds open for writing is tried again. A fork elsewhere in
/// the host can hold a just-written file open for an instant.
const TEXT_BUSY_RETRIES: u32 = 6;
/// The wait before the first such retry; it doubles each time (63 ms in all).
const TEXT_BUSY_FIRST_WAIT: Duration = Duration::from_millis(1);

/// How long after a start the preparations for the next one begin: a program that comes up needs the
/// processor more.
#[cfg(target_os = "linux")]
const QUIET: Duration = Duration::from_millis(200);

enum Request {
    Plain {
        prepared: sys::Prepared,
        reply: mpsc::SyncSender<(sys::Prepared, Result<sys::Started, sys::Failure>)>,
    },
    #[cfg(target_os = "linux")]
    Confined {
        start: Box<keeper::StartRequest>,
        reply: mpsc::SyncSender<Result<keeper::FirstProcess, keeper::Failure>>,
    },
    #[cfg(target_os = "linux")]
    RemoveAtEnd(std::path::PathBuf),
    #[cfg(target_os = "linux")]
    Prepare(Box<keeper::Plan>),
}

/// Starts processes, all of them from one long-lived thread.
///
/// Dropping the spawner ends the thread and thereby, through the parent-death signal, every
/// process it started that is still running (on Linux). Keep it for the life of the host.
#[derive(Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
    #[cfg(target_os = "linux")]
    has_keeper: bool,
}

impl Spawner {
    /// Starts the thread. This spawner makes plain starts alone.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread(move || {
            while let Ok(request) = inbox.recv() {
                match request {
                    Request::Plain { prepared, reply } => start(prepared, &reply),
                    #[cfg(target_os = "linux")]
                    Request::Confined { .. } | Request::RemoveAtEnd(_) | Request::Prepare(_) => {}
                }
            }
        })?;
        Ok(Self {
            requests,
            #[cfg(target_os = "linux")]
            has_keeper: false,
        })
    }

    /// Starts the thread and the keeper, which makes sandboxes.
    ///
    /// # Errors
    /// When the system refuses a thread. A keeper that does not start is an error of each start.
    pub fn with_keeper(program: KeeperProgram) -> io::Result<Self> {
        Self::keeping(program)
    }

    #[cfg(not(target_os = "linux"))]
    fn keeping(_program: KeeperProgram) -> io::Result<Self> {
        Self::new()
    }

    #[cfg(target_os = "linux")]
    fn keeping(program: KeeperProgram) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread(move || {
            let mut keeper = keeper::Keeper::start(&program).ok();
            let mut remove = Vec::new();
            // Others like it are likely to follow, but not at once.
            let mut expected = None;
            loop {
                let request = match &expected {
                    None => inbox.recv().map_err(RecvTimeoutError::from),
                    Some(_) => inbox.recv_timeout(QUIET),
                };
                let request = match request {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => {
                        if let (Some(keeper), Some(plan)) = (&mut keeper, expected.take()) {
                            keeper.prepare(plan);
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                match request {
                    Request::Plain { prepared, reply } => start(prepared, &reply),
                    Request::Prepare(plan) => {
                        if let Some(keeper) = &mut keeper {
                            keeper.prepare(*plan);
                        }
                    }
                    Request::Confined { start, reply } => {
                        let before = keeper.is_some();
                        expected = start.next_plan();
                        let _ = reply.send(start.carry_out(&mut keeper, &program));
                        // A new one has to be told again.
                        if let (false, Some(keeper)) = (before, &keeper) {
                            remove_at_end(keeper, &remove);
                        }
                    }
                    Request::RemoveAtEnd(path) => {
                        if let Some(keeper) = &keeper {
                            remove_at_end(keeper, std::slice::from_ref(&path));
                        }
                        remove.push(path);
                    }
                }
            }
        })?;
        Ok(Self {
            requests,
            has_keeper: true,
        })
    }

    /// Has a directory removed, with all that is in it, once this process is gone, however it
    /// ends. Without a keeper nobody does that.
    pub fn remove_at_end(&self, path: &Path) {
        #[cfg(target_os = "linux")]
        {
            let _ = self.requests.send(Request::RemoveAtEnd(path.into()));
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = path;
        }
    }

    /// Creates a first process ahead, for the next start that is confined like this. After each
    /// start, one for the next start like it is created without this call.
    pub fn prepare(&self, confinement: &Confinement) {
        #[cfg(target_os = "linux")]
        if let Ok(plan) = keeper::prepared_plan(confinement) {
            let _ = self.requests.send(Request::Prepare(Box::new(plan)));
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = confinement;
        }
    }

    /// Starts a process and returns once it executes its program.
    ///
    /// Blocks for a millisecond or so, four for a confined one (up to 63 ms more while the
    /// program's file is being written); call it from where blocking is allowed.
    ///
    /// # Errors
    /// Each failing step has its variant of [`SpawnError`].
    pub fn spawn(&self, spec: SandboxSpec) -> Result<Child, SpawnError> {
        if let Some(confinement) = &spec.confinement {
            return self.spawn_confined(&spec, confinement);
        }
        let mut prepared = sys::Prepared::new(&spec)?;
        let mut wait = TEXT_BUSY_FIRST_WAIT;
        for retry in 0.. {
            let (reply, answer) = mpsc::sync_channel(1);
            self.requests
                .send(Request::Plain { prepared, reply })
                .map_err(|_| SpawnError::SpawnerGone)?;
            let (returned, outcome) = answer.recv().map_err(|_| SpawnError::SpawnerGone)?;
            prepared = returned;
            match outcome {
                Ok(started) => return Ok(Child::new(started)),
                Err(failure) if failure.is_text_busy() && retry < TEXT_BUSY_RETRIES => {
                    std::thread::sleep(wait);
                    wait *= 2;
                }
                Err(failure) => return Err(failure.explain(&spec)),
            }
        }
        Err(SpawnError::SpawnerGone)
    }

    /// Makes a sandbox, executes nothing in it, and says how its layers stand.
    ///
    /// # Errors
    /// As [`Spawner::spawn`].
    pub fn probe(&self, confinement: &Confinement) -> Result<Report, SpawnError> {
        #[cfg(target_os = "linux")]
        {
            let spec = SandboxSpec::new("/", "/");
            match self.make(&spec, confinement, true)? {
                Ok(child) => Ok(child.report()),
                Err(failure) => Err(keeper::explain(failure, &spec)),
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = confinement;
            Ok(Report::default())
        }
    }

    #[cfg(target_os = "linux")]
    fn spawn_confined(
        &self,
        spec: &SandboxSpec,
        confinement: &Confinement,
    ) -> Result<Child, SpawnError> {
        let mut wait = TEXT_BUSY_FIRST_WAIT;
        for retry in 0.. {
            match self.make(spec, confinement, false)? {
                Ok(child) => return Ok(child),
                Err(failure) if keeper::is_text_busy(&failure) && retry < TEXT_BUSY_RETRIES => {
                    std::thread::sleep(wait);
                    wait *= 2;
                }
                Err(failure) => return Err(keeper::explain(failure, spec)),
            }
        }
        Err(SpawnError::SpawnerGone)
    }

    #[cfg(target_os = "linux")]
    fn make(
        &self,
        spec: &SandboxSpec,
        confinement: &Confinement,
        probe: bool,
    ) -> Result<Result<Child, keeper::Failure>, SpawnError> {
        if !self.has_keeper {
            return Err(SpawnError::NoKeeper);
        }
        let (start, pending) = keeper::prepare(spec, confinement, probe)?;
        let (reply, answer) = mpsc::sync_channel(1);
        let request = Request::Confined {
            start: Box::new(start),
            reply,
        };
        self.requests
            .send(request)
            .map_err(|_| SpawnError::SpawnerGone)?;
        let made = match answer.recv().map_err(|_| SpawnError::SpawnerGone)? {
            Ok(made) => made,
            Err(failure) => return Ok(Err(failure)),
        };
        let first = made.process;
        let settled = pending.settle(first.pidfd(), made.oom, probe);
        Ok(
            settled
                .map(|(stdout, stderr, sandbox)| Child::confined(first, stdout, stderr, sandbox)),
        )
    }

    #[cfg(not(target_os = "linux"))]
    fn spawn_confined(
        &self,
        spec: &SandboxSpec,
        confinement: &Confinement,
    ) -> Result<Child, SpawnError> {
        if confinement.level == crate::Strictness::Required {
            return Err(SpawnError::NotLinux);
        }
        let mut plain = spec.clone();
        plain.confinement = None;
        self.spawn(plain)
    }
}

fn thread(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new()
        .name("gk-spawner".into())
        .stack_size(256 * 1024)
        .spawn(move || {
            sys::enter_spawner_thread();
            run();
        })?;
    Ok(())
}

fn start(
    prepared: sys::Prepared,
    reply: &mpsc::SyncSender<(sys::Prepared, Result<sys::Started, sys::Failure>)>,
) {
    let outcome = sys::start(&prepared);
    // A caller that no longer waits drops the child, which ends it.
    let _ = reply.send((prepared, outcome));
}

#[cfg(target_os = "linux")]
fn remove_at_end(keeper: &keeper::Keeper, paths: &[std::path::PathBuf]) {
    for path in paths {
        if let Err(error) = keeper.remove_at_end(path) {
            tracing::warn!(path = %path.display(), %error, "a directory will be left behind when this process is killed");
        }
    }
}
