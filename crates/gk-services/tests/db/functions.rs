//! Every function that the guard lets pass is there in the engine, so that a plugin's author learns
//! of one that is missing from the guard, in its words, and not from a server in another year.

use gk_services::db::Dialect;
use gk_sqlguard::allowed_functions;

use super::direct::Direct;
use super::fixture::Fixture;

/// MySQL's own, which MariaDB lacks.
const ONLY_MYSQL: &[&str] = &[
    "any_value",
    "bin_to_uuid",
    "grouping",
    "is_uuid",
    "regexp_like",
    "uuid_to_bin",
];

/// Of extensions of PostgreSQL that come with it.
const EXTENSIONS: &[&str] = &["similarity", "unaccent", "word_similarity"];

/// Written like calls of functions, and none to PostgreSQL's catalogue.
const SYNTAX: &[&str] = &[
    "array",
    "coalesce",
    "current_date",
    "current_time",
    "current_timestamp",
    "extract",
    "greatest",
    "grouping",
    "least",
    "localtime",
    "localtimestamp",
    "nullif",
    "row",
    "trim",
];

/// Whether the engine's words say that there is no such function, rather than that it is called in
/// another way.
fn is_missing(error: &str) -> bool {
    error.contains("no such function")
        || error.contains("no such table")
        || error.contains("ERROR 1305")
        || error.contains("does not exist")
}

#[tokio::test]
async fn of_sqlite() {
    let fixture = Fixture::new(Dialect::Sqlite).await;
    let mut direct = Direct::open(&fixture).await;
    let mut missing = Vec::new();
    for name in allowed_functions(Dialect::Sqlite) {
        let mut errors = Vec::new();
        for args in ["", "()", "(1)", "(1, 1)", "(1, 1, 1)", "(1) OVER ()"] {
            if let Err(error) = direct.answer(&format!("SELECT {name}{args}")).await {
                errors.push(error);
            }
            if let Err(error) = direct.answer(&format!("SELECT * FROM {name}{args}")).await {
                errors.push(error);
            }
        }
        let is_known = errors.len() < 12
            || errors
                .iter()
                .any(|error| !is_missing(error) && !error.contains("no such column"));
        if !is_known {
            missing.push(name);
        }
    }
    assert_eq!(missing, [""; 0]);
    // As people use them.
    for sql in [
        "SELECT ceil(1.5), pow(2, 3), sqrt(16), pi() > 3",
        "SELECT log2(8), ln(1), exp(0), sin(0), degrees(0), mod(7, 3)",
    ] {
        fixture.query(sql, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn of_postgres() {
    let fixture = Fixture::new(Dialect::Postgres).await;
    let mut missing = Vec::new();
    for name in allowed_functions(Dialect::Postgres) {
        let known = fixture
            .admin(&format!(
                "SELECT 1 FROM pg_proc WHERE proname = '{name}' LIMIT 1"
            ))
            .await
            .unwrap();
        if known.is_empty() && !SYNTAX.contains(&name) && !EXTENSIONS.contains(&name) {
            missing.push(name);
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[tokio::test]
async fn of_mariadb() {
    let fixture = Fixture::new(Dialect::Mysql).await;
    let mut direct = Direct::open(&fixture).await;
    let mut missing = Vec::new();
    for name in allowed_functions(Dialect::Mysql) {
        let mut answers = Vec::new();
        for args in ["", "()", "(1)", "(1, 1)", "(1, 1, 1)", "(1, 1, 1, 1)"] {
            answers.push(direct.answer(&format!("SELECT {name}{args}")).await);
        }
        // A stored function of that name would be called with any number of arguments.
        let is_known = answers.iter().skip(1).any(|answer| match answer {
            Ok(_) => true,
            Err(error) => !is_missing(error),
        });
        if !is_known && !ONLY_MYSQL.contains(&name) {
            missing.push(name);
        }
    }
    assert_eq!(missing, [""; 0]);
}
