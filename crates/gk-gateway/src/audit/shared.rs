//! The audit log in the database that several hosts share.

use std::sync::Arc;

use async_trait::async_trait;
use gk_api::Actor;
use gk_cluster::Member;
use gk_hostapi::HostError;

use super::{AUDIT_ENTRIES_MAX, Asked, AuditError, AuditQuery, AuditStore, Change, StoredEntry};

/// The log of all hosts.
#[derive(Debug)]
pub(super) struct SharedAudit {
    pub(super) member: Arc<Member>,
}

impl From<HostError> for AuditError {
    fn from(error: HostError) -> Self {
        Self(error.to_string())
    }
}

#[async_trait]
impl AuditStore for SharedAudit {
    async fn begin(&self, asked: &Asked, before: String, at: i64) -> Result<i64, AuditError> {
        let (asked, host) = (asked.clone(), self.member.name().to_owned());
        let begun = self.member.database().write(move |transaction| {
            Box::pin(async move {
                let insert = "INSERT INTO audit
                    (at, host, login, token, uid, address, change, target, before, request_id)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id";
                let Asked {
                    actor,
                    change,
                    target,
                    request_id,
                    ..
                } = asked;
                let (change, uid) = (change.as_str(), actor.uid.map(i64::from));
                let row = transaction
                    .query_one(
                        insert,
                        &[
                            &at,
                            &host,
                            &actor.login,
                            &actor.token,
                            &uid,
                            &actor.address,
                            &change,
                            &target,
                            &before,
                            &request_id,
                        ],
                    )
                    .await?;
                let id: i64 = row.get(0);
                let forget = "DELETE FROM audit WHERE id <= $1";
                transaction
                    .execute(forget, &[&(id - AUDIT_ENTRIES_MAX)])
                    .await?;
                Ok(id)
            })
        });
        Ok(begun.await?)
    }

    async fn end(&self, id: i64, after: String, error: Option<String>) -> Result<(), AuditError> {
        let ended = self.member.database().write(move |transaction| {
            Box::pin(async move {
                let insert = "INSERT INTO audit_outcome (audit, error, after) VALUES ($1, $2, $3)";
                transaction.execute(insert, &[&id, &error, &after]).await?;
                Ok(())
            })
        });
        Ok(ended.await?)
    }

    async fn read(&self, query: &AuditQuery, limit: usize) -> Result<Vec<StoredEntry>, AuditError> {
        let select =
            "SELECT id, at, login, token, uid, address, change, target, before, request_id,
                audit_outcome.audit IS NOT NULL, error, after, host
            FROM audit LEFT JOIN audit_outcome ON audit_outcome.audit = audit.id
            WHERE id < $1 AND ($2::text IS NULL OR target = $2)
                AND ($3::text IS NULL OR change = $3) AND ($4::text IS NULL OR login = $4)
            ORDER BY id DESC LIMIT $5";
        let before = query.before.unwrap_or(i64::MAX);
        let change = query.change.map(Change::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let database = self.member.database();
        let rows = database
            .query(
                select,
                &[&before, &query.target, &change, &query.login, &limit],
            )
            .await?;
        let entries = rows.iter().map(|row| StoredEntry {
            id: row.get(0),
            at: row.get(1),
            host: row.get(13),
            actor: Actor {
                login: row.get(2),
                token: row.get(3),
                uid: row
                    .get::<_, Option<i64>>(4)
                    .and_then(|uid| uid.try_into().ok()),
                address: row.get(5),
            },
            change: row.get(6),
            target: row.get(7),
            before: row.get(8),
            request_id: row.get(9),
            is_over: row.get(10),
            error: row.get(11),
            after: row.get(12),
        });
        Ok(entries.collect())
    }
}
