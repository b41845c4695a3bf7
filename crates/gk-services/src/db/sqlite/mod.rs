//! SQLite: one writer, several readers that cannot write, and the authorizer as a second wall.
//!
//! A statement blocks, so it runs on a thread that may. Short reads are tried where they are asked
//! for first ([`quick`]): two wake-ups between threads cost more than they do.

mod arg;
mod connect;
mod error;
mod quick;
mod rules;
mod session;
mod stamp;
mod temp;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_sqlguard::{Analysis, DbGrant};
use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::connect::Side;
use self::error::failure;
use self::quick::{Answer, Quick};
use self::rules::{Rules, permits};
use self::session::Session;
use super::DbLimits;
use super::rows::Rows;
use super::value::Arg;
use super::write::{Bound, Written};

/// The schema of the tables in the file.
const OWN_SCHEMA: &str = "main";

/// Longest definition of a table that can be read, however small results are to be.
const DEFINITION_BYTES_MAX: i32 = 1024 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct Sqlite {
    readers: Arc<Side>,
    writer: Arc<Side>,
    quick: Option<Box<Quick>>,
    limits: DbLimits,
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

    /// Runs statements in one transaction, all of them or none. `grant` bounds what foreign keys
    /// lead to.
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

/// Runs statements on a connection of its own, on a thread that may block. `work` is told whether
/// it has become useless.
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

/// Says when a statement's result is of no more use.
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
