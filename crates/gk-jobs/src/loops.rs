//! The loops of a host's jobs: ticks, the queue, and runs that are given up.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use gk_manifest::JobSpec;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{Notify, Semaphore};

use crate::jobs::{CLOCK_CHECK, Jobs, STORE_RETRY, State};
use crate::key::JobKey;
use crate::metrics;
use crate::planner::Due;
use crate::runner::Presence;
use crate::settings::JobSettings;
use crate::store::{Announced, Claim, Claimed, NewRun, StoreError};

/// The runs of one plugin have one part of all places in so many.
const PLUGIN_PART: usize = 4;

/// Why what waits for a plugin is dropped.
const GONE: &str = "the plugin is disabled or gone, or has no such job any more";

impl Jobs {
    /// The loop of the ticks.
    pub(crate) async fn tick(&self) {
        let inner = &self.inner;
        let mut is_failing = false;
        self.look();
        loop {
            let sleep = match self.plan_and_claim().await {
                Ok(sleep) => {
                    is_failing = false;
                    sleep
                }
                Err(error) => {
                    metrics::store_failed();
                    // Once for each time that the store is out of reach.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "the store of jobs fails; trying again each second");
                    }
                    Some(STORE_RETRY)
                }
            };
            tokio::select! {
                biased;
                () = inner.stopping.cancelled() => return,
                () = inner.changed.notified() => self.look(),
                () = sleep_or_never(sleep) => {}
            }
        }
    }

    async fn plan_and_claim(&self) -> Result<Option<Duration>, StoreError> {
        self.adopt().await?;
        self.claim_due().await
    }

    /// Notes which plugins there are and what they have declared.
    pub(crate) fn look(&self) {
        let present = self.inner.config.runner.present();
        let mut state = self.inner.state.lock();
        if state.present == present {
            return;
        }
        let mut declared = BTreeMap::new();
        for (plugin, presence) in &present {
            if let Presence::Running(registration) = presence {
                for job in &registration.jobs {
                    let key = JobKey::new(plugin.clone(), job.id.as_str());
                    declared.insert(key, job.clone());
                }
            }
        }
        state.declared = Arc::new(declared);
        state.present = present;
        state.version.0 += 1;
    }

    /// Brings planner and store up to what is declared.
    pub(crate) async fn adopt(&self) -> Result<(), StoreError> {
        let config = &self.inner.config;
        let _adopting = self.inner.adopting.lock().await;
        let (declared, present, version) = {
            let state = self.inner.state.lock();
            if state.version.0 == state.version.1 {
                return Ok(());
            }
            let declared = Arc::clone(&state.declared);
            (declared, state.present.clone(), state.version.0)
        };
        let is_coming = |key: &JobKey| present.get(&key.plugin) == Some(&Presence::Coming);
        let kept = config.store.states().await?;
        let gone = kept.keys();
        let gone = gone.filter(|key| !declared.contains_key(key) && !is_coming(key));
        let gone: Vec<_> = gone.cloned().collect();
        if !gone.is_empty() {
            config.store.drop_waiting(&gone, GONE, self.now()).await?;
        }
        let mut jobs = Vec::new();
        for (key, spec) in declared.iter() {
            let spec = match kept.get(key) {
                Some(kept) => kept.overrides.apply(spec),
                None => spec.clone(),
            };
            match JobSettings::new(&spec, &config.zone) {
                Ok(settings) => {
                    jobs.push((key.clone(), fingerprint(&spec, &config.zone), settings));
                }
                // Checked at registration and when an operator sets it; another machine may know
                // fewer time zones.
                Err(error) => tracing::error!(job = %key, %error, "the job does not run"),
            }
        }
        let announced = jobs.iter().map(|(key, schedule, _)| Announced {
            key: key.clone(),
            schedule: schedule.clone(),
        });
        let announced: Vec<_> = announced.collect();
        let states = config.store.announce(&announced, self.now()).await?;
        let mut state = self.inner.state.lock();
        let planner = &mut state.planner;
        planner.keep(|key| declared.contains_key(key) || is_coming(key));
        for key in kept.keys().filter(|key| is_coming(key)) {
            planner.pause(key);
        }
        state.here = Arc::new(jobs.iter().map(|(key, ..)| key.clone()).collect());
        for ((key, _, settings), kept) in jobs.into_iter().zip(states) {
            let (suspended, last_tick) = (kept.suspended, kept.last_tick);
            state.planner.put(&key, settings, suspended, last_tick);
        }
        state.version.1 = version;
        drop(state);
        self.inner.here_changed.notify_one();
        // A caller of the API may have been here before the loop of the ticks.
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Claims what is due; returns the time until the next look.
    async fn claim_due(&self) -> Result<Option<Duration>, StoreError> {
        let now = self.now();
        let due = {
            let mut state = self.inner.state.lock();
            // A run that has ended must not keep the next one out because the store failed.
            if state.unstored > 0 {
                return Ok(Some(STORE_RETRY));
            }
            state.planner.due(now)
        };
        let keys: Vec<_> = due.iter().map(|(key, _)| key.clone()).collect();
        if let Err(error) = self.deal(due).await {
            let again = now.checked_add(STORE_RETRY).unwrap_or(Timestamp::MAX);
            let mut state = self.inner.state.lock();
            for key in &keys {
                state.planner.put_off(key, again);
            }
            return Err(error);
        }
        let Some(next) = self.inner.state.lock().planner.next_wake() else {
            return Ok(None);
        };
        let left = Duration::try_from(next.duration_since(self.now())).unwrap_or_default();
        Ok(Some(left.min(CLOCK_CHECK)))
    }

    /// Deals with the jobs that are due.
    async fn deal(&self, due: Vec<(JobKey, Due)>) -> Result<(), StoreError> {
        let store = &self.inner.config.store;
        let mut claims = Vec::new();
        for (key, due) in due {
            match due {
                Due::Tick { tick, older, late } => {
                    // Without settings the plugin has gone since; the tick is taken when it is back.
                    if let Some(run) = self.new_run(&key, tick) {
                        claims.push(Claim {
                            key,
                            tick,
                            missed: older + u32::from(late),
                            run: (!late).then_some(run),
                        });
                    }
                }
                Due::Reset { from, to } => {
                    tracing::error!(
                        job = %key,
                        last_tick = %from,
                        "the job's last tick is far in the future: the clock was wrong; the schedule goes on from now"
                    );
                    store.reset(&key, from, to).await?;
                    self.inner.state.lock().planner.ticked(&key, to);
                }
            }
        }
        if claims.is_empty() {
            return Ok(());
        }
        let claimed = store.claim(&claims).await?;
        let mut state = self.inner.state.lock();
        for (claim, claimed) in claims.iter().zip(claimed) {
            let last_tick = match claimed {
                Claimed::Passed { last_tick } => last_tick,
                _ => claim.tick,
            };
            state.planner.ticked(&claim.key, last_tick);
            tell(claim, claimed);
        }
        Ok(())
    }

    /// Returns a run of a job that may start now, for a tick.
    pub(crate) fn new_run(&self, key: &JobKey, tick: Timestamp) -> Option<NewRun> {
        let now = self.now();
        let state = self.inner.state.lock();
        let settings = state.planner.settings(key)?;
        Some(NewRun {
            start_at: now,
            start_until: settings.start_until(tick, now),
            concurrency: settings.concurrency,
            retries: settings.retries,
        })
    }

    /// Returns the present moment, as stores keep it: in microseconds.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.inner.config.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// The loop of the queue.
    pub(crate) async fn work(&self) {
        let inner = &self.inner;
        let places = Arc::new(Semaphore::new(inner.config.running_max.max(1)));
        let mut is_failing = false;
        loop {
            let place = tokio::select! {
                biased;
                () = inner.stopping.cancelled() => return,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            let now = self.now();
            let here = {
                let mut state = inner.state.lock();
                // Only a run that is taken now may be given up before it begins.
                state.revoked.clear();
                state.with_room(self.places_of_plugin())
            };
            let store = &inner.config.store;
            match store.take(&inner.config.host, &here, now).await {
                Ok(Some(run)) => {
                    is_failing = false;
                    let ongoing = self.begin(&run);
                    let jobs = self.clone();
                    inner.tasks.spawn(async move {
                        jobs.execute(run, ongoing).await;
                        drop(place);
                    });
                }
                Ok(None) => tokio::select! {
                    biased;
                    () = inner.stopping.cancelled() => return,
                    () = inner.here_changed.notified() => {}
                    () = store.ready(&here, now) => {}
                },
                Err(error) => {
                    metrics::store_failed();
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "the queue of jobs cannot be read; trying again each second");
                    }
                    tokio::select! {
                        () = inner.stopping.cancelled() => return,
                        () = tokio::time::sleep(STORE_RETRY) => {}
                    }
                }
            }
        }
    }

    /// Returns the maximum number of runs of one plugin at once, so that it leaves places to others.
    fn places_of_plugin(&self) -> usize {
        (self.inner.config.running_max / PLUGIN_PART).max(1)
    }

    /// The loop of the runs that are given up.
    pub(crate) async fn give_up(&self) -> Infallible {
        let inner = &self.inner;
        loop {
            let run = inner.config.store.revoked().await;
            let mut state = inner.state.lock();
            match state.running.get(&run) {
                Some(running) => running.given_up.cancel(),
                // It was taken a moment ago, and begins now.
                None => _ = state.revoked.insert(run),
            }
        }
    }
}

impl State {
    /// Returns the jobs whose plugins run, and have fewer than `places` runs under way.
    fn with_room(&self, places: usize) -> Arc<BTreeSet<JobKey>> {
        let mut running = BTreeMap::<_, usize>::new();
        for ongoing in self.running.values() {
            *running.entry(&ongoing.plugin).or_default() += 1;
        }
        running.retain(|_, count| *count >= places);
        match running.is_empty() {
            true => Arc::clone(&self.here),
            false => {
                let here = self.here.iter();
                let room = here.filter(|key| !running.contains_key(&key.plugin));
                Arc::new(room.cloned().collect())
            }
        }
    }
}

/// Counts and logs what has become of a claim.
fn tell(claim: &Claim, claimed: Claimed) {
    let (key, tick) = (&claim.key, claim.tick);
    match claimed {
        Claimed::Queued(run) => tracing::debug!(job = %key, %tick, %run, "a run is in the queue"),
        Claimed::Skipped => {
            metrics::skipped(key);
            tracing::info!(
                job = %key, %tick,
                "skipped: an earlier run has not ended, and the job does not run twice at a time"
            );
        }
        Claimed::Noted => {}
        Claimed::Passed { .. } | Claimed::Unknown => return,
    }
    if claim.missed > 0 {
        metrics::missed(key, claim.missed);
        tracing::warn!(
            job = %key, %tick, missed = claim.missed,
            "ticks were missed: no host was there in time"
        );
    }
}

/// Returns a text that differs where the ticks do.
fn fingerprint(spec: &JobSpec, zone: &TimeZone) -> String {
    let zone = match spec.time_zone.as_str() {
        "" => zone.iana_name().unwrap_or_default(),
        name => name,
    };
    match spec.enabled {
        true => format!("{zone} {}", spec.schedule),
        false => String::new(),
    }
}

/// Waits for a notice, or for the moment `at` if that comes first. A moment is looked at again after
/// [`CLOCK_CHECK`], as the clock may have been set.
pub async fn notified_or_at(notice: &Notify, at: Option<Timestamp>, now: Timestamp) {
    let left = at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    tokio::select! {
        () = notice.notified() => {}
        () = sleep_or_never(left.map(|left| left.min(CLOCK_CHECK))) => {}
    }
}

async fn sleep_or_never(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
