//! The audit log: every requested change, with its author, the client's address, and the state
//! before and after.
//!
//! The log is in the host's SQLite file. A change is logged before it is made, and refused if that
//! fails; its outcome is a row of its own. Rows are never changed, and only the oldest rows beyond
//! [`AUDIT_ENTRIES_MAX`] are removed. The database itself refuses any other change.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gk_api::{Actor, AuditEntry, AuditPage, Change};
use parking_lot::Mutex;
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use crate::problem::Problem;
use crate::rfc3339::{rfc3339_of, unix_seconds};

/// Maximum number of entries that are kept: with 1 KiB each, 100 MiB.
pub const AUDIT_ENTRIES_MAX: i64 = 100_000;

/// Maximum number of entries in one answer.
pub(crate) const AUDIT_PAGE_MAX: usize = 1000;

/// Maximum length of a state before or after, in bytes of JSON; of a longer one only the size is
/// kept.
const STATE_BYTES_MAX: usize = 64 * 1024;

/// The audit log of a host. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    database: Arc<Mutex<Connection>>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// A requested change.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) actor: Actor,
    pub(crate) change: Change,
    pub(crate) target: String,
    pub(crate) before: Value,
    pub(crate) request_id: String,
}

/// Selection of entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditQuery {
    pub(crate) limit: usize,
    pub(crate) before: Option<i64>,
    pub(crate) target: Option<String>,
    pub(crate) change: Option<Change>,
    pub(crate) login: Option<String>,
}

/// An entry whose outcome has not been written yet.
#[derive(Debug)]
#[must_use = "without an outcome the entry stays `unknown`"]
pub(crate) struct Begun {
    database: Arc<Mutex<Connection>>,
    id: i64,
}

impl Audit {
    /// Opens the log in the host's database, or creates it.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Self::open_with(path, AUDIT_ENTRIES_MAX)
    }

    fn open_with(path: &Path, keep: i64) -> rusqlite::Result<Self> {
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
        Ok(Audit {
            database: Arc::new(Mutex::new(database)),
        })
    }

    /// Logs a change of the host itself that was not requested over HTTP, such as one by a signal.
    /// A failure is only reported in the host's log, as the change is made in any case.
    pub async fn note(
        &self,
        login: &str,
        change: Change,
        target: &str,
        after: Value,
        error: Option<String>,
    ) {
        let asked = Asked {
            actor: Actor {
                login: login.to_owned(),
                token: None,
                uid: None,
                address: None,
            },
            change,
            target: target.to_owned(),
            before: Value::Null,
            request_id: String::new(),
        };
        match self.begin(asked).await {
            Ok(begun) => begun.end(after, error).await,
            Err(_) => tracing::error!(
                change = change.as_str(),
                target,
                "the audit log cannot be written"
            ),
        }
    }

    /// Logs a requested change.
    ///
    /// # Errors
    /// If the entry cannot be written. The change must not be made then.
    pub(crate) async fn begin(&self, asked: Asked) -> Result<Begun, Problem> {
        let database = Arc::clone(&self.database);
        let id = blocking(&self.database, move |database| {
            let insert = "INSERT INTO audit (at, login, token, uid, address, change, target, before, request_id)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            database.execute(
                insert,
                params![
                    unix_seconds(SystemTime::now()),
                    asked.actor.login,
                    asked.actor.token,
                    asked.actor.uid,
                    asked.actor.address,
                    asked.change.as_str(),
                    asked.target,
                    kept(&asked.before),
                    asked.request_id
                ],
            )?;
            Ok(database.last_insert_rowid())
        })
        .await?;
        Ok(Begun { database, id })
    }

    /// Returns entries, newest first.
    pub(crate) async fn read(&self, query: AuditQuery) -> Result<AuditPage, Problem> {
        blocking(&self.database, move |database| {
            let mut statement = database.prepare(
                "SELECT id, at, login, token, uid, address, change, target, before, request_id,
                    audit_outcome.audit IS NOT NULL, error, after
                FROM audit LEFT JOIN audit_outcome ON audit_outcome.audit = audit.id
                WHERE id < ?1 AND (?2 IS NULL OR target = ?2) AND (?3 IS NULL OR change = ?3)
                    AND (?4 IS NULL OR login = ?4)
                ORDER BY id DESC LIMIT ?5",
            )?;
            let limit = query.limit.clamp(1, AUDIT_PAGE_MAX);
            let rows = statement.query_map(
                params![
                    query.before.unwrap_or(i64::MAX),
                    query.target,
                    query.change.map(Change::as_str),
                    query.login,
                    limit + 1
                ],
                entry,
            )?;
            let mut entries = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let more = entries.len() > limit;
            entries.truncate(limit);
            let next = entries.last().filter(|_| more).map(|entry| entry.id);
            Ok(AuditPage { entries, next })
        })
        .await
    }
}

impl Begun {
    /// Logs the outcome of the change. A failure is only reported in the host's log, as the change
    /// has been made.
    pub(crate) async fn end(self, after: Value, error: Option<String>) {
        let id = self.id;
        let written = blocking(&self.database, move |database| {
            let insert = "INSERT INTO audit_outcome (audit, error, after) VALUES (?1, ?2, ?3)";
            database.execute(insert, params![id, error, kept(&after)])?;
            Ok(())
        });
        if written.await.is_err() {
            tracing::error!(
                audit = id,
                "the audit log does not say what came of this change"
            );
        }
    }
}

/// Returns the text of a state as the log keeps it.
fn kept(state: &Value) -> String {
    let text = state.to_string();
    match text.len() <= STATE_BYTES_MAX {
        true => text,
        false => serde_json::json!({ "bytes": text.len() }).to_string(),
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let json = |text: Option<String>| {
        let value = text.map(|text| serde_json::from_str(&text));
        value.and_then(Result::ok).unwrap_or(Value::Null)
    };
    let change: String = row.get(6)?;
    let change = Change::ALL
        .into_iter()
        .find(|known| known.as_str() == change);
    let (is_over, error): (bool, Option<String>) = (row.get(10)?, row.get(11)?);
    let outcome = match (is_over, &error) {
        (false, _) => "unknown",
        (true, None) => "done",
        (true, Some(_)) => "failed",
    };
    Ok(AuditEntry {
        id: row.get(0)?,
        at: rfc3339_of(row.get(1)?).unwrap_or_default(),
        actor: Actor {
            login: row.get(2)?,
            token: row.get(3)?,
            uid: row.get(4)?,
            address: row.get(5)?,
        },
        // An unknown change was written by a later version of this program.
        change: change.ok_or(rusqlite::Error::InvalidQuery)?,
        target: row.get(7)?,
        before: json(row.get(8)?),
        after: json(row.get(12)?),
        outcome: outcome.to_owned(),
        error,
        request_id: row.get(9)?,
    })
}

async fn blocking<T: Send + 'static>(
    database: &Arc<Mutex<Connection>>,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let database = Arc::clone(database);
    let failed = |error: &dyn fmt::Display| {
        tracing::error!(%error, "the audit log cannot be used; changes are refused");
        Problem::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            "the audit log cannot be used, and no change is made without it; the host's log says why",
        )
    };
    match tokio::task::spawn_blocking(move || work(&database.lock())).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(target: &str, change: Change) -> Asked {
        Asked {
            actor: Actor {
                login: "ann".into(),
                token: Some(7),
                uid: None,
                address: Some("192.0.2.7".into()),
            },
            change,
            target: target.into(),
            before: json!({ "enabled": true }),
            request_id: "r".into(),
        }
    }

    fn query(limit: usize) -> AuditQuery {
        AuditQuery {
            limit,
            ..AuditQuery::default()
        }
    }

    #[tokio::test]
    async fn an_entry_is_there_before_its_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(&dir.path().join("host.db")).unwrap();
        let first = audit.begin(asked("a", Change::Disable)).await.unwrap();
        let second = audit.begin(asked("b", Change::Enable)).await.unwrap();
        let _third = audit.begin(asked("c", Change::Enable)).await.unwrap();
        first.end(json!({ "enabled": false }), None).await;
        second.end(Value::Null, Some("no".into())).await;
        let entries = audit.read(query(10)).await.unwrap().entries;
        let outcomes: Vec<_> = entries.iter().map(|entry| &*entry.outcome).collect();
        assert_eq!(outcomes, ["unknown", "failed", "done"]);
        assert_eq!(entries[2].before, json!({ "enabled": true }));
        assert_eq!(entries[2].after, json!({ "enabled": false }));
        assert_eq!(entries[1].error.as_deref(), Some("no"));
        assert_eq!(entries[0].actor.address.as_deref(), Some("192.0.2.7"));
    }

    #[tokio::test]
    async fn entries_are_read_in_pages_and_by_what_they_are_about() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(&dir.path().join("host.db")).unwrap();
        for number in 0..5 {
            let change = [Change::Enable, Change::Disable][number % 2];
            let begun = audit.begin(asked(&format!("p{number}"), change));
            begun.await.unwrap().end(Value::Null, None).await;
        }
        let first = audit.read(query(2)).await.unwrap();
        assert_eq!(first.next, Some(4));
        let mut more = query(10);
        more.before = first.next;
        let rest = audit.read(more).await.unwrap();
        assert_eq!((rest.entries.len(), rest.next), (3, None));
        let mut of_one = query(10);
        of_one.change = Some(Change::Disable);
        assert_eq!(audit.read(of_one).await.unwrap().entries.len(), 2);
        let mut of_one = query(10);
        of_one.target = Some("p3".into());
        assert_eq!(audit.read(of_one).await.unwrap().entries[0].id, 4);
        let mut of_nobody = query(10);
        of_nobody.login = Some("ben".into());
        assert!(audit.read(of_nobody).await.unwrap().entries.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_changed_or_removed_but_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let audit = Audit::open_with(&path, 3).unwrap();
        for number in 0..5 {
            let begun = audit.begin(asked(&number.to_string(), Change::Reload));
            begun.await.unwrap().end(Value::Null, None).await;
        }
        let ids = |page: AuditPage| {
            page.entries
                .iter()
                .map(|entry| entry.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(audit.read(query(10)).await.unwrap()), [5, 4, 3]);
        let database = Connection::open(&path).unwrap();
        for statement in [
            "UPDATE audit SET login = 'ben'",
            "UPDATE audit_outcome SET error = 'x'",
            "DELETE FROM audit WHERE id = 5",
            "DELETE FROM audit",
            "DELETE FROM audit_outcome",
            "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 4",
            "INSERT OR REPLACE INTO audit_outcome VALUES (4, 'x', 'null')",
        ] {
            let refused = database.execute(statement, []).unwrap_err().to_string();
            assert!(refused.contains("append-only"), "{statement}: {refused}");
        }
        let count = "SELECT count(*) FROM audit_outcome";
        let outcomes: i64 = database.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(outcomes, 3);
    }

    #[tokio::test]
    async fn what_is_too_long_is_told_by_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(&dir.path().join("host.db")).unwrap();
        let mut long = asked("a", Change::SetPolicy);
        long.before = json!("x".repeat(STATE_BYTES_MAX));
        audit.begin(long).await.unwrap().end(json!(1), None).await;
        let entries = audit.read(query(1)).await.unwrap().entries;
        assert_eq!(entries[0].before, json!({ "bytes": STATE_BYTES_MAX + 2 }));
    }
}
