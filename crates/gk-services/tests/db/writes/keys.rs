//! Foreign keys and indexes.

use super::*;

/// Tables, a statement that writes to them, and the rows of `granted_c` (by its columns as text)
/// after.
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
        "CREATE TABLE granted_g (id INTEGER PRIMARY KEY, c INTEGER REFERENCES granted_c (id) ON \
         DELETE CASCADE)",
        "CREATE TABLE granted_t (id INTEGER PRIMARY KEY, up INTEGER REFERENCES granted_t (id) ON \
         DELETE CASCADE)",
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
    let deferred = "CREATE TABLE granted_d (id INTEGER PRIMARY KEY, t INTEGER REFERENCES \
         granted_t DEFERRABLE INITIALLY DEFERRED)";
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

/// A key that the operator made leads where the plugin may not go: the statement is refused, and
/// says why, whoever ran the same one before.
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
        "CREATE TABLE granted_k (id INTEGER, FOREIGN KEY (id) REFERENCES orders (id) ON DELETE \
         SET NULL)",
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
