//! A limit of how many in a sliding window.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Parts of a window. What was admitted leaves the window part by part.
const PARTS: usize = 60;

/// Admits at most so many in any time as long as its window, up to a sixtieth of the window.
///
/// The limiter has no clock of its own: every call says what time it is, and a time before that of
/// an earlier call counts as that one.
#[derive(Debug)]
pub struct RateLimiter {
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

impl RateLimiter {
    /// A limiter over `window` that has admitted nothing yet.
    #[must_use]
    pub fn new(window: Duration, start: Instant) -> Self {
        RateLimiter {
            part: window / u32::try_from(PARTS).unwrap_or(u32::MAX),
            counts: Mutex::new(Counts {
                start,
                now: 0,
                parts: [0; PARTS],
            }),
        }
    }

    /// Returns the number that was admitted in the window.
    pub fn used(&self, now: Instant) -> u64 {
        let mut counts = self.counts.lock();
        self.move_on(&mut counts, now);
        counts.sum()
    }

    /// Forgets what has left the window.
    fn move_on(&self, counts: &mut Counts, now: Instant) {
        let elapsed = now.saturating_duration_since(counts.start);
        let part =
            u64::try_from(elapsed.as_nanos() / self.part.as_nanos().max(1)).unwrap_or(u64::MAX);
        let passed = part.saturating_sub(counts.now);
        for step in 1..=passed.min(PARTS as u64) {
            let place = slot(counts.now + step);
            counts.parts[place] = 0;
        }
        counts.now = counts.now.max(part);
    }

    /// Admits one more if fewer than `limit` were admitted in the window; a limit of 0 admits
    /// everything. What is refused does not count. The limit may differ from call to call.
    pub fn admit(&self, limit: u32, now: Instant) -> bool {
        let mut counts = self.counts.lock();
        self.move_on(&mut counts, now);
        if limit > 0 && counts.sum() >= u64::from(limit) {
            return false;
        }
        let place = slot(counts.now);
        counts.parts[place] = counts.parts[place].saturating_add(1);
        true
    }
}

impl Counts {
    fn sum(&self) -> u64 {
        self.parts.iter().map(|count| u64::from(*count)).sum()
    }
}

/// Index of a part among the counts.
fn slot(part: u64) -> usize {
    usize::try_from(part % PARTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_admits_more_than_the_limit() {
        let start = Instant::now();
        let limiter = RateLimiter::new(Duration::from_secs(60), start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!((0..20).filter(|_| limiter.admit(10, at(0))).count(), 10);
        assert!(!limiter.admit(10, at(59)));
        // The first ones leave the window, and as many come in.
        assert_eq!((0..20).filter(|_| limiter.admit(10, at(60))).count(), 10);
        assert!(!limiter.admit(10, at(119)));
        // However long nothing happened.
        assert_eq!(
            (0..20).filter(|_| limiter.admit(10, at(100_000))).count(),
            10
        );
        // A clock that goes back admits nothing new.
        assert!(!limiter.admit(10, at(1)));
    }

    #[test]
    fn spread_out_it_slides() {
        let start = Instant::now();
        let limiter = RateLimiter::new(Duration::from_secs(1), start);
        let mut admitted = Vec::new();
        for millisecond in 0..3000_u64 {
            if limiter.admit(100, start + Duration::from_millis(millisecond)) {
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
        let limiter = RateLimiter::new(Duration::from_secs(60), start);
        assert!((0..1000).all(|_| limiter.admit(0, start)));
        assert!(!limiter.admit(1000, start));
        assert!(limiter.admit(1001, start));
    }
}
