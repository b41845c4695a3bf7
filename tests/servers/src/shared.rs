//! Servers that tests share: the ones that the environment names, else one for this process.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use crate::{Mariadb, Postgres, Redis};

/// Names a running PostgreSQL: the URL of a superuser.
pub const POSTGRES_URL: &str = "GK_TEST_POSTGRES_URL";

/// Names a running MariaDB: the URL of a user that may do everything.
pub const MARIADB_URL: &str = "GK_TEST_MARIADB_URL";

/// Names a running Redis.
pub const REDIS_URL: &str = "GK_TEST_REDIS_URL";

/// A URL, and the server behind it where it is ours.
type Shared<T> = OnceLock<Result<(String, Option<T>), String>>;

fn url<T: Send + Sync>(
    cell: &'static Shared<T>,
    variable: &str,
    start: fn() -> Result<T>,
    url: fn(&T) -> String,
) -> Result<String> {
    let started = cell.get_or_init(|| match std::env::var(variable) {
        Ok(url) if !url.is_empty() => Ok((url, None)),
        _ => start()
            .map(|server| (url(&server), Some(server)))
            .map_err(|error| format!("{error:#}")),
    });
    match started {
        Ok((url, _)) => Ok(url.clone()),
        Err(error) => Err(anyhow!("{error}")),
    }
}

/// The URL of a PostgreSQL that other tests use too.
///
/// # Errors
///
/// There is none yet, and it cannot be started.
pub fn shared_postgres() -> Result<String> {
    static POSTGRES: Shared<Postgres> = OnceLock::new();
    url(&POSTGRES, POSTGRES_URL, Postgres::start, Postgres::url)
}

/// The URL of a MariaDB that other tests use too.
///
/// # Errors
///
/// There is none yet, and it cannot be started.
pub fn shared_mariadb() -> Result<String> {
    static MARIADB: Shared<Mariadb> = OnceLock::new();
    url(&MARIADB, MARIADB_URL, Mariadb::start, Mariadb::url)
}

/// The URL of a Redis that other tests use too.
///
/// # Errors
///
/// There is none yet, and it cannot be started.
pub fn shared_redis() -> Result<String> {
    static REDIS: Shared<Redis> = OnceLock::new();
    url(&REDIS, REDIS_URL, Redis::start, Redis::url)
}
