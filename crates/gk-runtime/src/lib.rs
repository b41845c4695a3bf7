//! The plugin supervisor: discovers plugins, starts each by its backend (natively as a process),
//! registers and initialises it, passes calls, captures what it prints, notices when it ends, and stops it in order.
//!
//! The crate knows nothing of HTTP and serves no host API of its own beyond the basic one; both are
//! built on [`Runtime`] and [`gk_hostapi::HostApi`]. A plugin whose files change is started anew
//! beside the generation that serves. A plugin that ends by itself is started again.
//!
//! Rules:
//!
//! - What runs is what was verified: every start pins the binary's bytes, judges them, and executes
//!   these bytes, whatever the path leads to by then.
//! - One bad plugin never keeps another, or the host, from starting. Every failure is one text
//!   that names the plugin, what it printed, and what to do.
//! - Every wait for a plugin is bounded (see [`limits`]), every queue and log too.
//! - No lock is held while a plugin is being waited for. A call reads one immutable snapshot.
//! - A process is a *generation*: connection, routes, call tokens and log lines belong to it.
#![forbid(unsafe_code)]
// Large futures are copied in full whenever they are boxed or spawned.
#![warn(clippy::large_futures)]

mod backend;
mod calls;
mod config;
mod control;
mod dependencies;
mod dirs;
mod discover;
mod environment;
mod error;
mod files;
mod follow;
mod generation;
mod health;
mod hints;
mod host_api;
mod identity;
mod inner;
mod install;
mod kept;
mod launch;
pub mod limits;
mod log;
mod look;
mod manifests;
mod metrics;
mod plugin;
mod registry;
mod runtime;
mod sandbox;
mod signatures;
mod snapshot;
mod staging;
mod supervision;
#[cfg(feature = "test-util")]
pub mod testing;
mod timeouts;
mod version;
mod watch;

pub use backend::{
    Backend, Connected, Connection, ConnectionError, ConnectionLimits, Processes, Started, Worker,
};
pub use calls::{CallContext, CallTarget, FunctionName, RunningCall};
pub use config::{PROTECTED_KEYS, PluginSettings, RuntimeConfig};
pub use control::Outcome;
pub use dirs::DirError;
pub use discover::Problem;
pub use error::{CallError, ControlError, LaunchError, PluginError, Printed, StartError, Step};
pub use follow::LogFollower;
/// The largest package that is taken, in bytes of its file.
pub use gk_package::limits::ARCHIVE_BYTES_MAX as PACKAGE_BYTES_MAX;
pub use gk_sandbox::{
    ExitStatus, KeeperProgram, Layer, LayerSet, Report, SpawnError, State, Strictness,
    release_memory, run_if_keeper,
};
pub use gk_wire::{MemoryBudget, OverBudget, Reservation};
pub use health::{HealthConfig, PluginHealth};
pub use hints::Hints;
pub use identity::give_back;
pub use install::{Installed, Judged, Uninstalled};
pub use launch::{LaunchRequest, Launched, Launcher, Process, ProcessLauncher};
pub use log::{LogEntry, LogLevel, LogQuery, LogSource, MoreLogs, Output, WorkerOutput};
pub use runtime::{Runtime, WeakRuntime};
pub use sandbox::SandboxConfig;
pub use signatures::{SignatureState, Signatures};
pub use snapshot::{Candidate, PluginState, PluginStatus, Snapshot};
pub use staging::{FileChange, InstallError, Staging};
pub use timeouts::{Timeouts, clamped};
