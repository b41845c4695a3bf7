//! Tokens in the host's SQLite file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, params};

use super::{StoredToken, TOKENS_MAX, TokenError, TokenStore};

/// Columns that the first version's table does not have.
const COLUMNS_ADDED: &[&str] = &["expires_at", "last_used_at"];

/// The tokens of one host.
#[derive(Debug)]
pub(super) struct HostTokens {
    database: Arc<Mutex<Connection>>,
}

impl HostTokens {
    pub(super) fn open(path: &Path) -> Result<Self, TokenError> {
        // SQLite would create the file with the umask's mode, and its companions with that of the
        // file.
        let private = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        private.map_err(|source| TokenError::File {
            path: path.to_owned(),
            source,
        })?;
        let database = Connection::open(path)?;
        database.busy_timeout(Duration::from_secs(5))?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        // The tokens are read once, so a large page cache would waste memory.
        database.pragma_update(None, "cache_size", -256)?;
        database.execute_batch(
            "CREATE TABLE IF NOT EXISTS tokens (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                hash BLOB NOT NULL UNIQUE,
                login TEXT NOT NULL,
                role TEXT NOT NULL,
                created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
            ) STRICT",
        )?;
        for column in COLUMNS_ADDED {
            if !database.column_exists(None, "tokens", column)? {
                let add = format!("ALTER TABLE tokens ADD COLUMN {column} INTEGER");
                database.execute_batch(&add)?;
            }
        }
        Ok(Self {
            database: Arc::new(Mutex::new(database)),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let database = Arc::clone(&self.database);
        let done = tokio::task::spawn_blocking(move || work(&mut database.lock()));
        done.await.unwrap_or(Err(TokenError::Ended))
    }
}

#[async_trait]
impl TokenStore for HostTokens {
    async fn all(&self) -> Result<Vec<StoredToken>, TokenError> {
        self.run(|database| {
            let mut rows = database.prepare(
                "SELECT id, hash, login, role, unixepoch(created_at), expires_at, last_used_at FROM tokens",
            )?;
            let mut rows = rows.query([])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                let role: String = row.get(3)?;
                tokens.push(StoredToken {
                    id: row.get(0)?,
                    hash: row.get(1)?,
                    login: row.get(2)?,
                    role: role.parse()?,
                    created_at: row.get(4)?,
                    expires_at: row.get(5)?,
                    last_used_at: row.get(6)?,
                });
            }
            Ok(tokens)
        })
        .await
    }

    async fn insert(&self, token: &StoredToken) -> Result<i64, TokenError> {
        let token = token.clone();
        self.run(move |database| {
            let count = "SELECT count(*) FROM tokens";
            let count: usize = database.query_row(count, [], |row| row.get(0))?;
            if count >= TOKENS_MAX {
                return Err(TokenError::Full);
            }
            let insert =
                "INSERT INTO tokens (hash, login, role, expires_at) VALUES (?1, ?2, ?3, ?4)";
            let role = token.role.as_str();
            database.execute(
                insert,
                params![token.hash, token.login, role, token.expires_at],
            )?;
            Ok(database.last_insert_rowid())
        })
        .await
    }

    async fn delete(&self, id: i64) -> Result<bool, TokenError> {
        self.run(move |database| {
            Ok(database.execute("DELETE FROM tokens WHERE id = ?1", params![id])? > 0)
        })
        .await
    }

    async fn store_uses(&self, uses: Vec<(i64, i64)>) -> Result<(), TokenError> {
        self.run(move |database| {
            let transaction = database.transaction()?;
            for (id, used) in &uses {
                let update = "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1";
                transaction.execute(update, params![id, used])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}
