//! The planner: which job is due, and when to look again. It is pure; the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::key::JobKey;
use crate::settings::JobSettings;

/// How far in the future a stored tick may be. Further, the clock was wrong when the tick was taken,
/// and without a correction the job would not run until that moment.
pub const FUTURE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A job that is to be dealt with now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A tick has come.
    Tick {
        /// The tick.
        tick: Timestamp,
        /// Number of ticks before it that did not run, at most
        /// [`MISSED_MAX`](crate::schedule::MISSED_MAX).
        older: u32,
        /// The starting deadline has passed, so that the tick is not run.
        late: bool,
    },
    /// The last tick is in the far future.
    Reset {
        /// The last tick.
        from: Timestamp,
        /// What it is set to.
        to: Timestamp,
    },
}

#[derive(Debug)]
struct Planned {
    settings: JobSettings,
    last_tick: Timestamp,
    suspended: bool,
    is_paused: bool,
    /// Moment to look at the job; `None` if it has no further tick, or is being dealt with.
    next: Option<Timestamp>,
}

impl Planned {
    fn runs(&self) -> bool {
        self.settings.enabled && !self.suspended && !self.is_paused
    }

    fn plan(&mut self, key: &JobKey) {
        let tick = self.settings.schedule.next(self.last_tick);
        self.next = match self.runs() {
            true => tick.map(|tick| self.settings.start(key, tick)),
            false => None,
        };
    }
}

/// The jobs of running plugins, with the tick of each that was dealt with last.
///
/// A due job is reported once. It is planned again by [`ticked`](Self::ticked), or by
/// [`put_off`](Self::put_off).
#[derive(Debug, Default)]
pub struct Planner {
    jobs: BTreeMap<JobKey, Planned>,
}

impl Planner {
    /// Adds a job, or exchanges its settings. `last_tick` counts for a job that is not there.
    pub fn put(
        &mut self,
        key: &JobKey,
        settings: JobSettings,
        suspended: bool,
        last_tick: Timestamp,
    ) {
        let (last_tick, busy) = match self.jobs.get(key) {
            Some(known) => (known.last_tick, known.next.is_none() && known.runs()),
            None => (last_tick, false),
        };
        let mut planned = Planned {
            settings,
            last_tick,
            suspended,
            is_paused: false,
            next: None,
        };
        if !busy {
            planned.plan(key);
        }
        self.jobs.insert(key.clone(), planned);
    }

    /// Removes the jobs that `wanted` is not true for.
    pub fn keep(&mut self, wanted: impl Fn(&JobKey) -> bool) {
        self.jobs.retain(|key, _| wanted(key));
    }

    /// Pauses a job until it is [put](Self::put) again: it is not due, and keeps its settings.
    pub fn pause(&mut self, key: &JobKey) {
        if let Some(planned) = self.jobs.get_mut(key) {
            planned.is_paused = true;
            planned.next = None;
        }
    }

    /// Returns the settings of a job.
    #[must_use]
    pub fn settings(&self, key: &JobKey) -> Option<&JobSettings> {
        self.jobs.get(key).map(|planned| &planned.settings)
    }

    /// Returns the moment of the next run of a job; `None` if there is none.
    #[must_use]
    pub fn next(&self, key: &JobKey) -> Option<Timestamp> {
        self.jobs.get(key).and_then(|planned| planned.next)
    }

    /// Returns the moment to ask again for what is due.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.jobs.values().filter_map(|planned| planned.next).min()
    }

    /// Returns the jobs that are due.
    pub fn due(&mut self, now: Timestamp) -> Vec<(JobKey, Due)> {
        let mut due = Vec::new();
        for (key, planned) in &mut self.jobs {
            match look(key, planned, now) {
                Some(found) => {
                    planned.next = None;
                    due.push((key.clone(), found));
                }
                // Put off to a moment before the next start.
                None if planned.next.is_some_and(|next| next <= now) => planned.plan(key),
                None => {}
            }
        }
        due
    }

    /// Notes the tick that was dealt with last, here or on another host, and plans the next one.
    pub fn ticked(&mut self, key: &JobKey, last_tick: Timestamp) {
        if let Some(planned) = self.jobs.get_mut(key) {
            planned.last_tick = last_tick;
            planned.plan(key);
        }
    }

    /// Plans a job that could not be dealt with for a later moment.
    pub fn put_off(&mut self, key: &JobKey, until: Timestamp) {
        if let Some(planned) = self.jobs.get_mut(key).filter(|planned| planned.runs()) {
            planned.next = Some(until);
        }
    }
}

fn look(key: &JobKey, planned: &Planned, now: Timestamp) -> Option<Due> {
    let Planned {
        settings,
        last_tick,
        next,
        ..
    } = planned;
    let next = (*next)?;
    let horizon = now.checked_add(FUTURE_MAX).unwrap_or(Timestamp::MAX);
    if *last_tick > horizon {
        return Some(Due::Reset {
            from: *last_tick,
            to: now,
        });
    }
    if next > now {
        return None;
    }
    // Ticks whose start, and not only they themselves, has come.
    let first = settings.schedule.next(*last_tick)?;
    let delay = settings.start(key, first).duration_since(first);
    let latest = settings
        .schedule
        .latest(*last_tick, now.checked_sub(delay).ok()?)?;
    let start = latest.tick.checked_add(delay).unwrap_or(latest.tick);
    let behind = Duration::try_from(now.duration_since(start)).unwrap_or_default();
    Some(Due::Tick {
        tick: latest.tick,
        older: latest.older,
        late: behind > settings.starting_deadline(latest.tick),
    })
}
