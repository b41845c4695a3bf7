//! This host among the others.

mod hosts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gk_hostapi::HostError;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_postgres::types::ToSql;

pub use self::hosts::{HostRow, Settled};
use crate::database::{DEADLINE, Database};
use crate::topic::Topic;

/// Interval at which a host looks for changes that it was not told of.
pub const POLL: Duration = Duration::from_secs(1);

/// Interval at which a host says that it is there.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Age of a host's last sign from which its taking note of changes is not waited for.
pub const FRESH: Duration = Duration::from_secs(15);

/// Age of a host's last sign from which it is not missed any more.
pub const MISSED: Duration = Duration::from_secs(10 * 60);

/// Maximum time that [`Member::settle`] waits for the other hosts.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Age of a host's last sign from which its runs of jobs are lost, by default.
pub const LOST_AFTER: Duration = Duration::from_secs(90);

/// Number of changes that are kept. A host that lacks more reads everything.
const CHANGES_KEPT: i64 = 10_000;

/// Who puts changes in force on this host.
#[async_trait]
pub trait Follower: Send + Sync + 'static {
    /// Reads everything of a topic again and puts it in force.
    ///
    /// # Errors
    /// The topic could not be read, or not be put in force; it is tried again.
    async fn apply(&self, topic: Topic) -> Result<(), HostError>;

    /// What the other hosts are told of this one, as JSON.
    fn details(&self) -> Value;
}

/// How this host is called, and when it counts as gone.
#[derive(Debug, Clone)]
pub struct MemberConfig {
    /// The host's name, for people.
    pub name: String,
    /// The host's version.
    pub release: String,
    /// Age of a host's last sign from which its runs of jobs are lost; at least three heartbeats.
    /// Longer than any pause of a host that is to be survived.
    pub lost_after: Duration,
}

/// This host's knowledge of the shared state.
#[derive(Debug, Clone, Copy)]
pub struct Contact {
    /// Moment at which everything that had changed was in force here.
    pub at: Instant,
    /// The newest change that is in force here.
    pub applied: i64,
}

/// This host among those that share a database.
pub struct Member {
    database: Database,
    id: String,
    config: MemberConfig,
    contact: Mutex<Contact>,
    /// Moment since which the database has answered whatever this host asked of it.
    steady_since: Mutex<Instant>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

/// What was found in the database.
struct Found {
    /// The newest change.
    newest: i64,
    topics: Vec<Topic>,
}

impl Member {
    /// Joins the hosts of a database, which do not see it before it [appears](Self::appear). What is
    /// read from the database after this call is not older than the change that counts as applied.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn join(database: Database, config: MemberConfig) -> Result<Arc<Self>, HostError> {
        let random = getrandom::u64();
        let random =
            random.map_err(|_| HostError::unavailable("the system gives no random bytes"))?;
        let id = format!("{random:016x}");
        let newest = "SELECT coalesce(max(version), 0) FROM change";
        let rows = database.query(newest, &[]).await?;
        let applied = rows.first().map_or(0, |row| row.get(0));
        let now = Instant::now();
        let contact = Contact { at: now, applied };
        Ok(Arc::new(Self {
            database,
            id,
            config,
            contact: Mutex::new(contact),
            steady_since: Mutex::new(now),
        }))
    }

    /// The id of this process among the hosts.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Age of a host's last sign from which its runs of jobs are lost.
    #[must_use]
    pub fn lost_after(&self) -> Duration {
        self.config.lost_after
    }

    /// The shared database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// This host's knowledge of the shared state.
    #[must_use]
    pub fn contact(&self) -> Contact {
        *self.contact.lock()
    }

    /// Time since this host knew all that had changed.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.contact().at.elapsed()
    }

    /// Shows this host to the others.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn appear(&self) -> Result<(), HostError> {
        self.say(&Value::Object(serde_json::Map::new())).await
    }

    /// Time since which the database has answered whatever this host asked of it.
    pub(crate) fn steady(&self) -> Duration {
        self.steady_since.lock().elapsed()
    }

    /// Time of steady contact after which the other hosts have had the time for a sign of life.
    pub(crate) fn steady_after(&self) -> Duration {
        2 * self.beat() + DEADLINE
    }

    /// Interval of this host's signs of life.
    pub(crate) fn beat(&self) -> Duration {
        HEARTBEAT.min(self.config.lost_after / 3)
    }

    fn note_failure(&self) {
        *self.steady_since.lock() = Instant::now();
    }

    /// Puts changes in force as they come, and says from time to time that this host is there. Runs
    /// until it is dropped.
    pub async fn follow(&self, follower: &dyn Follower) {
        tokio::select! {
            () = self.database.listen() => {}
            () = self.look(follower) => {}
            () = self.show(follower) => {}
        }
    }

    async fn look(&self, follower: &dyn Follower) {
        let mut told = self.database.signals().changed.subscribe();
        let mut lost = false;
        loop {
            let looked = self.apply_changes(follower).await;
            match &looked {
                Ok(()) if lost => {
                    tracing::info!("the shared state is followed again");
                }
                Err(error) if !lost => {
                    tracing::error!(%error, "the shared state cannot be followed; what is known stays in force");
                }
                _ => {}
            }
            lost = looked.is_err();
            if lost {
                self.note_failure();
            }
            metrics::gauge!("gk_cluster_age_seconds").set(self.age().as_secs_f64());
            // The sender lives as long as the database.
            _ = timeout_at(Instant::now() + POLL, told.changed()).await;
        }
    }

    /// Puts in force what has changed since.
    async fn apply_changes(&self, follower: &dyn Follower) -> Result<(), HostError> {
        let asked_at = Instant::now();
        let known = self.contact().applied;
        let found = self.find(known).await?;
        let mut applied = Ok(());
        for topic in &found.topics {
            // One topic that fails does not hold up the others.
            applied = applied.and(follower.apply(*topic).await);
        }
        applied?;
        let contact = Contact {
            at: asked_at,
            applied: found.newest,
        };
        *self.contact.lock() = contact;
        if found.newest != known {
            let update = "WITH told AS (SELECT pg_notify('gk_applied', ''))
                UPDATE host SET applied = $2, seen = now() FROM told WHERE id = $1";
            self.database
                .query(update, &[&self.id, &found.newest])
                .await?;
        }
        Ok(())
    }

    async fn find(&self, known: i64) -> Result<Found, HostError> {
        let select = "SELECT coalesce((SELECT min(version) FROM change), 0),
            coalesce((SELECT max(version) FROM change), 0),
            ARRAY(SELECT DISTINCT topic FROM change WHERE version > $1)";
        let rows = self.database.query(select, &[&known]).await?;
        let none = || HostError::unavailable("the shared database answers nothing");
        let row = rows.first().ok_or_else(none)?;
        let (oldest, newest): (i64, i64) = (row.get(0), row.get(1));
        // Changes were forgotten before this host saw them, or the database is an older one.
        let all = oldest > known.saturating_add(1) || newest < known;
        let changed: Vec<String> = row.get(2);
        let topics = Topic::ALL.into_iter();
        let topics =
            topics.filter(|topic| all || changed.iter().any(|word| word == topic.as_str()));
        Ok(Found {
            newest,
            topics: topics.collect(),
        })
    }

    async fn show(&self, follower: &dyn Follower) {
        let mut beats = interval(self.beat());
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let shown = async {
                self.say(&follower.details()).await?;
                self.tidy().await
            };
            if let Err(error) = shown.await {
                self.note_failure();
                tracing::debug!(%error, "the other hosts are not told that this one is there");
            }
        }
    }

    /// Writes this host's row.
    async fn say(&self, details: &Value) -> Result<(), HostError> {
        let say = "INSERT INTO host (id, name, release, applied, details)
            VALUES ($1, $2, $3, $4, $5::text::jsonb)
            ON CONFLICT (id) DO UPDATE SET seen = now(), details = excluded.details,
                applied = greatest(host.applied, excluded.applied)";
        let MemberConfig { name, release, .. } = &self.config;
        let (applied, details) = (self.contact().applied, details.to_string());
        let values: [&(dyn ToSql + Sync); 5] = [&self.id, name, release, &applied, &details];
        self.database.query(say, &values).await.map(drop)
    }

    /// Removes what nobody needs any more: old changes, and rows of hosts that ended long ago.
    async fn tidy(&self) -> Result<(), HostError> {
        let forget = "WITH gone AS (DELETE FROM host WHERE seen < now() - interval '1 day')
            DELETE FROM change WHERE version <= (SELECT max(version) FROM change) - $1";
        self.database
            .query(forget, &[&CHANGES_KEPT])
            .await
            .map(drop)
    }

    /// Takes this host's row away, when it stops.
    pub async fn leave(&self) {
        let leave = "DELETE FROM host WHERE id = $1";
        if let Err(error) = self.database.query(leave, &[&self.id]).await {
            tracing::warn!(%error, "the other hosts are not told that this one has stopped");
        }
    }
}
