//! Requests to a plugin, from the operator and the host.

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
    /// Changes the conditions under which the plugin runs; returns true if they differ from before.
    /// The change takes effect by [`apply`](Self::apply).
    pub(crate) fn will(&self, change: impl FnOnce(&mut Will)) -> bool {
        let mut state = self.state.lock();
        let before = state.will.clone();
        change(&mut state.will);
        let changed = state.will != before;
        if changed {
            self.publish(&state);
        }
        let message = state.will.change_message(&before);
        drop(state);
        if let Some(text) = message {
            self.log_line(LogLevel::Warn, text);
        }
        changed
    }

    /// Returns the conditions under which the plugin runs.
    fn wanted(&self) -> Will {
        self.state.lock().will.clone()
    }

    /// Starts or stops the plugin, after the decision about its dependencies; `hold` is a reason
    /// not to run. A generation that is to stop finishes its calls.
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
            self.log_line(LogLevel::Info, format!("it is held back: {}", hold.reason));
        }
        self.step(|lifecycle, now| lifecycle.want(wanted, now));
        if wanted != Wanted::Running {
            // Replaced generations had more time for their calls; now they are to end as well.
            let state = self.state.lock();
            state.stops.values().for_each(|stop| {
                stop.send_replace(Stop::Ended);
            });
        }
    }

    /// Starts a new generation beside the running one: from the present package, or from the one
    /// that came up last if the present one is held back.
    pub(crate) fn restart(&self) {
        self.start(None);
    }

    /// Restarts the plugin with its new settings.
    pub(crate) fn configured(&self) {
        self.log_line(LogLevel::Info, "its configuration has changed");
        self.step(Lifecycle::renew);
    }

    /// Forgets the plugin's crashes. If it waits for a restart, it starts now.
    pub(crate) fn reset(&self) {
        self.log_line(LogLevel::Info, "its crashes are forgotten");
        self.step(Lifecycle::reset);
        self.keep();
    }

    /// Starts the version that came up before the current or last one. Returns false if there is
    /// none.
    pub(crate) fn roll_back(&self) -> bool {
        if self.state.lock().previous.is_none() {
            return false;
        }
        self.log_line(LogLevel::Warn, "what came up before comes back");
        self.step(Lifecycle::roll_back);
        true
    }

    /// Replaces running generations whose limits the policy has changed.
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
            self.log_line(LogLevel::Info, "its policy gives it other limits");
            self.step(Lifecycle::renew);
        }
    }

    /// Returns true if a generation's sandbox differs from the one that its policy gives now.
    fn has_other_limits(&self, of: &GenerationStatus) -> bool {
        let (Some(limits), Some(manifest)) = (&of.limits, &of.manifest) else {
            // The limits of the generation have not been determined yet.
            return false;
        };
        let now = self
            .registry
            .host_api
            .limits(&self.name, &manifest.resources);
        let sandbox = |limits: &PluginLimits| {
            let memory = crate::timeouts::memory(&manifest.resources, limits);
            (memory, limits.network)
        };
        sandbox(limits) != sandbox(&now)
    }

    /// Returns the verified package of the current generation.
    fn verified(&self) -> Option<Arc<Verified>> {
        let state = self.state.lock();
        state.lifecycle.current().verified.clone()
    }

    /// Returns the dependencies of the plugin, and its state as seen by those that depend on it.
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
        // Dependencies of the running generation come first; the package may be another one by now.
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

    /// Stops the plugin if `verify` does not accept its running package. A failed plugin, or one
    /// that is starting, is verified again.
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
                // The present package is another one, which its start verifies.
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

    /// Stores the persistent state, on another thread.
    pub(super) fn keep(&self) {
        let Some(own) = self.own.upgrade() else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = own.store() {
                let text = format!("its crashes cannot be kept ({error})");
                own.log_line(LogLevel::Warn, text);
            }
        });
    }

    /// Stores the persistent state. Blocks.
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
