//! The planner, with a passed-in time.

use std::time::Duration;

use crate::testing::{key, second};
use crate::{Due, JobKey, JobSettings, Planner};
use gk_manifest::JobSpec;
use jiff::Timestamp;
use jiff::tz::TimeZone;

fn spec(schedule: &str) -> JobSpec {
    JobSpec {
        id: "job".to_owned(),
        handler: "work".to_owned(),
        schedule: schedule.to_owned(),
        enabled: true,
        jitter: "0s".to_owned(),
        ..JobSpec::default()
    }
}

fn settings(spec: &JobSpec) -> JobSettings {
    JobSettings::new(spec, &TimeZone::UTC).unwrap()
}

fn planned(spec: &JobSpec, last_tick: Timestamp) -> (Planner, JobKey) {
    let (mut planner, key) = (Planner::default(), key("job"));
    planner.put(&key, settings(spec), false, last_tick);
    (planner, key)
}

fn tick(tick: i64, older: u32, late: bool) -> Due {
    let tick = second(tick);
    Due::Tick { tick, older, late }
}

#[test]
fn a_tick_is_due_once() {
    let (mut planner, key) = planned(&spec("* * * * *"), second(30));
    assert_eq!(planner.next_wake(), Some(second(60)));
    assert_eq!(planner.due(second(59)), []);
    assert_eq!(planner.due(second(60)), [(key.clone(), tick(60, 0, false))]);
    // Until the store has answered.
    assert_eq!(planner.due(second(61)), []);
    assert_eq!(planner.next_wake(), None);
    planner.ticked(&key, second(60));
    assert_eq!(planner.due(second(61)), []);
    assert_eq!(planner.due(second(121)), [(key, tick(120, 0, false))]);
}

#[test]
fn a_claim_that_failed_is_tried_again() {
    let (mut planner, key) = planned(&spec("* * * * *"), second(0));
    assert_eq!(planner.due(second(60)).len(), 1);
    planner.put_off(&key, second(61));
    assert_eq!(planner.due(second(60)), []);
    assert_eq!(planner.due(second(61)), [(key, tick(60, 0, false))]);
}

#[test]
fn of_missed_ticks_the_newest_runs_if_it_is_in_time() {
    // Down for ten minutes: the period is a minute, and so is the starting deadline.
    let (mut planner, key) = planned(&spec("* * * * *"), second(0));
    assert_eq!(planner.due(second(640)), [(key, tick(600, 9, false))]);
    let (mut planner, key) = planned(&spec("0 * * * *"), second(0));
    assert_eq!(planner.due(second(7200 - 1)), [(key, tick(3600, 0, false))]);

    // Daily: an hour at most.
    let day = 24 * 60 * 60;
    for (after, late) in [(3600, false), (3601, true)] {
        let (mut planner, key) = planned(&spec("@daily"), second(0));
        let due = planner.due(second(3 * day + after));
        assert_eq!(due, [(key, tick(3 * day, 2, late))], "{after}");
    }
    let declared = JobSpec {
        starting_deadline: "10s".to_owned(),
        ..spec("@hourly")
    };
    for (after, late) in [(10, false), (11, true)] {
        let (mut planner, key) = planned(&declared, second(0));
        assert_eq!(
            planner.due(second(3600 + after)),
            [(key, tick(3600, 0, late))]
        );
    }
}

#[test]
fn a_clock_that_is_set_back_runs_nothing_twice() {
    let (mut planner, key) = planned(&spec("* * * * *"), second(0));
    assert_eq!(planner.due(second(3600)).len(), 1);
    planner.ticked(&key, second(3600));
    for moment in [0, 1800, 3599, 3600] {
        assert_eq!(planner.due(second(moment)), [], "{moment}");
    }
    assert_eq!(planner.due(second(3660)), [(key, tick(3660, 0, false))]);
}

#[test]
fn a_tick_of_a_wrong_clock_does_not_stop_the_job_for_years() {
    let year_2031 = second(5 * 365 * 24 * 60 * 60);
    let (mut planner, key) = planned(&spec("* * * * *"), year_2031);
    let due = planner.due(second(30));
    let from_to = Due::Reset {
        from: year_2031,
        to: second(30),
    };
    assert_eq!(due, [(key.clone(), from_to)]);
    planner.ticked(&key, second(30));
    assert_eq!(planner.due(second(60)), [(key, tick(60, 0, false))]);
}

#[test]
fn disabled_and_suspended_jobs_are_not_due() {
    let disabled = JobSpec {
        enabled: false,
        ..spec("* * * * *")
    };
    let (mut planner, key) = planned(&disabled, second(0));
    assert_eq!(
        (planner.next_wake(), planner.due(second(600))),
        (None, vec![])
    );
    planner.put(&key, settings(&spec("* * * * *")), true, second(0));
    assert_eq!(
        (planner.next_wake(), planner.due(second(600))),
        (None, vec![])
    );
    planner.put(&key, settings(&spec("* * * * *")), false, second(0));
    assert_eq!(planner.due(second(60)).len(), 1);
}

#[test]
fn a_job_that_does_not_run_is_not_put_off() {
    let (mut planner, key) = planned(&spec("* * * * *"), second(0));
    assert_eq!(planner.due(second(60)).len(), 1);
    // Its plugin has gone while its tick was to be taken, which failed.
    planner.pause(&key);
    planner.put_off(&key, second(61));
    assert_eq!(
        (planner.next_wake(), planner.due(second(600))),
        (None, vec![])
    );
    assert!(planner.settings(&key).is_some());
    planner.put(&key, settings(&spec("* * * * *")), false, second(0));
    assert_eq!(planner.due(second(61)), [(key, tick(60, 0, false))]);
}

#[test]
fn new_settings_keep_the_last_tick() {
    let (mut planner, key) = planned(&spec("* * * * *"), second(0));
    planner.due(second(60));
    planner.ticked(&key, second(60));
    // What the store says of the last tick may be older than what was claimed since.
    planner.put(&key, settings(&spec("*/2 * * * *")), false, second(0));
    assert_eq!(planner.next_wake(), Some(second(120)));
    planner.keep(|_| false);
    assert_eq!(planner.next_wake(), None);
}

#[test]
fn jitter_is_the_jobs_own_and_within_its_limits() {
    for (schedule, most) in [("* * * * *", 6_000), ("@every 1s", 100), ("@daily", 30_000)] {
        let spec = JobSpec {
            jitter: String::new(),
            ..spec(schedule)
        };
        let settings = settings(&spec);
        let mut delays = Vec::new();
        for job in 0..50 {
            let key = key(&format!("job-{job}"));
            let tick = settings.schedule.next(second(0)).unwrap();
            let start = settings.start(&key, tick);
            assert_eq!(start, settings.start(&key, tick), "the same each time");
            delays.push(start.duration_since(tick).as_millis());
        }
        delays.sort();
        let range = delays[0]..=delays[delays.len() - 1];
        assert!(
            *range.start() >= 0 && *range.end() <= most,
            "{schedule}: {range:?}"
        );
        assert!(
            range.end() - range.start() > most / 2,
            "{schedule}: {range:?}"
        );
    }
    // A delayed tick is not due before its start, and counts from there.
    let delayed = JobSpec {
        jitter: "30s".to_owned(),
        ..spec("* * * * *")
    };
    let (mut planner, key) = planned(&delayed, second(0));
    let start = planner.next(&key).unwrap();
    assert!(start > second(60) && start < second(90));
    let just_before = start.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(planner.due(just_before), []);
    assert_eq!(planner.due(start), [(key, tick(60, 0, false))]);
}

#[test]
fn repetitions_wait_twice_as_long_each_time() {
    let declared = JobSpec {
        retries: 4,
        backoff: "20m".to_owned(),
        ..spec("@daily")
    };
    let settings = settings(&declared);
    let waits = (1..=5).map(|attempt| settings.retry_after(attempt));
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let expected = [20, 40, 60, 60, 60].map(minutes);
    assert_eq!(waits.collect::<Vec<_>>(), expected);
    assert_eq!(
        self::settings(&spec("@daily")).retry_after(1),
        crate::BACKOFF_DEFAULT
    );
}
