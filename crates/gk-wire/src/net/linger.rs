//! Staying awake for the next reply when it is likely to come at once.
//!
//! Sleeping and waking up costs more than a fast peer's reply itself: the peer pays for the wake-up
//! in its `write`, this process in the scheduler. So the driver stays runnable for a moment after
//! data has come, lets every other task go first, and has the reactor polled without sleeping. Each
//! connection learns whether that pays: with a slow peer it soon stops, but for an occasional try.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time for which a driver stays awake after data has come.
const LINGER: Duration = Duration::from_micros(250);

/// Highest credit of a connection. Staying awake in vain costs one point, a success brings two.
const CONFIDENCE_MAX: u8 = 8;

/// Without credit, a driver tries once in this many times.
const TRY_EVERY: u8 = 32;

/// Drivers of this process that are lingering.
static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// Most drivers that linger at once: half of the processors, so that there is always one for the
/// peer.
static LINGERING_MAX: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(0, |cores| cores.get() / 2));

/// Decides when a driver stays awake.
#[derive(Debug, Default)]
pub(super) struct Linger {
    until: Option<Instant>,
    confidence: u8,
    skipped: u8,
}

impl Linger {
    /// Notes that data has come.
    pub(super) fn came(&mut self, now: Instant) {
        if self.until.is_some() {
            self.confidence = (self.confidence + 2).min(CONFIDENCE_MAX);
            self.until = Some(now + LINGER);
            return;
        }
        if self.confidence == 0 {
            self.skipped += 1;
            if self.skipped < TRY_EVERY {
                return;
            }
            self.skipped = 0;
        }
        if LINGERING.fetch_add(1, Ordering::Relaxed) < *LINGERING_MAX {
            self.until = Some(now + LINGER);
        } else {
            LINGERING.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns `true` if the driver is to stay awake though no data has come.
    pub(super) fn stays(&mut self, now: Instant) -> bool {
        match self.until {
            Some(until) if now < until => true,
            Some(_) => {
                self.confidence = self.confidence.saturating_sub(1);
                self.stop();
                false
            }
            None => false,
        }
    }

    /// Stops lingering.
    pub(super) fn stop(&mut self) {
        if self.until.take().is_some() {
            LINGERING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_learned_whether_lingering_pays() {
        let mut linger = Linger::default();
        let mut now = Instant::now();
        // A peer that takes its time: one try in TRY_EVERY.
        let mut tries = 0;
        for _ in 0..10 * usize::from(TRY_EVERY) {
            linger.came(now);
            tries += usize::from(linger.stays(now));
            now += LINGER;
            assert!(!linger.stays(now), "it lingers for ever");
            now += Duration::from_millis(1);
        }
        assert!(tries <= 10, "{tries}");
        // A fast one: once a try has succeeded, it stays awake.
        while !linger.stays(now) {
            linger.came(now);
        }
        for _ in 0..10 {
            now += LINGER / 2;
            assert!(linger.stays(now));
            linger.came(now);
        }
        // Confidence wears off again.
        let mut misses = 0;
        loop {
            now += LINGER;
            if linger.stays(now) {
                unreachable!("beyond its time")
            }
            misses += 1;
            linger.came(now);
            if !linger.stays(now) {
                break;
            }
        }
        assert!(misses <= usize::from(CONFIDENCE_MAX) + 1, "{misses}");
    }
}
