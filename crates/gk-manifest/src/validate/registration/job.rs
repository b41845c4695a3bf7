//! The rules of a job.

use std::collections::HashSet;

use crate::diagnostic::quoted;
use crate::duration::GoDuration;
use crate::limits::TEXT_BYTES_MAX;
use crate::registration::JobSpec;
use crate::validate::routes::one_of;
use crate::validate::{Report, join};

pub(super) fn job<'a>(r: &mut Report, field: &str, job: &'a JobSpec, seen: &mut HashSet<&'a str>) {
    r.unique_id(&join(field, "id"), &job.id, seen);
    r.handler(&join(field, "handler"), &job.handler);
    r.text(
        &join(field, "description"),
        &job.description,
        TEXT_BYTES_MAX,
    );
    r.timeout(&join(field, "timeout"), &job.timeout);
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
    let plain = match text.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => {
            rest.trim()
        }
        _ => text.trim(),
    };
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
