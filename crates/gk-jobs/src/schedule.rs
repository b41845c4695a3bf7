//! Schedules: when a job is due.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use gk_manifest::GoDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Nanoseconds in a second.
const NANOS: i128 = 1_000_000_000;

/// Maximum number of ticks that are counted one by one; of more only the newest is looked for.
pub const MISSED_MAX: u32 = 100;

/// Reason why a text is no schedule, or one that is never due.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    field: &'static str,
    message: String,
    remedy: &'static str,
}

impl ScheduleError {
    fn new(message: String, remedy: &'static str) -> Self {
        Self {
            field: "schedule",
            message,
            remedy,
        }
    }

    /// Moves the error to the field of the time zone.
    pub(crate) fn in_time_zone(self) -> Self {
        Self {
            field: "time_zone",
            ..self
        }
    }

    /// The field of the declaration that is wrong: `schedule` or `time_zone`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What the author does about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

/// A schedule: five fields of cron (minute, hour, day of the month, month, day of the week), a
/// descriptor such as `@hourly`, or `@every` with an interval. `TZ=` or `CRON_TZ=` in front names
/// the time zone.
///
/// An interval is cut to whole seconds and has at least one, as in the cron library of upstream's
/// host. Its ticks are the multiples of it since 1970, so that all hosts agree on them, and a restart
/// moves none.
///
/// ```
/// use gk_jobs::schedule::Schedule;
/// use jiff::tz::TimeZone;
///
/// let schedule = Schedule::parse("30 2 * * *", &TimeZone::UTC)?;
/// let after = "2026-03-28T12:00:00Z".parse()?;
/// assert_eq!(schedule.next(after).unwrap().to_string(), "2026-03-29T02:30:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    kind: Kind,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Kind {
    Cron(Box<Cron>),
    /// Nanoseconds; whole seconds, at least one.
    Every(i128),
}

/// Ticks that have become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    /// The newest one.
    pub tick: Timestamp,
    /// Number of older ones, at most [`MISSED_MAX`].
    pub older: u32,
}

impl Schedule {
    /// Parses a schedule. `zone` applies where the text names none.
    ///
    /// # Errors
    /// If the text has another form, names an unknown time zone, or is never due.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, ScheduleError> {
        let (zone, pattern) = match text.trim().split_once(' ') {
            Some((named, rest)) if named.starts_with("TZ=") || named.starts_with("CRON_TZ=") => {
                let name = named.split_once('=').map_or("", |(_, name)| name);
                (time_zone(name)?, rest.trim())
            }
            _ => (zone.clone(), text.trim()),
        };
        let kind = match pattern.strip_prefix("@every ") {
            Some(interval) => Kind::Every(every(interval)?),
            None => Kind::Cron(Box::new(cron(pattern)?)),
        };
        let schedule = Self { kind, zone };
        if schedule.next(Timestamp::UNIX_EPOCH).is_none() {
            return Err(ScheduleError::new(
                format!("{pattern:?} is never due: there is no such date"),
                "write a day that the month has",
            ));
        }
        Ok(schedule)
    }

    /// Returns the first tick after a moment; `None` if there is none in the years that the calendar
    /// library knows.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Every(interval) => {
                let number = after.as_nanosecond().div_euclid(*interval) + 1;
                Timestamp::from_nanosecond(number * interval).ok()
            }
            Kind::Cron(cron) => {
                let next = cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false);
                let next = next.ok().map(|zoned| zoned.timestamp());
                // A tick that is not later would make a loop of its caller endless.
                next.filter(|tick| *tick > after)
            }
        }
    }

    /// Returns the newest tick that is later than `after` and not later than `until`.
    #[must_use]
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Latest> {
        let mut latest = Latest {
            tick: self.next(after).filter(|tick| *tick <= until)?,
            older: 0,
        };
        while let Some(tick) = self.next(latest.tick).filter(|tick| *tick <= until) {
            latest.tick = tick;
            latest.older += 1;
            if latest.older == MISSED_MAX {
                latest.tick = self.last(tick, until);
                break;
            }
        }
        Some(latest)
    }

    /// Returns the newest tick until a moment; `known` is one.
    fn last(&self, known: Timestamp, until: Timestamp) -> Timestamp {
        let last = match &self.kind {
            Kind::Every(interval) => {
                let number = until.as_nanosecond().div_euclid(*interval);
                Timestamp::from_nanosecond(number * interval).ok()
            }
            Kind::Cron(cron) => {
                let last = cron.find_previous_occurrence(&until.to_zoned(self.zone.clone()), true);
                last.ok().map(|zoned| zoned.timestamp())
            }
        };
        last.filter(|last| *last <= until)
            .unwrap_or(known)
            .max(known)
    }

    /// Returns the time from a tick to the next one.
    #[must_use]
    pub fn period(&self, tick: Timestamp) -> Duration {
        let next = self.next(tick).map(|next| next.duration_since(tick));
        next.and_then(|period| Duration::try_from(period).ok())
            .unwrap_or(Duration::MAX)
    }
}

/// Looks up a time zone of the IANA database, or `UTC`.
///
/// # Errors
/// If this machine knows no zone of that name.
pub fn time_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZone::get(name).map_err(|_| {
        ScheduleError::new(
            format!("this machine knows no time zone {name:?}"),
            "write a zone of the IANA database, such as Europe/Berlin, or leave it out",
        )
    })
}

fn cron(pattern: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(pattern).map_err(|error| ScheduleError::new(format!("{pattern:?} is no cron expression: {error}"), "write minute (0-59), hour (0-23), day of the month (1-31), month (1-12) and day of the week (0-7)"))
}

fn every(text: &str) -> Result<i128, ScheduleError> {
    let interval = GoDuration::from_str(text.trim());
    let wrong = |message: String| {
        ScheduleError::new(
            message,
            "write an interval of at least a second, such as `@every 90s`",
        )
    };
    let interval = interval.map_err(|error| wrong(error.to_string()))?;
    if interval.as_nanos() <= 0 {
        return Err(wrong(format!("{interval} is not an interval")));
    }
    let seconds = i128::from(interval.as_nanos()) / NANOS;
    Ok(seconds.max(1) * NANOS)
}
