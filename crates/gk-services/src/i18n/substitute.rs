//! Arguments in texts.

use serde_json::Value;

/// Most arguments of a text; further ones are not put in.
pub const ARGS_MAX: usize = 32;
/// Longest text with its arguments, in bytes; what is longer is cut.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Puts arguments into a text, in one pass over the text.
pub(super) fn substitute(text: &str, args: &[Value]) -> String {
    let mut output = Output::default();
    if args.is_empty() {
        output.push(text);
        return output.0;
    }
    let args = &args[..args.len().min(ARGS_MAX)];
    let mut turn = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '%']) {
        output.push(&rest[..at]);
        rest = &rest[at..];
        let (argument, length) = match place(rest) {
            Some((Place::Percent, length)) => {
                output.push("%");
                rest = &rest[length..];
                continue;
            }
            Some((Place::Number(n), length)) => (args.get(n), length),
            Some((Place::Next, length)) => {
                turn += 1;
                (args.get(turn - 1), length)
            }
            // Just a brace or a percent sign.
            None => (None, 1),
        };
        match argument {
            Some(Value::String(text)) => output.push(text),
            Some(Value::Null) => {}
            Some(other) => output.push(&other.to_string()),
            None => output.push(&rest[..length]),
        }
        rest = &rest[length..];
    }
    output.push(rest);
    output.0
}

enum Place {
    Number(usize),
    Next,
    Percent,
}

/// The place that a text begins with, if its brace or percent sign is one, and its length.
fn place(text: &str) -> Option<(Place, usize)> {
    match text.as_bytes() {
        [b'%', b'%', ..] => Some((Place::Percent, 2)),
        [b'%', b's' | b'd' | b'v', ..] => Some((Place::Next, 2)),
        [b'{', digits @ ..] => {
            let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=2).contains(&count) || digits.get(count) != Some(&b'}') {
                return None;
            }
            let number = text.get(1..=count)?.parse().ok()?;
            Some((Place::Number(number), count + 2))
        }
        _ => None,
    }
}

/// A text that does not grow without end, whatever is put into it.
#[derive(Default)]
struct Output(String);

impl Output {
    fn push(&mut self, text: &str) {
        let mut length = text.len().min(OUTPUT_BYTES_MAX - self.0.len());
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        self.0.push_str(&text[..length]);
    }
}
