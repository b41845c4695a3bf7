//! Copies of a SQLite file that is in use.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, StoreError};

/// Copies a SQLite file that another process may write to. The copy, of mode 0600, has every
/// transaction that was committed before this call, and no part of a later one. Blocks.
///
/// # Errors
/// If the file cannot be read, or the copy exists or cannot be written.
pub fn snapshot(from: &Path, to: &Path) -> Result<(), StoreError> {
    // SQLite would make the file with the umask's mode; into an empty one it writes.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let connection = open(from)?;
    let to = to.to_str().ok_or_else(|| {
        let text = "the path of the copy is not UTF-8";
        std::io::Error::new(std::io::ErrorKind::InvalidInput, text)
    })?;
    connection.execute("VACUUM INTO ?1", [to])?;
    Ok(())
}

/// Checks that a SQLite file is whole. Blocks.
///
/// # Errors
/// [`StoreError::Damaged`], or if the file cannot be read.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let connection = open(path)?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match found == "ok" {
        true => Ok(()),
        false => Err(StoreError::Damaged(found)),
    }
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A writer goes on while copies are made.
    #[test]
    fn a_copy_has_what_was_committed_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.pragma_update(None, "user_version", 3).unwrap();
        writer
            .execute_batch("CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)")
            .unwrap();
        let committed = AtomicI64::new(0);
        let done = AtomicI64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    let transaction = writer.transaction().unwrap();
                    transaction
                        .execute("INSERT INTO a VALUES (?1)", [number])
                        .unwrap();
                    transaction
                        .execute("INSERT INTO b VALUES (?1)", [number])
                        .unwrap();
                    transaction.commit().unwrap();
                    committed.store(number, Ordering::SeqCst);
                    if done.load(Ordering::SeqCst) == 1 {
                        return;
                    }
                }
            });
            for round in 0..10 {
                let before = committed.load(Ordering::SeqCst);
                let copy = dir.path().join(format!("copy-{round}.db"));
                snapshot(&path, &copy).unwrap();
                check(&copy).unwrap();
                assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
                let copy = Connection::open(&copy).unwrap();
                let count = |table: &str| -> i64 {
                    let query = format!("SELECT count(*) FROM {table}");
                    copy.query_row(&query, [], |row| row.get(0)).unwrap()
                };
                let (a, b) = (count("a"), count("b"));
                assert!(
                    a >= before && a == b,
                    "{before} were committed, {a} and {b} are there"
                );
                let version: i64 = copy
                    .pragma_query_value(None, "user_version", |row| row.get(0))
                    .unwrap();
                assert_eq!(version, 3);
            }
            done.store(1, Ordering::SeqCst);
        });
    }

    #[test]
    fn a_copy_replaces_nothing_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let database = Connection::open(&path).unwrap();
        database.execute_batch("CREATE TABLE a (n TEXT)").unwrap();
        for _ in 0..2000 {
            database
                .execute(
                    "INSERT INTO a VALUES ('some text that takes some room')",
                    [],
                )
                .unwrap();
        }
        drop(database);
        let copy = dir.path().join("copy.db");
        std::fs::write(&copy, "mine").unwrap();
        snapshot(&path, &copy).unwrap_err();
        assert_eq!(std::fs::read(&copy).unwrap(), b"mine");
        assert!(snapshot(&dir.path().join("none.db"), &dir.path().join("b.db")).is_err());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        check(&path).unwrap_err();
    }
}
