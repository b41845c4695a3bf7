//! Strings in all the forms that engines know, read by each engine's own rules.
//!
//! What comes of a string is its content. The guard hands it to the parser as a plain string in
//! which quotes, backslashes and NUL have stand-ins: no reader in between then has anything to
//! escape, or to undo. [`escape`] writes the content so that the engine reads the same string
//! whatever its session says of backslashes.

use std::borrow::Cow;

use crate::dialect::Dialect;
use crate::refusal::Refusal;

/// Stand-ins: code points that no text may hold, as Unicode keeps them for a program's own use.
const STAND_INS: [(char, char); 3] = [('\'', '\u{fdd0}'), ('\\', '\u{fdd1}'), ('\0', '\u{fdd2}')];

/// Character sets that MySQL's introducers may name: the string's bytes mean the same in all of
/// them, or are bytes.
const INTRODUCERS: &[&str] = &[
    "_ascii", "_binary", "_latin1", "_utf8", "_utf8mb3", "_utf8mb4",
];

/// How a string is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In these quotes; MySQL knows backslash escapes there.
    Plain(char),
    /// PostgreSQL's `E'…'`.
    Escape,
    /// PostgreSQL's `U&'…'`.
    Unicode,
    /// PostgreSQL's `$tag$…$tag$`.
    Dollar,
}

/// The meaning of a quote behind a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// A string of that form, which begins behind the word.
    String(Form),
    /// A name in `U&"…"`.
    Name,
    /// `X'…'` or `B'…'`.
    Digits(char),
    /// A prefix that the engine has to see: `N'…'`, `_utf8mb4'…'`.
    Kept,
}

/// The stand-in of a character of a string, which is the character itself for all but three.
pub(crate) fn stand_in(c: char) -> char {
    STAND_INS
        .iter()
        .find(|(plain, _)| *plain == c)
        .map_or(c, |(_, stand_in)| *stand_in)
}

/// Returns whether a text has a code point that stands for another one.
pub(crate) fn has_stand_in(text: &str) -> bool {
    !text.is_ascii() && text.contains(is_stand_in)
}

/// Returns whether this code point is one of the stand-ins.
pub(crate) fn is_stand_in(c: char) -> bool {
    ('\u{fdd0}'..='\u{fdef}').contains(&c)
}

/// A string's content, from the text that stands for it.
pub(crate) fn content(text: &str) -> Cow<'_, str> {
    if !has_stand_in(text) {
        return Cow::Borrowed(text);
    }
    let plain = |c: char| {
        let known = STAND_INS.iter().find(|(_, stand_in)| *stand_in == c);
        known.map_or(c, |(plain, _)| *plain)
    };
    Cow::Owned(text.chars().map(plain).collect())
}

/// Writes a string for the engine. Every quote is doubled and every backslash is escaped, so that
/// the string ends where it should whether the session takes backslashes for escapes or not.
///
/// # Errors
///
/// The engine has no way to write it.
pub(crate) fn escape(dialect: Dialect, text: &str, out: &mut String) -> Result<(), Refusal> {
    let text = content(text);
    let backslashes = text.contains(['\\', '\0']);
    if dialect == Dialect::Postgres && backslashes {
        // In plain strings a setting says what a backslash is; here it always is an escape.
        out.push('E');
    }
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' if dialect != Dialect::Sqlite => out.push_str("\\\\"),
            '\0' if dialect == Dialect::Mysql => out.push_str("\\0"),
            '\0' => return Err(Refusal::unclear("a NUL character")),
            c => out.push(c),
        }
    }
    out.push('\'');
    Ok(())
}

/// The meaning of the quote that `rest` begins with behind `word`, if there is a quote.
///
/// # Errors
///
/// A prefix that is not for plugins.
pub(crate) fn prefix(dialect: Dialect, word: &str, rest: &str) -> Result<Option<Prefix>, Refusal> {
    let quote = rest.chars().next();
    let is_string = quote == Some('\'') || (quote == Some('"') && dialect == Dialect::Mysql);
    let letter = match word.as_bytes() {
        [letter] => letter.to_ascii_uppercase(),
        _ => 0,
    };
    Ok(match (dialect, letter) {
        (Dialect::Postgres, b'U') if rest.starts_with("&'") => Some(Prefix::String(Form::Unicode)),
        (Dialect::Postgres, b'U') if rest.starts_with("&\"") => Some(Prefix::Name),
        _ if !is_string => None,
        (Dialect::Postgres, b'E') => Some(Prefix::String(Form::Escape)),
        (_, b'X') => Some(Prefix::Digits('X')),
        (Dialect::Postgres | Dialect::Mysql, b'B') => Some(Prefix::Digits('B')),
        (Dialect::Postgres | Dialect::Mysql, b'N') => Some(Prefix::Kept),
        (Dialect::Mysql, _) if word.starts_with('_') => {
            if !INTRODUCERS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(word))
            {
                return Err(Refusal::denied(format!("the character set {word}")));
            }
            Some(Prefix::Kept)
        }
        _ => None,
    })
}

/// Reads the string that `text` begins with, and what the engine takes for its continuation.
/// Returns its content, and what follows it.
///
/// # Errors
///
/// It does not end, or holds what the engine would refuse.
pub(crate) fn read(dialect: Dialect, form: Form, text: &str) -> Result<(String, &str), Refusal> {
    let (mut all, mut rest) = match form {
        Form::Dollar => return dollar(text),
        Form::Unicode => part(dialect, form, &text[1..])?,
        _ => part(dialect, form, text)?,
    };
    while let Some(next) = continuation(dialect, rest)? {
        let (more, after) = part(dialect, form, next)?;
        // MySQL continues a string in either quotes.
        all.push_str(&more);
        rest = after;
    }
    if form == Form::Unicode {
        let (escape, after) = uescape(rest)?;
        all = unicode(&all, escape)?;
        rest = after;
    }
    if has_stand_in(&all) {
        return Err(Refusal::unclear(
            "a noncharacter of Unicode in a string: pass the string as an argument",
        ));
    }
    if dialect != Dialect::Mysql && all.contains('\0') {
        return Err(Refusal::invalid("a NUL character in a string"));
    }
    Ok((all, rest))
}

/// A name in `U&"…"`, at its `&`.
///
/// # Errors
///
/// It does not end, or its escapes are none.
pub(crate) fn unicode_name(text: &str) -> Result<(String, &str), Refusal> {
    let (content, rest) = quoted(&text[2..], '"')?;
    let (escape, rest) = uescape(rest)?;
    Ok((unicode(content, escape)?, rest))
}

/// The content of what is in quotes, up to the quote that is not doubled, and what follows it.
///
/// # Errors
///
/// It does not end.
pub(crate) fn quoted(text: &str, quote: char) -> Result<(&str, &str), Refusal> {
    let mut at = 0;
    loop {
        let Some(found) = text[at..].find(quote) else {
            return Err(endless());
        };
        at += found + 1;
        if quote != ']' && text[at..].starts_with(quote) {
            at += 1;
            continue;
        }
        return Ok((&text[..at - 1], &text[at..]));
    }
}

fn endless() -> Refusal {
    Refusal::unclear("a quote that does not end")
}

/// A string, up to its closing quote.
fn part(dialect: Dialect, form: Form, text: &str) -> Result<(String, &str), Refusal> {
    let quote = text.chars().next().ok_or_else(endless)?;
    let escapes = form == Form::Escape || dialect == Dialect::Mysql;
    if !escapes {
        let (content, rest) = quoted(&text[1..], quote)?;
        return Ok((content.replace("''", "'"), rest));
    }
    let mut bytes = Vec::new();
    let mut rest = &text[1..];
    loop {
        let next = rest.find([quote, '\\']).ok_or_else(endless)?;
        bytes.extend_from_slice(&rest.as_bytes()[..next]);
        let sign = rest[next..].chars().next().ok_or_else(endless)?;
        rest = &rest[next + 1..];
        if sign == quote {
            match rest.strip_prefix(quote) {
                Some(after) => {
                    bytes.push(u8::try_from(quote).map_err(|_| endless())?);
                    rest = after;
                }
                None => break,
            }
        } else if dialect == Dialect::Mysql {
            rest = mysql_escape(rest, &mut bytes)?;
        } else {
            rest = postgres_escape(rest, &mut bytes)?;
        }
    }
    let content = String::from_utf8(bytes)
        .map_err(|_| Refusal::invalid("the escapes of a string make no UTF-8"))?;
    Ok((content, rest))
}

/// Behind a backslash: the manual's table of special character escape sequences.
fn mysql_escape<'a>(text: &'a str, out: &mut Vec<u8>) -> Result<&'a str, Refusal> {
    let escaped = text.chars().next().ok_or_else(endless)?;
    let plain = match escaped {
        '0' => '\0',
        'b' => '\u{8}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'Z' => '\u{1a}',
        other => other,
    };
    if matches!(escaped, '%' | '_') {
        // For LIKE, which undoes them itself.
        out.push(b'\\');
    }
    out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(&text[escaped.len_utf8()..])
}

/// Behind a backslash: the manual's table of C-style escapes.
fn postgres_escape<'a>(text: &'a str, out: &mut Vec<u8>) -> Result<&'a str, Refusal> {
    let escaped = text.chars().next().ok_or_else(endless)?;
    let rest = &text[escaped.len_utf8()..];
    let count = |text: &str, most: usize, radix: u32| {
        let digits = text.chars().take(most);
        digits.take_while(|digit| digit.is_digit(radix)).count()
    };
    let plain = match escaped {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0'..='7' => {
            let length = count(text, 3, 8);
            let value = u32::from_str_radix(&text[..length], 8).unwrap_or_default();
            // As the engine does: the lower eight bits.
            out.push(value.to_le_bytes()[0]);
            return Ok(&text[length..]);
        }
        'x' if count(rest, 2, 16) > 0 => {
            let length = count(rest, 2, 16);
            out.push(u8::from_str_radix(&rest[..length], 16).unwrap_or_default());
            return Ok(&rest[length..]);
        }
        'u' | 'U' => {
            let length = if escaped == 'u' { 4 } else { 8 };
            let (value, mut rest) = hex(rest, length)?;
            let (c, after) = match value {
                0xd800..=0xdbff => {
                    let second = rest.strip_prefix('\\').unwrap_or_default();
                    let length = match second.chars().next() {
                        Some('u') => 4,
                        Some('U') => 8,
                        _ => return Err(surrogate()),
                    };
                    let (low, after) = hex(&second[1..], length)?;
                    (pair(value, low)?, after)
                }
                value => (char::from_u32(value).ok_or_else(surrogate)?, rest),
            };
            rest = after;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(rest);
        }
        other => other,
    };
    out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

/// So many hexadecimal digits, no fewer.
fn hex(text: &str, digits: usize) -> Result<(u32, &str), Refusal> {
    let number = text.get(..digits).filter(|text| {
        let mut digits = text.bytes();
        digits.all(|digit| digit.is_ascii_hexdigit())
    });
    let number = number.and_then(|number| u32::from_str_radix(number, 16).ok());
    match number {
        Some(value) => Ok((value, &text[digits..])),
        None => Err(Refusal::invalid("a Unicode escape without its digits")),
    }
}

fn pair(high: u32, low: u32) -> Result<char, Refusal> {
    if !(0xdc00..=0xdfff).contains(&low) {
        return Err(surrogate());
    }
    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or_else(surrogate)
}

fn surrogate() -> Refusal {
    Refusal::invalid("a Unicode escape that is no character")
}

/// Undoes the escapes of `U&'…'`.
fn unicode(text: &str, escape: char) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let one = |rest: &str| match rest.strip_prefix('+') {
        Some(rest) => hex(rest, 6).map(|(value, after)| (value, after.len())),
        None => hex(rest, 4).map(|(value, after)| (value, after.len())),
    };
    while let Some(at) = rest.find(escape) {
        out.push_str(&rest[..at]);
        rest = &rest[at + escape.len_utf8()..];
        if let Some(after) = rest.strip_prefix(escape) {
            out.push(escape);
            rest = after;
            continue;
        }
        let (value, left) = one(rest)?;
        rest = &rest[rest.len() - left..];
        out.push(match value {
            0xd800..=0xdbff => {
                let second = rest.strip_prefix(escape).ok_or_else(surrogate)?;
                let (low, left) = one(second)?;
                rest = &second[second.len() - left..];
                pair(value, low)?
            }
            value => char::from_u32(value).ok_or_else(surrogate)?,
        });
    }
    out.push_str(rest);
    Ok(out)
}

/// `UESCAPE 'c'` behind a string or name; without it the escape is the backslash.
fn uescape(text: &str) -> Result<(char, &str), Refusal> {
    let blank = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let is_there = blank
        .get(..7)
        .is_some_and(|word| word.eq_ignore_ascii_case("UESCAPE"));
    if !is_there {
        return Ok(('\\', text));
    }
    let quoted = blank[7..].trim_start_matches([' ', '\t', '\r', '\n']);
    let mut signs = quoted.chars();
    match (signs.next(), signs.next(), signs.next()) {
        (Some('\''), Some(escape), Some('\''))
            if !escape.is_ascii_hexdigit()
                && !escape.is_whitespace()
                && !matches!(escape, '+' | '\'' | '"') =>
        {
            Ok((escape, &quoted[2 + escape.len_utf8()..]))
        }
        _ => Err(Refusal::invalid("UESCAPE takes one character in quotes")),
    }
}

/// `$tag$…$tag$`.
fn dollar(text: &str) -> Result<(String, &str), Refusal> {
    let none =
        || Refusal::unclear("a $ outside of quotes: placeholders are ?, counted from the left");
    let tag = text[1..].find('$').ok_or_else(none)?;
    let (tag, body) = text.split_at(tag + 2);
    let name = &tag[1..tag.len() - 1];
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(none());
    }
    let end = body.find(tag).ok_or_else(endless)?;
    if has_stand_in(&body[..end]) {
        return Err(Refusal::unclear("a noncharacter of Unicode in a string"));
    }
    Ok((body[..end].to_owned(), &body[end + tag.len()..]))
}

/// The string that continues the one before `text`, if the engine takes it for that.
///
/// # Errors
///
/// PostgreSQL would see two strings in a row, which is nothing.
fn continuation(dialect: Dialect, text: &str) -> Result<Option<&str>, Refusal> {
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut rest = text.trim_start_matches(is_blank);
    match dialect {
        Dialect::Sqlite => Ok(None),
        Dialect::Mysql => Ok(rest.starts_with(['\'', '"']).then_some(rest)),
        Dialect::Postgres => {
            // With comments of one line in between, after which there is a new line.
            while let Some(comment) = rest.strip_prefix("--") {
                let Some(end) = comment.find('\n') else {
                    return Ok(None);
                };
                rest = comment[end..].trim_start_matches(is_blank);
            }
            if !rest.starts_with('\'') {
                return Ok(None);
            }
            if !text[..text.len() - rest.len()].contains('\n') {
                return Err(Refusal::invalid(
                    "two strings without a new line between them",
                ));
            }
            Ok(Some(rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(dialect: Dialect, form: Form, text: &str) -> Option<String> {
        let (content, rest) = read(dialect, form, text).ok()?;
        assert_eq!(rest, "", "{text}");
        Some(content)
    }

    #[test]
    fn escapes_by_the_manuals() {
        use Dialect::{Mysql, Postgres, Sqlite};
        for (dialect, form, text, expected) in [
            (Sqlite, Form::Plain('\''), r"'it''s \n'", Some(r"it's \n")),
            (
                Mysql,
                Form::Plain('\''),
                r"'it\'s \n\t\q'",
                Some("it's \n\tq"),
            ),
            (Mysql, Form::Plain('\''), r"'a\%\_\\'", Some(r"a\%\_\")),
            (Mysql, Form::Plain('"'), r#""a""b'c\"""#, Some("a\"b'c\"")),
            (Mysql, Form::Plain('\''), "'a' \"b\"\n'c'", Some("abc")),
            (Mysql, Form::Plain('\''), r"'\0'", Some("\0")),
            (Mysql, Form::Plain('\''), r"'\'", None),
            (Postgres, Form::Plain('\''), r"'a\n'", Some(r"a\n")),
            (Postgres, Form::Plain('\''), "'a' -- x\n 'b'", Some("ab")),
            (Postgres, Form::Plain('\''), "'a' 'b'", None),
            (
                Postgres,
                Form::Escape,
                r"'\'\\\n\101\x41\u00e4'",
                Some("'\\\nAAä"),
            ),
            (
                Postgres,
                Form::Escape,
                r"'\ud83d\ude00\U0001f600'",
                Some("😀😀"),
            ),
            (Postgres, Form::Escape, r"'\xc3\xa4'", Some("ä")),
            (Postgres, Form::Escape, r"'\xc3'", None),
            (Postgres, Form::Escape, r"'\000'", None),
            (Postgres, Form::Escape, r"'\ud83d'", None),
            (Postgres, Form::Escape, r"'\u12'", None),
            (Postgres, Form::Unicode, r"&'d\0061t\+000061'", Some("data")),
            (
                Postgres,
                Form::Unicode,
                r"&'d!0061!!' UESCAPE '!'",
                Some("da!"),
            ),
            (Postgres, Form::Unicode, r"&'\D83D\DE00'", Some("😀")),
            (Postgres, Form::Unicode, r"&'\D83D'", None),
            (Postgres, Form::Dollar, "$$it's$$", Some("it's")),
            (Postgres, Form::Dollar, "$a$ $$ $b$ $a$", Some(" $$ $b$ ")),
            (Postgres, Form::Dollar, "$1$x$1$", None),
            (Postgres, Form::Dollar, "$a$ $b$", None),
        ] {
            let given = read_all(dialect, form, text);
            assert_eq!(given.as_deref(), expected, "{dialect:?} {text}");
        }
    }

    /// Returns whether backslashes are escapes is the session's to say; the string ends at the same
    /// place.
    #[test]
    fn a_written_string_ends_where_it_should() {
        for text in ["'", "\\", "\\'", "'\\", "a\\'b''", "\\\\'", "\0'"] {
            let text: String = text.chars().map(stand_in).collect();
            for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
                let mut written = String::new();
                if escape(dialect, &text, &mut written).is_err() {
                    continue;
                }
                let plain = written.trim_start_matches('E');
                let (_, rest) = quoted(&plain[1..], '\'').unwrap();
                assert_eq!(rest, "", "without escapes: {written}");
                if dialect != Dialect::Sqlite {
                    let (_, rest) = part(Dialect::Mysql, Form::Plain('\''), plain).unwrap();
                    assert_eq!(rest, "", "with escapes: {written}");
                }
            }
        }
    }
}
