//! The runtime: starts the plugins of a directory, routes calls to them, stops them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::{BasicHostApi, CallPlugins, HostApi, HostError, OutgoingCall};
use gk_manifest::PluginName;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::backend::{Backend, Processes};
use crate::calls::{Account, CallContext, CallTarget, Entry, Instance, Refused};
use crate::config::{RuntimeConfig, made};
use crate::error::{CallError, StartError};
use crate::inner::Inner;
use crate::launch::{Launcher, ProcessLauncher};
use crate::limits::{
    CONTROL_TIMEOUT, REMOVAL_TIMEOUT, RESCAN_INTERVAL_MAX, RESCAN_INTERVAL_MIN, RESTART_WAIT,
    SHUTDOWN_ORDER_MAX, START_WAITERS_MAX,
};
use crate::log::{LogEntry, LogQuery, LogSink};
use crate::plugin::Offer;
use crate::registry::Registry;
use crate::snapshot::{PluginState, PluginStatus, Snapshot};
use crate::staging::{Installing, clear_staging};
use crate::watch::Changes;

/// Runs plugins. A cheap clone; dropping the last one stops them, but only
/// [`Runtime::shutdown`] waits for that.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

/// A [`Runtime`] that may be gone.
#[derive(Debug, Clone)]
pub struct WeakRuntime(Weak<Inner>);

#[async_trait]
impl CallPlugins for WeakRuntime {
    async fn call_plugin(
        &self,
        target: &PluginName,
        function: &str,
        args: Bytes,
        call: OutgoingCall,
    ) -> Result<Bytes, HostError> {
        let Some(inner) = self.0.upgrade() else {
            return Err(HostError::unavailable("the host is stopping"));
        };
        let mut context = CallContext::new().with_chain(call.chain);
        context.timeout = Some(call.deadline.saturating_duration_since(Instant::now()));
        (context.user, context.language) = (call.user, call.language);
        (context.request_id, context.trace) = (call.request_id, call.trace);
        let result = Runtime { inner }
            .call(target.as_str(), function, args, context)
            .await;
        result.map_err(|error| match error {
            CallError::UnknownPlugin { .. } => HostError::not_found(error.to_string()),
            CallError::Timeout { .. } => HostError::timeout(error.to_string()),
            CallError::Refused { .. } => HostError::denied(error.to_string()),
            CallError::Busy { .. } | CallError::NoMemory { .. } => {
                HostError::limit(error.to_string())
            }
            other => HostError::failed(other.to_string()),
        })
    }
}

impl Runtime {
    /// Starts the plugins of a directory as processes, with the basic host API. Returns at once;
    /// [`Runtime::settled`] waits for them. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Only for what keeps every plugin from starting; a bad plugin is a [`PluginState::Failed`]
    /// or one of [`Snapshot::problems`].
    pub fn start(config: RuntimeConfig) -> Result<Self, StartError> {
        let launcher = ProcessLauncher::new(&config)?;
        Self::start_with(config, Arc::new(launcher), Arc::new(BasicHostApi::new()))
    }

    /// As [`Runtime::start`], with another way to start processes and another host API.
    ///
    /// # Errors
    /// As [`Runtime::start`].
    pub fn start_with(
        config: RuntimeConfig,
        launcher: Arc<dyn Launcher>,
        host_api: Arc<dyn HostApi>,
    ) -> Result<Self, StartError> {
        Self::start_backend(config, Arc::new(Processes::new(launcher)), host_api)
    }

    /// As [`Runtime::start`], for plugins of another kind and with another host API.
    ///
    /// # Errors
    /// As [`Runtime::start`].
    pub fn start_backend(
        config: RuntimeConfig,
        backend: Arc<dyn Backend>,
        host_api: Arc<dyn HostApi>,
    ) -> Result<Self, StartError> {
        crate::metrics::describe();
        let offer = match config.hot_reload {
            true => Offer::Start,
            false => Offer::Tell,
        };
        let dir = made("plugins directory", &config.plugins_dir)?;
        let config = RuntimeConfig {
            plugins_dir: dir.clone(),
            ..config
        };
        let rescan = config
            .rescan_interval
            .clamp(RESCAN_INTERVAL_MIN, RESCAN_INTERVAL_MAX);
        clear_staging(&dir);
        let changes = Arc::<Changes>::default();
        let inner = Arc::new(Inner {
            registry: Arc::new(Registry::new(config, backend, host_api)),
            plugins: Mutex::default(),
            looked: Mutex::default(),
            changes: Arc::clone(&changes),
            installing: Installing::default(),
            stopping: AtomicBool::new(false),
            linked: AtomicBool::new(false),
        });
        let following =
            Inner::follow_dependencies(Arc::downgrade(&inner), inner.registry.changed());
        inner.look(Offer::Start, None)?;
        tokio::spawn(following);
        let follow = Inner::follow(Arc::downgrade(&inner), changes, dir, offer, rescan);
        tokio::spawn(follow);
        Ok(Self { inner })
    }

    /// Returns the state of all plugins at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.registry.snapshot()
    }

    /// Returns a receiver that changes with every new snapshot.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.registry.changed()
    }

    /// Waits until every plugin has come up, failed or been stopped once. A failed plugin may be
    /// starting again by then.
    pub async fn settled(&self) {
        let mut changed = self.changed();
        while !self
            .snapshot()
            .plugins
            .iter()
            .all(|status| status.has_settled)
        {
            // The sender lives as long as the runtime.
            let _ = changed.changed().await;
        }
    }

    /// Calls a function of a plugin, in the generation that serves now.
    ///
    /// Dropping the future abandons the call; a late reply is discarded.
    ///
    /// # Errors
    /// [`CallError`] says what happened, to which plugin, and what to do.
    pub async fn call(
        &self,
        plugin: &str,
        function: &str,
        args: Bytes,
        mut context: CallContext,
    ) -> Result<Bytes, CallError> {
        let target = match self.serving(plugin) {
            Some(target) => target,
            None => {
                let begun = tokio::time::Instant::now();
                let target = self.target(plugin, context.timeout).await?;
                // The caller's timeout covers the start and the call together.
                context.timeout = context
                    .timeout
                    .map(|timeout| timeout.saturating_sub(begun.elapsed()));
                target
            }
        };
        self.call_on(&target, function, args, context).await
    }

    /// As [`Runtime::call`], in the generation `target`. If that generation takes no more calls and
    /// another one serves, the call goes to the latter: no part of it was sent before.
    ///
    /// # Errors
    /// As [`Runtime::call`].
    pub async fn call_on(
        &self,
        target: &CallTarget,
        function: &str,
        args: Bytes,
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        self.call_at(target, true, function, args, context).await
    }

    /// As [`Runtime::call`], in the generation `target` and in no other.
    ///
    /// # Errors
    /// As [`Runtime::call`], and [`CallError::Moved`] if that generation takes no more calls.
    pub async fn call_in(
        &self,
        target: &CallTarget,
        function: &str,
        args: Bytes,
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        self.call_at(target, false, function, args, context).await
    }

    /// Waits for the generation that serves after `target`, which takes no more calls: as long as a
    /// call would wait, and at most `timeout`.
    pub async fn after(&self, target: &CallTarget, timeout: Option<Duration>) {
        self.left(&target.0, timeout).await;
        let _ = self.came_up(target.plugin().as_str(), timeout).await;
    }

    /// Calls a function in the generation `target`, or, with `moves`, in the next one if `target`
    /// takes no more calls.
    async fn call_at(
        &self,
        target: &CallTarget,
        moves: bool,
        function: &str,
        args: Bytes,
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        let plugin = target.plugin();
        let refused = |reason: String| CallError::Refused {
            plugin: plugin.clone(),
            reason,
        };
        let admission = self.inner.registry.host_api.admit(plugin);
        let mut admission = admission.map_err(|error| refused(error.to_string()))?;
        let mut entry = Entry::new(&admission, &context);
        let account = Account::new(&target.0, function, &context, entry.arrived());
        let outcome = tokio::select! {
            biased;
            outcome = self.enter_and_call(target, moves, &mut entry, function, args, context) => outcome,
            () = admission.withdrawn() => Err(refused(
                "it was blocked by its policy while the call ran".to_owned(),
            )),
        };
        account.end(&outcome);
        outcome
    }

    async fn enter_and_call(
        &self,
        target: &CallTarget,
        moves: bool,
        entry: &mut Entry,
        function: &str,
        args: Bytes,
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        let mut serving = Arc::clone(&target.0);
        let inside = loop {
            match serving.enter(entry).await {
                Ok(inside) => break inside,
                Err(Refused::Busy(why)) => return Err(serving.busy(why)),
                Err(Refused::Closed) => {}
            }
            // The generation closed since it was looked up, or while the call waited. No part of
            // the call was sent, so it may go to the generation that serves now.
            if !moves {
                let plugin = target.plugin().clone();
                return Err(CallError::Moved { plugin });
            }
            let now = Box::pin(self.next(&serving, context.timeout)).await?.0;
            if Arc::ptr_eq(&now, &serving) {
                return Err(serving.closed().await);
            }
            serving = now;
        };
        serving.call(inside, function, args, context, entry).await
    }

    /// A handle that does not keep the runtime alive, for a host API that calls plugins.
    pub fn downgrade(&self) -> WeakRuntime {
        WeakRuntime(Arc::downgrade(&self.inner))
    }

    /// Sends a Ping to a running plugin and returns the time until its answer.
    ///
    /// # Errors
    /// As [`Runtime::call`], with the wait for a start; the limit of the answer is [`CONTROL_TIMEOUT`].
    pub async fn ping(&self, plugin: &str) -> Result<Duration, CallError> {
        self.target(plugin, None)
            .await?
            .0
            .ping(CONTROL_TIMEOUT)
            .await
    }

    /// Returns the generation of a plugin that serves now.
    fn serving(&self, plugin: &str) -> Option<CallTarget> {
        self.inner.registry.peek().get(plugin)?.target()
    }

    /// Returns the generation of a plugin that serves now, or that comes up within the time that a
    /// call waits for it.
    async fn target(
        &self,
        plugin: &str,
        timeout: Option<Duration>,
    ) -> Result<CallTarget, CallError> {
        match self.serving(plugin) {
            Some(target) => Ok(target),
            // Boxed to keep the future of the many calls that need not wait small.
            None => Box::pin(self.awaited(plugin, timeout)).await,
        }
    }

    /// Returns the generation that serves after `closed`, which takes no more calls.
    async fn next(
        &self,
        closed: &Arc<Instance>,
        timeout: Option<Duration>,
    ) -> Result<CallTarget, CallError> {
        self.left(closed, timeout).await;
        self.target(closed.plugin.as_str(), timeout).await
    }

    async fn awaited(
        &self,
        plugin: &str,
        timeout: Option<Duration>,
    ) -> Result<CallTarget, CallError> {
        if let Some(refused) = self.refusal(plugin) {
            return Err(refused);
        }
        let status = self.came_up(plugin, timeout).await;
        let target = status.and_then(|status| status.target());
        target.ok_or_else(|| self.not_called(plugin))
    }

    /// Returns the reason why a plugin must not be called, running or not: its policy, or that it
    /// is disabled.
    fn refusal(&self, plugin: &str) -> Option<CallError> {
        let snapshot = self.inner.registry.peek();
        let status = snapshot.get(plugin)?;
        let refused = |reason: String| CallError::Refused {
            plugin: status.name.clone(),
            reason,
        };
        match self.inner.registry.host_api.admit(&status.name) {
            Err(error) => Some(refused(error.to_string())),
            Ok(_) if status.state == PluginState::Disabled => {
                Some(refused("it is disabled".to_owned()))
            }
            Ok(_) => None,
        }
    }

    /// Returns the error for a call of a plugin that does not serve.
    pub fn not_called(&self, plugin: &str) -> CallError {
        if let Some(refused) = self.refusal(plugin) {
            return refused;
        }
        match self.inner.registry.peek().get(plugin) {
            Some(status) => not_running(status),
            None => CallError::UnknownPlugin {
                plugin: crate::log::cut(plugin, 128).to_owned(),
            },
        }
    }

    /// Waits for a plugin that is coming up: at its very first start, while a new version starts
    /// after the old one had to end, or while it restarts after it ended by itself. Waits as long
    /// as a call would, and at most `timeout`; returns at once if the plugin is not coming up.
    /// Returns its status after the wait, or `None` if there is no such plugin.
    pub async fn came_up(
        &self,
        plugin: &str,
        timeout: Option<Duration>,
    ) -> Option<Arc<PluginStatus>> {
        let mut changed = self.changed();
        let status = self.snapshot().get(plugin).cloned()?;
        let Some(awaited) = &status.awaited else {
            return Some(status);
        };
        let Some(_place) = awaited.waiters.enter(START_WAITERS_MAX) else {
            return Some(status);
        };
        let limit = timeout.map_or(awaited.limit, |timeout| awaited.limit.min(timeout));
        let up = async {
            while self
                .snapshot()
                .get(plugin)
                .is_some_and(|status| status.awaited.is_some())
            {
                // The sender lives as long as the runtime.
                let _ = changed.changed().await;
            }
        };
        let _ = tokio::time::timeout(limit, up).await;
        self.snapshot().get(plugin).cloned()
    }

    /// Waits until a closed generation is no longer the one that serves, which takes a moment.
    async fn left(&self, serving: &Arc<Instance>, timeout: Option<Duration>) {
        let mut changed = self.changed();
        let left = async {
            let serves = |status: &PluginStatus| {
                let now = status.instance.as_ref();
                now.is_some_and(|now| Arc::ptr_eq(now, serving))
            };
            while self
                .snapshot()
                .get(serving.plugin.as_str())
                .is_some_and(|status| serves(status))
            {
                // The sender lives as long as the runtime.
                let _ = changed.changed().await;
            }
        };
        let limit = timeout.map_or(RESTART_WAIT, |timeout| RESTART_WAIT.min(timeout));
        let _ = tokio::time::timeout(limit, left).await;
    }

    /// Returns the log of a plugin, oldest entry first; `None` if there is no such plugin.
    pub fn logs(&self, plugin: &str, query: &LogQuery) -> Option<Vec<LogEntry>> {
        self.log_of(plugin).map(|log| log.read(query))
    }

    pub(crate) fn log_of(&self, plugin: &str) -> Option<LogSink> {
        let plugins = self.inner.plugins.lock();
        plugins.get(plugin).map(|plugin| plugin.log().clone())
    }

    /// Stops all plugins, in parallel, each in order: refuses new calls, lets running ones finish,
    /// sends Shutdown and Quit, kills the rest of the processes. Returns when no process is left.
    /// Idempotent.
    pub async fn shutdown(&self) {
        self.inner.end();
        let in_order = async {
            // A plugin ends after those that depend on it.
            self.inner.registry.idle().await;
        };
        if tokio::time::timeout(SHUTDOWN_ORDER_MAX, in_order)
            .await
            .is_err()
        {
            for plugin in self.inner.plugins.lock().values() {
                plugin.apply(None);
            }
            self.inner.registry.idle().await;
        }
        let removed = || crate::dirs::removed(REMOVAL_TIMEOUT);
        let _ = tokio::task::spawn_blocking(removed).await;
    }
}

fn not_running(status: &PluginStatus) -> CallError {
    let reason = match &status.state {
        PluginState::Waiting { reason } => reason.clone(),
        PluginState::Starting => "it is starting; try again in a moment".to_owned(),
        other => match other.error() {
            Some(error) => error.to_owned(),
            None => format!("it is {other}"),
        },
    };
    CallError::NotRunning {
        plugin: status.name.clone(),
        reason,
    }
}
