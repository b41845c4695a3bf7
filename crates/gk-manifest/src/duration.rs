//! Go's duration syntax (`time.ParseDuration`, `time.Duration.String`), exactly: `300ms`, `-1.5h`,
//! `2h45m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::diagnostic::quoted;

/// A duration as Go has it: signed nanoseconds, about ±292 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not of the form `[+-](number unit)+`.
    #[error("{0} is not a duration")]
    Syntax(String),
    /// A number has no unit.
    #[error("{0} is not a duration: a number has no unit")]
    MissingUnit(String),
    /// A unit is none of Go's.
    #[error("{text} is not a duration: unknown unit {unit}")]
    UnknownUnit {
        /// The whole text, quoted and shortened.
        text: String,
        /// The unit, quoted and shortened.
        unit: String,
    },
    /// More than 64 bits of nanoseconds.
    #[error("{0} is too long a duration: the limit is about 292 years")]
    Overflow(String),
}

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Go's parser works up to 1<<63, so that the most negative duration parses.
const MAGNITUDE_MAX: u64 = 1 << 63;

impl GoDuration {
    /// The syntax, for remedies.
    pub const SYNTAX: &'static str =
        "write a number and a unit (ns, us, ms, s, m, h), such as `30s`, `500ms` or `1m30s`";

    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// As a `std` duration; `None` when negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl TryFrom<Duration> for GoDuration {
    type Error = DurationError;

    fn try_from(duration: Duration) -> Result<Self, DurationError> {
        i64::try_from(duration.as_nanos())
            .map(Self)
            .map_err(|_| DurationError::Overflow(format!("{duration:?}")))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let syntax = || DurationError::Syntax(quoted(text));
        let overflow = || DurationError::Overflow(quoted(text));
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(syntax());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (whole, whole_digits, after) = leading_int(rest).ok_or_else(overflow)?;
            let (fraction, scale, fraction_digits, after) = match after.strip_prefix('.') {
                Some(after) => leading_fraction(after),
                None => (0, 1.0, 0, after),
            };
            if whole_digits + fraction_digits == 0 {
                return Err(syntax());
            }
            let end = after
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(after.len());
            let unit = match &after[..end] {
                "ns" => NANOSECOND,
                // U+00B5 micro sign and U+03BC Greek mu.
                "us" | "µs" | "μs" => MICROSECOND,
                "ms" => MILLISECOND,
                "s" => SECOND,
                "m" => MINUTE,
                "h" => HOUR,
                "" => return Err(DurationError::MissingUnit(quoted(text))),
                unit => {
                    return Err(DurationError::UnknownUnit {
                        text: quoted(text),
                        unit: quoted(unit),
                    });
                }
            };
            rest = &after[end..];
            let mut value = whole
                .checked_mul(unit)
                .filter(|v| *v <= MAGNITUDE_MAX)
                .ok_or_else(overflow)?;
            if fraction > 0 {
                value += scaled(fraction, unit, scale);
            }
            total = total
                .checked_add(value)
                .filter(|v| *v <= MAGNITUDE_MAX)
                .ok_or_else(overflow)?;
        }
        if negative {
            return Ok(Self(
                0_i64.checked_sub_unsigned(total).ok_or_else(overflow)?,
            ));
        }
        i64::try_from(total).map(Self).map_err(|_| overflow())
    }
}

/// The leading digits as a number up to 1<<63, how many there are, and what follows; `None` on
/// overflow.
fn leading_int(text: &str) -> Option<(u64, usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut value: u64 = 0;
    for digit in text.bytes().take(digits) {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))
            .filter(|v| *v <= MAGNITUDE_MAX)?;
    }
    Some((value, digits, &text[digits..]))
}

/// The digits after a decimal point: their value, the power of ten below it, how many there are,
/// what follows. Digits beyond 63 bits are dropped, as Go does.
fn leading_fraction(text: &str) -> (u64, f64, usize, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in text.bytes().take(digits) {
        let next = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')));
        match next.filter(|v| value <= (MAGNITUDE_MAX - 1) / 10 && *v <= MAGNITUDE_MAX) {
            Some(next) => value = next,
            None => break,
        }
        scale *= 10.0;
    }
    (value, scale, digits, &text[digits..])
}

/// `fraction / scale` of a unit, in the float arithmetic Go uses, so that the last digit is the
/// same.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a fraction below 1 of a unit is far below 2^53 nanoseconds; Go rounds the same way"
)]
fn scaled(fraction: u64, unit: u64, scale: f64) -> u64 {
    (fraction as f64 * (unit as f64 / scale)) as u64
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0..MICROSECOND => write!(f, "{nanos}ns"),
            MICROSECOND..MILLISECOND => decimal(f, nanos, MICROSECOND, "µs"),
            MILLISECOND..SECOND => decimal(f, nanos, MILLISECOND, "ms"),
            _ => {
                let (hours, minutes) = (nanos / HOUR, nanos % HOUR / MINUTE);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                decimal(f, nanos % MINUTE, SECOND, "s")
            }
        }
    }
}

/// `nanos` in `unit` as a decimal number without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, suffix: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let (mut fraction, mut width) = (nanos % unit, unit.ilog10() as usize);
    if fraction > 0 {
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        write!(f, ".{fraction:0width$}")?;
    }
    f.write_str(suffix)
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        text: String,
        nanos: Option<i64>,
        display: Option<String>,
    }

    /// `tests/data/durations.jsonl` was written by Go's own `time.ParseDuration` and
    /// `Duration.String`.
    #[test]
    fn agrees_with_go() {
        let vectors = include_str!("../tests/data/durations.jsonl");
        let mut count = 0;
        for line in vectors.lines() {
            let vector: Vector = serde_json::from_str(line).unwrap();
            let parsed = vector.text.parse::<GoDuration>();
            assert_eq!(
                parsed.as_ref().ok().map(|d| d.as_nanos()),
                vector.nanos,
                "{:?}: {parsed:?}",
                vector.text
            );
            if let (Ok(parsed), Some(display)) = (parsed, vector.display) {
                assert_eq!(parsed.to_string(), display, "{:?}", vector.text);
            }
            count += 1;
        }
        assert!(count > 200, "only {count} vectors");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<GoDuration>().unwrap_err().to_string();
        assert_eq!(
            error("30"),
            "\"30\" is not a duration: a number has no unit"
        );
        assert_eq!(
            error("3 s"),
            "\"3 s\" is not a duration: unknown unit \" s\""
        );
        assert_eq!(error(""), "\"\" is not a duration");
        assert!(error("9999999h").contains("292 years"));
    }

    #[test]
    fn std_durations() {
        assert_eq!(
            "1.5s".parse::<GoDuration>().unwrap().to_std(),
            Some(Duration::from_millis(1500))
        );
        assert_eq!("-1s".parse::<GoDuration>().unwrap().to_std(), None);
        assert_eq!(
            GoDuration::try_from(Duration::from_secs(90))
                .unwrap()
                .to_string(),
            "1m30s"
        );
        assert!(GoDuration::try_from(Duration::MAX).is_err());
    }

    proptest! {
        #[test]
        fn display_parses_back(nanos in any::<i64>()) {
            let duration = GoDuration::from_nanos(nanos);
            prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
        }

        #[test]
        fn serde_round_trip(nanos in any::<i64>()) {
            let duration = GoDuration::from_nanos(nanos);
            let json = serde_json::to_string(&duration).unwrap();
            prop_assert_eq!(serde_json::from_str::<GoDuration>(&json).unwrap(), duration);
        }

        #[test]
        fn any_text_is_an_answer(text in any::<String>()) {
            let _ = text.parse::<GoDuration>();
        }

        #[test]
        fn durations_by_grammar(text in "[-+]?([0-9]{0,20}(\\.[0-9]{0,20})?(ns|us|µs|μs|ms|s|m|h|x|)){0,4}") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
