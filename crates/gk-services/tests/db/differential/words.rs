//! Words, literals and the gaps between them.

use gk_services::db::Dialect;

/// A generator that does not change from one release of a crate to the next.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next()).unwrap() % count
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) dialect: Dialect,
    pub(super) kind: Kind,
}

/// What operands a statement has: PostgreSQL does not mix them.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Any,
    Numbers,
    Texts,
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "10",
    "255",
    "-1",
    "- 1",
    "-0",
    "+5",
    "1.5",
    ".5",
    "5.",
    "1e3",
    "1E-2",
    "1.5e+1",
    "0.1",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "123456789012345678901234567890",
    "007",
    "1.0",
    "1.10",
    "100000000000000000000.5",
];

const STRINGS: &[&str] = &[
    "''",
    "'a'",
    "'A'",
    "'abc'",
    "'it''s'",
    "''''",
    "'a''''b'",
    "'%'",
    "'a%'",
    "'_b_'",
    "'10'",
    "'1.5'",
    "' x '",
    "'x '",
    "'ä'",
    "'Ünï'",
    "'-- no'",
    "'/* no */'",
    "'a;b'",
    "'what?'",
    "'$1'",
    "'`'",
    "'[x]'",
    "'\u{1f600}'",
    "'a\nb'",
    "'tab\t'",
    "'2026-01-31'",
    "'2026-01-31 10:00:00'",
    "'{\"a\": [1, 2]}'",
    "'NULL'",
    "'true'",
    "'name'",
    "'id'",
    "'0x10'",
];

pub(super) const NAMES: &[&str] = &["id", "name", "email", "status", "age", "flags", "balance"];

impl Generator {
    /// Blanks, or a comment in their place.
    pub(super) fn gap(&mut self) -> String {
        let line = match self.dialect {
            Dialect::Mysql => self.random.of(&["-- x\n", "# x\n", "-- it's\n"]),
            _ => self.random.of(&["-- x\n", "--x\n", "-- it's\n"]),
        };
        let block = match self.dialect {
            Dialect::Postgres => {
                self.random
                    .of(&["/* x */", "/* /* x */ y */", "/**/", "/* it's */"])
            }
            _ => self
                .random
                .of(&["/* x */", "/**/", "/* it's */", "/* -- */"]),
        };
        match self.random.below(24) {
            0 => "  ".to_owned(),
            1 => "\n".to_owned(),
            2 => "\t".to_owned(),
            3 => "\r\n".to_owned(),
            4 => format!(" {block} "),
            5 => format!(" {line}"),
            _ => " ".to_owned(),
        }
    }

    /// A word in any case.
    pub(super) fn word(&mut self, word: &str) -> String {
        match self.random.below(3) {
            0 => word.to_ascii_lowercase(),
            1 => word
                .chars()
                .enumerate()
                .map(|(at, c)| {
                    if at % 2 == 0 {
                        c.to_ascii_uppercase()
                    } else {
                        c.to_ascii_lowercase()
                    }
                })
                .collect(),
            _ => word.to_owned(),
        }
    }

    pub(super) fn column(&mut self) -> String {
        let name = match self.kind {
            Kind::Any => self.random.of(NAMES),
            Kind::Numbers => self.random.of(&["id", "age", "flags", "balance"]),
            Kind::Texts => self.random.of(&["name", "email", "status"]),
        };
        let quoted = match self.dialect {
            Dialect::Sqlite => match self.random.below(3) {
                0 => format!("\"{name}\""),
                1 => format!("[{name}]"),
                _ => format!("`{name}`"),
            },
            Dialect::Postgres => format!("\"{name}\""),
            Dialect::Mysql => format!("`{name}`"),
        };
        match self.random.below(8) {
            0 => quoted,
            1 => format!("u.{name}"),
            2 => name.to_ascii_uppercase(),
            _ => name.to_owned(),
        }
    }

    pub(super) fn number(&mut self) -> String {
        let own: &[&str] = match self.dialect {
            Dialect::Sqlite => &[
                "0x10",
                "0xFF",
                "0XaB",
                "-0x1",
                "0xFFFFFFFFFFFFFFFF",
                "0x7fffffffffffffff",
                "0x0",
                "1_000",
                "0x1_0",
            ],
            Dialect::Postgres => &["0x10", "1_000"],
            Dialect::Mysql => &["0x10", "0xFF", "0xaB", "0b101", "0x0", "0x1"],
        };
        if self.random.one_in(5) {
            self.random.of(own)
        } else {
            self.random.of(NUMBERS)
        }
        .to_owned()
    }

    pub(super) fn string(&mut self) -> String {
        let own: &[&str] = match self.dialect {
            Dialect::Sqlite => &["x'41'", "X'00fF'", "x''", "'a\\nb'", "'\\'", "'\\\\'"],
            Dialect::Postgres => &[
                "E'a\\nb'",
                "e'it\\'s'",
                "E'\\x41\\101\\u00e4'",
                "E'\\\\'",
                "U&'d\\0061t'",
                "U&'!0061' UESCAPE '!'",
                "$$it's$$",
                "$x$a$$b$x$",
                "'a\\nb'",
                "'\\'",
                "'\\\\'",
                "'a'\n'b'",
                "'a' -- x\n 'b'",
                "E'a'\n'\\n'",
                "B'101'",
                "X'1F'",
                "N'x'",
                "E'\\U0001f600'",
                "E'\\q'",
                "$$\\$$",
            ],
            Dialect::Mysql => &[
                "\"a\"",
                "\"it's\"",
                "\"a\"\"b\"",
                "'it\\'s'",
                "\"a\\\"b\"",
                "'a\\nb'",
                "'\\\\'",
                "'a\\%'",
                "'a\\_b'",
                "'\\0x'",
                "'\\q'",
                "'a' 'b'",
                "'a' \"b\"",
                "x'41'",
                "X'4142'",
                "b'1000001'",
                "B'0'",
                "N'x'",
                "_utf8mb4'x'",
                "_latin1'abc'",
                "_binary 'x'",
                "_utf8mb4 X'41'",
                "'\\Z'",
                "'\\b'",
                "'\\r\\t'",
            ],
        };
        if self.random.one_in(3) {
            self.random.of(own)
        } else {
            self.random.of(STRINGS)
        }
        .to_owned()
    }

    /// An operand.
    pub(super) fn leaf(&mut self) -> String {
        match (self.random.below(10), self.kind) {
            (0..=2, _) => self.column(),
            (3..=5, Kind::Any) | (3..=8, Kind::Numbers) => self.number(),
            (6..=8, Kind::Any) | (3..=8, Kind::Texts) => self.string(),
            (_, Kind::Any) => {
                let words = ["NULL", "TRUE", "FALSE", "null", "(1)", "(NULL)"];
                self.random.of(&words).to_owned()
            }
            _ => self.random.of(&["NULL", "(NULL)"]).to_owned(),
        }
    }
}
