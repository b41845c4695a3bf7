//! Classifies lines of output: an hclog record, a prefixed line, part of a panic's trace, or plain
//! text.
//!
//! All input comes from a plugin and is checked: a JSON line that is not a proper record is text,
//! and records are bounded.

use gk_hostapi::LogLevel;
use serde_json::Value;

use super::cut;
use super::sink::Record;
use crate::limits::{
    LOG_FIELD_NAME_BYTES_MAX, LOG_FIELD_VALUE_BYTES_MAX, LOG_FIELDS_MAX, LOG_LINE_BYTES_MAX,
};

/// Classifies the lines of one stream; remembers if a panic's trace is being printed.
#[derive(Debug)]
pub(crate) struct Classifier {
    default: LogLevel,
    in_panic: bool,
}

impl Classifier {
    /// Creates a classifier. `default` is the level of a line that has none of its own.
    pub(crate) fn new(default: LogLevel) -> Self {
        Self {
            default,
            in_panic: false,
        }
    }

    /// Passes the content of a line to `take`: one record, or several if a text is too long for one
    /// entry.
    pub(crate) fn classify(&mut self, line: &[u8], mut take: impl FnMut(Record)) {
        let text = String::from_utf8_lossy(line);
        if let Some(record) = hclog(&text) {
            self.in_panic = false;
            return take(record);
        }
        let (level, message) = match prefixed(&text) {
            Some(found) => found,
            None => {
                self.in_panic |= starts_panic(&text);
                (
                    if self.in_panic {
                        LogLevel::Error
                    } else {
                        self.default
                    },
                    &*text,
                )
            }
        };
        let mut rest = message;
        loop {
            let piece = cut(rest, LOG_LINE_BYTES_MAX);
            take(Record::text(level, printable(piece)));
            rest = &rest[piece.len()..];
            if rest.is_empty() {
                return;
            }
        }
    }
}

fn starts_panic(text: &str) -> bool {
    text.starts_with("panic: ")
        || text.starts_with("fatal error: ")
        || (text.starts_with("thread '") && text.contains("panicked at"))
}

/// Parses `[WARN] text` and its like, as Go's log filters write them.
fn prefixed(text: &str) -> Option<(LogLevel, &str)> {
    let (name, rest) = text.strip_prefix('[')?.split_once(']')?;
    let level = match name {
        "TRACE" => LogLevel::Trace,
        "DEBUG" => LogLevel::Debug,
        "INFO" => LogLevel::Info,
        "WARN" => LogLevel::Warn,
        "ERROR" => LogLevel::Error,
        _ => return None,
    };
    Some((level, rest.trim_start()))
}

/// Parses a line of hclog's JSON format: an object whose `@message` is a string and whose `@level`,
/// if there is one, is a known level.
fn hclog(text: &str) -> Option<Record> {
    if !text.starts_with('{') {
        return None;
    }
    let Value::Object(object) = serde_json::from_str(text).ok()? else {
        return None;
    };
    let message = object.get("@message")?.as_str()?;
    let level = match object.get("@level") {
        None => LogLevel::Debug,
        Some(level) => LogLevel::parse(level.as_str()?)?,
    };
    let mut record = Record::text(level, printable(message));
    if let Some(module) = object.get("@module").and_then(Value::as_str) {
        record.push_field("module", &Value::from(module));
    }
    for (name, value) in &object {
        if !name.starts_with('@') {
            record.push_field(name, value);
        }
    }
    Some(record)
}

/// Escapes control characters: a plugin writes to the log, not to the operator's terminal.
pub(crate) fn printable(text: &str) -> String {
    if text.chars().all(|c| !c.is_control() || c == '\t') {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let plain = !c.is_control() || c == '\t';
            let escaped = (!plain).then(|| c.escape_default());
            plain
                .then_some(c)
                .into_iter()
                .chain(escaped.into_iter().flatten())
        })
        .collect()
}

impl Record {
    /// Adds a field, within the limits.
    pub(crate) fn push_field(&mut self, name: &str, value: &Value) {
        if self.fields.len() >= LOG_FIELDS_MAX
            || name.is_empty()
            || name.len() > LOG_FIELD_NAME_BYTES_MAX
        {
            return;
        }
        let text = match value {
            Value::String(text) => printable(cut(text, LOG_FIELD_VALUE_BYTES_MAX)),
            other => printable(cut(&other.to_string(), LOG_FIELD_VALUE_BYTES_MAX)),
        };
        self.fields.push((printable(name), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(classifier: &mut Classifier, line: &[u8]) -> Record {
        let mut records = Vec::new();
        classifier.classify(line, |record| records.push(record));
        assert_eq!(records.len(), 1);
        records.remove(0)
    }

    /// go-plugin reads lines of up to 64 KiB.
    #[test]
    fn a_long_record_is_one_entry_and_a_long_text_several() {
        let mut classifier = Classifier::new(LogLevel::Debug);
        let long = "é".repeat(10_000);
        let line = format!(r#"{{"@level":"error","@message":"{long}","k":"v"}}"#);
        let record = only(&mut classifier, line.as_bytes());
        assert_eq!(
            (record.level, record.message),
            (LogLevel::Error, long.clone())
        );
        let mut text = String::new();
        let mut count = 0;
        classifier.classify(long.as_bytes(), |record| {
            assert!(record.message.len() <= LOG_LINE_BYTES_MAX);
            text.push_str(&record.message);
            count += 1;
        });
        assert_eq!((text, count), (long, 2));
    }

    fn one(line: &str) -> (LogLevel, String, Vec<(String, String)>) {
        let record = only(&mut Classifier::new(LogLevel::Debug), line.as_bytes());
        (record.level, record.message, record.fields)
    }

    #[test]
    fn levels_of_plain_lines() {
        for (line, level, message) in [
            ("plain", LogLevel::Debug, "plain"),
            ("[TRACE] t", LogLevel::Trace, "t"),
            ("[INFO] i", LogLevel::Info, "i"),
            ("[WARN]w", LogLevel::Warn, "w"),
            ("[ERROR] e", LogLevel::Error, "e"),
            ("[OTHER] o", LogLevel::Debug, "[OTHER] o"),
            ("panic: boom", LogLevel::Error, "panic: boom"),
            (
                "fatal error: all goroutines are asleep",
                LogLevel::Error,
                "fatal error: all goroutines are asleep",
            ),
            (
                "thread 'main' (7) panicked at src/main.rs:1:1:",
                LogLevel::Error,
                "thread 'main' (7) panicked at src/main.rs:1:1:",
            ),
        ] {
            assert_eq!(one(line), (level, message.to_owned(), vec![]), "{line}");
        }
    }

    #[test]
    fn a_trace_after_a_panic_is_an_error_until_the_next_record() {
        let mut classifier = Classifier::new(LogLevel::Debug);
        let mut level = |line: &str| only(&mut classifier, line.as_bytes()).level;
        assert_eq!(level("before"), LogLevel::Debug);
        assert_eq!(level("panic: boom"), LogLevel::Error);
        assert_eq!(level("goroutine 1 [running]:"), LogLevel::Error);
        assert_eq!(
            level(r#"{"@level":"info","@message":"alive"}"#),
            LogLevel::Info
        );
        assert_eq!(level("after"), LogLevel::Debug);
    }

    #[test]
    fn hclog_records_keep_their_fields() {
        let (level, message, fields) = one(
            r#"{"@level":"warn","@message":"low","@module":"m","@timestamp":"2026-11-22T00:00:00Z","free":3,"disk":"a"}"#,
        );
        assert_eq!((level, message.as_str()), (LogLevel::Warn, "low"));
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(fields, [("module", "m"), ("disk", "a"), ("free", "3")]);
    }

    #[test]
    fn what_is_no_proper_record_is_text() {
        for line in [
            r#"{"@message":1}"#,
            r#"{"@level":"info"}"#,
            r#"{"@level":7,"@message":"m"}"#,
            r#"{"@level":"loud","@message":"m"}"#,
            r#"{"@level":"info","@message":"m""#,
            r#"["@message"]"#,
            "{",
        ] {
            assert_eq!(
                one(line),
                (LogLevel::Debug, line.to_owned(), vec![]),
                "{line}"
            );
        }
        // Deep nesting must be an error of the parser's, not a stack overflow.
        let deep = format!("{}{}", r#"{"@message":"m","a":"#, "[".repeat(10_000));
        assert_eq!(one(&deep).0, LogLevel::Debug);
    }

    #[test]
    fn fields_are_bounded() {
        let many: Vec<String> = (0..100)
            .map(|n| format!(r#""k{n}":"{}""#, "v".repeat(5000)))
            .collect();
        let (_, _, fields) = one(&format!(r#"{{"@message":"m",{}}}"#, many.join(",")));
        assert_eq!(fields.len(), LOG_FIELDS_MAX);
        assert!(
            fields
                .iter()
                .all(|(_, value)| value.len() <= LOG_FIELD_VALUE_BYTES_MAX)
        );
        let (_, _, fields) = one(&format!(r#"{{"@message":"m","{}":1}}"#, "k".repeat(500)));
        assert_eq!(fields, []);
    }

    #[test]
    fn terminals_are_not_written_to() {
        assert_eq!(one("\x1b[2Jgone").1, "\\u{1b}[2Jgone");
        assert_eq!(one("{\"@message\":\"a\\u001bb\"}").1, "a\\u{1b}b");
        assert_eq!(
            only(&mut Classifier::new(LogLevel::Debug), b"\xff\xfe").message,
            "\u{fffd}\u{fffd}"
        );
    }
}
