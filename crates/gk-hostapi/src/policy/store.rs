//! Stores of policies.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use gk_manifest::PluginName;
use parking_lot::Mutex;

use crate::error::HostError;

/// A store of the operator's policies, as JSON, by the plugin's name.
#[async_trait]
pub trait PolicyStore: Send + Sync + fmt::Debug + 'static {
    /// Reads all stored policies, by the plugin's name.
    ///
    /// # Errors
    /// Unavailable: the store cannot be read.
    async fn all(&self) -> Result<BTreeMap<String, String>, HostError>;

    /// The stored policy of a plugin; `None` without one.
    ///
    /// # Errors
    /// Unavailable: the store cannot be read.
    async fn get(&self, plugin: &PluginName) -> Result<Option<String>, HostError>;

    /// Returns whether all policies are followed as they change ([`Policies::refresh`](super::Policies::refresh)),
    /// so that those that are known count while the store cannot be read.
    fn is_followed(&self) -> bool {
        false
    }

    /// Stores a policy, or removes it (`None`), and says whether anything has changed.
    ///
    /// Once begun, a change is carried out to its end even if the future is dropped: the operator's
    /// connection may break. As soon as the change is stored, or has failed, and before a later
    /// change begins, the store calls [`Settle::run`].
    ///
    /// # Errors
    /// The error of [`Settle::run`]. Unavailable: it cannot be stored.
    async fn put(
        &self,
        plugin: &PluginName,
        policy: Option<String>,
        settle: Settle,
    ) -> Result<bool, HostError>;
}

/// The second part of a change of a policy: it puts in force what was stored.
#[must_use = "a stored policy is not in force until this has run"]
pub struct Settle(Box<Settling>);

type Settling = dyn FnOnce(Result<(), &dyn fmt::Display>) -> Result<(), HostError> + Send;

impl Settle {
    pub(super) fn new(
        settle: impl FnOnce(Result<(), &dyn fmt::Display>) -> Result<(), HostError> + Send + 'static,
    ) -> Self {
        Self(Box::new(settle))
    }

    /// Takes note of the outcome: stored, or the reason why it is not.
    ///
    /// # Errors
    /// What the operator is to be told in place of the store's own error.
    pub fn run(self, stored: Result<(), &dyn fmt::Display>) -> Result<(), HostError> {
        (self.0)(stored)
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settle")
    }
}

/// Policies in memory: gone with the process. For tests, and for hosts that set all policies
/// themselves.
#[derive(Debug, Default)]
pub struct MemoryPolicyStore {
    policies: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl PolicyStore for MemoryPolicyStore {
    async fn all(&self) -> Result<BTreeMap<String, String>, HostError> {
        Ok(self.policies.lock().clone())
    }

    async fn get(&self, plugin: &PluginName) -> Result<Option<String>, HostError> {
        Ok(self.policies.lock().get(plugin.as_str()).cloned())
    }

    async fn put(
        &self,
        plugin: &PluginName,
        policy: Option<String>,
        settle: Settle,
    ) -> Result<bool, HostError> {
        let mut policies = self.policies.lock();
        let has_changed = match policy {
            Some(policy) => {
                policies.insert(plugin.as_str().to_owned(), policy);
                true
            }
            None => policies.remove(plugin.as_str()).is_some(),
        };
        settle.run(Ok(()))?;
        Ok(has_changed)
    }
}
