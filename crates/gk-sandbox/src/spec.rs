//! What to start and with what: data only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Everything that decides how a process is started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// The executable. A relative path is taken relative to the host's current directory, never
    /// searched for in `PATH`.
    pub program: PathBuf,
    /// The arguments after the program's own name.
    pub args: Vec<OsString>,
    /// The complete environment; nothing of the host's is added.
    pub env: BTreeMap<OsString, OsString>,
    /// The directory the process starts in.
    pub working_dir: PathBuf,
}

impl SandboxSpec {
    /// A spec without arguments and with an empty environment.
    pub fn new(program: impl Into<PathBuf>, working_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            working_dir: working_dir.into(),
        }
    }
}
