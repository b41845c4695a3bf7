//! Why a ZIP file is not taken.

use std::io;
use std::path::PathBuf;

use crate::limits::ARCHIVE_BYTES_MAX;
use crate::path::ContentError;

/// Problem of a ZIP file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No end record where it has to be.
    #[error(
        "this is not a ZIP file, or it is cut off, or it has a comment at its end; get or make it again"
    )]
    NoEnd,
    /// Larger than any package.
    #[error("the file has more than {ARCHIVE_BYTES_MAX} bytes; a package is smaller")]
    TooLarge,
    /// A ZIP64 record.
    #[error("it is in the ZIP64 form, which no package needs; make it without (`gk package` does)")]
    Zip64,
    /// A record that is not as the format has it.
    #[error("the file is damaged: {0}; get or make it again")]
    Damaged(&'static str),
    /// A name that is not UTF-8, or does not say that it is.
    #[error(
        "a name that is not UTF-8, or does not say that it is; make the package with `gk package`"
    )]
    Name,
    /// A symbolic link.
    #[error("it is a symbolic link, which a package cannot have; put the file itself there")]
    Link,
    /// A device, a FIFO, a socket.
    #[error("it is not a regular file; remove it from the package")]
    Special,
    /// An encrypted entry.
    #[error("it is encrypted; make the package without a password")]
    Encrypted,
    /// A compression method other than stored and deflated.
    #[error(
        "it is compressed by method {0}; only stored and deflated are read: make the package with `gk package`"
    )]
    Method(u16),
    /// An unknown flag, or an extra field that changes what the entry is.
    #[error(
        "it has a feature of the format that packages do not use; make the package with `gk package`"
    )]
    Feature,
    /// Two entries share bytes.
    #[error("entries overlap, as in a file that unpacks to much more than it is; do not use it")]
    Overlap,
    /// Bytes that belong to no entry.
    #[error("there are bytes that belong to no entry; make the package with `gk package`")]
    Gap,
    /// The local header, or the data descriptor, differs from the central directory.
    #[error("its two headers say different things; do not use the file, or make it again")]
    Headers,
    /// A size that the compressed data cannot have.
    #[error("its declared size cannot be true; do not use the file, or make it again")]
    Ratio,
    /// The data are longer or shorter than declared.
    #[error("its data do not have the declared length; do not use the file, or get it again")]
    Length,
    /// The checksum differs.
    #[error("its checksum is wrong; get the file again")]
    Checksum,
    /// The files cannot be one package.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// A ZIP file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    #[error("{archive} cannot be read: {source}", archive = .archive.display())]
    Read {
        /// The ZIP file.
        archive: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file is not a package that is taken.
    #[error("{archive}{at}: {problem}", archive = .archive.display(), at = at(.entry))]
    Refused {
        /// The ZIP file.
        archive: PathBuf,
        /// The entry it is about; none for the whole file.
        entry: Option<String>,
        /// Description of the problem.
        problem: Problem,
    },
    /// The file that was asked for is not in it.
    #[error("{archive} has no {entry}", archive = .archive.display())]
    Missing {
        /// The ZIP file.
        archive: PathBuf,
        /// Path of the entry in the archive.
        entry: String,
    },
    /// The file that was asked for is larger than the caller takes.
    #[error("{archive}: {entry} has more than {max} bytes", archive = .archive.display())]
    TooLarge {
        /// The ZIP file.
        archive: PathBuf,
        /// Path of the entry in the archive.
        entry: String,
        /// Maximum number of bytes that the caller takes.
        max: u64,
    },
}

fn at(entry: &Option<String>) -> String {
    entry
        .as_ref()
        .map_or_else(String::new, |entry| format!(": {entry:?}"))
}

impl OpenError {
    /// The problem of the file, if it was refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

/// Why a file was not handed out.
#[derive(Debug)]
pub(crate) enum ExtractError {
    /// The archive's fault.
    Open(OpenError),
    /// Error of the receiver.
    Sink(io::Error),
}

impl From<OpenError> for ExtractError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}
