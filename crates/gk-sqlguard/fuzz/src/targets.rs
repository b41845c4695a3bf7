//! What is fuzzed: the guard of SQL. The target fails by panicking.

use gk_sqlguard::{Analysis, Dialect, analyse};

/// Text outside of quotes, in the engine's own terms.
fn bare(dialect: Dialect, sql: &str) -> String {
    let name_quote = if dialect == Dialect::Postgres {
        '"'
    } else {
        '`'
    };
    let mut bare = String::new();
    let mut open = None;
    for c in sql.chars() {
        match open {
            Some(quote) if c == quote => open = None,
            Some(_) => {}
            None if c == '\'' || c == name_quote => open = Some(c),
            None => bare.push(c),
        }
    }
    assert_eq!(open, None, "a quote stays open: {sql}");
    bare
}

/// What a plugin would have to write to get the same text.
fn as_given(dialect: Dialect, analysis: &Analysis) -> String {
    let mut sql = analysis.sql.clone();
    let sign = if dialect == Dialect::Postgres {
        '$'
    } else {
        '?'
    };
    for number in (1..=analysis.placeholders).rev() {
        sql = sql.replace(&format!("{sign}{number}"), "?");
    }
    sql
}

/// A statement, for each engine.
pub fn guard(data: &[u8]) {
    let Ok(sql) = std::str::from_utf8(data) else {
        return;
    };
    for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql] {
        let Ok(analysis) = analyse(dialect, sql) else {
            continue;
        };
        // The engine gets one statement of plain signs, without comments.
        let bare = bare(dialect, &analysis.sql);
        for sign in ["--", "/*", ";", "\\", "\0", "{"] {
            assert!(!bare.contains(sign), "{sign} in {}", analysis.sql);
        }
        assert!(bare.is_ascii(), "{}", analysis.sql);
        // Every name is in quotes: what is left are keywords, functions, types and numbers.
        assert!(
            !bare.to_ascii_lowercase().contains("secret"),
            "{}",
            analysis.sql
        );
        // What the host wrote means the same when it is given back, where no literal looks like a
        // placeholder.
        if analysis.sql.contains('\'') {
            continue;
        }
        let again = analyse(dialect, &as_given(dialect, &analysis));
        match again {
            Ok(again) => {
                assert_eq!(again.reads, analysis.reads, "{}", analysis.sql);
                assert_eq!(again.writes, analysis.writes, "{}", analysis.sql);
                assert_eq!(again.kind, analysis.kind, "{}", analysis.sql);
            }
            Err(error) => assert!(
                error.to_string().contains("too large") || analysis.sql.len() > 8000,
                "{}: {error}",
                analysis.sql
            ),
        }
    }
}
