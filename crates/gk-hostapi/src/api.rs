//! The host API as a supervisor sees it: something that answers plugins' requests, decides who may
//! be called, and is told which plugins come and go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::{PluginName, Registration, ResourceRequest};
use tokio::sync::watch;

use crate::caller::{Caller, User};
use crate::chain::Chain;
use crate::error::HostError;
use crate::request_id::RequestId;
use crate::trace::TraceContext;

/// A host API. Identity and context of a request come from the supervisor, never from the message.
#[async_trait]
pub trait HostApi: Send + Sync + fmt::Debug + 'static {
    /// Serves one request with JSON arguments; the result is JSON.
    ///
    /// # Errors
    /// The plugin's SDK gets the error's text.
    async fn call(&self, caller: &Caller, method: &str, args: Bytes) -> Result<Bytes, HostError>;

    /// Tells the host API which plugins are installed, and what the plugin.yaml of each asks for.
    /// Called before any of them starts, and again when that changes.
    fn installed(&self, _plugins: &BTreeMap<PluginName, ResourceRequest>) {}

    /// Admits a call into a plugin, and says how long the call may take and how many calls may run at
    /// a time. On the path of every call.
    ///
    /// # Errors
    /// Denied: the operator has blocked the plugin.
    fn admit(&self, _plugin: &PluginName) -> Result<Admission, HostError> {
        Ok(Admission::default())
    }

    /// The limits that the operator sets to a plugin's process that is about to start. `request` is
    /// the request of the plugin.yaml; the registration is not known yet.
    fn limits(&self, _plugin: &PluginName, _request: &ResourceRequest) -> PluginLimits {
        PluginLimits::default()
    }

    /// Tells the host API that a generation of a plugin has registered and is about to be
    /// initialised: its requests come from now on. `request` is the request of plugin.yaml and
    /// registration together. Where another generation serves, nothing of this one is in force for
    /// anybody else until it is [committed](Self::commit).
    ///
    /// # Errors
    /// The generation must not start.
    async fn prepare(
        &self,
        _plugin: &PluginName,
        _generation: u64,
        _registration: &Registration,
        _request: &ResourceRequest,
    ) -> Result<(), HostError> {
        Ok(())
    }

    /// Tells the host API that a generation that was prepared serves from now on, in place of the one
    /// that did.
    fn commit(&self, _plugin: &PluginName, _generation: u64) {}

    /// Tells the host API that a generation of a plugin has ended: one that serves, one that was
    /// prepared and failed, one that was replaced, or one that never registered.
    fn ended(&self, _plugin: &PluginName, _generation: u64) {}

    /// Tells the host API that no generation of a plugin serves, and none is being started.
    fn stopped(&self, _plugin: &PluginName) {}

    /// Tells the host API that a plugin is removed: its data stays, and its counters go.
    fn removed(&self, _plugin: &PluginName) {}
}

/// A call that is admitted, with the operator's limits for it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Admission {
    /// The longest time of the call; `None` leaves that to the plugin's request.
    pub call_timeout: Option<Duration>,
    /// The longest time of a run of a job; `None` leaves that to the job.
    pub job_timeout: Option<Duration>,
    /// The most calls that run in the plugin at the same time; `None` is the supervisor's default.
    pub calls_in_flight: Option<usize>,
    /// The most calls that wait until one of those ends; `None` is the supervisor's default.
    pub calls_waiting: Option<usize>,
    /// The number of times the plugin was blocked; `None` where plugins are never blocked.
    blocks: Option<watch::Receiver<u64>>,
}

impl Admission {
    /// Admits a call that may take so long.
    pub fn within(call_timeout: Option<Duration>) -> Self {
        Self {
            call_timeout,
            ..Self::default()
        }
    }

    /// Ends the call when `blocks` changes. To miss no block, subscribe before looking at the
    /// policy.
    pub fn until(mut self, blocks: watch::Receiver<u64>) -> Self {
        self.blocks = Some(blocks);
        self
    }

    /// Waits until the operator withdraws the admission by blocking the plugin.
    pub async fn withdrawn(&mut self) {
        if let Some(blocks) = &mut self.blocks
            && blocks.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The operator's limits for a plugin's process. `None` leaves a limit to the plugin's request; the
/// supervisor's own maxima hold in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PluginLimits {
    /// The longest time of a call.
    pub call_timeout: Option<Duration>,
    /// The longest time of GKRegister, and of Init.
    pub init_timeout: Option<Duration>,
    /// The longest time of Shutdown.
    pub shutdown_timeout: Option<Duration>,
    /// The most memory of the process, in bytes.
    pub memory_bytes: Option<u64>,
    /// Set if the plugin may use the network: its policy grants `http`.
    pub network: bool,
    /// Set if the plugin is started anew when all its calls time out.
    pub restart_on_timeouts: bool,
}

/// Calls other plugins: the supervisor's part of `plugin_call`.
#[async_trait]
pub trait CallPlugins: Send + Sync + std::fmt::Debug + 'static {
    /// Calls a function of a plugin and waits for its result.
    ///
    /// # Errors
    /// The text is what the calling plugin gets.
    async fn call_plugin(
        &self,
        target: &PluginName,
        function: &str,
        args: Bytes,
        call: OutgoingCall,
    ) -> Result<Bytes, HostError>;
}

/// The context of a call from plugin to plugin.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OutgoingCall {
    /// The calls that led to it.
    pub chain: Chain,
    /// When the caller gives up.
    pub deadline: Instant,
    /// On whose behalf it is.
    pub user: Option<User>,
    /// The user's language.
    pub language: Option<Arc<str>>,
    /// The request that led to it; `None` if there was none.
    pub request_id: Option<RequestId>,
    /// Trace and span within which it is made; `None` if it belongs to no trace.
    pub trace: Option<TraceContext>,
}

impl OutgoingCall {
    /// A call that `chain` led to, of use until `deadline`.
    pub fn new(
        chain: Chain,
        deadline: Instant,
        user: Option<User>,
        language: Option<Arc<str>>,
    ) -> Self {
        OutgoingCall {
            chain,
            deadline,
            user,
            language,
            request_id: None,
            trace: None,
        }
    }

    /// With the request that led to it.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<RequestId>) -> Self {
        self.request_id = id;
        self
    }

    /// Sets the trace and the span within which it is made.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }
}
