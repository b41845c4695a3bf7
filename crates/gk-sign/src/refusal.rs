//! Results of a verification, in words for people: the state, the reason for a refusal, and the
//! next step.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, HexError};
use crate::key::KeyId;
use crate::package::FileError;
use crate::v2::FormatError;

/// State of a plugin's signature. Its text is what people are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// `plugin.sig` of a trusted key, and every file of the package is as it was signed.
    Valid,
    /// `<binary>.sig` of a trusted key over the binary; nothing is known of name, version, manifest
    /// and other files.
    ValidV1,
    /// There is no signature.
    Unsigned,
    /// A signature, but of no trusted key. A version 1 signature does not say whose it is, so one
    /// of a trusted key over another binary looks the same.
    UntrustedKey,
    /// Signature and package do not fit together, or the signature is damaged.
    Tampered,
    /// The key or a file was revoked.
    Revoked,
}

impl State {
    /// The state's name: `valid`, `valid-v1`, `unsigned`, `untrusted key`, `tampered`, `revoked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::ValidV1 => "valid-v1",
            Self::Unsigned => "unsigned",
            Self::UntrustedKey => "untrusted key",
            Self::Tampered => "tampered",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a plugin may not run, or, where signatures are not required, what to warn of. Its text names
/// the file, the key if one is known, and what to do.
#[derive(Debug)]
pub struct Refusal {
    pub(crate) state: State,
    pub(crate) file: PathBuf,
    pub(crate) key: Option<KeyId>,
    pub(crate) problem: Problem,
}

/// The reason of a [`Refusal`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// No signature file.
    Unsigned,
    /// The key that is named in `plugin.sig` is not trusted.
    UntrustedKey,
    /// No trusted key made this version 1 signature over this binary.
    NoKeyFits {
        /// Number of trusted keys.
        trusted: usize,
    },
    /// A version 1 signature, which the policy does not accept.
    Version1,
    /// `plugin.sig` is not in its format.
    Format(FormatError),
    /// `<binary>.sig` is not in its format.
    Hex(HexError),
    /// The text of `plugin.sig` is not what the key signed.
    Signature,
    /// The file is signed and not there.
    Missing,
    /// The file is there and not signed.
    Extra,
    /// The file's bytes are others.
    Content,
    /// The file's x bit is another.
    Executable {
        /// `true` if it was signed as executable.
        signed: bool,
    },
    /// A file that no package may have: a link, a device, a name.
    File(FileError),
    /// The package was signed under another name than it is loaded as.
    Name {
        /// The name it was signed under.
        signed: String,
    },
    /// The package was signed for another binary than the one to run.
    Binary {
        /// The binary it was signed for.
        signed: String,
    },
    /// The key was revoked.
    RevokedKey,
    /// The file was revoked.
    RevokedFile(Digest),
}

impl Refusal {
    /// State of the signature.
    pub fn state(&self) -> State {
        self.state
    }

    /// The file it is about.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The signer, where it is known.
    pub fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// The reason.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Next step for a person.
    pub fn remedy(&self) -> &'static str {
        match &self.problem {
            Problem::Unsigned => {
                "get a signed package from its author, or sign it with a key of your own and trust that"
            }
            Problem::UntrustedKey => {
                "if you know that this key is the author's, add the public key to the trusted keys; else remove the plugin"
            }
            Problem::NoKeyFits { trusted: 0 } => {
                "add the author's public key to GOATFLOW_TRUSTED_KEYS or the file in GOATFLOW_TRUSTED_KEYS_FILE"
            }
            Problem::NoKeyFits { .. } => {
                "add the author's public key to the trusted keys; if it is there, the binary was changed after signing: install the package again, or sign again after the last build"
            }
            Problem::Version1 => {
                "ask the author for a package with a plugin.sig, or accept version 1"
            }
            Problem::RevokedKey | Problem::RevokedFile(_) => {
                "do not run it; install a version that is signed with a key that is still trusted"
            }
            Problem::Name { .. } | Problem::Binary { .. } => {
                "install the package under the name it was signed for, or have it signed again"
            }
            _ => "install the package again from its source, or sign it again if you changed it",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            self.state,
            self.file.display(),
            self.problem
        )?;
        if let Some(key) = self.key {
            write!(f, " (key {key})")?;
        }
        write!(f, "; {}", self.remedy())
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::File(error) => Some(error),
            Problem::Format(error) => Some(error),
            Problem::Hex(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("there is no signature"),
            Self::UntrustedKey => f.write_str("signed by a key that is not trusted"),
            Self::NoKeyFits { trusted: 0 } => f.write_str("signed, but no key is trusted"),
            Self::NoKeyFits { trusted } => {
                write!(f, "none of the {trusted} trusted keys made this signature over this binary")
            }
            Self::Version1 => f.write_str(
                "a version 1 signature, which does not cover manifest, name and version, is not accepted",
            ),
            Self::Format(_) | Self::Hex(_) => f.write_str("the signature file is damaged"),
            Self::Signature => f.write_str("the signature file was changed after signing"),
            Self::Missing => f.write_str("the file is signed and not there"),
            Self::Extra => f.write_str("the file is not among the signed ones"),
            Self::Content => f.write_str("the file was changed after signing"),
            Self::Executable { signed: true } => {
                f.write_str("the file was signed as executable and is not")
            }
            Self::Executable { signed: false } => {
                f.write_str("the file is executable and was not when it was signed")
            }
            Self::File(_) => f.write_str("the package has what no signed package can have"),
            Self::Name { signed } => write!(f, "signed as the plugin {signed}, and loaded as another"),
            Self::Binary { signed } => write!(f, "signed with the binary {signed}, and another is to run"),
            Self::RevokedKey => f.write_str("signed by a key that was revoked"),
            Self::RevokedFile(digest) => write!(f, "this file (SHA-256 {digest}) was revoked"),
        }
    }
}

/// A plugin was not verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The signature does not let the plugin run.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A file cannot be used, whatever its signature is worth.
    #[error("the plugin's files cannot be used")]
    File(#[from] FileError),
    /// The binary has no x bit.
    #[error("{path} is not executable; run: chmod +x {path}", path = .path.display())]
    NotExecutable {
        /// The binary.
        path: PathBuf,
    },
    /// The binary could not be copied to where nothing changes it.
    #[error("{path} cannot be pinned", path = .path.display())]
    Pin {
        /// The binary.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file that the signature does not cover was asked for.
    #[error("{path} is not covered by a signature", path = .path.display())]
    NotCovered {
        /// The file.
        path: PathBuf,
    },
}

impl VerifyError {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl From<Refusal> for VerifyError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
