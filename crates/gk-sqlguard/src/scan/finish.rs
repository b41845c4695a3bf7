//! The last reading: the text that the guard wrote, as the engine will read it.

use super::is_word;
use crate::dialect::Dialect;
use crate::refusal::Refusal;
use crate::{literals, rewrite};

/// Reads the text that the host wrote, as the engine will, and gives it its final form: names and
/// strings are closed, nothing is a comment, nothing ends the statement, and the placeholders stand
/// in the plugin's order.
pub(crate) fn finish(
    dialect: Dialect,
    written: &str,
    placeholders: u16,
) -> Result<String, Refusal> {
    let garbled = || Refusal::unclear("something that the host cannot write down again");
    let mut out = String::with_capacity(written.len());
    let mut rest = written;
    let mut seen = 0_u16;
    while let Some(first) = rest.chars().next() {
        let second = rest[first.len_utf8()..].chars().next().unwrap_or('\0');
        let mut length = first.len_utf8();
        if first == '\'' {
            // Quotes in it have stand-ins.
            let end = rest[1..].find('\'').ok_or_else(garbled)?;
            let content = &rest[1..=end];
            rest = &rest[end + 2..];
            if out.ends_with(is_word) {
                // Behind a prefix PostgreSQL leaves no way to say what a backslash is.
                let is_clear =
                    dialect != Dialect::Postgres || !literals::content(content).contains('\\');
                if !has_known_prefix(dialect, &out) || !is_clear {
                    return Err(garbled());
                }
                literals::escape(dialect, content, &mut out)?;
            } else {
                literals::escape(dialect, content, &mut out)?;
            }
            if rest.starts_with('\'') {
                return Err(garbled());
            }
            continue;
        } else if dialect == Dialect::Sqlite
            && let Some((word, mark)) = rewrite::null_tests(rest)
        {
            out.push_str(word);
            rest = &rest[mark..];
            continue;
        } else if first == dialect.quote() {
            let content = &rest[1..];
            let end = content.find(first).ok_or_else(garbled)?;
            if literals::has_stand_in(&content[..end]) {
                return Err(garbled());
            }
            length = end + 2;
        } else if first == dialect.placeholder() {
            let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
            seen += 1;
            if rest[1..=digits].parse() != Ok(seen) {
                return Err(garbled());
            }
            length = digits + 1;
            if dialect == Dialect::Mysql {
                out.push('?');
                rest = &rest[length..];
                continue;
            }
        } else {
            let postgres = dialect == Dialect::Postgres;
            let is_fine = match (first, second) {
                ('-', '-') | ('/', '*') => false,
                // Operators of PostgreSQL's JSON.
                ('?', _) => postgres && !second.is_ascii_digit(),
                ('@' | '#' | ':' | '[' | ']', _) => postgres,
                (' ', _) => true,
                _ => {
                    first.is_ascii_graphic()
                        && !matches!(first, ';' | '\\' | '$' | '{' | '}' | '`' | '"')
                }
            };
            if !is_fine {
                return Err(garbled());
            }
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    if seen != placeholders {
        return Err(garbled());
    }
    Ok(out)
}

/// Returns whether a text ends with the letter of a string without escapes: `X`, `B` or `N`.
fn has_known_prefix(dialect: Dialect, text: &str) -> bool {
    let known: &[char] = match dialect {
        Dialect::Sqlite => &['X'],
        Dialect::Postgres | Dialect::Mysql => &['X', 'B', 'N'],
    };
    let word = text.rsplit(|c| !is_word(c)).next().unwrap_or_default();
    let mut letters = word.chars();
    matches!((letters.next(), letters.next()), (Some(letter), None) if known.contains(&letter))
}
