//! A database of each engine with tables that a plugin is granted, and tables that it is not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gk_hostapi::HostError;
use gk_services::db::{
    DatabaseConfig, Databases, DatabasesConfig, DbGrants, DbLimits, Dialect, Written,
};
use gk_sqlguard::{Access, Scope};
use mysql_async::prelude::Queryable;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// What no plugin may ever see.
pub(super) const CANARY: &str = "S3CRET";

/// The engines, for tests that hold for all of them.
pub(super) const ENGINES: [Dialect; 3] = [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql];

/// A database of its own, as the host sees it and as its owner does.
pub(super) struct Fixture {
    pub(super) dialect: Dialect,
    pub(super) databases: Databases,
    pub(super) url: String,
    schema: String,
    _directory: TempDir,
}

/// Rows as text.
pub(super) type Rows = Vec<Vec<Option<String>>>;

pub(super) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(super) fn scope(access: Access, patterns: &[&str]) -> DbGrants {
    let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
    let scope = match &patterns[..] {
        [] => Scope::Any,
        patterns => Scope::Only(patterns),
    };
    DbGrants::new([(access, scope)])
}

/// Tables that begin with `granted_`, for reading and writing.
pub(super) fn grants() -> DbGrants {
    scope(Access::ReadWrite, &["granted_*"])
}

/// A name that no other test of this or another process has.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("gk_test_{}_{count}", std::process::id())
}

impl Fixture {
    pub(super) async fn new(dialect: Dialect) -> Self {
        Self::with_limits(dialect, DbLimits::default()).await
    }

    pub(super) async fn with_limits(dialect: Dialect, limits: DbLimits) -> Self {
        let name = unique();
        let directory = tempfile::tempdir().unwrap();
        let url = match dialect {
            Dialect::Sqlite => {
                let path = directory.path().join("test.db");
                format!("sqlite:{}", path.display())
            }
            Dialect::Postgres => {
                let server = blocking(gk_servers::shared_postgres).await;
                postgres(&server, &format!("CREATE DATABASE {name}"))
                    .await
                    .unwrap();
                replace_database(&server, &name)
            }
            Dialect::Mysql => {
                let server = blocking(gk_servers::shared_mariadb).await;
                mysql(&server, &format!("CREATE DATABASE {name}"))
                    .await
                    .unwrap();
                replace_database(&server, &name)
            }
        };
        let config = DatabasesConfig {
            default: Some(DatabaseConfig::new(&url)),
            limits,
            ..DatabasesConfig::default()
        };
        let fixture = Self {
            dialect,
            databases: Databases::open(&config).unwrap(),
            url,
            schema: name,
            _directory: directory,
        };
        fixture.fill().await;
        fixture
    }

    async fn fill(&self) {
        let text = if self.dialect == Dialect::Mysql {
            "VARCHAR(100)"
        } else {
            "TEXT"
        };
        for (table, value) in [
            ("granted_a", "a"),
            ("granted_b", "b"),
            ("secret", CANARY),
            ("xgranted_users", CANARY),
        ] {
            self.admin(&format!(
                "CREATE TABLE {table} (id INTEGER PRIMARY KEY, s {text})"
            ))
            .await
            .unwrap();
            self.admin(&format!(
                "INSERT INTO {table} VALUES (1, '{value}1'), (2, '{value}2')"
            ))
            .await
            .unwrap();
        }
        if self.dialect == Dialect::Postgres {
            self.admin("CREATE SCHEMA other; CREATE TABLE other.granted_a (id INTEGER, s TEXT)")
                .await
                .unwrap();
            self.admin(&format!(
                "INSERT INTO other.granted_a VALUES (1, '{CANARY}1')"
            ))
            .await
            .unwrap();
        }
    }

    /// Runs statements as the database's owner, without any guard.
    pub(super) async fn admin(&self, sql: &str) -> Result<Rows, String> {
        match self.dialect {
            Dialect::Sqlite => {
                let path = self.url.strip_prefix("sqlite:").unwrap();
                sqlite(path, sql)
            }
            Dialect::Postgres => postgres(&self.url, sql).await,
            Dialect::Mysql => mysql(&self.url, sql).await,
        }
    }

    pub(super) async fn query(&self, sql: &str, args: &[Value]) -> Result<String, HostError> {
        self.query_as(&grants(), sql, args).await
    }

    pub(super) async fn query_as(
        &self,
        grants: &DbGrants,
        sql: &str,
        args: &[Value],
    ) -> Result<String, HostError> {
        let rows = self.databases.query(grants, sql, args, deadline()).await?;
        Ok(String::from_utf8(rows.to_vec()).unwrap())
    }

    /// How many rows a statement wrote.
    pub(super) async fn exec(&self, sql: &str, args: &[Value]) -> Result<u64, HostError> {
        Ok(self.write(sql, args).await?.affected)
    }

    pub(super) async fn write(&self, sql: &str, args: &[Value]) -> Result<Written, HostError> {
        self.databases.exec(&grants(), sql, args, deadline()).await
    }

    /// Everything that a plugin must not change: tables that it is not granted, with their rows.
    pub(super) async fn ungranted(&self) -> Rows {
        let mut state = Rows::new();
        for table in ["secret", "xgranted_users"] {
            let rows = self
                .admin(&format!("SELECT * FROM {table} ORDER BY id"))
                .await;
            // It may have been dropped.
            state.extend(rows.unwrap_or_else(|error| vec![vec![Some(error)]]));
        }
        let objects = match self.dialect {
            Dialect::Sqlite => {
                "SELECT type, name FROM sqlite_master WHERE tbl_name NOT LIKE 'granted_%' \
                 AND name <> 'sqlite_sequence' ORDER BY 1, 2"
                    .to_owned()
            }
            Dialect::Postgres => {
                state.extend(self.admin("SELECT * FROM other.granted_a").await.unwrap());
                "SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relname NOT LIKE 'granted_%' \
                 ORDER BY 1, 2".to_owned()
            }
            Dialect::Mysql => format!(
                "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = '{}' \
                 AND table_name NOT LIKE 'granted_%' ORDER BY 1",
                self.schema
            ),
        };
        state.extend(self.admin(&objects).await.unwrap());
        state
    }
}

/// Starting a server takes a while.
async fn blocking(start: fn() -> anyhow::Result<String>) -> String {
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

fn replace_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

pub(super) fn sqlite(path: &str, sql: &str) -> Result<Rows, String> {
    let connection = rusqlite::Connection::open(path).map_err(|error| error.to_string())?;
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    if sql.contains("; ") {
        let done = connection.execute_batch(sql);
        return done.map(|()| Vec::new()).map_err(|error| error.to_string());
    }
    let mut statement = connection.prepare(sql).map_err(|error| error.to_string())?;
    let columns = statement.column_count();
    let mut rows = statement.query([]).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(|error| error.to_string())? {
        let cell = |index| {
            use rusqlite::types::Value;
            match row.get::<_, Value>(index).unwrap() {
                Value::Null => None,
                Value::Integer(value) => Some(value.to_string()),
                Value::Real(value) => Some(value.to_string()),
                Value::Text(value) => Some(value),
                Value::Blob(value) => Some(String::from_utf8_lossy(&value).into_owned()),
            }
        };
        found.push((0..columns).map(cell).collect());
    }
    Ok(found)
}

pub(super) async fn postgres(url: &str, sql: &str) -> Result<Rows, String> {
    use tokio_postgres::SimpleQueryMessage;
    let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let messages = client.simple_query(sql).await.map_err(|error| {
        error
            .as_db_error()
            .map_or_else(|| error.to_string(), |error| error.message().to_owned())
    })?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|index| row.get(index).map(str::to_owned));
            Some(cells.collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

pub(super) async fn mysql(url: &str, sql: &str) -> Result<Rows, String> {
    let opts = mysql_async::Opts::from_url(url).unwrap();
    let opts = mysql_async::OptsBuilder::from_opts(opts).prefer_socket(Some(false));
    let mut conn = mysql_async::Conn::new(opts)
        .await
        .map_err(|error| error.to_string())?;
    let rows: Result<Vec<mysql_async::Row>, _> = conn.query(sql).await;
    let rows = rows.map_err(|error| error.to_string())?;
    let cell = |value: mysql_async::Value| match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(false)),
    };
    let rows = rows
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(cell).collect());
    let rows = rows.collect();
    conn.disconnect().await.map_err(|error| error.to_string())?;
    Ok(rows)
}
