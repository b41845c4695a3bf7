//! The guard's own reading of a statement's text, before and after the parser's.
//!
//! Before: comments go, placeholders are numbered, and whatever engines and parsers read in
//! different ways (escapes, prefixed strings, dollar quotes, executable comments, variables) is
//! refused. After: the text that the host wrote from the parsed statement is read once more, by
//! the engine's rules alone.

use super::{Dialect, NESTING_MAX, PLACEHOLDERS_MAX, Refusal};

/// A statement without comments, whose placeholders are `$n` (PostgreSQL) or `?n`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) text: String,
    pub(super) placeholders: u16,
    /// Most parentheses inside each other.
    pub(super) depth: usize,
}

/// Reads a plugin's text.
pub(super) fn prepare(dialect: Dialect, text: &str) -> Result<Prepared, Refusal> {
    let mut scan = Scan {
        dialect,
        rest: text,
        previous: ' ',
        out: String::with_capacity(text.len() + 16),
        placeholders: 0,
        depth: 0,
        deepest: 0,
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
            ('-', '-') => {
                // MySQL takes `--` for a comment before a blank only; elsewhere it is two signs.
                let third = self.rest.chars().nth(2);
                if mysql && third.is_some_and(|third| !third.is_ascii_whitespace()) {
                    return Err(Refusal::unclear("-- without a blank"));
                }
                self.line_comment();
            }
            ('#', _) if mysql => self.line_comment(),
            ('/', '*') => self.block_comment()?,
            ('\'', _) => self.string('\'')?,
            ('"', _) if mysql => self.string('"')?,
            ('"', _) => self.identifier('"')?,
            ('`', _) if self.dialect != Dialect::Postgres => self.identifier('`')?,
            ('[', _) if self.dialect == Dialect::Sqlite => self.identifier(']')?,
            ('?', _) => self.placeholder(second)?,
            (';', _) => return self.end(),
            _ => self.plain(first, second)?,
        }
        Ok(true)
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn blank(&mut self) {
        self.out.push(' ');
        self.previous = ' ';
    }

    fn line_comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.take(end);
        self.blank();
    }

    fn block_comment(&mut self) -> Result<(), Refusal> {
        let content = &self.rest[2..];
        if self.dialect == Dialect::Mysql && content.starts_with(['!', '+', 'M', 'm']) {
            // `/*! … */` and `/*M! … */` are not comments to these engines.
            return Err(Refusal::unclear("a comment that begins with !, + or M"));
        }
        let end = content
            .find("*/")
            .ok_or_else(|| Refusal::unclear("a comment that does not end"))?;
        // PostgreSQL nests comments, the others do not.
        if content[..end].contains("/*") {
            return Err(Refusal::unclear("a comment within a comment"));
        }
        self.take(2 + end + 2);
        self.blank();
        Ok(())
    }

    /// The content of what `self.rest` begins with, up to the quote that is not doubled.
    fn quoted(&mut self, quote: char) -> Result<&'a str, Refusal> {
        self.take(1);
        let mut at = 0;
        loop {
            let Some(found) = self.rest[at..].find(quote) else {
                return Err(Refusal::unclear("a quote that does not end"));
            };
            at += found + 1;
            if quote != ']' && self.rest[at..].starts_with(quote) {
                at += 1;
                continue;
            }
            let content = self.take(at);
            self.previous = quote;
            return Ok(&content[..content.len() - 1]);
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Refusal> {
        // E'…', N'…', U&'…', _utf8'…': strings with rules of their own. X'…' holds digits only.
        if is_word(self.previous) || self.previous == '&' {
            let before = self.out.trim_end_matches(['x', 'X']);
            let is_hex =
                self.out.len() - before.len() == 1 && !before.ends_with(|c| is_word(c) || c == '&');
            if !is_hex || quote != '\'' {
                return Err(Refusal::unclear("a string with a prefix"));
            }
        }
        let content = self.quoted(quote)?;
        if content.contains('\0') {
            return Err(Refusal::unclear("a NUL character"));
        }
        if self.dialect == Dialect::Mysql && content.contains('\\') {
            return Err(Refusal::unclear(
                "a backslash in a string: pass the string as an argument",
            ));
        }
        self.out.push('\'');
        if quote == '"' {
            let plain = content.replace("\"\"", "\"");
            self.out.push_str(&plain.replace('\'', "''"));
        } else {
            self.out.push_str(content);
        }
        self.out.push('\'');
        Ok(())
    }

    fn identifier(&mut self, quote: char) -> Result<(), Refusal> {
        // U&"…" has escapes.
        if is_word(self.previous) || self.previous == '&' {
            return Err(Refusal::unclear("a quoted name with a prefix"));
        }
        let content = self.quoted(quote)?;
        if !is_plain_name(content) {
            return Err(Refusal::unclear(
                "a name with a quote, a backslash or a control character in it, or an empty one",
            ));
        }
        let quote = self.dialect.quote();
        self.out.push(quote);
        self.out.push_str(content);
        self.out.push(quote);
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
        self.out.push_str(&format!(" {sign}{} ", self.placeholders));
        self.previous = ' ';
        Ok(())
    }

    /// At a semicolon: nothing but blanks, comments and more semicolons may follow.
    fn end(&mut self) -> Result<bool, Refusal> {
        let mut tail = Scan {
            rest: self.rest,
            out: String::new(),
            ..*self
        };
        loop {
            let skip = |c: char| c == ';' || c.is_ascii_whitespace();
            tail.rest = tail.rest.trim_start_matches(skip);
            if tail.rest.is_empty() {
                return Ok(false);
            }
            let is_comment = ["--", "/*", "#"]
                .iter()
                .any(|start| tail.rest.starts_with(start));
            if !is_comment || !tail.step()? || tail.out.trim() != "" {
                return Err(Refusal::invalid("more than one statement"));
            }
        }
    }

    fn plain(&mut self, first: char, second: char) -> Result<(), Refusal> {
        let postgres = self.dialect == Dialect::Postgres;
        match first {
            ' ' | '\t' | '\n' | '\r' => {}
            '(' | '[' => {
                self.depth += 1;
                self.deepest = self.deepest.max(self.depth);
                if self.depth > NESTING_MAX {
                    return Err(Refusal::large(format!(
                        "more than {NESTING_MAX} parentheses inside each other"
                    )));
                }
            }
            ')' | ']' => self.depth = self.depth.saturating_sub(1),
            '@' if postgres && (second == '>' || self.previous == '<') => {}
            ':' if postgres && (second == ':' || self.previous == ':') => {}
            '#' if postgres => {}
            '$' => {
                return Err(Refusal::unclear(
                    "a $ outside of quotes: placeholders are ?, counted from the left",
                ));
            }
            '@' | ':' | '#' | '\\' | '{' | '}' | '`' => {
                return Err(Refusal::unclear(format!("{first} outside of quotes")));
            }
            c if c.is_ascii_control() => return Err(Refusal::unclear("a control character")),
            c if !c.is_ascii() => {
                return Err(Refusal::unclear(
                    "a character outside of ASCII that is not in quotes",
                ));
            }
            _ => {}
        }
        self.take(1);
        self.out.push(first);
        self.previous = first;
        Ok(())
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A name that no engine needs quotes for, if it is no word of the engine's.
pub(super) fn is_plain_word(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A name that no engine needs an escape for.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !matches!(c, '"' | '`' | '\'' | '\\' | '[' | ']');
    !name.is_empty() && name.chars().all(plain)
}

/// Reads the text that the host wrote, as the engine will, and gives it its final form: names and
/// strings are closed, nothing is a comment, nothing ends the statement, and the placeholders stand
/// in the plugin's order.
pub(super) fn finish(
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
        let quoted = first == '\'' || first == dialect.quote();
        let mut length = first.len_utf8();
        if quoted {
            // A doubled quote ends one string and begins the next one.
            let content = &rest[1..];
            let end = content.find(first).ok_or_else(garbled)?;
            if dialect == Dialect::Mysql && content[..end].contains('\\') {
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
                ('@' | '#' | ':' | '[' | ']', _) => postgres,
                (' ', _) => true,
                _ => {
                    first.is_ascii_graphic()
                        && !matches!(first, ';' | '\\' | '$' | '{' | '}' | '`' | '"' | '?')
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
