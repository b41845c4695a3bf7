//! The shared database: connections, deadlines, transactions.

mod listen;
mod migrate;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use gk_hostapi::HostError;
use gk_services::db::PostgresServer;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row, Transaction};

use crate::topic::Topic;

pub use self::migrate::{BREAKING, MigrateError};

/// Maximum time of a request: the wait for a connection, and the statements.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Maximum time for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time of a statement in the server; less than [`DEADLINE`], so that its error comes first.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(4);

/// Maximum number of connections of a host, besides the one that listens.
const CONNECTIONS_MAX: usize = 16;

/// The schema of the tables, if the URL's `schema` names no other.
const SCHEMA: &str = "goatkit";

/// The first number of the advisory locks of this program; the second is what is locked.
pub(crate) const LOCKS: i32 = 0x676b;

/// Why work in the database failed.
#[derive(Debug)]
pub enum Failure {
    /// The database.
    Database(tokio_postgres::Error),
    /// What the work found.
    Host(HostError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl Failure {
    /// The error for a plugin or an administrator. The details go to the host's log.
    #[must_use]
    pub fn into_host(self) -> HostError {
        let error = match self {
            Self::Host(error) => return error,
            Self::Database(error) => error,
        };
        tracing::warn!(error = %told(&error), "the shared database failed");
        match error.code() {
            Some(&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE) => too_late(),
            Some(&SqlState::DISK_FULL) => {
                HostError::unavailable("the disk of the shared database is full")
            }
            Some(_) => {
                HostError::unavailable("the shared database failed; the host's log says why")
            }
            None => unreachable(),
        }
    }
}

/// The text of an error. It may name the user, and never the password or the URL.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn unreachable() -> HostError {
    HostError::unavailable("the shared database cannot be reached; the host's log says why")
}

fn too_late() -> HostError {
    HostError::timeout(format!(
        "the shared database did not answer within {DEADLINE:?}; whether a change was made is not known"
    ))
}

fn in_doubt() -> HostError {
    HostError::unavailable(
        "the connection to the shared database broke while a change was stored; whether it was made is not known",
    )
}

/// Work in a transaction.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// The shared database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    server: PostgresServer,
    signals: Signals,
    cluster: OnceLock<String>,
}

/// What the database has told of since, by channel. What is told while there is no connection is
/// lost: whoever waits also looks from time to time.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// There are changes.
    pub(crate) changed: watch::Sender<()>,
    /// A host has taken note of changes.
    pub(crate) applied: watch::Sender<()>,
    /// Runs of jobs wait.
    pub(crate) jobs: watch::Sender<()>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Connects to the database of that URL, and brings its tables to this host's version.
    ///
    /// # Errors
    /// The URL; the server cannot be reached or lacks permissions; [`MigrateError::Newer`].
    pub async fn open(url: &str) -> Result<Self, MigrateError> {
        let mut server = PostgresServer::new(url)?;
        let schema = server.schema.clone().unwrap_or_else(|| SCHEMA.to_owned());
        server
            .config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(DEADLINE)
            .keepalives_idle(Duration::from_secs(30))
            .application_name("goatkit-cluster")
            .options(format!(
                "-c search_path={schema},pg_temp -c statement_timeout={} -c lock_timeout={} -c \
                 idle_in_transaction_session_timeout=5000 -c TimeZone=UTC",
                STATEMENT_TIMEOUT.as_millis(),
                STATEMENT_TIMEOUT.as_millis(),
            ));
        let config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match server.tls.clone() {
            Some(tls) => Manager::from_config(server.config.clone(), tls, config),
            None => Manager::from_config(server.config.clone(), NoTls, config),
        };
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|_| HostError::unavailable("no pool for the shared database"))?;
        let database = Self {
            inner: Arc::new(Inner {
                pool,
                server,
                signals: Signals::default(),
                cluster: OnceLock::new(),
            }),
        };
        migrate::migrate(&database, &schema).await?;
        let rows = database.query("SELECT id FROM cluster", &[]).await?;
        let id = rows.first().map(|row| row.get(0));
        let none =
            || HostError::failed("the shared database has no id; restore its table `cluster`");
        let _ = database.inner.cluster.set(id.ok_or_else(none)?);
        Ok(database)
    }

    /// The id of the hosts that share this database.
    pub(crate) fn cluster(&self) -> &str {
        self.inner.cluster.get().map_or("", String::as_str)
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.inner.signals
    }

    async fn connection(&self, deadline: Instant) -> Result<Object, HostError> {
        match timeout_at(deadline, self.inner.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the shared database cannot be reached");
                Err(unreachable())
            }
            Err(_) => Err(HostError::timeout(format!(
                "no connection to the shared database was free within {DEADLINE:?}"
            ))),
        }
    }

    /// Runs work in one transaction: all of it, or nothing. It runs to its end even if nobody waits
    /// for it any more.
    ///
    /// # Errors
    /// What the work fails with. Unavailable, timeout: the database.
    pub async fn write<T, F>(&self, work: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a Transaction<'a>) -> Work<'a, T> + Send + 'static,
    {
        let database = self.clone();
        let written = tokio::spawn(async move { database.transaction(work).await });
        written.await.unwrap_or_else(|_| {
            Err(HostError::unavailable(
                "work in the shared database panicked",
            ))
        })
    }

    async fn transaction<T, F>(&self, work: F) -> Result<T, HostError>
    where
        F: for<'a> FnOnce(&'a Transaction<'a>) -> Work<'a, T>,
    {
        let deadline = Instant::now() + DEADLINE;
        // Connections that broke while they were idle are known to be so at the first statement.
        let mut attempts = CONNECTIONS_MAX;
        let mut work = Some(work);
        let mut commits = false;
        loop {
            let mut connection = self.connection(deadline).await?;
            let done = timeout_at(deadline, async {
                let transaction = connection.transaction().await?;
                let Some(work) = work.take() else {
                    return Err(unreachable().into());
                };
                let value = work(&transaction).await?;
                commits = true;
                transaction.commit().await?;
                Ok(value)
            });
            let failure = match done.await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    // What runs in it may go on: it is not used again.
                    drop(Object::take(connection));
                    return Err(too_late());
                }
            };
            match failure {
                Failure::Database(error) if error.is_closed() && work.is_some() && attempts > 0 => {
                    drop(Object::take(connection));
                    attempts -= 1;
                }
                Failure::Database(error) if commits && error.code().is_none() => {
                    tracing::warn!(error = %told(&error), "the shared database failed");
                    return Err(in_doubt());
                }
                failure => return Err(failure.into_host()),
            }
        }
    }

    /// Runs one statement and returns its rows. One that changes something may run twice where the
    /// connection breaks: it has to come to the same.
    ///
    /// # Errors
    /// Unavailable, timeout: the database.
    pub async fn query(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, HostError> {
        let deadline = Instant::now() + DEADLINE;
        let mut attempts = CONNECTIONS_MAX;
        loop {
            let connection = self.connection(deadline).await?;
            let asking = async {
                let statement = connection.prepare_cached(statement).await?;
                connection.query(&statement, values).await
            };
            match timeout_at(deadline, asking).await {
                Ok(Ok(rows)) => return Ok(rows),
                // A statement that was not sent has done nothing; one that was may have.
                Ok(Err(error)) if error.is_closed() && attempts > 0 => {
                    drop(Object::take(connection));
                    attempts -= 1;
                }
                Ok(Err(error)) => return Err(Failure::Database(error).into_host()),
                Err(_) => {
                    drop(Object::take(connection));
                    return Err(too_late());
                }
            }
        }
    }
}

/// Notes that something of a topic has changed, which all hosts have to know of. Changes are noted in
/// the order in which they are committed, as [`lock_changes`] comes before.
///
/// # Errors
/// The database.
pub async fn note(transaction: &Transaction<'_>, topic: Topic, key: &str) -> Result<(), Failure> {
    let statement = "WITH noted AS (INSERT INTO change (topic, key) VALUES ($1, $2))
        SELECT pg_notify('gk_changed', '')";
    transaction
        .execute(statement, &[&topic.as_str(), &key])
        .await?;
    Ok(())
}

/// Takes the lock that orders changes; held until the transaction ends.
///
/// # Errors
/// The database.
pub async fn lock_changes(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let lock = "SELECT pg_advisory_xact_lock($1, 1)";
    transaction.execute(lock, &[&LOCKS]).await?;
    Ok(())
}

/// A number of a row that is never negative.
pub(crate) fn unsigned(row: &Row, column: usize) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}

/// A number as a row has it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
