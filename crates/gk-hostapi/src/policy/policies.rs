//! The policies in force: stored ones, defaults, and what was used of them. They belong to plugins, not
//! to processes, so they outlive a reload, and a change holds from the next request on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use gk_manifest::{GoDuration, Permission, PluginName, ResourceRequest};
use parking_lot::{Mutex, RwLock};
use rusqlite::OptionalExtension;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::meter::Meter;
use super::requests::Requests;
use super::safe::safe_default;
use super::{
    Grants, HTTP_IN_FLIGHT_MAX, HttpPolicy, MAILS_PER_MINUTE, Policy, PolicyStatus, Rate,
    STORE_REQUESTS_AT_ONCE_MAX,
};
use super::{PolicyUpdate, missing};
use crate::api::{Admission, PluginLimits};
use crate::error::HostError;
use crate::store::{Store, StoreError};

/// Statements of one plugin that run at once; the next ones wait until their deadline. Fewer than a
/// database has connections: a plugin whose statements never end must not take them all.
pub(crate) const STATEMENTS_AT_ONCE_MAX: usize = 4;

/// Where a policy in force comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The operator stored it.
    Stored,
    /// Nobody reviewed the plugin: its request, cut down to what is safe.
    Default,
    /// Nobody reviewed the plugin, and the host trusts what plugins declare.
    Declared,
    /// Neither registered nor installed: nothing.
    Unregistered,
    /// The stored policy cannot be read: nothing.
    Unreadable,
}

/// A policy in force.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) policy: Policy,
    pub(crate) origin: Origin,
    pub(crate) grants: Grants,
}

impl Effective {
    fn new(policy: Policy, origin: Origin) -> Result<Self, HostError> {
        Ok(Effective {
            grants: Grants::of(&policy)?,
            policy,
            origin,
        })
    }

    fn nothing(origin: Origin) -> Self {
        Effective {
            policy: Policy::default(),
            origin,
            grants: Grants::default(),
        }
    }

    /// A policy that is stored and cannot be read. It may say that the plugin is blocked.
    fn unreadable() -> Self {
        let mut nothing = Effective::nothing(Origin::Unreadable);
        nothing.policy.status = PolicyStatus::Blocked;
        nothing
    }
}

/// What a plugin has used, since the host started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    db_queries: AtomicU64,
    db_execs: AtomicU64,
    cache_ops: AtomicU64,
    http_requests: AtomicU64,
    calls: AtomicU64,
    refused: AtomicU64,
    last_unix_ms: AtomicI64,
}

/// What a plugin has used, since the host started (contract §7.6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Requests to the host API.
    pub requests: u64,
    /// Statements that read.
    pub db_queries: u64,
    /// Other statements.
    pub db_execs: u64,
    /// Cache requests.
    pub cache_ops: u64,
    /// Outgoing HTTP requests.
    pub http_requests: u64,
    /// Calls to other plugins.
    pub calls: u64,
    /// Requests refused by the policy or a rate.
    pub errors: u64,
    /// The last request, in milliseconds since 1970; 0 for none.
    pub last_call_at: i64,
}

type Deadline = tokio::time::Instant;
type Place<'a> = Result<SemaphorePermit<'a>, HostError>;

/// A number of a policy that is set.
fn set(number: u32) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number > 0)
}

async fn place(places: &Semaphore, deadline: Deadline, at_once: usize) -> Place<'_> {
    let place = tokio::time::timeout_at(deadline, places.acquire()).await;
    // The semaphore is never closed.
    place.ok().and_then(Result::ok).ok_or_else(|| {
        HostError::timeout(format!(
            "{at_once} other such requests of the plugin did not end in time"
        ))
    })
}

/// What is kept of one plugin.
#[derive(Debug)]
pub(crate) struct PluginPolicy {
    effective: ArcSwap<Effective>,
    /// What is in force for generations that start or drain beside the one that serves.
    others: ArcSwap<Vec<(u64, Arc<Effective>)>>,
    /// What it asks for: its plugin.yaml, and once it has registered its registration, too.
    requests: Mutex<Requests>,
    /// What the operator stored. It differs from what is in force where that is pending review.
    stored: Mutex<Option<Policy>>,
    meters: [Meter; 4],
    /// Places for outgoing requests, each of which may hold bodies of many megabytes.
    http_slots: Semaphore,
    counters: Counters,
    statements: Semaphore,
    store_requests: Semaphore,
    /// How often it was blocked.
    blocks: watch::Sender<u64>,
}

impl PluginPolicy {
    fn new() -> Self {
        let now = Instant::now();
        PluginPolicy {
            effective: ArcSwap::from_pointee(Effective::nothing(Origin::Unregistered)),
            others: ArcSwap::default(),
            requests: Mutex::default(),
            stored: Mutex::default(),
            meters: [Rate::Calls, Rate::Db, Rate::Http, Rate::Mail]
                .map(|rate| Meter::new(rate, now)),
            http_slots: Semaphore::new(HTTP_IN_FLIGHT_MAX),
            counters: Counters::default(),
            statements: Semaphore::new(STATEMENTS_AT_ONCE_MAX),
            store_requests: Semaphore::new(STORE_REQUESTS_AT_ONCE_MAX),
            blocks: watch::Sender::default(),
        }
    }

    /// Puts a policy in force. What runs ends if it blocks the plugin.
    fn put(&self, effective: Effective) {
        let is_blocked = effective.policy.status == PolicyStatus::Blocked;
        self.effective.store(Arc::new(effective));
        if is_blocked {
            self.blocks.send_modify(|blocks| *blocks += 1);
        }
    }

    /// Waits until the plugin is blocked, however short it is.
    pub(crate) async fn blocked(&self) {
        let mut blocks = self.blocks.subscribe();
        if self.effective().policy.status != PolicyStatus::Blocked {
            // It cannot fail: the sender is `self`'s.
            let _ = blocks.changed().await;
        }
    }

    /// A place for an outgoing request.
    pub(crate) fn http_slot(&self) -> Result<SemaphorePermit<'_>, HostError> {
        self.http_slots.try_acquire().map_err(|_| {
            HostError::limit(format!(
                "{HTTP_IN_FLIGHT_MAX} HTTP requests are under way; wait for one of them"
            ))
        })
    }

    /// Waits until fewer than [`STATEMENTS_AT_ONCE_MAX`] of the plugin's statements are under way.
    pub(crate) async fn statement(&self, deadline: Deadline) -> Place<'_> {
        place(&self.statements, deadline, STATEMENTS_AT_ONCE_MAX).await
    }

    /// Waits until fewer than [`STORE_REQUESTS_AT_ONCE_MAX`] of the plugin's requests use the store.
    pub(crate) async fn store_request(&self, deadline: Deadline) -> Place<'_> {
        place(&self.store_requests, deadline, STORE_REQUESTS_AT_ONCE_MAX).await
    }

    pub(crate) fn effective(&self) -> arc_swap::Guard<Arc<Effective>> {
        self.effective.load()
    }

    /// What is in force for one generation: what the plugin asks for may differ between two that are there at the
    /// same time.
    pub(crate) fn effective_for(&self, generation: u64) -> arc_swap::Guard<Arc<Effective>> {
        let others = self.others.load();
        match others.iter().find(|(other, _)| *other == generation) {
            Some((_, effective)) => arc_swap::Guard::from_inner(Arc::clone(effective)),
            None => self.effective(),
        }
    }

    /// Counts one against a rate of the policy.
    pub(crate) fn charge(&self, rate: Rate, policy: &Policy) -> Result<(), HostError> {
        let limit = match rate {
            Rate::Calls => policy.max_calls_per_second,
            Rate::Db => policy.max_db_queries_per_min,
            Rate::Http => policy.max_http_req_per_min,
            Rate::Mail => MAILS_PER_MINUTE,
        };
        let [calls, db, http, mail] = &self.meters;
        let meter = match rate {
            Rate::Calls => calls,
            Rate::Db => db,
            Rate::Http => http,
            Rate::Mail => mail,
        };
        if meter.admit(limit, Instant::now()) {
            return Ok(());
        }
        Err(HostError::limit(format!(
            "{} rate limit exceeded ({limit} per {})",
            rate.what(),
            if rate.window().as_secs() == 1 {
                "second"
            } else {
                "minute"
            }
        )))
    }

    /// Counts a request.
    pub(crate) fn count(&self, method: &str) {
        let counters = &self.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        let of_kind = match method {
            "db_query" => Some(&counters.db_queries),
            "db_exec" | "db_batch" => Some(&counters.db_execs),
            "cache_get" | "cache_set" | "cache_delete" => Some(&counters.cache_ops),
            "http_request" => Some(&counters.http_requests),
            "plugin_call" => Some(&counters.calls),
            _ => None,
        };
        if let Some(counter) = of_kind {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let now = OffsetDateTime::now_utc();
        let ms = now.unix_timestamp() * 1000 + i64::from(now.millisecond());
        counters.last_unix_ms.store(ms, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub(crate) fn count_refusal(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn usage(&self) -> Usage {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Usage {
            requests: of(&counters.requests),
            db_queries: of(&counters.db_queries),
            db_execs: of(&counters.db_execs),
            cache_ops: of(&counters.cache_ops),
            http_requests: of(&counters.http_requests),
            calls: of(&counters.calls),
            errors: of(&counters.refused),
            last_call_at: counters.last_unix_ms.load(Ordering::Relaxed),
        }
    }
}

/// A plugin's policy, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PolicyView {
    /// The plugin.
    pub plugin_name: PluginName,
    /// Where the policy comes from.
    pub origin: Origin,
    /// The policy in force.
    pub policy: Policy,
    /// What the plugin asks for, as a policy that would grant it.
    pub requested: Policy,
    /// What the plugin asks for and an approved policy does not grant: it asks for more than it did when it was
    /// approved. Empty for every other status.
    pub exceeds_grant: Vec<Permission>,
    /// What it has used.
    pub usage: Usage,
}

/// All policies.
#[derive(Debug)]
pub struct Policies {
    store: Store,
    trust_declared: bool,
    plugins: RwLock<HashMap<PluginName, Arc<PluginPolicy>>>,
    /// The plugins that are installed. Held while what follows from them is put in force, so that no
    /// default replaces a policy that was set meanwhile, and none rests on an older list.
    installed: Arc<Mutex<BTreeSet<PluginName>>>,
    /// Held while a policy is read or written, so that none applies that is no longer stored. A change
    /// takes it along to the store: whoever asked for it may be gone before it is carried out.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Policies {
    /// The policies of this store. With `trust_declared` a plugin without a stored policy is granted what
    /// it declares: for development, and for plugins the operator wrote.
    pub fn new(store: Store, trust_declared: bool) -> Self {
        Policies {
            store,
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

    /// Whether the operator has blocked a plugin.
    pub fn is_blocked(&self, plugin: &PluginName) -> bool {
        self.plugins
            .read()
            .get(plugin)
            .is_some_and(|entry| entry.effective().policy.status == PolicyStatus::Blocked)
    }

    /// What the operator's stored policy of a plugin says of HTTP; nothing without one.
    pub fn http(&self, plugin: &PluginName) -> HttpPolicy {
        let entry = self.plugins.read().get(plugin).cloned();
        let stored = entry.filter(|entry| entry.effective().origin == Origin::Stored);
        stored
            .map(|entry| HttpPolicy::of(&entry.effective().policy))
            .unwrap_or_default()
    }

    /// A plugin is removed: what was counted of it goes; what the operator stored stays.
    pub fn removed(&self, plugin: &PluginName) {
        let mut plugins = self.plugins.write();
        let is_stored = |entry: &Arc<PluginPolicy>| {
            matches!(
                entry.effective().origin,
                Origin::Stored | Origin::Unreadable
            ) || entry.stored.lock().is_some()
        };
        if plugins.get(plugin).is_some_and(|entry| !is_stored(entry)) {
            plugins.remove(plugin);
        }
    }

    /// Waits until the operator blocks a plugin; returns at once where that is so already.
    pub async fn blocked(&self, plugin: &PluginName) {
        self.of(plugin).blocked().await;
    }

    /// What a process of a plugin may have that is about to start: what the stored policy says. Without
    /// one it has no network, unless the host trusts what plugins declare, and the rest is left to it.
    pub fn limits(&self, plugin: &PluginName, request: &ResourceRequest) -> PluginLimits {
        let stored = self.plugins.read().get(plugin).cloned().filter(|entry| {
            matches!(
                entry.effective().origin,
                Origin::Stored | Origin::Unreadable
            )
        });
        match stored {
            Some(entry) => super::limits(&entry.effective().policy),
            None if self.trust_declared => super::limits(&Policy::of_request(request)),
            None => PluginLimits::default(),
        }
    }

    /// Whether a plugin may be called, how long, and how many calls at a time, if a stored policy says so.
    ///
    /// # Errors
    /// Denied: the operator has blocked it.
    pub(crate) fn admit(&self, plugin: &PluginName) -> Result<Admission, HostError> {
        let plugins = self.plugins.read();
        let Some(entry) = plugins.get(plugin) else {
            return Ok(Admission::default());
        };
        let blocks = entry.blocks.subscribe();
        let effective = entry.effective();
        if effective.policy.status == PolicyStatus::Blocked {
            return Err(HostError::denied("it is blocked by its policy"));
        }
        let mut admission = Admission::default().until(blocks);
        if effective.origin == Origin::Stored {
            let policy = &effective.policy;
            admission.call_timeout = policy.call_timeout.and_then(GoDuration::to_std);
            admission.calls_in_flight = set(policy.max_calls_in_flight);
            admission.calls_waiting = set(policy.max_calls_waiting);
        }
        Ok(admission)
    }

    /// These plugins are installed, and their plugin.yaml asks for this; what the default grants of tables
    /// depends on the others' names. What a plugin registered stays what it asks for.
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
                apply(self.trust_declared, plugin, entry, &installed);
            }
        }
    }

    /// A generation of a plugin registers: what it asks for, and the stored policy, apply to it from now on. `alone`:
    /// no other one serves, so it speaks for the plugin at once.
    ///
    /// # Errors
    /// Unavailable: the stored policy cannot be read. Then the generation should not start, and if it is alone the
    /// plugin has nothing; one that is blocked stays so.
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
        let stored = self.stored(plugin).await;
        let installed = self.installed.lock();
        match stored {
            Ok(policy) => {
                *entry.stored.lock() = policy;
                apply(self.trust_declared, plugin, &entry, &installed);
                let exceeds = exceeds_grant(&entry.effective_for(generation).policy, &request);
                if !exceeds.is_empty() {
                    let kinds: Vec<_> = exceeds.iter().map(|entry| &*entry.kind_name).collect();
                    tracing::warn!(%plugin, permissions = ?kinds,
                        "the plugin asks for more than its approved policy grants; it does not get it until the policy is set anew");
                }
            }
            Err(error) => {
                let before = entry.effective().policy.status;
                let nothing = match before {
                    PolicyStatus::Blocked => Effective::unreadable(),
                    _ => Effective::nothing(Origin::Unreadable),
                };
                if alone {
                    entry.put(nothing);
                }
                return Err(HostError::unavailable(format!(
                    "its stored policy cannot be read ({error}); mend the store, or set the policy anew"
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
            // What cannot be read stays what it is.
            if entry.effective().origin != Origin::Unreadable {
                apply(self.trust_declared, plugin, &entry, &installed);
            }
        }
    }

    /// Carries out an operator's change of a policy, as [`Policies::set`] does.
    ///
    /// # Errors
    /// Invalid: the update is not for this plugin, or grants what the plugin asks for and that is not known yet.
    /// Otherwise as [`Policies::set`].
    pub async fn update(&self, plugin: &PluginName, update: PolicyUpdate) -> Result<(), HostError> {
        let entry = self.plugins.read().get(plugin).cloned();
        let request = entry.and_then(|entry| entry.requests.lock().current().cloned());
        self.set(plugin, update.resolve(plugin, request.as_ref())?)
            .await
    }

    /// Stores a policy. It applies at once.
    ///
    /// # Errors
    /// Unavailable: it cannot be stored. Then nothing has changed, but for a policy that blocks the plugin: that one is
    /// in force until the host ends, because a plugin must be stopped where a disk is full, too.
    pub async fn set(&self, plugin: &PluginName, policy: Policy) -> Result<(), HostError> {
        // What cannot be compiled is refused before anything is stored.
        Grants::of(&policy)?;
        let json = serde_json::to_string(&policy)
            .map_err(|error| HostError::invalid(error.to_string()))?;
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let (installed, entry) = (Arc::clone(&self.installed), self.of(plugin));
        let (name, trust_declared) = (plugin.clone(), self.trust_declared);
        let is_blocked = policy.status == PolicyStatus::Blocked;
        self.store
            .run(move |connection| {
                let _changing = changing;
                let stored = connection.execute(
                    "INSERT INTO policy (plugin, policy, set_at) VALUES (?1, ?2, unixepoch())
                     ON CONFLICT (plugin) DO UPDATE SET policy = excluded.policy, set_at = excluded.set_at",
                    (name.as_str(), json),
                );
                if stored.is_ok() || is_blocked {
                    let installed = installed.lock();
                    *entry.stored.lock() = Some(policy);
                    apply(trust_declared, &name, &entry, &installed);
                }
                match stored {
                    Err(error) if is_blocked => Err(StoreError::Host(HostError::unavailable(format!(
                        "the plugin is blocked, but only until the host ends: the policy cannot be stored ({error}); mend the store and set it again"
                    )))),
                    stored => Ok(stored.map(drop)?),
                }
            })
            .await
    }

    /// Removes a stored policy: the default applies again, at once. Says whether there was one.
    ///
    /// # Errors
    /// Unavailable: it cannot be removed; then nothing has changed.
    pub async fn reset(&self, plugin: &PluginName) -> Result<bool, HostError> {
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let (installed, trust_declared) = (Arc::clone(&self.installed), self.trust_declared);
        let (plugin, entry) = (plugin.clone(), self.of(plugin));
        self.store
            .run(move |connection| {
                let _changing = changing;
                let removed = connection
                    .execute("DELETE FROM policy WHERE plugin = ?1", [plugin.as_str()])?;
                let installed = installed.lock();
                *entry.stored.lock() = None;
                if matches!(
                    entry.effective().origin,
                    Origin::Stored | Origin::Unreadable
                ) {
                    apply(trust_declared, &plugin, &entry, &installed);
                }
                Ok(removed > 0)
            })
            .await
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

    /// What a plugin that asks for this would be granted at this moment: by its stored policy, or by the default.
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

    /// What a plugin has used of the host API, since the host started.
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
        let stored: BTreeMap<String, String> = self
            .store
            .read(|connection| {
                let mut statement = connection.prepare("SELECT plugin, policy FROM policy")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        for (plugin, json) in stored {
            let Ok(plugin) = PluginName::new(&plugin) else {
                continue;
            };
            let entry = self.of(&plugin);
            match read(&json) {
                Ok(policy) => {
                    *entry.stored.lock() = Some(policy);
                    apply(self.trust_declared, &plugin, &entry, &self.installed.lock());
                }
                Err(error) => {
                    tracing::error!(%plugin, %error, "the stored policy cannot be read; the plugin is blocked until one is set");
                    entry.put(Effective::unreadable());
                }
            }
        }
        Ok(())
    }

    async fn stored(&self, plugin: &PluginName) -> Result<Option<Policy>, HostError> {
        let name = plugin.as_str().to_owned();
        let json: Option<String> = self
            .store
            .read(move |connection| {
                let json = connection
                    .query_row(
                        "SELECT policy FROM policy WHERE plugin = ?1",
                        [name],
                        |row| row.get(0),
                    )
                    .optional()?;
                Ok(json)
            })
            .await?;
        json.map(|json| read(&json)).transpose()
    }
}

/// A policy as it is stored.
fn read(json: &str) -> Result<Policy, HostError> {
    let policy = Policy::from_json(json.as_bytes())?;
    super::check(&policy)?;
    Ok(policy)
}

/// Puts in force what follows from the stored policy and from what the plugin's generations ask for.
fn apply(
    trust_declared: bool,
    plugin: &PluginName,
    entry: &PluginPolicy,
    installed: &BTreeSet<PluginName>,
) {
    let stored = entry.stored.lock().clone();
    let requests = entry.requests.lock();
    let of = |request: Option<&Policy>| {
        let request = request.cloned().unwrap_or_default();
        in_force(trust_declared, plugin, stored.clone(), request, installed)
    };
    let others = requests.others();
    let others = others.map(|(generation, request)| (generation, Arc::new(of(Some(request)))));
    entry.others.store(Arc::new(others.collect()));
    entry.put(of(requests.current()));
}

/// What applies: the stored policy, or the default where there is none or nothing is decided yet.
fn in_force(
    trust_declared: bool,
    plugin: &PluginName,
    stored: Option<Policy>,
    request: Policy,
    installed: &BTreeSet<PluginName>,
) -> Effective {
    let stored = match stored {
        Some(policy) if policy.status != PolicyStatus::PendingReview => {
            return compiled(plugin, policy, Origin::Stored);
        }
        pending => pending,
    };
    let (default, origin) = match trust_declared {
        true => (request, Origin::Declared),
        false => (safe_default(plugin, &request, installed), Origin::Default),
    };
    match stored {
        None => compiled(plugin, default, origin),
        Some(pending) => {
            let permissions = default.permissions;
            let policy = Policy {
                permissions,
                ..pending
            };
            compiled(plugin, policy, Origin::Stored)
        }
    }
}

fn compiled(plugin: &PluginName, policy: Policy, origin: Origin) -> Effective {
    let blocked = policy.status == PolicyStatus::Blocked;
    Effective::new(policy, origin).unwrap_or_else(|error| {
        tracing::warn!(%plugin, %error, "the permissions cannot be read as a policy; the plugin has nothing");
        match blocked {
            true => Effective::unreadable(),
            false => Effective::nothing(origin),
        }
    })
}

/// What an approved plugin asks for beyond what it was granted.
fn exceeds_grant(policy: &Policy, request: &Policy) -> Vec<Permission> {
    match policy.status {
        PolicyStatus::Approved => missing(&request.permissions, &policy.permissions),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn plugin() -> PluginName {
        PluginName::new("p").unwrap()
    }

    fn blocked() -> Policy {
        Policy {
            status: PolicyStatus::Blocked,
            ..Policy::default()
        }
    }

    /// Keeps the store's writer busy until the sender is dropped.
    fn hold(store: &Store) -> mpsc::Sender<()> {
        let (hold, held) = mpsc::channel::<()>();
        let (store, (begun, begins)) = (store.clone(), mpsc::channel());
        tokio::spawn(async move {
            let work = move |_: &mut rusqlite::Connection| {
                begun.send(()).unwrap();
                let _ = held.recv();
                Ok(())
            };
            store.run(work).await
        });
        begins.recv_timeout(Duration::from_secs(20)).unwrap();
        hold
    }

    /// An operator whose connection breaks after the policy was sent: what is stored has to be in force.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_applies_although_nobody_waits_for_it() {
        let store = Store::in_memory().unwrap();
        let policies = Policies::new(store.clone(), false);
        let held = hold(&store);
        // Polled once, it is on its way to the store, where it has to wait.
        let plugin = plugin();
        let set = policies.set(&plugin, blocked());
        assert!(tokio::time::timeout(Duration::ZERO, set).await.is_err());
        assert!(!policies.is_blocked(&plugin));
        drop(held);
        // Comes after it in the store.
        store.run(|_| Ok(())).await.unwrap();
        assert!(policies.is_blocked(&plugin));
        let held = hold(&store);
        let reset = policies.reset(&plugin);
        assert!(tokio::time::timeout(Duration::ZERO, reset).await.is_err());
        drop(held);
        store.run(|_| Ok(())).await.unwrap();
        assert!(!policies.is_blocked(&plugin));
    }

    #[tokio::test]
    async fn a_plugin_takes_only_some_of_a_databases_connections() {
        assert!(STATEMENTS_AT_ONCE_MAX < crate::db::DbLimits::default().max_connections);
        let policies = Policies::new(Store::in_memory().unwrap(), false);
        let (greedy, now) = (policies.of(&plugin()), tokio::time::Instant::now());
        let later = now + Duration::from_secs(60);
        let mut running = Vec::new();
        for _ in 0..STATEMENTS_AT_ONCE_MAX {
            running.push(greedy.statement(later).await.unwrap());
        }
        let error = greedy.statement(now).await.err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Timeout);
        let modest = policies.of(&PluginName::new("modest").unwrap());
        let _own = modest.statement(later).await.unwrap();
        running.pop();
        let _next = greedy.statement(later).await.unwrap();
    }

    #[tokio::test]
    async fn a_stored_policy_limits_the_process_and_nothing_else_gives_it_a_network() {
        let http = ResourceRequest {
            permissions: vec![gk_manifest::Permission {
                kind_name: "http".into(),
                ..Default::default()
            }],
            call_timeout: "2m".into(),
            ..ResourceRequest::default()
        };
        let policies = Policies::new(Store::in_memory().unwrap(), false);
        // What it asks for is the supervisor's to look at, but for the network.
        assert_eq!(policies.limits(&plugin(), &http), PluginLimits::default());
        policies.prepare(&plugin(), 1, &http, true).await.unwrap();
        assert_eq!(policies.limits(&plugin(), &http), PluginLimits::default());
        assert_eq!(policies.admit(&plugin()).unwrap().call_timeout, None);

        let set = br#"{"status":"approved","permissions":[{"type":"http","scope":["a.example"]}],
            "call_timeout":"5s","init_timeout":"6s","shutdown_timeout":"7s","memory_mb":64,
            "max_calls_in_flight":3,"max_calls_waiting":4}"#;
        let set = Policy::from_json(set).unwrap();
        policies.set(&plugin(), set).await.unwrap();
        let limits = policies.limits(&plugin(), &ResourceRequest::default());
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(
            (
                limits.call_timeout,
                limits.init_timeout,
                limits.shutdown_timeout
            ),
            (seconds(5), seconds(6), seconds(7))
        );
        assert_eq!(
            (limits.memory_bytes, limits.network),
            (Some(64 << 20), true)
        );
        // The next call has it, and after a reset the next call has it no more.
        let admitted = policies.admit(&plugin()).unwrap();
        assert_eq!(admitted.call_timeout, seconds(5));
        let calls = (admitted.calls_in_flight, admitted.calls_waiting);
        assert_eq!(calls, (Some(3), Some(4)));
        policies.reset(&plugin()).await.unwrap();
        let admitted = policies.admit(&plugin()).unwrap();
        let calls = (admitted.calls_in_flight, admitted.calls_waiting);
        assert_eq!((admitted.call_timeout, calls), (None, (None, None)));
        assert_eq!(policies.limits(&plugin(), &http), PluginLimits::default());

        policies.set(&plugin(), blocked()).await.unwrap();
        assert!(policies.admit(&plugin()).is_err());
        assert!(!policies.limits(&plugin(), &http).network);

        let trusting = Policies::new(Store::in_memory().unwrap(), true);
        let limits = trusting.limits(&plugin(), &http);
        assert!(limits.network);
        assert_eq!(limits.call_timeout, seconds(120));
        let none = trusting.limits(&plugin(), &ResourceRequest::default());
        assert_eq!(none, PluginLimits::default());
    }

    /// A store that fails must not make a blocked plugin one that is only not granted anything: that one
    /// may be called, and has its secrets.
    #[tokio::test]
    async fn what_is_blocked_stays_blocked_when_the_store_fails() {
        let store = Store::in_memory().unwrap();
        let policies = Policies::new(store.clone(), false);
        policies.set(&plugin(), blocked()).await.unwrap();
        let break_it = |c: &mut rusqlite::Connection| {
            Ok(c.execute_batch("ALTER TABLE policy RENAME TO elsewhere")?)
        };
        store.run(break_it).await.unwrap();
        let request = ResourceRequest::default();
        policies
            .prepare(&plugin(), 1, &request, true)
            .await
            .unwrap_err();
        assert!(policies.is_blocked(&plugin()));
        assert_eq!(policies.view(&plugin()).unwrap().origin, Origin::Unreadable);
        // Another one gets nothing, and is not blocked for it.
        let other = PluginName::new("other").unwrap();
        policies
            .prepare(&other, 1, &request, true)
            .await
            .unwrap_err();
        assert!(!policies.is_blocked(&other));
    }

    /// Nobody knows what it said: it may have been that the plugin is blocked.
    #[tokio::test]
    async fn a_policy_that_cannot_be_read_blocks_until_it_is_removed() {
        let store = Store::in_memory().unwrap();
        let garbled = |c: &mut rusqlite::Connection| {
            Ok(c.execute(
                "INSERT INTO policy VALUES ('p', '{\"status\":\"newer\"}', 0)",
                [],
            )?)
        };
        store.run(garbled).await.unwrap();
        let policies = Policies::new(store, false);
        policies.load().await.unwrap();
        assert!(policies.is_blocked(&plugin()));
        let request = ResourceRequest::default();
        policies
            .prepare(&plugin(), 1, &request, true)
            .await
            .unwrap_err();
        assert!(policies.is_blocked(&plugin()));
        assert!(policies.reset(&plugin()).await.unwrap());
        assert_eq!(policies.view(&plugin()).unwrap().origin, Origin::Default);
        assert!(!policies.is_blocked(&plugin()));
    }

    fn asks_for(scope: &[&str]) -> ResourceRequest {
        ResourceRequest {
            permissions: vec![Permission {
                kind_name: "db".into(),
                access: "readwrite".into(),
                scope: scope.iter().map(|&pattern| pattern.into()).collect(),
            }],
            max_file_storage_bytes: 1 << 40,
            ..ResourceRequest::default()
        }
    }

    async fn update(policies: &Policies, json: &str) -> Result<PolicyView, HostError> {
        let update = PolicyUpdate::from_json(json.as_bytes())?;
        policies.update(&plugin(), update).await?;
        Ok(policies.view(&plugin()).unwrap())
    }

    #[tokio::test]
    async fn what_was_asked_for_is_approved_and_pinned() {
        let policies = Policies::new(Store::in_memory().unwrap(), false);
        let error = update(&policies, r#"{"status":"approved"}"#).await;
        assert!(error.unwrap_err().to_string().contains("not installed"));
        let asked = asks_for(&["a", "b"]);
        policies.prepare(&plugin(), 1, &asked, true).await.unwrap();
        for json in [
            r#"{"status":"approved"}"#,
            r#"{"status":"approved","permissions":"requested"}"#,
        ] {
            let view = update(&policies, json).await.unwrap();
            assert_eq!(view.policy.permissions, asked.permissions, "{json}");
            assert_eq!(view.policy.max_file_storage_bytes, 1 << 40);
            assert_eq!(view.exceeds_grant, []);
            policies.reset(&plugin()).await.unwrap();
        }
        // The answer of GET, whole or its parts, is taken back.
        let view = update(&policies, r#"{"status":"approved"}"#).await.unwrap();
        for json in [
            serde_json::to_value(&view).unwrap(),
            serde_json::to_value(&view.policy).unwrap(),
        ] {
            let again = update(&policies, &json.to_string()).await.unwrap();
            assert_eq!(again.policy, view.policy);
        }
        let mut requested = serde_json::to_value(&view.requested).unwrap();
        requested["status"] = "approved".into();
        let again = update(&policies, &requested.to_string()).await.unwrap();
        assert_eq!(again.policy.permissions, view.policy.permissions);
        let mut another = serde_json::to_value(&view).unwrap();
        another["plugin_name"] = "another".into();
        let error = update(&policies, &another.to_string()).await.unwrap_err();
        assert!(error.to_string().contains("another"), "{error}");

        // A later version asks for more: it does not get it, and that is shown.
        let mut seen = serde_json::to_value(policies.view(&plugin()).unwrap()).unwrap();
        let more = asks_for(&["a", "b", "c"]);
        policies.prepare(&plugin(), 1, &more, true).await.unwrap();
        // Nor is it approved by who looked at what was asked for before.
        seen["policy"]["permissions"] = "requested".into();
        let error = update(&policies, &seen.to_string()).await.unwrap_err();
        assert!(
            error.to_string().contains("something else by now"),
            "{error}"
        );
        let view = policies.view(&plugin()).unwrap();
        assert_eq!(view.policy.permissions, asked.permissions);
        assert_eq!(view.exceeds_grant, more.permissions);
    }

    /// An operator decides before a stranger's program runs, and about one that is blocked.
    #[tokio::test]
    async fn what_plugin_yaml_asks_for_is_known_before_it_runs() {
        let policies = Policies::new(Store::in_memory().unwrap(), false);
        let error = update(&policies, r#"{"status":"approved"}"#).await;
        error.unwrap_err();
        // What was refused leaves nothing behind.
        assert!(policies.view(&plugin()).is_none());
        let asked = asks_for(&["a"]);
        policies.installed(&BTreeMap::from([(plugin(), asked.clone())]));
        let view = policies.view(&plugin()).unwrap();
        assert_eq!(view.requested.permissions, asked.permissions);
        update(&policies, r#"{"status":"blocked"}"#).await.unwrap();
        let view = update(
            &policies,
            r#"{"status":"approved","permissions":"requested"}"#,
        )
        .await
        .unwrap();
        assert_eq!(view.policy.permissions, asked.permissions);
        // Once it has registered, that is what it asks for, whatever is found again.
        let registered = asks_for(&["a", "b"]);
        policies
            .prepare(&plugin(), 1, &registered, true)
            .await
            .unwrap();
        policies.installed(&BTreeMap::from([(plugin(), asked)]));
        let view = policies.view(&plugin()).unwrap();
        assert_eq!(view.requested.permissions, registered.permissions);
        assert_eq!(view.exceeds_grant, registered.permissions);
    }

    #[tokio::test]
    async fn each_status_has_its_own_effect() {
        let policies = Policies::new(Store::in_memory().unwrap(), false);
        let asked = asks_for(&["gk_p_x", "customer"]);
        policies.prepare(&plugin(), 1, &asked, true).await.unwrap();
        let tables = |view: &PolicyView| -> Vec<String> {
            let permissions = view.policy.permissions.iter();
            permissions.flat_map(|p| p.scope.clone()).collect()
        };
        let list = r#","max_calls_per_second":7,"permissions":[{"type":"db","access":"read","scope":["customer"]}]}"#;
        // Nothing is decided: the default, whatever is listed, also after the host starts anew.
        let pending = format!(r#"{{"status":"pending_review"{list}"#);
        let view = update(&policies, &pending).await.unwrap();
        assert_eq!(tables(&view), ["gk_p_x"]);
        assert_eq!(view.policy.max_calls_per_second, 7);
        policies.load().await.unwrap();
        assert_eq!(tables(&policies.view(&plugin()).unwrap()), ["gk_p_x"]);
        for (status, exceeds) in [("approved", 1), ("restricted", 0)] {
            let json = format!(r#"{{"status":"{status}"{list}"#);
            let view = update(&policies, &json).await.unwrap();
            assert_eq!(tables(&view), ["customer"], "{status}");
            assert_eq!(view.exceeds_grant.len(), exceeds, "{status}");
        }
        let error = update(&policies, r#"{"status":"restricted"}"#).await;
        assert!(error.unwrap_err().to_string().contains("permissions"));
        update(&policies, r#"{"status":"blocked"}"#).await.unwrap();
        assert!(policies.is_blocked(&plugin()));
    }

    /// A full disk must not keep a plugin running.
    #[tokio::test]
    async fn a_block_that_cannot_be_stored_is_in_force() {
        let store = Store::in_memory().unwrap();
        let policies = Policies::new(store.clone(), false);
        let request = ResourceRequest::default();
        policies
            .prepare(&plugin(), 1, &request, true)
            .await
            .unwrap();
        let full = |c: &mut rusqlite::Connection| {
            Ok(c.execute_batch("CREATE TRIGGER full BEFORE INSERT ON policy BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")?)
        };
        store.run(full).await.unwrap();
        let error = policies.set(&plugin(), blocked()).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unavailable);
        assert!(error.to_string().contains("cannot be stored"), "{error}");
        assert!(policies.is_blocked(&plugin()));
        assert!(policies.admit(&plugin()).is_err());
        // Anything else is not in force when it is not stored.
        policies
            .set(&plugin(), Policy::default())
            .await
            .unwrap_err();
        assert!(policies.is_blocked(&plugin()));
    }
}
