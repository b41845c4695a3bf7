//! One plugin, whatever its processes do: its name, its log, its generations. What people see of it is published
//! here and nowhere else.

mod lifecycle;
mod restarts;
mod view;
mod will;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use gk_hostapi::PluginLimits;
use gk_manifest::{PluginName, Registration, ReloadStrategy, ResourceRequest};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use self::lifecycle::{Action, Lifecycle, Replacement, Source, Wanted};
pub(crate) use self::restarts::CrashHistory;
use self::restarts::{Now, Restarts};
pub(crate) use self::will::{Hold, Will};
use crate::dependencies::{Node, Presence};
use crate::files::{Files, Stamps, is_settled};
use crate::generation::{Generation, GenerationState, GenerationStatus, Owner, Package, Stop};
use crate::hub::Hub;
use crate::kept::{Kept, KeptFile};
use crate::log::{LogLevel, LogSink};
use crate::metrics;
use crate::signatures::Verified;
use crate::snapshot::Waiters;

/// A plugin. Its log outlives its processes; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Plugin {
    name: PluginName,
    log: LogSink,
    hub: Arc<Hub>,
    own: Weak<Plugin>,
    state: Mutex<State>,
    /// Held while it is written, so that an older one never replaces a newer one.
    kept: Mutex<KeptFile>,
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
    will: Will,
    /// The digest of the binary whose crashes are counted.
    digest: Option<String>,
    /// Wakes the state machine, at that time.
    timer: Option<(Instant, tokio::task::AbortHandle)>,
    /// What the generations that have not ended were started from.
    started: BTreeMap<u64, Package>,
    /// What serves, or came up last, as it was verified.
    good: Option<Package>,
    /// What came up before that, for the operator to go back to.
    previous: Option<Package>,
    /// What it registered last: its routes stay its own while it is started again.
    registration: Option<Arc<Registration>>,
    /// Whether any generation of it has served.
    has_served: bool,
    /// How a current generation failed last.
    last_error: Option<Arc<str>>,
    /// Calls that wait for one.
    waiters: Arc<Waiters>,
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
        let kept = KeptFile::new(&hub.config.data_dir, &name);
        let log = LogSink::new(name.clone());
        let (enabled, history) = match kept.load() {
            Ok(kept) => (kept.enabled, kept.crashes),
            Err(error) => {
                let path = kept.path().display();
                let text = format!(
                    "whether it is enabled cannot be read from {path} ({error}): it stays disabled until POST /api/v1/plugins/{name}/enable"
                );
                log.host(0, LogLevel::Error, text);
                (false, None)
            }
        };
        // Without chance plugins that fell together rise together, and nothing else.
        let mut restarts = Restarts::new(getrandom::u64().unwrap_or_default());
        let digest = history.map(|(digest, history)| {
            restarts.recall(&history, Now::new());
            digest
        });
        Arc::new_cyclic(|own| Self {
            log,
            name,
            hub,
            own: own.clone(),
            state: Mutex::new(State {
                lifecycle: Lifecycle::new(status, restarts),
                package,
                tried: None,
                tried_dir: None,
                woken: false,
                basis: None,
                will: Will::new(enabled),
                digest,
                timer: None,
                started: BTreeMap::new(),
                good: None,
                previous: None,
                registration: None,
                has_served: false,
                last_error: None,
                waiters: Arc::default(),
                changed: None,
                stops: BTreeMap::new(),
            }),
            kept: Mutex::new(kept),
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

    /// Changes what is wanted of it; says whether that is something else now. It takes effect by
    /// [`apply`](Self::apply).
    pub(crate) fn will(&self, change: impl FnOnce(&mut Will)) -> bool {
        let mut state = self.state.lock();
        let before = state.will.clone();
        change(&mut state.will);
        let changed = state.will != before;
        if changed {
            self.publish(&state);
        }
        let said = state.will.said(&before);
        drop(state);
        if let Some(text) = said {
            self.say(LogLevel::Warn, text);
        }
        changed
    }

    /// What is wanted of it.
    fn wanted(&self) -> Will {
        self.state.lock().will.clone()
    }

    /// Lets it run, or not: what is wanted of it, and what others have to do before, is decided. What runs and is not to
    /// finishes its calls.
    pub(crate) fn apply(&self, hold: Option<Hold>) {
        let (wanted, held) = {
            let mut state = self.state.lock();
            let will = &state.will;
            let wants = will.wants() && hold.is_none() && state.package.is_some();
            let wanted = match (will.is_ending(), wants) {
                (true, _) => Wanted::Ended,
                (false, true) => Wanted::Running,
                (false, false) => Wanted::Stopped,
            };
            let before = std::mem::replace(&mut state.will.hold, hold);
            let held = (before != state.will.hold).then(|| state.will.hold.clone());
            if held.is_some() {
                self.publish(&state);
            }
            (wanted, held.flatten())
        };
        if let Some(hold) = held {
            self.say(LogLevel::Info, format!("it is held back: {}", hold.reason));
        }
        self.step(|lifecycle, now| lifecycle.want(wanted, now));
        if wanted != Wanted::Running {
            // Also those that had more time.
            let state = self.state.lock();
            state.stops.values().for_each(|stop| {
                stop.send_replace(Stop::Ended);
            });
        }
    }

    /// Starts it anew from what is there, beside what runs.
    pub(crate) fn restart(&self) {
        self.start(None);
    }

    /// The operator configures it otherwise.
    pub(crate) fn configured(&self) {
        self.say(LogLevel::Info, "its configuration has changed");
        self.step(|lifecycle, now| lifecycle.changed(false, now));
    }

    /// Its crashes count no more; one that waits starts now.
    pub(crate) fn reset(&self) {
        self.say(LogLevel::Info, "its crashes are forgotten");
        self.step(Lifecycle::reset);
        self.keep();
    }

    /// Starts what came up before what serves, or came up, now. Says whether there is such a thing.
    pub(crate) fn roll_back(&self) -> bool {
        if self.state.lock().previous.is_none() {
            return false;
        }
        self.say(LogLevel::Warn, "what came up before comes back");
        self.step(Lifecycle::roll_back);
        true
    }

    /// The operator may have changed its limits: what runs within others is replaced.
    pub(crate) fn limits_changed(&self) {
        let state = self.state.lock();
        let current = state.lifecycle.current();
        let candidate = state.lifecycle.candidate();
        let now = candidate.unwrap_or(current);
        let is_alive = !now.state.has_ended();
        let differs = is_alive && self.has_other_limits(now);
        drop(state);
        if differs {
            self.say(LogLevel::Info, "its policy gives it other limits");
            self.step(|lifecycle, now| lifecycle.changed(false, now));
        }
    }

    /// Whether a generation has a sandbox that its policy does not give it any more.
    fn has_other_limits(&self, of: &GenerationStatus) -> bool {
        let (Some(limits), Some(manifest)) = (&of.limits, &of.manifest) else {
            // It has not come so far.
            return false;
        };
        let now = self.hub.host_api.limits(&self.name, &manifest.resources);
        let sandbox = |limits: &PluginLimits| {
            let memory = crate::timeouts::memory(&manifest.resources, limits);
            (memory, limits.network)
        };
        sandbox(limits) != sandbox(&now)
    }

    /// What the current generation was started from, as it was verified.
    fn verified(&self) -> Option<Arc<Verified>> {
        let state = self.state.lock();
        state.lifecycle.current().verified.clone()
    }

    /// Whoever it depends on, and how it is for those that depend on it.
    pub(crate) fn node(&self) -> Node {
        let state = self.state.lock();
        let (lifecycle, will) = (&state.lifecycle, &state.will);
        let manifest = state
            .package
            .as_ref()
            .map(|package| &package.found.manifest);
        let presence = if lifecycle.serving().is_some() {
            Presence::Serving
        } else if lifecycle.due().is_some() {
            Presence::Returning
        } else {
            match lifecycle.current().state {
                GenerationState::Failed { .. } if lifecycle.is_settled() => Presence::Failed,
                GenerationState::Stopped | GenerationState::Failed { .. } => Presence::Away,
                _ => Presence::Starting,
            }
        };
        // Of what runs; the package may be another one by now.
        let current = lifecycle.current();
        let of_package = current.manifest.as_ref().or(manifest);
        let of_package = of_package.map(|manifest| &manifest.version);
        let registered = current.registration.as_ref();
        let version = of_package
            .filter(|version| !version.is_empty())
            .or(registered.map(|registration| &registration.version));
        Node {
            needs: manifest
                .map(|manifest| manifest.dependencies.clone())
                .unwrap_or_default(),
            version: version.cloned().unwrap_or_default(),
            objection: (!will.wants()).then(|| will.objection()),
            at_once: will.blocked || will.distrusted.is_some(),
            presence,
            is_alive: !lifecycle.is_idle(),
        }
    }

    /// Stops it if `verify` does not let what runs go on; what failed, or is on its way, is judged anew.
    pub(crate) fn review_trust(&self, verify: impl FnOnce(&Verified) -> Result<(), String>) {
        let verified = self.verified();
        let distrusted = verified.and_then(|verified| verify(&verified).err());
        let (was, is) = (self.wanted().distrusted.is_some(), distrusted.is_some());
        self.will(|will| will.distrusted = distrusted);
        if is {
            return;
        }
        let is_moving = {
            let state = self.state.lock();
            state.lifecycle.is_wanted() && !state.lifecycle.is_settled()
        };
        if is_moving {
            self.step(|lifecycle, now| lifecycle.changed(false, now));
        } else if !was {
            self.wake();
        }
    }

    /// Keeps what is to outlive the host, from another thread.
    fn keep(&self) {
        let Some(own) = self.own.upgrade() else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = own.store() {
                let text = format!("its crashes cannot be kept ({error})");
                own.say(LogLevel::Warn, text);
            }
        });
    }

    /// Keeps what is to outlive the host. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store(&self) -> std::io::Result<()> {
        let file = self.kept.lock();
        let kept = {
            let state = self.state.lock();
            let history = state.lifecycle.restarts().history(Now::new());
            Kept {
                enabled: state.will.is_enabled(),
                crashes: state.digest.clone().zip(history),
            }
        };
        file.store(&kept)
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
            let serving = current.verified.as_ref();
            let serving = serving.map(|verified| Arc::clone(&verified.files));
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
            GenerationState::Failed { error, .. } => Some(error.as_str()),
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
        let fresh = difference.is_some();
        self.step(|lifecycle, now| lifecycle.changed(fresh, now));
    }

    /// What a generation's task says of it.
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
        self.step(|lifecycle, now| lifecycle.report(status, now));
        if again {
            self.step(|lifecycle, now| lifecycle.changed(false, now));
        }
        if is_up {
            // The policy may have changed since its process was started.
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

    /// Drops the pinned bytes of a binary that is not the plugin's any more; what still runs has its own.
    fn let_go(&self, ended: &Files) {
        let state = self.state.lock();
        let current = state.lifecycle.current().verified.as_ref();
        if current.is_none_or(|verified| verified.files.digest() != ended.digest()) {
            self.hub.pinned.remove(ended.digest());
        }
    }

    /// Tells the state machine something, and does what it says. No part of it waits.
    fn step(&self, tell: impl FnOnce(&mut Lifecycle, Now) -> Vec<Action>) {
        let now = Now::new();
        let mut state = self.state.lock();
        let (before, served) = (state.lifecycle.revision(), state.lifecycle.serving());
        let was = state.lifecycle.current().state.clone();
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
                Action::Wake(at) => self.wake_at(&mut state, at),
            }
        }
        if state.lifecycle.due().is_none()
            && let Some((_, timer)) = state.timer.take()
        {
            timer.abort();
        }
        let serving = state.lifecycle.serving().filter(|now| served != Some(*now));
        if let Some(serving) = serving {
            // Ahead of the first call that finds it: what it registered holds from now on.
            self.hub.host_api.commit(&self.name, serving);
            self.came_up(&mut state, serving);
        }
        let is_there =
            |lifecycle: &Lifecycle| lifecycle.serving().is_some() || lifecycle.is_returning();
        if was_there && !is_there(&state.lifecycle) {
            self.hub.host_api.stopped(&self.name);
        }
        let looping = state.lifecycle.restarts().is_looping();
        if looping != was_looping {
            metrics::crash_looping(self.name.as_str(), looping);
        }
        let now = state.lifecycle.current().state.clone();
        if now != was {
            metrics::transition(self.name.as_str(), now.as_str());
        }
        if let GenerationState::Failed { error, .. } = now {
            state.last_error = Some(error.into());
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

    /// The binary whose crashes are counted is the one that is there now: crashes of another are none of its own.
    fn identify(&self, state: &mut State) {
        let Some(verified) = &state.lifecycle.current().verified else {
            return;
        };
        let digest = verified.files.digest().to_string();
        if state.digest.as_ref() == Some(&digest) {
            return;
        }
        if state.digest.replace(digest).is_some() && !state.has_served {
            // Those of an earlier start of the host.
            state.lifecycle.forget_crashes();
        }
    }

    /// Keeps in mind what serves now, to come back to.
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

    /// Lets the state machine look at its clock then.
    fn wake_at(&self, state: &mut State, at: Instant) {
        if let Some((_, earlier)) = state.timer.take() {
            earlier.abort();
        }
        let own = self.own.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(plugin) = own.upgrade() {
                plugin.step(Lifecycle::settle);
            }
        });
        state.timer = Some((at, timer.abort_handle()));
    }

    /// Begins a generation; the actions that follow from it are returned.
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
        state.lifecycle.replace_by(replacement(&package));
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
        let generation = Generation::new(Arc::clone(&self.hub), owner, package, status.clone());
        generation.spawn(stopped);
        state.lifecycle.begun(status, now)
    }

    /// Under the lock of the state, so that an older one never replaces a newer one.
    fn publish(&self, state: &State) {
        self.hub.publish(view::view(&self.name, state));
    }
}

/// How the generation after one of this package replaces it.
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
