//! Compares the package found for a plugin with the running one.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::driver::Plugin;
use super::state::State;
use crate::files::{Files, Stamps, is_settled};
use crate::generation::{GenerationState, Package};
use crate::log::LogLevel;

/// Action on a package that is not the running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Report the difference.
    Tell,
    /// Start the package.
    Start,
    /// Start the package, also if it is the running one.
    Force,
}

/// Files that a package is compared with.
struct Basis {
    /// Files of the generation that was started last, if they were verified.
    newest: Option<Arc<Files>>,
    /// Files of the generation that serves, unless a newer one is on its way.
    serving: Option<Arc<Files>>,
    /// Another directory provides the plugin by now.
    moved: bool,
    /// A package that failed because it was incomplete is complete by now.
    completed: bool,
}

impl Plugin {
    /// Takes in the package found for the plugin, and compares it with the one that was started.
    /// Blocks while files are read.
    pub(crate) fn offer(&self, package: Package, offer: Offer) {
        let stamps = package.found.stamps;
        let tree = package.found.tree.clone();
        // The fingerprint is computed before the lock is taken again, so that other users of the
        // lock do not block on it.
        if self.state.lock().lifecycle.has_failed() {
            tree.stamp();
        }
        let Some((package, basis)) = self.basis(package, offer) else {
            return;
        };
        // Without verified files of the newest generation, only stamps can be compared.
        let back = basis
            .serving
            .filter(|files| !basis.moved && files.difference().is_none());
        let difference = match &basis.newest {
            _ if basis.moved => Some("its package"),
            _ if back.is_some() => None,
            _ if basis.completed => Some("its package"),
            Some(files) => files.difference(),
            None => {
                let state = self.state.lock();
                (state.tried != Some(stamps)).then_some("its package")
            }
        };
        if difference.is_some() {
            tree.stamp();
        }
        let mut state = self.state.lock();
        state.package = Some(package);
        match (difference, offer) {
            (None, Offer::Tell | Offer::Start) => {
                return self.unchanged(state, stamps, back, offer);
            }
            (Some(what), Offer::Tell) => {
                if state.changed.replace(what) != Some(what) {
                    self.publish(&state);
                    drop(state);
                    let text = format!(
                        "{what} is no longer what runs; reload the plugin to run what is there now"
                    );
                    self.log_line(LogLevel::Warn, text);
                }
                return;
            }
            (_, Offer::Force) => state.lifecycle.forget_roll_back(),
            (Some(_), Offer::Start) => {}
        }
        drop(state);
        self.start(difference);
    }

    /// Returns the files to compare a package with; `None` if no comparison is needed, in which
    /// case the package is stored.
    fn basis(&self, package: Package, offer: Offer) -> Option<(Package, Basis)> {
        let stamps = package.found.stamps;
        let mut state = self.state.lock();
        state.is_held_back = false;
        if !state.lifecycle.is_wanted() {
            // The package is started once the plugin may run. It may lift a distrust, as that was
            // of another package.
            if offer != Offer::Tell {
                if state.tried != Some(stamps) || offer == Offer::Force {
                    state.will.distrusted = None;
                    state.lifecycle.another_package();
                }
                state.tried = Some(stamps);
            }
            state.package = Some(package);
            return None;
        }
        // Another directory provides the plugin by now; or an incomplete package is complete.
        let tried = state.tried_dir.as_ref();
        let moved = tried.is_some_and(|(dir, _)| *dir != package.found.dir);
        let completed = state.lifecycle.has_failed()
            && state.lifecycle.due().is_none()
            && tried.is_some_and(|(_, tree)| *tree != package.found.tree.stamp());
        let same = !moved && !completed && state.tried == Some(stamps) && is_settled(stamps);
        if same && offer != Offer::Force {
            // Names of other plugins may have changed the variables that this one gets.
            state.package = Some(package);
            if state.changed.is_some() && offer == Offer::Start {
                drop(state);
                self.start(None);
            }
            return None;
        }
        let newest = state.lifecycle.newest();
        let files = state.basis.clone();
        let files = files.filter(|(generation, _)| *generation == newest);
        let current = state.lifecycle.current();
        // Files of the serving generation, unless a newer one is on its way. If they equal the
        // present files, there is nothing to do, regardless of attempts rejected since.
        let alone = state.lifecycle.candidate().is_none();
        let serving = current.verified.as_ref();
        let serving = serving.map(|verified| Arc::clone(&verified.files));
        let serving = serving.filter(|_| alone && current.state == GenerationState::Up);
        let basis = Basis {
            newest: files.map(|(_, files)| files),
            serving,
            moved,
            completed,
        };
        Some((package, basis))
    }

    /// Handles a package that equals the one started last, or the one that serves (`back`).
    fn unchanged(
        &self,
        mut state: MutexGuard<'_, State>,
        stamps: Stamps,
        back: Option<Arc<Files>>,
        offer: Offer,
    ) {
        // The package could not be read for a while, and no generation of it runs any more.
        let is_down = state.lifecycle.is_idle() && state.lifecycle.due().is_none();
        if state.tried.replace(stamps).is_none() && is_down && offer == Offer::Start {
            drop(state);
            self.start(None);
            return;
        }
        let newest = state.lifecycle.newest();
        let is_back = back.is_some();
        if let Some(files) = back {
            // Later packages are compared with these files.
            state.basis = Some((newest, files));
        }
        if is_back || state.lifecycle.current().generation == newest {
            state.lifecycle.accept();
        }
        let was = state.changed.take();
        self.publish(&state);
        drop(state);
        if was.is_some() {
            self.log_line(LogLevel::Info, "its files are what runs again");
        }
    }

    /// Restarts a failed plugin, as the obstacle to its start may be gone.
    pub(crate) fn wake(&self) {
        let has_failed = {
            let mut state = self.state.lock();
            state.woken = !state.lifecycle.is_settled();
            let can_start = state.package.is_some() && state.lifecycle.is_wanted();
            let goes_on = state.is_held_back && state.lifecycle.serving().is_some();
            can_start && !goes_on && state.lifecycle.is_settled() && state.lifecycle.has_failed()
        };
        if has_failed {
            self.start(None);
        }
    }

    /// Holds the present package back, as it depends on plugins that do not serve; a running
    /// generation goes on.
    pub(crate) fn hold_back(&self, error: String) {
        self.state.lock().is_held_back = true;
        self.refuse(error);
    }

    /// Rejects the present package; a running generation goes on.
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
        self.log_line(
            LogLevel::Error,
            format!("what is there cannot be started: {error}"),
        );
    }

    pub(super) fn start(&self, difference: Option<&'static str>) {
        let text = match difference {
            Some(what) => format!("{what} has changed"),
            None => "it is started anew".to_owned(),
        };
        self.log_line(LogLevel::Info, text);
        self.start_from(difference.is_some());
    }

    /// Starts a generation from the present package, `fresh` if that has changed; or from the
    /// package that came up last if the present one is held back.
    pub(super) fn start_from(&self, fresh: bool) {
        let is_held_back = self.state.lock().is_held_back;
        self.step(|lifecycle, now| match is_held_back {
            true => lifecycle.renew(now),
            false => lifecycle.changed(fresh, now),
        });
    }
}
