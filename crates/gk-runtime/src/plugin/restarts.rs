//! Restart times of a plugin that ended by itself. Pure: the time is passed in, and random numbers
//! come from a seed.
//!
//! The first restart comes after [`DELAY_FIRST`], so that a single crash is hardly noticed. The
//! delay doubles with each further one, up to [`DELAY_MAX`], and varies by 25 %, so that plugins
//! that crash together do not restart together. The count starts again once a plugin has run for
//! [`STEADY`]. Restarts never stop, as the cause of a crash may be removed elsewhere.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::kept::CrashHistory;

/// Delay of the first restart.
pub(crate) const DELAY_FIRST: Duration = Duration::from_millis(200);
/// Longest delay of a restart.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(60);
/// Time that a plugin runs until its earlier crashes count no more.
pub(crate) const STEADY: Duration = Duration::from_secs(600);
/// Number of crashes within [`LOOP_WINDOW`] that make a crash loop.
pub(crate) const LOOP_CRASHES: usize = 5;
/// Time window for [`LOOP_CRASHES`].
pub(crate) const LOOP_WINDOW: Duration = Duration::from_secs(60);

/// A moment by both clocks: the monotonic one for delays, the wall clock for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) time: SystemTime,
}

impl Now {
    pub(crate) fn new() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }
}

/// Crashes of a plugin since it last ran well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restarts {
    /// Number of crashes in a row; running out of memory counts twice.
    in_a_row: u32,
    recent: VecDeque<Instant>,
    looping: bool,
    /// Time of the last crash.
    last: Option<SystemTime>,
    /// State of the random number generator.
    seed: u64,
}

impl Restarts {
    /// Creates a history without crashes.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Records a crash of a plugin that had been running since `up` (`None` if it did not come up).
    /// Returns the delay of the restart.
    pub(crate) fn crashed(
        &mut self,
        now: Now,
        up: Option<Instant>,
        out_of_memory: bool,
    ) -> Duration {
        if up.is_some_and(|up| now.instant.saturating_duration_since(up) >= STEADY) {
            self.forget();
        }
        let weight = if out_of_memory { 2 } else { 1 };
        for _ in 0..weight {
            self.recent.push_back(now.instant);
        }
        while self
            .recent
            .front()
            .is_some_and(|at| now.instant.saturating_duration_since(*at) > LOOP_WINDOW)
            || self.recent.len() > 2 * LOOP_CRASHES
        {
            self.recent.pop_front();
        }
        self.looping |= self.recent.len() >= LOOP_CRASHES;
        let before = self.in_a_row;
        self.in_a_row = before.saturating_add(weight);
        self.last = Some(now.time);
        let delay = match self.looping {
            true => DELAY_MAX,
            false => DELAY_FIRST
                .saturating_mul(2_u32.saturating_pow(before))
                .min(DELAY_MAX),
        };
        delay.mul_f64(0.75 + self.chance() / 2.0)
    }

    /// Returns true if the plugin keeps crashing.
    pub(crate) fn is_looping(&self) -> bool {
        self.looping
    }

    /// Number of crashes in a row.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Time of the last crash.
    pub(crate) fn last(&self) -> Option<SystemTime> {
        self.last
    }

    /// Forgets all crashes, for a new binary or on the operator's request.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.seed);
    }

    /// Returns the history to store across starts of the host; `None` without crashes.
    pub(crate) fn history(&self, now: Now) -> Option<CrashHistory> {
        let last = self.last?;
        let wall = |at: &Instant| {
            let ago = now.instant.saturating_duration_since(*at);
            millis(now.time.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH))
        };
        Some(CrashHistory {
            in_a_row: self.in_a_row,
            looping: self.looping,
            recent_ms: self.recent.iter().map(wall).collect(),
            last_ms: millis(last),
        })
    }

    /// Restores a stored history. Crashes in the future, after the clock was set back, count as of
    /// now.
    pub(crate) fn recall(&mut self, history: &CrashHistory, now: Now) {
        let present = millis(now.time);
        let recent = history.recent_ms.iter().filter_map(|at| {
            let ago = Duration::from_millis(present.saturating_sub(*at));
            now.instant.checked_sub(ago)
        });
        self.recent = recent.take(2 * LOOP_CRASHES).collect();
        self.in_a_row = history.in_a_row;
        self.looping = history.looping;
        let last = Duration::from_millis(history.last_ms.min(present));
        self.last = SystemTime::UNIX_EPOCH.checked_add(last);
    }

    /// Returns a number from 0 to 1, by splitmix64.
    fn chance(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default();
        f64::from(high) / f64::from(u32::MAX)
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monotonic and a wall clock, advanced manually.
    struct Clock(Now);

    impl Clock {
        fn new() -> Self {
            let instant = Instant::now() + Duration::from_secs(1_000_000);
            Self(Now {
                instant,
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            })
        }

        fn pass(&mut self, time: Duration) -> Now {
            self.0.instant += time;
            self.0.time += time;
            self.0
        }
    }

    fn about(delay: Duration, expected: Duration) -> bool {
        (expected.mul_f64(0.75)..=expected.mul_f64(1.25)).contains(&delay)
    }

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew() {
        let (mut restarts, mut clock) = (Restarts::new(1), Clock::new());
        for number in 0..12 {
            // Far enough apart to be no loop.
            let now = clock.pass(LOOP_WINDOW);
            let delay = restarts.crashed(now, None, false);
            let expected = (DELAY_FIRST * 2_u32.pow(number)).min(DELAY_MAX);
            assert!(about(delay, expected), "{number}: {delay:?}");
        }
        assert!(!restarts.is_looping());
        let up = clock.0.instant;
        let delay = restarts.crashed(clock.pass(STEADY), Some(up), false);
        assert!(about(delay, DELAY_FIRST), "{delay:?}");
    }

    #[test]
    fn five_within_a_minute_are_a_loop_until_it_ran_well_or_is_new() {
        let (mut restarts, mut clock) = (Restarts::new(2), Clock::new());
        for crash in 1..=LOOP_CRASHES {
            let now = clock.pass(Duration::from_secs(10));
            restarts.crashed(now, Some(now.instant), false);
            assert_eq!(restarts.is_looping(), crash == LOOP_CRASHES, "{crash}");
        }
        let now = clock.pass(Duration::from_secs(300));
        let delay = restarts.crashed(now, Some(now.instant), false);
        assert!(about(delay, DELAY_MAX), "{delay:?}");
        let mut new = restarts.clone();
        new.forget();
        assert!(about(new.crashed(now, None, false), DELAY_FIRST));
        let up = now.instant;
        restarts.crashed(clock.pass(STEADY), Some(up), false);
        assert!(!restarts.is_looping());
        // A crash for lack of memory counts twice.
        let mut hungry = Restarts::new(3);
        for _ in 0..3 {
            hungry.crashed(now, None, true);
        }
        assert!(hungry.is_looping());
    }

    #[test]
    fn plugins_that_fell_together_do_not_rise_together() {
        let now = Clock::new().0;
        let delays: Vec<_> = (0..100)
            .map(|seed| Restarts::new(seed).crashed(now, None, false))
            .collect();
        assert!(delays.iter().all(|delay| about(*delay, DELAY_FIRST)));
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*most - *least > DELAY_FIRST / 3, "{least:?} {most:?}");
    }

    #[test]
    fn crashes_are_remembered_whatever_the_clock_does() {
        let (mut restarts, mut clock) = (Restarts::new(4), Clock::new());
        assert_eq!(restarts.history(clock.0), None);
        for _ in 1..LOOP_CRASHES {
            restarts.crashed(clock.pass(Duration::from_secs(5)), None, false);
        }
        let history = restarts.history(clock.0).unwrap();
        let recalled = |now: Now| {
            let mut recalled = Restarts::new(5);
            recalled.recall(&history, now);
            recalled
        };
        // The same moment, in another process.
        let mut again = recalled(clock.0);
        again.crashed(clock.pass(Duration::from_secs(1)), None, false);
        assert!(again.is_looping());
        // Later they are no longer recent, and still in a row.
        let later = clock.pass(Duration::from_secs(3600));
        let mut again = recalled(later);
        again.crashed(later, None, false);
        assert!(!again.is_looping() && again.in_a_row() > 4);
        // A clock that was set back by years: the crashes count as of now.
        let back = Now {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
            ..clock.0
        };
        let mut again = recalled(back);
        assert!(again.last().unwrap() <= back.time);
        again.crashed(back, None, false);
        assert!(again.is_looping());
        // A clock that is far ahead, which makes the history useless.
        let ahead = Now {
            time: clock.0.time + Duration::from_secs(400 * 365 * 86_400),
            ..clock.0
        };
        recalled(ahead).crashed(ahead, None, false);
    }
}
