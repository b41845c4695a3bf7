//! One plugin, whatever its processes do: its name, its log, its generations. What people see of it is published
//! here and nowhere else.

mod lifecycle;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use gk_manifest::{PluginName, ResourceRequest};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::lifecycle::{Action, Lifecycle, Wanted};
use crate::files::{Files, Stamps, is_settled};
use crate::generation::{Generation, GenerationState, GenerationStatus, Owner, Package, Stop};
use crate::hub::Hub;
use crate::log::{LogLevel, LogSink};
use crate::snapshot::{Candidate, PluginState, PluginStatus};

/// A plugin. Its log outlives its processes; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Plugin {
    name: PluginName,
    log: LogSink,
    hub: Arc<Hub>,
    own: Weak<Plugin>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lifecycle: Lifecycle,
    /// What the next generation is started from; `None`: nothing can be.
    package: Option<Package>,
    /// The files of the package that the newest generation was started from, as they were found; `None` once that says
    /// nothing any more.
    tried: Option<Stamps>,
    /// The directory of that package, and the stamp of all that is in it.
    tried_dir: Option<(PathBuf, u64)>,
    /// What kept the newest generation from starting may be different now: if it fails, it is started once more.
    woken: bool,
    /// What the newest generation was started from, if it came so far, and its number.
    basis: Option<(u64, Arc<Files>)>,
    /// Whether the operator has blocked it.
    blocked: bool,
    /// Which file is no longer what runs, where nothing is done about it.
    changed: Option<&'static str>,
    /// Ends the generation of that number.
    stops: BTreeMap<u64, watch::Sender<Stop>>,
}

/// What to do about a package that is not what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Say so.
    Tell,
    /// Start it.
    Start,
    /// Start it, also if it is what runs.
    Force,
}

impl Plugin {
    /// A plugin of which nothing runs, and which is seen as `status` once it is [shown](Self::show). `package` is what
    /// it would be started from.
    pub(crate) fn new(
        hub: Arc<Hub>,
        name: PluginName,
        package: Option<Package>,
        status: GenerationStatus,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            log: LogSink::new(name.clone()),
            name,
            hub,
            own: own.clone(),
            state: Mutex::new(State {
                lifecycle: Lifecycle::new(status),
                package,
                tried: None,
                tried_dir: None,
                woken: false,
                basis: None,
                blocked: false,
                changed: None,
                stops: BTreeMap::new(),
            }),
        })
    }

    /// Lets people see how it stands.
    pub(crate) fn show(&self) {
        self.publish(&self.state.lock());
    }

    pub(crate) fn log(&self) -> &LogSink {
        &self.log
    }

    /// Writes a line of the host's own that is about no generation.
    pub(crate) fn say(&self, level: LogLevel, text: impl Into<String>) {
        self.log.host(0, level, text);
    }

    /// It is to serve from now on.
    pub(crate) fn run(&self) {
        self.state.lock().blocked = false;
        self.step(|lifecycle| lifecycle.want(Wanted::Running));
    }

    /// The operator has blocked it: nothing of it is to run.
    pub(crate) fn block(&self) {
        let before = std::mem::replace(&mut self.state.lock().blocked, true);
        if before {
            return;
        }
        self.say(LogLevel::Warn, "its policy has blocked it");
        self.stop();
        self.show();
    }

    /// Nothing of it is to run from now on. What runs finishes its calls.
    pub(crate) fn stop(&self) {
        self.end_all(Wanted::Stopped);
    }

    /// As [`Plugin::stop`], for ever: the host ends.
    pub(crate) fn end(&self) {
        self.end_all(Wanted::Ended);
    }

    fn end_all(&self, wanted: Wanted) {
        self.step(|lifecycle| lifecycle.want(wanted));
        // Also those that had more time.
        let state = self.state.lock();
        state.stops.values().for_each(|stop| {
            stop.send_replace(Stop::Ended);
        });
    }

    /// What its plugin.yaml asks for, as far as it is known.
    pub(crate) fn request(&self) -> ResourceRequest {
        let state = self.state.lock();
        let package = state.package.as_ref();
        package
            .map(|package| package.found.manifest.resources.clone())
            .unwrap_or_default()
    }

    /// The directory of its package, as far as it is known.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        let state = self.state.lock();
        state
            .package
            .as_ref()
            .map(|package| package.found.dir.clone())
    }

    /// Whether no process of it is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().lifecycle.is_idle()
    }

    /// Takes what is there of the plugin now, and compares it with what was started. Blocks while files are read.
    pub(crate) fn offer(&self, package: Package, offer: Offer) {
        let stamps = package.found.stamps;
        let tree = package.found.tree.clone();
        // Ahead of the lock: whoever else needs that does not block.
        if self.state.lock().lifecycle.has_failed() {
            tree.stamp();
        }
        let (basis, serving, moved, completed) = {
            let mut state = self.state.lock();
            if !state.lifecycle.is_wanted() {
                // It is blocked: what is there is started when it no longer is.
                state.package = Some(package);
                state.tried = Some(stamps);
                return;
            }
            // Another directory has the plugin's name by now; or one that was not complete is.
            let tried = state.tried_dir.as_ref();
            let moved = tried.is_some_and(|(dir, _)| *dir != package.found.dir);
            let completed = state.lifecycle.has_failed()
                && tried.is_some_and(|(_, tree)| *tree != package.found.tree.stamp());
            let same = !moved && !completed && state.tried == Some(stamps) && is_settled(stamps);
            if same && offer != Offer::Force {
                // Names of other plugins may have changed what it gets.
                state.package = Some(package);
                if state.changed.is_some() && offer == Offer::Start {
                    drop(state);
                    self.start(None);
                }
                return;
            }
            let newest = state.lifecycle.newest();
            let basis = state.basis.clone();
            let basis = basis.filter(|(generation, _)| *generation == newest);
            let current = state.lifecycle.current();
            // What serves, unless something newer is on its way: where that is what is there, nothing is to be done,
            // whatever was tried and rejected since.
            let alone = state.lifecycle.candidate().is_none();
            let serving = current.files.clone();
            let serving = serving.filter(|_| alone && current.state == GenerationState::Up);
            (basis.map(|(_, files)| files), serving, moved, completed)
        };
        // Without it nothing of the newest generation was verified: stamps are all there is.
        let back = serving.filter(|files| !moved && files.difference().is_none());
        let is_back = back.is_some();
        let difference = match &basis {
            _ if moved => Some("its package"),
            _ if is_back => None,
            _ if completed => Some("its package"),
            Some(files) => files.difference(),
            None => {
                let state = self.state.lock();
                (state.tried != Some(stamps)).then_some("its package")
            }
        };
        if difference.is_some() {
            tree.stamp();
        }
        {
            let mut state = self.state.lock();
            state.package = Some(package);
            match difference {
                None if offer != Offer::Force => {
                    state.tried = Some(stamps);
                    let newest = state.lifecycle.newest();
                    if let Some(files) = back {
                        // From now on that is what is compared with.
                        state.basis = Some((newest, files));
                    }
                    if is_back || state.lifecycle.current().generation == newest {
                        state.lifecycle.accept();
                    }
                    let was = state.changed.take();
                    self.publish(&state);
                    drop(state);
                    if was.is_some() {
                        self.say(LogLevel::Info, "its files are what runs again");
                    }
                    return;
                }
                Some(what) if offer == Offer::Tell => {
                    if state.changed.replace(what) != Some(what) {
                        self.publish(&state);
                        drop(state);
                        let text = format!(
                            "{what} is no longer what runs; reload the plugin to run what is there now"
                        );
                        self.say(LogLevel::Warn, text);
                    }
                    return;
                }
                _ => {}
            }
        }
        self.start(difference);
    }

    /// What kept it from starting may be different now: one that has failed is started anew.
    pub(crate) fn wake(&self) {
        let has_failed = {
            let mut state = self.state.lock();
            state.woken = !state.lifecycle.is_settled();
            let can_start = state.package.is_some() && state.lifecycle.is_wanted();
            can_start && state.lifecycle.is_settled() && state.lifecycle.has_failed()
        };
        if has_failed {
            self.start(None);
        }
    }

    /// What is there now cannot be started; what runs goes on.
    pub(crate) fn refuse(&self, error: String) {
        let mut state = self.state.lock();
        let known = match &state.lifecycle.current().state {
            GenerationState::Failed { error } => Some(error.as_str()),
            _ => state.lifecycle.rejected().map(|(_, error)| error),
        };
        if known == Some(&error) {
            return;
        }
        state.tried = None;
        state.lifecycle.reject(error.clone());
        self.publish(&state);
        drop(state);
        self.say(
            LogLevel::Error,
            format!("what is there cannot be started: {error}"),
        );
    }

    fn start(&self, difference: Option<&'static str>) {
        let text = match difference {
            Some(what) => format!("{what} has changed"),
            None => "it is started anew".to_owned(),
        };
        self.say(LogLevel::Info, text);
        self.step(Lifecycle::changed);
    }

    /// What a generation's task says of it.
    fn report(&self, status: GenerationStatus) {
        let has_ended = status.state.has_ended();
        let has_failed = matches!(status.state, GenerationState::Failed { .. });
        let ended = status.files.clone().filter(|_| has_ended);
        let again = {
            let mut state = self.state.lock();
            if has_ended {
                state.stops.remove(&status.generation);
            }
            if let Some(files) = &status.files
                && status.generation == state.lifecycle.newest()
            {
                state.basis = Some((status.generation, Arc::clone(files)));
            }
            let over = has_failed || status.state == GenerationState::Up;
            over && std::mem::take(&mut state.woken) && has_failed
        };
        self.step(|lifecycle| lifecycle.report(status));
        if again {
            self.step(Lifecycle::changed);
        }
        if let Some(ended) = ended {
            self.let_go(&ended);
        }
    }

    /// Drops the pinned bytes of a binary that is not the plugin's any more; what still runs has its own.
    fn let_go(&self, ended: &Files) {
        let state = self.state.lock();
        let current = state.lifecycle.current().files.as_ref();
        if current.is_none_or(|files| files.digest() != ended.digest()) {
            self.hub.pinned.remove(ended.digest());
        }
    }

    /// Tells the state machine something, and does what it says. No part of it waits.
    fn step(&self, tell: impl FnOnce(&mut Lifecycle) -> Vec<Action>) {
        let mut state = self.state.lock();
        let (before, served) = (state.lifecycle.revision(), state.lifecycle.serving());
        let mut actions = tell(&mut state.lifecycle);
        let mut stops = Vec::new();
        while let Some(action) = actions.pop() {
            match action {
                Action::Stop(number) => stops.push(number),
                Action::Start(number) => actions.extend(self.begin(&mut state, number)),
            }
        }
        let serving = state.lifecycle.serving().filter(|now| served != Some(*now));
        if let Some(serving) = serving {
            // Ahead of the first call that finds it: what it registered holds from now on.
            self.hub.host_api.commit(&self.name, serving);
        }
        if state.lifecycle.revision() != before {
            self.publish(&state);
        }
        // Once calls find the one that took over.
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

    /// Begins a generation; the actions that follow from it are returned.
    fn begin(&self, state: &mut State, number: u64) -> Vec<Action> {
        let Some(package) = state.package.clone() else {
            state.lifecycle.not_begun();
            return Vec::new();
        };
        let status = Generation::initial(&package, number);
        let (stop, stopped) = watch::channel(Stop::No);
        state.stops.insert(number, stop);
        state.tried = Some(package.found.stamps);
        state.tried_dir = Some((package.found.dir.clone(), package.found.tree.stamp()));
        state.changed = None;
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
        let generation = Generation::new(Arc::clone(&self.hub), owner, package, status.clone());
        generation.spawn(stopped);
        state.lifecycle.begun(status)
    }

    /// Under the lock of the state, so that an older one never replaces a newer one.
    fn publish(&self, state: &State) {
        self.hub.publish(view(&self.name, state));
    }
}

/// What people see of a plugin.
fn view(name: &PluginName, state: &State) -> PluginStatus {
    let lifecycle = &state.lifecycle;
    let current = lifecycle.current().clone();
    let is_blocked = state.blocked;
    let starting = lifecycle.candidate().map(|candidate| Candidate {
        generation: candidate.generation,
        error: None,
    });
    let rejected = lifecycle.rejected().map(|(generation, error)| Candidate {
        generation,
        error: Some(error.to_owned()),
    });
    PluginStatus {
        name: name.clone(),
        dir: current.dir,
        generation: current.generation,
        state: match current.state {
            state if state.has_ended() && is_blocked => PluginState::Blocked,
            GenerationState::Starting => PluginState::Starting,
            GenerationState::Up => PluginState::Running,
            GenerationState::Draining => PluginState::Stopping,
            GenerationState::Stopped => PluginState::Stopped,
            GenerationState::Failed { error } => PluginState::Failed { error },
        },
        registration: current.registration,
        manifest: current.manifest,
        signature: current.signature,
        warnings: current.warnings,
        pid: current.pid,
        started_at: current.started_at,
        running_since: current.running_since,
        sandbox: current.sandbox,
        timeouts: current.timeouts,
        changed: state.changed,
        candidate: starting.or(rejected),
        draining: lifecycle.draining(),
        is_settled: lifecycle.is_settled(),
        instance: current.instance,
    }
}
