//! Arguments and results of methods as JSON.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::HostError;

/// The most values, values within others included, of a request's arguments: more than any service
/// takes.
pub const VALUES_MAX: usize = 64 * 1024;

/// Reads the arguments of a request. A plugin's mistake is told as serde puts it, with line and
/// column.
///
/// # Errors
/// Invalid: the arguments cannot be read. Limit: they have more than [`VALUES_MAX`] values; then
/// they are not read at all.
pub fn read<'a, T: Deserialize<'a>>(args: &'a [u8]) -> Result<T, HostError> {
    // A value takes two bytes of JSON, and many times that in memory.
    if args.len() / 2 > VALUES_MAX && values(args) > VALUES_MAX {
        return Err(HostError::limit(format!(
            "the arguments have more than {VALUES_MAX} values"
        )));
    }
    serde_json::from_slice(args).map_err(|error| HostError::invalid(format!("arguments: {error}")))
}

/// Writes the result of a request.
///
/// # Errors
/// Failed: the value has no form in JSON.
pub fn write(value: &impl Serialize) -> Result<Bytes, HostError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| HostError::failed(format!("the result cannot be written: {error}")))
}

/// How many values JSON has, or at least: each but the first of an array or object follows a comma.
fn values(json: &[u8]) -> usize {
    let (mut count, mut bytes) = (1, json.iter().copied());
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'[' | b'{' => count += 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    count
}

/// Goes to the end of a JSON string that has begun.
fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// How many elements a JSON array has, whatever is in them, without reading them; 0 of anything
/// else.
#[must_use]
pub fn elements(json: &str) -> usize {
    let Some(content) = json.trim_ascii_start().strip_prefix('[') else {
        return 0;
    };
    let (mut count, mut depth, mut is_empty) = (1, 1_usize, true);
    let mut bytes = content.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b']' if depth == 1 => break,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'[' | b'{' => depth += 1,
            b',' if depth == 1 => count += 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        is_empty &= byte.is_ascii_whitespace();
    }
    if is_empty { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (json, count) in [
            ("1", 1),
            ("[1,2,[3]]", 5),
            (r#"{"a":1,"b":[]}"#, 4),
            (r#"[",,[[{",",\",,"]"#, 3),
            (r#"["\\",1]"#, 3),
            (r#"["unfinished,,\"#, 2),
        ] {
            assert_eq!(values(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn elements_are_counted_whatever_is_in_them() {
        for (json, count) in [
            ("null", 0),
            ("{}", 0),
            ("[]", 0),
            ("[ \n ]", 0),
            ("[1]", 1),
            (" [1,2,[3,4],{\"a\":5,\"b\":6}]", 4),
            (r#"[",","\",]","[",{"base64":","}]"#, 4),
            ("[[]]", 1),
        ] {
            assert_eq!(elements(json), count, "{json}");
        }
    }

    /// 64 MiB of `[0,0,…` were gigabytes of values, before the first of them was looked at.
    #[test]
    fn arguments_of_many_values_are_refused_unread() {
        let args = |numbers: usize| {
            let numbers = vec!["0"; numbers].join(",");
            format!(r#"{{"key":"k","args":[{numbers}]}}"#)
        };
        // The object, its two members and the array: the array's first number has no comma of its
        // own.
        let most = args(VALUES_MAX - 3);
        assert_eq!(values(most.as_bytes()), VALUES_MAX);
        read::<serde_json::Value>(most.as_bytes()).unwrap();
        let more = args(VALUES_MAX - 2);
        let error = read::<serde_json::Value>(more.as_bytes()).err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Limit);
        // Large values are not many.
        let long = format!(r#"{{"key":"{}","args":[]}}"#, "a,".repeat(VALUES_MAX));
        read::<serde_json::Value>(long.as_bytes()).unwrap();
    }
}
