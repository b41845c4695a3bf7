//! What host, keeper and sandbox say to each other.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::elf::Needs;
use crate::report::{Layer, LayerReport, LayerSet};

/// Exit code of a first process whose sandbox was not set up.
pub(super) const NOT_SET_UP: i32 = 127;

/// From the host to its keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a sandbox. With it come, in this order: the control socket, the lifeline, stdout,
    /// stderr, and the program if it is pinned.
    Start {
        /// The answer has the same.
        number: u64,
        plan: Box<Plan>,
    },
    /// Have a first process ready for a start with such a plan.
    Expect { number: u64, plan: Box<Plan> },
    /// Remove this path, and what is in it, once the host is gone.
    RemoveAtEnd(Bytes),
}

/// From the keeper to the host, one per [`Request::Start`] and [`Request::Expect`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// What a [`Reply`] says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A first process exists, as a child of the host: that of the sandbox, or one that waits for
    /// its plan. With it come its pidfd and, of a sandbox, if there is one, the counter of kills
    /// for memory.
    Made {
        /// Its id.
        pid: i32,
    },
    /// None was made, and none is needed.
    Nothing,
    /// It does not exist.
    Failed(Failure),
}

/// From inside the sandbox to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// How layers stand. With it come its temporary directory and that of its sockets, where they are its own.
    Layers(Vec<LayerReport>),
    /// The program is being executed.
    Started,
    /// It is not, and will not be.
    Failed(Failure),
    /// It has ended.
    Ended(End),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// As `waitid` has it: the exit code, or the signal.
    pub(crate) status: i32,
    /// Whether `status` is a signal.
    pub(crate) signaled: bool,
    pub(crate) core_dumped: bool,
    /// Whether it was killed for its memory.
    pub(crate) memory: bool,
}

/// A step that did not succeed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: FailedStep,
    /// What was being done, as a verb phrase, with its object.
    pub(crate) what: String,
    pub(crate) errno: i32,
}

/// Which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailedStep {
    /// A layer that was insisted on.
    Layer(Layer),
    /// Creating a process.
    Process,
    /// Bringing the paths together that it is shown.
    Paths,
    /// Entering the working directory.
    WorkingDir,
    /// Executing the program.
    Exec,
}

/// One start, complete.
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

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Executable {
    /// The file at a path.
    Path(Bytes),
    /// The binary that comes with the request.
    Binary,
    /// The script that comes with the request.
    Script,
    /// Nothing: the sandbox is made, reported, and gone.
    Probe,
}
