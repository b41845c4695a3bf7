//! Why a command failed, and what to do next.

use std::process::ExitCode;

/// The exit codes, as `gk help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command did not do what it was asked to do.
    Failed = 1,
    /// The command line, or a file that it names, is not what the command takes.
    Usage = 2,
    /// The thing that was asked for does not exist.
    NotFound = 3,
    /// The caller may not do that.
    Denied = 4,
    /// The host cannot be reached.
    Unreachable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A command that failed: what happened, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    help: String,
}

impl Failure {
    /// A failure with the step that mends it.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            help: help.into(),
        }
    }

    /// A failure whose messages were all printed already: only the exit code is left.
    pub(crate) fn reported(exit: Exit) -> Self {
        Failure::new(exit, "", "")
    }

    /// A file that cannot be used.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let (exit, help) = match error.kind() {
            std::io::ErrorKind::NotFound => (Exit::NotFound, "check the path"),
            std::io::ErrorKind::PermissionDenied => (
                Exit::Denied,
                "check the permissions of the file and its directories",
            ),
            _ => (Exit::Failed, "check the file and the disk"),
        };
        Failure::new(
            exit,
            format!("cannot {what} {}: {error}", path.display()),
            help,
        )
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn help(&self) -> &str {
        &self.help
    }
}
