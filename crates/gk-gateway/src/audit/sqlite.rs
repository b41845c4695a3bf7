//! The audit log in the host's SQLite file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gk_api::Actor;
use parking_lot::Mutex;
use rusqlite::{Connection, Row, params};

use super::{Asked, AuditError, AuditQuery, AuditStore, Change, StoredEntry};

/// The log of one host.
#[derive(Debug)]
pub(super) struct HostAudit {
    database: Arc<Mutex<Connection>>,
}

impl HostAudit {
    /// Opens the log, and keeps so many entries.
    pub(super) fn open(path: &Path, keep: i64) -> rusqlite::Result<Self> {
        let database = Connection::open(path)?;
        database.busy_timeout(Duration::from_secs(5))?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "cache_size", -256)?;
        // The triggers are recreated, as their number of rows may differ between versions of this
        // program.
        database.execute_batch(&format!(
            "BEGIN IMMEDIATE;
            CREATE TABLE IF NOT EXISTS audit (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                at INTEGER NOT NULL,
                login TEXT NOT NULL,
                token INTEGER,
                uid INTEGER,
                address TEXT,
                change TEXT NOT NULL,
                target TEXT NOT NULL,
                before TEXT NOT NULL,
                request_id TEXT NOT NULL
            ) STRICT;
            CREATE TABLE IF NOT EXISTS audit_outcome (
                audit INTEGER PRIMARY KEY,
                error TEXT,
                after TEXT NOT NULL
            ) STRICT;
            CREATE INDEX IF NOT EXISTS audit_target ON audit (target);
            DROP TRIGGER IF EXISTS audit_is_not_changed;
            DROP TRIGGER IF EXISTS audit_outcome_is_not_changed;
            DROP TRIGGER IF EXISTS audit_is_not_removed;
            DROP TRIGGER IF EXISTS audit_outcome_is_not_removed;
            CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
                BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
            CREATE TRIGGER audit_outcome_is_not_changed BEFORE UPDATE ON audit_outcome
                BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
            CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit
                WHEN OLD.id > (SELECT max(id) FROM audit) - {keep}
                BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
            CREATE TRIGGER audit_outcome_is_not_removed BEFORE DELETE ON audit_outcome
                WHEN OLD.audit > (SELECT max(id) FROM audit) - {keep}
                BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
            CREATE TRIGGER IF NOT EXISTS audit_outcome_comes_once BEFORE INSERT ON audit_outcome
                WHEN EXISTS (SELECT 1 FROM audit_outcome WHERE audit = NEW.audit)
                BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
            CREATE TRIGGER IF NOT EXISTS audit_comes_once BEFORE INSERT ON audit
                WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
                BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
            DROP TRIGGER IF EXISTS audit_is_bounded;
            CREATE TRIGGER audit_is_bounded AFTER INSERT ON audit BEGIN
                DELETE FROM audit_outcome WHERE audit <= NEW.id - {keep};
                DELETE FROM audit WHERE id <= NEW.id - {keep};
            END;
            COMMIT;"
        ))?;
        Ok(Self {
            database: Arc::new(Mutex::new(database)),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, AuditError> {
        let database = Arc::clone(&self.database);
        match tokio::task::spawn_blocking(move || work(&database.lock())).await {
            Ok(done) => done.map_err(|error| AuditError(error.to_string())),
            Err(error) => Err(AuditError(error.to_string())),
        }
    }
}

#[async_trait]
impl AuditStore for HostAudit {
    async fn begin(&self, asked: &Asked, before: String, at: i64) -> Result<i64, AuditError> {
        let asked = asked.clone();
        self.run(move |database| {
            let insert = "INSERT INTO audit (at, login, token, uid, address, change, target, before, request_id)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            database.execute(
                insert,
                params![
                    at,
                    asked.actor.login,
                    asked.actor.token,
                    asked.actor.uid,
                    asked.actor.address,
                    asked.change.as_str(),
                    asked.target,
                    before,
                    asked.request_id
                ],
            )?;
            Ok(database.last_insert_rowid())
        })
        .await
    }

    async fn end(&self, id: i64, after: String, error: Option<String>) -> Result<(), AuditError> {
        self.run(move |database| {
            let insert = "INSERT INTO audit_outcome (audit, error, after) VALUES (?1, ?2, ?3)";
            database.execute(insert, params![id, error, after])?;
            Ok(())
        })
        .await
    }

    async fn read(&self, query: &AuditQuery, limit: usize) -> Result<Vec<StoredEntry>, AuditError> {
        let query = query.clone();
        self.run(move |database| {
            let mut statement = database.prepare(
                "SELECT id, at, login, token, uid, address, change, target, before, request_id,
                    audit_outcome.audit IS NOT NULL, error, after
                FROM audit LEFT JOIN audit_outcome ON audit_outcome.audit = audit.id
                WHERE id < ?1 AND (?2 IS NULL OR target = ?2) AND (?3 IS NULL OR change = ?3)
                    AND (?4 IS NULL OR login = ?4)
                ORDER BY id DESC LIMIT ?5",
            )?;
            let rows = statement.query_map(
                params![
                    query.before.unwrap_or(i64::MAX),
                    query.target,
                    query.change.map(Change::as_str),
                    query.login,
                    limit
                ],
                entry,
            )?;
            rows.collect()
        })
        .await
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<StoredEntry> {
    Ok(StoredEntry {
        id: row.get(0)?,
        at: row.get(1)?,
        host: None,
        actor: Actor {
            login: row.get(2)?,
            token: row.get(3)?,
            uid: row.get(4)?,
            address: row.get(5)?,
        },
        change: row.get(6)?,
        target: row.get(7)?,
        before: row.get(8)?,
        request_id: row.get(9)?,
        is_over: row.get(10)?,
        error: row.get(11)?,
        after: row.get(12)?,
    })
}
