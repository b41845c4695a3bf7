//! Carries out the actions of a plugin's state machine, and passes events to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use gk_manifest::{Manifest, PluginName, ReloadStrategy, ResourceRequest};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::lifecycle::{Action, Lifecycle, Replacement, Source};
use super::restarts::{Now, Restarts};
use super::state::State;
use super::view;
use super::will::Will;
use crate::files::Files;
use crate::generation::{Generation, GenerationState, GenerationStatus, Owner, Package, Stop};
use crate::kept::KeptFile;
use crate::log::{LogLevel, LogSink};
use crate::metrics;
use crate::registry::Registry;

/// A plugin. Its log outlives its processes; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(super) name: PluginName,
    pub(super) log: LogSink,
    pub(super) registry: Arc<Registry>,
    pub(super) own: Weak<Plugin>,
    pub(super) state: Mutex<State>,
    /// Held while the file is written, so that an older state never replaces a newer one.
    pub(super) kept: Mutex<KeptFile>,
}

impl Plugin {
    /// Creates a plugin without a process. Its status is `status` once it is
    /// [published](Self::show). `package` is the one to start.
    pub(crate) fn new(
        registry: Arc<Registry>,
        name: PluginName,
        package: Option<Package>,
        status: GenerationStatus,
    ) -> Arc<Self> {
        let kept = KeptFile::new(&registry.config.data_dir, &name);
        let log = LogSink::new(name.clone());
        let (enabled, history) = match kept.load() {
            Ok(kept) => (kept.enabled, kept.crashes),
            Err(error) => {
                let path = kept.path().display();
                let until = (registry.config.hints.enable)(name.as_str());
                let text = format!(
                    "whether it is enabled cannot be read from {path} ({error}): it stays disabled until {until}"
                );
                log.host(0, LogLevel::Error, text);
                (false, None)
            }
        };
        let elsewhere = registry.config.enabled.read().get(name.as_str()).copied();
        let enabled = elsewhere.unwrap_or(enabled);
        // Without a random seed, plugins that crash together would also restart together; nothing
        // else depends on it.
        let mut restarts = Restarts::new(getrandom::u64().unwrap_or_default());
        let digest = history.map(|(digest, history)| {
            restarts.recall(&history, Now::new());
            digest
        });
        Arc::new_cyclic(|own| Self {
            log,
            name,
            registry,
            own: own.clone(),
            state: Mutex::new(State {
                lifecycle: Lifecycle::new(status, restarts),
                package,
                tried: None,
                tried_dir: None,
                woken: false,
                other_limits: false,
                is_held_back: false,
                basis: None,
                will: Will::new(enabled),
                digest,
                timer: None,
                started: BTreeMap::new(),
                good: None,
                previous: None,
                registration: None,
                has_settled: false,
                has_served: false,
                last_error: None,
                waiters: Arc::default(),
                changed: None,
                stops: BTreeMap::new(),
            }),
            kept: Mutex::new(kept),
        })
    }

    /// Publishes the present status.
    pub(crate) fn show(&self) {
        self.publish(&self.state.lock());
    }

    pub(crate) fn log(&self) -> &LogSink {
        &self.log
    }

    /// Logs a message of the host that concerns no single generation.
    pub(crate) fn log_line(&self, level: LogLevel, text: impl Into<String>) {
        self.log.host(0, level, text);
    }

    /// Returns the resources that its plugin.yaml asks for, if that is known.
    pub(crate) fn request(&self) -> ResourceRequest {
        let state = self.state.lock();
        let package = state.package.as_ref();
        package
            .map(|package| package.found.manifest.resources.clone())
            .unwrap_or_default()
    }

    /// Returns the directory of its package, if that is known.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        let state = self.state.lock();
        state
            .package
            .as_ref()
            .map(|package| package.found.dir.clone())
    }

    /// Returns true if the plugin has no process.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().lifecycle.is_idle()
    }

    /// Returns true if a generation serves or is coming back, and a version with this manifest
    /// would have other dependencies.
    pub(crate) fn would_need_others(&self, manifest: &Manifest) -> bool {
        let state = self.state.lock();
        let lifecycle = &state.lifecycle;
        let known = match lifecycle.serving() {
            Some(_) => lifecycle.current().manifest.as_ref(),
            None if lifecycle.is_returning() => {
                state.good.as_ref().map(|good| &good.found.manifest)
            }
            None => None,
        };
        known.is_some_and(|known| known.dependencies != manifest.dependencies)
    }

    /// Takes in the status that a generation's task reports.
    fn report(&self, status: GenerationStatus) {
        let has_ended = status.state.has_ended();
        let has_failed = matches!(status.state, GenerationState::Failed { .. });
        let is_up = status.state == GenerationState::Up;
        let (generation, pinned) = (status.generation, status.verified.clone());
        let again = {
            let mut state = self.state.lock();
            if has_ended {
                state.stops.remove(&generation);
            }
            if let Some(verified) = &status.verified
                && generation == state.lifecycle.newest()
            {
                state.basis = Some((generation, Arc::clone(&verified.files)));
            }
            let over = has_failed || is_up;
            over && std::mem::take(&mut state.woken) && has_failed
        };
        let is_other = is_up && std::mem::take(&mut self.state.lock().other_limits);
        self.step(|lifecycle, now| lifecycle.report(status, now));
        if again {
            self.start_from(false);
        }
        if is_other {
            self.limits_changed();
        }
        if has_ended {
            self.state.lock().started.remove(&generation);
            if let Some(pinned) = pinned {
                self.let_go(&pinned.files);
            }
        }
        if has_failed {
            self.keep();
        }
    }

    /// Drops the pinned bytes of a binary that is not the plugin's any more. Processes that still
    /// run have their own copy.
    fn let_go(&self, ended: &Files) {
        let state = self.state.lock();
        let current = state.lifecycle.current().verified.as_ref();
        if current.is_none_or(|verified| verified.files.digest() != ended.digest()) {
            self.registry.pinned.remove(ended.digest());
        }
    }

    /// Passes an event to the state machine, and carries out the actions. Does not wait.
    pub(super) fn step(&self, tell: impl FnOnce(&mut Lifecycle, Now) -> Vec<Action>) {
        let now = Now::new();
        let mut state = self.state.lock();
        let (before, served) = (state.lifecycle.revision(), state.lifecycle.serving());
        let shown = view::state_of(&self.name, &state);
        let was_there = served.is_some() || state.lifecycle.is_returning();
        let was_looping = state.lifecycle.restarts().is_looping();
        let mut actions = tell(&mut state.lifecycle, now);
        self.identify(&mut state);
        let mut stops = Vec::new();
        while let Some(action) = actions.pop() {
            match action {
                Action::Stop(number) => stops.push(number),
                Action::Start(number, source) => {
                    actions.extend(self.begin(&mut state, number, source, now));
                }
            }
        }
        self.wake_at(&mut state);
        let serving = state.lifecycle.serving().filter(|now| served != Some(*now));
        if let Some(serving) = serving {
            // Committed before the first call finds the generation: its registration holds from now
            // on.
            self.registry.host_api.commit(&self.name, serving);
            self.came_up(&mut state, serving);
        }
        let is_there =
            |lifecycle: &Lifecycle| lifecycle.serving().is_some() || lifecycle.is_returning();
        if was_there && !is_there(&state.lifecycle) {
            self.registry.host_api.stopped(&self.name);
        }
        if state.lifecycle.serving() != served {
            let serving = state.lifecycle.serving().unwrap_or_default();
            metrics::serving(self.name.as_str(), serving);
        }
        let looping = state.lifecycle.restarts().is_looping();
        if looping != was_looping {
            metrics::crash_looping(self.name.as_str(), looping);
        }
        let now = state.lifecycle.current().state.clone();
        let shows = view::state_of(&self.name, &state);
        if shows.as_str() != shown.as_str() {
            metrics::transition(self.name.as_str(), shows.as_str());
        }
        state.has_settled |= now != GenerationState::Stopped && view::is_settled(&state);
        if let GenerationState::Failed { error, .. } = now {
            state.last_error = Some(error.into());
        }
        if state.lifecycle.revision() != before {
            self.publish(&state);
        }
        // Old generations stop only after calls find the new one.
        for number in stops {
            let is_current = state.lifecycle.current().generation == number;
            if let Some(stop) = state.stops.get(&number) {
                stop.send_replace(match is_current {
                    true => Stop::Ended,
                    false => Stop::Replaced,
                });
            }
        }
    }

    /// Counts crashes for the present binary only: forgets those of another one.
    fn identify(&self, state: &mut State) {
        let Some(verified) = &state.lifecycle.current().verified else {
            return;
        };
        let digest = verified.files.digest().to_string();
        if state.digest.as_ref() == Some(&digest) {
            return;
        }
        if state.digest.replace(digest).is_some() && !state.has_served {
            // The crashes are those of an earlier start of the host.
            state.lifecycle.forget_crashes();
        }
    }

    /// Remembers the generation that serves now as one to return to.
    fn came_up(&self, state: &mut State, generation: u64) {
        let current = state.lifecycle.current();
        state.registration.clone_from(&current.registration);
        state.has_served = true;
        let (Some(package), Some(verified)) = (
            state.started.get(&generation).cloned(),
            current.verified.clone(),
        ) else {
            return;
        };
        let is_same = |good: &Package| {
            good.pinned.as_ref().is_some_and(|pinned| {
                pinned.files.digest() == verified.files.digest()
                    && pinned.manifest == verified.manifest
            })
        };
        if !state.good.as_ref().is_some_and(is_same) {
            state.previous = state.good.take();
        }
        state.good = Some(Package {
            pinned: Some(verified),
            ..package
        });
    }

    /// Sets the timer to the time at which the state machine wants to run next.
    fn wake_at(&self, state: &mut State) {
        let wake = state.lifecycle.wake();
        if state.timer.as_ref().map(|(at, _)| *at) == wake {
            return;
        }
        if let Some((_, earlier)) = state.timer.take() {
            earlier.abort();
        }
        let Some(at) = wake else {
            return;
        };
        let own = self.own.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(plugin) = own.upgrade() {
                plugin.step(Lifecycle::settle);
                plugin.keep();
            }
        });
        state.timer = Some((at, timer.abort_handle()));
    }

    /// Starts a generation; returns the actions that follow.
    fn begin(&self, state: &mut State, number: u64, source: Source, now: Now) -> Vec<Action> {
        let present = state.package.clone();
        let package = match source {
            Source::Present => present,
            Source::Good => state.good.clone().or(present),
            Source::Previous => state.previous.clone(),
        };
        let Some(package) = package else {
            state.lifecycle.not_begun();
            return Vec::new();
        };
        let has_failed = |state: &State| {
            matches!(
                state.lifecycle.current().state,
                GenerationState::Failed { .. }
            )
        };
        if has_failed(state) {
            metrics::restarted(self.name.as_str());
        }
        let replacement = replacement(&package);
        let status = Generation::initial(&package, number);
        let (stop, stopped) = watch::channel(Stop::No);
        state.stops.insert(number, stop);
        if source == Source::Present {
            state.tried = Some(package.found.stamps);
            state.tried_dir = Some((package.found.dir.clone(), package.found.tree.stamp()));
            state.changed = None;
        }
        state.started.insert(number, package.clone());
        let own = self.own.clone();
        let owner = Owner {
            plugin: self.name.clone(),
            log: self.log.clone(),
            report: Box::new(move |status| {
                if let Some(plugin) = own.upgrade() {
                    plugin.report(status);
                }
            }),
        };
        let generation =
            Generation::new(Arc::clone(&self.registry), owner, package, status.clone());
        generation.spawn(stopped);
        state.lifecycle.begun(status, replacement, now)
    }

    /// Publishes the status. Runs under the lock of the state, so that an older status never
    /// replaces a newer one.
    pub(super) fn publish(&self, state: &State) {
        self.registry.publish(view::view(&self.name, state));
    }
}

/// Returns how the next generation replaces one of this package.
fn replacement(package: &Package) -> Replacement {
    match package.found.manifest.reload.strategy {
        ReloadStrategy::Recreate => Replacement::Recreate,
        _ => Replacement::Rolling,
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some((_, timer)) = self.state.get_mut().timer.take() {
            timer.abort();
        }
    }
}
