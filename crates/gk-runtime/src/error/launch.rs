//! Why a process was not started, or the runtime.

use std::io;
use std::path::PathBuf;

use gk_sandbox::SpawnError;
use gk_sandbox::socket::SocketError;

use crate::dirs::DirError;

/// The runtime could not be started at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A directory of the host cannot be used.
    #[error("the {what} {path} cannot be used; create it or correct its permissions", path = .path.display())]
    Directory {
        /// What it is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A private directory cannot be had.
    #[error("no directory for the plugins' sockets")]
    Private(#[from] crate::DirError),
    /// The system refuses a thread.
    #[error("the spawner thread cannot be started")]
    Spawner(#[source] std::io::Error),
}

/// What runs was not changed as it was meant to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no plugin of that name.
    #[error("plugin {plugin:?} not found")]
    Unknown {
        /// The name that was asked for.
        plugin: String,
    },
    /// No other version of it came up before.
    #[error("plugin \"{plugin}\" has no version to go back to: this host has started no other one")]
    NoPrevious {
        /// The plugin.
        plugin: String,
    },
    /// It is so until the host ends; what follows then is not known.
    #[error(
        "plugin \"{plugin}\" is as it was asked for, but that cannot be kept for the next start of the host: {error}"
    )]
    NotKept {
        /// The plugin.
        plugin: String,
        /// Why not.
        error: String,
    },
    /// The plugins directory cannot be looked through.
    #[error("the plugins cannot be looked for: {0}")]
    Look(String),
}

/// A process was not started, or not connected to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A directory it needs cannot be had.
    #[error("one of its directories cannot be used")]
    Directory(#[from] DirError),
    /// The process cannot be started.
    #[error("its process cannot be started")]
    Spawn(#[from] SpawnError),
    /// Its output cannot be read.
    #[error("its output cannot be read")]
    Pipes(#[source] io::Error),
    /// Its handshake names what the host does not speak or a place it may not listen at.
    #[error("its handshake is refused: {why}")]
    Refused {
        /// What is wrong, and what to do.
        why: String,
    },
    /// Its socket is not what it should be.
    #[error("its socket is refused")]
    Socket(#[from] SocketError),
}
