//! The guard's verdicts, as tables: what a statement becomes, and what it touches.

use std::collections::BTreeSet;

use super::*;
use crate::analysis::TableName;
use crate::functions::allowed_functions;

/// Reads, writes.
fn touched(dialect: Dialect, sql: &str) -> (String, String) {
    let analysis = analyse(dialect, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let join = |tables: &BTreeSet<TableName>| {
        let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
        names.join(" ")
    };
    (join(&analysis.reads), join(&analysis.writes))
}

#[test]
fn the_engine_gets_what_the_host_wrote() {
    use Dialect::{Mysql, Postgres, Sqlite};
    for (dialect, given, written) in [
        (
            Postgres,
            "select A, \"B\" from T /* x */ where a=? and b<? -- y",
            r#"SELECT "a", "B" FROM "t" WHERE "a" = $1 AND "b" < $2"#,
        ),
        (
            Sqlite,
            "select [a], \"b\" from T where a=?;",
            "SELECT `a`, `b` FROM `T` WHERE `a` = ?1",
        ),
        (
            Mysql,
            "select a, \"it's\" from t where a=? # x",
            "SELECT `a`, 'it''s' FROM `t` WHERE `a` = ?",
        ),
        // Functions that look like columns do not become columns.
        (Mysql, "SELECT current_user", ""),
        (
            Mysql,
            r"SELECT 'a\'b\\\%', b'1', 0xf",
            r"SELECT 'a''b\\\\%', B'1', 0xf",
        ),
        (
            Postgres,
            r"SELECT E'a\t\\', $$x'$$, U&'!0061' UESCAPE '!'",
            "SELECT E'a\t\\\\', 'x''', 'a'",
        ),
        (
            Sqlite,
            "SELECT 0X1f, x'1F' WHERE a IS NOT ?",
            "SELECT 0x1f, X'1F' WHERE `a` IS DISTINCT FROM ?1",
        ),
        (
            Sqlite,
            "SELECT a ISNULL AS b, a NOTNULL < 1 AS c",
            "SELECT `a` ISNULL AS `b`, `a` NOTNULL < 1 AS `c`",
        ),
        (Postgres, "SELECT '?', $$", ""),
        (Postgres, "SELECT '?' || ?", r#"SELECT '?' || $1"#),
        (Postgres, "SELECT ?-?", r#"SELECT $1 - $2"#),
    ] {
        match analyse(dialect, given) {
            Ok(analysis) => assert_eq!(analysis.sql, written),
            Err(error) => assert_eq!(written, "", "{given}: {error}"),
        }
    }
}

#[test]
fn scopes_of_with() {
    for (sql, reads) in [
        ("WITH x AS (SELECT 1) SELECT * FROM x", ""),
        ("WITH x AS (SELECT * FROM x) SELECT * FROM x", "x"),
        ("WITH RECURSIVE x AS (SELECT * FROM x) SELECT * FROM x", ""),
        (
            "WITH x AS (SELECT 1), y AS (SELECT * FROM x) SELECT * FROM y",
            "",
        ),
        (
            "WITH y AS (SELECT * FROM x), x AS (SELECT 1) SELECT * FROM y",
            "x",
        ),
        ("WITH x AS (SELECT 1) SELECT * FROM s.x", "s.x"),
        (
            "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) y, x",
            "x",
        ),
        (
            "(WITH x AS (SELECT 1) SELECT * FROM x) UNION SELECT * FROM x",
            "x",
        ),
        ("WITH x AS (SELECT 1) SELECT (SELECT 1 FROM x)", ""),
        (
            "WITH x AS (WITH y AS (SELECT 1) SELECT * FROM y) SELECT * FROM x, y",
            "y",
        ),
    ] {
        for dialect in [Dialect::Postgres, Dialect::Mysql] {
            assert_eq!(touched(dialect, sql).0, reads, "{sql}");
        }
    }
    // Names are compared as the engine does.
    let other_case = "WITH X AS (SELECT 1) SELECT * FROM x";
    assert_eq!(touched(Dialect::Sqlite, other_case).0, "");
    assert_eq!(touched(Dialect::Postgres, other_case).0, "");
    assert_eq!(touched(Dialect::Mysql, other_case).0, "x");
    let quoted = "WITH \"X\" AS (SELECT 1) SELECT * FROM x";
    assert_eq!(touched(Dialect::Postgres, quoted).0, "x");
    // What is written is never hidden.
    let write = "WITH t AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM t)";
    assert_eq!(
        touched(Dialect::Postgres, write),
        (String::new(), "t".to_owned())
    );
}

#[test]
fn reads_and_writes() {
    for (sql, reads, writes) in [
        ("INSERT INTO a SELECT * FROM b", "b", "a"),
        ("INSERT INTO a VALUES (1, (SELECT 1 FROM b))", "b", "a"),
        (
            "UPDATE a SET x = (SELECT 1 FROM b) WHERE y IN (SELECT 1 FROM c)",
            "b c",
            "a",
        ),
        ("UPDATE a SET x = 1 FROM b", "b", "a"),
        ("DELETE FROM a USING b", "b", "a"),
        (
            "INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET x = (SELECT 1 FROM b)",
            "b",
            "a",
        ),
        ("CREATE TABLE a (x INTEGER REFERENCES b (x))", "", "a"),
        ("INSERT INTO a VALUES (1) RETURNING x", "a", "a"),
        (
            "WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM b",
            "a b",
            "a",
        ),
        (
            "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE",
            "b",
            "a",
        ),
        ("ALTER TABLE a RENAME TO b", "", "a b"),
        ("ALTER TABLE s.a RENAME TO b", "", "s.a s.b"),
        ("DROP TABLE a, b", "", "a b"),
        ("CREATE INDEX i ON a (lower(x))", "", "a"),
    ] {
        let expected = (reads.to_owned(), writes.to_owned());
        assert_eq!(touched(Dialect::Postgres, sql), expected, "{sql}");
    }
    for (sql, writes) in [
        ("UPDATE a, b SET a.x = b.x", "a b"),
        ("UPDATE a JOIN b ON a.x = b.x SET a.x = 1", "a b"),
        ("DELETE t FROM a AS t JOIN b ON t.x = b.x", "a b"),
        ("DELETE FROM a USING a JOIN b ON a.x = b.x", "a b"),
        ("RENAME TABLE a TO b", "a b"),
        ("UPDATE IGNORE a SET x = 1", "a"),
    ] {
        assert_eq!(touched(Dialect::Mysql, sql).1, writes, "{sql}");
    }
    for sql in [
        "CREATE TABLE a (x INTEGER REFERENCES b (x))",
        "CREATE TABLE a (x INTEGER, FOREIGN KEY (x) REFERENCES b (x))",
        "ALTER TABLE a ADD COLUMN x INTEGER REFERENCES b",
    ] {
        let keys = analyse(Dialect::Sqlite, sql).unwrap().keys;
        assert_eq!(keys, BTreeSet::from([TableName::new(None, "b")]), "{sql}");
    }
}

#[test]
fn names_that_an_engine_would_cut_are_refused() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
        let bytes = dialect.name_bytes_max();
        let select = |bytes: usize| format!("SELECT * FROM {}", "a".repeat(bytes));
        assert!(analyse(dialect, &select(bytes)).is_ok());
        let error = analyse(dialect, &select(bytes + 1)).unwrap_err();
        assert!(matches!(error, Refusal::Large(_)), "{error}");
    }
}

#[test]
fn every_allowed_function_is_a_plain_name() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
        for name in allowed_functions(dialect) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(plain), "{name}");
        }
    }
}

/// What runs on the stack it finds needs less than the room that is asked for.
#[test]
fn small_statements_fit_a_small_stack() {
    let shapes: [(&str, &str, &str); 14] = [
        ("SELECT ", "NOT ", "1"),
        ("SELECT ", "- ", "1"),
        ("SELECT ", "1 + ", "1"),
        ("SELECT 1", " IS NULL", ""),
        ("SELECT ", "CASE WHEN 1 THEN ", "1"),
        ("SELECT ", "CASE ", "1"),
        ("SELECT 1", " UNION SELECT 1", ""),
        ("SELECT 1 FROM a", " JOIN a", ""),
        ("SELECT 1 FROM a", " JOIN a ON 1 IN (SELECT 1)", ""),
        ("SELECT ", "INTERVAL ", "1"),
        ("SELECT ", "1 IN ", "1"),
        ("SELECT a", "::text", ""),
        ("", "EXPLAIN ", "SELECT 1"),
        ("", "WITH x AS ", "SELECT 1"),
    ];
    let mut statements = vec![
        "SELECT ((((1))))".to_owned(),
        "SELECT (SELECT (SELECT (SELECT (SELECT 1))))".to_owned(),
        "SELECT * FROM ((((a JOIN a ON 1 = 1))))".to_owned(),
        "SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT 1) x) x) x) x"
            .to_owned(),
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 WHERE 1 IN (SELECT CASE WHEN (SELECT COUNT(*) OVER \
         (ORDER BY 1)) > 1 THEN 1 END))"
            .to_owned(),
    ];
    for (before, part, after) in shapes {
        let words = part.split_whitespace().count().max(2);
        statements.push(format!(
            "{before}{}{after}",
            part.repeat(SMALL_TOKENS / words)
        ));
        let end = " END".repeat(SMALL_TOKENS / 5);
        statements.push(format!(
            "{before}{}{after}{end}",
            part.repeat(SMALL_TOKENS / 5)
        ));
    }
    let thread = std::thread::Builder::new().stack_size(SMALL_STACK_BYTES * 2 / 3);
    let work = move || {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
            for sql in &statements {
                let Ok(prepared) = scan::prepare(dialect, sql) else {
                    continue;
                };
                let tokens = tokens::tokenize(dialect, &prepared.text).unwrap();
                if known_verb(dialect, tokens.first().map(|first| &first.token)).is_err()
                    || tokens.len() > SMALL_TOKENS
                    || prepared.depth > SMALL_NESTING
                {
                    continue;
                }
                // No more stack than this thread has, which is two thirds of what is asked for.
                let _ = understand(dialect, tokens, prepared.placeholders, SMALL_RECURSION);
            }
        }
    };
    thread.spawn(work).unwrap().join().unwrap();
}

/// Statements of the tables, whose verdicts the engines confirm elsewhere.
fn known_statements(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    let own = match dialect {
        Dialect::Sqlite => include_str!("../../tests/cases/sqlite.sql"),
        Dialect::Postgres => include_str!("../../tests/cases/postgres.sql"),
        Dialect::Mysql => include_str!("../../tests/cases/mysql.sql"),
    };
    let shared = include_str!("../../tests/cases/shared.sql");
    let lines = shared.lines().chain(own.lines());
    lines.filter_map(|line| line.strip_prefix(['+', '-'])?.strip_prefix(' '))
}

/// Names that are quoted before the parse change neither a verdict nor what is run.
#[test]
fn quoting_names_first_changes_nothing() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
        let (mut accepted, mut quoted) = (0, 0);
        for sql in known_statements(dialect) {
            let Ok(prepared) = scan::prepare(dialect, sql) else {
                continue;
            };
            let Ok(tokens) = tokens::tokenize(dialect, &prepared.text) else {
                continue;
            };
            if known_verb(dialect, tokens.first().map(|first| &first.token)).is_err() {
                continue;
            }
            let mut with_quotes = tokens.clone();
            if tokens::quote_names(dialect, &mut with_quotes) {
                quoted += 1;
            }
            let placeholders = prepared.placeholders;
            let plain = stacker::grow(STACK_BYTES, || {
                understand(dialect, tokens, placeholders, RECURSION_MAX)
            });
            let quoted = stacker::grow(STACK_BYTES, || {
                understand(dialect, with_quotes, placeholders, RECURSION_MAX)
            });
            match (plain, quoted) {
                (Ok(plain), Ok(quoted)) => {
                    accepted += 1;
                    assert_eq!(plain, quoted, "{sql}");
                }
                // Then the plugin's own words decide.
                (_, Err(_)) => {}
                (Err(error), Ok(_)) => panic!("{sql}: {error}, but not with quotes"),
            }
        }
        assert!(accepted > 150 && quoted > 100, "{accepted}, {quoted}");
    }
}

/// Which statements need no second parse: the usual ones.
#[test]
fn usual_statements_are_parsed_once() {
    for (sql, once) in [
        (
            "SELECT id, name, t.owner FROM app_items t WHERE a = ? AND b <> 'x''y' ORDER BY c \
             LIMIT 20",
            true,
        ),
        (
            "SELECT COUNT(*) AS n, max(i.created) AS newest FROM items AS i GROUP BY name HAVING \
             COUNT(*) > 1",
            true,
        ),
        ("INSERT INTO items (id, name) VALUES (?, ?)", true),
        ("UPDATE items SET name = ?, n = n + 1 WHERE id = ?", true),
        ("DELETE FROM items WHERE id IN (?, ?)", true),
        // Written in another way; SQLite and MySQL would get a label, too.
        ("SELECT - 1", false),
        // Of this word the parser knows more than that it may be a name.
        ("SELECT level FROM items", false),
    ] {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
            let prepared = scan::prepare(dialect, sql).unwrap();
            let mut tokens = tokens::tokenize(dialect, &prepared.text).unwrap();
            tokens::quote_names(dialect, &mut tokens);
            let (mut statement, tokens) = tokens::parse(dialect, tokens, RECURSION_MAX).unwrap();
            Walk::new(dialect).statement(&mut statement).unwrap();
            let written = statement.to_string();
            assert_eq!(
                tokens::spell(&written, &tokens),
                once,
                "{dialect:?}: {written}"
            );
        }
    }
}

/// A text spells tokens only if it would be read as these.
#[test]
fn what_spells_tokens() {
    for (given, written, spells) in [
        ("SELECT a , 1", "SELECT `a`, 1", true),
        ("select a , 1", "SELECT `a`, 1", true),
        ("SELECT a , 1", "SELECT `a`, 12", false),
        ("SELECT a , 1", "SELECT `A`, 1", false),
        ("SELECT a , 1", "SELECT a, 1", false),
        ("SELECT a , 1", "SELECT `a`, 1, `b`", false),
        ("SELECT a , 1, b", "SELECT `a`, 1", false),
        ("SELECT 1 2", "SELECT 12", false),
        ("SELECT - - 1", "SELECT --1", false),
        ("SELECT 1 < = 1", "SELECT 1 <= 1", false),
        ("SELECT 'a' 'b'", "SELECT 'a''b'", false),
        ("SELECT 'a''b'", "SELECT 'a\u{fdd0}b'", true),
        ("SELECT 'a'' b'", "SELECT 'a\u{fdd0}b'", false),
        ("SELECT 'A'", "SELECT 'a'", false),
        ("SELECT f(a.b)", "SELECT f(`a`.`b`)", true),
        ("SELECT f(a.b)", "SELECT F(`a`.`b`)", false),
        ("SELECT f(?)", "SELECT f(?1)", true),
        ("SELECT f(?)", "SELECT f(?10)", false),
        ("SELECT f(?)", "SELECT f(?2)", false),
    ] {
        let prepared = scan::prepare(Dialect::Sqlite, given).unwrap();
        let mut tokens = tokens::tokenize(Dialect::Sqlite, &prepared.text).unwrap();
        tokens::quote_names(Dialect::Sqlite, &mut tokens);
        assert_eq!(tokens::spell(written, &tokens), spells, "{given} {written}");
    }
}
