//! The state of one plugin: its policy in force, its rates, its queues and its counters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use tokio::sync::{SemaphorePermit, watch};

use super::effective::{Effective, Origin, in_force};
use super::queue::{Queue, Queues};
use super::rate::{Rate, SharedRates};
use super::requests::Requests;
use super::usage::{Counter, Counters, Usage};
use super::{MAILS_PER_MINUTE, Policy};
use crate::counts::Succeeded;
use crate::error::HostError;
use crate::rate::RateLimiter;

/// The state of one plugin. It belongs to the plugin, not to its process.
#[derive(Debug)]
pub(crate) struct PluginPolicy {
    effective: ArcSwap<Effective>,
    /// The policies in force for generations that start or drain beside the one that serves.
    others: ArcSwap<Vec<(u64, Arc<Effective>)>>,
    /// The plugin's requests: its plugin.yaml, and once it has registered its registration, too.
    pub(super) requests: Mutex<Requests>,
    /// The operator's stored policy. While a review is pending, another one is in force.
    pub(super) stored: Mutex<Option<Policy>>,
    /// The operator has blocked the plugin, and the store could not keep it.
    is_blocked_unstored: AtomicBool,
    rates: [RateLimiter; 4],
    /// What this host has taken of rates that it shares with others, and not used yet.
    taken: [AtomicU32; 4],
    /// Held while more is taken of them.
    refilling: tokio::sync::Mutex<()>,
    queues: Queues,
    counters: Counters,
    succeeded: Succeeded,
    /// How often the plugin was blocked.
    blocks: watch::Sender<u64>,
}

impl PluginPolicy {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        PluginPolicy {
            effective: ArcSwap::from_pointee(Effective::nothing(Origin::Unregistered)),
            others: ArcSwap::default(),
            requests: Mutex::default(),
            stored: Mutex::default(),
            is_blocked_unstored: AtomicBool::default(),
            rates: Rate::ALL.map(|rate| RateLimiter::new(rate.window(), now)),
            taken: Default::default(),
            refilling: tokio::sync::Mutex::default(),
            queues: Queues::new(),
            counters: Counters::default(),
            succeeded: Succeeded::default(),
            blocks: watch::Sender::default(),
        }
    }

    /// Puts a policy in force. Requests and calls that run end if it blocks the plugin.
    pub(super) fn put(&self, effective: Effective) {
        let is_blocked = effective.is_blocked();
        self.effective.store(Arc::new(effective));
        if is_blocked {
            self.blocks.send_modify(|blocks| *blocks += 1);
        }
    }

    /// Puts in force what follows from the stored policy and from what the plugin's generations ask
    /// for.
    pub(super) fn apply(
        &self,
        trust_declared: bool,
        plugin: &PluginName,
        installed: &BTreeSet<PluginName>,
    ) {
        let stored = self.stored.lock().clone();
        let requests = self.requests.lock();
        let of = |request: Option<&Policy>| {
            let request = request.cloned().unwrap_or_default();
            in_force(trust_declared, plugin, stored.clone(), request, installed)
        };
        let others = requests.others();
        let others = others.map(|(generation, request)| (generation, Arc::new(of(Some(request)))));
        self.others.store(Arc::new(others.collect()));
        self.put(of(requests.current()));
    }

    /// Returns whether the plugin is blocked until the host ends, whatever the store has.
    pub(super) fn is_blocked_unstored(&self) -> bool {
        self.is_blocked_unstored.load(Ordering::Acquire)
    }

    pub(super) fn set_blocked_unstored(&self, blocked: bool) {
        self.is_blocked_unstored.store(blocked, Ordering::Release);
    }

    /// How often the plugin was blocked, now and from now on.
    pub(super) fn blocks(&self) -> watch::Receiver<u64> {
        self.blocks.subscribe()
    }

    /// Waits until the plugin is blocked, and misses no block, however short.
    pub(crate) async fn blocked(&self) {
        let mut blocks = self.blocks();
        if !self.effective().is_blocked() {
            // Waiting cannot fail: the sender is `self`'s.
            let _ = blocks.changed().await;
        }
    }

    /// Takes a permit of one of the plugin's queues.
    pub(crate) async fn permit(
        &self,
        queue: Queue,
        deadline: tokio::time::Instant,
    ) -> Result<SemaphorePermit<'_>, HostError> {
        self.queues.permit(queue, deadline).await
    }

    /// The policy in force for the plugin.
    pub(crate) fn effective(&self) -> arc_swap::Guard<Arc<Effective>> {
        self.effective.load()
    }

    /// The policy in force for one generation: what the plugin asks for may differ between two that
    /// are there at the same time.
    pub(crate) fn effective_for(&self, generation: u64) -> arc_swap::Guard<Arc<Effective>> {
        let others = self.others.load();
        match others.iter().find(|(other, _)| *other == generation) {
            Some((_, effective)) => arc_swap::Guard::from_inner(Arc::clone(effective)),
            None => self.effective(),
        }
    }

    /// Counts one against a rate of the policy.
    pub(crate) fn charge(&self, rate: Rate, policy: &Policy) -> Result<(), HostError> {
        let limit = limit(rate, policy);
        match of(&self.rates, rate).admit(limit, Instant::now()) {
            true => Ok(()),
            false => Err(exceeded(rate, limit)),
        }
    }

    /// Counts as many against a rate that several hosts keep together, after they were charged here.
    /// A tenth of this host's part of the rate is taken ahead, so that not every request asks for it.
    /// While the shared rate is not known, this host has its part of it alone.
    pub(crate) async fn charge_shared(
        &self,
        plugin: &PluginName,
        rate: Rate,
        count: u32,
        policy: &Policy,
        shared: &dyn SharedRates,
    ) -> Result<(), HostError> {
        let limit = limit(rate, policy);
        if limit == 0 || count == 0 {
            return Ok(());
        }
        let taken = of(&self.taken, rate);
        let (order, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
        let uses = |taken: u32| taken.checked_sub(count);
        if taken.fetch_update(order, relaxed, uses).is_ok() {
            return Ok(());
        }
        // One request at a time takes more, so that no more than a tenth is ahead.
        let _refilling = self.refilling.lock().await;
        if taken.fetch_update(order, relaxed, uses).is_ok() {
            return Ok(());
        }
        let hosts = shared.hosts().max(1);
        let ahead = match rate {
            // Not one too many may be sent.
            Rate::Mail => 0,
            _ => limit / 10 / hosts,
        };
        let numbers = (count, count.saturating_add(ahead));
        match shared.take(plugin, rate, limit, numbers).await {
            Some(granted) => match granted.checked_sub(count) {
                Some(more) => {
                    // What is left of before is given up: the stock is never more than that.
                    taken.store(more, Ordering::Release);
                    Ok(())
                }
                None => Err(exceeded(rate, limit)),
            },
            None if rate == Rate::Mail => Err(HostError::unavailable(
                "mails are counted together with the other hosts, and that is not possible now",
            )),
            None => {
                let part = u64::from((limit / hosts).max(1));
                match of(&self.rates, rate).used(Instant::now()) <= part {
                    true => Ok(()),
                    false => Err(exceeded(rate, limit)),
                }
            }
        }
    }

    /// Counts a request.
    pub(crate) fn count(&self, counter: Option<Counter>) {
        self.counters.count(counter);
    }

    /// Counters of the requests that succeeded, for the metrics.
    pub(crate) fn succeeded(&self) -> &Succeeded {
        &self.succeeded
    }

    /// Counts a refusal.
    pub(crate) fn count_refusal(&self) {
        self.counters.count_refusal();
    }

    /// The plugin's use of the host API.
    pub(super) fn usage(&self) -> Usage {
        self.counters.usage()
    }
}

fn limit(rate: Rate, policy: &Policy) -> u32 {
    match rate {
        Rate::Calls => policy.max_calls_per_second,
        Rate::Db => policy.max_db_queries_per_min,
        Rate::Http => policy.max_http_req_per_min,
        Rate::Mail => MAILS_PER_MINUTE,
    }
}

/// The one of four things that is for a rate, in the order of [`Rate::ALL`].
fn of<T>([calls, db, http, mail]: &[T; 4], rate: Rate) -> &T {
    match rate {
        Rate::Calls => calls,
        Rate::Db => db,
        Rate::Http => http,
        Rate::Mail => mail,
    }
}

fn exceeded(rate: Rate, limit: u32) -> HostError {
    let time = match rate.window().as_secs() {
        1 => "second",
        _ => "minute",
    };
    let what = rate.what();
    HostError::limit(format!("{what} rate limit exceeded ({limit} per {time})"))
}
