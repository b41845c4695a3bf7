//! Why a file of a package cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::limits::{DIRECTORIES_MAX, FILES_MAX};
use crate::path::PathError;

/// A file or directory of a package cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is none.
    #[error("{path} does not exist; build it, or correct its name where it is asked for (a plugin's binary: `binary` in plugin.yaml)", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link, or a path through one, where none is followed.
    #[error("{path} is a symbolic link, or behind one; put the file itself there", path = .path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link, or a path through one, that leads where links may not.
    #[error("{path} is a symbolic link, or behind one, that leads out of {within}; put the file itself there", path = .path.display(), within = .within.display())]
    LeadsOut {
        /// The file.
        path: PathBuf,
        /// Boundary that links may not leave.
        within: PathBuf,
    },
    /// A directory, a socket, a device: no regular file.
    #[error("{path} is not a regular file; remove it from the package", path = .path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Larger than it may be.
    #[error("{path} has more than {max} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Maximum size, in bytes.
        max: u64,
    },
    /// More files or directories than a package may have.
    #[error("{path} has more than {FILES_MAX} files or {DIRECTORIES_MAX} directories", path = .path.display())]
    TooMany {
        /// The package.
        path: PathBuf,
    },
    /// A name that a package may not have.
    #[error("{path} has a name that a package may not have", path = .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        #[source]
        source: PathError,
    },
    /// The system refused.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path }
            | Self::Link { path }
            | Self::LeadsOut { path, .. }
            | Self::NotAFile { path }
            | Self::TooLarge { path, .. }
            | Self::TooMany { path }
            | Self::Name { path, .. }
            | Self::Read { path, .. } => path,
        }
    }

    /// Returns `true` if this is a fact about the package, other than a passing failure of the
    /// system.
    pub(crate) fn is_about_package(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}
