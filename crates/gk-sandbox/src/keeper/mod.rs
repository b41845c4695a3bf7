//! Sandboxes, and the keeper, the process that makes them.
//!
//! | Module | Where it runs |
//! |---|---|
//! | `start`, `client`, `sandbox` | in the host: a confined start, the connection to the keeper, a sandbox that runs |
//! | `serve`, `first`, `namespaces` | in the keeper: requests, and the processes that it creates |
//! | `inside`, `root`, `watch` | in a sandbox: its first process, from its creation to the program's end |
//! | `message`, `channel` | between them: the messages, and the sockets that carry them |

mod channel;
mod client;
mod first;
mod inside;
mod message;
mod namespaces;
mod root;
mod sandbox;
mod serve;
mod start;
mod watch;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use self::client::{FirstProcess, Keeper};
use self::message::FailedStep;
pub(crate) use self::message::{Failure, Plan};
pub(crate) use self::sandbox::Sandbox;
pub(crate) use self::start::{StartRequest, prepare, prepared_plan};
use crate::{SandboxSpec, SpawnError, sys};

/// `argv[0]` of a keeper.
const KEEPER_NAME: &str = "gk-sandbox-keeper";
/// The descriptor of a keeper's socket.
const KEEPER_SOCKET: i32 = 3;

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

/// Returns `true` if it is worth another try: somebody still writes the program.
pub(crate) fn is_text_busy(failure: &Failure) -> bool {
    failure.step == FailedStep::Exec && failure.errno == libc::ETXTBSY
}
