//! Expressions and statements.

use std::fmt::Write;

use gk_services::db::Dialect;

use super::words::{Generator, Kind, NAMES};

impl Generator {
    pub(super) fn operator(&mut self) -> &'static str {
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

    pub(super) fn function(&mut self, depth: usize) -> String {
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
    pub(super) fn special(&mut self, depth: usize) -> String {
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

    pub(super) fn expr(&mut self, depth: usize) -> String {
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
    pub(super) fn choose(&mut self) {
        self.kind = match (self.dialect, self.random.below(5)) {
            (Dialect::Postgres, 0 | 1) => Kind::Numbers,
            (Dialect::Postgres, 2 | 3) => Kind::Texts,
            _ => Kind::Any,
        };
    }

    pub(super) fn select(&mut self) -> String {
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
    pub(super) fn write(&mut self) -> String {
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
                "INSERT INTO granted_users (id, created_at, {column}) VALUES (77, '2026-01-31', \
                 {expr})"
            ),
            1 => format!("DELETE FROM granted_users WHERE {condition} AND {expr} IS NOT NULL"),
            _ => format!("UPDATE granted_users SET {column} = {expr} WHERE {condition}"),
        }
    }
}
