//! What writing statements answer, several in one transaction, and foreign keys.

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

/// Tables, a statement that writes to them, and the rows of `granted_c` (by its columns as text) after.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "p INTEGER REFERENCES granted_p (id) ON DELETE CASCADE",
        "DELETE FROM granted_p WHERE id = 1",
        "2",
    ),
    (
        "p INTEGER REFERENCES granted_p ON DELETE SET NULL",
        "DELETE FROM granted_p WHERE id = 1",
        "null 2",
    ),
    (
        "p INTEGER DEFAULT 2 REFERENCES granted_p ON DELETE SET DEFAULT",
        "DELETE FROM granted_p WHERE id = 1",
        "2 2",
    ),
    (
        "p INTEGER REFERENCES granted_p ON UPDATE CASCADE",
        "UPDATE granted_p SET id = 9 WHERE id = 1",
        "2 9",
    ),
    (
        "p INTEGER REFERENCES granted_p ON UPDATE SET NULL",
        "UPDATE granted_p SET id = 9 WHERE id = 1",
        "null 2",
    ),
    (
        "p INTEGER REFERENCES granted_p",
        "UPDATE granted_c SET p = 2 WHERE p = 1",
        "2 2",
    ),
    (
        "p INTEGER REFERENCES granted_p",
        "INSERT INTO granted_c (p) VALUES (2)",
        "1 2 2",
    ),
    (
        "p INTEGER REFERENCES granted_p",
        "INSERT INTO granted_c (p) SELECT id FROM granted_p",
        "1 1 2 2 3",
    ),
    (
        "p INTEGER, FOREIGN KEY (p) REFERENCES granted_p (id) ON DELETE CASCADE",
        "DELETE FROM granted_p",
        "",
    ),
    (
        "p INTEGER REFERENCES granted_p DEFERRABLE INITIALLY DEFERRED",
        "INSERT INTO granted_c (p) VALUES (1)",
        "1 1 2",
    ),
    (
        "p INTEGER REFERENCES granted_p ON DELETE RESTRICT",
        "DELETE FROM granted_p WHERE id = 3",
        "1 2",
    ),
    (
        "p INTEGER PRIMARY KEY REFERENCES granted_p ON DELETE CASCADE) WITHOUT ROWID --",
        "DELETE FROM granted_p WHERE id = 1",
        "2",
    ),
    (
        "p INTEGER REFERENCES granted_p ON DELETE CASCADE",
        "REPLACE INTO granted_p (id) VALUES (1)",
        "2",
    ),
    (
        "p INTEGER REFERENCES granted_p ON DELETE CASCADE",
        "DELETE FROM granted_p WHERE id = 1 RETURNING id",
        "2",
    ),
];

#[tokio::test]
async fn foreign_keys_of_sqlite_work() {
    for (columns, sql, expected) in KEYS {
        let fixture = Fixture::new(Dialect::Sqlite).await;
        for setup in [
            "CREATE TABLE granted_p (id INTEGER PRIMARY KEY)".to_owned(),
            format!("CREATE TABLE granted_c ({columns}\n)"),
            "INSERT INTO granted_p VALUES (1), (2), (3)".to_owned(),
            "INSERT INTO granted_c (p) VALUES (1), (2)".to_owned(),
        ] {
            // What ends the line of columns is a comment's.
            let setup = setup.replace(" --\n)", "");
            fixture
                .exec(&setup, &[])
                .await
                .unwrap_or_else(|error| panic!("{setup}: {error}"));
        }
        let written = fixture.write(sql, &[]).await;
        written.unwrap_or_else(|error| panic!("{columns}: {sql}: {error}"));
        let found = fixture
            .query("SELECT p FROM granted_c ORDER BY p", &[])
            .await;
        let found: Vec<serde_json::Map<String, Value>> =
            serde_json::from_str(&found.unwrap()).unwrap();
        let found: Vec<String> = found.iter().map(|row| row["p"].to_string()).collect();
        assert_eq!(found.join(" "), *expected, "{columns}: {sql}");
    }
}

#[tokio::test]
async fn keys_of_sqlite_over_several_tables() {
    let fixture = Fixture::new(Dialect::Sqlite).await;
    for sql in [
        "CREATE TABLE granted_p (a INTEGER, b TEXT, PRIMARY KEY (a, b))",
        "CREATE TABLE granted_c (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, \
         FOREIGN KEY (a, b) REFERENCES granted_p (a, b) ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE granted_g (id INTEGER PRIMARY KEY, c INTEGER REFERENCES granted_c (id) ON DELETE CASCADE)",
        "CREATE TABLE granted_t (id INTEGER PRIMARY KEY, up INTEGER REFERENCES granted_t (id) ON DELETE CASCADE)",
        "INSERT INTO granted_p VALUES (1, 'x'), (2, 'y')",
        "INSERT INTO granted_c VALUES (1, 1, 'x'), (2, 2, 'y')",
        "INSERT INTO granted_g VALUES (1, 1), (2, 2)",
        "INSERT INTO granted_t VALUES (1, NULL), (2, 1), (3, 2), (4, 3)",
        "UPDATE granted_p SET b = 'z' WHERE a = 1",
        "DELETE FROM granted_p WHERE a = 1",
        "DELETE FROM granted_t WHERE id = 2",
        "ALTER TABLE granted_g ADD COLUMN t INTEGER REFERENCES granted_t (id)",
        "UPDATE granted_g SET t = 1",
    ] {
        fixture
            .exec(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    for (sql, expected) in [
        ("SELECT id FROM granted_c", r#"[{"id":2}]"#),
        ("SELECT id, t FROM granted_g", r#"[{"id":2,"t":1}]"#),
        ("SELECT id FROM granted_t", r#"[{"id":1}]"#),
    ] {
        assert_eq!(fixture.query(sql, &[]).await.unwrap(), expected, "{sql}");
    }
    // Violations are the engine's to say.
    for sql in [
        "INSERT INTO granted_c VALUES (9, 9, 'x')",
        "DELETE FROM granted_t WHERE id = 1",
        "UPDATE granted_g SET c = 77",
    ] {
        let error = fixture.exec(sql, &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "FOREIGN KEY constraint failed", "{sql}");
    }
    // In one transaction children may come first.
    let deferred = "CREATE TABLE granted_d (id INTEGER PRIMARY KEY, t INTEGER REFERENCES granted_t DEFERRABLE INITIALLY DEFERRED)";
    fixture.exec(deferred, &[]).await.unwrap();
    let statements: [(&str, &[Value]); 2] = [
        ("INSERT INTO granted_d VALUES (1, 50)", &[]),
        ("INSERT INTO granted_t VALUES (50, NULL)", &[]),
    ];
    batch(&fixture, &statements).await.unwrap();
    let error = batch(&fixture, &statements[..1]).await.unwrap_err();
    assert!(error.to_string().contains("constraint failed"), "{error}");
    let lost: [(&str, &[Value]); 1] = [("INSERT INTO granted_d VALUES (2, 51)", &[])];
    let error = batch(&fixture, &lost).await.unwrap_err();
    assert_eq!(error.to_string(), "FOREIGN KEY constraint failed");
    for table in [
        "granted_d",
        "granted_g",
        "granted_c",
        "granted_p",
        "granted_t",
    ] {
        let sql = format!("DROP TABLE {table}");
        fixture
            .exec(&sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// A key that the operator made leads where the plugin may not go: the statement is refused, and says
/// why, whoever ran the same one before.
#[tokio::test]
async fn keys_that_lead_out_of_the_grant_are_refused() {
    let fixture = Fixture::new(Dialect::Sqlite).await;
    let setup = "CREATE TABLE granted_p (id INTEGER PRIMARY KEY, up INTEGER REFERENCES secret (id)); \
                 CREATE TABLE orders (id INTEGER PRIMARY KEY, p INTEGER REFERENCES granted_p (id) ON DELETE CASCADE); \
                 INSERT INTO granted_p VALUES (1, NULL), (2, NULL), (3, NULL); INSERT INTO orders VALUES (1, 1), (2, 2)";
    fixture.admin(setup).await.unwrap();
    let everything = scope(Access::ReadWrite, &["granted_*", "orders", "secret"]);
    let run = async |grants: &DbGrants, sql: &str| {
        let written = fixture.databases.exec(grants, sql, &[], deadline()).await;
        written.map(|written| written.affected)
    };
    let delete = "DELETE FROM granted_p WHERE id = 1";
    let insert = "INSERT INTO granted_p (up) VALUES (1)";
    for round in 0..2 {
        for (sql, word) in [(delete, "orders"), (insert, "secret")] {
            let error = run(&grants(), sql).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            let text = error.to_string();
            assert!(
                text.contains("foreign key") && text.contains(word),
                "{text}"
            );
        }
        if round == 0 {
            assert_eq!(run(&everything, insert).await.unwrap(), 1);
            assert_eq!(
                run(&everything, "DELETE FROM granted_p WHERE id = 2")
                    .await
                    .unwrap(),
                1
            );
        }
    }
    let left = fixture.admin("SELECT id FROM orders").await.unwrap();
    assert_eq!(left, [[Some("1".to_owned())]]);
    // The key is refused where a plugin makes it.
    for sql in [
        "CREATE TABLE granted_k (id INTEGER REFERENCES secret (id))",
        "CREATE TABLE granted_k (id INTEGER, FOREIGN KEY (id) REFERENCES orders (id) ON DELETE SET NULL)",
        "ALTER TABLE granted_a ADD COLUMN k INTEGER REFERENCES secret (id)",
    ] {
        let error = run(&grants(), sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(
            error.to_string().contains("a foreign key to table"),
            "{error}"
        );
    }
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

/// An index is its table's: who may not write the table does not drop it.
#[tokio::test]
async fn an_index_belongs_to_its_table() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let fixture = Fixture::new(dialect).await;
        for sql in [
            "CREATE INDEX granted_looks_granted ON secret (s)",
            "CREATE INDEX looks_foreign ON granted_a (s)",
        ] {
            fixture.admin(sql).await.unwrap();
        }
        for sql in [
            "DROP INDEX granted_looks_granted",
            "DROP INDEX IF EXISTS granted_looks_granted",
            "drop index GRANTED_LOOKS_GRANTED",
        ] {
            let error = fixture.exec(sql, &[]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{sql}: {error}");
            assert!(error.to_string().contains("\"secret\""), "{error}");
        }
        fixture.exec("DROP INDEX looks_foreign", &[]).await.unwrap();
        fixture
            .exec("DROP INDEX IF EXISTS looks_foreign", &[])
            .await
            .unwrap();
        let error = fixture
            .exec("DROP INDEX looks_foreign", &[])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
        let again = fixture.admin("DROP INDEX granted_looks_granted").await;
        again.unwrap();
    }
}
