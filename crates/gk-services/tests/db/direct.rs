//! An engine without the guard, in a session as the host sets it up: what the engine itself answers
//! to a statement as it was given, and to what the guard makes of it.

use std::time::Duration;

use gk_services::db::Dialect;
use mysql_async::prelude::Queryable;

use super::fixture::Fixture;

/// The engine's answer: columns' names, and rows as text with the value's type where the engine has
/// one for each value.
pub(super) type Answer = Result<(Vec<String>, Vec<Vec<Option<String>>>), String>;

/// A connection of the database's owner.
pub(super) enum Direct {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
    Mysql(Box<mysql_async::Conn>),
}

impl Direct {
    pub(super) async fn open(fixture: &Fixture) -> Self {
        match fixture.dialect {
            Dialect::Sqlite => {
                let path = fixture.url.strip_prefix("sqlite:").unwrap();
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(Duration::from_secs(60)).unwrap();
                let strict = rusqlite::config::DbConfig::SQLITE_DBCONFIG_DQS_DML;
                connection.set_db_config(strict, false).unwrap();
                connection
                    .pragma_update(None, "foreign_keys", true)
                    .unwrap();
                Self::Sqlite(connection)
            }
            Dialect::Postgres => {
                let connected = tokio_postgres::connect(&fixture.url, tokio_postgres::NoTls).await;
                let (client, connection) = connected.unwrap();
                tokio::spawn(connection);
                let setup = "SET search_path TO public, pg_temp; SET TimeZone TO 'UTC'";
                client.batch_execute(setup).await.unwrap();
                Self::Postgres(client)
            }
            Dialect::Mysql => {
                let opts = mysql_async::Opts::from_url(&fixture.url).unwrap();
                let opts = mysql_async::OptsBuilder::from_opts(opts)
                    .prefer_socket(Some(false))
                    .setup(vec![
                        "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
                         NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'",
                        "SET NAMES utf8mb4",
                    ]);
                Self::Mysql(Box::new(mysql_async::Conn::new(opts).await.unwrap()))
            }
        }
    }

    /// Runs a statement, and takes back what it did; on MySQL a change of tables stays.
    pub(super) async fn answer(&mut self, sql: &str) -> Answer {
        self.answer_and(sql, None).await
    }

    /// The same, where the answer is that of a second statement which shows what the first one did.
    pub(super) async fn answer_and(&mut self, sql: &str, show: Option<&str>) -> Answer {
        match self {
            Self::Sqlite(connection) => {
                connection.execute_batch("BEGIN").unwrap();
                let mut answer = sqlite(connection, sql);
                if let (Ok(_), Some(show)) = (&answer, show) {
                    answer = sqlite(connection, show);
                }
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK").unwrap();
                }
                answer
            }
            Self::Postgres(client) => {
                client.batch_execute("BEGIN").await.unwrap();
                let mut answer = postgres(client, sql).await;
                if let (Ok(_), Some(show)) = (&answer, show) {
                    answer = postgres(client, show).await;
                }
                client.batch_execute("ROLLBACK").await.unwrap();
                answer
            }
            Self::Mysql(conn) => {
                conn.query_drop("BEGIN").await.unwrap();
                let mut answer = mysql(conn, sql).await;
                if let (Ok(_), Some(show)) = (&answer, show) {
                    answer = mysql(conn, show).await;
                }
                conn.query_drop("ROLLBACK").await.unwrap();
                answer
            }
        }
    }
}

fn sqlite(connection: &rusqlite::Connection, sql: &str) -> Answer {
    use rusqlite::types::ValueRef;
    let mut statement = connection.prepare(sql).map_err(|error| error.to_string())?;
    let names: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(Into::into)
        .collect();
    let mut found = statement.query([]).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(|error| error.to_string())? {
        let cell = |index| match row.get_ref(index).unwrap() {
            ValueRef::Null => None,
            ValueRef::Integer(value) => Some(format!("int {value}")),
            ValueRef::Real(value) => Some(format!("real {value:?}")),
            ValueRef::Text(value) => Some(format!("text {}", String::from_utf8_lossy(value))),
            ValueRef::Blob(value) => Some(format!("blob {value:?}")),
        };
        rows.push((0..names.len()).map(cell).collect());
    }
    Ok((names, rows))
}

async fn postgres(client: &tokio_postgres::Client, sql: &str) -> Answer {
    use tokio_postgres::SimpleQueryMessage as Message;
    let messages = client.simple_query(sql).await.map_err(|error| {
        let words = error.as_db_error().map(|error| error.message().to_owned());
        words.unwrap_or_else(|| error.to_string())
    })?;
    let (mut names, mut rows) = (Vec::new(), Vec::new());
    for message in &messages {
        match message {
            Message::RowDescription(columns) => {
                names = columns
                    .iter()
                    .map(|column| column.name().to_owned())
                    .collect();
            }
            Message::Row(row) => {
                let cells = (0..row.len()).map(|index| row.get(index).map(str::to_owned));
                rows.push(cells.collect());
            }
            _ => {}
        }
    }
    Ok((names, rows))
}

async fn mysql(conn: &mut mysql_async::Conn, sql: &str) -> Answer {
    let mut found = conn
        .query_iter(sql)
        .await
        .map_err(|error| error.to_string())?;
    let columns = found.columns().unwrap_or_default();
    // The type is what tells 1 from '1' and a text from bytes.
    let kinds: Vec<String> = columns
        .iter()
        .map(|column| format!("{:?} {}", column.column_type(), column.character_set()))
        .collect();
    let names = columns
        .iter()
        .map(|column| column.name_str().into_owned())
        .collect();
    let rows: Vec<mysql_async::Row> = found.collect().await.map_err(|error| error.to_string())?;
    let rows = rows.into_iter().map(|row| {
        let cells = row.unwrap().into_iter().zip(&kinds);
        cells
            .map(|(value, kind)| match value {
                mysql_async::Value::NULL => None,
                mysql_async::Value::Bytes(bytes) => {
                    Some(format!("{kind} {}", String::from_utf8_lossy(&bytes)))
                }
                other => Some(format!("{kind} {}", other.as_sql(false))),
            })
            .collect()
    });
    Ok((names, rows.collect()))
}
