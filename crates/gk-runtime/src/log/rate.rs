//! A token bucket that limits how many lines of a plugin reach the host's own log. No clock of its
//! own.

use std::time::Instant;

use crate::limits::LOG_SUPPRESSED_INTERVAL;

/// Allows a burst and then a rate; counts the refused events.
#[derive(Debug)]
pub(crate) struct RateLimit {
    burst: f64,
    per_second: f64,
    tokens: f64,
    updated: Option<Instant>,
    suppressed: u64,
    reported: Option<Instant>,
}

/// Decision about an event.
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

impl RateLimit {
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst: burst.into(),
            per_second: per_second.into(),
            tokens: burst.into(),
            updated: None,
            suppressed: 0,
            reported: None,
        }
    }

    pub(crate) fn check(&mut self, now: Instant) -> Verdict {
        if let Some(updated) = self.updated {
            let elapsed = now.saturating_duration_since(updated).as_secs_f64();
            self.tokens = (self.tokens + elapsed * self.per_second).min(self.burst);
        }
        self.updated = Some(now);
        if self.tokens < 1.0 {
            self.suppressed += 1;
            return Verdict::Refuse;
        }
        self.tokens -= 1.0;
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
    use super::{RateLimit, Verdict};
    use std::time::{Duration, Instant};

    #[test]
    fn a_burst_then_a_rate_and_a_count() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2, 10);
        assert_eq!(limit.check(start), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(start), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(start), Verdict::Refuse);
        assert_eq!(
            limit.check(start + Duration::from_millis(50)),
            Verdict::Refuse
        );
        assert_eq!(
            limit.check(start + Duration::from_millis(150)),
            Verdict::Pass { suppressed: 2 }
        );
        assert_eq!(
            limit.check(start + Duration::from_millis(150)),
            Verdict::Refuse
        );
        // Reported once a second, however often a line passes meanwhile.
        assert_eq!(
            limit.check(start + Duration::from_millis(300)),
            Verdict::Pass { suppressed: 0 }
        );
        let mut reports = 0;
        let mut counted = 0;
        for millis in 400..3400 {
            if let Verdict::Pass { suppressed } = limit.check(start + Duration::from_millis(millis))
                && suppressed > 0
            {
                reports += 1;
                counted += suppressed;
            }
        }
        assert_eq!(reports, 3);
        assert!((2000..3000).contains(&counted), "{counted}");
        let mut limit = RateLimit::new(2, 10);
        for _ in 0..3 {
            limit.check(start);
        }
        // After a long silence the burst is still the limit.
        let later = start + Duration::from_secs(3600);
        assert_eq!(limit.check(later), Verdict::Pass { suppressed: 1 });
        assert_eq!(limit.check(later), Verdict::Pass { suppressed: 0 });
        assert_eq!(limit.check(later), Verdict::Refuse);
    }
}
