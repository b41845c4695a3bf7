//! Statements of everyday plugins, from `honest/`: nearly all have to pass, and what is made of
//! them has to give the engine's own answer.

use gk_hostapi::ErrorKind;
use gk_services::db::Dialect;
use gk_sqlguard::{self as guard, StatementKind};
use serde_json::json;

use super::direct::Direct;
use super::fixture::Fixture;

/// The share that has to pass, in percent.
const PASSES_MIN: usize = 98;

/// How many statements there have to be for each engine.
const STATEMENTS_MIN: usize = 450;

const SHARED: &str = include_str!("honest/shared.sql");

/// One statement a line; `⏎` stands for a new line.
fn statements(own: &'static str) -> Vec<String> {
    let lines = SHARED.lines().chain(own.lines());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("# "));
    lines.map(|line| line.replace("⏎", "\n")).collect()
}

/// Tables with a few rows.
pub(super) async fn tables(fixture: &Fixture) {
    let (id, text, json, stamp) = match fixture.dialect {
        Dialect::Sqlite => ("INTEGER PRIMARY KEY", "TEXT", "TEXT", "TEXT"),
        Dialect::Postgres => ("SERIAL PRIMARY KEY", "TEXT", "JSONB", "TIMESTAMPTZ"),
        Dialect::Mysql => (
            "INTEGER AUTO_INCREMENT PRIMARY KEY",
            "VARCHAR(200)",
            "JSON",
            "DATETIME",
        ),
    };
    let tags = if fixture.dialect == Dialect::Postgres {
        "TEXT[]"
    } else {
        text
    };
    let mut setup = vec![
        format!(
            "CREATE TABLE granted_users (id {id}, name {text}, email {text}, status {text} DEFAULT 'active', \
             age INTEGER, balance DECIMAL(10, 2), is_admin BOOLEAN DEFAULT FALSE, flags INTEGER DEFAULT 0, \
             settings {json}, tags {tags}, created_at {stamp} DEFAULT CURRENT_TIMESTAMP)"
        ),
        format!(
            "CREATE TABLE granted_tickets (id {id}, title {text}, body {text}, user_id INTEGER, \
             status {text} DEFAULT 'open', priority INTEGER DEFAULT 0, closed BOOLEAN DEFAULT FALSE, tags {text}, \
             created_at {stamp} DEFAULT CURRENT_TIMESTAMP, updated_at {stamp})"
        ),
        format!(
            "CREATE TABLE granted_comments (id {id}, ticket_id INTEGER, user_id INTEGER, body {text}, score INTEGER, \
             created_at {stamp} DEFAULT CURRENT_TIMESTAMP)"
        ),
        "CREATE TABLE granted_counters (name VARCHAR(100) PRIMARY KEY, value INTEGER)".to_owned(),
        format!("CREATE TABLE granted_nodes (id {id}, parent_id INTEGER, label {text})"),
        "CREATE INDEX granted_users_email ON granted_users (email)".to_owned(),
        "INSERT INTO granted_users (id, name, email, status, age, balance, is_admin, flags, settings, created_at) VALUES \
         (1, 'Ada', 'ada@example.com', 'active', 36, 120.50, TRUE, 255, '{\"theme\": \"dark\", \"size\": 2, \"list\": [1, 2]}', '2026-01-01 10:00:00'), \
         (2, 'Bob', 'bob@example.com', 'active', 17, 99.90, FALSE, 21, '{\"theme\": \"light\", \"list\": []}', '2026-01-02 10:00:00'), \
         (3, 'Cid', NULL, 'blocked', 70, -5.00, FALSE, 0, '{}', '2026-01-03 10:00:00'), \
         (4, 'Dora', 'dora@example.org', 'pending', NULL, NULL, FALSE, 16, NULL, '2026-01-04 10:00:00')"
            .to_owned(),
        "INSERT INTO granted_tickets (id, title, body, user_id, status, priority, closed, tags, created_at, updated_at) VALUES \
         (1, 'Printer on fire', 'Help', 1, 'open', 9, FALSE, 'urgent,hardware', '2026-01-05 09:00:00', '2026-01-06 09:00:00'), \
         (2, '50% off', NULL, 1, 'closed', 1, TRUE, NULL, '2026-01-10 12:30:00', NULL), \
         (3, 'Cannot log in', 'x', 2, 'open', 5, FALSE, 'login', '2026-02-01 00:00:00', NULL), \
         (4, 'Question', 'y', NULL, 'pending', 0, FALSE, NULL, '2026-02-02 00:00:00', NULL)"
            .to_owned(),
        "INSERT INTO granted_comments (id, ticket_id, user_id, body, score, created_at) VALUES \
         (1, 1, 2, 'Me too', 3, '2026-01-05 10:00:00'), (2, 1, 1, 'Thanks', NULL, '2026-01-05 11:00:00'), \
         (3, 3, 1, 'Try again', -1, '2026-02-01 01:00:00')"
            .to_owned(),
        "INSERT INTO granted_counters VALUES ('visits', 10), ('hits', 3)".to_owned(),
        "INSERT INTO granted_nodes VALUES (1, NULL, 'root'), (2, 1, 'left'), (3, 1, 'right'), \
         (4, 2, 'leaf')".to_owned(),
    ];
    match fixture.dialect {
        Dialect::Postgres => {
            for table in ["users", "tickets", "comments", "nodes"] {
                setup.push(format!("SELECT setval('granted_{table}_id_seq', 500)"));
            }
            setup.push("UPDATE granted_users SET tags = '{red,blue}' WHERE id = 1".to_owned());
        }
        Dialect::Mysql => {
            setup.push("CREATE TABLE granted_articles (id INTEGER PRIMARY KEY, title VARCHAR(100), body TEXT, \
                        FULLTEXT (title), FULLTEXT (title, body))".to_owned());
            setup.push(
                "INSERT INTO granted_articles VALUES (1, 'printer', 'a printer burns'), \
                 (2, 'scanner', 'no printer here')"
                    .to_owned(),
            );
        }
        Dialect::Sqlite => {}
    }
    for statement in setup {
        let done = fixture.admin(&statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn run(dialect: Dialect, own: &'static str) {
    let fixture = Fixture::new(dialect).await;
    tables(&fixture).await;
    let mut direct = Direct::open(&fixture).await;
    let statements = statements(own);
    let (mut passed, mut compared) = (0, 0);
    let (mut refused, mut wrong) = (Vec::new(), Vec::new());
    for sql in &statements {
        let analysis = guard::analyse(dialect, sql);
        let count = analysis
            .as_ref()
            .map_or(1, |analysis| analysis.placeholders);
        let kind = analysis
            .as_ref()
            .map_or(StatementKind::Query, |analysis| analysis.kind);
        // What changes tables has been done already when it comes a second time on MySQL.
        let compares = count == 0 && (dialect != Dialect::Mysql || kind != StatementKind::Schema);
        if let Ok(analysis) = &analysis
            && compares
        {
            let given = direct.answer(sql).await;
            let written = direct.answer(&analysis.sql).await;
            compared += 1;
            // Numbers that a sequence gave are not taken back.
            let numbered = dialect != Dialect::Sqlite && analysis.inserts.is_some();
            let same = match (&given, &written) {
                (Ok((_, given)), Ok((_, written))) if numbered => given.len() == written.len(),
                (Ok((_, given)), Ok((_, written))) => given == written,
                (Err(_), Err(_)) => true,
                _ => false,
            };
            if !same {
                wrong.push(format!(
                    "{sql}\n  {}\n  {given:?}\n  {written:?}",
                    analysis.sql
                ));
            }
            if let Err(error) = &given {
                wrong.push(format!("{sql}\n  is not honest: {error}"));
            }
        }
        let args = vec![json!(1); usize::from(count)];
        let done = match kind {
            StatementKind::Query => fixture.query(sql, &args).await.map(drop),
            _ => fixture.exec(sql, &args).await.map(drop),
        };
        match done {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Limit
                ) =>
            {
                refused.push(format!("{sql}\n  {error}"));
            }
            Err(error) if error.kind() != ErrorKind::Failed => {
                wrong.push(format!("{sql}\n  {error}"));
            }
            _ => passed += 1,
        }
    }
    let all = statements.len();
    eprintln!(
        "{dialect:?}: {passed} of {all} pass ({:.1} %), {compared} compared",
        100.0 * passed as f64 / all as f64
    );
    eprintln!("refused:\n{}", refused.join("\n"));
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed * 100 >= all * PASSES_MIN, "{passed} of {all}");
    assert!(all >= STATEMENTS_MIN, "{all} statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    run(Dialect::Sqlite, include_str!("honest/sqlite.sql")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    run(Dialect::Postgres, include_str!("honest/postgres.sql")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    run(Dialect::Mysql, include_str!("honest/mysql.sql")).await;
}
