//! The description of a start: program, environment, confinement. Data only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::report::LayerSet;

/// Everything that decides how a process is started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// The executable.
    pub program: Program,
    /// The arguments after the program's own name.
    pub args: Vec<OsString>,
    /// The complete environment; nothing of the host's is added. Only a pinned dynamic binary that
    /// names directories of libraries relative to itself (`$ORIGIN`) also gets these as
    /// `LD_LIBRARY_PATH`, unless it is set: the loader could not tell where a memory file was.
    pub env: BTreeMap<OsString, OsString>,
    /// The directory the process starts in.
    pub working_dir: PathBuf,
    /// How it is confined; `None` is a plain start, which needs no keeper.
    pub confinement: Option<Confinement>,
}

impl SandboxSpec {
    /// A spec without arguments, with an empty environment, and without confinement.
    pub fn new(program: impl Into<Program>, working_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            working_dir: working_dir.into(),
            confinement: None,
        }
    }
}

/// An executable.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Program {
    /// Whatever is at this path at the moment of the exec. A relative path is taken relative to
    /// the host's current directory, never searched for in `PATH`.
    Path(PathBuf),
    /// Exactly the bytes behind a descriptor, wherever they came from: the sealed memory file of
    /// what was verified. Linux only.
    Pinned {
        /// The path it came from: `argv[0]`, and its name in errors.
        name: PathBuf,
        /// The bytes.
        file: Arc<OwnedFd>,
    },
}

impl Program {
    /// The path it is known by.
    pub fn path(&self) -> &Path {
        match self {
            Program::Path(path) => path,
            Program::Pinned { name, .. } => name,
        }
    }
}

impl<P: Into<PathBuf>> From<P> for Program {
    fn from(path: P) -> Self {
        Program::Path(path.into())
    }
}

/// Strictness of a start about its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Strictness {
    /// Starts with what this machine can enforce, and [reports](crate::Report) the rest.
    #[default]
    BestEffort,
    /// Starts only if every layer holds in full; see [`SpawnError::Layer`](crate::SpawnError).
    Required,
}

/// How a process is confined.
///
/// It sees a file system of its own: an empty, read-only root with the paths named here at the
/// same places as outside, a private `/tmp`, a few devices, and `/proc` with nothing but itself.
/// A path named here that does not exist is left out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Confinement {
    /// Whether all layers are insisted on.
    pub level: Strictness,
    /// Layers that are not wanted.
    pub without: LayerSet,
    /// Host name, and name among the control groups: `[A-Za-z0-9_-]`, 1 to 63 characters.
    pub name: String,
    /// Files and directories it may read, and execute from.
    pub read_only: Vec<PathBuf>,
    /// Directories it may write to, but execute nothing from.
    pub writable: Vec<PathBuf>,
    /// Temporary directory of the sandbox. With mounts it is private and ends with the sandbox.
    /// Without, it is the host's directory of that path, which has to exist.
    pub temp_dir: PathBuf,
    /// Maximum number of bytes in `/tmp` and the temporary directory together, with mounts. They
    /// count as memory of the sandbox, too.
    pub temp_bytes: u64,
    /// Directory in which the program makes the socket that it listens on. With mounts it is a small
    /// directory of the sandbox's own, which [`Child::sockets`](crate::Child::sockets) returns.
    /// Without, it is the host's directory of that path, which has to exist.
    pub socket_dir: Option<PathBuf>,
    /// `true` if it uses the host's network. Without it there is none, not even loopback.
    pub network: bool,
    /// Whose user and group it becomes, if the host is root. Else it stays the host's own user.
    pub identity: Identity,
    /// Limits of resources.
    pub resources: Resources,
}

impl Confinement {
    /// As strict as can be, with the default [`Resources`] and nothing of the host's to be seen.
    /// `temp_dir` is as in the field.
    pub fn new(name: impl Into<String>, temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            level: Strictness::default(),
            without: LayerSet::default(),
            name: name.into(),
            read_only: Vec::new(),
            writable: Vec::new(),
            temp_dir: temp_dir.into(),
            temp_bytes: 64 << 20,
            socket_dir: None,
            network: false,
            identity: Identity::default(),
            resources: Resources::default(),
        }
    }
}

/// A user and a group, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user; not 0.
    pub uid: u32,
    /// The group; not 0.
    pub gid: u32,
}

impl Identity {
    /// A user and a group.
    pub fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid }
    }
}

impl Default for Identity {
    /// 65534, "nobody". Better is a user per program: those of one user can disturb each other
    /// where process namespaces cannot be had.
    fn default() -> Self {
        Self::new(65534, 65534)
    }
}

/// Limits of the resources of a confined process and all its descendants together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// Bytes of memory, `/tmp` included. All of it is killed when it uses more.
    pub memory_bytes: u64,
    /// Processes and threads together.
    pub processes: u32,
    /// Thousandths of a processor; `None` is no limit.
    pub cpu_millis: Option<u32>,
    /// Open descriptors per process.
    pub open_files: u64,
    /// The size of a file it writes, in bytes.
    pub file_bytes: u64,
}

impl Default for Resources {
    /// 512 MiB, 512 processes and threads, any share of the processors, 1024 descriptors, files
    /// of 1 GiB.
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            processes: 512,
            cpu_millis: None,
            open_files: 1024,
            file_bytes: 1 << 30,
        }
    }
}
