//! Which statements run on the asking thread, and that no other one holds it.

use gk_sqlguard::{Dialect, analyse};

use super::*;
use crate::db::sqlite::Sqlite;
use gk_hostapi::ErrorKind;

struct Fixture {
    sqlite: Sqlite,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, b BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                 INSERT INTO t SELECT i, 'text ' || i, NULL FROM n;
                 INSERT INTO t VALUES (9000, replace(hex(zeroblob(50000)), '00', 'a'), zeroblob(1000000));
                 CREATE TABLE other (id INTEGER);",
            )
            .unwrap();
        let mut sqlite = Sqlite::open(&path, &DbLimits::default()).unwrap();
        // Steps are counted, and how fast this machine is does not matter.
        sqlite.quick.as_mut().unwrap().time_max = Duration::from_secs(600);
        Self {
            sqlite,
            _directory: directory,
        }
    }

    fn quick(&self) -> &Quick {
        self.sqlite.quick.as_deref().unwrap()
    }

    /// Answered here, and given up.
    fn counts(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.quick().answered), of(&self.quick().given_up))
    }

    async fn query(&self, sql: &str, args: Vec<Arg>) -> Result<Bytes, gk_hostapi::HostError> {
        let statement = Arc::new(analyse(Dialect::Sqlite, sql).unwrap());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        self.sqlite.query(statement, args, deadline).await
    }
}

#[tokio::test]
async fn short_reads_run_at_once() {
    let fixture = Fixture::new();
    for (number, (sql, args, expected)) in [
        (
            "SELECT id, s FROM t WHERE id = ?",
            vec![Arg::Int(7)],
            r#"[{"id":7,"s":"text 7"}]"#,
        ),
        ("SELECT s FROM t WHERE id = -1", vec![], "[]"),
        (
            "SELECT COUNT(*) AS n, MAX(id) AS m FROM t WHERE id < 5",
            vec![],
            r#"[{"n":4,"m":4}]"#,
        ),
        (
            "SELECT ? AS a",
            vec![Arg::Text("x".to_owned())],
            r#"[{"a":"x"}]"#,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let rows = fixture.query(sql, args).await.unwrap();
        assert_eq!(rows, expected.as_bytes());
        assert_eq!(fixture.counts(), (number as u64 + 1, 0), "{sql}");
    }
}

/// What would hold the asking thread, if it ran there to its end, is given up after few steps.
#[test]
fn nothing_holds_the_asking_thread() {
    let fixture = Fixture::new();
    let quick = fixture.quick();
    let patterns = format!(
        "SELECT COUNT(*) AS n FROM t WHERE s LIKE '{}b'",
        "%a".repeat(20)
    );
    let joins = format!("SELECT COUNT(*) AS n FROM t a{}", ", t".repeat(40));
    let heavy = [
        // Many steps.
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) \
         SELECT COUNT(*) AS c FROM n",
        "SELECT COUNT(*) AS n FROM t a, t b, t c WHERE a.s < b.s AND b.s < c.s",
        "SELECT id FROM t ORDER BY s DESC LIMIT 1",
        "SELECT s FROM t GROUP BY s HAVING MAX(id) > 4999",
        "SELECT MAX(s) AS m FROM t",
        // Long steps.
        &patterns,
        "SELECT COUNT(*) AS n FROM t WHERE s GLOB '*a*a*a*a*a*b'",
        "SELECT LENGTH(HEX(b)) AS n FROM t WHERE id = 9000",
        "SELECT REPLACE(s, 'a', 'bb') AS n FROM t WHERE id = 9000",
        "SELECT s FROM t WHERE id = 9000",
        "SELECT LENGTH(s || s) AS n FROM t WHERE id = 9000",
        "SELECT PRINTF('%1000000d', 1) AS n",
        // Long to compile.
        &joins,
        // Many rows.
        "SELECT id FROM t WHERE id <= 101",
    ];
    for (number, sql) in heavy.into_iter().enumerate() {
        let Ok(statement) = analyse(Dialect::Sqlite, sql) else {
            assert!(sql.contains("PRINTF"), "{sql}");
            continue;
        };
        let statement = Arc::new(statement);
        let before = fixture.counts();
        assert_eq!(quick.query(&statement, &[]), Answer::Later, "{sql}");
        assert_eq!(
            fixture.counts(),
            (before.0, before.1 + 1),
            "{number}: {sql}"
        );
        // It is not tried again.
        assert_eq!(quick.query(&statement, &[]), Answer::Later);
        assert_eq!(
            fixture.counts(),
            (before.0, before.1 + 1),
            "{number}: {sql}"
        );
        assert!(quick.steps.load(Ordering::Relaxed) <= STEPS_MAX);
    }
    // The connection is in order after all that.
    let statement = Arc::new(analyse(Dialect::Sqlite, "SELECT 1 AS a").unwrap());
    assert_eq!(
        quick.query(&statement, &[]),
        Answer::Rows(Bytes::from_static(br#"[{"a":1}]"#))
    );
}

/// What is given up is answered all the same, and at the limits nothing is given up.
#[tokio::test]
async fn what_is_given_up_runs_on_its_own_thread() {
    let fixture = Fixture::new();
    let rows = fixture
        .query("SELECT id FROM t WHERE id <= 100", vec![])
        .await;
    assert!(rows.unwrap().ends_with(br#"{"id":100}]"#));
    assert_eq!(fixture.counts(), (1, 0));
    let rows = fixture
        .query("SELECT id FROM t WHERE id <= 101", vec![])
        .await;
    assert!(rows.unwrap().ends_with(br#"{"id":101}]"#));
    assert_eq!(fixture.counts(), (1, 1));
    let rows = fixture.query("SELECT COUNT(*) AS n FROM t WHERE s LIKE 'text 1%'", vec![]);
    assert_eq!(rows.await.unwrap(), &br#"[{"n":1111}]"#[..]);
    assert_eq!(fixture.counts(), (1, 2));
    let text = |bytes: usize| vec![Arg::Text("x".repeat(bytes))];
    fixture
        .query("SELECT ? AS a", text(VALUE_BYTES_MAX))
        .await
        .unwrap();
    assert_eq!(fixture.counts(), (2, 2));
    let rows = fixture
        .query("SELECT ? AS a", text(VALUE_BYTES_MAX + 1))
        .await;
    assert!(rows.unwrap().len() > VALUE_BYTES_MAX);
    assert_eq!(fixture.counts(), (2, 2));
}

/// SQLite asks about tables here as it does there, also if the guard had overlooked one.
#[tokio::test]
async fn the_authorizer_asks_on_both_ways() {
    let fixture = Fixture::new();
    let mut statement = analyse(Dialect::Sqlite, "SELECT id FROM other").unwrap();
    statement.reads.clear();
    let statement = Arc::new(statement);
    assert_eq!(fixture.quick().query(&statement, &[]), Answer::Later);
    assert_eq!(fixture.counts(), (0, 1));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let error = fixture
        .sqlite
        .query(statement, vec![], deadline)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // A statement that writes is none for this connection, whatever the analysis says of it.
    let mut write = analyse(Dialect::Sqlite, "DELETE FROM other").unwrap();
    write.kind = gk_sqlguard::StatementKind::Query;
    assert_eq!(fixture.quick().query(&Arc::new(write), &[]), Answer::Later);
}

/// A machine that was busy once makes no statement slow for ever.
#[test]
fn what_took_too_long_is_tried_again() {
    let mut fixture = Fixture::new();
    let sql = "SELECT id FROM t WHERE id <= 90";
    let statement = Arc::new(analyse(Dialect::Sqlite, sql).unwrap());
    let set = |fixture: &mut Fixture, time_max: Duration| {
        fixture.sqlite.quick.as_mut().unwrap().time_max = time_max;
    };
    for strikes in [1, STRIKES_MAX - 1] {
        set(&mut fixture, Duration::ZERO);
        for _ in 0..strikes {
            assert_eq!(fixture.quick().query(&statement, &[]), Answer::Later);
        }
        set(&mut fixture, Duration::from_secs(600));
        assert_ne!(fixture.quick().query(&statement, &[]), Answer::Later);
    }
    set(&mut fixture, Duration::ZERO);
    for _ in 0..STRIKES_MAX {
        assert_eq!(fixture.quick().query(&statement, &[]), Answer::Later);
    }
    set(&mut fixture, Duration::from_secs(600));
    assert_eq!(fixture.quick().query(&statement, &[]), Answer::Later);
}

/// A writer that holds the file makes a reader wait; not this one.
#[tokio::test]
async fn locks_are_not_waited_for() {
    let fixture = Fixture::new();
    let path = fixture.sqlite.readers.path.clone();
    let holder = rusqlite::Connection::open(path).unwrap();
    holder
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; INSERT INTO other VALUES (1);",
        )
        .unwrap();
    let statement = Arc::new(analyse(Dialect::Sqlite, "SELECT id FROM other").unwrap());
    // In the write-ahead log readers and a writer do not meet: an answer or none, but at once.
    let _ = fixture.quick().query(&statement, &[]);
    assert_eq!(statement.runner_note().load(Ordering::Relaxed), 0);
}
