//! The runtime: starts the plugins of a directory, routes calls to them, stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::{BasicHostApi, CallPlugins, HostApi, HostError, OutgoingCall};
use gk_manifest::{PluginName, ResourceRequest};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::calls::{Account, CallContext, CallTarget, Entry, Refused};
use crate::config::{RuntimeConfig, made};
use crate::discover::{Discovered, Discovery, Problem, discover};
use crate::environment::PluginVariables;
use crate::error::{CallError, ReloadError, StartError};
use crate::files::is_settled;
use crate::generation::{GenerationState, GenerationStatus, Package};
use crate::hub::Hub;
use crate::launch::{Launcher, ProcessLauncher};
use crate::limits::{GONE_AFTER, REMOVAL_TIMEOUT, RESCAN_INTERVAL};
use crate::log::{LogEntry, LogLevel, LogQuery};
use crate::plugin::{Offer, Plugin};
use crate::snapshot::{Candidate, PluginState, PluginStatus, Snapshot};
use crate::watch::{Changes, Watch};

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reloaded {
    /// What is there serves: the number of its generation.
    Serving(u64),
    /// What is there was started and did not come up; what ran before goes on, or nothing does.
    Failed {
        /// Why.
        error: String,
    },
    /// It is still starting.
    Starting,
    /// Nothing of the plugin is to run: it is blocked, or the host stops.
    Stopped,
}

impl Reloaded {
    fn of(status: &PluginStatus) -> Self {
        match (&status.candidate, &status.state) {
            (
                Some(Candidate {
                    error: Some(error), ..
                }),
                _,
            ) => Self::Failed {
                error: error.clone(),
            },
            (_, PluginState::Failed { error }) => Self::Failed {
                error: error.clone(),
            },
            (_, PluginState::Running) => Self::Serving(status.generation),
            (_, PluginState::Starting) => Self::Starting,
            _ => Self::Stopped,
        }
    }
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
        context.request_id = call.request_id;
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
    plugins: Mutex<BTreeMap<PluginName, Arc<Plugin>>>,
    /// Held while the plugins directory is looked through.
    looked: Mutex<Looked>,
    changes: Arc<Changes>,
    stopping: AtomicBool,
}

/// What earlier looks at the plugins directory found.
#[derive(Debug, Default)]
struct Looked {
    /// Plugins that are no longer there, and since when.
    gone: BTreeMap<PluginName, Instant>,
    /// What was told about directories that hold no plugin.
    problems: Vec<Problem>,
    left_alone: Vec<String>,
    /// Which variables are whose, and the names that this follows from.
    variables: Option<(BTreeSet<PluginName>, BTreeSet<String>, Arc<PluginVariables>)>,
}

impl Inner {
    /// Looks through the plugins directory: plugins that are not known yet are started, those that are get what is
    /// there now, as `offer` says; `named` is one for which something else is meant. Says whether it should be looked
    /// again soon. Blocks.
    fn look(&self, offer: Offer, named: Option<(&PluginName, Offer)>) -> Result<bool, StartError> {
        let mut looked = self.looked.lock();
        if self.stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        let config = &self.hub.config;
        let work_root = made("data directory", &config.data_dir)?.join("plugins");
        // Not made anew: whoever moves it away is about to put another one there.
        let discovery = discover(&config.plugins_dir).map_err(|source| StartError::Directory {
            what: "plugins directory",
            path: config.plugins_dir.clone(),
            source,
        })?;
        let Discovery {
            plugins,
            mut problems,
            other_names,
            left_alone,
        } = discovery;
        let new = |text: &&String| !looked.left_alone.contains(text);
        left_alone
            .iter()
            .filter(new)
            .for_each(|text| tracing::info!("{text}"));
        looked.left_alone = left_alone;
        let found: BTreeSet<PluginName> = plugins.iter().map(|found| found.name.clone()).collect();
        self.name_by_directory(&mut problems, &found);
        let requests = self.requests(&plugins, &problems);
        let variables = self.variables(&mut looked, &requests, other_names);
        self.hub.host_api.installed(&requests);
        let with_problem = problems.iter().filter_map(|problem| problem.name.clone());
        let present = found.iter().cloned().chain(with_problem).collect();
        let gone = named
            .map(|(name, _)| name)
            .filter(|name| !found.contains(*name));
        let mut again = self.remove_gone(&mut looked, &present, offer == Offer::Start, gone);
        self.take_problems(&mut looked, problems, &found);
        for found in plugins {
            again |= !is_settled(found.stamps);
            let name = found.name.clone();
            let package = Package {
                work_dir: work_root.join(name.as_str()),
                found,
                variables: Arc::clone(&variables),
            };
            let offer = match named {
                Some((named, offer)) if *named == name => offer,
                _ => offer,
            };
            let known = self.plugins.lock().get(&name).cloned();
            match known {
                Some(plugin) => {
                    plugin.offer(package, offer);
                    // Whether one that could not be started is started now that it can be, is for `offer` to say, too.
                    if offer != Offer::Tell {
                        self.admit(&name);
                    }
                }
                None if offer == Offer::Tell => {}
                None => self.add(package),
            }
        }
        Ok(again)
    }

    /// A directory that is a known plugin's, and cannot be read as one now, is still that plugin's, whatever it is called.
    fn name_by_directory(&self, problems: &mut [Problem], found: &BTreeSet<PluginName>) {
        let plugins = self.plugins.lock();
        for problem in problems {
            let known = plugins.iter().find(|(name, plugin)| {
                !found.contains(*name) && plugin.dir().is_some_and(|dir| dir == problem.dir)
            });
            if let Some((name, _)) = known {
                problem.name = Some(name.clone());
            }
        }
    }

    /// What plugins ask for. One that is not found at this moment may run all the same, and what is its own stays so.
    fn requests(
        &self,
        plugins: &[Discovered],
        problems: &[Problem],
    ) -> BTreeMap<PluginName, ResourceRequest> {
        let named = problems.iter().filter_map(|problem| problem.name.clone());
        let mut requests: BTreeMap<_, _> = named
            .map(|name| (name, ResourceRequest::default()))
            .collect();
        for (name, plugin) in self.plugins.lock().iter() {
            requests.insert(name.clone(), plugin.request());
        }
        for found in plugins {
            requests.insert(found.name.clone(), found.manifest.resources.clone());
        }
        requests
    }

    /// Which variables are whose; assigned, and told of, only when the names have changed.
    fn variables(
        &self,
        looked: &mut Looked,
        requests: &BTreeMap<PluginName, ResourceRequest>,
        other_names: BTreeSet<String>,
    ) -> Arc<PluginVariables> {
        let names: BTreeSet<PluginName> = requests.keys().cloned().collect();
        if let Some((known, others, variables)) = &looked.variables
            && (known, others) == (&names, &other_names)
        {
            return Arc::clone(variables);
        }
        let all = self.hub.config.variables.iter().cloned();
        let variables = Arc::new(PluginVariables::assign(&names, &other_names, all));
        looked.variables = Some((names, other_names, Arc::clone(&variables)));
        variables
    }

    /// Ends plugins that have been gone for a while, where `all` do, and the `named` one at once; forgets them when
    /// nothing of them is left. Says whether any is on its way.
    fn remove_gone(
        &self,
        looked: &mut Looked,
        present: &BTreeSet<PluginName>,
        all: bool,
        named: Option<&PluginName>,
    ) -> bool {
        let now = Instant::now();
        let mut plugins = self.plugins.lock();
        looked.gone.retain(|name, _| !present.contains(name));
        let missing: Vec<_> = plugins
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        for name in &missing {
            let since = *looked.gone.entry(name.clone()).or_insert(now);
            let Some(plugin) = plugins.get(name) else {
                continue;
            };
            let due = all && now.saturating_duration_since(since) >= GONE_AFTER;
            if !due && named != Some(name) {
                continue;
            }
            if !plugin.is_idle() {
                plugin.say(LogLevel::Info, "its package is gone: it is stopped");
                plugin.stop();
                continue;
            }
            tracing::info!(plugin = %name, "removed; its data stays");
            plugins.remove(name);
            looked.gone.remove(name);
            self.hub.forget(name);
        }
        all && !missing.is_empty()
    }

    /// Directories whose plugin cannot be started: of a plugin that is known, what runs goes on; another one is that
    /// plugin, failed; what names no plugin is only told.
    fn take_problems(
        &self,
        looked: &mut Looked,
        problems: Vec<Problem>,
        found: &BTreeSet<PluginName>,
    ) {
        let mut known = self.plugins.lock();
        let mut nameless = Vec::new();
        for problem in problems {
            let name = problem.name.clone().filter(|name| !found.contains(name));
            let Some(name) = name else {
                nameless.push(problem);
                continue;
            };
            let error = format!("plugin \"{name}\": {}", problem.error);
            if let Some(plugin) = known.get(&name) {
                plugin.refuse(error);
                continue;
            }
            tracing::error!(dir = %problem.dir.display(), "{}", problem.error);
            let state = GenerationState::Failed { error };
            let status = GenerationStatus::not_started(problem.dir, state);
            let plugin = Plugin::new(Arc::clone(&self.hub), name.clone(), None, status);
            plugin.show();
            known.insert(name, plugin);
        }
        for problem in nameless
            .iter()
            .filter(|problem| !looked.problems.contains(problem))
        {
            tracing::error!(dir = %problem.dir.display(), "{}", problem.error);
        }
        if looked.problems != nameless {
            looked.problems.clone_from(&nameless);
            self.hub.publish_problems(nameless);
        }
    }

    /// A plugin that was not known: its first generation begins, unless the operator has blocked it.
    fn add(&self, package: Package) {
        let Discovered { name, dir, .. } = package.found.clone();
        let status = GenerationStatus {
            manifest: Some(Arc::clone(&package.found.manifest)),
            warnings: package.found.warnings.clone().into(),
            ..GenerationStatus::not_started(dir.clone(), GenerationState::Stopped)
        };
        let mut plugins = self.plugins.lock();
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        let plugin = Plugin::new(Arc::clone(&self.hub), name.clone(), Some(package), status);
        plugin.say(LogLevel::Info, format!("discovered in {}", dir.display()));
        plugins.insert(name.clone(), plugin);
        drop(plugins);
        self.admit(&name);
    }

    /// Lets a plugin run, or not, as its policy says. What is decided is done before anybody decides anew.
    fn admit(&self, name: &PluginName) {
        let plugins = self.plugins.lock();
        let Some(plugin) = plugins.get(name) else {
            return;
        };
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        match self.hub.host_api.admit(name) {
            Ok(_) => plugin.run(),
            Err(_) => plugin.block(),
        }
    }

    /// Looks whenever something may have changed, until the runtime is gone.
    async fn follow(inner: Weak<Self>, changes: Arc<Changes>, dir: PathBuf, offer: Offer) {
        let mut watch = None;
        let mut failed = String::new();
        loop {
            if offer != Offer::Tell {
                // Another directory may be at the path by now.
                let (dir, changes, before) = (dir.clone(), Arc::clone(&changes), watch.take());
                let renew = move || Watch::renew(before, &dir, &changes);
                watch = tokio::task::spawn_blocking(renew).await.ok();
            }
            changes.due(RESCAN_INTERVAL).await;
            let Some(inner) = inner.upgrade() else {
                return;
            };
            let look = tokio::task::spawn_blocking(move || inner.look(offer, None));
            match look.await {
                Ok(Ok(again)) => {
                    failed.clear();
                    if again {
                        changes.mark();
                    }
                }
                Ok(Err(error)) => {
                    let text = crate::error::chain(&error);
                    if text != failed {
                        tracing::error!(
                            error = text,
                            "the plugins cannot be looked for; those that run go on"
                        );
                        failed = text;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a look at the plugins failed; please report this")
                }
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Wakes who follows, to find nothing to follow.
        self.changes.mark();
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
        let changes = Arc::<Changes>::default();
        let inner = Arc::new(Inner {
            hub: Arc::new(Hub::new(config, launcher, host_api)),
            plugins: Mutex::default(),
            looked: Mutex::default(),
            changes: Arc::clone(&changes),
            stopping: AtomicBool::new(false),
        });
        inner.look(Offer::Start, None)?;
        tokio::spawn(Inner::follow(Arc::downgrade(&inner), changes, dir, offer));
        Ok(Self { inner })
    }

    /// Looks at a plugin's files now and starts what is there beside what runs, with `force` also if it is the same.
    /// Returns once it is known what came of it, at most after `wait`; the plugin's status says more.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub async fn reload(
        &self,
        plugin: &str,
        force: bool,
        wait: Duration,
    ) -> Result<Reloaded, ReloadError> {
        let unknown = || ReloadError::Unknown {
            plugin: crate::log::cut(plugin, 128).to_owned(),
        };
        let name = PluginName::new(plugin).map_err(|_| unknown())?;
        let inner = Arc::clone(&self.inner);
        let known = name.clone();
        let look = tokio::task::spawn_blocking(move || {
            let named = match force {
                true => Offer::Force,
                false => Offer::Start,
            };
            let others = match inner.hub.config.hot_reload {
                true => Offer::Start,
                false => Offer::Tell,
            };
            inner.look(others, Some((&known, named)))
        });
        look.await
            .map_err(|error| ReloadError::Look(error.to_string()))?
            .map_err(|error| ReloadError::Look(crate::error::chain(&error)))?;
        let mut changed = self.changed();
        let settled = async {
            loop {
                let snapshot = self.snapshot();
                let status = snapshot.get(plugin).ok_or_else(unknown)?;
                if status.is_settled {
                    return Ok(Reloaded::of(status));
                }
                // The sender lives as long as the runtime.
                let _ = changed.changed().await;
            }
        };
        match tokio::time::timeout(wait, settled).await {
            Ok(reloaded) => reloaded,
            Err(_) => Ok(Reloaded::Starting),
        }
    }

    /// The operator has changed a plugin's policy: one that is blocked ends, one that no longer is starts, and so does
    /// one that has failed, perhaps for what it was not granted.
    pub fn policy_changed(&self, plugin: &PluginName) {
        self.inner.admit(plugin);
        let known = self.inner.plugins.lock().get(plugin).cloned();
        if let Some(known) = known {
            known.wake();
        }
    }

    /// All plugins at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.hub.snapshot()
    }

    /// Changes whenever a new snapshot is there.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.hub.changed()
    }

    /// Waits until every plugin has come up, failed or been stopped.
    pub async fn settled(&self) {
        let mut changed = self.changed();
        while !self
            .snapshot()
            .plugins
            .iter()
            .all(|status| status.is_settled)
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
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        let target = self.target(plugin)?;
        self.call_on(&target, function, args, context).await
    }

    /// As [`Runtime::call`], in the generation that `target` is. If that one takes no more calls and another one
    /// serves, the call goes there: nothing of it was sent.
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
        let plugin = target.plugin();
        let refused = |reason: String| CallError::Refused {
            plugin: plugin.clone(),
            reason,
        };
        let admission = self.inner.hub.host_api.admit(plugin);
        let mut admission = admission.map_err(|error| refused(error.to_string()))?;
        let mut entry = Entry::new(&admission, &context);
        let account = Account::new(&target.0, function, &context, entry.arrived());
        let outcome = tokio::select! {
            biased;
            outcome = self.enter_and_call(target, &mut entry, function, args, context) => outcome,
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
            // It closed since it was found, or while the call waited. Nothing was sent, so the call may go to the one
            // that serves now.
            let now = self.target(target.plugin().as_str())?.0;
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

    /// Asks a running plugin for a sign of life and says how long that took.
    ///
    /// # Errors
    /// As [`Runtime::call`]; the limit is [`CONTROL_TIMEOUT`](crate::limits::CONTROL_TIMEOUT).
    pub async fn ping(&self, plugin: &str) -> Result<Duration, CallError> {
        self.target(plugin)?.0.ping().await
    }

    /// The generation of a plugin that serves now.
    fn target(&self, plugin: &str) -> Result<CallTarget, CallError> {
        let snapshot = self.inner.hub.peek();
        let Some(status) = snapshot.get(plugin) else {
            return Err(CallError::UnknownPlugin {
                plugin: crate::log::cut(plugin, 128).to_owned(),
            });
        };
        match status.target() {
            Some(target) => Ok(target),
            // As if it ran: it may not be called in either case.
            None => match self.inner.hub.host_api.admit(&status.name) {
                Err(error) => Err(CallError::Refused {
                    plugin: status.name.clone(),
                    reason: error.to_string(),
                }),
                Ok(_) => Err(not_running(status)),
            },
        }
    }

    /// The log of a plugin, oldest entry first; `None` if there is no such plugin.
    pub fn logs(&self, plugin: &str, query: &LogQuery) -> Option<Vec<LogEntry>> {
        let plugins = self.inner.plugins.lock();
        let log = plugins.get(plugin).map(|plugin| plugin.log().clone());
        drop(plugins);
        log.map(|log| log.read(query))
    }

    /// Stops all plugins, in parallel, each in order: no new calls, running ones finished,
    /// Shutdown, Quit, and what is left is killed. Returns when none is left; idempotent.
    pub async fn shutdown(&self) {
        let plugins: Vec<_> = {
            let plugins = self.inner.plugins.lock();
            self.inner.stopping.store(true, Ordering::Release);
            plugins.values().cloned().collect()
        };
        plugins.iter().for_each(|plugin| plugin.end());
        self.inner.hub.idle().await;
        let removed = || crate::dirs::removed(REMOVAL_TIMEOUT);
        let _ = tokio::task::spawn_blocking(removed).await;
    }
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
