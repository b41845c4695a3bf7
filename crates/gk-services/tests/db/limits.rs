//! Limits at the limit, deadlines, cancelled statements, concurrency, statements that recurse.

use std::sync::Arc;
use std::time::Duration;

use gk_hostapi::ErrorKind;
use gk_services::db::{DbLimits, Dialect};
use gk_sqlguard::{self as guard, NESTING_MAX, STATEMENT_BYTES_MAX, TOKENS_MAX};
use serde_json::json;
use tokio::time::Instant;

use super::fixture::{ENGINES, Fixture, grants};

fn limits(change: impl FnOnce(&mut DbLimits)) -> DbLimits {
    let mut limits = DbLimits::default();
    change(&mut limits);
    limits
}

#[tokio::test]
async fn rows_and_bytes_of_a_result() {
    for dialect in ENGINES {
        let fixture = Fixture::with_limits(
            dialect,
            limits(|limits| {
                limits.max_rows = 2;
                limits.max_result_bytes = 100;
                limits.max_arg_bytes = 60;
            }),
        )
        .await;
        assert!(fixture.query("SELECT id FROM granted_a", &[]).await.is_ok());
        let sql = "SELECT a.id FROM granted_a a CROSS JOIN granted_b b";
        let error = fixture.query(sql, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().contains("max_rows"), "{error}");
        let long = json!("x".repeat(60));
        let rows = fixture
            .query("SELECT ? AS s", std::slice::from_ref(&long))
            .await;
        assert_eq!(rows.unwrap().len(), 70);
        let text = if dialect == Dialect::Mysql {
            "CHAR"
        } else {
            "TEXT"
        };
        let sql = format!("SELECT CAST(? AS {text}) AS s, CAST(? AS {text}) AS t");
        let error = fixture
            .query(&sql, &[long.clone(), long])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("max_arg_bytes"), "{error}");
        let sql = format!("SELECT '{}' AS s", "x".repeat(92));
        let error = fixture.query(&sql, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        let sql = format!("SELECT '{}' AS s", "x".repeat(90));
        assert_eq!(fixture.query(&sql, &[]).await.unwrap().len(), 100);
        // What is over a limit leaves the pool in order.
        for _ in 0..20 {
            fixture
                .query("SELECT a.id FROM granted_a a CROSS JOIN granted_b b", &[])
                .await
                .unwrap_err();
        }
        assert!(fixture.query("SELECT id FROM granted_a", &[]).await.is_ok());
    }
}

/// A row that is too large is refused by its length. The column that hides it would else let it
/// pass, after it was read as a whole.
#[tokio::test]
async fn a_large_row_of_a_server_is_not_read() {
    for (dialect, text) in [(Dialect::Mysql, "LONGTEXT"), (Dialect::Postgres, "TEXT")] {
        let limits = limits(|limits| {
            limits.max_result_bytes = 1000;
            limits.max_arg_bytes = 1000;
        });
        let fixture = Fixture::with_limits(dialect, limits).await;
        let table = format!("CREATE TABLE granted_l (id INTEGER, s {text})");
        let rows = "INSERT INTO granted_l VALUES (1, REPEAT('x', 60000)), (2, REPEAT('x', 80000))";
        for sql in [table.as_str(), rows] {
            fixture.admin(sql).await.unwrap();
        }
        let sql = "SELECT s, id AS s FROM granted_l WHERE id = ?";
        let rows = fixture.query(sql, &[json!(1)]).await.unwrap();
        assert_eq!(rows, r#"[{"s":1}]"#);
        let error = fixture.query(sql, &[json!(2)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(
            error.to_string().contains("a row has more bytes"),
            "{error}"
        );
        assert!(fixture.query("SELECT id FROM granted_a", &[]).await.is_ok());
    }
}

/// Statements that fill temporary files for as long as they may run.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_files_are_bounded() {
    let bound = |limits: &mut DbLimits| limits.max_temp_bytes = 8 * 1024 * 1024;
    for (dialect, sql) in [
        (
            Dialect::Sqlite,
            "WITH RECURSIVE n(i, s) AS (SELECT 1, printf('%0100d', 1) UNION SELECT i + 1, printf('%0100d', i) FROM n) \
             SELECT COUNT(*) FROM (SELECT s FROM n ORDER BY s)",
        ),
        (
            Dialect::Postgres,
            "SELECT COUNT(*) FROM (SELECT DISTINCT repeat('x', 1000) || a.g || b.g AS s FROM generate_series(1, 1000) AS a(g), \
             generate_series(1, 1000) AS b(g) ORDER BY 1) x",
        ),
        (
            Dialect::Mysql,
            "SELECT COUNT(*) FROM (SELECT DISTINCT CONCAT(REPEAT('x', 200), a.id, b.id, c.id, d.id) AS s FROM granted_l a, \
             granted_l b, granted_l c, granted_l d) x",
        ),
    ] {
        let fixture = Fixture::with_limits(dialect, limits(bound)).await;
        endless(&fixture).await;
        let error = fixture.query(sql, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{dialect:?}: {error}");
        assert!(error.to_string().contains("max_temp_bytes"), "{error}");
        assert!(fixture.query("SELECT id FROM granted_a", &[]).await.is_ok());
    }
}

#[tokio::test]
async fn arguments_are_counted() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        let error = fixture.query("SELECT ?", &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error
                .to_string()
                .contains("1 placeholders, and 0 arguments"),
            "{error}"
        );
        let many = |count: usize| {
            format!(
                "SELECT id FROM granted_a WHERE id IN ({})",
                vec!["?"; count].join(",")
            )
        };
        let args = vec![json!(1); 999];
        assert_eq!(
            fixture.query(&many(999), &args).await.unwrap(),
            r#"[{"id":1}]"#
        );
        let error = fixture
            .query(&many(1000), &vec![json!(1); 1000])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
}

/// A query that runs for hours, of functions that the guard allows.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) \
                       SELECT COUNT(*) AS gk_endless FROM n";
/// The same for MariaDB, which counts recursions.
const ENDLESS_JOIN: &str = "SELECT COUNT(*) AS gk_endless FROM granted_l a, granted_l b, granted_l c, granted_l d, granted_l e \
                            WHERE a.id + b.id + c.id + d.id + e.id < 0";

async fn endless(fixture: &Fixture) -> &'static str {
    if fixture.dialect != Dialect::Mysql {
        return ENDLESS;
    }
    let rows: Vec<String> = (0..200).map(|id| format!("({id})")).collect();
    fixture
        .admin("CREATE TABLE granted_l (id INTEGER)")
        .await
        .unwrap();
    fixture
        .admin(&format!("INSERT INTO granted_l VALUES {}", rows.join(",")))
        .await
        .unwrap();
    ENDLESS_JOIN
}

/// How many statements of ours the server says are running.
async fn running(fixture: &Fixture) -> Option<usize> {
    let sql = match fixture.dialect {
        Dialect::Sqlite => return None,
        Dialect::Postgres => {
            "SELECT query FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() \
             AND query LIKE '%gk_endless%' AND pid <> pg_backend_pid()"
        }
        Dialect::Mysql => {
            "SELECT info FROM information_schema.processlist WHERE db = DATABASE() \
             AND info LIKE '%gk_endless%' AND id <> CONNECTION_ID()"
        }
    };
    Some(fixture.admin(sql).await.unwrap().len())
}

async fn until_running(fixture: &Fixture, expected: usize) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while running(fixture)
        .await
        .is_some_and(|count| count != expected)
    {
        assert!(
            Instant::now() < deadline,
            "{:?} statements run",
            running(fixture).await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cancelled_at_its_deadline() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        let sql = endless(&fixture).await;
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = fixture
            .databases
            .query(&grants(), sql, &[], deadline)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(Instant::now() >= deadline - Duration::from_millis(50));
        until_running(&fixture, 0).await;
        assert!(fixture.query("SELECT id FROM granted_a", &[]).await.is_ok());
        // A deadline that has passed.
        let error = fixture
            .databases
            .query(&grants(), "SELECT 1", &[], Instant::now())
            .await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cancelled_with_its_future() {
    for dialect in ENGINES {
        let fixture = Arc::new(
            Fixture::with_limits(dialect, limits(|limits| limits.max_connections = 1)).await,
        );
        let sql = endless(&fixture).await;
        let other = fixture.clone();
        let statement = tokio::spawn(async move { other.query(sql, &[]).await });
        until_running(&fixture, 1).await;
        if dialect == Dialect::Sqlite {
            // It has the only place once another one does not get it.
            let deadline = Instant::now() + Duration::from_millis(200);
            while fixture
                .databases
                .query(&grants(), "SELECT 1", &[], deadline)
                .await
                .is_ok()
            {
                tokio::task::yield_now().await;
            }
        }
        statement.abort();
        assert!(statement.await.unwrap_err().is_cancelled());
        until_running(&fixture, 0).await;
        // Its connection, the only one, is free again or replaced.
        assert!(fixture.query("SELECT id FROM granted_a", &[]).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_wait_for_a_connection_until_their_deadline() {
    for dialect in ENGINES {
        let fixture = Arc::new(
            Fixture::with_limits(dialect, limits(|limits| limits.max_connections = 2)).await,
        );
        let writes: Vec<_> = (0..40)
            .map(|index| {
                let fixture = fixture.clone();
                tokio::spawn(async move {
                    let args = [json!(1000 + index), json!("x")];
                    fixture
                        .exec("INSERT INTO granted_a (id, s) VALUES (?, ?)", &args)
                        .await
                })
            })
            .collect();
        let reads: Vec<_> = (0..40)
            .map(|_| {
                let fixture = fixture.clone();
                tokio::spawn(async move {
                    fixture
                        .query("SELECT COUNT(*) AS n FROM granted_a", &[])
                        .await
                })
            })
            .collect();
        for write in writes {
            assert_eq!(write.await.unwrap().unwrap(), 1);
        }
        for read in reads {
            read.await.unwrap().unwrap();
        }
        let rows = fixture
            .query("SELECT COUNT(*) AS n FROM granted_a", &[])
            .await
            .unwrap();
        assert_eq!(rows, r#"[{"n":42}]"#);
    }
}

/// Statements that overflow the stack of a parser that is let loose on them: each has to come to an
/// answer, and the test's process has to be there for it.
#[test]
fn nothing_overflows_the_stack() {
    let repeat = |text: &str, count: usize| text.repeat(count);
    let statements = [
        format!(
            "SELECT 1 FROM granted_a {}",
            repeat("JOIN granted_a ON 1 = 1 ", 400)
        ),
        format!("SELECT 1 FROM granted_a{}", repeat(", granted_a", 1400)),
        format!("SELECT {}1", repeat("1+", 32 * 1024)),
        format!("SELECT {}1", repeat("1+", 2000)),
        format!("SELECT {}1", repeat("1 OR ", 1300)),
        format!("SELECT 'a'{}", repeat("||'a'", 1300)),
        format!("SELECT {}1{}", repeat("(", 4000), repeat(")", 4000)),
        format!(
            "SELECT {}1{}",
            repeat("(", NESTING_MAX),
            repeat(")", NESTING_MAX)
        ),
        format!(
            "SELECT * FROM {}granted_a{}",
            repeat("(", NESTING_MAX),
            repeat(")", NESTING_MAX)
        ),
        format!("SELECT {}1", repeat("NOT ", 4000)),
        format!("SELECT {}1", repeat("- ", 4000)),
        format!("SELECT {}1", repeat("+ ", 4000)),
        format!(
            "SELECT {}1{}",
            repeat("CASE WHEN 1 = 1 THEN ", 500),
            repeat(" END", 500)
        ),
        format!("SELECT {}1{}", repeat("(SELECT ", 500), repeat(")", 500)),
        format!(
            "SELECT {}1{}",
            repeat("(SELECT ", NESTING_MAX),
            repeat(")", NESTING_MAX)
        ),
        format!(
            "SELECT * FROM {}x{}",
            repeat("(SELECT * FROM ", 30),
            repeat(") y", 30)
        ),
        format!("SELECT 1 {}", repeat("UNION ALL SELECT 1 ", 800)),
        format!(
            "SELECT 1 WHERE {}1 = 1",
            repeat("EXISTS (SELECT 1 WHERE ", 30)
        ),
        format!(
            "SELECT {}",
            repeat("ABS(", NESTING_MAX) + "1" + &repeat(")", NESTING_MAX)
        ),
        format!("SELECT 1 {}", repeat("IS NULL ", 2000)),
        format!("SELECT a{}", repeat("[1]", 2000)),
        format!("SELECT a{}", repeat("::text", 1300)),
        format!("SELECT a{}", repeat(".a", 2000)),
        format!("SELECT a{}", repeat(" COLLATE x", 1000)),
        format!("SELECT a{}", repeat(" AT TIME ZONE 'x'", 800)),
        format!("SELECT {}a", repeat("INTERVAL ", 1500)),
        format!(
            "WITH {} SELECT 1",
            (0..700)
                .map(|i| format!("x{i} AS (SELECT 1)"))
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!(
            "INSERT INTO granted_a VALUES {}",
            vec!["(1)"; 1300].join(",")
        ),
        format!(
            "CREATE TABLE granted_x (a INTEGER CHECK ({}1))",
            repeat("1+", 2000)
        ),
        format!("SELECT CAST(1 AS INTEGER{})", repeat("[]", 2000)),
        format!(
            "SELECT CAST(1 AS {}INTEGER{})",
            repeat("ARRAY<", 2000),
            repeat(">", 2000)
        ),
        format!("{}SELECT 1", repeat("EXPLAIN ", 1900)),
        repeat("BEGIN ", 2000),
        repeat("IF 1 THEN ", 1500),
        repeat("CASE ", 3000),
    ];
    for dialect in ENGINES {
        for sql in &statements {
            // A verdict is all that is asked for; which one is the tables' matter.
            let verdict = guard::analyse(dialect, sql);
            if sql.len() > STATEMENT_BYTES_MAX {
                assert!(matches!(verdict, Err(guard::Refusal::Large(_))));
            }
        }
    }
    // At the limits themselves statements pass.
    for dialect in ENGINES {
        let sum = |terms: usize| format!("SELECT {}1 AS n", repeat("1+", terms));
        // Without the AS, its name, and the first word.
        assert!(
            guard::analyse(dialect, &sum((TOKENS_MAX - 4) / 2)).is_ok(),
            "{dialect:?}"
        );
        let error = guard::analyse(dialect, &sum(TOKENS_MAX / 2)).unwrap_err();
        assert!(matches!(error, guard::Refusal::Large(_)), "{error}");
        let deep =
            |depth: usize| format!("SELECT {}1{} AS n", repeat("(", depth), repeat(")", depth));
        assert!(
            guard::analyse(dialect, &deep(NESTING_MAX)).is_ok(),
            "{dialect:?}"
        );
        let error = guard::analyse(dialect, &deep(NESTING_MAX + 1)).unwrap_err();
        assert!(matches!(error, guard::Refusal::Large(_)), "{error}");
        let long = |bytes: usize| format!("SELECT '{}'", "x".repeat(bytes - 9));
        assert!(guard::analyse(dialect, &long(STATEMENT_BYTES_MAX)).is_ok());
        let error = guard::analyse(dialect, &long(STATEMENT_BYTES_MAX + 1)).unwrap_err();
        assert!(matches!(error, guard::Refusal::Large(_)), "{error}");
    }
}

/// The largest statements that pass do the engines no harm either.
#[tokio::test]
async fn engines_survive_the_largest_statements() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        for sql in [
            format!("SELECT {}1 AS n", "1+".repeat(2000)),
            format!(
                "SELECT {}1{} AS n",
                "(".repeat(NESTING_MAX),
                ")".repeat(NESTING_MAX)
            ),
            format!(
                "SELECT 1 AS n FROM granted_a {}",
                "JOIN granted_a ON 1 = 1 ".repeat(300)
            ),
            format!("SELECT 1 AS n {}", "UNION ALL SELECT 1 ".repeat(600)),
            format!(
                "SELECT id FROM granted_a WHERE {}id = 1",
                "id = 1 OR ".repeat(900)
            ),
        ] {
            // The engine's own limit is an answer as well as a result.
            let _ = fixture.query(&sql, &[]).await;
            assert!(
                fixture.query("SELECT id FROM granted_a", &[]).await.is_ok(),
                "{dialect:?}"
            );
        }
    }
}
