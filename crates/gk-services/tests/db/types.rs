//! Values of each engine's types, there and back.

use gk_hostapi::ErrorKind;
use gk_services::db::Dialect;
use serde_json::{Value, json};

use super::fixture::{ENGINES, Fixture};

/// The only cell of a query's only row.
async fn cell(fixture: &Fixture, sql: &str) -> Value {
    let rows = fixture.query(sql, &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut rows: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&rows).unwrap();
    rows.pop().unwrap().into_iter().next().unwrap().1
}

/// Type of a column, argument, and what is read back.
async fn round_trips(dialect: Dialect, values: &[(&str, Value, Value)]) {
    let fixture = Fixture::new(dialect).await;
    for (index, (ty, written, expected)) in values.iter().enumerate() {
        let table = format!("granted_t{index}");
        fixture
            .exec(&format!("CREATE TABLE {table} (v {ty})"), &[])
            .await
            .unwrap_or_else(|error| panic!("{ty}: {error}"));
        fixture
            .exec(
                &format!("INSERT INTO {table} VALUES (?)"),
                std::slice::from_ref(written),
            )
            .await
            .unwrap_or_else(|error| panic!("{ty} {written}: {error}"));
        assert_eq!(
            cell(&fixture, &format!("SELECT v FROM {table}")).await,
            *expected,
            "{ty}"
        );
        let sql = format!("INSERT INTO {table} VALUES (?)");
        fixture.exec(&sql, &[Value::Null]).await.unwrap();
        let null = cell(&fixture, &format!("SELECT v FROM {table} WHERE v IS NULL")).await;
        assert_eq!(null, Value::Null, "{ty}");
    }
}

fn same(ty: &str, value: Value) -> (&str, Value, Value) {
    (ty, value.clone(), value)
}

#[tokio::test]
async fn sqlite() {
    round_trips(
        Dialect::Sqlite,
        &[
            same("INTEGER", json!(i64::MIN)),
            same("INTEGER", json!(9_007_199_254_740_993_i64)),
            same("REAL", json!(0.1)),
            same("REAL", json!(1e300)),
            same("TEXT", json!("ä\u{1f600}\"\\\n\0'")),
            same("TEXT", json!("")),
            ("BLOB", json!({"base64": "AP/+"}), json!("AP/+")),
            ("BLOB", json!({"base64": ""}), json!("")),
            ("BOOLEAN", json!(true), json!(1)),
            same("TIMESTAMP", json!("2026-01-31T13:30:00Z")),
        ],
    )
    .await;
    let fixture = Fixture::new(Dialect::Sqlite).await;
    let error = fixture
        .query("SELECT ?", &[json!(u64::MAX)])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no integers beyond"), "{error}");
    fixture
        .admin("CREATE TABLE granted_inf (v REAL)")
        .await
        .unwrap();
    fixture
        .admin("INSERT INTO granted_inf VALUES (9e999)")
        .await
        .unwrap();
    assert_eq!(
        cell(&fixture, "SELECT v FROM granted_inf").await,
        json!("Infinity")
    );
    fixture
        .admin("INSERT INTO granted_a VALUES (9, CAST(x'ff' AS TEXT))")
        .await
        .unwrap();
    let error = fixture
        .query("SELECT s FROM granted_a", &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("CAST it to BLOB"), "{error}");
}

#[tokio::test]
async fn postgres() {
    round_trips(
        Dialect::Postgres,
        &[
            same("SMALLINT", json!(-32768)),
            same("INTEGER", json!(i32::MAX)),
            same("BIGINT", json!(i64::MIN)),
            same("BIGINT", json!(9_007_199_254_740_993_i64)),
            same("REAL", json!(0.1)),
            same("DOUBLE PRECISION", json!(0.1)),
            same("DOUBLE PRECISION", json!("NaN")),
            same("DOUBLE PRECISION", json!("-Infinity")),
            (
                "NUMERIC(40, 10)",
                json!("123456789012345678901234567890.0123456789"),
                json!("123456789012345678901234567890.0123456789"),
            ),
            (
                "NUMERIC(20, 2)",
                json!(u64::MAX / 100),
                json!("184467440737095516.00"),
            ),
            same("NUMERIC", json!("0")),
            same("NUMERIC", json!("-0.00001")),
            same("NUMERIC", json!("10000")),
            same("NUMERIC", json!("100000000.5")),
            same("NUMERIC", json!("NaN")),
            same("BOOLEAN", json!(true)),
            same("BOOLEAN", json!(false)),
            same("TEXT", json!("ä\u{1f600}\"\\\n'")),
            same("VARCHAR(10)", json!("x")),
            ("CHAR(3)", json!("x"), json!("x  ")),
            ("BYTEA", json!({"base64": "AP/+"}), json!("AP/+")),
            same("UUID", json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
            same("DATE", json!("2026-01-31")),
            same("DATE", json!("infinity")),
            same("TIME", json!("13:30:00.5")),
            (
                "TIMESTAMP",
                json!("2026-01-31 13:30:00.25"),
                json!("2026-01-31T13:30:00.25Z"),
            ),
            (
                "TIMESTAMPTZ",
                json!("2026-01-31T13:30:00+02:00"),
                json!("2026-01-31T11:30:00Z"),
            ),
            (
                "INTERVAL",
                json!("1 year 2 mons 3 days 04:05:06.7"),
                json!("P1Y2M3DT4H5M6.7S"),
            ),
            ("JSON", json!("{\"a\":  1}"), json!("{\"a\":  1}")),
            ("JSONB", json!("{\"a\":  1}"), json!("{\"a\": 1}")),
            ("INTEGER[]", json!("{1,NULL,3}"), json!([1, null, 3])),
            (
                "TEXT[]",
                json!("{{a,b},{c,d}}"),
                json!([["a", "b"], ["c", "d"]]),
            ),
            ("TEXT[]", json!("{}"), json!([])),
            same("INET", json!("192.168.0.1")),
            same("CIDR", json!("10.0.0.0/8")),
        ],
    )
    .await;
    let fixture = Fixture::new(Dialect::Postgres).await;
    // Text where a number is expected is the engine's error, and the connection goes on.
    let error = fixture
        .query("SELECT s FROM granted_a WHERE id = ?", &[json!("x")])
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Failed);
    fixture
        .admin("CREATE TABLE granted_p (v POINT)")
        .await
        .unwrap();
    let error = fixture
        .query("SELECT v FROM granted_p", &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("of type point"), "{error}");
    fixture
        .query("SELECT CAST(v AS TEXT) FROM granted_p", &[])
        .await
        .unwrap();
    fixture
        .admin("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE granted_e (v mood)")
        .await
        .unwrap();
    fixture
        .exec("INSERT INTO granted_e VALUES (?)", &[json!("sad")])
        .await
        .unwrap();
    assert_eq!(
        cell(&fixture, "SELECT v FROM granted_e").await,
        json!("sad")
    );
}

#[tokio::test]
async fn mariadb() {
    round_trips(
        Dialect::Mysql,
        &[
            same("TINYINT", json!(-128)),
            same("SMALLINT UNSIGNED", json!(65535)),
            same("INTEGER", json!(i32::MIN)),
            same("BIGINT", json!(i64::MIN)),
            same("BIGINT", json!(9_007_199_254_740_993_i64)),
            same("BIGINT UNSIGNED", json!(u64::MAX)),
            same("FLOAT", json!(0.5)),
            same("DOUBLE", json!(0.1)),
            same(
                "DECIMAL(40, 10)",
                json!("123456789012345678901234567890.0123456789"),
            ),
            ("BOOLEAN", json!(true), json!(1)),
            same("VARCHAR(20)", json!("ä\u{1f600}\"\\\n'")),
            same("TEXT", json!("x")),
            same("LONGTEXT", json!("")),
            ("BLOB", json!({"base64": "AP/+"}), json!("AP/+")),
            ("VARBINARY(10)", json!({"base64": "AP/+"}), json!("AP/+")),
            same("DATE", json!("2026-01-31")),
            (
                "DATETIME(6)",
                json!("2026-01-31 13:30:00.25"),
                json!("2026-01-31T13:30:00.25Z"),
            ),
            (
                "DATETIME",
                json!("2026-01-31 00:00:00"),
                json!("2026-01-31T00:00:00Z"),
            ),
            same("TIME", json!("-100:00:01")),
            same("YEAR", json!(2026)),
            same("JSON", json!("{\"a\":  1}")),
            same("ENUM('a', 'b')", json!("b")),
            same("SET('a', 'b')", json!("a,b")),
            ("BIT(9)", json!(257), json!(257)),
        ],
    )
    .await;
}

#[tokio::test]
async fn columns_are_named_as_they_are_written_and_in_order() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        let rows = fixture.query(
            "SELECT s, id, id AS \"B\", s FROM granted_a WHERE id = 1",
            &[],
        );
        let rows = match dialect {
            // A string in double quotes is a string there, and no name.
            Dialect::Mysql => {
                fixture
                    .query(
                        "SELECT s, id, id AS `B`, s FROM granted_a WHERE id = 1",
                        &[],
                    )
                    .await
            }
            _ => rows.await,
        };
        assert_eq!(rows.unwrap(), r#"[{"id":1,"B":1,"s":"a1"}]"#);
        if dialect != Dialect::Postgres {
            let rows = fixture
                .query(
                    "SELECT COUNT(*), id+1 FROM granted_a WHERE id = 1 GROUP BY id",
                    &[],
                )
                .await;
            assert_eq!(rows.unwrap(), r#"[{"COUNT(*)":1,"id + 1":2}]"#);
        }
    }
}

#[tokio::test]
async fn constraints_fail_with_the_engines_words() {
    for dialect in ENGINES {
        let fixture = Fixture::new(dialect).await;
        let error = fixture
            .exec("INSERT INTO granted_a (id, s) VALUES (1, 'x')", &[])
            .await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
        let words = error.to_string().to_lowercase();
        assert!(
            words.contains("unique") || words.contains("duplicate"),
            "{error}"
        );
        // The connection goes on, and nothing of the statement stays.
        assert_eq!(
            cell(&fixture, "SELECT COUNT(*) AS n FROM granted_a").await,
            json!(2)
        );
        let error = fixture
            .query("SELECT nothing FROM granted_a", &[])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    }
}
