//! The hosts that share a database.

use std::time::Duration;

use gk_hostapi::HostError;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{FRESH, MISSED, Member, POLL, SETTLE};

/// A host that shares the database.
#[derive(Debug, Clone)]
pub struct HostRow {
    /// Id of the process.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The host's version.
    pub release: String,
    /// Moment of its start, in seconds since 1970, by the database's clock.
    pub started_at: i64,
    /// Moment of its last sign, in seconds since 1970, by the database's clock.
    pub seen_at: i64,
    /// Time since its last sign.
    pub age: Duration,
    /// Everything that was changed is in force there.
    pub is_current: bool,
    /// What it tells of itself.
    pub details: Value,
}

impl HostRow {
    /// Returns whether the host gave a sign of life within [`FRESH`].
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.age < FRESH
    }
}

/// Who has taken note of a change, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Hosts on which it is in force.
    pub acknowledged: Vec<String>,
    /// Hosts that have not said so in time, and those that were heard of within [`MISSED`] and not
    /// within [`FRESH`]: they may be cut off from the database, and serve all the same.
    pub pending: Vec<String>,
}

impl Member {
    /// Returns all hosts, by name.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn hosts(&self) -> Result<Vec<HostRow>, HostError> {
        let select = "SELECT id, name, release, extract(epoch FROM started)::bigint,
            extract(epoch FROM seen)::bigint,
            greatest(0, extract(epoch FROM now() - seen) * 1000)::bigint,
            applied >= coalesce((SELECT max(version) FROM change), 0), details::text
            FROM host ORDER BY name, started";
        let rows = self.database.query(select, &[]).await?;
        let hosts = rows.iter().map(|row| HostRow {
            id: row.get(0),
            name: row.get(1),
            release: row.get(2),
            started_at: row.get(3),
            seen_at: row.get(4),
            age: Duration::from_millis(row.get::<_, i64>(5).unsigned_abs()),
            is_current: row.get(6),
            details: serde_json::from_str(row.get(7)).unwrap_or_default(),
        });
        Ok(hosts.collect())
    }

    /// Returns the number of hosts that give signs of life.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn count_fresh(&self) -> Result<usize, HostError> {
        let count = "SELECT count(*) FROM host
            WHERE seen > now() - make_interval(secs => $1::bigint)";
        let fresh = i64::try_from(FRESH.as_secs()).unwrap_or(i64::MAX);
        let rows = self.database.query(count, &[&fresh]).await?;
        let count: i64 = rows.first().map_or(0, |row| row.get(0));
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Waits until everything that was changed before is in force on all hosts that give signs of
    /// life, for at most [`SETTLE`].
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn settle(&self) -> Result<Settled, HostError> {
        let deadline = Instant::now() + SETTLE;
        let newest = "SELECT coalesce(max(version), 0) FROM change";
        let rows = self.database.query(newest, &[]).await?;
        let version: i64 = rows.first().map_or(0, |row| row.get(0));
        let fresh = i64::try_from(FRESH.as_secs()).unwrap_or(i64::MAX);
        // A host that was heard of lately may go on without the database; not one that was started anew
        // under its name.
        let select = "SELECT name, applied >= $1, seen > now() - make_interval(secs => $2::bigint)
            FROM host WHERE seen > now() - make_interval(secs => $2::bigint)
            OR (seen > now() - make_interval(secs => $3::bigint) AND NOT EXISTS (
                SELECT 1 FROM host AS anew WHERE anew.name = host.name AND anew.started > host.started
            )) ORDER BY name";
        let missed = i64::try_from(MISSED.as_secs()).unwrap_or(i64::MAX);
        let mut applied = self.database.signals().applied.subscribe();
        loop {
            applied.borrow_and_update();
            let rows = self
                .database
                .query(select, &[&version, &fresh, &missed])
                .await?;
            let mut settled = Settled::default();
            let mut waits = false;
            for row in &rows {
                match row.get(1) {
                    true => settled.acknowledged.push(row.get(0)),
                    false => {
                        waits |= row.get::<_, bool>(2);
                        settled.pending.push(row.get(0));
                    }
                }
            }
            if !waits || Instant::now() >= deadline {
                return Ok(settled);
            }
            // Without a connection that listens, it is looked for.
            let look = deadline.min(Instant::now() + POLL / 4);
            _ = timeout_at(look, applied.changed()).await;
        }
    }
}
