//! The runtime: starts the plugins of a directory, routes calls to them, stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::{BasicHostApi, CallPlugins, HostApi, HostError, OutgoingCall};
use gk_manifest::PluginName;
use gk_wire::MemoryBudget;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::calls::{CallContext, Instance};
use crate::discover::{Discovered, discover};
use crate::environment::{self, PluginVariables};
use crate::error::{CallError, StartError};
use crate::launch::{Launcher, ProcessLauncher};
use crate::life::Life;
use crate::limits::{PARALLEL_STARTS, REMOVAL_TIMEOUT, START_TIMEOUT};
use crate::log::{LogEntry, LogLevel, LogQuery, LogSink};
use crate::sandbox::SandboxConfig;
use crate::signatures::{Signatures, Warned};
use crate::snapshot::{PluginState, PluginStatus, Snapshot};
use crate::timeouts::Timeouts;

/// What a runtime is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// Where the plugins are; created when missing.
    pub plugins_dir: PathBuf,
    /// Where the host keeps its data; plugins get `plugins/<name>` in it as their work directory.
    pub data_dir: PathBuf,
    /// Below it are the plugins' temporary directories and sockets. Keep it short: a socket's
    /// path has at most 107 bytes.
    pub temp_dir: PathBuf,
    /// The version plugins are told, and that their `min_host_version` is compared with.
    pub host_version: String,
    /// What plugins get as `TZ`.
    pub timezone: Option<OsString>,
    /// The variables among which each plugin's own (`GOATFLOW_PLUGIN_<NAME>_<KEY>`) are looked
    /// for.
    pub variables: Vec<(OsString, OsString)>,
    /// How long a plugin may take to its handshake.
    pub start_timeout: Duration,
    /// How plugins are confined; `None` is not at all, which is warned about.
    pub sandbox: Option<SandboxConfig>,
    /// Who is trusted to sign plugins, and whether others run.
    pub signatures: Signatures,
    /// What all plugins together may make this process hold: results, requests to the host API and
    /// its answers. `None` leaves it to the limits of each connection.
    pub memory: Option<MemoryBudget>,
}

impl RuntimeConfig {
    /// A configuration that takes nothing from the environment.
    pub fn new(
        plugins_dir: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
        host_version: impl Into<String>,
    ) -> Self {
        Self {
            plugins_dir: plugins_dir.into(),
            data_dir: data_dir.into(),
            temp_dir: "/tmp".into(),
            host_version: host_version.into(),
            timezone: None,
            variables: Vec::new(),
            start_timeout: START_TIMEOUT,
            sandbox: None,
            signatures: Signatures::default(),
            memory: None,
        }
    }

    /// Takes `TZ` and the plugins' variables from this process's environment.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        self.timezone = std::env::var_os("TZ");
        self.variables = std::env::vars_os().collect();
        self
    }
}

/// A plugin that was discovered, and what belongs to it whatever its process does.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) found: Discovered,
    pub(crate) work_dir: PathBuf,
    variables: Arc<PluginVariables>,
}

impl Plugin {
    pub(crate) fn init_config(
        &self,
        config: &RuntimeConfig,
        dir: &Path,
    ) -> BTreeMap<String, String> {
        environment::init_config(
            &self.found.name,
            &config.host_version,
            dir,
            &self.work_dir,
            &self.variables,
        )
    }
}

/// What the runtime and the lives of its plugins share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: RuntimeConfig,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) host_api: Arc<dyn HostApi>,
    pub(crate) starts: Arc<Semaphore>,
    pub(crate) pinned: gk_sign::Cache,
    pub(crate) warned: Warned,
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
    /// Held while a snapshot is replaced, so that none is lost.
    writing: Mutex<()>,
}

impl Hub {
    /// Replaces a plugin's status and says that something changed.
    pub(crate) fn publish(&self, status: PluginStatus) {
        let version = {
            let _writing = self.writing.lock();
            let next = self.snapshot.load().with(status);
            let version = next.version;
            self.snapshot.store(Arc::new(next));
            version
        };
        self.changed
            .send_modify(|known| *known = version.max(*known));
    }
}

/// A plugin's log, which outlives its processes, and its present process.
#[derive(Debug)]
struct Slot {
    log: LogSink,
    stop: watch::Sender<bool>,
    life: Option<JoinHandle<()>>,
}

/// Runs plugins. A cheap clone; dropping the last one stops them, but only
/// [`Runtime::shutdown`] waits for that.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
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

#[derive(Debug)]
struct Inner {
    hub: Arc<Hub>,
    slots: Mutex<BTreeMap<PluginName, Slot>>,
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
        crate::metrics::describe();
        let work_root = made("data directory", &config.data_dir)?.join("plugins");
        let plugins_dir = made("plugins directory", &config.plugins_dir)?;
        let discovery = discover(&plugins_dir).map_err(|source| StartError::Directory {
            what: "plugins directory",
            path: plugins_dir.clone(),
            source,
        })?;
        let names: BTreeSet<PluginName> = discovery
            .plugins
            .iter()
            .map(|found| found.name.clone())
            .collect();
        let variables = Arc::new(PluginVariables::assign(
            &names,
            &discovery.other_names,
            config.variables.iter().cloned(),
        ));

        let mut snapshot = Snapshot::default();
        for problem in discovery.problems {
            tracing::error!(dir = %problem.dir.display(), "{}", problem.error);
            match &problem.name {
                Some(name) if !names.contains(name) && snapshot.get(name.as_str()).is_none() => {
                    snapshot = snapshot.with(failed(name.clone(), problem.dir, problem.error))
                }
                _ => snapshot.problems.push(problem),
            }
        }
        let requests = discovery.plugins.iter();
        let requests = requests.map(|found| (found.name.clone(), found.manifest.resources.clone()));
        host_api.installed(&requests.collect());
        let hub = Arc::new(Hub {
            config,
            launcher,
            host_api,
            starts: Arc::new(Semaphore::new(PARALLEL_STARTS)),
            pinned: gk_sign::Cache::new(),
            warned: Warned::default(),
            changed: watch::Sender::new(snapshot.version),
            snapshot: ArcSwap::from_pointee(snapshot),
            writing: Mutex::new(()),
        });
        let runtime = Self {
            inner: Arc::new(Inner {
                hub,
                slots: Mutex::default(),
            }),
        };
        for found in discovery.plugins {
            let work_dir = work_root.join(found.name.as_str());
            runtime.launch(Plugin {
                found,
                work_dir,
                variables: Arc::clone(&variables),
            });
        }
        Ok(runtime)
    }

    fn launch(&self, plugin: Plugin) {
        let hub = &self.inner.hub;
        let name = plugin.found.name.clone();
        let generation = 1;
        let log = LogSink::new(name.clone());
        log.host(
            generation,
            LogLevel::Info,
            format!("discovered in {}", plugin.found.dir.display()),
        );
        let (stop, stop_requested) = watch::channel(false);
        let is_blocked = hub.host_api.admit(&name).is_err();
        let life = Life::new(Arc::clone(hub), Arc::new(plugin), generation, log.clone());
        let life = match is_blocked {
            false => {
                life.publish();
                Some(life.spawn(stop_requested))
            }
            true => {
                life.publish_blocked();
                None
            }
        };
        self.inner
            .slots
            .lock()
            .insert(name, Slot { log, stop, life });
    }

    /// All plugins at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.hub.snapshot.load_full()
    }

    /// Changes whenever a new snapshot is there.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.hub.changed.subscribe()
    }

    /// Waits until every plugin has come up, failed or been stopped.
    pub async fn settled(&self) {
        let mut changed = self.changed();
        while !self
            .snapshot()
            .plugins
            .iter()
            .all(|status| status.state.is_settled())
        {
            // The sender lives as long as the runtime.
            let _ = changed.changed().await;
        }
    }

    /// Calls a function of a plugin.
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
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        let instance = self.instance(plugin)?;
        let admission = self.inner.hub.host_api.admit(&instance.plugin);
        let refused = |reason: String| CallError::Refused {
            plugin: instance.plugin.clone(),
            reason,
        };
        let mut admission = admission.map_err(|error| refused(error.to_string()))?;
        let limit = admission.call_timeout;
        tokio::select! {
            biased;
            result = instance.call(function, args, context, limit) => result,
            () = admission.withdrawn() => Err(refused(
                "it was blocked by its policy while the call ran".to_owned(),
            )),
        }
    }

    /// A handle that does not keep the runtime alive, for a host API that calls plugins.
    pub fn downgrade(&self) -> WeakRuntime {
        WeakRuntime(Arc::downgrade(&self.inner))
    }

    /// Asks a running plugin for a sign of life and says how long that took.
    ///
    /// # Errors
    /// As [`Runtime::call`]; the limit is [`CONTROL_TIMEOUT`](crate::limits::CONTROL_TIMEOUT).
    pub async fn ping(&self, plugin: &str) -> Result<Duration, CallError> {
        self.instance(plugin)?.ping().await
    }

    fn instance(&self, plugin: &str) -> Result<Arc<Instance>, CallError> {
        let snapshot = self.inner.hub.snapshot.load();
        let Some(status) = snapshot.get(plugin) else {
            return Err(CallError::UnknownPlugin {
                plugin: crate::log::cut(plugin, 128).to_owned(),
            });
        };
        match &status.instance {
            Some(instance) => Ok(Arc::clone(instance)),
            // As if it ran: it may not be called in either case.
            None if status.state == PluginState::Blocked => Err(CallError::Refused {
                plugin: status.name.clone(),
                reason: "it is blocked by its policy".to_owned(),
            }),
            None => Err(not_running(status)),
        }
    }

    /// The log of a plugin, oldest entry first; `None` if there is no such plugin.
    pub fn logs(&self, plugin: &str, query: &LogQuery) -> Option<Vec<LogEntry>> {
        let log = self
            .inner
            .slots
            .lock()
            .get(plugin)
            .map(|slot| slot.log.clone());
        match log {
            Some(log) => Some(log.read(query)),
            // A plugin whose manifest is bad never said anything.
            None => self.snapshot().get(plugin).map(|_| Vec::new()),
        }
    }

    /// Stops all plugins, in parallel, each in order: no new calls, running ones finished,
    /// Shutdown, Quit, and what is left is killed. Returns when none is left; idempotent.
    pub async fn shutdown(&self) {
        let lives: Vec<JoinHandle<()>> = {
            let mut slots = self.inner.slots.lock();
            slots.values_mut().for_each(|slot| {
                slot.stop.send_replace(true);
            });
            slots
                .values_mut()
                .filter_map(|slot| slot.life.take())
                .collect()
        };
        for life in lives {
            if let Err(error) = life.await {
                tracing::error!(%error, "a plugin's supervisor ended abnormally");
            }
        }
        // Another shutdown may have taken the handles and still be waiting.
        self.settled().await;
        let removed = || crate::dirs::removed(REMOVAL_TIMEOUT);
        let _ = tokio::task::spawn_blocking(removed).await;
    }
}

/// The directory, absolute, created when missing.
pub(crate) fn made(what: &'static str, path: &Path) -> Result<PathBuf, StartError> {
    std::fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .map_err(|source| StartError::Directory {
            what,
            path: path.into(),
            source,
        })
}

fn not_running(status: &PluginStatus) -> CallError {
    let reason = match &status.state {
        PluginState::Failed { error } => error.clone(),
        PluginState::Starting => "it is starting; try again in a moment".to_owned(),
        other => format!("it is {other}"),
    };
    CallError::NotRunning {
        plugin: status.name.clone(),
        reason,
    }
}

/// The entry of a directory whose manifest is bad.
fn failed(name: PluginName, dir: PathBuf, error: String) -> PluginStatus {
    let error = format!("plugin \"{name}\": {error}");
    PluginStatus {
        name,
        dir,
        generation: 0,
        state: PluginState::Failed { error },
        registration: None,
        manifest: None,
        signature: None,
        warnings: Arc::new([]),
        pid: None,
        started_at: None,
        running_since: None,
        sandbox: None,
        timeouts: Timeouts::from_resources(&gk_manifest::ResourceRequest::default()),
        changed: None,
        instance: None,
    }
}
