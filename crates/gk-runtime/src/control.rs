//! Operations of an operator on running plugins.

use std::sync::Arc;
use std::time::Duration;

use gk_manifest::PluginName;

use crate::config::PluginSettings;
use crate::error::ControlError;
use crate::plugin::{Offer, Plugin};
use crate::runtime::Runtime;
use crate::signatures::Signatures;
use crate::snapshot::{Candidate, PluginState, PluginStatus};

/// Result of a plugin's reload, or of another change of the running generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The requested generation serves; its number.
    Serving(u64),
    /// The requested generation was started and did not come up. The one that ran before, if any,
    /// goes on.
    Failed {
        /// Reason of the failure.
        error: String,
    },
    /// The start has not finished yet.
    Starting,
    /// The stop has not finished yet.
    Stopping,
    /// The start waits for a plugin that this one depends on.
    Waiting {
        /// Name of that plugin, and why it does not serve.
        reason: String,
    },
    /// The plugin is not to run: it is blocked, disabled or removed, or the host stops.
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
    /// Scans a plugin's files now and starts the package found beside the running generation; with
    /// `force` also if its files are the same. Returns once the outcome is known, at most after
    /// `wait`; the plugin's status has the details.
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

    /// Scans the plugins directory now, as the runtime does by itself when something changes.
    ///
    /// # Errors
    /// [`ControlError::Look`].
    pub async fn look_now(&self) -> Result<(), ControlError> {
        self.look(None).await
    }

    async fn look(&self, named: Option<(PluginName, Offer)>) -> Result<(), ControlError> {
        let inner = Arc::clone(&self.inner);
        let look = tokio::task::spawn_blocking(move || {
            let others = match inner.registry.config.hot_reload {
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

    /// Waits until a plugin's state is settled, at most for `wait`, and returns the outcome.
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

    /// Starts a new generation from the package that was found last, beside the running one. A
    /// plugin that waits after a crash starts now.
    ///
    /// # Errors
    /// [`ControlError::Unknown`].
    pub async fn restart(&self, plugin: &str, wait: Duration) -> Result<Outcome, ControlError> {
        self.known(plugin)?.restart();
        self.outcome(plugin, wait).await
    }

    /// Forgets the crashes of a plugin. A plugin that waits after a crash starts now.
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

    /// Starts the version of a plugin that came up before the one that serves, and replaces the
    /// latter. The older version stays until the files change, or the host is started again.
    ///
    /// # Errors
    /// [`ControlError::Unknown`], and [`ControlError::NoPrevious`] if this host has started no
    /// other version of the plugin.
    pub async fn roll_back(&self, plugin: &str, wait: Duration) -> Result<Outcome, ControlError> {
        if !self.known(plugin)?.roll_back() {
            return Err(ControlError::NoPrevious {
                plugin: plugin.to_owned(),
            });
        }
        self.outcome(plugin, wait).await
    }

    /// Enables or disables a plugin, also for the next starts of the host. Plugins that depend on
    /// it stop before it, and come back with it.
    ///
    /// # Errors
    /// [`ControlError::Unknown`], and [`ControlError::NotKept`] if the change holds only until the
    /// host ends.
    pub async fn enable(
        &self,
        plugin: &str,
        enabled: bool,
        wait: Duration,
    ) -> Result<Outcome, ControlError> {
        let known = self.known(plugin)?;
        known.will(|will| will.enable(enabled));
        // Reconcile before anything that takes time: the caller may cancel this future.
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

    /// Returns the trust settings in effect.
    #[must_use]
    pub fn signatures(&self) -> Arc<Signatures> {
        self.inner.registry.signatures.load_full()
    }

    /// Replaces the trust settings. A running plugin stops if it is revoked, or if a signature is
    /// required and none of its signers is trusted any more. Refused plugins are tried again.
    pub async fn set_signatures(&self, signatures: Signatures) {
        let inner = Arc::clone(&self.inner);
        let review = tokio::task::spawn_blocking(move || {
            inner.registry.signatures.store(Arc::new(signatures));
            inner.review_trust();
            inner.reconcile();
        });
        if let Err(error) = review.await {
            tracing::error!(%error, "the review of signatures failed; please report this");
        }
    }

    /// Replaces the settings of plugins. A plugin whose own settings differ is replaced.
    pub fn set_settings(&self, settings: PluginSettings) {
        let before = self.inner.registry.settings.swap(Arc::new(settings));
        let now = self.inner.registry.settings.load();
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

    /// Applies a change of a plugin's policy. A plugin that is blocked now ends; one that no longer
    /// is starts. A failed plugin starts, too, as the cause may be a grant that it lacked. A plugin
    /// whose sandbox changes is replaced.
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
