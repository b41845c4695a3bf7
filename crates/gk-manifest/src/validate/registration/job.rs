//! The rules of a job.

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, quoted};
use crate::duration::GoDuration;
use crate::job::{Concurrency, without_zone};
use crate::limits::{LINE_BYTES_MAX, RETRIES_MAX, STARTING_DEADLINE_MIN, TEXT_BYTES_MAX};
use crate::registration::JobSpec;
use crate::validate::routes::one_of;
use crate::validate::{Report, join};

impl JobSpec {
    /// Checks everything but what only a calendar knows: time zones, and dates that never come. The
    /// findings name the field.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut report = Report::default();
        job(&mut report, "", self, &mut HashSet::new());
        report.finish()
    }
}

pub(super) fn job<'a>(r: &mut Report, field: &str, job: &'a JobSpec, seen: &mut HashSet<&'a str>) {
    r.unique_id(&join(field, "id"), &job.id, seen);
    r.handler(&join(field, "handler"), &job.handler);
    r.text(
        &join(field, "description"),
        &job.description,
        TEXT_BYTES_MAX,
    );
    for (name, duration) in [
        ("timeout", &job.timeout),
        ("starting_deadline", &job.starting_deadline),
        ("jitter", &job.jitter),
        ("backoff", &job.backoff),
    ] {
        r.timeout(&join(field, name), duration);
    }
    if job
        .starting_deadline()
        .is_some_and(|deadline| deadline < STARTING_DEADLINE_MIN)
    {
        r.error(
            &join(field, "starting_deadline"),
            format!(
                "{} is too short: no run could start in time",
                job.starting_deadline
            ),
            "write at least `1s`, or leave it out",
        );
    }
    r.line(&join(field, "time_zone"), &job.time_zone, LINE_BYTES_MAX);
    let known = Concurrency::ALL.map(Concurrency::as_str);
    if !job.concurrency.is_empty() && !known.contains(&job.concurrency.as_str()) {
        let field = join(field, "concurrency");
        r.unknown_word(&field, "concurrency", &job.concurrency, &known, None);
    }
    if !(0..=RETRIES_MAX).contains(&job.retries) {
        r.error(
            &join(field, "retries"),
            format!("{} is no number of repetitions", job.retries),
            format!("write a number from 0 to {RETRIES_MAX}"),
        );
    }
    if let Err((message, remedy)) = schedule(&job.schedule) {
        r.error(&join(field, "schedule"), message, remedy);
    }
}

/// Checks the form of a schedule; the values of its fields are the scheduler's to judge.
fn schedule(text: &str) -> Result<(), (String, String)> {
    const DESCRIPTORS: [&str; 7] = [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
    ];
    const REMEDY: &str =
        "write five cron fields such as `*/5 * * * *`, or a descriptor such as `@hourly`";
    if text.trim().is_empty() {
        return Err(("the job has no schedule".into(), REMEDY.into()));
    }
    let plain = without_zone(text).trim();
    if let Some(interval) = plain.strip_prefix("@every ") {
        return match interval.trim().parse::<GoDuration>() {
            Ok(interval) if interval.as_nanos() > 0 => Ok(()),
            Ok(interval) => Err((
                format!("{interval} is not an interval"),
                GoDuration::SYNTAX.into(),
            )),
            Err(error) => Err((error.to_string(), GoDuration::SYNTAX.into())),
        };
    }
    if plain.starts_with('@') {
        if DESCRIPTORS.contains(&plain) {
            return Ok(());
        }
        return Err((
            format!("{} is not a descriptor", quoted(plain)),
            one_of(plain, &DESCRIPTORS),
        ));
    }
    let fields = plain.split_whitespace().count();
    if fields != 5
        || !plain
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " \t*/,-?#".contains(c))
    {
        return Err((
            format!("{} is not a cron expression with five fields", quoted(text)),
            REMEDY.into(),
        ));
    }
    Ok(())
}
