//! Short reads, on the thread that asks: one connection with limits so small that no statement
//! holds the thread for long. Whatever comes of it but rows is forgotten, and the statement runs on
//! its own thread, from the beginning; it only reads, so nothing happens twice.
//!
//! What bounds the work: the steps of SQLite's machine ([`STEPS_MAX`]) and the time at each look
//! ([`TIME_MAX`]), which also hold while a statement is compiled; the size of a value, so that no
//! step takes long ([`VALUE_BYTES_MAX`]); the functions, of which only those are called whose work
//! grows with their arguments' size at most. Locks are not waited for. A statement that was too
//! much is not tried again; one that took too long, where the machine may have been busy, is tried
//! [`STRIKES_MAX`] times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gk_sqlguard::Analysis;
use parking_lot::Mutex;
use rusqlite::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext};
use rusqlite::limits::Limit;

use super::rules::{Rules, permits};
use super::{Session, Side, read};
use crate::db::DbLimits;
use crate::db::rows::Rows;
use crate::db::value::Arg;

/// Steps of SQLite's machine between two looks.
const STEPS_PER_LOOK: u32 = 25;

/// Steps that a statement may take: a row by its key takes about 15.
const STEPS_MAX: u32 = 1000;

/// How long it may have taken at a look.
const TIME_MAX: Duration = Duration::from_micros(250);

/// How often in a row a statement may have taken too long.
const STRIKES_MAX: u32 = 3;

/// Longest text of a statement, in bytes.
const SQL_BYTES_MAX: usize = 2048;

/// Longest value, and all arguments together, in bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// Most rows of a result, and its bytes.
const ROWS_MAX: usize = 100;
const RESULT_BYTES_MAX: usize = 64 * 1024;

/// Statements that stay compiled.
const STATEMENTS_KEPT: usize = 64;

/// Functions whose work grows no faster than their arguments.
const FUNCTIONS: &[&str] = &[
    "abs", "avg", "coalesce", "count", "ifnull", "length", "lower", "max", "min", "nullif",
    "round", "sum", "total", "upper",
];

/// The connection for short reads.
#[derive(Debug)]
pub(super) struct Quick {
    session: Mutex<Session>,
    limits: DbLimits,
    time_max: Duration,
    answered: AtomicU64,
    given_up: AtomicU64,
    /// Steps of the last statement, to its last look.
    steps: Arc<AtomicU32>,
}

/// The outcome of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The rows.
    Rows(Bytes),
    /// The statement has to run on a thread of its own.
    Later,
}

impl Quick {
    pub(super) fn open(side: &Side, limits: &DbLimits) -> rusqlite::Result<Self> {
        let session = side.connect(permits_quickly)?;
        let connection = &session.connection;
        connection.busy_timeout(Duration::ZERO)?;
        let value_bytes_max = i32::try_from(VALUE_BYTES_MAX).unwrap_or(i32::MAX);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, value_bytes_max)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(Self {
            session: Mutex::new(session),
            limits: DbLimits {
                max_rows: limits.max_rows.min(ROWS_MAX),
                max_result_bytes: limits.max_result_bytes.min(RESULT_BYTES_MAX),
                ..limits.clone()
            },
            time_max: TIME_MAX,
            answered: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            steps: Arc::default(),
        })
    }

    /// Runs a statement that reads, if it is short and the connection is free.
    pub(super) fn query(&self, statement: &Arc<Analysis>, args: &[Arg]) -> Answer {
        if statement.sql.len() > SQL_BYTES_MAX
            || bytes_of(args) > VALUE_BYTES_MAX
            || statement.runner_note().load(Ordering::Relaxed) >= STRIKES_MAX
        {
            return Answer::Later;
        }
        let Some(session) = self.session.try_lock() else {
            return Answer::Later;
        };
        self.steps.store(0, Ordering::Relaxed);
        let steps = Arc::clone(&self.steps);
        let (start, time_max) = (Instant::now(), self.time_max);
        let is_too_much = move || {
            let steps = steps.fetch_add(STEPS_PER_LOOK, Ordering::Relaxed) + STEPS_PER_LOOK;
            steps >= STEPS_MAX || start.elapsed() >= time_max
        };
        let connection = &session.connection;
        connection.progress_handler(STEPS_PER_LOOK.cast_signed(), Some(is_too_much));
        *session.rules.lock() = Rules::Statement(Arc::clone(statement));
        let result = read(connection, &statement.sql, args, Rows::new(&self.limits));
        *session.rules.lock() = Rules::Nothing;
        // How often in a row the statement was too much work to be done here.
        let too_much = statement.runner_note();
        let is_too_much = match result {
            Ok(Ok(rows)) => {
                too_much.store(0, Ordering::Relaxed);
                self.answered.fetch_add(1, Ordering::Relaxed);
                return Answer::Rows(rows);
            }
            // Too many rows, or a value that is none for a plugin.
            Ok(Err(_)) => true,
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => {
                    too_much.fetch_add(1, Ordering::Relaxed);
                    self.steps.load(Ordering::Relaxed) >= STEPS_MAX
                }
                Some(ErrorCode::TooBig | ErrorCode::AuthorizationForStatementDenied) => true,
                // A function that is denied has no code of its own. Anything else may be otherwise
                // the next time: a lock, a table that is missing.
                _ => error.to_string().contains("not authorized"),
            },
        };
        if is_too_much {
            too_much.store(STRIKES_MAX, Ordering::Relaxed);
        }
        self.given_up.fetch_add(1, Ordering::Relaxed);
        Answer::Later
    }
}

fn bytes_of(args: &[Arg]) -> usize {
    args.iter()
        .map(|arg| match arg {
            Arg::Text(text) => text.len(),
            Arg::Blob(blob) => blob.len(),
            _ => 0,
        })
        .sum()
}

/// Permits what a statement may do at all, but no function that may take long.
fn permits_quickly(statement: &Analysis, context: &AuthContext<'_>) -> bool {
    let is_short = match context.action {
        AuthAction::Function { function_name } => FUNCTIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(function_name)),
        _ => true,
    };
    is_short && permits(statement, context)
}

#[cfg(test)]
mod tests;
