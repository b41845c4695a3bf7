//! SQLite: one writer, several readers that cannot write, and the authorizer as a second wall.
//!
//! A statement blocks, so it runs on a thread that may. Short reads are tried where they are asked
//! for first ([`quick`]): two wake-ups between threads cost more than they do.

mod quick;
mod rules;
mod stamp;
mod temp;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_sqlguard::{Analysis, DbGrant, StatementKind};
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{Action, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::quick::{Answer, Quick};
use self::rules::{Keys, Reach, Rules, permits};
use self::temp::TempWatch;
use super::DbLimits;
use super::rows::{Left, Rows};
use super::value::Arg;
use super::write::{Bound, Written, numbered};

/// Virtual machine's steps between two looks at the deadline.
const STEPS_PER_LOOK: i32 = 1000;

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 64;

/// The schema of the tables in the file.
const OWN_SCHEMA: &str = "main";

/// Longest definition of a table that can be read, however small results are to be.
const DEFINITION_BYTES_MAX: i32 = 1024 * 1024;

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
    temp_bytes_max: u64,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
}

/// A connection, and what the statement may touch that it compiles. The authorizer stays: setting
/// another one makes SQLite compile every statement anew. It is asked when a statement is compiled,
/// and again when tables have changed since.
#[derive(Debug)]
struct Session {
    connection: Connection,
    rules: Arc<Mutex<Rules>>,
    temp_bytes_max: u64,
    /// Of the writer.
    keys: Mutex<Keys>,
    /// The row that was inserted last into the table of that name, which is the host's to ask for.
    inserted: Arc<Mutex<Inserted>>,
}

/// Which table's new rows are watched, and the last one's number.
#[derive(Debug, Default)]
struct Inserted {
    table: Option<String>,
    row: Option<i64>,
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
            // The writer reads the tables' definitions, too.
            let least = if writes { DEFINITION_BYTES_MAX } else { 0 };
            let value_bytes_max = value_bytes_max.max(least);
            Arc::new(Side {
                path: path.to_owned(),
                writes,
                value_bytes_max,
                temp_bytes_max: limits.max_temp_bytes,
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
        run(&self.readers, deadline, move |session, is_over| {
            let work = |connection: &Connection| read(connection, &statement.sql, &args, rows);
            session.guarded(Rules::Statement(statement.clone()), is_over, deadline, work)
        })
        .await
    }

    /// Runs statements in one transaction, all of them or none. `grant` bounds what foreign keys lead
    /// to.
    pub(super) async fn write(
        &self,
        statements: Vec<Bound>,
        grant: DbGrant,
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        let limits = self.limits.clone();
        run(&self.writer, deadline, move |session, is_over| {
            session.write(&statements, &grant, &limits, is_over, deadline)
        })
        .await
    }
}

/// Runs a statement that reads.
fn read(
    connection: &Connection,
    sql: &str,
    args: &[Arg],
    mut rows: Rows,
) -> rusqlite::Result<Result<Bytes, HostError>> {
    let mut prepared = connection.prepare_cached(sql)?;
    // The guard says that it reads; so has SQLite to.
    if !prepared.readonly() {
        return Ok(Err(HostError::denied("the statement writes")));
    }
    Ok(match fetch(&mut prepared, args, &mut rows)? {
        Ok(()) => Ok(rows.finish()),
        Err(error) => Err(error),
    })
}

/// Runs a statement and writes its rows.
fn fetch(
    prepared: &mut rusqlite::Statement<'_>,
    args: &[Arg],
    rows: &mut Rows,
) -> rusqlite::Result<Result<(), HostError>> {
    rows.columns(prepared.column_names());
    let stamps = stamp::columns(prepared);
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
                    Ok(text) => match stamps.is_stamp(index).then(|| stamp::rfc3339(text)) {
                        Some(Some(stamp)) => json.text(&stamp),
                        _ => json.text(text),
                    },
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
    Ok(Ok(()))
}

/// Runs statements on a connection of its own, on a thread that may block. `work` is told whether it
/// has become useless.
async fn run<T: Send + 'static>(
    side: &Arc<Side>,
    deadline: Instant,
    work: impl FnOnce(&Session, IsOver) -> Result<T, HostError> + Send + 'static,
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
        let is_over = IsOver {
            cancelled,
            deadline,
        };
        let result = work(&session, is_over);
        // A connection whose transaction did not end is closed, which ends it.
        if session.connection.is_autocommit() {
            side.idle.lock().push(session);
        }
        result
    });
    running
        .await
        .unwrap_or_else(|_| Err(HostError::failed("the statement could not be run")))
}

/// Whether a statement's result is of no more use.
#[derive(Debug, Clone)]
struct IsOver {
    cancelled: Arc<AtomicBool>,
    deadline: Instant,
}

impl IsOver {
    fn get(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
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
        let rules = Arc::<Mutex<Rules>>::default();
        let asked = Arc::clone(&rules);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            match asked.lock().permit(&context, permits) {
                true => Authorization::Allow,
                false => Authorization::Deny,
            }
        }));
        let inserted = Arc::<Mutex<Inserted>>::default();
        if self.writes {
            let watched = Arc::clone(&inserted);
            connection.update_hook(Some(move |action, _: &str, table: &str, row| {
                let mut inserted = watched.lock();
                let is_watched = |watched: &String| watched.eq_ignore_ascii_case(table);
                if action == Action::SQLITE_INSERT
                    && inserted.table.as_ref().is_some_and(is_watched)
                {
                    inserted.row = Some(row);
                }
            }));
        }
        Ok(Session {
            connection,
            rules,
            temp_bytes_max: self.temp_bytes_max,
            keys: Mutex::default(),
            inserted,
        })
    }
}

impl Session {
    /// Runs statements of the host's own, or a plugin's under `rules`, with the progress handler in
    /// place.
    fn guarded<T>(
        &self,
        rules: Rules,
        is_over: IsOver,
        deadline: Instant,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let connection = &self.connection;
        if is_over.get() {
            return Err(too_late());
        }
        let watched = is_over.clone();
        let mut temp = TempWatch::new(self.temp_bytes_max);
        let fills_disk = temp.flag();
        *self.rules.lock() = rules;
        let result = (|| {
            let wait = deadline.saturating_duration_since(Instant::now());
            connection.busy_timeout(wait)?;
            connection.progress_handler(STEPS_PER_LOOK, Some(move || watched.get() || temp.look()));
            work(connection)
        })();
        let rules = std::mem::take(&mut *self.rules.lock());
        match result {
            Ok(result) => result,
            Err(error) => Err(match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) if fills_disk.load(Ordering::Relaxed) => {
                    HostError::limit(format!(
                        "statements have more than {} bytes in temporary files (limit max_temp_bytes), and this one was \
                         cancelled: sort or compare fewer rows",
                        self.temp_bytes_max
                    ))
                }
                Some(ErrorCode::OperationInterrupted) => too_late(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) if is_over.get() => {
                    too_late()
                }
                Some(ErrorCode::AuthorizationForStatementDenied) => {
                    rules.reason().unwrap_or_else(|| failure(error))
                }
                _ => failure(error),
            }),
        }
    }

    /// Runs statements in one transaction. A single one without rows is a transaction by itself.
    fn write(
        &self,
        statements: &[Bound],
        grant: &DbGrant,
        limits: &DbLimits,
        is_over: IsOver,
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        let own = |sql: &'static str| {
            self.guarded(Rules::Own, is_over.clone(), deadline, |connection| {
                connection.execute_batch(sql).map(Ok)
            })
        };
        let is_plain = matches!(statements, [only] if !only.statement.returns_rows());
        if is_plain {
            return self.all(statements, grant, limits, &is_over, deadline);
        }
        own("BEGIN IMMEDIATE")?;
        let written = self.all(statements, grant, limits, &is_over, deadline);
        match written {
            Ok(written) => match own("COMMIT") {
                Ok(()) => Ok(written),
                Err(error) => {
                    self.roll_back();
                    Err(error)
                }
            },
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// Nothing may keep it from ending, not even the deadline.
    fn roll_back(&self) {
        *self.rules.lock() = Rules::Own;
        self.connection.progress_handler(0, None::<fn() -> bool>);
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction of SQLite could not be rolled back");
        }
        *self.rules.lock() = Rules::Nothing;
    }

    fn all(
        &self,
        statements: &[Bound],
        grant: &DbGrant,
        limits: &DbLimits,
        is_over: &IsOver,
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        let mut left = Left::new(limits);
        let mut all = Vec::with_capacity(statements.len());
        for (index, bound) in statements.iter().enumerate() {
            let done = self.one(bound, grant, &mut left, is_over, deadline);
            all.push(done.map_err(|error| numbered(error, index, statements.len()))?);
        }
        Ok(all)
    }

    fn one(
        &self,
        Bound { statement, args }: &Bound,
        grant: &DbGrant,
        left: &mut Left,
        is_over: &IsOver,
        deadline: Instant,
    ) -> Result<Written, HostError> {
        let mut keys = self.keys.lock();
        self.guarded(Rules::Own, is_over.clone(), deadline, |connection| {
            keys.refresh(connection).map(Ok)
        })?;
        let reach = match statement.drops.is_empty() {
            true => keys.reach(&statement.writes, grant),
            false => Some(Reach::nothing(grant)),
        };
        let has_keys = reach.is_some();
        let rules = match reach {
            None => Rules::Statement(statement.clone()),
            Some(reach) => Rules::WithKeys(statement.clone(), reach),
        };
        *self.inserted.lock() = Inserted {
            table: statement.inserts.clone(),
            row: None,
        };
        self.guarded(rules, is_over.clone(), deadline, |connection| {
            let (mut kept, mut fresh);
            let prepared: &mut rusqlite::Statement<'_> = match has_keys {
                // Whoever else compiled it may be granted other tables.
                true => {
                    fresh = connection.prepare(&statement.sql)?;
                    &mut fresh
                }
                false => {
                    kept = connection.prepare_cached(&statement.sql)?;
                    &mut kept
                }
            };
            let mut rows = None;
            if statement.returns_rows() {
                let mut found = left.rows();
                if let Err(error) = fetch(prepared, args, &mut found)? {
                    return Ok(Err(error));
                }
                rows = Some(left.take(found));
            } else {
                prepared.execute(rusqlite::params_from_iter(args))?;
            }
            // For other statements SQLite tells the number of the one before.
            let counts = statement.kind == StatementKind::Write;
            Ok(Ok(Written {
                affected: if counts { connection.changes() } else { 0 },
                last_insert_id: self.inserted.lock().row.map(Into::into),
                rows,
            }))
        })
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
