//! Messages between host, keeper and sandbox.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::elf::Needs;
use crate::report::{Layer, LayerReport, LayerSet};

/// Exit code of a first process whose sandbox was not set up.
pub(super) const NOT_SET_UP: i32 = 127;

/// A message of the host to its keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a sandbox. With it come, in this order: the control socket, the lifeline, stdout,
    /// stderr, and the program if it is pinned.
    Start {
        /// The answer has the same number.
        number: u64,
        plan: Box<Plan>,
    },
    /// Create a first process ahead, for a start with such a plan.
    Prepare { number: u64, plan: Box<Plan> },
    /// Remove this path, with everything in it, once the host is gone.
    RemoveAtEnd(Bytes),
}

/// The keeper's answer to the host, one for each [`Request::Start`] and [`Request::Prepare`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// The content of a [`Reply`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A first process exists, as a child of the host: that of the sandbox, or one that waits for
    /// its plan. With it come its pidfd and, of a sandbox, if there is one, the counter of kills
    /// for memory.
    Made {
        /// The process id, as the host sees it.
        pid: i32,
    },
    /// No process was created, and none is needed.
    Nothing,
    /// The process does not exist.
    Failed(Failure),
}

/// A message from inside the sandbox to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// The states of layers. With them come the temporary directory and the directory of sockets,
    /// where these are the sandbox's own.
    Layers(Vec<LayerReport>),
    /// The program is being executed.
    Started,
    /// The program is not executed, and will not be.
    Failed(Failure),
    /// The program has ended.
    Ended(End),
}

/// The program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// As `waitid` has it: the exit code, or the signal.
    pub(crate) status: i32,
    /// `true` if `status` is a signal.
    pub(crate) signaled: bool,
    pub(crate) core_dumped: bool,
    /// `true` if the watchdog killed the program for its memory.
    pub(crate) memory: bool,
}

/// A step that did not succeed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: FailedStep,
    /// The action that failed, as a verb phrase with its object.
    pub(crate) what: String,
    pub(crate) errno: i32,
}

/// The step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailedStep {
    /// A layer that the plan insists on.
    Layer(Layer),
    /// Creating a process.
    Process,
    /// Building a root of the paths that are shown.
    Paths,
    /// Entering the working directory.
    WorkingDir,
    /// Executing the program.
    Exec,
}

/// A complete start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) executable: Executable,
    pub(crate) argv: Vec<Bytes>,
    pub(crate) envp: Vec<Bytes>,
    pub(crate) working_dir: Bytes,
    pub(crate) needs: Needs,
    pub(crate) required: bool,
    pub(crate) without: LayerSet,
    pub(crate) name: String,
    pub(crate) read_only: Vec<Bytes>,
    pub(crate) writable: Vec<Bytes>,
    pub(crate) temp_dir: Bytes,
    pub(crate) temp_bytes: u64,
    pub(crate) socket_dir: Option<Bytes>,
    pub(crate) network: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u32,
    pub(crate) cpu_millis: Option<u32>,
    pub(crate) open_files: u64,
    pub(crate) file_bytes: u64,
}

impl Plan {
    pub(crate) fn wants(&self, layer: Layer) -> bool {
        !self.without.has(layer)
    }
}

/// The program to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Executable {
    /// The file at a path.
    Path(Bytes),
    /// The binary that comes with the request.
    Binary,
    /// The script that comes with the request.
    Script,
    /// None: the sandbox is made, reported, and removed.
    Probe,
}
