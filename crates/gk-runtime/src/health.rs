//! Health of a running plugin, from its calls and probes.
//!
//! An answered call is a sign of life, so a plugin that is called is not probed. A probe is
//! go-plugin's `Ping`, which the library answers and not the plugin's own code. A plugin whose code
//! hangs is found by its calls, which all time out. A plugin may have a function `__health_ping__`,
//! whose answer is kept for people.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::limits::{
    DEGRADED_AFTER, DEGRADED_CALLS, HEALTH_INTERVAL, HEALTH_MISSES, HEALTH_PAYLOAD_BYTES_MAX,
    HEALTH_TIMEOUT,
};

/// Settings of the health probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthConfig {
    /// Interval between probes, varied by up to a fifth, so that not all plugins are probed at
    /// once.
    pub interval: Duration,
    /// Maximum time for the answer to a probe.
    pub timeout: Duration,
    /// Number of unanswered probes in a row after which the plugin is restarted; at least 1.
    pub misses: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: HEALTH_INTERVAL,
            timeout: HEALTH_TIMEOUT,
            misses: HEALTH_MISSES,
        }
    }
}

/// Health of a plugin, as far as probes and calls tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PluginHealth {
    /// The plugin answered the last probe, and its own health function, if it has one, reported no
    /// error.
    pub is_healthy: bool,
    /// All its last calls, at least [`DEGRADED_CALLS`] of them over at least [`DEGRADED_AFTER`],
    /// timed out.
    pub is_degraded: bool,
    /// Time of the last probe.
    pub last_check: Option<SystemTime>,
    /// Time of the last successful probe.
    pub last_success: Option<SystemTime>,
    /// Number of probes in a row that were not answered.
    pub consecutive_failures: u32,
    /// Error of the last failed probe.
    pub last_error: Option<String>,
    /// Last answer of its own health function, JSON.
    pub payload: Option<Bytes>,
}

/// Health of one generation.
#[derive(Debug)]
pub(crate) struct Health {
    since: Instant,
    /// When the last call was answered, in milliseconds after `since`.
    answered: AtomicU64,
    /// Number of calls in a row that have timed out since `answered`.
    timeouts: AtomicU32,
    /// Times of the first and the last of these timeouts, in milliseconds after `since`.
    timing_out: [AtomicU64; 2],
    known: Mutex<PluginHealth>,
}

/// Result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probed {
    /// The plugin answered.
    Alive,
    /// The plugin answered; the payload is that of its own health function.
    Says(Bytes),
    /// The plugin answered, and its own health function reported this error.
    Complains(String),
    /// The plugin did not answer in time.
    Missed(String),
}

impl Health {
    /// Health of a generation that came up just now.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now();
        Self {
            since: Instant::now(),
            answered: AtomicU64::new(0),
            timeouts: AtomicU32::new(0),
            timing_out: Default::default(),
            known: Mutex::new(PluginHealth {
                is_healthy: true,
                last_check: Some(now),
                last_success: Some(now),
                ..PluginHealth::default()
            }),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.since);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Records that a call was answered, be it with a result or an error.
    pub(crate) fn answered(&self, at: Instant) {
        self.answered.store(self.millis(at), Ordering::Relaxed);
        if self.timeouts.load(Ordering::Relaxed) != 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// Records that a call was not answered in time.
    pub(crate) fn timed_out(&self, at: Instant) {
        let [first, last] = &self.timing_out;
        if self.timeouts.fetch_add(1, Ordering::Relaxed) == 0 {
            first.store(self.millis(at), Ordering::Relaxed);
        }
        last.store(self.millis(at), Ordering::Relaxed);
    }

    /// Returns true if a call was answered within `time` before `now`.
    pub(crate) fn answered_within(&self, time: Duration, now: Instant) -> bool {
        let at = self.answered.load(Ordering::Relaxed);
        let ago = self.millis(now).saturating_sub(at);
        at != 0 && u128::from(ago) <= time.as_millis()
    }

    /// Returns true if all the last calls timed out.
    pub(crate) fn is_degraded(&self) -> bool {
        let [first, last] = self
            .timing_out
            .each_ref()
            .map(|at| at.load(Ordering::Relaxed));
        self.timeouts.load(Ordering::Relaxed) >= DEGRADED_CALLS
            && u128::from(last.saturating_sub(first)) >= DEGRADED_AFTER.as_millis()
    }

    /// Records the result of a probe. Returns the number of missed probes in a row.
    pub(crate) fn probed(&self, probed: Probed) -> u32 {
        let now = SystemTime::now();
        let mut known = self.known.lock();
        known.last_check = Some(now);
        let error = match probed {
            Probed::Missed(error) => {
                known.consecutive_failures += 1;
                Some(error)
            }
            other => {
                known.consecutive_failures = 0;
                match other {
                    Probed::Says(payload) if payload.len() <= HEALTH_PAYLOAD_BYTES_MAX => {
                        known.payload = Some(payload);
                        None
                    }
                    Probed::Complains(error) => Some(error),
                    _ => None,
                }
            }
        };
        known.is_healthy = error.is_none();
        match error {
            None => known.last_success = Some(now),
            error => known.last_error = error,
        }
        known.consecutive_failures
    }

    /// Returns the health as it is shown to people.
    pub(crate) fn known(&self) -> PluginHealth {
        PluginHealth {
            is_degraded: self.is_degraded(),
            ..self.known.lock().clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_all_time_out_are_noticed_and_one_answer_ends_that() {
        let health = Health::new();
        let at = |seconds| health.since + Duration::from_secs(seconds);
        for second in 1..=u64::from(DEGRADED_CALLS) {
            health.timed_out(at(second));
        }
        assert!(!health.is_degraded(), "not long enough");
        health.timed_out(at(61));
        assert!(health.is_degraded());
        health.answered(at(62));
        assert!(!health.is_degraded());
        health.timed_out(at(63));
        assert!(!health.is_degraded(), "one is not many");
    }

    #[test]
    fn a_call_that_was_answered_is_a_sign_of_life() {
        let health = Health::new();
        let at = |seconds| health.since + Duration::from_secs(seconds);
        let within = |now| health.answered_within(Duration::from_secs(30), at(now));
        assert!(!within(1));
        health.answered(at(10));
        assert!(within(40) && !within(41));
    }

    #[test]
    fn probes_are_counted_and_the_last_answer_is_kept() {
        let health = Health::new();
        assert!(health.known().is_healthy);
        assert_eq!(health.probed(Probed::Missed("late".into())), 1);
        assert_eq!(health.probed(Probed::Missed("late".into())), 2);
        let known = health.known();
        assert_eq!(
            (known.is_healthy, known.last_error.as_deref()),
            (false, Some("late"))
        );
        assert_eq!(health.probed(Probed::Says("{}".into())), 0);
        assert_eq!(health.probed(Probed::Complains("no database".into())), 0);
        let known = health.known();
        assert!(!known.is_healthy && known.last_check >= known.last_success);
        assert_eq!(known.payload.as_deref(), Some(&b"{}"[..]));
        assert_eq!(health.probed(Probed::Alive), 0);
        assert!(health.known().is_healthy);
    }
}
