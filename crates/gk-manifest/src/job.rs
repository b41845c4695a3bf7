//! Jobs: what the texts of a [`JobSpec`] mean, and the settings that an operator puts in their place.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::registration::JobSpec;

/// What happens when a job is due while an earlier run of it has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// The new run is skipped.
    #[default]
    Forbid,
    /// Both run.
    Allow,
    /// The earlier run is given up.
    Replace,
}

impl Concurrency {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Forbid, Self::Allow, Self::Replace];

    /// The word in registrations and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Allow => "allow",
            Self::Replace => "replace",
        }
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JobSpec {
    /// The time limit; `None` when the host's applies (or the text is not valid, which validation
    /// reports).
    pub fn timeout(&self) -> Option<Duration> {
        duration(&self.timeout).filter(|timeout| !timeout.is_zero())
    }

    /// What happens to overlapping runs; [`Concurrency::Forbid`] where the text names no value.
    pub fn concurrency(&self) -> Concurrency {
        let named = |value: &Concurrency| value.as_str() == self.concurrency;
        Concurrency::ALL.into_iter().find(named).unwrap_or_default()
    }

    /// How late a run may start; `None` when the host's rule applies.
    pub fn starting_deadline(&self) -> Option<Duration> {
        duration(&self.starting_deadline)
    }

    /// The maximum delay of a start; `None` when the host's rule applies.
    pub fn jitter(&self) -> Option<Duration> {
        duration(&self.jitter)
    }

    /// The wait before the first repetition; `None` when the host's applies.
    pub fn backoff(&self) -> Option<Duration> {
        duration(&self.backoff)
    }
}

fn duration(text: &str) -> Option<Duration> {
    text.parse::<GoDuration>().ok()?.to_std()
}

/// Returns a schedule without the time zone in front of it.
pub(crate) fn without_zone(schedule: &str) -> &str {
    match schedule.trim().split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => {
            rest.trim()
        }
        _ => schedule,
    }
}

/// An operator's settings of a job. What is set takes precedence over what the plugin declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct JobOverrides {
    /// Whether the job runs by its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Cron expression with five fields, or a descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Time zone of the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What happens when the job is due while an earlier run has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How late a run may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<GoDuration>,
    /// Maximum delay of a start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<GoDuration>,
    /// Time limit of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Number of repetitions of a run that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// Wait before the first repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<GoDuration>,
}

impl JobOverrides {
    /// Returns a declaration with these settings in it.
    #[must_use]
    pub fn apply(&self, declared: &JobSpec) -> JobSpec {
        let text = |set: Option<String>, declared: &String| set.unwrap_or_else(|| declared.clone());
        let time = |set: Option<GoDuration>, declared: &String| {
            text(set.map(|set| set.to_string()), declared)
        };
        // A schedule of the operator's comes with the operator's time zone, or the host's: the
        // plugin's belongs to the plugin's schedule.
        let zone = match (&self.time_zone, &self.schedule) {
            (Some(zone), _) => zone.clone(),
            (None, Some(_)) => String::new(),
            (None, None) => declared.time_zone.clone(),
        };
        let schedule = match (&self.schedule, &self.time_zone) {
            (Some(schedule), _) => schedule.clone(),
            // A zone in front of the plugin's schedule would come before the operator's.
            (None, Some(_)) => without_zone(&declared.schedule).to_owned(),
            (None, None) => declared.schedule.clone(),
        };
        JobSpec {
            enabled: self.enabled.unwrap_or(declared.enabled),
            schedule,
            time_zone: zone,
            concurrency: text(
                self.concurrency.map(|set| set.to_string()),
                &declared.concurrency,
            ),
            starting_deadline: time(self.starting_deadline, &declared.starting_deadline),
            jitter: time(self.jitter, &declared.jitter),
            timeout: time(self.timeout, &declared.timeout),
            retries: self.retries.unwrap_or(declared.retries),
            backoff: time(self.backoff, &declared.backoff),
            ..declared.clone()
        }
    }

    /// True if nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_time_zone_comes_before_the_plugins() {
        let declared = JobSpec {
            schedule: "TZ=Asia/Tokyo 0 9 * * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
            ..JobSpec::default()
        };
        let with = |schedule: Option<&str>, zone: Option<&str>| {
            let overrides = JobOverrides {
                schedule: schedule.map(str::to_owned),
                time_zone: zone.map(str::to_owned),
                ..JobOverrides::default()
            };
            let spec = overrides.apply(&declared);
            (spec.schedule, spec.time_zone)
        };
        let is = |schedule: &str, zone: &str| (schedule.to_owned(), zone.to_owned());
        assert_eq!(
            with(None, None),
            is("TZ=Asia/Tokyo 0 9 * * *", "Europe/Berlin")
        );
        assert_eq!(with(None, Some("UTC")), is("0 9 * * *", "UTC"));
        assert_eq!(with(Some("@daily"), None), is("@daily", ""));
        assert_eq!(with(Some("@daily"), Some("UTC")), is("@daily", "UTC"));
    }
}
