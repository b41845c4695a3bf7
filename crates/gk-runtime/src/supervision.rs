//! Decides which plugins run, from the operator's will, the policy, the dependencies and the
//! trusted signatures.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use gk_manifest::{Dependency, Manifest, PluginName};
use tokio::sync::watch;

use crate::dependencies::{Word, decide};
use crate::error::PluginError;
use crate::inner::Inner;
use crate::plugin::{Hold, Plugin};
use crate::signatures;

impl Inner {
    pub(crate) fn plugin(&self, name: &PluginName) -> Option<Arc<Plugin>> {
        self.plugins.lock().get(name).cloned()
    }

    /// Brings the running plugins in line with the wanted state. The lock makes sure that a
    /// decision is carried out before the next one is made.
    pub(crate) fn reconcile(&self) {
        let plugins = self.plugins.lock();
        let nodes = plugins
            .iter()
            .map(|(name, plugin)| (name.clone(), plugin.node()))
            .collect();
        for (name, word) in decide(&nodes) {
            let Some(plugin) = plugins.get(&name) else {
                continue;
            };
            match word {
                Word::Run | Word::Stop => plugin.apply(None),
                Word::StopLater => {}
                Word::Wait { reason, is_passing } => plugin.apply(Some(Hold {
                    reason,
                    is_passing,
                    is_error: false,
                })),
                Word::Refuse(reason) => plugin.apply(Some(Hold {
                    reason,
                    is_passing: false,
                    is_error: true,
                })),
            }
        }
        let linked = nodes.values().any(|node| !node.needs.is_empty());
        self.linked.store(linked, Ordering::Release);
    }

    /// Reconciles whenever the state of any plugin changes, until the runtime is gone.
    pub(crate) async fn follow_dependencies(inner: Weak<Self>, mut changed: watch::Receiver<u64>) {
        while changed.changed().await.is_ok() {
            let Some(inner) = inner.upgrade() else {
                return;
            };
            if inner.linked.load(Ordering::Acquire) {
                inner.reconcile();
            }
        }
    }

    /// Asks the host API, for the policy, if a plugin may run.
    pub(crate) fn admit(&self, name: &PluginName) {
        let changed = {
            let plugins = self.plugins.lock();
            let Some(plugin) = plugins.get(name) else {
                return;
            };
            let blocked = self.registry.host_api.admit(name).is_err();
            plugin.will(|will| will.blocked = blocked)
        };
        if changed {
            self.reconcile();
        }
    }

    /// Stops running plugins that are not trusted any more. Plugins that are trusted again may run
    /// after the next [`reconcile`](Self::reconcile). Returns false if the trusted keys cannot be
    /// determined. Blocks.
    pub(crate) fn review_trust(&self) -> bool {
        let plugins: Vec<_> = self.plugins.lock().values().cloned().collect();
        let signatures = self.registry.signatures.load();
        if let Err(error) = signatures.check() {
            let error = crate::error::chain(&error);
            tracing::error!(
                error,
                "who is trusted cannot be found out; what runs goes on, and nothing starts until that is mended"
            );
            return false;
        }
        for plugin in plugins {
            plugin.review_trust(|verified| {
                match signatures::verify_again(&signatures, verified) {
                    // The next review repeats the check.
                    Ok(()) | Err(PluginError::Revocations(_)) => Ok(()),
                    Err(error) => Err(crate::error::chain(&error)),
                }
            });
        }
        true
    }

    /// Returns the reason why a version of a plugin cannot take over now: a plugin that it depends
    /// on does not serve.
    pub(crate) fn lacks(&self, manifest: &Manifest) -> Option<String> {
        let snapshot = self.registry.snapshot();
        let serves = |need: &&Dependency| {
            let status = snapshot.get(need.name.as_str());
            status.is_some_and(|status| {
                let version = status.manifest.as_ref().map(|manifest| &*manifest.version);
                status.is_running() && need.accepts(version.unwrap_or_default())
            })
        };
        let lacking = manifest.dependencies.iter().find(|need| !serves(need))?;
        Some(format!(
            "plugin \"{}\": it needs plugin \"{lacking}\", which does not serve; what ran before goes on",
            manifest.name
        ))
    }

    /// Ends all plugins, beginning with those that no other depends on.
    pub(crate) fn end(&self) {
        {
            let plugins = self.plugins.lock();
            self.stopping.store(true, Ordering::Release);
            for plugin in plugins.values() {
                plugin.will(|will| will.end());
            }
        }
        self.reconcile();
    }
}
