//! A plugin's arguments, and how values of all engines become JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gk_hostapi::HostError;
use serde_json::Value;

/// An argument of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Arg {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond what an [`Arg::Int`] holds.
    Unsigned(u64),
    Float(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Arg {
    /// The bytes that the argument counts in the limit of a statement's arguments.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(blob) => blob.len(),
            _ => 8,
        }
    }
}

pub(super) fn too_many_bytes(bytes_max: usize) -> HostError {
    HostError::limit(format!(
        "the arguments have more than {bytes_max} bytes (limit max_arg_bytes)"
    ))
}

/// Reads a plugin's arguments.
pub(super) fn arguments(
    args: &[Value],
    expected: u16,
    bytes_max: usize,
) -> Result<Vec<Arg>, HostError> {
    if args.len() != usize::from(expected) {
        return Err(HostError::invalid(format!(
            "the statement has {expected} placeholders, and {} arguments were given",
            args.len()
        )));
    }
    let mut bytes = 0;
    let mut read = Vec::with_capacity(args.len());
    for (index, value) in args.iter().enumerate() {
        let arg = argument(value, index + 1)?;
        bytes += arg.bytes();
        if bytes > bytes_max {
            return Err(too_many_bytes(bytes_max));
        }
        read.push(arg);
    }
    Ok(read)
}

fn argument(value: &Value, position: usize) -> Result<Arg, HostError> {
    Ok(match value {
        Value::Null => Arg::Null,
        Value::Bool(value) => Arg::Bool(*value),
        Value::Number(number) => {
            if let Some(int) = number.as_i64() {
                Arg::Int(int)
            } else if let Some(unsigned) = number.as_u64() {
                Arg::Unsigned(unsigned)
            } else {
                Arg::Float(number.as_f64().ok_or_else(|| {
                    HostError::invalid(format!("argument {position} is no number"))
                })?)
            }
        }
        Value::String(text) => Arg::Text(text.clone()),
        Value::Object(object) => match object.get("base64") {
            Some(Value::String(text)) if object.len() == 1 => {
                Arg::Blob(STANDARD.decode(text).map_err(|_| {
                    HostError::invalid(format!("argument {position} is not standard base64"))
                })?)
            }
            _ => return Err(not_a_value(position)),
        },
        Value::Array(_) => return Err(not_a_value(position)),
    })
}

fn not_a_value(position: usize) -> HostError {
    HostError::invalid(format!(
        "argument {position} is an array or an object: an argument is null, a boolean, a number, a string, \
         or {{\"base64\": \"…\"}}"
    ))
}

/// Writes JSON values at the end of a buffer.
#[derive(Debug)]
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Json<'_> {
    pub(super) fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn null(&mut self) {
        self.raw("null");
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    pub(super) fn int(&mut self, value: i64) {
        self.display(value);
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        self.display(value);
    }

    /// The shortest number that reads back the same; JSON has no infinities.
    pub(super) fn float(&mut self, value: f64) {
        if value.is_nan() {
            self.raw("\"NaN\"");
        } else if value.is_infinite() {
            self.raw(if value > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            });
        } else {
            // Writing to a Vec does not fail, and neither does a finite number.
            let _ = serde_json::to_writer(&mut *self.0, &value);
        }
    }

    pub(super) fn single(&mut self, value: f32) {
        if value.is_finite() {
            let _ = serde_json::to_writer(&mut *self.0, &value);
        } else {
            self.float(f64::from(value));
        }
    }

    pub(super) fn text(&mut self, value: &str) {
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    /// Text that needs no escape.
    pub(super) fn plain(&mut self, value: impl std::fmt::Display) {
        self.raw("\"");
        self.display(value);
        self.raw("\"");
    }

    pub(super) fn blob(&mut self, value: &[u8]) {
        self.raw("\"");
        self.0.extend_from_slice(STANDARD.encode(value).as_bytes());
        self.raw("\"");
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        use std::io::Write;
        let _ = write!(self.0, "{value}");
    }
}

/// Digits behind the second, without zeros at the end: `.5`, or nothing.
pub(super) fn fraction(micros: u32) -> String {
    if micros == 0 {
        return String::new();
    }
    let digits = format!(".{micros:06}");
    digits.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_keep_their_bits() {
        let given = [
            json!(null),
            json!(true),
            json!(i64::MIN),
            json!(9_007_199_254_740_993_i64),
            json!(u64::MAX),
            json!(0.1),
            json!("text"),
            json!({"base64": "AP8="}),
        ];
        let expected = [
            Arg::Null,
            Arg::Bool(true),
            Arg::Int(i64::MIN),
            Arg::Int(9_007_199_254_740_993),
            Arg::Unsigned(u64::MAX),
            Arg::Float(0.1),
            Arg::Text("text".to_owned()),
            Arg::Blob(vec![0, 255]),
        ];
        assert_eq!(arguments(&given, 8, 1000).unwrap(), expected);
    }

    #[test]
    fn other_arguments_are_refused_by_position() {
        for value in [
            json!([1]),
            json!({}),
            json!({"base64": 1}),
            json!({"base64": "AA==", "more": 1}),
        ] {
            let error = arguments(&[json!(1), value], 2, 1000).unwrap_err();
            assert!(error.to_string().starts_with("argument 2 is"), "{error}");
        }
        let error = arguments(&[json!({"base64": "?"})], 1, 1000).unwrap_err();
        assert_eq!(error.to_string(), "argument 1 is not standard base64");
        let error = arguments(&[json!(1)], 2, 1000).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("2 placeholders, and 1 arguments")
        );
        assert!(arguments(&[json!("12345")], 1, 5).is_ok());
        let error = arguments(&[json!("123456")], 1, 5).unwrap_err();
        assert!(error.to_string().contains("max_arg_bytes"), "{error}");
    }

    #[test]
    fn fractions() {
        assert_eq!(fraction(0), "");
        assert_eq!(fraction(500_000), ".5");
        assert_eq!(fraction(1), ".000001");
    }
}
