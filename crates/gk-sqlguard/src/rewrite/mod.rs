//! Spellings that the parser does not know, put into ones that it does and that mean the same to
//! the engine. What has no other spelling, and no bearing on which tables are touched, is set aside
//! and written into the statement again once it is done ([`Aside`]).

mod mysql;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::dialect::Dialect;

/// The parts of a statement that were set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    /// IGNORE behind UPDATE or DELETE.
    ignore: bool,
    /// The comma of `STRICT, WITHOUT ROWID`.
    strict_without_rowid: bool,
}

impl Aside {
    /// Puts it back into the text for the engine.
    pub(crate) fn put_back(self, sql: String) -> String {
        if self.ignore {
            for verb in ["UPDATE ", "DELETE "] {
                if let Some(rest) = sql.strip_prefix(verb) {
                    return format!("{verb}IGNORE {rest}");
                }
            }
        }
        if self.strict_without_rowid
            && let Some(table) = sql.strip_suffix(" WITHOUT ROWID STRICT")
        {
            return format!("{table} WITHOUT ROWID, STRICT");
        }
        sql
    }
}

/// Types of PostgreSQL that may stand before a string and that the parser does not take for types.
const TYPES_BEFORE_STRINGS: &[&str] = &[
    "bool",
    "bytea",
    "cidr",
    "daterange",
    "inet",
    "int4range",
    "int8range",
    "json",
    "jsonb",
    "macaddr",
    "numrange",
    "text",
    "timestamptz",
    "timetz",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "uuid",
];

/// Rewrites tokens in place.
pub(crate) fn rewrite(dialect: Dialect, tokens: &mut Vec<TokenWithSpan>) -> Aside {
    let mut aside = Aside::default();
    let mut out = Rewriter {
        dialect,
        given: std::mem::take(tokens),
        at: 0,
        out: Vec::new(),
    };
    out.out.reserve(out.given.len());
    while out.at < out.given.len() {
        if !out.special(&mut aside) {
            out.copy();
        }
    }
    *tokens = out.out;
    aside
}

/// Returns whether any of these tokens may be rewritten: most statements are passed by.
pub(crate) fn concerns(dialect: Dialect, tokens: &[TokenWithSpan]) -> bool {
    let words: &[&str] = match dialect {
        Dialect::Sqlite => &[
            "is",
            "isnull",
            "notnull",
            "not",
            "indexed",
            "materialized",
            "strict",
        ],
        Dialect::Postgres => &["isnull", "leading", "trailing", "both"],
        Dialect::Mysql => &[
            "regexp",
            "rlike",
            "character",
            "charset",
            "mod",
            "binary",
            "leading",
            "trailing",
            "both",
            "ignore",
            "low_priority",
            "quick",
            "update",
        ],
    };
    tokens
        .iter()
        .enumerate()
        .any(|(at, token)| match &token.token {
            Token::Overlap => dialect == Dialect::Mysql,
            Token::Word(word) if word.quote_style.is_none() => {
                words
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(&word.value))
                    || (dialect == Dialect::Postgres
                        && matches!(
                            tokens.get(at + 1).map(|next| &next.token),
                            Some(Token::SingleQuotedString(_))
                        )
                        && TYPES_BEFORE_STRINGS
                            .iter()
                            .any(|known| known.eq_ignore_ascii_case(&word.value)))
            }
            _ => false,
        })
}

struct Rewriter {
    dialect: Dialect,
    given: Vec<TokenWithSpan>,
    at: usize,
    out: Vec<TokenWithSpan>,
}

impl Rewriter {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.given.get(self.at + ahead).map(|token| &token.token)
    }

    /// The word without quotes that stands there.
    fn word(&self, ahead: usize) -> &str {
        match self.token(ahead) {
            Some(Token::Word(word)) if word.quote_style.is_none() => &word.value,
            _ => "",
        }
    }

    fn is(&self, ahead: usize, word: &str) -> bool {
        self.word(ahead).eq_ignore_ascii_case(word)
    }

    fn previous(&self) -> Option<&Token> {
        self.out.last().map(|token| &token.token)
    }

    /// Returns whether an operand ends before this place, so that an operator or a clause may
    /// follow.
    fn after_operand(&self) -> bool {
        match self.previous() {
            Some(Token::Word(word)) => {
                word.quote_style.is_some()
                    || matches!(
                        word.keyword,
                        Keyword::NoKeyword
                            | Keyword::NULL
                            | Keyword::TRUE
                            | Keyword::FALSE
                            | Keyword::END
                    )
                    || !sqlparser::keywords::RESERVED_FOR_COLUMN_ALIAS.contains(&word.keyword)
                        && !is_operator(word.keyword)
            }
            Some(
                Token::RParen
                | Token::RBracket
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::HexStringLiteral(_)
                | Token::NationalStringLiteral(_)
                | Token::SingleQuotedByteStringLiteral(_)
                | Token::Placeholder(_),
            ) => true,
            _ => false,
        }
    }

    fn copy(&mut self) {
        self.out.push(self.given[self.at].clone());
        self.at += 1;
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn put(&mut self, token: Token) {
        self.out.push(TokenWithSpan {
            token,
            span: Span::empty(),
        });
    }

    fn put_words(&mut self, words: &[&str]) {
        for word in words {
            self.put(Token::make_word(word, None));
        }
    }

    /// Rewrites what stands here; `false` where it is nothing special.
    fn special(&mut self, aside: &mut Aside) -> bool {
        if self.dialect == Dialect::Mysql && self.token(0) == Some(&Token::Overlap) {
            // `&&` binds as AND does, which the parser does not know.
            self.skip(1);
            self.put_words(&["AND"]);
            return true;
        }
        if self.word(0).is_empty() || self.previous() == Some(&Token::Period) {
            return self.comma_of_update();
        }
        match self.dialect {
            Dialect::Sqlite => self.sqlite(aside),
            Dialect::Postgres => self.postgres(),
            Dialect::Mysql => self.mysql(aside),
        }
    }

    fn sqlite(&mut self, aside: &mut Aside) -> bool {
        if self.is(0, "IS") {
            let negated = usize::from(self.is(1, "NOT"));
            let known = ["NULL", "TRUE", "FALSE", "DISTINCT"];
            if known.iter().any(|word| self.is(1 + negated, word))
                || (negated == 1 && self.is(2, "DISTINCT"))
            {
                return false;
            }
            self.skip(1 + negated);
            match negated {
                0 => self.put_words(&["IS", "NOT", "DISTINCT", "FROM"]),
                _ => self.put_words(&["IS", "DISTINCT", "FROM"]),
            }
            return true;
        }
        // How to find rows, and not which.
        if self.is(0, "NOT") && self.is(1, "INDEXED") && self.after_operand() {
            self.skip(2);
            return true;
        }
        if self.is(0, "INDEXED") && self.is(1, "BY") && self.after_operand() {
            self.skip(3);
            return true;
        }
        if matches!(self.previous(), Some(Token::Word(word)) if word.keyword == Keyword::AS) {
            let negated = usize::from(self.is(0, "NOT"));
            if self.is(negated, "MATERIALIZED") && self.token(negated + 1) == Some(&Token::LParen) {
                self.skip(negated + 1);
                return true;
            }
        }
        if self.is(0, "STRICT")
            && self.token(1) == Some(&Token::Comma)
            && self.is(2, "WITHOUT")
            && self.is(3, "ROWID")
            || self.is(0, "WITHOUT")
                && self.is(1, "ROWID")
                && self.token(2) == Some(&Token::Comma)
                && self.is(3, "STRICT")
        {
            self.skip(4);
            self.put_words(&["WITHOUT", "ROWID", "STRICT"]);
            aside.strict_without_rowid = true;
            return true;
        }
        self.null_test()
    }

    /// `x ISNULL`, `x NOTNULL` and `x NOT NULL` bind in another way than IS does to SQLite, which
    /// takes `x IS NULL < y` for `x IS (NULL < y)`. UNKNOWN is no word of SQLite's: it marks them
    /// up to [`null_tests`].
    fn null_test(&mut self) -> bool {
        let is_null = self.is(0, "ISNULL");
        let words = 1 + usize::from(self.is(0, "NOT") && self.is(1, "NULL"));
        if !(is_null || self.is(0, "NOTNULL") || words == 2) || !self.after_operand() {
            return false;
        }
        let defines = matches!(
            self.out.first().map(|first| &first.token),
            Some(Token::Word(word)) if matches!(word.keyword, Keyword::CREATE | Keyword::ALTER)
        );
        if defines && !is_null {
            return false;
        }
        self.skip(words);
        match is_null {
            true => self.put_words(&["IS", "UNKNOWN"]),
            false => self.put_words(&["IS", "NOT", "UNKNOWN"]),
        }
        true
    }

    /// `x ISNULL`.
    fn isnull(&mut self) -> bool {
        if !self.is(0, "ISNULL") || self.token(1) == Some(&Token::LParen) || !self.after_operand() {
            return false;
        }
        self.skip(1);
        self.put_words(&["IS", "NULL"]);
        true
    }

    fn postgres(&mut self) -> bool {
        if let Some(Token::SingleQuotedString(_)) = self.token(1) {
            let word = self.word(0).to_ascii_lowercase();
            let is_type = TYPES_BEFORE_STRINGS.contains(&word.as_str());
            if is_type && !self.after_operand() && !self.after_cast() {
                self.skip(1);
                self.put_words(&["CAST"]);
                self.put(Token::LParen);
                self.copy();
                self.put_words(&["AS", &word]);
                self.put(Token::RParen);
                return true;
            }
        }
        self.trim_from() || self.isnull()
    }

    fn after_cast(&self) -> bool {
        matches!(self.previous(), Some(Token::DoubleColon))
            || matches!(self.previous(), Some(Token::Word(word)) if word.keyword == Keyword::AS)
    }

    /// `TRIM(LEADING FROM x)`: of blanks.
    fn trim_from(&mut self) -> bool {
        let is_side = ["LEADING", "TRAILING", "BOTH"]
            .iter()
            .any(|side| self.is(0, side));
        if !is_side || !self.is(1, "FROM") || self.previous() != Some(&Token::LParen) {
            return false;
        }
        self.copy();
        self.put(Token::SingleQuotedString(" ".to_owned()));
        true
    }
}

/// Finds a mark of [`Rewriter::null_test`] at the beginning of `text`: SQLite's word for it, and how
/// long the mark is.
pub(crate) fn null_tests(text: &str) -> Option<(&'static str, usize)> {
    let marks = [(" IS UNKNOWN", " ISNULL"), (" IS NOT UNKNOWN", " NOTNULL")];
    let mark = marks.into_iter().find(|(mark, _)| text.starts_with(mark));
    mark.map(|(mark, word)| (word, mark.len()))
}

/// Words behind which an operand follows.
fn is_operator(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::XOR
            | Keyword::LIKE
            | Keyword::REGEXP
            | Keyword::RLIKE
            | Keyword::IN
            | Keyword::IS
            | Keyword::BETWEEN
            | Keyword::DIV
            | Keyword::MOD
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::CASE
            | Keyword::BY
            | Keyword::DISTINCT
            | Keyword::RETURNING
            | Keyword::VALUES
            | Keyword::INTERVAL
            | Keyword::ESCAPE
    )
}
