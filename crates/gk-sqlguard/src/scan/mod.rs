//! The guard's own reading of a statement's text, before and after the parser's.
//!
//! Before: the text is read by the rules of its engine. Comments go, placeholders are numbered, and
//! every form of a string becomes the plain one ([`crate::literals`]). What engines and parsers
//! read in different ways (a carriage return that ends a comment for some, executable comments,
//! variables, digits that run into a word) is refused. After: the text that the host wrote from the
//! parsed statement is read once more, by the engine's rules alone.

mod finish;

pub(crate) use finish::finish;

use crate::dialect::Dialect;
use crate::limits::{NESTING_MAX, PLACEHOLDERS_MAX};
use crate::literals::{self, Form};
use crate::refusal::Refusal;

/// A statement without comments, whose placeholders are `$n` (PostgreSQL) or `?n`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    pub(crate) placeholders: u16,
    /// Most parentheses inside each other.
    pub(crate) depth: usize,
}

/// Reads a plugin's text.
pub(crate) fn prepare(dialect: Dialect, text: &str) -> Result<Prepared, Refusal> {
    if text.contains('\0') {
        return Err(Refusal::unclear("a NUL character"));
    }
    let mut scan = Scan {
        dialect,
        rest: text,
        previous: ' ',
        out: String::with_capacity(text.len() + 16),
        placeholders: 0,
        depth: 0,
        deepest: 0,
        brackets: 0,
        ended: false,
    };
    while scan.step()? {}
    Ok(Prepared {
        text: scan.out,
        placeholders: scan.placeholders,
        depth: scan.deepest,
    })
}

struct Scan<'a> {
    dialect: Dialect,
    rest: &'a str,
    /// The character before `rest`, outside of comments.
    previous: char,
    out: String,
    placeholders: u16,
    depth: usize,
    deepest: usize,
    /// Of those the square ones.
    brackets: usize,
    /// A semicolon was seen: nothing but blanks, comments and more semicolons may follow.
    ended: bool,
}

impl<'a> Scan<'a> {
    fn step(&mut self) -> Result<bool, Refusal> {
        let mut characters = self.rest.chars();
        let Some(first) = characters.next() else {
            return Ok(false);
        };
        let second = characters.next().unwrap_or('\0');
        let mysql = self.dialect == Dialect::Mysql;
        match (first, second) {
            ('-', '-') if self.is_line_comment() => return self.line_comment(),
            ('#', _) if mysql => return self.line_comment(),
            ('/', '*') => return self.block_comment(),
            (' ' | '\t' | '\n' | '\r', _) => return self.space(first, second),
            (';', _) => {
                self.take(1);
                self.ended = true;
                return Ok(true);
            }
            _ => {}
        }
        if self.ended {
            return Err(Refusal::invalid("more than one statement"));
        }
        match (first, second) {
            ('\'', _) => self.string(Form::Plain('\''))?,
            ('"', _) if mysql => self.string(Form::Plain('"'))?,
            ('"', _) => self.identifier('"')?,
            ('`', _) if self.dialect != Dialect::Postgres => self.identifier('`')?,
            ('[', _) if self.dialect == Dialect::Sqlite => self.identifier(']')?,
            ('?', _) => self.placeholder(second)?,
            ('$', _) if self.dialect == Dialect::Postgres && !is_word(self.previous) => {
                self.string(Form::Dollar)?;
            }
            ('0'..='9', _) => self.number()?,
            ('.', '0'..='9') if !is_word(self.previous) && !is_quote(self.previous) => {
                self.number()?;
            }
            _ if is_word(first) && first != '$' => self.word()?,
            _ => self.plain(first, second)?,
        }
        Ok(true)
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.previous = text.chars().next_back().unwrap_or(self.previous);
    }

    /// A blank in the place of something that means no more than one.
    fn blank(&mut self) {
        self.push(" ");
    }

    fn space(&mut self, first: char, second: char) -> Result<bool, Refusal> {
        if first == '\r' && second != '\n' {
            return Err(bare_return());
        }
        self.take(1);
        self.blank();
        Ok(true)
    }

    /// MySQL takes `--` for a comment before a blank or a control character only; elsewhere it is
    /// two signs.
    fn is_line_comment(&self) -> bool {
        let third = self.rest.chars().nth(2);
        self.dialect != Dialect::Mysql
            || third.is_none_or(|third| third == ' ' || third.is_ascii_control())
    }

    fn line_comment(&mut self) -> Result<bool, Refusal> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        // PostgreSQL ends the comment at a return, the others go on.
        if self.rest[..end].trim_end_matches('\r').contains('\r')
            || (self.rest[..end].ends_with('\r') && end == self.rest.len())
            || self.rest[..end].ends_with("\r\r")
        {
            return Err(bare_return());
        }
        self.take(end);
        self.blank();
        Ok(true)
    }

    fn block_comment(&mut self) -> Result<bool, Refusal> {
        let content = &self.rest[2..];
        let starts = |start: &str| {
            content
                .get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
        };
        if self.dialect == Dialect::Mysql && ["!", "+", "M!"].iter().any(|start| starts(start)) {
            // Not comments to these engines.
            return Err(Refusal::unclear("a comment that begins with !, + or M!"));
        }
        // PostgreSQL nests comments; for the others the first end is the end.
        let (mut depth, mut at) = (1_u32, 0);
        while depth > 0 {
            let rest = &content[at..];
            let end = rest
                .find("*/")
                .ok_or_else(|| Refusal::unclear("a comment that does not end"))?;
            match rest[..end].find("/*") {
                Some(inner) if self.dialect == Dialect::Postgres => {
                    depth += 1;
                    at += inner + 2;
                }
                _ => {
                    depth -= 1;
                    at += end + 2;
                }
            }
        }
        if content[..at].replace("\r\n", "").contains('\r') {
            return Err(bare_return());
        }
        self.take(2 + at);
        self.blank();
        Ok(true)
    }

    /// A string in any of its forms, as a plain one; [`finish()`] gives it its final form.
    fn string(&mut self, form: Form) -> Result<(), Refusal> {
        let (content, rest) = literals::read(self.dialect, form, self.rest)?;
        self.rest = rest;
        if is_word(self.previous) {
            // `LIKE'x'`: without a blank the word were a prefix.
            self.blank();
        }
        self.literal(&content);
        Ok(())
    }

    fn literal(&mut self, content: &str) {
        self.out.reserve(content.len() + 2);
        self.out.push('\'');
        for c in content.chars() {
            self.out.push(literals::stand_in(c));
        }
        self.out.push('\'');
        self.previous = '\'';
    }

    /// The content of a quoted name that `self.rest` begins with.
    fn identifier(&mut self, quote: char) -> Result<(), Refusal> {
        let (content, rest) = literals::quoted(&self.rest[1..], quote)?;
        self.rest = rest;
        if is_word(self.previous) {
            self.blank();
        }
        self.quoted_name(content)
    }

    fn quoted_name(&mut self, content: &str) -> Result<(), Refusal> {
        if !is_plain_name(content) {
            return Err(Refusal::unclear(
                "a name with a quote, a backslash or a control character in it, or an empty one",
            ));
        }
        let quote = self.dialect.quote();
        self.out.push(quote);
        self.out.push_str(content);
        self.out.push(quote);
        self.previous = quote;
        Ok(())
    }

    /// A word, or the prefix of a string.
    fn word(&mut self) -> Result<(), Refusal> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = self.take(end);
        if word.contains('$') {
            return Err(Refusal::unclear(
                "a $ outside of quotes: placeholders are ?, counted from the left",
            ));
        }
        if let Some(prefix) = literals::prefix(self.dialect, word, self.rest)? {
            return self.prefixed(word, prefix);
        }
        if is_quote(self.previous) {
            self.blank();
        }
        if word.is_ascii() {
            self.push(word);
            return Ok(());
        }
        // Letters of other scripts are letters to all engines; other signs look like blanks.
        if !word.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(Refusal::unclear(
                "a character outside of ASCII that is no letter and not in quotes",
            ));
        }
        match self.dialect {
            Dialect::Postgres => self.quoted_name(&word.to_ascii_lowercase()),
            _ => self.quoted_name(word),
        }
    }

    fn prefixed(&mut self, word: &str, prefix: literals::Prefix) -> Result<(), Refusal> {
        use literals::Prefix as P;
        if is_quote(self.previous) {
            self.blank();
        }
        match prefix {
            P::String(form) => self.string(form),
            P::Name => {
                let (content, rest) = literals::unicode_name(self.rest)?;
                self.rest = rest;
                self.quoted_name(&content)
            }
            P::Digits(sign) => {
                let quote = self.rest.chars().next().unwrap_or('\'');
                let (content, rest) = literals::quoted(&self.rest[1..], quote)?;
                let is_digit = |c: char| match sign {
                    'X' => c.is_ascii_hexdigit(),
                    _ => matches!(c, '0' | '1'),
                };
                // Of bytes, but to PostgreSQL, which makes bits of it.
                let is_whole = sign != 'X'
                    || self.dialect == Dialect::Postgres
                    || content.len().is_multiple_of(2);
                if quote != '\'' || !is_whole || !content.chars().all(is_digit) {
                    return Err(Refusal::invalid(format!("{word}'…' holds digits alone")));
                }
                self.rest = rest;
                self.out.push(sign);
                self.literal(content);
                Ok(())
            }
            P::Kept => {
                let (content, rest) = literals::read(
                    self.dialect,
                    Form::Plain(self.rest.chars().next().unwrap_or('\'')),
                    self.rest,
                )?;
                self.rest = rest;
                match word {
                    "n" | "N" => self.out.push('N'),
                    introducer => {
                        self.out.push_str(&introducer.to_ascii_lowercase());
                        self.out.push(' ');
                    }
                }
                self.literal(&content);
                Ok(())
            }
        }
    }

    /// A number by the engine's rules. One that runs into a word is an error to most engines, two
    /// tokens to others, and a name to MySQL.
    fn number(&mut self) -> Result<(), Refusal> {
        if is_quote(self.previous) {
            self.blank();
        }
        let bytes = self.rest.as_bytes();
        let separators = self.dialect != Dialect::Mysql;
        let digits = |from: usize, is_digit: fn(&u8) -> bool| {
            let mut at = from;
            while let Some(byte) = bytes.get(at) {
                let is_separator = separators
                    && *byte == b'_'
                    && at > from
                    && bytes.get(at + 1).is_some_and(is_digit);
                if !is_digit(byte) && !is_separator {
                    break;
                }
                at += 1;
            }
            at
        };
        let other_base = match (bytes.first(), bytes.get(1)) {
            (Some(b'0'), Some(b'x')) => Some(16),
            // A name to MySQL.
            (Some(b'0'), Some(b'X')) if self.dialect != Dialect::Mysql => Some(16),
            (Some(b'0'), Some(b'b')) if self.dialect == Dialect::Mysql => Some(2),
            _ => None,
        };
        let end = match other_base {
            Some(16) => digits(2, u8::is_ascii_hexdigit),
            Some(_) => digits(2, |byte| matches!(byte, b'0' | b'1')),
            None => {
                let mut at = digits(0, u8::is_ascii_digit);
                if bytes.get(at) == Some(&b'.') {
                    at = digits(at + 1, u8::is_ascii_digit);
                }
                if matches!(bytes.get(at), Some(b'e' | b'E')) {
                    let signed = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
                    let exponent = digits(at + 1 + signed, u8::is_ascii_digit);
                    if exponent > at + 1 + signed {
                        at = exponent;
                    }
                }
                at
            }
        };
        let number = self.take(end);
        if (other_base.is_some() && end == 2) || self.rest.starts_with(is_word) {
            return Err(Refusal::unclear(format!(
                "the number {number}, which runs into a word"
            )));
        }
        match other_base {
            Some(16) => {
                self.out.push_str("0x");
                self.push(&number[2..]);
            }
            // The same literal to MySQL, in the form that the parser knows.
            Some(_) => {
                self.out.push('B');
                self.literal(&number[2..]);
            }
            None => self.push(number),
        }
        Ok(())
    }

    fn placeholder(&mut self, second: char) -> Result<(), Refusal> {
        if is_word(second) || second == '?' || is_word(self.previous) {
            return Err(Refusal::unclear(
                "a placeholder that is more than ?: arguments are counted from the left",
            ));
        }
        if self.placeholders >= PLACEHOLDERS_MAX {
            return Err(Refusal::large(format!(
                "more than {PLACEHOLDERS_MAX} placeholders"
            )));
        }
        self.placeholders += 1;
        self.take(1);
        let sign = self.dialect.placeholder();
        self.push(&format!(" {sign}{} ", self.placeholders));
        Ok(())
    }

    fn plain(&mut self, first: char, second: char) -> Result<(), Refusal> {
        let postgres = self.dialect == Dialect::Postgres;
        match first {
            '(' | '[' => {
                self.brackets += usize::from(first == '[');
                self.depth += 1;
                self.deepest = self.deepest.max(self.depth);
                if self.depth > NESTING_MAX {
                    return Err(Refusal::large(format!(
                        "more than {NESTING_MAX} parentheses inside each other"
                    )));
                }
            }
            ')' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                self.brackets = self.brackets.saturating_sub(usize::from(first == ']'));
            }
            // To MySQL these are two signs; together they are a comment to others.
            '-' if second == '-' => {
                self.take(1);
                self.push("- ");
                return Ok(());
            }
            // A cast, or a slice of an array; anywhere else it is somebody else's placeholder.
            ':' if postgres && second != ':' && self.previous != ':' && self.brackets == 0 => {
                return Err(Refusal::unclear(": outside of quotes: placeholders are ?"));
            }
            // Parts of operators, and of nothing else there.
            '@' | ':' | '#' if postgres => {}
            '$' => {
                return Err(Refusal::unclear(
                    "a $ outside of quotes: placeholders are ?, counted from the left",
                ));
            }
            '@' | ':' | '#' | '\\' | '{' | '}' | '`' => {
                return Err(Refusal::unclear(format!("{first} outside of quotes")));
            }
            c if c.is_ascii_control() => return Err(Refusal::unclear("a control character")),
            _ => {}
        }
        let taken = self.take(first.len_utf8());
        self.push(taken);
        Ok(())
    }
}

fn bare_return() -> Refusal {
    Refusal::unclear(
        "a carriage return without a line feed, which ends a comment to some engines only",
    )
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"' | '`')
}

/// A name that no engine needs quotes for, if it is no word of the engine's.
pub(crate) fn is_plain_word(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A name that no engine needs an escape for.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| {
        !c.is_control()
            && !matches!(c, '"' | '`' | '\'' | '\\' | '[' | ']')
            && !literals::is_stand_in(c)
    };
    !name.is_empty() && name.chars().all(plain)
}
