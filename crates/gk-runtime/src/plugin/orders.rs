//! What is wanted of a plugin, and what an operator tells it.

use std::sync::Arc;

use gk_hostapi::PluginLimits;

use super::driver::Plugin;
use super::lifecycle::{Lifecycle, Wanted};
use super::restarts::Now;
use super::will::{Hold, Will};
use crate::dependencies::{Node, Presence};
use crate::generation::{GenerationState, GenerationStatus, Stop};
use crate::kept::Kept;
use crate::log::LogLevel;
use crate::signatures::Verified;

impl Plugin {
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

    /// Starts it anew from what is there, or from what came up last if that is held back, beside what runs.
    pub(crate) fn restart(&self) {
        self.start(None);
    }

    /// The operator configures it otherwise.
    pub(crate) fn configured(&self) {
        self.say(LogLevel::Info, "its configuration has changed");
        self.step(Lifecycle::renew);
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
        let differs = {
            let mut state = self.state.lock();
            state.other_limits = !state.lifecycle.is_settled();
            let lifecycle = &state.lifecycle;
            let generations = lifecycle
                .candidate()
                .into_iter()
                .chain([lifecycle.current()]);
            generations
                .filter(|status| !status.state.has_ended())
                .any(|status| self.has_other_limits(status))
        };
        if differs {
            self.say(LogLevel::Info, "its policy gives it other limits");
            self.step(Lifecycle::renew);
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
        let alive = current
            .manifest
            .as_ref()
            .filter(|_| !current.state.has_ended());
        let needs = alive.or(manifest);
        let of_package = current.manifest.as_ref().or(manifest);
        let of_package = of_package.map(|manifest| &manifest.version);
        let registered = current.registration.as_ref();
        let version = of_package
            .filter(|version| !version.is_empty())
            .or(registered.map(|registration| &registration.version));
        Node {
            needs: needs
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
            self.apply(None);
            let mut state = self.state.lock();
            let current = state.lifecycle.current().generation;
            let judged = state
                .started
                .get(&current)
                .map(|package| package.found.stamps);
            let present = state.package.as_ref().map(|package| package.found.stamps);
            if judged.is_some() && judged != present {
                // What is there is another package: its start judges it.
                state.will.distrusted = None;
            }
            return;
        }
        let is_moving = {
            let state = self.state.lock();
            state.lifecycle.is_wanted() && !state.lifecycle.is_settled()
        };
        if is_moving {
            self.start_from(false);
        } else if !was {
            self.wake();
        }
    }

    /// Keeps what is to outlive the host, from another thread.
    pub(super) fn keep(&self) {
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
}
