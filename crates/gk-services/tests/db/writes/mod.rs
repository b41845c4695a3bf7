//! What writing statements answer, several in one transaction, and foreign keys.

mod keys;

use gk_hostapi::{ErrorKind, HostError};
use gk_services::db::{BATCH_STATEMENTS_MAX, DbGrants, DbLimits, Dialect, Written};
use gk_sqlguard::Access;
use serde_json::{Value, json};

use super::fixture::{ENGINES, Fixture, deadline, grants, scope};

fn rows(written: &Written) -> &str {
    let rows = written.rows.as_ref().map(|rows| std::str::from_utf8(rows));
    rows.unwrap_or(Ok("none")).unwrap()
}

fn id(written: &Written) -> Option<u64> {
    written.last_insert_id.as_ref().and_then(|id| id.as_u64())
}

async fn numbered(fixture: &Fixture) {
    let key = match fixture.dialect {
        Dialect::Sqlite => "INTEGER PRIMARY KEY",
        Dialect::Postgres => "SERIAL PRIMARY KEY",
        Dialect::Mysql => "INTEGER AUTO_INCREMENT PRIMARY KEY",
    };
    let sql = format!("CREATE TABLE granted_n (id {key}, s VARCHAR(20) UNIQUE)");
    fixture.exec(&sql, &[]).await.unwrap();
}

#[tokio::test]
async fn a_new_rows_number_is_told() {
    for dialect in [Dialect::Sqlite, Dialect::Mysql] {
        let fixture = Fixture::new(dialect).await;
        numbered(&fixture).await;
        let sql = "INSERT INTO granted_n (s) VALUES (?)";
        for expected in 1..=3 {
            let written = fixture.write(sql, &[json!(format!("x{expected}"))]).await;
            let written = written.unwrap();
            assert_eq!((written.affected, id(&written)), (1, Some(expected)));
        }
        // Of several rows SQLite tells the last one's, MySQL the first one's.
        let two = "INSERT INTO granted_n (s) VALUES ('a'), ('b')";
        let written = fixture.write(two, &[]).await.unwrap();
        let expected = if dialect == Dialect::Sqlite { 5 } else { 4 };
        assert_eq!((written.affected, id(&written)), (2, Some(expected)));
        // None where there is no new row, whatever was inserted before.
        let ignored = match dialect {
            Dialect::Sqlite => "INSERT OR IGNORE INTO granted_n (s) VALUES ('a')",
            _ => "INSERT IGNORE INTO granted_n (s) VALUES ('a')",
        };
        for sql in [
            ignored,
            "UPDATE granted_n SET s = 'c' WHERE s = 'a'",
            "DELETE FROM granted_n WHERE s = 'c'",
        ] {
            let written = fixture.write(sql, &[]).await.unwrap();
            assert_eq!(id(&written), None, "{dialect:?} {sql}");
        }
        if dialect == Dialect::Sqlite {
            // It has no number, and another table's is not its.
            let table = "CREATE TABLE granted_w (k TEXT PRIMARY KEY) WITHOUT ROWID";
            fixture.exec(table, &[]).await.unwrap();
            let written = fixture
                .write("INSERT INTO granted_w VALUES ('x')", &[])
                .await;
            assert_eq!(id(&written.unwrap()), None);
        }
    }
    let fixture = Fixture::new(Dialect::Postgres).await;
    numbered(&fixture).await;
    let sql = "INSERT INTO granted_n (s) VALUES ('x')";
    assert_eq!(id(&fixture.write(sql, &[]).await.unwrap()), None);
}

#[tokio::test]
async fn what_is_written_is_returned() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        numbered(&fixture).await;
        let sql = "INSERT INTO granted_n (s) VALUES (?), (?) RETURNING id, s";
        let args = [json!("a"), json!("b")];
        let written = fixture.write(sql, &args).await.unwrap();
        let expected = r#"[{"id":1,"s":"a"},{"id":2,"s":"b"}]"#;
        assert_eq!(
            (written.affected, rows(&written)),
            (2, expected),
            "{dialect:?}"
        );
        // db_query runs it, too, where the plugin may write.
        let sql = "INSERT INTO granted_n (s) VALUES ('c') RETURNING id";
        assert_eq!(fixture.query(sql, &[]).await.unwrap(), r#"[{"id":3}]"#);
        let sql = "DELETE FROM granted_n WHERE id >= 2 RETURNING id";
        let written = fixture.write(sql, &[]).await.unwrap();
        assert_eq!(
            (written.affected, rows(&written)),
            (2, r#"[{"id":2},{"id":3}]"#)
        );
        assert_eq!(
            fixture.query("DELETE FROM granted_n", &[]).await.unwrap(),
            "[]"
        );
        let left = fixture
            .query("SELECT COUNT(*) AS n FROM granted_n", &[])
            .await;
        assert_eq!(left.unwrap(), r#"[{"n":0}]"#);
        let sql = "INSERT INTO granted_n (s) VALUES ('x')";
        assert_eq!(rows(&fixture.write(sql, &[]).await.unwrap()), "none");
        // MariaDB's UPDATE has no RETURNING.
        if dialect != Dialect::Mysql {
            let sql = "UPDATE granted_n SET s = 'y' RETURNING s";
            let written = fixture.write(sql, &[]).await.unwrap();
            assert_eq!((written.affected, rows(&written)), (1, r#"[{"s":"y"}]"#));
        }
        // Who may only read writes nothing, and who may only write reads nothing.
        let sql = "INSERT INTO granted_n (s) VALUES ('z') RETURNING s";
        let reader = scope(Access::Read, &["granted_*"]);
        let error = fixture.query_as(&reader, sql, &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "database write access not granted");
        let writer = scope(Access::Write, &["granted_*"]);
        let result = fixture.databases.exec(&writer, sql, &[], deadline()).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Denied);
    }
    let fixture = Fixture::new(Dialect::Postgres).await;
    let sql = "WITH gone AS (DELETE FROM granted_a WHERE id = 1 RETURNING s) SELECT s FROM gone";
    assert_eq!(fixture.query(sql, &[]).await.unwrap(), r#"[{"s":"a1"}]"#);
    let reader = scope(Access::Read, &["granted_*"]);
    let error = fixture.query_as(&reader, sql, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

/// What is over a limit is an error, and then nothing is written.
#[tokio::test]
async fn too_much_returned_is_not_written() {
    for dialect in ENGINES {
        let mut limits = DbLimits::default();
        limits.max_rows = 2;
        let fixture = Fixture::with_limits(dialect, limits).await;
        numbered(&fixture).await;
        let sql = "INSERT INTO granted_n (s) VALUES ('a'), ('b'), ('c') RETURNING id";
        let error = fixture.write(sql, &[]).await.unwrap_err();
        assert!(error.to_string().contains("max_rows"), "{error}");
        let left = fixture
            .query("SELECT COUNT(*) AS n FROM granted_n", &[])
            .await;
        assert_eq!(left.unwrap(), r#"[{"n":0}]"#, "{dialect:?}");
    }
}

async fn batch(
    fixture: &Fixture,
    statements: &[(&str, &[Value])],
) -> Result<Vec<Written>, HostError> {
    let databases = &fixture.databases;
    databases.batch(&grants(), statements, deadline()).await
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        numbered(&fixture).await;
        let insert = "INSERT INTO granted_n (s) VALUES (?)";
        let count = "SELECT COUNT(*) AS n FROM granted_n";
        let (a, b) = ([json!("a")], [json!("b")]);
        let statements: [(&str, &[Value]); 5] = [
            (insert, &a),
            (insert, &b),
            (count, &[]),
            ("UPDATE granted_n SET s = 'c' WHERE s = ?", &a),
            ("DELETE FROM granted_n WHERE s = 'nothing'", &[]),
        ];
        let results = batch(&fixture, &statements).await.unwrap();
        let affected: Vec<u64> = results.iter().map(|result| result.affected).collect();
        assert_eq!(affected, [1, 1, 0, 1, 0], "{dialect:?}");
        assert_eq!(rows(&results[2]), r#"[{"n":2}]"#);
        assert_eq!(rows(&results[0]), "none");
        if dialect != Dialect::Postgres {
            assert_eq!((id(&results[0]), id(&results[1])), (Some(1), Some(2)));
        }
        // The last one fails, and so none is carried out; the text says which.
        for last in [
            "INSERT INTO granted_n (s) VALUES ('b')",
            "SELECT nothing FROM granted_n",
        ] {
            let new = [json!("new")];
            let statements: [(&str, &[Value]); 3] = [
                (insert, &new),
                ("DELETE FROM granted_n WHERE s = 'c'", &[]),
                (last, &[]),
            ];
            let error = batch(&fixture, &statements).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
            assert!(error.to_string().starts_with("statement 3: "), "{error}");
            assert_eq!(fixture.query(count, &[]).await.unwrap(), r#"[{"n":2}]"#);
        }
        // What is refused is refused before the first one runs.
        for (refused, kind) in [
            ("DELETE FROM secret", ErrorKind::Denied),
            ("SELECT * FROM secret", ErrorKind::Denied),
            ("COMMIT", ErrorKind::Denied),
            ("INSERT INTO granted_n (s) VALUES (?)", ErrorKind::Invalid),
            ("@other: DELETE FROM granted_n", ErrorKind::Denied),
        ] {
            let statements: [(&str, &[Value]); 2] =
                [("DELETE FROM granted_n", &[]), (refused, &[])];
            let error = batch(&fixture, &statements).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{refused}: {error}");
            assert!(error.to_string().starts_with("statement 2: "), "{error}");
            assert_eq!(fixture.query(count, &[]).await.unwrap(), r#"[{"n":2}]"#);
        }
        // Where a change of tables is part of a transaction, it is one here.
        let statements: [(&str, &[Value]); 2] = [
            ("CREATE TABLE granted_x (a INTEGER)", &[]),
            ("INSERT INTO granted_x VALUES (1)", &[]),
        ];
        let made = batch(&fixture, &statements).await;
        match dialect {
            Dialect::Mysql => {
                let error = made.unwrap_err();
                assert!(error.to_string().contains("no table is changed"), "{error}");
            }
            _ => assert_eq!(made.unwrap()[1].affected, 1),
        }
        assert!(batch(&fixture, &[]).await.unwrap().is_empty());
        let many: Vec<(&str, &[Value])> = vec![(count, &[]); BATCH_STATEMENTS_MAX + 1];
        let error = batch(&fixture, &many).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert_eq!(
            batch(&fixture, &many[1..]).await.unwrap().len(),
            BATCH_STATEMENTS_MAX
        );
    }
}

/// The limits of a result and of arguments hold for a batch as a whole.
#[tokio::test]
async fn a_batch_has_the_limits_of_one_statement() {
    for dialect in ENGINES {
        let mut limits = DbLimits::default();
        limits.max_result_bytes = 100;
        limits.max_arg_bytes = 100;
        let fixture = Fixture::with_limits(dialect, limits).await;
        let text = "SELECT '0123456789012345678901234567890123456789xyz' AS s";
        let error = batch(&fixture, &[(text, &[]), (text, &[])])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(batch(&fixture, &[(text, &[])]).await.is_ok());
        let (sql, arg) = ("DELETE FROM granted_a WHERE s = ?", [json!("x".repeat(60))]);
        let error = batch(&fixture, &[(sql, &arg), (sql, &arg)])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("max_arg_bytes"), "{error}");
        assert!(batch(&fixture, &[(sql, &arg)]).await.is_ok());
    }
}

/// A batch that is given up leaves nothing behind, neither rows nor a transaction.
#[tokio::test]
async fn a_batch_ends_at_its_deadline() {
    let fixture = Fixture::new(Dialect::Sqlite).await;
    let endless = "INSERT INTO granted_b (s) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                   WHERE i < 2000000000) SELECT COUNT(*) FROM n";
    let statements: [(&str, &[Value]); 2] = [("DELETE FROM granted_a", &[]), (endless, &[])];
    let soon = tokio::time::Instant::now() + std::time::Duration::from_millis(300);
    let error = fixture.databases.batch(&grants(), &statements, soon).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    let left = fixture
        .query("SELECT COUNT(*) AS n FROM granted_a", &[])
        .await;
    assert_eq!(left.unwrap(), r#"[{"n":2}]"#);
    let sql = "DELETE FROM granted_a WHERE id = 1";
    assert_eq!(fixture.exec(sql, &[]).await.unwrap(), 1);
}

/// SQLite keeps points in time as text: what it writes itself comes as other engines' do.
#[tokio::test]
async fn timestamps_of_sqlite_are_rfc_3339() {
    let fixture = Fixture::new(Dialect::Sqlite).await;
    let table = "CREATE TABLE granted_t (id INTEGER PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, d DATETIME, \
                 z TIMESTAMP WITH TIME ZONE, n TIMESTAMP, day DATE, t TEXT)";
    fixture.exec(table, &[]).await.unwrap();
    let insert = "INSERT INTO granted_t (d, z, n, day, t) VALUES ('2026-01-31 13:30:00.5', '2026-01-31 13:30:00+02:00', \
                  1767225600, '2026-01-31', '2026-01-31 13:30:00')";
    fixture.exec(insert, &[]).await.unwrap();
    let found = fixture.query("SELECT * FROM granted_t", &[]).await.unwrap();
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    let at = found[0]["at"].as_str().unwrap();
    at.parse::<jiff::Timestamp>().unwrap();
    for (column, expected) in [
        ("d", json!("2026-01-31T13:30:00.5Z")),
        ("z", json!("2026-01-31T13:30:00+02:00")),
        ("n", json!(1_767_225_600)),
        ("day", json!("2026-01-31")),
        ("t", json!("2026-01-31 13:30:00")),
    ] {
        assert_eq!(found[0][column], expected, "{column}");
    }
}
