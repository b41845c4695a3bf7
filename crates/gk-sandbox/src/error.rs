//! Why a process could not be started, and what to do about it.

use std::io;
use std::path::PathBuf;

/// A process could not be started. Nothing is left behind: no process, no descriptor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A string for the new process holds a NUL byte, which no system call can pass on.
    #[error("{what} contains a NUL byte; remove it")]
    NulByte {
        /// Which string: the program, an argument, an environment variable, the directory.
        what: &'static str,
    },
    /// An environment variable's name is empty or contains `=`.
    #[error(
        "{name:?} is not usable as the name of an environment variable; it must be non-empty and without '='"
    )]
    EnvName {
        /// The name as given.
        name: std::ffi::OsString,
    },
    /// There is no file at the program's path.
    #[error("the program {path} does not exist", path = .path.display())]
    Missing {
        /// Path of the program.
        path: PathBuf,
    },
    /// The program is a directory, a socket or another thing that is no file.
    #[error("{path} is not a regular file; name the executable itself", path = .path.display())]
    NotAFile {
        /// Path of the program.
        path: PathBuf,
    },
    /// The program has no execute permission for this user.
    #[error("the program {path} is not executable; run: chmod +x {path}", path = .path.display())]
    NotExecutable {
        /// Path of the program.
        path: PathBuf,
    },
    /// The program may be executed but the system refused to (mount option `noexec`, a security
    /// module, a directory without search permission).
    #[error("the system refused to execute {path}; look for a noexec mount, a directory that may not be entered, or a security module", path = .path.display())]
    Denied {
        /// Path of the program.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The interpreter named in the first line of a script, or the loader of a dynamic binary,
    /// cannot be had.
    #[error("{path} needs {interpreter:?} to run, {problem}", path = .path.display())]
    BadInterpreter {
        /// Path of the program.
        path: PathBuf,
        /// The interpreter that it asks for, as far as it could be read.
        interpreter: String,
        /// The problem with the interpreter.
        problem: InterpreterProblem,
    },
    /// The program is neither a binary for this machine nor a script with a `#!` line.
    #[error("{path} is not an executable for this machine ({arch}); rebuild it for this platform, or add a #! line if it is a script", path = .path.display(), arch = std::env::consts::ARCH)]
    ExecFormat {
        /// Path of the program.
        path: PathBuf,
    },
    /// A pinned script is too large to be given a path in a sandbox.
    #[error("the script {path} has {bytes} bytes; a pinned script may have {max}: move what is not the script itself into other files of the package", path = .path.display())]
    ScriptTooLarge {
        /// The script.
        path: PathBuf,
        /// Size of the script, in bytes.
        bytes: u64,
        /// Maximum size, in bytes.
        max: u64,
    },
    /// Somebody still has the program open for writing.
    #[error("{path} is still being written; install binaries by writing a new file and renaming it over the old one", path = .path.display())]
    TextBusy {
        /// Path of the program.
        path: PathBuf,
    },
    /// The directory to start in cannot be entered.
    #[error("the working directory {path} cannot be entered; create it or correct its permissions", path = .path.display())]
    WorkingDir {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Another step failed.
    #[error("could not {step} for {path}", path = .path.display())]
    Step {
        /// The action that failed, as a verb phrase.
        step: &'static str,
        /// Path of the program.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A layer that was insisted on does not hold.
    #[error(
        "it is not started, as every layer of its sandbox is required and the layer {layer} is {why}; to get it: {remedy}; or choose the level best-effort"
    )]
    Layer {
        /// The layer that does not hold.
        layer: crate::Layer,
        /// State of the layer, and the reason.
        why: String,
        /// A way to get the layer, as of [`LayerReport::remedy`](crate::LayerReport::remedy).
        remedy: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Two of the paths it is to see cannot go together, or one is not absolute and plain.
    #[error("its sandbox would have paths that cannot go together: the host cannot {what}")]
    Paths {
        /// The contradiction, with the paths and the remedy.
        what: String,
    },
    /// The sandbox cannot be made.
    #[error("its sandbox could not be made: the host failed to {what} for {path}", path = .path.display())]
    Sandbox {
        /// The action that failed, as a verb phrase.
        what: String,
        /// Path of the program.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// There is no keeper to make a sandbox.
    #[error(
        "a confined start needs a keeper: call gk_sandbox::run_if_keeper() first thing in main, and make the spawner by Spawner::with_keeper"
    )]
    NoKeeper,
    /// Every layer is required, on a system that has none.
    #[error(
        "it is not started, as every layer of its sandbox is required and this system has none; use Linux, or choose the level best-effort"
    )]
    NotLinux,
    /// A name of a sandbox that cannot be a control group's.
    #[error(
        "{name:?} is not usable as the name of a sandbox; it must be 1 to 63 letters, digits, '-' and '_'"
    )]
    SandboxName {
        /// The name as given.
        name: String,
    },
    /// A confined process would run as root.
    #[error("a sandbox cannot have user or group 0; give it a user of its own")]
    RootIdentity,
    /// A path of a sandbox is relative.
    #[error("{path} is relative; the paths of a sandbox must be absolute", path = .path.display())]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
    /// The spawner's thread has ended.
    #[error("the spawner has stopped; restart the host")]
    SpawnerGone,
}

/// Why a program's interpreter, or its loader, cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterpreterProblem {
    /// The first line of the script ends with a carriage return, which the system takes for a part
    /// of the name.
    CarriageReturn,
    /// There is no such file on this machine.
    Missing,
    /// The interpreter exists, but a confined process is not shown it.
    NotShown,
    /// The interpreter cannot be executed, or needs another one that is missing.
    Unusable,
}

impl std::fmt::Display for InterpreterProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CarriageReturn => {
                "because its first line ends with a carriage return, as on Windows; save it with Unix line ends (sed -i 's/\\r$//')"
            }
            Self::Missing => {
                "which does not exist on this machine; install it, or build the program statically"
            }
            Self::NotShown => {
                "which exists on this machine but is not shown inside of the sandbox; use one of the system's directories, or build the program statically"
            }
            Self::Unusable => {
                "which exists but cannot be executed; look at its own interpreter and its permissions"
            }
        })
    }
}
