//! Commands of an operator, over the admin API.

pub(crate) mod audit;
pub(crate) mod call;
pub(crate) mod contexts;
pub(crate) mod doctor;
pub(crate) mod hosts;
pub(crate) mod info;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod orders;
pub(crate) mod policy;
pub(crate) mod ps;
pub(crate) mod stats;
pub(crate) mod tokens;
pub(crate) mod top;

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use gk_api::{Operation, Plugin};
use jiff::{Timestamp, Unit};

use crate::client::{ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{BAD, DIM, GOOD, Terminal, WARN, clean, styled};

/// Maximum time that a completion waits for the host.
const COMPLETION_TIMEOUT: Duration = Duration::from_millis(500);

/// The names of the host's plugins that begin like this.
pub(crate) fn complete_plugins(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let plugins = Host::for_completion(&ConnectArgs::of_completion(), COMPLETION_TIMEOUT)
        .and_then(|host| host.get::<Vec<Plugin>>(Operation::ListPlugins, &[], &[]));
    let plugins = plugins.unwrap_or_default();
    let candidates = plugins.into_iter().filter_map(|plugin| {
        let name = plugin.name.filter(|name| name.starts_with(&*current))?;
        let help = format!("{} {}", plugin.version, plugin.state);
        let help = clean(help.trim()).into_owned();
        Some(CompletionCandidate::new(clean(&name).into_owned()).help(Some(help.into())))
    });
    candidates.collect()
}

/// Does something for each name, and goes on after failures: each is told, and the last exit code
/// but 0 counts.
pub(crate) fn for_each(
    terminal: &Terminal,
    names: &[String],
    mut each: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut last = Ok(());
    for name in names {
        if let Err(failure) = each(name) {
            match names.len() {
                1 => return Err(failure),
                _ => {
                    terminal.failure(&failure);
                    last = Err(Failure::reported(failure.exit()));
                }
            }
        }
    }
    last
}

/// A state, in its colour.
pub(crate) fn state(word: &str) -> String {
    let style = match word {
        "running" | "valid" | "ok" | "serving" | "done" => GOOD,
        "failed" | "crash_looping" | "tampered" | "revoked" | "blocked" => BAD,
        "backing_off" | "waiting" | "unsigned" | "untrusted key" | "warning" | "valid-v1"
        | "starting" | "stopping" => WARN,
        _ => DIM,
    };
    styled(style, word)
}

/// Sign for an empty cell.
pub(crate) fn or_dash(text: impl Into<String>) -> String {
    let text = text.into();
    match text.is_empty() {
        true => "-".to_owned(),
        false => text,
    }
}

/// The age of a time, in one or two units.
pub(crate) fn ago(time: Option<&str>) -> String {
    let time = time.and_then(|time| time.parse::<Timestamp>().ok());
    let Some(time) = time else {
        return "-".to_owned();
    };
    let since = Timestamp::now()
        .as_second()
        .saturating_sub(time.as_second());
    short(since)
}

/// Seconds, as people say them.
pub(crate) fn short(seconds: i64) -> String {
    let (number, unit) = match seconds.max(0) {
        seconds @ 0..=119 => (seconds, "s"),
        seconds @ 120..=7199 => (seconds / 60, "m"),
        seconds @ 7200..=172_799 => (seconds / 3600, "h"),
        seconds => (seconds / 86_400, "d"),
    };
    format!("{number}{unit}")
}

/// A time in the terminal's zone, to the second.
pub(crate) fn local(time: Option<&str>) -> String {
    let time = time.and_then(|time| time.parse::<Timestamp>().ok());
    let Some(time) = time else {
        return "-".to_owned();
    };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time as people give it: RFC 3339, or how long ago, such as `10m`.
pub(crate) fn since(text: &str) -> Result<String, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_string());
    }
    let span: gk_manifest::GoDuration = text.parse().map_err(|_| {
        "write a time such as 2026-11-27T09:30:00Z, or how long ago, such as 10m or 2h".to_owned()
    })?;
    let span = span.to_std().ok_or("it must not be negative")?;
    let seconds = i64::try_from(span.as_secs()).map_err(|_| "it is too long ago")?;
    let then = Timestamp::now().checked_sub(jiff::Span::new().seconds(seconds));
    let then = then.map_err(|_| "it is too long ago")?;
    Ok(then.round(Unit::Second).unwrap_or(then).to_string())
}

/// Bytes, as people say them.
pub(crate) fn bytes(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people, to one digit")]
    let float = number as f64;
    match number {
        0..=1023 => format!("{number} B"),
        1024..=1_048_575 => format!("{:.1} KiB", float / 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.1} MiB", float / 1_048_576.0),
        _ => format!("{:.1} GiB", float / 1_073_741_824.0),
    }
}

/// A permission on one line.
pub(crate) fn permission(permission: &gk_manifest::Permission) -> String {
    let mut text = permission.kind_name.clone();
    if !permission.access.is_empty() {
        text.push(' ');
        text.push_str(&permission.access);
    }
    match permission.scope.is_empty() {
        true => text,
        false => format!("{text} [{}]", permission.scope.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!(
            [0, 119, 120, 7200, 172_800].map(short),
            ["0s", "119s", "2m", "2h", "2d"]
        );
        assert_eq!([1, 1024, 3 << 20].map(bytes), ["1 B", "1.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago() {
        assert_eq!(
            since("2026-11-27T09:30:00Z").unwrap(),
            "2026-11-27T09:30:00Z"
        );
        let hour: Timestamp = since("1h").unwrap().parse().unwrap();
        let ago = Timestamp::now().as_second() - hour.as_second();
        assert!((3599..3700).contains(&ago), "{ago}");
        assert!(since("yesterday").is_err() && since("-5m").is_err());
    }
}
