//! Hostile and everyday statements, each against the real engine: what the guard lets pass never
//! shows or changes what the plugin is not granted.
//!
//! The tables of statements are in `cases/`: `+` passes guard and grants, `-` is refused by them.

use std::collections::BTreeSet;

use gk_hostapi::ErrorKind;
use gk_services::db::{DbLimits, Dialect};
use gk_sqlguard::{self as guard, Analysis};
use serde_json::json;

use super::fixture::{CANARY, Fixture, Rows};

const SHARED: &str = include_str!("../../../gk-sqlguard/tests/cases/shared.sql");

/// Characters that editors hide or change, and the pictures that stand for them in the tables.
const PICTURES: [(&str, &str); 4] = [("␍", "\r"), ("␀", "\0"), ("␋", "\u{b}"), ("␌", "\u{c}")];

/// Verdict and statement.
fn cases(own: &'static str) -> Vec<(bool, String)> {
    let lines = SHARED.split('\n').chain(own.split('\n'));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_at(1) {
            ("+", sql) => (true, hidden(sql.strip_prefix(' ').unwrap())),
            ("-", sql) => (false, hidden(sql.strip_prefix(' ').unwrap())),
            _ => panic!("{line}"),
        })
        .collect()
}

fn hidden(sql: &str) -> String {
    let replaced = PICTURES.iter();
    replaced.fold(sql.to_owned(), |sql, (picture, character)| {
        sql.replace(picture, character)
    })
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Limit
    )
}

/// Tables that the engine itself says a statement touches; `None` where it is not asked.
async fn touched(fixture: &Fixture, analysis: &Analysis) -> Option<BTreeSet<String>> {
    match fixture.dialect {
        Dialect::Sqlite => {
            let path = fixture.url.strip_prefix("sqlite:").unwrap();
            Some(sqlite_touches(path, &analysis.sql))
        }
        Dialect::Postgres if analysis.placeholders == 0 => {
            let plan = fixture
                .admin(&format!("EXPLAIN (VERBOSE, FORMAT JSON) {}", analysis.sql))
                .await
                .ok()?;
            let plan: String = plan.concat().into_iter().flatten().collect();
            let names = plan.split("\"Relation Name\": \"").skip(1);
            Some(
                names
                    .map(|rest| rest.split('"').next().unwrap().to_owned())
                    .collect(),
            )
        }
        _ => None,
    }
}

fn sqlite_touches(path: &str, sql: &str) -> BTreeSet<String> {
    use std::sync::{Arc, Mutex};

    use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
    let connection = rusqlite::Connection::open(path).unwrap();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let record = seen.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        match context.action {
            AuthAction::Read { table_name, .. }
            | AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => {
                record
                    .lock()
                    .unwrap()
                    .insert(table_name.to_ascii_lowercase());
            }
            _ => {}
        }
        Authorization::Allow
    }));
    let _ = connection.prepare(sql);
    drop(connection);
    seen.lock().unwrap().clone()
}

async fn run(dialect: Dialect, own: &'static str) {
    run_with(dialect, own, DbLimits::default()).await;
}

async fn run_with(dialect: Dialect, own: &'static str, limits: DbLimits) {
    let fixture = Fixture::with_limits(dialect, limits).await;
    let cases = cases(own);
    assert!(cases.len() >= 150, "{} statements", cases.len());
    let before = fixture.ungranted().await;
    assert!(format!("{before:?}").contains(CANARY));
    let mut wrong = Vec::new();
    for (passes, sql) in &cases {
        let analysis = guard::analyse(dialect, sql);
        let count = analysis
            .as_ref()
            .map_or(0, |analysis| analysis.placeholders);
        let args = vec![json!(1000 + i64::from(count)); usize::from(count)];
        let mut refused = 0;
        let mut said = Vec::new();
        match fixture.query(sql, &args).await {
            Ok(rows) => assert!(!rows.contains(CANARY), "{sql}: {rows}"),
            Err(error) => {
                assert!(!error.to_string().contains(CANARY), "{sql}: {error}");
                refused += u32::from(is_refusal(error.kind()));
                said.push(error.to_string());
            }
        }
        if let Err(error) = fixture.exec(sql, &args).await {
            assert!(!error.to_string().contains(CANARY), "{sql}: {error}");
            refused += u32::from(is_refusal(error.kind()));
            said.push(error.to_string());
        }
        if *passes != (refused < 2) {
            wrong.push(format!("{sql}\n    {said:?}"));
        }
        // The engine agrees with the guard about the tables.
        if let Ok(analysis) = &analysis
            && let Some(touched) = touched(&fixture, analysis).await
        {
            let known = analysis.reads.iter().chain(&analysis.writes);
            let known = known
                .map(|table| table.name())
                .chain(analysis.with_names.iter().map(String::as_str));
            let known: BTreeSet<_> = known.map(str::to_ascii_lowercase).collect();
            let books = [
                "sqlite_master",
                "sqlite_temp_master",
                "sqlite_sequence",
                "json_each",
                "",
            ];
            let rest = touched
                .difference(&known)
                .filter(|name| !books.contains(&name.as_str()));
            assert_eq!(
                rest.collect::<Vec<_>>(),
                [""; 0],
                "{sql}: the engine touches more"
            );
        }
        let after: Rows = fixture.ungranted().await;
        assert_eq!(after, before, "{sql} changed what it must not");
        // Nor was a secret copied to where the plugin may look.
        for table in ["granted_a", "granted_b"] {
            let rows = fixture.admin(&format!("SELECT * FROM {table}")).await;
            assert!(
                !format!("{rows:?}").contains(CANARY),
                "{sql} copied a secret"
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn sqlite() {
    run(
        Dialect::Sqlite,
        include_str!("../../../gk-sqlguard/tests/cases/sqlite.sql"),
    )
    .await;
}

/// The same, when no statement runs on the thread that asks.
#[tokio::test]
async fn sqlite_on_its_own_threads() {
    let mut limits = DbLimits::default();
    limits.inline_reads = false;
    run_with(
        Dialect::Sqlite,
        include_str!("../../../gk-sqlguard/tests/cases/sqlite.sql"),
        limits,
    )
    .await;
}

#[tokio::test]
async fn postgres() {
    run(
        Dialect::Postgres,
        include_str!("../../../gk-sqlguard/tests/cases/postgres.sql"),
    )
    .await;
}

#[tokio::test]
async fn mariadb() {
    run(
        Dialect::Mysql,
        include_str!("../../../gk-sqlguard/tests/cases/mysql.sql"),
    )
    .await;
}
