//! The audit log: every requested change, with its author, the client's address, and the state
//! before and after.
//!
//! The log is in the host's SQLite file, or in the database that several hosts share. A change is logged before it is made, and refused if that
//! fails; its outcome is a row of its own. Rows are never changed, and only the oldest rows beyond
//! [`AUDIT_ENTRIES_MAX`] are removed. The database itself refuses any other change.

mod shared;
mod sqlite;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use gk_api::{Actor, AuditEntry, AuditPage, Change};
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
#[derive(Debug, Clone)]
pub struct Audit {
    store: Arc<dyn AuditStore>,
}

/// A row of the log, before it is read as an [`AuditEntry`].
pub(crate) struct StoredEntry {
    pub(crate) id: i64,
    /// Seconds since 1970.
    pub(crate) at: i64,
    pub(crate) host: Option<String>,
    pub(crate) actor: Actor,
    pub(crate) change: String,
    pub(crate) target: String,
    pub(crate) before: String,
    pub(crate) request_id: String,
    /// Whether there is an outcome, and its parts.
    pub(crate) is_over: bool,
    pub(crate) error: Option<String>,
    pub(crate) after: Option<String>,
}

/// The log failed; the text says how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AuditError(pub(crate) String);

/// Where the log is stored. Entries are added and read; states are JSON.
#[async_trait]
pub(crate) trait AuditStore: fmt::Debug + Send + Sync + 'static {
    /// Adds an entry with this state before, at this moment in seconds since 1970, and returns its
    /// number.
    async fn begin(&self, asked: &Asked, before: String, at: i64) -> Result<i64, AuditError>;

    /// Adds the outcome of an entry.
    async fn end(&self, id: i64, after: String, error: Option<String>) -> Result<(), AuditError>;

    /// Reads entries, newest first, at most `limit`.
    async fn read(&self, query: &AuditQuery, limit: usize) -> Result<Vec<StoredEntry>, AuditError>;
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
    store: Arc<dyn AuditStore>,
    id: i64,
}

impl Audit {
    /// Opens the log in the host's database, or creates it.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self::of(sqlite::HostAudit::open(path, AUDIT_ENTRIES_MAX)?))
    }

    /// The log of hosts that share a database.
    #[must_use]
    pub fn shared(member: Arc<gk_cluster::Member>) -> Self {
        Self::of(shared::SharedAudit { member })
    }

    fn of(store: impl AuditStore) -> Self {
        Self {
            store: Arc::new(store),
        }
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
        let (before, at) = (kept(&asked.before), unix_seconds(SystemTime::now()));
        let id = self.store.begin(&asked, before, at).await;
        Ok(Begun {
            store: Arc::clone(&self.store),
            id: id.map_err(|error| failed(&error))?,
        })
    }

    /// Returns entries, newest first.
    pub(crate) async fn read(&self, query: AuditQuery) -> Result<AuditPage, Problem> {
        let limit = query.limit.clamp(1, AUDIT_PAGE_MAX);
        // Asking for one more tells whether there is a next page.
        let found = self.store.read(&query, limit + 1).await;
        let mut found = found.map_err(|error| failed(&error))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let entries = found.into_iter().map(|found| found.shown());
        let entries = entries.collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| failed(&error))?;
        let next = entries.last().filter(|_| more).map(|entry| entry.id);
        Ok(AuditPage { entries, next })
    }
}

impl Begun {
    /// Logs the outcome of the change. A failure is only reported in the host's log, as the change
    /// has been made.
    pub(crate) async fn end(self, after: Value, error: Option<String>) {
        let id = self.id;
        let written = self.store.end(id, kept(&after), error).await;
        if let Err(error) = written {
            tracing::error!(
                audit = id,
                %error,
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

impl StoredEntry {
    fn shown(self) -> Result<AuditEntry, AuditError> {
        let json = |text: Option<String>| {
            let value = text.map(|text| serde_json::from_str(&text));
            value.and_then(Result::ok).unwrap_or(Value::Null)
        };
        let mut known = Change::ALL.into_iter();
        // An unknown change was written by a later version of this program.
        let unknown = || AuditError(format!("the change {:?} is not known", self.change));
        let change = known
            .find(|known| known.as_str() == self.change)
            .ok_or_else(unknown)?;
        let outcome = match (self.is_over, &self.error) {
            (false, _) => "unknown",
            (true, None) => "done",
            (true, Some(_)) => "failed",
        };
        Ok(AuditEntry {
            id: self.id,
            at: rfc3339_of(self.at).unwrap_or_default(),
            host: self.host,
            actor: self.actor,
            change,
            target: self.target,
            before: json(Some(self.before)),
            after: json(self.after),
            outcome: outcome.to_owned(),
            error: self.error,
            request_id: self.request_id,
        })
    }
}

fn failed(error: &AuditError) -> Problem {
    metrics::counter!("gk_audit_failures_total").increment(1);
    tracing::error!(%error, "the audit log cannot be used; changes are refused");
    Problem::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "the audit log cannot be used, and no change is made without it; the host's log says why",
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use serde_json::json;

    use super::*;

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

    /// The log of hosts that share one, in a schema of its own.
    async fn shared() -> (gk_cluster::Database, Audit) {
        let database = crate::testing::shared_database("audit").await;
        let config = gk_cluster::MemberConfig {
            name: "host-a".to_owned(),
            release: "0.1.0".to_owned(),
            lost_after: gk_cluster::member::LOST_AFTER,
        };
        let member = gk_cluster::Member::join(database.clone(), config).await;
        (database, Audit::shared(member.unwrap()))
    }

    #[tokio::test]
    async fn an_entry_is_there_before_its_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let own = Audit::open(&dir.path().join("host.db")).unwrap();
        entries_come_before_their_outcomes(own).await;
        let (_, shared) = shared().await;
        entries_come_before_their_outcomes(shared.clone()).await;
        let hosts = shared.read(query(1)).await.unwrap().entries;
        assert_eq!(hosts[0].host.as_deref(), Some("host-a"));
    }

    async fn entries_come_before_their_outcomes(audit: Audit) {
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
        pages(Audit::open(&dir.path().join("host.db")).unwrap()).await;
        pages(shared().await.1).await;
    }

    async fn pages(audit: Audit) {
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
        let audit = Audit::of(sqlite::HostAudit::open(&path, 3).unwrap());
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
    async fn nothing_of_a_shared_log_is_changed_or_removed() {
        let (database, audit) = shared().await;
        let begun = audit.begin(asked("a", Change::Reload)).await.unwrap();
        begun.end(Value::Null, None).await;
        for statement in [
            "UPDATE audit SET login = 'ben' RETURNING 1",
            "UPDATE audit_outcome SET error = 'x' RETURNING 1",
            "DELETE FROM audit RETURNING 1",
            "DELETE FROM audit_outcome RETURNING 1",
            "TRUNCATE audit, audit_outcome",
            "INSERT INTO audit_outcome VALUES (1, 'x', 'null') RETURNING 1",
        ] {
            database.query(statement, &[]).await.unwrap_err();
        }
        let kept = audit.read(query(10)).await.unwrap().entries;
        assert_eq!((kept.len(), &*kept[0].outcome), (1, "done"));
        // Beyond the limit the oldest goes, with its outcome.
        let far = "SELECT setval(pg_get_serial_sequence('audit', 'id'), $1)";
        database.query(far, &[&AUDIT_ENTRIES_MAX]).await.unwrap();
        let begun = audit.begin(asked("b", Change::Reload)).await.unwrap();
        begun.end(Value::Null, None).await;
        let kept = audit.read(query(10)).await.unwrap().entries;
        assert_eq!((kept.len(), &*kept[0].target), (1, "b"));
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
