//! Rates: so many in a sliding window. A meter belongs to the plugin, not to its process, so a reload
//! starts no new window.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Parts of a window. What was admitted leaves it part by part, so a window admits at most its limit
/// in any time as long as it, up to a sixtieth.
const PARTS: usize = 60;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Calls to other plugins, per second.
    Calls,
    /// Statements, per minute.
    Db,
    /// Outgoing HTTP requests, per minute.
    Http,
    /// Mails, per minute.
    Mail,
}

impl Rate {
    pub(super) fn window(self) -> Duration {
        match self {
            Rate::Calls => Duration::from_secs(1),
            Rate::Db | Rate::Http | Rate::Mail => Duration::from_secs(60),
        }
    }

    /// What it is called in an error.
    pub(super) fn what(self) -> &'static str {
        match self {
            Rate::Calls => "plugin call",
            Rate::Db => "DB query",
            Rate::Http => "HTTP request",
            Rate::Mail => "email",
        }
    }
}

/// Counts over a window.
#[derive(Debug)]
pub(super) struct Meter {
    part: Duration,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    start: Instant,
    /// The number of the part that is under way, counted from `start`.
    now: u64,
    parts: [u32; PARTS],
}

impl Meter {
    pub(super) fn new(rate: Rate, start: Instant) -> Self {
        Meter {
            part: rate.window() / u32::try_from(PARTS).unwrap_or(u32::MAX),
            counts: Mutex::new(Counts {
                start,
                now: 0,
                parts: [0; PARTS],
            }),
        }
    }

    /// Admits one more if fewer than `limit` were admitted in the window; 0 admits everything. What is
    /// refused does not count.
    pub(super) fn admit(&self, limit: u32, now: Instant) -> bool {
        let mut counts = self.counts.lock();
        let elapsed = now.saturating_duration_since(counts.start);
        let part = u64::try_from(elapsed.as_nanos() / self.part.as_nanos()).unwrap_or(u64::MAX);
        let passed = part.saturating_sub(counts.now);
        for step in 1..=passed.min(PARTS as u64) {
            let place = place(counts.now + step);
            counts.parts[place] = 0;
        }
        counts.now = counts.now.max(part);
        let admitted: u64 = counts.parts.iter().map(|count| u64::from(*count)).sum();
        if limit > 0 && admitted >= u64::from(limit) {
            return false;
        }
        let place = place(counts.now);
        counts.parts[place] = counts.parts[place].saturating_add(1);
        true
    }
}

/// A part's place among the counts.
fn place(part: u64) -> usize {
    usize::try_from(part % PARTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_admits_more_than_the_limit() {
        let start = Instant::now();
        let meter = Meter::new(Rate::Db, start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!((0..20).filter(|_| meter.admit(10, at(0))).count(), 10);
        assert!(!meter.admit(10, at(59)));
        // The first ones leave the window, and as many come in.
        assert_eq!((0..20).filter(|_| meter.admit(10, at(60))).count(), 10);
        assert!(!meter.admit(10, at(119)));
        // However long nothing happened.
        assert_eq!((0..20).filter(|_| meter.admit(10, at(100_000))).count(), 10);
        // A clock that goes back admits nothing new.
        assert!(!meter.admit(10, at(1)));
    }

    #[test]
    fn spread_out_it_slides() {
        let start = Instant::now();
        let meter = Meter::new(Rate::Calls, start);
        let mut admitted = Vec::new();
        for millisecond in 0..3000_u64 {
            if meter.admit(100, start + Duration::from_millis(millisecond)) {
                admitted.push(millisecond);
            }
        }
        for (first, millisecond) in admitted.iter().enumerate() {
            let within = admitted[first..]
                .iter()
                .filter(|other| **other < millisecond + 983);
            assert!(within.count() <= 100);
        }
        assert!(admitted.len() >= 300, "{}", admitted.len());
    }

    #[test]
    fn zero_is_unlimited_and_a_lower_limit_counts_what_was() {
        let start = Instant::now();
        let meter = Meter::new(Rate::Http, start);
        assert!((0..1000).all(|_| meter.admit(0, start)));
        assert!(!meter.admit(1000, start));
        assert!(meter.admit(1001, start));
    }
}
