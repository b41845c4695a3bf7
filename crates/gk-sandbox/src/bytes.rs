//! Paths and arguments as messages carry them: any bytes but NUL.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path, an argument: bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The host checks for NUL bytes before it sends.
    pub(crate) fn c_string(&self) -> CString {
        CString::new(self.0.as_slice()).unwrap_or_default()
    }
}

impl From<&Path> for Bytes {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&PathBuf> for Bytes {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&CString> for Bytes {
    fn from(string: &CString) -> Self {
        Self(string.as_bytes().to_vec())
    }
}
