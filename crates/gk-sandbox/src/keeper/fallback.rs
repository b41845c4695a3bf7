//! Systems without sandboxes: there is nothing to keep.

use std::path::PathBuf;

use crate::SpawnError;

/// Does nothing here.
pub fn run_if_keeper() {}

/// The program that keepers are started from; none is, here.
#[derive(Debug, Clone)]
pub struct KeeperProgram(());

impl KeeperProgram {
    /// This program.
    ///
    /// # Errors
    /// Never here.
    pub fn this() -> Result<Self, SpawnError> {
        Ok(Self(()))
    }

    /// Another program.
    pub fn at(_path: impl Into<PathBuf>) -> Self {
        Self(())
    }
}
