//! Schedules of jobs: whether one can ever be due, by the library that runs them.

use croner::Cron;
use gk_manifest::{Diagnostic, Registration, Severity};
use jiff::Zoned;
use jiff::tz::TimeZone;

/// Checks the schedules of a registration, which is well-formed otherwise, and returns the
/// problems.
pub(crate) fn check(registration: &Registration) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (number, job) in registration.jobs.iter().enumerate() {
        if let Err((message, remedy)) = check_one(&job.schedule) {
            problems.push(Diagnostic {
                severity: Severity::Error,
                file: None,
                line: None,
                column: None,
                field: format!("jobs[{number}].schedule"),
                message,
                remedy: remedy.into(),
            });
        }
    }
    problems
}

fn check_one(schedule: &str) -> Result<(), (String, &'static str)> {
    let (zone, pattern) = match schedule.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => {
            (zone.split_once('=').map(|(_, name)| name), rest.trim())
        }
        _ => (None, schedule.trim()),
    };
    if let Some(name) = zone
        && TimeZone::get(name).is_err()
    {
        return Err((
            format!("this machine knows no time zone {name:?}"),
            "write a zone of the IANA database, such as Europe/Berlin, or leave it out",
        ));
    }
    // Intervals are checked with the registration's form.
    if pattern.starts_with("@every ") {
        return Ok(());
    }
    let cron: Cron = pattern.parse().map_err(|error| {
        (
            format!("{pattern:?} is no cron expression: {error}"),
            "write minute (0-59), hour (0-23), day of the month (1-31), month (1-12) and day of the week (0-7)",
        )
    })?;
    let start = Zoned::new(jiff::Timestamp::UNIX_EPOCH, TimeZone::UTC);
    cron.find_next_occurrence(&start, true)
        .map(drop)
        .map_err(|_| {
            (
                format!("{pattern:?} is never due: there is no such date"),
                "write a day that the month has",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_be_due_is_refused() {
        for schedule in [
            "*/5 * * * *",
            "0 9 * * MON-FRI",
            "0 0 29 2 *",
            "0 0 L * *",
            "@hourly",
            "@every 1h30m",
            "TZ=Europe/Berlin 30 2 * * *",
            "CRON_TZ=UTC 0 0 1 1 0",
        ] {
            assert_eq!(check_one(schedule), Ok(()), "{schedule}");
        }
        for (schedule, says) in [
            ("99 99 * * *", "no cron expression"),
            ("60 * * * *", "no cron expression"),
            ("* 24 * * *", "no cron expression"),
            ("* * 0 * *", "no cron expression"),
            ("* * * 13 *", "no cron expression"),
            ("* * * * 9", "no cron expression"),
            ("* * * * MOO", "no cron expression"),
            ("*/0 * * * *", "no cron expression"),
            ("5-1 * * * *", "no cron expression"),
            ("0 0 30 2 *", "never due"),
            ("0 0 31 4,6,9,11 *", "never due"),
            ("TZ=Mars/Olympus 0 0 * * *", "time zone"),
        ] {
            let (message, _) = check_one(schedule).expect_err(schedule);
            assert!(message.contains(says), "{schedule}: {message}");
        }
    }

    #[test]
    fn a_problem_names_its_job() {
        let job =
            |schedule: &str| serde_json::json!({"id": "j", "handler": "h", "schedule": schedule});
        let registration = serde_json::json!({"jobs": [job("@daily"), job("0 0 31 2 *")]});
        let problems = check(&serde_json::from_value(registration).unwrap());
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}")
        };
        assert_eq!(problem.field, "jobs[1].schedule");
    }
}
