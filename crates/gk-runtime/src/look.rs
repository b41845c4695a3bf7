//! Scans the plugins directory, and brings the known plugins in line with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use gk_manifest::{PluginName, ResourceRequest};

use crate::config::made;
use crate::discover::{Discovered, Discovery, Problem, discover};
use crate::environment::PluginVariables;
use crate::error::StartError;
use crate::files::is_settled;
use crate::generation::{Failure, GenerationState, GenerationStatus, Package};
use crate::inner::{Inner, Looked};
use crate::limits::GONE_AFTER;
use crate::log::LogLevel;
use crate::plugin::{Offer, Plugin};
use crate::watch::{Changes, Watch};

impl Inner {
    /// Scans the plugins directory. New plugins are added, and known ones are offered the package
    /// found, as `offer` says; the plugin `named` gets its own offer. Returns true if another scan
    /// is needed soon. Blocks.
    pub(crate) fn look(
        &self,
        offer: Offer,
        named: Option<(&PluginName, Offer)>,
    ) -> Result<bool, StartError> {
        let mut looked = self.looked.lock();
        if self.stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        let config = &self.registry.config;
        let work_root = made("data directory", &config.data_dir)?.join("plugins");
        // The directory is not created here: after a move, the operator is about to put another one
        // there.
        let discovery = discover(&config.plugins_dir, &mut looked.manifests);
        let discovery = discovery.map_err(|source| StartError::Directory {
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
        if looked.installed.as_ref() != Some(&requests) {
            self.registry.host_api.installed(&requests);
            looked.installed = Some(requests);
        }
        let with_problem = problems.iter().filter_map(|problem| problem.name.clone());
        let present = found.iter().cloned().chain(with_problem).collect();
        let gone = named
            .map(|(name, _)| name)
            .filter(|name| !found.contains(*name));
        let mut again = self.remove_gone(&mut looked, &present, offer == Offer::Start, gone);
        // Packages that are still being written are read once they are complete.
        let is_written = |dir: &Path| self.changes.is_written(dir);
        problems.retain(|problem| {
            let waits = is_written(&problem.dir);
            again |= waits;
            !waits
        });
        self.take_problems(&mut looked, problems, &found);
        let stamp = self.registry.signatures.load().stamp();
        let is_revoked = std::mem::replace(&mut looked.revocations, stamp) != stamp;
        for found in plugins {
            let name = found.name.clone();
            let is_named = named.is_some_and(|(named, _)| *named == name);
            if !is_named && is_written(&found.dir) {
                again = true;
                continue;
            }
            again |= !is_settled(found.stamps);
            let package = Package {
                work_dir: work_root.join(name.as_str()),
                found,
                variables: Arc::clone(&variables),
                pinned: None,
            };
            let offer = match named {
                Some((named, offer)) if *named == name => offer,
                _ => offer,
            };
            let known = self.plugins.lock().get(&name).cloned();
            match known {
                Some(plugin) => {
                    plugin.will(|will| will.gone = false);
                    let manifest = &package.found.manifest;
                    let lacking = match offer != Offer::Tell && plugin.would_need_others(manifest) {
                        true => self.lacks(manifest),
                        false => None,
                    };
                    match lacking {
                        // The new package would be held back at once, with no generation in its
                        // place.
                        Some(error) => plugin.hold_back(error),
                        None => plugin.offer(package, offer),
                    }
                }
                None if offer == Offer::Tell => {}
                None => self.add(package),
            }
        }
        if is_revoked && !self.review_trust() {
            // The content of the file is not known yet, so read it again next time.
            looked.revocations = None;
        }
        self.reconcile();
        Ok(again)
    }

    /// Gives a problem the name of the known plugin in its directory, even if the directory is
    /// called otherwise: the package may only be unreadable for now.
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

    /// Returns the resource requests of all plugins. A plugin that is not found at this moment may
    /// run all the same, and keeps its resources.
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

    /// Assigns the variables to plugins, with the warnings about them, only when the names have
    /// changed.
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
        let all = self.registry.config.variables.iter().cloned();
        let variables = Arc::new(PluginVariables::assign(&names, &other_names, all));
        looked.variables = Some((names, other_names, Arc::clone(&variables)));
        variables
    }

    /// Ends plugins that have been gone for a while, if `all` is set, and the `named` one at once.
    /// Forgets them when no process of them is left. Returns true if any removal is pending.
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
            plugin.will(|will| will.gone = true);
            if !plugin.is_idle() {
                continue;
            }
            tracing::info!(plugin = %name, "removed; its data stays");
            plugins.remove(name);
            looked.gone.remove(name);
            self.registry.forget(name);
            self.registry.host_api.removed(name);
        }
        all && !missing.is_empty()
    }

    /// Takes in directories whose plugin cannot be started. A known plugin goes on running, and
    /// reports the error; an unknown one is added as failed; a problem without a name is only
    /// reported.
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
            let failure = Failure::Refused;
            let state = GenerationState::Failed { error, failure };
            let status = GenerationStatus::not_started(problem.dir, state);
            let plugin = Plugin::new(Arc::clone(&self.registry), name.clone(), None, status);
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
            self.registry.publish_problems(nameless);
        }
    }

    /// Adds a plugin that was not known. [`reconcile`](Self::reconcile) starts it, if it may run.
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
        let plugin = Plugin::new(
            Arc::clone(&self.registry),
            name.clone(),
            Some(package),
            status,
        );
        plugin.log_line(LogLevel::Info, format!("discovered in {}", dir.display()));
        let blocked = self.registry.host_api.admit(&name).is_err();
        plugin.will(|will| will.blocked = blocked);
        plugin.show();
        plugins.insert(name, plugin);
    }

    /// Scans whenever something may have changed, until the runtime is gone.
    pub(crate) async fn follow(
        inner: Weak<Self>,
        changes: Arc<Changes>,
        dir: PathBuf,
        offer: Offer,
        rescan: Duration,
    ) {
        let mut watch = None;
        let mut failed = String::new();
        loop {
            if offer != Offer::Tell {
                // Another directory may be at the path by now.
                let (dir, changes, before) = (dir.clone(), Arc::clone(&changes), watch.take());
                let renew = move || Watch::renew(before, &dir, &changes);
                watch = tokio::task::spawn_blocking(renew).await.ok();
            }
            changes.due(rescan).await;
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
