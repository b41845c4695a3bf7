//! Versions of the tables.

use gk_hostapi::HostError;
use tokio_postgres::Transaction;

use super::{Database, Failure, LOCKS};

/// The steps, one for each version. Steps are only ever appended: a step that was released stays as
/// it is. A step may add what older hosts do not use; anything else raises [`BREAKING`].
const STEPS: &[&str] = &[include_str!("schema.sql")];

/// The number that hosts must know to use the tables. Hosts of one number run side by side, whatever
/// the version.
pub const BREAKING: i32 = 1;

/// Why the shared database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database, or its URL.
    #[error(transparent)]
    Database(#[from] HostError),
    /// A newer host has changed the tables so that this one cannot use them.
    #[error(
        "the shared database has breaking version {found}, this host knows {BREAKING}; start the newer host"
    )]
    Newer {
        /// The database's number.
        found: i32,
    },
}

/// Brings the tables to this host's version, in one transaction: of several hosts that start, one
/// does.
pub(super) async fn migrate(database: &Database, schema: &str) -> Result<(), MigrateError> {
    let schema = schema.to_owned();
    let found = database.write(move |transaction| Box::pin(steps(transaction, schema)));
    match found.await? {
        found if found > BREAKING => Err(MigrateError::Newer { found }),
        _ => Ok(()),
    }
}

/// Returns the number that the tables need.
async fn steps(transaction: &Transaction<'_>, schema: String) -> Result<i32, Failure> {
    let lock = "SELECT pg_advisory_xact_lock($1, 0)";
    transaction.execute(lock, &[&LOCKS]).await?;
    // Whoever may not make schemas can still use one that was made.
    let exists = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    if transaction.query_opt(exists, &[&schema]).await?.is_none() {
        let create = format!("CREATE SCHEMA \"{schema}\"");
        transaction.batch_execute(&create).await?;
    }
    let exists = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'schema_version'";
    if transaction.query_opt(exists, &[&schema]).await?.is_none() {
        transaction
            .batch_execute(
                "CREATE TABLE schema_version (version int NOT NULL, breaking int NOT NULL);
                 INSERT INTO schema_version VALUES (0, 0)",
            )
            .await?;
    }
    let row = transaction
        .query_one("SELECT version, breaking FROM schema_version", &[])
        .await?;
    let (version, breaking): (i32, i32) = (row.get(0), row.get(1));
    let done = usize::try_from(version).unwrap_or(0);
    if breaking > BREAKING || done >= STEPS.len() {
        return Ok(breaking);
    }
    for step in &STEPS[done..] {
        transaction.batch_execute(step).await?;
    }
    let newest = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    let update = "UPDATE schema_version SET version = $1, breaking = $2";
    transaction.execute(update, &[&newest, &BREAKING]).await?;
    tracing::info!(
        from = version,
        to = newest,
        "the shared database's tables are up to date"
    );
    Ok(BREAKING)
}
