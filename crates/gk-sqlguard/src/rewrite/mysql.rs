//! Spellings of MySQL and MariaDB.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::{Aside, Rewriter, rewrite};
use crate::dialect::Dialect;

impl Rewriter {
    pub(super) fn mysql(&mut self, aside: &mut Aside) -> bool {
        let after_verb = matches!(self.previous(), Some(Token::Word(word))
            if self.out.len() == 1 && matches!(word.keyword, Keyword::UPDATE | Keyword::DELETE));
        if after_verb {
            // When to write, and not what; but what IGNORE ignores makes a difference.
            let is_ignore = self.is(0, "IGNORE");
            if is_ignore || self.is(0, "LOW_PRIORITY") || self.is(0, "QUICK") {
                let names_table = matches!(self.token(1), Some(Token::Word(_)));
                if names_table {
                    aside.ignore |= is_ignore;
                    self.skip(1);
                    return true;
                }
            }
        }
        if self.is(0, "CHARACTER") && self.is(1, "SET") && self.is(2, "utf8mb4") {
            // CAST(… AS CHAR CHARACTER SET utf8mb4): what the session's strings are in any case.
            let in_cast = self.token(3) == Some(&Token::RParen);
            let first = self.out.first().map(|first| &first.token);
            let defines = matches!(first, Some(Token::Word(word)) if matches!(word.keyword, Keyword::CREATE | Keyword::ALTER));
            if in_cast && !defines {
                self.skip(3);
                return true;
            }
        }
        if self.is(0, "CHARSET")
            && matches!(self.token(1), Some(Token::Word(_)))
            && !matches!(self.previous(), Some(Token::Word(word)) if word.keyword == Keyword::DEFAULT)
            && self.out.len() > 3
        {
            // Of a column.
            self.skip(1);
            self.put_words(&["CHARACTER", "SET"]);
            return true;
        }
        // The parser looks for NOT NULL behind these words, too.
        if (self.is(0, "REGEXP") || self.is(0, "RLIKE")) && self.is(1, "NULL") {
            self.copy();
            self.put(Token::LParen);
            self.copy();
            self.put(Token::RParen);
            return true;
        }
        if self.is(0, "MOD") && self.token(1) != Some(&Token::LParen) && self.after_operand() {
            self.skip(1);
            self.put(Token::Mod);
            return true;
        }
        if self.is(0, "BINARY") && !self.after_operand() && !self.after_cast() {
            return self.binary();
        }
        self.trim_from()
    }

    /// `BINARY x`, which binds closer than any operator.
    fn binary(&mut self) -> bool {
        let mut first = 1;
        while matches!(
            self.token(first),
            Some(Token::Plus | Token::Minus | Token::Tilde | Token::ExclamationMark)
        ) {
            first += 1;
        }
        let end = match self.token(first) {
            Some(Token::LParen) => self.closing(first),
            Some(Token::Word(word)) if word.keyword == Keyword::SET => None,
            Some(Token::Word(_)) => {
                let mut end = first;
                while self.token(end + 1) == Some(&Token::Period) {
                    end += 2;
                }
                match self.token(end + 1) {
                    Some(Token::LParen) => self.closing(end + 1),
                    _ => Some(end),
                }
            }
            Some(
                Token::SingleQuotedString(_)
                | Token::Number(..)
                | Token::HexStringLiteral(_)
                | Token::SingleQuotedByteStringLiteral(_)
                | Token::NationalStringLiteral(_)
                | Token::Placeholder(_),
            ) => Some(first),
            _ => None,
        };
        let Some(end) = end else { return false };
        let inner = self.given.get(self.at + 1..=self.at + end);
        let Some(mut inner) = inner.map(<[TokenWithSpan]>::to_vec) else {
            return false;
        };
        rewrite(self.dialect, &mut inner);
        self.skip(end + 1);
        self.put_words(&["CAST"]);
        self.put(Token::LParen);
        self.out.extend(inner);
        self.put_words(&["AS", "BINARY"]);
        self.put(Token::RParen);
        true
    }

    /// The place where the parenthesis closes that opens `ahead`.
    fn closing(&self, ahead: usize) -> Option<usize> {
        let mut depth = 0_usize;
        let mut at = ahead;
        loop {
            match self.token(at)? {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at);
            }
            at += 1;
        }
    }

    /// `UPDATE a, b SET …`: the parser knows joins there, which mean the same.
    pub(super) fn comma_of_update(&mut self) -> bool {
        if self.dialect != Dialect::Mysql || self.token(0) != Some(&Token::Comma) {
            return false;
        }
        let is_update = matches!(
            self.out.first().map(|first| &first.token),
            Some(Token::Word(Word {
                keyword: Keyword::UPDATE,
                ..
            }))
        );
        let mut depth = 0_i32;
        for token in &self.out {
            match &token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                Token::Word(word) if word.keyword == Keyword::SET && depth == 0 => return false,
                _ => {}
            }
        }
        if !is_update || depth != 0 {
            return false;
        }
        self.skip(1);
        self.put_words(&["CROSS", "JOIN"]);
        true
    }
}
