//! Statements on a connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gk_hostapi::HostError;
use gk_sqlguard::{DbGrant, StatementKind};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::time::Instant;

use super::error::{failure, too_late};
use super::rules::{Keys, Reach, Rules};
use super::temp::TempWatch;
use super::{IsOver, fetch};
use crate::db::DbLimits;
use crate::db::rows::Left;
use crate::db::write::{Bound, Written, numbered};

/// Virtual machine's steps between two looks at the deadline.
const STEPS_PER_LOOK: i32 = 1000;

/// A connection, and what the statement may touch that it compiles. The authorizer stays: setting
/// another one makes SQLite compile every statement anew. It is asked when a statement is compiled,
/// and again when tables have changed since.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) rules: Arc<Mutex<Rules>>,
    pub(super) temp_bytes_max: u64,
    /// Of the writer.
    pub(super) keys: Mutex<Keys>,
    /// The row that was inserted last into the table of that name, which is the host's to ask for.
    pub(super) inserted: Arc<Mutex<Inserted>>,
}

/// Which table's new rows are watched, and the last one's number.
#[derive(Debug, Default)]
pub(super) struct Inserted {
    pub(super) table: Option<String>,
    pub(super) row: Option<i64>,
}

impl Session {
    /// Runs statements of the host's own, or a plugin's under `rules`, with the progress handler in
    /// place.
    pub(super) fn guarded<T>(
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
    pub(super) fn write(
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

    /// Rolls back. No deadline and no rule keeps the transaction from ending.
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
                // A plugin that is granted other tables may have compiled the kept one.
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
