//! A limit on the lines of a plugin that reach the host's own log. No clock of its own.

use std::time::{Duration, Instant};

use gk_hostapi::RateLimiter;

use crate::limits::LOG_SUPPRESSED_INTERVAL;

/// Allows a number of lines in a sliding window, and counts those that it refused.
#[derive(Debug)]
pub(crate) struct LineLimit {
    limiter: RateLimiter,
    lines_max: u32,
    suppressed: u64,
    reported: Option<Instant>,
}

/// Decision about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The event may pass.
    Pass {
        /// Number of events refused since the last report; 0 if that was less than
        /// [`LOG_SUPPRESSED_INTERVAL`] ago.
        suppressed: u64,
    },
    /// The event is refused.
    Refuse,
}

impl LineLimit {
    pub(crate) fn new(lines_max: u32, window: Duration, now: Instant) -> Self {
        Self {
            limiter: RateLimiter::new(window, now),
            lines_max,
            suppressed: 0,
            reported: None,
        }
    }

    pub(crate) fn check(&mut self, now: Instant) -> Verdict {
        if !self.limiter.admit(self.lines_max, now) {
            self.suppressed += 1;
            return Verdict::Refuse;
        }
        let is_due = self.reported.is_none_or(|reported| {
            now.saturating_duration_since(reported) >= LOG_SUPPRESSED_INTERVAL
        });
        if self.suppressed == 0 || !is_due {
            return Verdict::Pass { suppressed: 0 };
        }
        self.reported = Some(now);
        Verdict::Pass {
            suppressed: std::mem::take(&mut self.suppressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(200);

    #[test]
    fn so_many_in_a_window_and_a_count() {
        let start = Instant::now();
        let mut limit = LineLimit::new(2, WINDOW, start);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(limit.check(start), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(start), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(start), Verdict::Refuse);
        assert_eq!(limit.check(at(150)), Verdict::Refuse);
        assert_eq!(limit.check(at(200)), Verdict::Pass { suppressed: 2 });
        assert_eq!(limit.check(at(200)), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(at(200)), Verdict::Refuse);
        // Reported once a second, however often a line passes meanwhile.
        assert_eq!(limit.check(at(400)), Verdict::Pass { suppressed: 0 });
        let mut reports = 0;
        let mut counted = 0;
        for millis in 500..3500 {
            if let Verdict::Pass { suppressed } = limit.check(at(millis))
                && suppressed > 0
            {
                reports += 1;
                counted += suppressed;
            }
        }
        assert_eq!(reports, 3);
        assert!((2000..3000).contains(&counted), "{counted}");
        let mut limit = LineLimit::new(2, WINDOW, start);
        for _ in 0..3 {
            limit.check(start);
        }
        // A long silence earns no more lines than any other window.
        let later = start + Duration::from_secs(3600);
        assert_eq!(limit.check(later), Verdict::Pass { suppressed: 1 });
        assert_eq!(limit.check(later), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(later), Verdict::Refuse);
    }
}
