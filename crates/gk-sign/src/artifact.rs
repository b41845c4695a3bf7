//! The verified artifact: the only thing a launcher should take.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::Pinned;
use crate::digest::Digest;
use crate::key::KeyId;
use crate::package::Package;
use crate::refusal::{Problem, Refusal, State, VerifyError};
use crate::v2::Claims;

/// A plugin's binary whose bytes were judged and can no longer change.
///
/// There is no public constructor: it comes from [`verify`](crate::verify()) alone. What it holds
/// are the bytes the judgement is about, not a path to where they were; so run
/// [`as_fd`](Self::as_fd), and read the manifest from [`manifest`](Self::manifest) and other files
/// by [`read`](Self::read).
///
/// Where signatures are not required it may be unsigned: [`state`](Self::state) says what it is.
#[derive(Debug)]
pub struct VerifiedArtifact {
    pub(crate) pinned: Arc<Pinned>,
    pub(crate) package: Package,
    pub(crate) state: State,
    pub(crate) key: Option<KeyId>,
    pub(crate) claims: Option<Claims>,
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) warning: Option<Refusal>,
}

impl VerifiedArtifact {
    /// The binary, to be executed by `execveat(fd, "", AT_EMPTY_PATH)` or through
    /// [`exec_path`](Self::exec_path). Close-on-exec, which scripts do not survive: their
    /// interpreter opens the descriptor's path.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.pinned.as_fd()
    }

    /// A path that leads to these bytes, for this process and its children until they execute it,
    /// as long as the artifact lives: `/proc/self/fd/…` on Linux, else the private copy.
    pub fn exec_path(&self) -> PathBuf {
        self.pinned.exec_path()
    }

    /// The SHA-256 of the binary.
    pub fn digest(&self) -> &Digest {
        self.pinned.digest()
    }

    /// The binary's size in bytes.
    pub fn size(&self) -> u64 {
        self.pinned.size()
    }

    /// State of the signature.
    pub fn state(&self) -> State {
        self.state
    }

    /// Key that signed, if it is trusted.
    pub fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// Name, version, date and files, if they are signed: that is, if the state is
    /// [`State::Valid`].
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// The bytes of the manifest, if they are signed. Parse these and not the file anew, and
    /// compare name and version with the [`claims`](Self::claims).
    pub fn manifest(&self) -> Option<&[u8]> {
        self.manifest.as_deref()
    }

    /// The refusal that a host with required signatures would have given. To be logged on every
    /// start.
    pub fn warning(&self) -> Option<&Refusal> {
        self.warning.as_ref()
    }

    /// Targets of links that lead out of the package: absolute paths without links, below the
    /// directory that [`Request::within`](crate::Request::within) named. A caller that shows the
    /// package to another process has to show these, too.
    pub fn link_targets(&self) -> Vec<PathBuf> {
        self.package.link_targets()
    }

    /// Reads another file of the package, and compares it once more with what is signed.
    ///
    /// # Errors
    /// A file that no signature covers, cannot be read, or has been changed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, VerifyError> {
        let Some(signed) = self.claims.as_ref().and_then(|claims| claims.file(path)) else {
            return Err(VerifyError::NotCovered {
                path: self.package.full(path),
            });
        };
        let changed = || Refusal {
            state: State::Tampered,
            file: self.package.full(path),
            key: self.key,
            problem: Problem::Content,
        };
        let opened = self.package.file(path)?;
        if opened.size != signed.size() {
            return Err(changed().into());
        }
        let bytes = self.package.read_opened(path, &opened, signed.size())?;
        if Digest::of(&bytes) != *signed.digest() {
            return Err(changed().into());
        }
        Ok(bytes)
    }
}

impl AsFd for VerifiedArtifact {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pinned.as_fd()
    }
}
