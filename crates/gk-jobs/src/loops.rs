//! The loops of a host's jobs: ticks, the queue, and runs that are given up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use gk_manifest::JobSpec;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{Notify, Semaphore};

use crate::jobs::{CLOCK_CHECK, Jobs, STORE_RETRY};
use crate::key::JobKey;
use crate::metrics;
use crate::planner::Due;
use crate::runner::Presence;
use crate::settings::JobSettings;
use crate::store::{Announced, Claim, Claimed, NewRun, StoreError};

/// Maximum number of ticks that are claimed at the same time.
const CLAIMS_MAX: usize = 16;

impl Jobs {
    /// The loop of the ticks.
    pub(crate) async fn tick(&self) {
        let inner = &self.inner;
        loop {
            let sleep = match self.adopt().await {
                Ok(()) => self.claim_due().await,
                Err(error) => {
                    tracing::error!(%error, "jobs cannot be planned; trying again");
                    Some(STORE_RETRY)
                }
            };
            tokio::select! {
                () = inner.stopping.cancelled() => return,
                () = inner.changed.notified() => {}
                () = sleep_or_never(sleep) => {}
            }
        }
    }

    /// Notes which plugins there are and what they have declared.
    fn look(&self) {
        let present = self.inner.config.runner.present();
        let mut state = self.inner.state.lock();
        if state.present == present {
            return;
        }
        let running = present
            .iter()
            .filter_map(|(plugin, presence)| match presence {
                Presence::Running(jobs) => Some((plugin, jobs)),
                Presence::Coming => None,
            });
        let declared = running.flat_map(|(plugin, jobs)| {
            jobs.iter()
                .map(|job| (JobKey::new(plugin.clone(), job.id.as_str()), job.clone()))
        });
        state.declared = declared.collect();
        state.present = present;
        state.version.0 += 1;
    }

    /// Brings planner and store up to what is declared at this moment.
    pub(crate) async fn adopt(&self) -> Result<(), StoreError> {
        let config = &self.inner.config;
        let _adopting = self.inner.adopting.lock().await;
        self.look();
        let (declared, present, version) = {
            let state = self.inner.state.lock();
            if state.version.0 == state.version.1 {
                return Ok(());
            }
            (
                state.declared.clone(),
                state.present.clone(),
                state.version.0,
            )
        };
        let is_coming = |key: &JobKey| present.get(&key.plugin) == Some(&Presence::Coming);
        let states = config.store.states().await?;
        let gone = states
            .keys()
            .filter(|key| !declared.contains_key(key) && !is_coming(key));
        let gone: Vec<_> = gone.cloned().collect();
        if !gone.is_empty() {
            config.store.drop_waiting(&gone, self.now()).await?;
        }
        let mut jobs = Vec::new();
        for (key, spec) in &declared {
            let spec = match states.get(key) {
                Some(kept) => kept.overrides.apply(spec),
                None => spec.clone(),
            };
            match JobSettings::new(&spec, &config.zone) {
                Ok(settings) => {
                    jobs.push((key.clone(), fingerprint(&spec, &config.zone), settings))
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
        let states_before = states;
        let states = config
            .store
            .announce(&announced, config.clock.now())
            .await?;
        let mut state = self.inner.state.lock();
        state
            .planner
            .keep(|key| declared.contains_key(key) || is_coming(key));
        for key in states_before.keys().filter(|key| is_coming(key)) {
            state.planner.pause(key);
        }
        state.here = Arc::new(jobs.iter().map(|(key, ..)| key.clone()).collect());
        for ((key, _, settings), kept) in jobs.into_iter().zip(states) {
            state
                .planner
                .put(&key, settings, kept.suspended, kept.last_tick);
        }
        state.version.1 = version;
        drop(state);
        self.inner.here_changed.notify_one();
        Ok(())
    }

    /// Claims what is due; returns the time until the next look.
    async fn claim_due(&self) -> Option<Duration> {
        let now = self.now();
        let due = self.inner.state.lock().planner.due(now);
        let mut due = due.into_iter();
        let mut claims = tokio::task::JoinSet::new();
        loop {
            while claims.len() < CLAIMS_MAX
                && let Some((key, due)) = due.next()
            {
                let jobs = self.clone();
                claims.spawn(async move { jobs.deal(key, due).await });
            }
            if claims.join_next().await.is_none() {
                break;
            }
        }
        let next = self.inner.state.lock().planner.next_wake()?;
        let left = next.duration_since(self.now());
        Some(
            Duration::try_from(left)
                .unwrap_or_default()
                .min(CLOCK_CHECK),
        )
    }

    /// Deals with a job that is due.
    async fn deal(&self, key: JobKey, due: Due) {
        let config = &self.inner.config;
        let outcome = match due {
            Due::Tick { tick, older, late } => self.claim(&key, tick, older, late).await,
            Due::Reset { from, to } => {
                tracing::error!(
                    job = %key,
                    last_tick = %from,
                    "the job's last tick is far in the future: the clock was wrong; the schedule goes on from now"
                );
                config.store.reset(&key, from, to).await.map(|()| to)
            }
        };
        let mut state = self.inner.state.lock();
        match outcome {
            Ok(last_tick) => state.planner.ticked(&key, last_tick),
            Err(error) => {
                tracing::error!(job = %key, %error, "the job's tick cannot be taken; trying again");
                let again = self.now().checked_add(STORE_RETRY);
                state.planner.put_off(&key, again.unwrap_or(Timestamp::MAX));
            }
        }
    }

    /// Returns a run of a job that may start now.
    pub(crate) fn new_run(&self, key: &JobKey) -> Option<NewRun> {
        let state = self.inner.state.lock();
        let settings = state.planner.settings(key)?;
        Some(NewRun {
            start_at: self.now(),
            concurrency: settings.concurrency,
            retries: settings.retries,
        })
    }

    /// Returns the present moment, as stores keep it: in microseconds.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.inner.config.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Claims a tick; returns the tick that was taken last.
    async fn claim(
        &self,
        key: &JobKey,
        tick: Timestamp,
        older: u32,
        late: bool,
    ) -> Result<Timestamp, StoreError> {
        let config = &self.inner.config;
        // Without settings the plugin has gone since; the tick is taken when it is back.
        let Some(run) = self.new_run(key) else {
            return Ok(tick);
        };
        let claim = Claim {
            key: key.clone(),
            tick,
            missed: older + u32::from(late),
            run: (!late).then_some(run),
        };
        let claimed = config.store.claim(&claim).await?;
        match claimed {
            Claimed::Passed { last_tick } => return Ok(last_tick),
            Claimed::Queued(run) => {
                tracing::debug!(job = %key, %tick, %run, "a run is in the queue");
            }
            Claimed::Skipped => {
                metrics::skipped(key);
                tracing::info!(
                    job = %key, %tick,
                    "skipped: an earlier run has not ended, and the job does not run twice at a time"
                );
            }
            Claimed::Noted => {}
        }
        if claim.missed > 0 {
            metrics::missed(key, claim.missed);
            tracing::warn!(
                job = %key, %tick, missed = claim.missed,
                "ticks were missed: no host was there in time"
            );
        }
        Ok(tick)
    }

    /// The loop of the queue.
    pub(crate) async fn work(&self) {
        let inner = &self.inner;
        let places = Arc::new(Semaphore::new(inner.config.running_max.max(1)));
        loop {
            let place = tokio::select! {
                () = inner.stopping.cancelled() => return,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            let now = self.now();
            let here = Arc::clone(&inner.state.lock().here);
            let store = &inner.config.store;
            match store.take(&inner.config.host, &here, now).await {
                Ok(Some(run)) => {
                    let jobs = self.clone();
                    inner.tasks.spawn(async move {
                        jobs.execute(run).await;
                        drop(place);
                    });
                    continue;
                }
                Ok(None) => tokio::select! {
                    () = inner.stopping.cancelled() => return,
                    () = inner.here_changed.notified() => {}
                    () = store.ready(&here, now) => {}
                },
                Err(error) => {
                    tracing::error!(%error, "the queue of jobs cannot be read; trying again");
                    tokio::select! {
                        () = inner.stopping.cancelled() => return,
                        () = tokio::time::sleep(STORE_RETRY) => {}
                    }
                }
            }
        }
    }

    /// The loop of the runs that are given up.
    pub(crate) async fn give_up(&self) -> Infallible {
        let inner = &self.inner;
        loop {
            let run = inner.config.store.revoked().await;
            if let Some(running) = inner.state.lock().running.get(&run) {
                running.cancel();
            }
        }
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
