//! Kinds of plugins: starting one, and connecting to it.
//!
//! The supervisor knows a plugin by three traits only. A [`Backend`] starts the verified artifact.
//! The [`Worker`] that it returns is the running generation. The [`Connection`] to a worker carries
//! the calls. Native plugins are [`Processes`], whose connections speak net/rpc.

mod netrpc;
mod processes;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::Registration;
use gk_protocol::host::HostApiHandler;
use gk_sandbox::{ExitStatus, Report};
use gk_wire::MemoryBudget;

pub use self::processes::Processes;
use crate::error::{LaunchError, PluginError};
use crate::launch::LaunchRequest;
use crate::log::WorkerOutput;

/// A kind of plugin.
///
/// A backend for several kinds passes each request on to the backend of its kind, native plugins to
/// [`Processes`].
///
/// A package is discovered and verified before it comes here: it has a `plugin.yaml` with `runtime:
/// grpc` and an executable file, even if nothing executes that. `request.artifact` has the verified
/// bytes.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Starts one generation of a plugin. Cancelling the future ends what was started.
    ///
    /// # Errors
    /// [`LaunchError`] says what failed and what to do.
    async fn launch(&self, request: LaunchRequest) -> Result<Started, LaunchError>;
}

/// A worker that was started.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started {
    /// Handle of the worker.
    pub worker: Arc<dyn Worker>,
    /// Output of the worker from now on; read until each stream ends.
    pub output: Vec<WorkerOutput>,
}

impl Started {
    /// A worker and its output.
    pub fn new(worker: Arc<dyn Worker>, output: Vec<WorkerOutput>) -> Self {
        Self { worker, output }
    }
}

/// A running generation of a plugin. Dropping the last reference ends it and removes its files.
///
/// The supervisor calls [`handshake`](Self::handshake), then [`connect`](Self::connect), once each
/// and with a timeout around each. On the connection follow the registration, whose name and version
/// must be the manifest's, the initialisation and a ping. The way down is a shutdown and a quit on the
/// connection, then [`kill`](Self::kill), which may come at any time.
///
/// [`exited`](Self::exited) must resolve after a kill, and after a quit if the worker ends by itself.
#[async_trait]
pub trait Worker: Send + Sync + fmt::Debug + 'static {
    /// Returns the id of its process, if it has one of its own.
    fn pid(&self) -> Option<u32> {
        None
    }

    /// Returns the state of its sandbox's layers; `None` if it is not confined.
    fn sandbox(&self) -> Option<Arc<Report>> {
        None
    }

    /// Waits until the worker can be connected to; returns its output other than the handshake. The
    /// default is for kinds that need no such step.
    ///
    /// # Errors
    /// [`PluginError::Handshake`] or [`PluginError::Launch`].
    async fn handshake(&self) -> Result<Vec<WorkerOutput>, PluginError> {
        Ok(Vec::new())
    }

    /// Connects. `host_api` answers the plugin's own requests for as long as the connection lives.
    ///
    /// # Errors
    /// [`PluginError::Launch`], [`PluginError::Connect`] or [`PluginError::Crashed`].
    async fn connect(
        &self,
        host_api: Arc<dyn HostApiHandler>,
        limits: ConnectionLimits,
    ) -> Result<Connected, PluginError>;

    /// Resolves when the worker has ended, with its exit status. Cancel-safe; may be called again.
    async fn exited(&self) -> ExitStatus;

    /// Ends the worker and all processes it started, at once.
    fn kill(&self);

    /// Reads what an ended worker has still printed before a handshake, for
    /// [`printed`](Self::printed). Cancel-safe.
    async fn drain(&self) {}

    /// Returns the bytes that the worker printed in place of a handshake, for the report on its
    /// failure.
    async fn printed(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Sizes and numbers that a connection enforces on what the plugin sends.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// Budget that messages count in, shared by the host's connections.
    pub memory: Option<MemoryBudget>,
    /// Maximum number of calls that the plugin has not answered, including those whose caller has
    /// given up: the plugin still works on them.
    pub calls: usize,
}

impl ConnectionLimits {
    /// Limits of one connection.
    pub fn new(memory: Option<MemoryBudget>, calls: usize) -> Self {
        Self { memory, calls }
    }
}

/// An established connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connected {
    /// Handle of the connection.
    pub connection: Arc<dyn Connection>,
    /// Output of the plugin that comes through the connection.
    pub output: Vec<WorkerOutput>,
}

impl Connected {
    /// A connection and the output that comes through it.
    pub fn new(connection: Arc<dyn Connection>, output: Vec<WorkerOutput>) -> Self {
        Self { connection, output }
    }
}

/// A connection to a plugin. No method has a timeout of its own: the supervisor puts one around
/// each call. Dropping a future abandons the call.
#[async_trait]
pub trait Connection: Send + Sync + fmt::Debug + 'static {
    /// Asks the plugin for its registration.
    ///
    /// # Errors
    /// [`ConnectionError`]. The registration is only decoded: the supervisor checks what it says.
    async fn register(&self) -> Result<Registration, ConnectionError>;

    /// Initialises the plugin, which may use the host API from then on.
    ///
    /// # Errors
    /// [`ConnectionError::Plugin`] is the plugin's own refusal.
    async fn init(&self, config: &BTreeMap<String, String>) -> Result<(), ConnectionError>;

    /// Calls a function. `call_token` lets the plugin's requests to the host API name this call.
    ///
    /// # Errors
    /// [`ConnectionError::Plugin`] is the function's own error.
    async fn call(
        &self,
        function: &str,
        args: Bytes,
        call_token: &str,
    ) -> Result<Bytes, ConnectionError>;

    /// Asks the plugin for a sign of life.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    async fn ping(&self) -> Result<(), ConnectionError>;

    /// Tells the plugin to shut down in order.
    ///
    /// # Errors
    /// [`ConnectionError::Plugin`] is the plugin's own error.
    async fn shutdown(&self) -> Result<(), ConnectionError>;

    /// Tells the worker to end. A connection that ends before the reply is success.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    async fn quit(&self) -> Result<(), ConnectionError>;

    /// Drops the connection: every call under way fails at once.
    fn close(&self);

    /// Resolves when the connection has ended, with the reason. Cancel-safe; may be called again.
    async fn closed(&self) -> String;
}

/// Failure of a request on a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The plugin's own answer.
    #[error("{0}")]
    Plugin(String),
    /// The connection has ended.
    #[error("the connection is closed: {0}")]
    Closed(Arc<str>),
    /// The plugin has not answered this many calls. No part of this one was sent.
    #[error("{0} calls wait for the plugin's reply")]
    TooManyCalls(usize),
    /// The answer had this many bytes, for which the memory budget had no room.
    #[error("the reply has {0} bytes, for which there is no memory at this moment")]
    NoMemory(usize),
    /// The plugin, or the connection, violated the protocol.
    #[error(transparent)]
    Protocol(Box<dyn Error + Send + Sync>),
}
