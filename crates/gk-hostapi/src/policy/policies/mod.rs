//! The policies in force: stored ones, defaults, and what was used of them. They belong to plugins,
//! not to processes, so they outlive a reload, and a change holds from the next request on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gk_manifest::{GoDuration, Permission, PluginName, ResourceRequest};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;

use super::effective::{Effective, Origin, exceeds_grant, in_force};
use super::plugin::PluginPolicy;
use super::requests::Requests;
use super::store::{PolicyStore, Settle};
use super::usage::Usage;
use super::{Grants, HttpPolicy, Policy, PolicyStatus, PolicyUpdate};
use crate::api::{Admission, PluginLimits};
use crate::error::{ErrorKind, HostError};

/// A plugin's policy, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PolicyView {
    /// The plugin.
    pub plugin_name: PluginName,
    /// The source of the policy.
    pub origin: Origin,
    /// The policy in force.
    pub policy: Policy,
    /// The plugin's request, as a policy that would grant it.
    pub requested: Policy,
    /// The permissions that the plugin asks for and its approved policy does not grant: it asks for
    /// more than it did when it was approved. Empty for every other status.
    pub exceeds_grant: Vec<Permission>,
    /// The plugin's use of the host API.
    pub usage: Usage,
}

/// The policies of all plugins: those that are stored, and those in force.
#[derive(Debug)]
pub struct Policies {
    store: Box<dyn PolicyStore>,
    trust_declared: bool,
    plugins: RwLock<HashMap<PluginName, Arc<PluginPolicy>>>,
    /// The plugins that are installed. Held while what follows from them is put in force, so that
    /// no default replaces a policy that was set meanwhile, and none rests on an older list.
    installed: Arc<Mutex<BTreeSet<PluginName>>>,
    /// Held while a policy is read or written, so that none applies that is no longer stored. A
    /// change takes it along to the store: whoever asked for it may be gone before it is carried
    /// out.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Policies {
    /// The policies of this store. With `trust_declared` a plugin without a stored policy is
    /// granted what it declares: for development, and for plugins the operator wrote.
    pub fn new(store: impl PolicyStore, trust_declared: bool) -> Self {
        Policies {
            store: Box::new(store),
            trust_declared,
            plugins: RwLock::default(),
            installed: Arc::default(),
            changing: Arc::default(),
        }
    }

    pub(crate) fn of(&self, plugin: &PluginName) -> Arc<PluginPolicy> {
        if let Some(policy) = self.plugins.read().get(plugin) {
            return Arc::clone(policy);
        }
        let mut plugins = self.plugins.write();
        let entry = plugins.entry(plugin.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(PluginPolicy::new())))
    }

    /// Returns whether the operator has blocked a plugin.
    pub fn is_blocked(&self, plugin: &PluginName) -> bool {
        self.plugins
            .read()
            .get(plugin)
            .is_some_and(|entry| entry.effective().is_blocked())
    }

    /// The HTTP part of a plugin's stored policy; the default without a stored one.
    pub fn http(&self, plugin: &PluginName) -> HttpPolicy {
        let entry = self.plugins.read().get(plugin).cloned();
        let stored = entry.filter(|entry| entry.effective().origin == Origin::Stored);
        stored
            .map(|entry| HttpPolicy::of(&entry.effective().policy))
            .unwrap_or_default()
    }

    /// Forgets the counters of a plugin that is removed. A stored policy stays.
    pub fn removed(&self, plugin: &PluginName) {
        let mut plugins = self.plugins.write();
        let is_stored = |entry: &Arc<PluginPolicy>| {
            entry.effective().is_stored() || entry.stored.lock().is_some()
        };
        if plugins.get(plugin).is_some_and(|entry| !is_stored(entry)) {
            plugins.remove(plugin);
        }
    }

    /// Waits until the operator blocks a plugin; returns at once where that is so already.
    pub async fn blocked(&self, plugin: &PluginName) {
        self.of(plugin).blocked().await;
    }

    /// The limits of a plugin's process that is about to start: those of the stored policy. Without
    /// one the process has no network, unless the host trusts what plugins declare, and the other
    /// limits are left to the plugin's request.
    pub fn limits(&self, plugin: &PluginName, request: &ResourceRequest) -> PluginLimits {
        let entry = self.plugins.read().get(plugin).cloned();
        let stored = entry.filter(|entry| entry.effective().is_stored());
        match stored {
            Some(entry) => super::limits(&entry.effective().policy),
            None if self.trust_declared => super::limits(&Policy::of_request(request)),
            None => PluginLimits::default(),
        }
    }

    /// Admits a call into a plugin, with the limits of its stored policy.
    ///
    /// # Errors
    /// Denied: the operator has blocked it.
    pub fn admit(&self, plugin: &PluginName) -> Result<Admission, HostError> {
        let plugins = self.plugins.read();
        let Some(entry) = plugins.get(plugin) else {
            return Ok(Admission::default());
        };
        let blocks = entry.blocks();
        let effective = entry.effective();
        if effective.is_blocked() {
            return Err(HostError::denied("it is blocked by its policy"));
        }
        let mut admission = Admission::default().until(blocks);
        if effective.origin == Origin::Stored {
            let policy = &effective.policy;
            admission.call_timeout = policy.call_timeout.and_then(GoDuration::to_std);
            admission.job_timeout = policy.job_timeout.and_then(GoDuration::to_std);
            admission.calls_in_flight = set(policy.max_calls_in_flight);
            admission.calls_waiting = set(policy.max_calls_waiting);
        }
        Ok(admission)
    }

    /// Takes note of the plugins that are installed and of what the plugin.yaml of each asks for: the
    /// default grants tables by the names of all of them. The request of a plugin that has registered
    /// stays that of its registration.
    pub fn installed(&self, plugins: &BTreeMap<PluginName, ResourceRequest>) {
        let mut installed = self.installed.lock();
        *installed = plugins.keys().cloned().collect();
        for (plugin, request) in plugins {
            let request = Policy::of_request(request);
            self.of(plugin).requests.lock().found(request);
        }
        for (plugin, entry) in self.plugins.read().iter() {
            let effective = entry.effective();
            let is_default = effective.origin == Origin::Default
                || (effective.origin == Origin::Stored
                    && effective.policy.status == PolicyStatus::PendingReview);
            if is_default {
                entry.apply(self.trust_declared, plugin, &installed);
            }
        }
    }

    /// A generation of a plugin registers: what it asks for, and the stored policy, apply to it
    /// from now on. `alone`: no other one serves, so it speaks for the plugin at once.
    ///
    /// # Errors
    /// Unavailable: the stored policy cannot be read. Then the generation should not start, and if
    /// it is alone the plugin has nothing; one that is blocked stays so.
    pub async fn prepare(
        &self,
        plugin: &PluginName,
        generation: u64,
        request: &ResourceRequest,
        alone: bool,
    ) -> Result<(), HostError> {
        let _changing = self.changing.lock().await;
        let entry = self.of(plugin);
        let request = Policy::of_request(request);
        entry
            .requests
            .lock()
            .prepare(generation, request.clone(), alone);
        let stored = match self.stored(plugin).await {
            Err(error) if self.store.is_followed() && error.kind() != ErrorKind::Invalid => {
                tracing::warn!(%plugin, %error, "the policy that is known applies");
                Ok(entry.stored.lock().clone())
            }
            stored => stored,
        };
        let installed = self.installed.lock();
        match stored {
            Ok(_) if entry.is_blocked_unstored() => {}
            Ok(policy) => {
                *entry.stored.lock() = policy;
                entry.apply(self.trust_declared, plugin, &installed);
                let exceeds = exceeds_grant(&entry.effective_for(generation).policy, &request);
                if !exceeds.is_empty() {
                    let kinds: Vec<_> = exceeds.iter().map(|entry| &*entry.kind_name).collect();
                    tracing::warn!(%plugin, permissions = ?kinds,
                        "the plugin asks for more than its approved policy grants; it does not \
                         get it until the policy is set anew");
                }
            }
            Err(error) => {
                let nothing = match entry.effective().is_blocked() {
                    true => Effective::unreadable(),
                    false => Effective::nothing(Origin::Unreadable),
                };
                if alone {
                    entry.put(nothing);
                }
                return Err(HostError::unavailable(format!(
                    "its stored policy cannot be read ({error}); mend the store, or set the \
                     policy anew"
                )));
            }
        }
        Ok(())
    }

    /// A generation that was prepared serves from now on.
    pub fn commit(&self, plugin: &PluginName, generation: u64) {
        self.change_requests(plugin, |requests| requests.commit(generation));
    }

    /// A generation has ended.
    pub fn ended(&self, plugin: &PluginName, generation: u64) {
        self.change_requests(plugin, |requests| requests.ended(generation));
    }

    fn change_requests(&self, plugin: &PluginName, change: impl FnOnce(&mut Requests)) {
        let entry = self.plugins.read().get(plugin).cloned();
        if let Some(entry) = entry {
            let installed = self.installed.lock();
            change(&mut entry.requests.lock());
            // A policy that cannot be read stays in force as it is.
            if entry.effective().origin != Origin::Unreadable {
                entry.apply(self.trust_declared, plugin, &installed);
            }
        }
    }

    /// Carries out an operator's change of a policy, as [`Policies::set`] does.
    ///
    /// # Errors
    /// Invalid: the update is not for this plugin, or grants what the plugin asks for and that is
    /// not known yet. Otherwise as [`Policies::set`].
    pub async fn update(&self, plugin: &PluginName, update: PolicyUpdate) -> Result<(), HostError> {
        let entry = self.plugins.read().get(plugin).cloned();
        let request = entry.and_then(|entry| entry.requests.lock().current().cloned());
        self.set(plugin, update.resolve(plugin, request.as_ref())?)
            .await
    }

    /// Stores a policy. It applies at once.
    ///
    /// # Errors
    /// Unavailable: it cannot be stored. Then nothing has changed, but for a policy that blocks the
    /// plugin: that one is in force until the host ends, because a plugin must be stopped where a
    /// disk is full, too.
    pub async fn set(&self, plugin: &PluginName, policy: Policy) -> Result<(), HostError> {
        // A policy that cannot be compiled is refused before anything is stored.
        Grants::of(&policy)?;
        let json = serde_json::to_string(&policy)
            .map_err(|error| HostError::invalid(error.to_string()))?;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let (installed, entry) = (Arc::clone(&self.installed), self.of(plugin));
        let (name, trust_declared) = (plugin.clone(), self.trust_declared);
        let is_blocked = policy.status == PolicyStatus::Blocked;
        let settle = Settle::new(move |stored| {
            let _changing = changing;
            match stored {
                Ok(()) => entry.set_blocked_unstored(false),
                Err(_) if is_blocked => entry.set_blocked_unstored(true),
                Err(_) => {}
            }
            if stored.is_ok() || is_blocked {
                let installed = installed.lock();
                *entry.stored.lock() = Some(policy);
                entry.apply(trust_declared, &name, &installed);
            }
            match stored {
                Err(error) if is_blocked => Err(HostError::unavailable(format!(
                    "the plugin is blocked, but only until the host ends: the policy cannot be \
                     stored ({error}); mend the store and set it again"
                ))),
                _ => Ok(()),
            }
        });
        self.store.put(plugin, Some(json), settle).await.map(drop)
    }

    /// Removes a stored policy: the default applies again, at once. Says whether there was one.
    ///
    /// # Errors
    /// Unavailable: it cannot be removed; then nothing has changed.
    pub async fn reset(&self, plugin: &PluginName) -> Result<bool, HostError> {
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let (installed, trust_declared) = (Arc::clone(&self.installed), self.trust_declared);
        let (name, entry) = (plugin.clone(), self.of(plugin));
        let settle = Settle::new(move |removed| {
            let _changing = changing;
            if removed.is_ok() {
                entry.set_blocked_unstored(false);
                let installed = installed.lock();
                *entry.stored.lock() = None;
                if entry.effective().is_stored() {
                    entry.apply(trust_declared, &name, &installed);
                }
            }
            Ok(())
        });
        self.store.put(plugin, None, settle).await
    }

    /// A plugin's policy; `None` for one that has neither registered nor a policy.
    pub fn view(&self, plugin: &PluginName) -> Option<PolicyView> {
        let entry = self.plugins.read().get(plugin).cloned()?;
        let effective = entry.effective();
        let request = entry.requests.lock().current().cloned().unwrap_or_default();
        Some(PolicyView {
            plugin_name: plugin.clone(),
            origin: effective.origin,
            policy: effective.policy.clone(),
            exceeds_grant: exceeds_grant(&effective.policy, &request),
            requested: request,
            usage: entry.usage(),
        })
    }

    /// The permissions that a plugin with this request would be granted at this moment: by its stored
    /// policy, or by the default.
    pub fn would_grant(&self, plugin: &PluginName, requested: &[Permission]) -> Vec<Permission> {
        let entry = self.plugins.read().get(plugin).cloned();
        let stored = entry.and_then(|entry| entry.stored.lock().clone());
        let request = Policy {
            permissions: requested.to_vec(),
            ..Policy::default()
        };
        let installed = self.installed.lock();
        let effective = in_force(self.trust_declared, plugin, stored, request, &installed);
        match effective.policy.status {
            PolicyStatus::Blocked => Vec::new(),
            _ => effective.policy.permissions,
        }
    }

    /// A plugin's use of the host API since the host started.
    pub fn usage(&self, plugin: &PluginName) -> Usage {
        let entry = self.plugins.read().get(plugin).cloned();
        entry.map(|entry| entry.usage()).unwrap_or_default()
    }

    /// Reads all stored policies, so that a blocked plugin is blocked before it starts.
    ///
    /// # Errors
    /// Unavailable: the store cannot be read.
    pub async fn load(&self) -> Result<(), HostError> {
        let _changing = self.changing.lock().await;
        let stored = self.store.all().await?;
        for (plugin, json) in stored {
            let Ok(plugin) = PluginName::new(&plugin) else {
                continue;
            };
            let entry = self.of(&plugin);
            match read(&json) {
                Ok(policy) => {
                    *entry.stored.lock() = Some(policy);
                    entry.apply(self.trust_declared, &plugin, &self.installed.lock());
                }
                Err(error) => {
                    tracing::error!(%plugin, %error, "the stored policy cannot be read; the \
                         plugin is blocked until one is set");
                    entry.put(Effective::unreadable());
                }
            }
        }
        Ok(())
    }

    /// Reads all stored policies again, which other hosts may have changed, puts them in force, and
    /// returns the plugins whose policy is another one. A plugin that was blocked here while nothing
    /// could be stored stays so.
    ///
    /// # Errors
    /// Unavailable: the store cannot be read; then everything stays as it is.
    pub async fn refresh(&self) -> Result<Vec<PluginName>, HostError> {
        let _changing = self.changing.lock().await;
        let mut stored = self.store.all().await?;
        let known: BTreeSet<_> = self.plugins.read().keys().cloned().collect();
        let found = stored.keys().filter_map(|name| PluginName::new(name).ok());
        let all: BTreeSet<_> = found.chain(known).collect();
        let mut changed = Vec::new();
        for plugin in all {
            let policy = stored.remove(plugin.as_str()).map(|json| read(&json));
            let entry = self.of(&plugin);
            let is_blocked = |policy: &Policy| policy.status == PolicyStatus::Blocked;
            if entry.is_blocked_unstored() {
                // Unless it was stored after all.
                match &policy {
                    Some(Ok(policy)) if is_blocked(policy) => entry.set_blocked_unstored(false),
                    _ => continue,
                }
            }
            let before = entry.effective();
            match policy.transpose() {
                Ok(policy) => {
                    let installed = self.installed.lock();
                    let mut kept = entry.stored.lock();
                    if *kept == policy && before.origin != Origin::Unreadable {
                        continue;
                    }
                    *kept = policy;
                    drop(kept);
                    entry.apply(self.trust_declared, &plugin, &installed);
                }
                Err(error) => {
                    tracing::error!(%plugin, %error, "the stored policy cannot be read; the \
                         plugin is blocked until one is set");
                    entry.put(Effective::unreadable());
                }
            }
            changed.push(plugin);
        }
        Ok(changed)
    }

    async fn stored(&self, plugin: &PluginName) -> Result<Option<Policy>, HostError> {
        let json = self.store.get(plugin).await?;
        json.map(|json| read(&json)).transpose()
    }
}

/// A number of a policy that is set.
fn set(number: u32) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number > 0)
}

/// A policy as it is stored.
fn read(json: &str) -> Result<Policy, HostError> {
    let policy = Policy::from_json(json.as_bytes())?;
    super::check(&policy)?;
    Ok(policy)
}

#[cfg(test)]
mod tests;
