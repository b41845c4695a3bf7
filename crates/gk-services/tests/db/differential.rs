//! Generated statements: of every one that the guard lets pass, what the guard makes of it has to give
//! the engine's own answer to the statement as it was given.
//!
//! The generator knows each engine's literals, operators, functions and clauses, and the ways to set
//! them apart: blanks, comments, cases, quotes. Most of what it makes is valid; what is not has to
//! fail before and after. `GK_DIFFERENTIAL=n` makes n statements for each engine, and
//! `GK_DIFFERENTIAL_SEED` begins elsewhere.

use std::fmt::Write;

use gk_services::db::Dialect;
use gk_sqlguard as guard;

use super::direct::Direct;
use super::fixture::Fixture;
use super::honest;

/// Statements for each engine where nobody says how many.
const STATEMENTS: u64 = 3000;

/// The share of them that has to be compared, in percent: the rest is refused, or valid nowhere.
const COMPARED_MIN: u64 = 50;

/// A generator that does not change from one release of a crate to the next.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next()).unwrap() % count
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

struct Generator {
    random: Random,
    dialect: Dialect,
    kind: Kind,
}

/// What operands a statement has: PostgreSQL does not mix them.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
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

const NAMES: &[&str] = &["id", "name", "email", "status", "age", "flags", "balance"];

impl Generator {
    /// Blanks, or a comment in their place.
    fn gap(&mut self) -> String {
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
    fn word(&mut self, word: &str) -> String {
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

    fn column(&mut self) -> String {
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

    fn number(&mut self) -> String {
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

    fn string(&mut self) -> String {
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
    fn leaf(&mut self) -> String {
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

    fn operator(&mut self) -> &'static str {
        const SHARED: &[&str] = &[
            "+", "-", "*", "/", "%", "=", "<>", "!=", "<", "<=", ">", ">=", "AND", "OR", "||", "&",
            "|", "<<", ">>", "LIKE", "NOT LIKE",
        ];
        let own: &[&str] = match self.dialect {
            Dialect::Sqlite => &[
                "==",
                "IS",
                "IS NOT",
                "GLOB",
                "NOT GLOB",
                "IS NOT DISTINCT FROM",
                "IS DISTINCT FROM",
                "->>",
                "->",
            ],
            Dialect::Postgres => &[
                "^",
                "#",
                "~",
                "!~",
                "~*",
                "ILIKE",
                "NOT ILIKE",
                "SIMILAR TO",
                "IS DISTINCT FROM",
                "IS NOT DISTINCT FROM",
                "^@",
                "~~",
                "!~~",
            ],
            Dialect::Mysql => &[
                "DIV",
                "MOD",
                "XOR",
                "^",
                "<=>",
                "&&",
                "REGEXP",
                "NOT REGEXP",
                "RLIKE",
                "mod",
            ],
        };
        let (of_numbers, of_texts) = (
            ["+", "-", "*", "/", "%", "+", "-", "*"],
            ["||", "||", "||", "<", "=", "LIKE", "~"],
        );
        match self.kind {
            Kind::Numbers if !self.random.one_in(5) => self.random.of(&of_numbers),
            Kind::Texts if !self.random.one_in(4) => self.random.of(&of_texts),
            _ if self.random.one_in(3) => self.random.of(own),
            _ => self.random.of(SHARED),
        }
    }

    fn function(&mut self, depth: usize) -> String {
        const SHARED: &[(&str, usize)] = &[
            ("ABS", 1),
            ("LENGTH", 1),
            ("UPPER", 1),
            ("LOWER", 1),
            ("TRIM", 1),
            ("LTRIM", 1),
            ("COALESCE", 2),
            ("COALESCE", 3),
            ("NULLIF", 2),
            ("ROUND", 1),
            ("ROUND", 2),
            ("REPLACE", 3),
            ("SUBSTR", 2),
            ("SUBSTR", 3),
            ("FLOOR", 1),
            ("CEIL", 1),
            ("SIGN", 1),
            ("CONCAT", 2),
            ("CONCAT_WS", 3),
            ("SUBSTRING", 3),
        ];
        let own: &[(&str, usize)] = match self.dialect {
            Dialect::Sqlite => &[
                ("typeof", 1),
                ("hex", 1),
                ("quote", 1),
                ("instr", 2),
                ("ifnull", 2),
                ("iif", 3),
                ("max", 2),
                ("min", 3),
                ("unicode", 1),
                ("date", 1),
                ("datetime", 2),
                ("json_extract", 2),
                ("json_array", 2),
                ("printf", 2),
                ("sqrt", 1),
                ("pow", 2),
                ("likely", 1),
                ("unhex", 1),
                ("ltrim", 2),
                ("total_free_none", 1),
                ("json_quote", 1),
                ("julianday", 1),
            ],
            Dialect::Postgres => &[
                ("greatest", 2),
                ("least", 3),
                ("md5", 1),
                ("left", 2),
                ("strpos", 2),
                ("initcap", 1),
                ("quote_literal", 1),
                ("to_json", 1),
                ("pg_typeof", 1),
                ("btrim", 2),
                ("translate", 3),
                ("split_part", 3),
                ("num_nulls", 2),
                ("format", 2),
                ("to_hex", 1),
                ("jsonb_build_array", 2),
                ("ascii", 1),
                ("reverse", 1),
                ("encode", 2),
                ("lpad_none", 2),
            ],
            Dialect::Mysql => &[
                ("HEX", 1),
                ("IF", 3),
                ("IFNULL", 2),
                ("ISNULL", 1),
                ("GREATEST", 2),
                ("LEFT", 2),
                ("INSTR", 2),
                ("LOCATE", 2),
                ("FIELD", 3),
                ("ELT", 3),
                ("CONV", 3),
                ("BIN", 1),
                ("QUOTE", 1),
                ("MOD", 2),
                ("CHAR_LENGTH", 1),
                ("ASCII", 1),
                ("STRCMP", 2),
                ("CRC32", 1),
                ("MD5", 1),
                ("DATE", 1),
                ("DATE_FORMAT", 2),
                ("CHARSET", 1),
                ("COLLATION", 1),
                ("JSON_QUOTE", 1),
                ("TRUNCATE", 2),
            ],
        };
        let choices = if self.random.one_in(2) { own } else { SHARED };
        let (name, count) = choices[self.random.below(choices.len())];
        let args: Vec<String> = (0..count).map(|_| self.expr(depth)).collect();
        format!("{}({})", self.word(name), args.join(", "))
    }

    /// Expressions with a syntax of their own.
    fn special(&mut self, depth: usize) -> String {
        let (a, b, c) = (self.expr(depth), self.expr(depth), self.expr(depth));
        let types: &[&str] = match self.dialect {
            Dialect::Sqlite => &[
                "INTEGER",
                "TEXT",
                "REAL",
                "NUMERIC",
                "BLOB",
                "INT",
                "VARCHAR(10)",
                "DECIMAL(10, 2)",
            ],
            Dialect::Postgres => &[
                "text",
                "varchar(3)",
                "numeric(10, 2)",
                "boolean",
                "double precision",
                "char(2)",
                "bigint",
                "date",
            ],
            Dialect::Mysql => &[
                "CHAR",
                "CHAR(3)",
                "SIGNED",
                "UNSIGNED",
                "DECIMAL(10, 2)",
                "BINARY",
                "DATE",
                "DATETIME",
                "DOUBLE",
                "UNSIGNED INTEGER",
            ],
        };
        let ty = self.random.of(types);
        let own: Vec<String> = match self.dialect {
            Dialect::Sqlite => vec![
                format!("{a} COLLATE NOCASE = {b}"),
                format!("{a} ISNULL"),
                format!("{a} NOTNULL"),
                format!("{a} NOT NULL"),
                format!("({a}, {b}) = ({b}, {c})"),
                format!("{a} LIKE {b} ESCAPE '\\'"),
                format!("({a}) IS ({b})"),
                format!("~{a}"),
            ],
            Dialect::Postgres => vec![
                format!("({a})::{ty}"),
                format!("{a}::text || {b}::text"),
                format!("({a}) IS NULL"),
                format!("{a} COLLATE \"C\" < {b}"),
                format!("ROW({a}, {b}) = ROW({b}, {c})"),
                format!("{a} = ANY (ARRAY[{b}, {c}])"),
                format!("substring({a} FROM 1 FOR 2)"),
                format!("position({a} IN {b})"),
                format!("trim(BOTH {a} FROM {b})"),
                format!("trim(LEADING FROM {a})"),
                format!("{a} LIKE {b} ESCAPE '!'"),
                format!("({a}) IS UNKNOWN"),
                format!("(ARRAY[{a}, {b}])[1]"),
                format!("{a} BETWEEN SYMMETRIC {b} AND {c}"),
                format!("(u).{}", self.random.of(NAMES)),
                format!("to_json(u) IS NOT NULL AND {a} IS NULL"),
                format!("- - {}", self.number()),
                format!("~ -{}", self.random.of(&["1", "7"])),
                format!("@ -{}", self.random.of(&["1", "7"])),
            ],
            Dialect::Mysql => vec![
                format!("BINARY {}", self.leaf()),
                format!("BINARY {} = {b}", self.leaf()),
                format!("CONVERT({a}, {ty})"),
                format!("CONVERT({a} USING utf8mb4)"),
                format!("!{}", self.leaf()),
                format!("! ({a}) + 1"),
                format!("{a} COLLATE utf8mb4_bin = {b}"),
                format!("{a} LIKE {b} ESCAPE '|'"),
                format!("{a} IS UNKNOWN"),
                format!("ROW({a}, {b}) = ROW({b}, {c})"),
                format!("SUBSTRING({a} FROM 2)"),
                format!("TRIM(LEADING FROM {a})"),
                format!("TRIM(TRAILING 'x' FROM {a})"),
                format!("POSITION({a} IN {b})"),
                format!(
                    "'2026-01-31' + INTERVAL {} DAY",
                    self.random.of(&["1", "-1", "'2'", "id"])
                ),
                format!(
                    "DATE_ADD('2026-01-31', INTERVAL {} HOUR_MINUTE)",
                    self.random.of(&["'1:30'", "'-0:5'"])
                ),
                format!(
                    "EXTRACT({} FROM '2026-01-31 10:00:00')",
                    self.random.of(&["YEAR", "DAY_HOUR", "MINUTE"])
                ),
                format!(
                    "{}--{}",
                    self.random.of(&["5", "id"]),
                    self.random.of(&["2", "id"])
                ),
                format!("- - {}", self.number()),
            ],
        };
        match self.random.below(12) {
            0 => format!("CASE WHEN {a} THEN {b} ELSE {c} END"),
            1 => format!("CASE {a} WHEN {b} THEN 1 END"),
            2 => format!("{a} IN ({b}, {c})"),
            3 => format!("{a} NOT IN ({b}, NULL)"),
            4 => format!("{a} BETWEEN {b} AND {c}"),
            5 => format!("NOT {a}"),
            6 => format!("CAST({a} AS {ty})"),
            7 => format!("{a} IS NOT NULL"),
            8 => format!("(SELECT {a})"),
            _ => own[self.random.below(own.len())].clone(),
        }
    }

    fn expr(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.leaf();
        }
        match self.random.below(10) {
            0 | 1 => self.leaf(),
            2..=5 => {
                let (left, operator, right) =
                    (self.expr(depth - 1), self.operator(), self.expr(depth - 1));
                // Signs need no blanks; words and minus do.
                let is_sign = operator.chars().all(|c| "+*/%=<>|&".contains(c));
                if is_sign
                    && self.random.one_in(4)
                    && right
                        .starts_with(|c: char| c.is_ascii_alphanumeric() || c == '(' || c == '\'')
                {
                    return format!("{left}{operator}{right}");
                }
                let words: Vec<String> = operator.split(' ').map(|word| self.word(word)).collect();
                format!(
                    "{left}{}{}{}{right}",
                    self.gap(),
                    words.join(" "),
                    self.gap()
                )
            }
            6 => format!("({})", self.expr(depth - 1)),
            7 => self.function(depth - 1),
            _ => self.special(depth - 1),
        }
    }

    /// Operands for the next statement.
    fn choose(&mut self) {
        self.kind = match (self.dialect, self.random.below(5)) {
            (Dialect::Postgres, 0 | 1) => Kind::Numbers,
            (Dialect::Postgres, 2 | 3) => Kind::Texts,
            _ => Kind::Any,
        };
    }

    fn select(&mut self) -> String {
        let depth = self.random.below(3);
        let mut sql = String::new();
        let gap = self.gap();
        write!(sql, "{}{gap}", self.word("SELECT")).unwrap();
        if self.random.one_in(8) {
            write!(sql, "{} ", self.word("DISTINCT")).unwrap();
        }
        let columns = 1 + self.random.below(2);
        for column in 0..columns {
            let comma = if column > 0 { ", " } else { "" };
            write!(sql, "{comma}{}", self.expr(depth)).unwrap();
            match self.random.below(4) {
                0 => write!(sql, " {} c{column}", self.word("AS")).unwrap(),
                1 => write!(sql, " c{column}").unwrap(),
                _ => {}
            }
        }
        let from = self.random.of(&[
            "granted_users u",
            "granted_users AS u",
            "granted_users u",
            "(SELECT * FROM granted_users) u",
        ]);
        let gap = self.gap();
        write!(sql, "{gap}{} {from}", self.word("FROM")).unwrap();
        if self.random.one_in(2) {
            let gap = self.gap();
            write!(sql, "{gap}{} {}", self.word("WHERE"), self.expr(depth)).unwrap();
        }
        let direction = self.random.of(&["", " ASC", " DESC", " desc"]);
        let nulls = match self.dialect {
            Dialect::Mysql => "",
            _ => self.random.of(&["", " NULLS FIRST", " NULLS LAST", ""]),
        };
        write!(sql, " ORDER BY {}{direction}{nulls}, u.id", self.column()).unwrap();
        let limits: &[&str] = match self.dialect {
            Dialect::Postgres => &[
                "",
                " LIMIT 2",
                " LIMIT 2 OFFSET 1",
                " OFFSET 1",
                " FETCH FIRST 1 ROW ONLY",
                " LIMIT ALL",
            ],
            _ => &[
                "",
                " LIMIT 2",
                " LIMIT 2 OFFSET 1",
                " LIMIT 1, 2",
                " limit 3",
            ],
        };
        sql.push_str(self.random.of(limits));
        sql.push_str(
            self.random
                .of(&["", "", ";", " -- end", "\n;\n", " /* end */"]),
        );
        sql
    }

    /// A statement that writes, and one that shows what it wrote.
    fn write(&mut self) -> String {
        let depth = self.random.below(2);
        let column = self.random.of(&["name", "email", "status", "flags", "age"]);
        let expr = self
            .expr(depth)
            .replace("u.", "granted_users.")
            .replace("(u)", "(granted_users)")
            .replace("to_json(u)", "1");
        let condition = format!(
            "id {} {}",
            self.random.of(&["=", "<", ">=", "<>"]),
            1 + self.random.below(4)
        );
        match self.random.below(4) {
            0 => format!(
                "INSERT INTO granted_users (id, created_at, {column}) VALUES (77, '2026-01-31', {expr})"
            ),
            1 => format!("DELETE FROM granted_users WHERE {condition} AND {expr} IS NOT NULL"),
            _ => format!("UPDATE granted_users SET {column} = {expr} WHERE {condition}"),
        }
    }
}

/// What an answer is compared by: errors' words name places in the text.
fn outcome(answer: &super::direct::Answer) -> Option<&Vec<Vec<Option<String>>>> {
    answer.as_ref().ok().map(|(_, rows)| rows)
}

async fn run(dialect: Dialect) {
    let fixture = Fixture::new(dialect).await;
    honest::tables(&fixture).await;
    let mut direct = Direct::open(&fixture).await;
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let count: u64 = number("GK_DIFFERENTIAL").unwrap_or(STATEMENTS);
    let seed: u64 = number("GK_DIFFERENTIAL_SEED").unwrap_or(1);
    let mut generator = Generator {
        random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        dialect,
        kind: Kind::Any,
    };
    let (mut compared, mut failed, mut refused) = (0, 0, 0);
    let mut wrong = Vec::new();
    for _ in 0..count {
        let writes = generator.random.one_in(6);
        generator.choose();
        let given = if writes {
            generator.write()
        } else {
            generator.select()
        };
        let Ok(analysis) = guard::analyse(dialect, &given) else {
            refused += 1;
            continue;
        };
        let show = "SELECT * FROM granted_users ORDER BY id";
        let show = writes.then_some(show);
        let before = direct.answer_and(&given, show).await;
        let after = direct.answer_and(&analysis.sql, show).await;
        compared += 1;
        failed += u64::from(before.is_err());
        if outcome(&before) != outcome(&after) {
            wrong.push(format!(
                "{given}\n  {}\n  {before:?}\n  {after:?}",
                analysis.sql
            ));
        }
    }
    eprintln!(
        "{dialect:?}: {count} statements, {compared} compared, of which the engine fails {failed}; {refused} refused, {} differ",
        wrong.len()
    );
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        compared * 100 >= count * COMPARED_MIN,
        "{compared} of {count}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    run(Dialect::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    run(Dialect::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    run(Dialect::Mysql).await;
}
