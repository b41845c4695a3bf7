//! MySQL and MariaDB: a read-only transaction for what reads, and KILL for what is given up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_sqlguard::{Analysis, StatementKind};
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Opts, OptsBuilder, Params, SslOpts, Value};
use tokio::time::Instant;

use super::DbLimits;
use super::config::ServerTarget;
use super::pool::{Connector, Pool};
use super::rows::{Left, Rows};
use super::server::{self, Failure, STATEMENTS_KEPT, too_late, within};
use super::value::{Arg, Json, fraction};
use super::write::{Bound, Written};

/// Number of the character set of bytes that are no text.
const BINARY: u16 = 63;

/// A server's database.
#[derive(Debug)]
pub(super) struct Mysql {
    pool: Pool<MysqlConnector>,
    limits: DbLimits,
}

/// Makes connections.
struct MysqlConnector {
    opts: Opts,
    temp_bytes_max: u64,
}

type Lease = super::pool::Lease<MysqlConnector>;

/// A connection.
struct Session {
    conn: Conn,
    opts: Opts,
    is_mariadb: bool,
    /// When the server was started, by its own clock in seconds.
    started: i64,
    /// The connection broke: there is nothing to cancel.
    is_broken: bool,
}

impl Connector for MysqlConnector {
    const ENGINE: &'static str = "MySQL";
    type Session = Session;
    type Error = mysql_async::Error;
    // A transaction is begun where it is needed.
    type Begin = ();

    async fn connect(&self) -> Result<Session, mysql_async::Error> {
        let mut conn = Conn::new(self.opts.clone()).await?;
        let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
        let started = started(&mut conn).await?;
        let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
        if is_mariadb {
            // A server that is too old for it keeps its own limits.
            let limit = format!("SET SESSION tmp_disk_table_size = {}", self.temp_bytes_max);
            match conn.query_drop(limit).await {
                Ok(()) | Err(mysql_async::Error::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Session {
            conn,
            started,
            is_broken: false,
            opts: self.opts.clone(),
            is_mariadb,
        })
    }

    fn describe(error: &mysql_async::Error) -> String {
        error.to_string()
    }

    fn is_closed(session: &Session) -> bool {
        session.is_broken
    }

    fn may_run(session: &Session) -> bool {
        !session.is_broken
    }

    async fn begin(
        session: &mut Session,
        (): (),
        left: Duration,
    ) -> Result<(), mysql_async::Error> {
        let limit = if session.is_mariadb {
            format!(
                "SET SESSION max_statement_time = {:.3}",
                left.as_secs_f64().max(0.001)
            )
        } else {
            format!(
                "SET SESSION max_execution_time = {}",
                left.as_millis().max(1)
            )
        };
        let limited = session.conn.query_drop(limit).await;
        session.is_broken = limited.is_err();
        limited
    }

    async fn cancel(session: &Session) -> Result<(), mysql_async::Error> {
        let mut conn = Conn::new(session.opts.clone()).await?;
        // A server that was restarted gives the connection's number to somebody else.
        if (started(&mut conn).await? - session.started).abs() > 1 {
            return conn.disconnect().await;
        }
        conn.query_drop(format!("KILL {}", session.conn.id()))
            .await?;
        conn.disconnect().await
    }
}

/// When the server was started, by its own clock in seconds.
async fn started(conn: &mut Conn) -> Result<i64, mysql_async::Error> {
    let now: Option<i64> = conn.query_first("SELECT UNIX_TIMESTAMP()").await?;
    let uptime: Option<(String, i64)> =
        conn.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
    Ok(now.unwrap_or_default() - uptime.map_or(0, |(_, seconds)| seconds))
}

impl Mysql {
    /// Reads the URL; connects to nothing. Returns the database's name too.
    ///
    /// # Errors
    ///
    /// The URL cannot be read.
    pub(super) fn open(
        target: &ServerTarget,
        limits: &DbLimits,
    ) -> Result<(Self, String), HostError> {
        // The driver's errors may hold parts of the URL.
        let opts = Opts::from_url(&target.url)
            .map_err(|_| HostError::invalid("a mysql:// URL cannot be read"))?;
        let database = opts.db_name().unwrap_or_default().to_owned();
        let tls = target.tls.as_ref().map(server::roots).transpose()?;
        // Of its own roots the driver has those of the web, which are none of a database's.
        let tls = tls.map(|roots| {
            let roots = roots.iter().map(|root| root.to_vec().into());
            SslOpts::default()
                .with_root_certs(roots.collect())
                .with_disable_built_in_roots(true)
        });
        let opts: Opts = OptsBuilder::from_opts(opts)
            .ssl_opts(tls)
            // A connection to 127.0.0.1 stays one, and is not moved to a socket.
            .prefer_socket(Some(false))
            .stmt_cache_size(Some(STATEMENTS_KEPT))
            .tcp_nodelay(true)
            .max_allowed_packet(Some(server::packet_bytes_max(limits)))
            .setup(vec![
                // The defaults: a backslash escapes, which LIKE without ESCAPE needs, and `||` is
                // OR.
                "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
                 NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 1",
                "SET NAMES utf8mb4",
            ])
            .into();
        let connector = MysqlConnector {
            opts,
            temp_bytes_max: limits.max_temp_bytes,
        };
        let pool = Pool::new(connector, limits)?;
        let limits = limits.clone();
        Ok((Self { pool, limits }, database))
    }

    pub(super) async fn query(
        &self,
        statement: Arc<Analysis>,
        args: Vec<Arg>,
        deadline: Instant,
    ) -> Result<Bytes, HostError> {
        within(deadline, async {
            let mut lease = self.pool.lease((), deadline).await?;
            let mut rows = Rows::new(&self.limits);
            let result = match run(&mut lease, "START TRANSACTION READ ONLY").await {
                Ok(()) => fetch(&mut lease, &statement, args, &mut rows).await,
                Err(error) => Err(error),
            };
            end(lease, result.map(|_| rows.finish()), true).await
        })
        .await
    }

    /// Runs statements in one transaction, all of them or none. A single one without rows is a
    /// transaction by itself.
    pub(super) async fn write(
        &self,
        statements: Vec<Bound>,
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        within(deadline, async {
            let mut lease = self.pool.lease((), deadline).await?;
            let is_plain = matches!(&*statements, [only] if !only.statement.returns_rows());
            let result = write(&mut lease, statements, &self.limits, is_plain).await;
            end(lease, result, !is_plain).await
        })
        .await
    }
}

/// The server's figures on a statement that is done.
struct Done {
    affected: u64,
    last_insert_id: Option<u64>,
}

/// Runs a statement and writes its rows.
async fn fetch(
    lease: &mut Lease,
    statement: &Analysis,
    args: Vec<Arg>,
    rows: &mut Rows,
) -> Result<Done, Failure> {
    let Session {
        conn, is_broken, ..
    } = lease.session().map_err(Failure::Lost)?;
    let mut failure = |error| failure(error, is_broken);
    let mut found = conn
        .exec_iter(statement.sql.as_str(), params(args))
        .await
        .map_err(&mut failure)?;
    let columns = found.columns().unwrap_or_default();
    let names: Vec<_> = columns.iter().map(Column::name_str).collect();
    rows.columns(names.iter().map(AsRef::as_ref));
    while let Some(row) = found.next().await.map_err(&mut failure)? {
        // The rest of the result is still under way.
        rows.row(|index, json| {
            let garbled = || HostError::failed("a value of the database cannot be read");
            let column = columns.get(index).ok_or_else(garbled)?;
            let value = row.as_ref(index).ok_or_else(garbled)?;
            cell(column, value, json).ok_or_else(garbled)
        })
        .map_err(Failure::Lost)?;
    }
    drop(found);
    Ok(Done {
        affected: conn.affected_rows(),
        last_insert_id: conn.last_insert_id(),
    })
}

async fn write(
    lease: &mut Lease,
    statements: Vec<Bound>,
    limits: &DbLimits,
    is_plain: bool,
) -> Result<Vec<Written>, Failure> {
    if !is_plain {
        run(lease, "START TRANSACTION READ WRITE").await?;
    }
    let mut left = Left::new(limits);
    let mut all = Vec::with_capacity(statements.len());
    let count = statements.len();
    for (index, bound) in statements.into_iter().enumerate() {
        let done = one(lease, bound, &mut left).await;
        all.push(done.map_err(|failure| failure.numbered(index, count))?);
    }
    if !is_plain {
        run(lease, "COMMIT").await?;
    }
    Ok(all)
}

async fn one(
    lease: &mut Lease,
    Bound { statement, args }: Bound,
    left: &mut Left,
) -> Result<Written, Failure> {
    let mut rows = left.rows();
    let done = fetch(lease, &statement, args, &mut rows).await?;
    let is_insert = statement.inserts.is_some();
    let returned = rows.len() as u64;
    let rows = statement.returns_rows().then(|| left.take(rows));
    Ok(Written {
        affected: match statement.kind {
            // MariaDB counts what it returns as rows that were read.
            StatementKind::Write if rows.is_some() => done.affected.max(returned),
            StatementKind::Write => done.affected,
            StatementKind::Query | StatementKind::Schema => 0,
        },
        last_insert_id: done
            .last_insert_id
            .filter(|id| is_insert && *id > 0)
            .map(Into::into),
        rows,
    })
}

fn params(args: Vec<Arg>) -> Params {
    if args.is_empty() {
        return Params::Empty;
    }
    let value = |arg| match arg {
        Arg::Null => Value::NULL,
        Arg::Bool(value) => Value::Int(i64::from(value)),
        Arg::Int(value) => Value::Int(value),
        Arg::Unsigned(value) => Value::UInt(value),
        Arg::Float(value) => Value::Double(value),
        Arg::Text(value) => Value::Bytes(value.into_bytes()),
        Arg::Blob(value) => Value::Bytes(value),
    };
    Params::Positional(args.into_iter().map(value).collect())
}

/// Runs a statement of the host's own.
async fn run(lease: &mut Lease, sql: &str) -> Result<(), Failure> {
    let Session {
        conn, is_broken, ..
    } = lease.session().map_err(Failure::Lost)?;
    let done = conn.query_drop(sql).await;
    done.map_err(|error| failure(error, is_broken))
}

/// Ends the transaction, where there is one, and gives the connection back.
async fn end<T>(
    mut lease: Lease,
    result: Result<T, Failure>,
    in_transaction: bool,
) -> Result<T, HostError> {
    let result = match result {
        Ok(value) => Ok(value),
        Err(Failure::Kept(error)) => Err(error),
        Err(Failure::Lost(error)) => return Err(error),
    };
    if in_transaction && lease.session()?.conn.query_drop("ROLLBACK").await.is_err() {
        return result;
    }
    lease.give_back();
    result
}

/// Numbers: the servers' lists of error messages.
fn failure(error: mysql_async::Error, is_broken: &mut bool) -> Failure {
    match error {
        mysql_async::Error::Server(error) => match error.code {
            // Interrupted, or beyond its time, in MySQL and in MariaDB.
            1317 | 1969 | 3024 => Failure::Kept(too_late()),
            // A temporary table is full.
            1114 => Failure::Kept(HostError::limit(format!(
                "{} (limit max_temp_bytes, if it is a temporary one): sort or compare fewer rows",
                error.message
            ))),
            1792 => Failure::Kept(HostError::denied("the statement writes")),
            1205 => Failure::Kept(HostError::timeout(
                "the rows were in use by others for too long",
            )),
            // Shutdown, killed, too many, broken.
            1040 | 1053 | 1077 | 1078 | 1079 | 1152..=1161 | 1927 | 1203 => {
                tracing::warn!(code = error.code, "MySQL fails");
                Failure::server()
            }
            _ => Failure::Kept(HostError::failed(error.message)),
        },
        // The driver has no other name for it; what is left of the row stays in the connection.
        error if error.to_string().contains("max_allowed_packet") => {
            *is_broken = true;
            Failure::Lost(server::too_large_a_row())
        }
        error => {
            *is_broken = true;
            tracing::warn!(%error, "a connection to MySQL broke");
            Failure::connection()
        }
    }
}

/// Writes a cell.
fn cell(column: &Column, value: &Value, json: &mut Json<'_>) -> Option<()> {
    use ColumnType as T;
    match value {
        Value::NULL => json.null(),
        Value::Int(value) => json.int(*value),
        Value::UInt(value) => json.unsigned(*value),
        Value::Float(value) => json.single(*value),
        Value::Double(value) => json.float(*value),
        Value::Date(year, month, day, hours, minutes, seconds, micros) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            if column.column_type() == T::MYSQL_TYPE_DATE {
                json.plain(date);
            } else {
                let fraction = fraction(*micros);
                json.plain(format!(
                    "{date}T{hours:02}:{minutes:02}:{seconds:02}{fraction}Z"
                ));
            }
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let sign = if *negative { "-" } else { "" };
            let hours = u64::from(*days) * 24 + u64::from(*hours);
            let fraction = fraction(*micros);
            json.plain(format!(
                "{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}"
            ));
        }
        Value::Bytes(bytes) => match column.column_type() {
            T::MYSQL_TYPE_BIT => {
                let shift = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
                json.unsigned(bytes.iter().fold(0, shift));
            }
            T::MYSQL_TYPE_DECIMAL | T::MYSQL_TYPE_NEWDECIMAL | T::MYSQL_TYPE_JSON => {
                json.text(std::str::from_utf8(bytes).ok()?);
            }
            _ if column.character_set() == BINARY => json.blob(bytes),
            _ => json.text(std::str::from_utf8(bytes).ok()?),
        },
    }
    Some(())
}
