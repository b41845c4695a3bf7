//! Schedules: their forms, their ticks, and the days on which clocks are changed.

use std::time::Duration;

use crate::schedule::{Latest, MISSED_MAX, Schedule};
use gk_manifest::JobSpec;
use jiff::Timestamp;
use jiff::tz::TimeZone;

fn berlin(schedule: &str) -> Schedule {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    Schedule::parse(schedule, &zone).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// All ticks after `from` and until `until`, as text.
fn ticks(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
    let (mut last, until) = (at(from), at(until));
    let mut ticks = Vec::new();
    while let Some(tick) = schedule.next(last).filter(|tick| *tick <= until) {
        ticks.push(tick.to_string());
        last = tick;
    }
    ticks
}

#[test]
fn forms_that_are_taken() {
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
        Schedule::parse(schedule, &TimeZone::UTC).expect(schedule);
    }
}

#[test]
fn what_can_never_be_due_is_refused() {
    for (schedule, says) in [
        ("", "no cron expression"),
        ("99 99 * * *", "no cron expression"),
        ("60 * * * *", "no cron expression"),
        ("* 24 * * *", "no cron expression"),
        ("* * 0 * *", "no cron expression"),
        ("* * * 13 *", "no cron expression"),
        ("* * * * 9", "no cron expression"),
        ("* * * * MOO", "no cron expression"),
        ("*/0 * * * *", "no cron expression"),
        ("5-1 * * * *", "no cron expression"),
        ("0 0 * * * *", "no cron expression"),
        ("0 0 1 1 * 2030", "no cron expression"),
        ("@reboot", "no cron expression"),
        ("0 0 30 2 *", "never due"),
        ("0 0 31 4,6,9,11 *", "never due"),
        ("TZ=Mars/Olympus 0 0 * * *", "time zone"),
        ("@every", "no cron expression"),
        ("@every 0s", "not an interval"),
        ("@every -1m", "not an interval"),
        ("@every 5", "not a duration"),
    ] {
        let error = Schedule::parse(schedule, &TimeZone::UTC).expect_err(schedule);
        assert!(error.to_string().contains(says), "{schedule}: {error}");
        assert!(!error.remedy().is_empty());
    }
}

/// In Berlin, clocks went from 02:00 to 03:00 on 2026-03-29: 01:00 UTC.
#[test]
fn the_hour_that_is_left_out() {
    let (from, until) = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    assert_eq!(
        ticks(&berlin("30 2 * * *"), from, until),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        "a time that there is not runs at the end of the gap"
    );
    assert_eq!(
        ticks(
            &berlin("0 * * * *"),
            "2026-03-29T00:00:00Z",
            "2026-03-29T02:00:00Z"
        ),
        ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]
    );
}

/// In Berlin, clocks went from 03:00 to 02:00 on 2026-10-25: 01:00 UTC.
#[test]
fn the_hour_that_comes_twice() {
    let (from, until) = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    assert_eq!(
        ticks(&berlin("30 2 * * *"), from, until),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        "a fixed time runs once"
    );
    assert_eq!(
        ticks(
            &berlin("30 * * * *"),
            "2026-10-24T23:50:00Z",
            "2026-10-25T02:00:00Z"
        ),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
        "each hour runs, and there is one more"
    );
}

#[test]
fn the_zone_in_the_schedule_comes_first() {
    let schedule = berlin("TZ=Asia/Tokyo 0 9 * * *");
    let next = schedule.next(at("2026-11-28T12:00:00Z")).unwrap();
    assert_eq!(next, at("2026-11-29T00:00:00Z"));
}

#[test]
fn intervals_are_multiples_since_1970() {
    let schedule = |text| Schedule::parse(text, &TimeZone::UTC).unwrap();
    let (from, until) = ("2026-11-28T00:00:01Z", "2026-11-28T04:00:00Z");
    assert_eq!(
        ticks(&schedule("@every 1h30m"), from, until),
        ["2026-11-28T01:30:00Z", "2026-11-28T03:00:00Z"]
    );
    // Less than a second is a second, and parts of one are cut.
    for text in ["@every 1ms", "@every 1.9s"] {
        let next = schedule(text).next(at("2026-11-28T00:00:01Z"));
        assert_eq!(next, Some(at("2026-11-28T00:00:02Z")), "{text}");
    }
}

#[test]
fn the_newest_of_many_is_found() {
    let every = |text| Schedule::parse(text, &TimeZone::UTC).unwrap();
    let latest =
        |schedule: &Schedule, after: &str, until: &str| schedule.latest(at(after), at(until));
    let minutes = every("* * * * *");
    let found = |tick: &str, older| {
        let tick = at(tick);
        Some(Latest { tick, older })
    };
    assert_eq!(
        latest(&minutes, "2026-11-28T00:00:00Z", "2026-11-28T00:00:59Z"),
        None
    );
    assert_eq!(
        latest(&minutes, "2026-11-28T00:00:00Z", "2026-11-28T00:03:30Z"),
        found("2026-11-28T00:03:00Z", 2)
    );
    // A year without a host: not half a million steps.
    for text in ["* * * * *", "@every 60s"] {
        assert_eq!(
            latest(&every(text), "2025-11-28T00:00:00Z", "2026-11-28T00:03:30Z"),
            found("2026-11-28T00:03:00Z", MISSED_MAX),
            "{text}"
        );
    }
}

#[test]
fn the_period_is_the_time_to_the_next_tick() {
    let schedule = Schedule::parse("0 0 1 * *", &TimeZone::UTC).unwrap();
    let february = schedule.period(at("2026-02-01T00:00:00Z"));
    assert_eq!(february, Duration::from_secs(28 * 24 * 60 * 60));
}

#[test]
fn a_problem_names_its_job_and_few_are_looked_for() {
    let job = |schedule: &str, zone: &str| JobSpec {
        schedule: schedule.to_owned(),
        time_zone: zone.to_owned(),
        ..JobSpec::default()
    };
    let jobs = [
        job("@daily", "Europe/Berlin"),
        job("0 0 31 2 *", ""),
        job("@daily", "Mars/Olympus"),
    ];
    let problems = crate::check_all(&jobs);
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(fields, ["jobs[1].schedule", "jobs[2].time_zone"]);
    // To find out that a schedule is never due takes 40 ms.
    let many = vec![job("0 0 31 2,4,6,9,11 *", ""); 512];
    assert_eq!(crate::check_all(&many).len(), 3);
}
