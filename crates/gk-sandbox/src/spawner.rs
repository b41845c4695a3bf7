//! The thread that starts every process, and the checks around a start.
//!
//! The kernel ties a parent-death signal to the *thread* that created the child: were a child
//! created from a pool's thread, it would be killed when that thread idles out. So one thread
//! creates them all and lives as long as its [`Spawner`].

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use crate::sys;
use crate::{Child, SandboxSpec, SpawnError};

/// How often a program that somebody holds open for writing is tried again. A fork elsewhere in
/// the host can hold a just-written file open for an instant.
const TEXT_BUSY_RETRIES: u32 = 6;
/// The wait before the first such retry; it doubles each time (63 ms in all).
const TEXT_BUSY_FIRST_WAIT: Duration = Duration::from_millis(1);

struct Request {
    prepared: sys::Prepared,
    reply: mpsc::SyncSender<(sys::Prepared, Result<sys::Started, sys::Failure>)>,
}

/// Starts processes, all of them from one long-lived thread.
///
/// Dropping the spawner ends the thread and thereby, through the parent-death signal, every
/// process it started that is still running (on Linux). Keep it for the life of the host.
#[derive(Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new()
            .name("gk-spawner".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                sys::enter_spawner_thread();
                while let Ok(Request { prepared, reply }) = inbox.recv() {
                    let outcome = sys::start(&prepared);
                    // A caller that no longer waits drops the child, which ends it.
                    let _ = reply.send((prepared, outcome));
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a process and returns once it executes its program.
    ///
    /// Blocks for a millisecond or so (up to 63 ms more while the program's file is being
    /// written); call it from where blocking is allowed.
    ///
    /// # Errors
    /// Each failing step has its variant of [`SpawnError`].
    pub fn spawn(&self, spec: SandboxSpec) -> Result<Child, SpawnError> {
        let mut prepared = sys::Prepared::new(&spec)?;
        let mut wait = TEXT_BUSY_FIRST_WAIT;
        for retry in 0.. {
            let (reply, answer) = mpsc::sync_channel(1);
            self.requests
                .send(Request { prepared, reply })
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
}
