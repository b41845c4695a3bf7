//! The host's SQLite file, on which everything durable rests: keys and values, secrets, policies.
//!
//! It is the host's own file. What plugins query is in [`db`](crate::db), another file or server.

mod copy;
mod jobs;
mod policies;

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

pub use self::copy::{check, snapshot};
pub use self::jobs::StoredJobs;
use gk_hostapi::HostError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for one of the store's threads; the next ones wait for a place.
pub const QUEUE_MAX: usize = 1024;

/// How long SQLite waits for another process that holds the file, such as a backup.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The schema, one step for each version. Steps are only ever appended: a step that was released
/// stays as it is.
const MIGRATIONS: &[&str] = &[
    // 1: keys and values of plugins, and secrets.
    "CREATE TABLE kv (
        plugin TEXT NOT NULL,
        key    BLOB NOT NULL,
        value  BLOB NOT NULL,
        UNIQUE (plugin, key)
     ) STRICT;
     CREATE TABLE kv_usage (
        plugin TEXT PRIMARY KEY,
        keys   INTEGER NOT NULL,
        bytes  INTEGER NOT NULL
     ) STRICT;
     CREATE TABLE secure (
        plugin TEXT NOT NULL,
        key    TEXT NOT NULL,
        key_id TEXT NOT NULL,
        nonce  BLOB NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (plugin, key)
     ) STRICT;",
    // 2: policies of plugins, as JSON.
    "CREATE TABLE policy (
        plugin TEXT PRIMARY KEY,
        policy TEXT NOT NULL,
        set_at INTEGER NOT NULL
     ) STRICT;",
    // 3: jobs and their runs; moments in microseconds since 1970.
    "CREATE TABLE job (
        plugin    TEXT NOT NULL,
        job       TEXT NOT NULL,
        schedule  TEXT NOT NULL,
        last_tick INTEGER NOT NULL,
        suspended INTEGER NOT NULL DEFAULT 0,
        overrides TEXT NOT NULL DEFAULT '{}',
        missed    INTEGER NOT NULL DEFAULT 0,
        skipped   INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (plugin, job)
     ) STRICT;
     CREATE TABLE job_run (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        plugin     TEXT NOT NULL,
        job        TEXT NOT NULL,
        trigger    TEXT NOT NULL,
        tick       INTEGER NOT NULL,
        state      TEXT NOT NULL,
        attempt    INTEGER NOT NULL,
        retries    INTEGER NOT NULL,
        start_at   INTEGER NOT NULL,
        start_until INTEGER,
        started_at INTEGER,
        ended_at   INTEGER,
        host       TEXT,
        generation INTEGER,
        result     TEXT,
        error      TEXT
     ) STRICT;
     CREATE INDEX job_run_of_job ON job_run (plugin, job, id);
     CREATE INDEX job_run_waiting ON job_run (start_at, id) WHERE state = 'waiting';",
    // 4: versions of values, which grow with each write of a plugin.
    "ALTER TABLE kv ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
     ALTER TABLE kv_usage ADD COLUMN version INTEGER NOT NULL DEFAULT 1;",
];

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite.
    #[error("the host's store")]
    Sqlite(#[from] rusqlite::Error),
    /// The file cannot be made or its mode not be set.
    #[error("the host's store cannot be opened")]
    File(#[from] std::io::Error),
    /// The file was written by a newer host.
    #[error(
        "the host's store has version {found}, this host knows versions up to {known}; start the \
         newer host, or restore the file from before"
    )]
    Newer {
        /// The file's version.
        found: i64,
        /// The newest version this host knows.
        known: usize,
    },
    /// The file is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Not the store: what the work on it found.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Counts work on the store that failed, for the metrics.
fn count_failure() {
    metrics::counter!("gk_store_failures_total").increment(1);
}

impl StoreError {
    /// The error for a plugin. The details go to the host's log.
    fn into_host(self) -> HostError {
        match self {
            Self::Host(error) => error,
            Self::Sqlite(error) => {
                count_failure();
                tracing::error!(%error, "the host's store failed");
                match error.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::DiskFull) => {
                        HostError::unavailable("the disk of the host's store is full")
                    }
                    _ => HostError::unavailable("the host's store failed; the host's log says why"),
                }
            }
            other => {
                count_failure();
                tracing::error!(error = %other, "the host's store failed");
                HostError::unavailable("the host's store failed; the host's log says why")
            }
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The store. Cheap to clone; the file is closed when the last clone is gone.
///
/// Work runs on a thread of its own, one piece after the other, so that it never blocks the
/// runtime; reading has a second thread and is not held up by writing.
///
/// A write that was acknowledged survives the end of the process and a loss of power: the journal
/// is a WAL that is synced at each commit (`synchronous = FULL`; `NORMAL` would lose the last
/// commits with the power, which for a policy or a secret is too much for a millisecond).
#[derive(Debug, Clone)]
pub struct Store {
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Job>,
}

impl Store {
    /// Opens the file, creates it with mode 0600 if there is none, and brings it to the newest
    /// version. Blocks.
    ///
    /// # Errors
    /// [`StoreError`], also if the file is another program's or a newer host's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its journal files the mode of the database, so the mode must be right first.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        drop(file);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut writer = Connection::open_with_flags(path, flags)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        prepare(&writer)?;
        migrate(&mut writer)?;
        let reader = Connection::open_with_flags(path, flags)?;
        prepare(&reader)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self {
            writer: start("gk-store-write", writer)?,
            reader: start("gk-store-read", reader)?,
        })
    }

    /// A store that is gone with the process, for tests.
    ///
    /// # Errors
    /// [`StoreError`], if there is no memory or no thread.
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut connection = Connection::open_in_memory()?;
        prepare(&connection)?;
        migrate(&mut connection)?;
        let writer = start("gk-store", connection)?;
        Ok(Self {
            reader: writer.clone(),
            writer,
        })
    }

    /// Runs work that may write. It runs to its end even if nobody waits for it any more; what it
    /// must do as a whole belongs into a transaction of its own.
    ///
    /// # Errors
    /// What the work fails with, or [`ErrorKind::Unavailable`](gk_hostapi::ErrorKind::Unavailable).
    pub async fn run<T, F>(&self, work: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        run_on(&self.writer, work).await
    }

    /// Runs work that only reads; it sees everything that was acknowledged before.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn read<T, F>(&self, work: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        run_on(&self.reader, work).await
    }
}

async fn run_on<T, F>(jobs: &mpsc::Sender<Job>, work: F) -> Result<T, HostError>
where
    T: Send + 'static,
    F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        // The receiver may be gone.
        let _ = reply.send(work(connection));
    });
    let gone = || HostError::unavailable("the host's store failed; the host's log says why");
    jobs.send(job).await.map_err(|_| gone())?;
    match answer.await {
        Ok(result) => result.map_err(StoreError::into_host),
        Err(_) => Err(gone()),
    }
}

fn start(name: &str, mut connection: Connection) -> Result<mpsc::Sender<Job>, StoreError> {
    let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE_MAX);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                // A transaction that a panic leaves behind is rolled back by its own drop.
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    count_failure();
                    tracing::error!("work on the host's store panicked");
                }
            }
        })?;
    Ok(sender)
}

fn prepare(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let newer = StoreError::Newer {
        found,
        known: MIGRATIONS.len(),
    };
    let Some(missing) = usize::try_from(found)
        .ok()
        .and_then(|found| MIGRATIONS.get(found..))
    else {
        return Err(newer);
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gk_hostapi::ErrorKind;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let store = Store::open(&path).unwrap();
        store
            .run(|c| {
                Ok(c.execute(
                    "INSERT INTO kv (plugin, key, value) VALUES ('p', x'61', x'62')",
                    [],
                )?)
            })
            .await
            .unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&dir.path().join("host.db-wal")), 0o600);
        let count = |c: &mut Connection| {
            Ok(c.query_row("SELECT count(*) FROM kv", [], |row| row.get::<_, i64>(0))?)
        };
        // The other connection, and another process's.
        assert_eq!(store.read(count).await.unwrap(), 1);
        let again = Store::open(&path).unwrap();
        assert_eq!(again.run(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_older_file_gets_what_it_lacks_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        for version in 0..MIGRATIONS.len() {
            let path = dir.path().join(format!("{version}.db"));
            let old = Connection::open(&path).unwrap();
            for step in &MIGRATIONS[..version] {
                old.execute_batch(step).unwrap();
            }
            old.pragma_update(None, "user_version", version).unwrap();
            if version > 0 {
                old.execute(
                    "INSERT INTO kv (plugin, key, value) VALUES ('p', x'61', x'62')",
                    [],
                )
                .unwrap();
            }
            drop(old);
            let store = Store::open(&path).unwrap();
            let found = store.read(|c| {
                let tables = "SELECT (SELECT count(*) FROM kv),
                    (SELECT count(*) FROM policy) + (SELECT count(*) FROM job_run)";
                Ok(c.query_row(tables, [], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                })?)
            });
            assert_eq!(
                found.await.unwrap(),
                (i64::from(version > 0), 0),
                "{version}"
            );
        }
    }

    #[test]
    fn an_open_mode_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        Store::open(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_newer_file_and_a_foreign_one_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 999)
            .unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains("version 999"), "{error}");
        std::fs::write(&path, b"this is no database, whatever it says").unwrap();
        assert!(matches!(
            Store::open(&path).unwrap_err(),
            StoreError::Sqlite(_)
        ));
    }

    #[tokio::test]
    async fn the_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("host.db")).unwrap();
        let error = store
            .read(|c| Ok(c.execute("DELETE FROM kv", [])?))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_panic_and_an_error_leave_nothing_behind() {
        let store = Store::in_memory().unwrap();
        let panicked = store
            .run(|c| -> Result<(), StoreError> {
                let transaction = c.transaction()?;
                transaction.execute(
                    "INSERT INTO kv (plugin, key, value) VALUES ('p', x'61', x'62')",
                    [],
                )?;
                panic!("in the middle")
            })
            .await;
        assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Unavailable);
        let error = store
            .run(|c| Ok(c.execute("INSERT INTO nowhere VALUES (1)", [])?))
            .await
            .unwrap_err();
        // Names of the host's tables are not the plugin's business.
        assert!(!error.to_string().contains("nowhere"), "{error}");
        let count: i64 = store
            .run(|c| Ok(c.query_row("SELECT count(*) FROM kv", [], |row| row.get(0))?))
            .await
            .unwrap();
        assert_eq!(count, 0);
    }
}
