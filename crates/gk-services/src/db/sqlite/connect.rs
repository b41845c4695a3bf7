//! Connections to a file: how they are opened, and what SQLite itself lets them do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gk_sqlguard::Analysis;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{Action, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::rules::{Rules, permits};
use super::session::{Inserted, Session};

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 64;

/// Steps that a statement may be compiled to.
const PROGRAM_STEPS_MAX: i32 = 100_000;

/// Connections of one kind: a thread takes one for a statement and puts it back.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) path: PathBuf,
    pub(super) writes: bool,
    pub(super) value_bytes_max: i32,
    pub(super) temp_bytes_max: u64,
    pub(super) idle: Mutex<Vec<Session>>,
    pub(super) places: Arc<Semaphore>,
}

impl Side {
    pub(super) fn take(&self) -> rusqlite::Result<Session> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| self.connect(permits), Ok)
    }

    /// A connection on which `permits` says what a statement may do.
    pub(super) fn connect(
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
            // A write that was acknowledged survives the machine's end, too.
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
