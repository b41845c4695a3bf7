//! Errors of starts: of a process, or of the runtime.

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
        /// Purpose of the directory.
        what: &'static str,
        /// Path of the directory.
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

/// Failure of an operation on the running plugins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no plugin of that name.
    #[error("plugin {plugin:?} not found")]
    Unknown {
        /// Name that was asked for.
        plugin: String,
    },
    /// The host has started no other version of the plugin.
    #[error("plugin \"{plugin}\" has no version to go back to: this host has started no other one")]
    NoPrevious {
        /// Name of the plugin.
        plugin: String,
    },
    /// The change is in force until the host ends, but may be lost then.
    #[error(
        "plugin \"{plugin}\" is as it was asked for, but that cannot be kept for the next start of the host: {error}"
    )]
    NotKept {
        /// Name of the plugin.
        plugin: String,
        /// Cause of the failure.
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
    /// The process's output cannot be read.
    #[error("its output cannot be read")]
    Pipes(#[source] io::Error),
    /// The handshake names a protocol that the host does not speak, or a socket that the plugin may
    /// not listen on.
    #[error("its handshake is refused: {why}")]
    Refused {
        /// The failure and its remedy.
        why: String,
    },
    /// The plugin's socket was refused.
    #[error("its socket is refused")]
    Socket(#[from] SocketError),
}
