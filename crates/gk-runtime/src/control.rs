//! What an operator does to plugins while they run.

use std::sync::Arc;
use std::time::Duration;

use gk_manifest::PluginName;

use crate::config::PluginSettings;
use crate::error::ControlError;
use crate::plugin::{Offer, Plugin};
use crate::runtime::Runtime;
use crate::signatures::Signatures;
use crate::snapshot::{Candidate, PluginState, PluginStatus};

/// What came of a plugin's reload, or of another change of what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// What is there serves: the number of its generation.
    Serving(u64),
    /// What is there was started and did not come up; what ran before goes on, or nothing does.
    Failed {
        /// Why.
        error: String,
    },
    /// It is still starting.
    Starting,
    /// It is still stopping.
    Stopping,
    /// It waits for a plugin that it depends on.
    Waiting {
        /// For which, and why.
        reason: String,
    },
    /// Nothing of the plugin is to run: it is blocked, disabled or removed, or the host stops.
    Stopped,
}

impl Outcome {
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
            (_, PluginState::Running) => Self::Serving(status.generation),
            (_, PluginState::Starting) => Self::Starting,
            (_, PluginState::Waiting { reason }) => Self::Waiting {
                reason: reason.clone(),
            },
            (_, state) => match state.error() {
                Some(error) => Self::Failed {
                    error: error.to_owned(),
                },
                None => Self::Stopped,
            },
        }
    }
}

impl Runtime {
    /// Looks at a plugin's files now and starts what is there beside what runs, with `force` also if it is the same.
    /// Returns once it is known what came of it, at most after `wait`; the plugin's status says more.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn reload(
        &self,
        plugin: &str,
        force: bool,
        wait: Duration,
    ) -> Result<Outcome, ControlError> {
        let name = PluginName::new(plugin).map_err(|_| unknown(plugin))?;
        let named = match force {
            true => Offer::Force,
            false => Offer::Start,
        };
        self.look(Some((name, named))).await?;
        self.outcome(plugin, wait).await
    }

    /// Looks through the plugins directory now, as it is done by itself when something changes.
    ///
    /// # Errors
    /// [`ControlError::Look`].
    pub async fn look_now(&self) -> Result<(), ControlError> {
        self.look(None).await
    }

    async fn look(&self, named: Option<(PluginName, Offer)>) -> Result<(), ControlError> {
        let inner = Arc::clone(&self.inner);
        let look = tokio::task::spawn_blocking(move || {
            let others = match inner.hub.config.hot_reload {
                true => Offer::Start,
                false => Offer::Tell,
            };
            inner.look(others, named.as_ref().map(|(name, offer)| (name, *offer)))
        });
        look.await
            .map_err(|error| ControlError::Look(error.to_string()))?
            .map_err(|error| ControlError::Look(crate::error::chain(&error)))?;
        Ok(())
    }

    /// What becomes of a plugin, at most after `wait`.
    async fn outcome(&self, plugin: &str, wait: Duration) -> Result<Outcome, ControlError> {
        let settled = async {
            let mut changed = self.changed();
            loop {
                let snapshot = self.snapshot();
                let status = snapshot.get(plugin).ok_or_else(|| unknown(plugin))?;
                if status.is_settled {
                    return Ok(Outcome::of(status));
                }
                // The sender lives as long as the runtime.
                let _ = changed.changed().await;
            }
        };
        match tokio::time::timeout(wait, settled).await {
            Ok(outcome) => outcome,
            Err(_) => Ok(Outcome::Starting),
        }
    }

    fn known(&self, plugin: &str) -> Result<Arc<Plugin>, ControlError> {
        let name = PluginName::new(plugin).ok();
        let known = name.and_then(|name| self.inner.plugin(&name));
        known.ok_or_else(|| unknown(plugin))
    }

    /// Starts a plugin anew, from the package that was found last, beside what runs. One that waits after a crash starts
    /// now.
    ///
    /// # Errors
    /// [`ControlError::Unknown`].
    pub async fn restart(&self, plugin: &str, wait: Duration) -> Result<Outcome, ControlError> {
        self.known(plugin)?.restart();
        self.outcome(plugin, wait).await
    }

    /// Forgets the crashes of a plugin; one that waits after a crash starts now.
    ///
    /// # Errors
    /// [`ControlError::Unknown`].
    pub async fn reset_crashes(
        &self,
        plugin: &str,
        wait: Duration,
    ) -> Result<Outcome, ControlError> {
        self.known(plugin)?.reset();
        self.outcome(plugin, wait).await
    }

    /// Starts the version of a plugin that came up before the one that serves, and puts it in its place. It stays until
    /// the files change, or the host is started again.
    ///
    /// # Errors
    /// [`ControlError::Unknown`], and [`ControlError::NoPrevious`] if this host has started no other version of it.
    pub async fn roll_back(&self, plugin: &str, wait: Duration) -> Result<Outcome, ControlError> {
        if !self.known(plugin)?.roll_back() {
            return Err(ControlError::NoPrevious {
                plugin: plugin.to_owned(),
            });
        }
        self.outcome(plugin, wait).await
    }

    /// Lets a plugin run, or not, also after the next start of the host. Those that depend on it stop before it, and come
    /// back with it.
    ///
    /// # Errors
    /// [`ControlError::Unknown`], and [`ControlError::NotKept`] if it holds only until the host ends.
    pub async fn enable(
        &self,
        plugin: &str,
        enabled: bool,
        wait: Duration,
    ) -> Result<Outcome, ControlError> {
        let known = self.known(plugin)?;
        known.will(|will| will.enable(enabled));
        // Ahead of anything that takes time: who asked may go away.
        self.inner.reconcile();
        let keeping = Arc::clone(&known);
        let kept = tokio::task::spawn_blocking(move || keeping.store()).await;
        let not_kept = |error: String| ControlError::NotKept {
            plugin: plugin.to_owned(),
            error,
        };
        kept.map_err(|error| not_kept(error.to_string()))?
            .map_err(|error| not_kept(error.to_string()))?;
        if enabled {
            return self.outcome(plugin, wait).await;
        }
        let stopped = async {
            let mut changed = self.changed();
            while !known.is_idle() {
                let _ = changed.changed().await;
            }
        };
        match tokio::time::timeout(wait, stopped).await {
            Ok(()) => Ok(Outcome::Stopped),
            Err(_) => Ok(Outcome::Stopping),
        }
    }

    /// Who is trusted now.
    #[must_use]
    pub fn signatures(&self) -> Arc<Signatures> {
        self.inner.hub.signatures.load_full()
    }

    /// Trusts these from now on: what runs and is signed by nobody of them, where that is required, or is revoked, is
    /// stopped; what was refused is tried again.
    pub async fn set_signatures(&self, signatures: Signatures) {
        let inner = Arc::clone(&self.inner);
        let review = tokio::task::spawn_blocking(move || {
            inner.hub.signatures.store(Arc::new(signatures));
            inner.review_trust();
            inner.reconcile();
        });
        if let Err(error) = review.await {
            tracing::error!(%error, "the review of signatures failed; please report this");
        }
    }

    /// Configures plugins with this from now on: those for which it is something else are replaced.
    pub fn set_settings(&self, settings: PluginSettings) {
        let before = self.inner.hub.settings.swap(Arc::new(settings));
        let now = self.inner.hub.settings.load();
        let plugins: Vec<_> = {
            let plugins = self.inner.plugins.lock();
            let differs = plugins
                .iter()
                .filter(|(name, _)| before.get(*name) != now.get(*name));
            differs.map(|(_, plugin)| Arc::clone(plugin)).collect()
        };
        for plugin in plugins {
            plugin.configured();
        }
    }

    /// The operator has changed a plugin's policy: one that is blocked ends, one that no longer is starts, and so does
    /// one that has failed, perhaps for what it was not granted; one whose sandbox would be another is replaced.
    pub fn policy_changed(&self, plugin: &PluginName) {
        self.inner.admit(plugin);
        if let Some(known) = self.inner.plugin(plugin) {
            known.wake();
            known.limits_changed();
        }
    }
}

fn unknown(plugin: &str) -> ControlError {
    ControlError::Unknown {
        plugin: crate::log::cut(plugin, 128).to_owned(),
    }
}
