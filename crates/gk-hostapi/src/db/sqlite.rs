//! SQLite: one writer, several readers that cannot write, and the authorizer as a second wall.
//!
//! A statement blocks, so it runs on a thread that may. Short reads are tried where they are asked
//! for first ([`quick`]): two wake-ups between threads cost more than they do.

mod quick;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::quick::{Answer, Quick};
use super::DbLimits;
use super::guard::{Analysis, StatementKind, TableName, is_allowed_in_sqlite};
use super::rows::Rows;
use super::value::Arg;
use crate::HostError;

/// Virtual machine's steps between two looks at the deadline.
const STEPS_PER_LOOK: i32 = 1000;

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 64;

/// Steps that a statement may be compiled to.
const PROGRAM_STEPS_MAX: i32 = 100_000;

/// An open file.
#[derive(Debug)]
pub(super) struct Sqlite {
    readers: Arc<Side>,
    writer: Arc<Side>,
    quick: Option<Box<Quick>>,
    limits: DbLimits,
}

/// Connections of one kind: a thread takes one for a statement and puts it back.
#[derive(Debug)]
struct Side {
    path: PathBuf,
    writes: bool,
    value_bytes_max: i32,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
}

/// A connection, and what the statement may touch that it compiles. The authorizer stays: setting
/// another one makes SQLite compile every statement anew. It is asked when a statement is compiled,
/// and again when tables have changed since.
#[derive(Debug)]
struct Session {
    connection: Connection,
    rules: Arc<Mutex<Option<Arc<Analysis>>>>,
}

/// Tells a running statement to stop when its future is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Sqlite {
    /// Opens a file, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(super) fn open(path: &Path, limits: &DbLimits) -> Result<Self, HostError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        file.map_err(|error| {
            HostError::unavailable(format!(
                "the SQLite file cannot be opened: {}",
                error.kind()
            ))
        })?;
        let value_bytes_max = i32::try_from(limits.max_result_bytes).unwrap_or(i32::MAX);
        let side = |writes: bool, places: usize| {
            Arc::new(Side {
                path: path.to_owned(),
                writes,
                value_bytes_max,
                idle: Mutex::default(),
                places: Arc::new(Semaphore::new(places)),
            })
        };
        let mut sqlite = Self {
            readers: side(false, limits.max_connections.max(1)),
            writer: side(true, 1),
            quick: None,
            limits: limits.clone(),
        };
        // Readers cannot turn the write-ahead log on.
        let failed = |error: rusqlite::Error| {
            tracing::warn!(%error, "the SQLite file cannot be opened");
            HostError::unavailable("the SQLite file cannot be opened")
        };
        let writer = sqlite.writer.connect(permits).map_err(failed)?;
        sqlite.writer.idle.lock().push(writer);
        if limits.inline_reads {
            let quick = Quick::open(&sqlite.readers, limits).map_err(failed)?;
            sqlite.quick = Some(Box::new(quick));
        }
        Ok(sqlite)
    }

    pub(super) async fn query(
        &self,
        statement: Arc<Analysis>,
        args: Vec<Arg>,
        deadline: Instant,
    ) -> Result<Bytes, HostError> {
        if let Some(quick) = &self.quick
            // Among the places of the readers: it is one of the statements that run at once.
            && let Ok(_place) = self.readers.places.try_acquire()
            && let Answer::Rows(rows) = quick.query(&statement, &args)
        {
            return Ok(rows);
        }
        let rows = Rows::new(&self.limits);
        let work = move |connection: &Connection, statement: &Analysis| {
            read(connection, statement, &args, rows)
        };
        run(&self.readers, statement, deadline, work).await
    }

    pub(super) async fn exec(
        &self,
        statement: Arc<Analysis>,
        args: Vec<Arg>,
        deadline: Instant,
    ) -> Result<u64, HostError> {
        let work = move |connection: &Connection, statement: &Analysis| {
            let mut prepared = connection.prepare_cached(&statement.sql)?;
            let changed = prepared.execute(rusqlite::params_from_iter(args))?;
            // For other statements SQLite tells the number of the one before.
            let counts = statement.kind == StatementKind::Write;
            Ok(Ok(if counts { changed as u64 } else { 0 }))
        };
        run(&self.writer, statement, deadline, work).await
    }
}

/// Runs a statement that reads.
fn read(
    connection: &Connection,
    statement: &Analysis,
    args: &[Arg],
    mut rows: Rows,
) -> rusqlite::Result<Result<Bytes, HostError>> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    // The guard says that it reads; so has SQLite to.
    if !prepared.readonly() {
        return Ok(Err(HostError::denied("the statement writes")));
    }
    rows.columns(prepared.column_names());
    let mut found = prepared.query(rusqlite::params_from_iter(args))?;
    while let Some(row) = found.next()? {
        let written = rows.row(|index, json| {
            let value = row.get_ref(index).map_err(failure)?;
            match value {
                ValueRef::Null => json.null(),
                ValueRef::Integer(int) => json.int(int),
                ValueRef::Real(float) => json.float(float),
                ValueRef::Blob(blob) => json.blob(blob),
                ValueRef::Text(text) => match std::str::from_utf8(text) {
                    Ok(text) => json.text(text),
                    Err(_) => {
                        return Err(HostError::failed(
                            "a column's text is not UTF-8: CAST it to BLOB",
                        ));
                    }
                },
            }
            Ok(())
        });
        if let Err(error) = written {
            return Ok(Err(error));
        }
    }
    Ok(Ok(rows.finish()))
}

/// Runs a statement on a connection of its own, on a thread that may block.
async fn run<T: Send + 'static>(
    side: &Arc<Side>,
    statement: Arc<Analysis>,
    deadline: Instant,
    work: impl FnOnce(&Connection, &Analysis) -> rusqlite::Result<Result<T, HostError>> + Send + 'static,
) -> Result<T, HostError> {
    let place = tokio::time::timeout_at(deadline, side.places.clone().acquire_owned());
    let place = place
        .await
        .map_err(|_| HostError::timeout("no connection to the database was free in time"))?
        .map_err(|_| HostError::unavailable("the database is closed"))?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = CancelOnDrop(cancelled.clone());
    let side = side.clone();
    let running = tokio::task::spawn_blocking(move || {
        let _place = place;
        let session = side.take().map_err(failure)?;
        let is_over = move || cancelled.load(Ordering::Relaxed) || Instant::now() >= deadline;
        let result = session.guarded(&statement, is_over, deadline, work);
        side.idle.lock().push(session);
        result
    });
    running
        .await
        .unwrap_or_else(|_| Err(HostError::failed("the statement could not be run")))
}

impl Side {
    fn take(&self) -> rusqlite::Result<Session> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| self.connect(permits), Ok)
    }

    /// A connection on which `permits` says what a statement may do.
    fn connect(
        &self,
        permits: fn(&Analysis, &AuthContext<'_>) -> bool,
    ) -> rusqlite::Result<Session> {
        let access = if self.writes {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        // No URIs: their parameters choose the mode and more.
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        if self.writes {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // What is acknowledged survives the machine's end too.
            connection.pragma_update(None, "synchronous", "FULL")?;
        } else {
            connection.pragma_update(None, "query_only", true)?;
        }
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        for (option, value) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        ] {
            connection.set_db_config(option, value)?;
        }
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, self.value_bytes_max),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 256 * 1024),
            (Limit::SQLITE_LIMIT_COLUMN, 500),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1000),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
            (Limit::SQLITE_LIMIT_VDBE_OP, PROGRAM_STEPS_MAX),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 999),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 16),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            connection.set_limit(limit, value)?;
        }
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let rules = Arc::<Mutex<Option<Arc<Analysis>>>>::default();
        let asked = Arc::clone(&rules);
        connection.authorizer(Some(move |context: AuthContext<'_>| match &*asked.lock() {
            Some(statement) if permits(statement, &context) => Authorization::Allow,
            _ => Authorization::Deny,
        }));
        Ok(Session { connection, rules })
    }
}

impl Session {
    /// Runs a statement with authorizer and progress handler in place.
    fn guarded<T>(
        &self,
        statement: &Arc<Analysis>,
        is_over: impl Fn() -> bool + Send + Sync + 'static + std::panic::RefUnwindSafe,
        deadline: Instant,
        work: impl FnOnce(&Connection, &Analysis) -> rusqlite::Result<Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let connection = &self.connection;
        let is_over = Arc::new(is_over);
        if is_over() {
            return Err(too_late());
        }
        let watched = is_over.clone();
        *self.rules.lock() = Some(Arc::clone(statement));
        let result = (|| {
            let wait = deadline.saturating_duration_since(Instant::now());
            connection.busy_timeout(wait)?;
            connection.progress_handler(STEPS_PER_LOOK, Some(move || watched()));
            work(connection, statement)
        })();
        *self.rules.lock() = None;
        match result {
            Ok(result) => result,
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => Err(too_late()),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) if is_over() => {
                    Err(too_late())
                }
                _ => Err(failure(error)),
            },
        }
    }
}

fn too_late() -> HostError {
    HostError::timeout("the statement did not end in time, and was cancelled")
}

/// SQLite's own words: they name tables and columns, and never the file.
fn failure(error: rusqlite::Error) -> HostError {
    match error.sqlite_error_code() {
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            tracing::warn!(%error, "SQLite was asked for more than the statement says");
            HostError::denied("the engine was asked for more than the statement says")
        }
        Some(ErrorCode::ReadOnly) => HostError::denied("the statement writes"),
        Some(ErrorCode::TooBig) => HostError::limit(
            "a value has more bytes than a result may have (limit max_result_bytes)",
        ),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::PermissionDenied,
        ) => {
            tracing::warn!(%error, "the SQLite file fails");
            HostError::unavailable("the database fails; the host's log says why")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            HostError::timeout("the database was in use by others for too long")
        }
        _ => match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => HostError::failed(message),
            rusqlite::Error::SqlInputError { msg, .. } => HostError::failed(msg),
            rusqlite::Error::SqliteFailure(code, None) => HostError::failed(code.to_string()),
            rusqlite::Error::MultipleStatement => HostError::denied("more than one statement"),
            _ => HostError::failed("the statement could not be run"),
        },
    }
}

/// Whether a statement needs what SQLite is about to do for it.
fn permits(statement: &Analysis, context: &AuthContext<'_>) -> bool {
    let has = |tables: &std::collections::BTreeSet<TableName>, table: &str| {
        tables
            .iter()
            .any(|known| known.name().eq_ignore_ascii_case(table))
    };
    let is_schema = statement.kind == StatementKind::Schema;
    // SQLite's own books, which a change of tables changes.
    let is_book = |table: &str| {
        [
            "sqlite_master",
            "sqlite_temp_master",
            "sqlite_schema",
            "sqlite_sequence",
            "sqlite_stat1",
            "sqlite_stat4",
        ]
        .iter()
        .any(|book| book.eq_ignore_ascii_case(table))
    };
    let writes = |table: &str| has(&statement.writes, table) || (is_schema && is_book(table));
    let reads = |table: &str| {
        has(&statement.reads, table)
            || writes(table)
            || statement.functions.contains(&table.to_ascii_lowercase())
    };
    let is_with = |name: &str| {
        let mut names = statement.with_names.iter();
        names.any(|known| known.eq_ignore_ascii_case(name))
    };
    // A view reads and a trigger writes what whoever made it may; plugins make neither.
    let is_inside = context.accessor.is_some();
    let may_write = statement.kind != StatementKind::Query;
    match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        // The rows of a WITH query are counted under its name, without a column.
        AuthAction::Read {
            table_name,
            column_name,
        } => is_inside || reads(table_name) || (column_name.is_empty() && is_with(table_name)),
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => may_write && (is_inside || writes(table_name)),
        AuthAction::Function { function_name } => {
            is_inside
                || is_allowed_in_sqlite(function_name)
                || (is_schema && function_name.starts_with("sqlite_"))
        }
        AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::DropIndex { table_name, .. } => is_schema && writes(table_name),
        AuthAction::Reindex { .. } => is_schema,
        _ => false,
    }
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::Value;
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Bool(value) => ToSqlOutput::Owned(Value::Integer(i64::from(*value))),
            Self::Int(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Unsigned(_) => {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_RANGE),
                    Some("SQLite has no integers beyond 9223372036854775807".to_owned()),
                ));
            }
            Self::Float(value) => ToSqlOutput::Owned(Value::Real(*value)),
            Self::Text(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
            Self::Blob(value) => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
        })
    }
}
