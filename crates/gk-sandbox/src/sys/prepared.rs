//! A start in the form the system calls want it, prepared before any process exists, and the
//! outcome's two forms. Nothing here is unsafe.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::ffi::{CString, OsStr};
use std::io::{self, Read};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::process::Pid;

use crate::{InterpreterProblem, Program, SandboxSpec, SpawnError};

/// The form of the program that is executed.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the fall-back executes paths alone")
)]
pub(crate) enum Image {
    /// The file at the path.
    Path,
    /// A pinned binary.
    Binary(Arc<OwnedFd>),
    /// A pinned script.
    Script(Arc<OwnedFd>),
}

/// Where a loader looks for libraries first: for a pinned binary, the directories that it names
/// relative to itself.
#[cfg(target_os = "linux")]
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// The strings of a start.
#[derive(Debug)]
pub(crate) struct Prepared {
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "the fall-back executes paths alone")
    )]
    pub(crate) image: Image,
    pub(crate) program: CString,
    /// The program as `argv[0]`, then the arguments.
    pub(crate) argv: Vec<CString>,
    /// `NAME=value` each.
    pub(crate) envp: Vec<CString>,
    pub(crate) working_dir: CString,
}

impl Prepared {
    pub(crate) fn new(spec: &SandboxSpec) -> Result<Self, SpawnError> {
        let path = std::path::absolute(spec.program.path()).map_err(|source| SpawnError::Step {
            step: "make the binary's path absolute",
            path: spec.program.path().into(),
            source,
        })?;
        let image = match &spec.program {
            Program::Path(_) => {
                check_program(&path)?;
                Image::Path
            }
            Program::Pinned { file, .. } => {
                let mut start = [0; 2];
                let read = rustix::io::pread(file, &mut start, 0);
                if read == Ok(2) && start == *b"#!" {
                    Image::Script(Arc::clone(file))
                } else {
                    Image::Binary(Arc::clone(file))
                }
            }
        };
        let program = c_string(path.as_os_str(), "the binary's path")?;
        let mut argv = vec![program.clone()];
        for arg in &spec.args {
            argv.push(c_string(arg, "an argument")?);
        }
        let mut envp = Vec::with_capacity(spec.env.len());
        for (name, value) in &spec.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(SpawnError::EnvName { name: name.clone() });
            }
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            envp.push(c_string(&entry, "an environment variable")?);
        }
        #[cfg(target_os = "linux")]
        if let (Image::Binary(file), false) = (&image, spec.env.contains_key(OsStr::new(LIBRARIES)))
        {
            let directories = crate::elf::origin_directories(file.as_fd(), &path);
            // A directory with a colon in its name cannot be named here.
            if !directories.is_empty()
                && let Ok(list) = std::env::join_paths(&directories)
            {
                let mut entry = OsString::from(LIBRARIES);
                entry.push("=");
                entry.push(list);
                envp.push(c_string(&entry, "an environment variable")?);
            }
        }
        let working_dir = c_string(spec.working_dir.as_os_str(), "the working directory")?;
        Ok(Self {
            image,
            program,
            argv,
            envp,
            working_dir,
        })
    }
}

fn c_string(string: &OsStr, what: &'static str) -> Result<CString, SpawnError> {
    CString::new(string.as_bytes()).map_err(|_| SpawnError::NulByte { what })
}

/// Finds the common mistakes before a process exists. The kernel decides again at the exec; this
/// is for the message.
fn check_program(path: &Path) -> Result<(), SpawnError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(SpawnError::Missing { path: path.into() });
        }
        Err(source) => {
            return Err(SpawnError::Denied {
                path: path.into(),
                source,
            });
        }
    };
    if !metadata.is_file() {
        return Err(SpawnError::NotAFile { path: path.into() });
    }
    Ok(())
}

/// A process that executes its program.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The step at which a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the fall-back takes fewer steps")
)]
pub(crate) enum Step {
    Pipes,
    Clone,
    Session,
    ParentDeathSignal,
    ParentGone,
    Descriptors,
    Signals,
    WorkingDir,
    Exec,
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Step::Pipes => "open the pipes",
            Step::Clone => "create a process",
            Step::Session => "start a session",
            Step::ParentDeathSignal => "set the parent-death signal",
            Step::ParentGone => "find the host alive",
            Step::Descriptors => "arrange the descriptors",
            Step::Signals => "reset the signals",
            Step::WorkingDir => "enter the working directory",
            Step::Exec => "execute the binary",
        }
    }
}

/// A step and the system's answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) step: Step,
    pub(super) source: io::Error,
}

impl Failure {
    pub(crate) fn new(step: Step, source: impl Into<io::Error>) -> Self {
        Self {
            step,
            source: source.into(),
        }
    }

    /// The system's answer alone.
    #[cfg(target_os = "linux")]
    pub(crate) fn into_io(self) -> io::Error {
        self.source
    }

    pub(crate) fn is_text_busy(&self) -> bool {
        self.step == Step::Exec && self.source.raw_os_error() == Some(libc::ETXTBSY)
    }

    /// The error a person can act on.
    pub(crate) fn explain(self, spec: &SandboxSpec) -> SpawnError {
        let Failure { step, source } = self;
        let path =
            std::path::absolute(spec.program.path()).unwrap_or_else(|_| spec.program.path().into());
        match (step, source.raw_os_error()) {
            (Step::WorkingDir, _) => SpawnError::WorkingDir {
                path: spec.working_dir.clone(),
                source,
            },
            (Step::Exec, Some(libc::ENOENT)) if path.exists() => {
                let (interpreter, problem) = interpreter(&path, spec.confinement.is_some());
                SpawnError::BadInterpreter {
                    path,
                    interpreter,
                    problem,
                }
            }
            (Step::Exec, Some(libc::ENOENT)) => SpawnError::Missing { path },
            (Step::Exec, Some(libc::EACCES)) => {
                match rustix::fs::access(&path, rustix::fs::Access::EXEC_OK) {
                    Err(rustix::io::Errno::ACCESS) => SpawnError::NotExecutable { path },
                    _ => SpawnError::Denied { path, source },
                }
            }
            (Step::Exec, Some(libc::EPERM)) => SpawnError::Denied { path, source },
            (Step::Exec, Some(libc::ENOEXEC)) => SpawnError::ExecFormat { path },
            (Step::Exec, Some(libc::ETXTBSY)) => SpawnError::TextBusy { path },
            _ => SpawnError::Step {
                step: step.verb(),
                path,
                source,
            },
        }
    }
}

/// What the program names as its interpreter, by its `#!` line or as its loader, and what is wrong
/// with it.
fn interpreter(path: &Path, confined: bool) -> (String, InterpreterProblem) {
    const LONGEST_LINE: u64 = 256;
    let Ok(file) = std::fs::File::open(path) else {
        return ("its interpreter".into(), InterpreterProblem::Missing);
    };
    let mut start = Vec::new();
    let read = (&file).take(LONGEST_LINE).read_to_end(&mut start);
    let script = read.ok().and_then(|_| start.strip_prefix(b"#!"));
    let (line, name) = match script {
        Some(line) => {
            let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let name = line.trim_ascii().split(|byte| byte.is_ascii_whitespace());
            let name = name.into_iter().next().unwrap_or_default();
            (line.trim_ascii(), name.to_owned())
        }
        None => match loader(&file) {
            Some(loader) => (&[][..], loader),
            None => return ("its dynamic loader".into(), InterpreterProblem::Missing),
        },
    };
    let is_cut_by_return = script.is_some_and(|line| {
        let line = line.split(|&byte| byte == b'\n').next();
        line.is_some_and(|line| line.ends_with(b"\r"))
    });
    let problem = match Path::new(OsStr::from_bytes(&name)).metadata() {
        _ if is_cut_by_return => InterpreterProblem::CarriageReturn,
        Err(_) => InterpreterProblem::Missing,
        Ok(_) if confined => InterpreterProblem::NotShown,
        Ok(_) => InterpreterProblem::Unusable,
    };
    let shown = if line.is_empty() { &name } else { line };
    (String::from_utf8_lossy(shown).into_owned(), problem)
}

/// The loader that a binary names.
fn loader(file: &std::fs::File) -> Option<Vec<u8>> {
    #[cfg(target_os = "linux")]
    return crate::elf::loader(file.as_fd()).ok().flatten();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}
