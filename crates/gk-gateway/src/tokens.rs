//! Bearer tokens: random, stored as their SHA-256, each with a role and an optional expiry.
//!
//! The tokens are stored in the host's SQLite file. All of them are in memory too, so that a
//! request costs one hash and one look-up. A token's text is shown once, when it is created, and
//! not stored. The last use of a token is kept in memory, to the minute, and stored at intervals
//! ([`Tokens::store_uses`]).

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use gk_api::Role;
use gk_api::{RoleError, Token};
use gk_hostapi::{User, UserRole};
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::rfc3339::{rfc3339_of, unix_seconds};

/// Number of random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// Maximum length of a token that is looked up, in bytes.
pub const TOKEN_CHARS_MAX: usize = 256;

/// Minimum length of a token that is set by hand, in characters.
pub const TOKEN_CHARS_MIN: usize = 16;

/// Maximum length of a login, in characters.
pub const LOGIN_CHARS_MAX: usize = 128;

/// Maximum number of tokens of a host.
pub const TOKENS_MAX: usize = 10_000;

/// Resolution of a token's last use, in seconds.
const USE_SECONDS: i64 = 60;

/// Identity behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Number of the token, which stands for the user: 0 for the token of the host's environment,
    /// negative for users of this machine on the local socket.
    pub id: i64,
    /// Name of the user.
    pub login: Arc<str>,
    /// Role of the user.
    pub role: Role,
}

impl Identity {
    /// Returns the identity of a user of this machine, who came by the local socket.
    pub(crate) fn local(uid: u32) -> Self {
        Identity {
            id: -1 - i64::from(uid),
            login: format!("uid:{uid}").into(),
            role: Role::Admin,
        }
    }

    /// Returns the user id on this machine of a user who came by the local socket.
    pub(crate) fn uid(&self) -> Option<u32> {
        u32::try_from(-1 - self.id).ok()
    }

    /// Returns true for an administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Returns the user, as plugins see them.
    pub(crate) fn user(&self) -> User {
        let role = match self.role {
            Role::Admin => UserRole::Admin,
            Role::Agent => UserRole::Agent,
            Role::Customer => UserRole::Customer,
        };
        User::new(self.id, Arc::clone(&self.login), role)
    }
}

/// Reason why a token could not be created or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The database failed.
    #[error("the host's database")]
    Database(#[from] rusqlite::Error),
    /// The file of the database cannot be created.
    #[error("the file {} cannot be made", .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The role does not exist.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The expiry is not in the future, or beyond the year 9999.
    #[error("a token is valid for more than 0s, and not beyond the year 9999")]
    Time,
    /// The login is empty, too long or not printable.
    #[error("a login has 1 to {LOGIN_CHARS_MAX} printable characters")]
    Login,
    /// A token set by hand is too easy to guess, or too long.
    #[error(
        "a token that is set by hand has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} printable characters without blanks"
    )]
    Weak,
    /// The maximum number of tokens exists already.
    #[error("there are {TOKENS_MAX} tokens already; delete some")]
    Full,
}

type Hash = [u8; 32];

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// A token in memory.
#[derive(Debug)]
struct Known {
    identity: Identity,
    /// Time of creation, in seconds since 1970.
    created_at: Option<i64>,
    expires_at: Option<i64>,
    /// Time of the last use in seconds since 1970; 0 for never.
    last_used_at: AtomicI64,
    /// Stored value of `last_used_at`.
    stored_use: AtomicI64,
}

impl Known {
    fn is_valid(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    fn used(&self, now: i64) {
        let minute = now - now.rem_euclid(USE_SECONDS);
        // Mostly unchanged, in which case the cache line is not written to.
        if self.last_used_at.load(Ordering::Relaxed) != minute {
            self.last_used_at.store(minute, Ordering::Relaxed);
        }
    }
}

/// All tokens of a host.
pub struct Tokens {
    database: Mutex<Connection>,
    known: RwLock<HashMap<Hash, Known>>,
    /// Number of deleted tokens.
    deleted: watch::Sender<u64>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("count", &self.known.read().len())
            .finish_non_exhaustive()
    }
}

/// Columns that the first version's table does not have.
const COLUMNS_ADDED: &[&str] = &["expires_at", "last_used_at"];

impl Tokens {
    /// Opens the host's database, or creates it.
    ///
    /// # Errors
    ///
    /// If the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
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
        let mut known = HashMap::new();
        {
            let mut rows = database.prepare(
                "SELECT id, hash, login, role, unixepoch(created_at), expires_at, last_used_at FROM tokens",
            )?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let (login, role): (String, String) = (row.get(2)?, row.get(3)?);
                let last_used: i64 = row.get::<_, Option<i64>>(6)?.unwrap_or_default();
                let token = Known {
                    identity: Identity {
                        id: row.get(0)?,
                        login: login.into(),
                        role: role.parse()?,
                    },
                    created_at: row.get(4)?,
                    expires_at: row.get(5)?,
                    last_used_at: last_used.into(),
                    stored_use: last_used.into(),
                };
                known.insert(row.get::<_, Hash>(1)?, token);
            }
        }
        Ok(Tokens {
            database: Mutex::new(database),
            known: RwLock::new(known),
            deleted: watch::Sender::default(),
        })
    }

    /// Returns the identity of a token; `None` if the token is unknown or has expired.
    #[must_use]
    pub fn identify(&self, token: &str) -> Option<Identity> {
        if token.is_empty() || token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let known = self.known.read();
        let token = known.get(&hash(token))?;
        let now = unix_seconds(SystemTime::now());
        token.is_valid(now).then(|| {
            token.used(now);
            token.identity.clone()
        })
    }

    /// Returns true if a valid token has this role.
    #[must_use]
    pub fn has_role(&self, role: Role) -> bool {
        let now = unix_seconds(SystemTime::now());
        self.known
            .read()
            .values()
            .any(|token| token.identity.role == role && token.is_valid(now))
    }

    /// Returns all tokens, by number.
    #[must_use]
    pub fn list(&self) -> Vec<Token> {
        let now = unix_seconds(SystemTime::now());
        let known = self.known.read();
        let mut all: Vec<_> = known.values().map(|token| shown(token, now)).collect();
        all.sort_by_key(|token| token.id);
        all
    }

    /// Returns a token by its number.
    pub(crate) fn get(&self, id: i64) -> Option<Token> {
        let now = unix_seconds(SystemTime::now());
        let known = self.known.read();
        let token = known.values().find(|token| token.identity.id == id);
        token.map(|token| shown(token, now))
    }

    /// Creates a token that is valid for this long, or until it is deleted. Returns its text, which
    /// is not available later.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn create(
        &self,
        login: &str,
        role: Role,
        valid_for: Option<Duration>,
    ) -> Result<(String, Token), TokenError> {
        let printable = !login.is_empty() && login.chars().all(|c| !c.is_control());
        if !printable || login.chars().count() > LOGIN_CHARS_MAX {
            return Err(TokenError::Login);
        }
        let now = unix_seconds(SystemTime::now());
        let expires_at = match valid_for {
            None => None,
            Some(time) => {
                let seconds = i64::try_from(time.as_secs()).map_err(|_| TokenError::Time)?;
                let end = now.checked_add(seconds).filter(|end| *end > now);
                let end = end.filter(|end| rfc3339_of(*end).is_some());
                Some(end.ok_or(TokenError::Time)?)
            }
        };
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(TokenError::Random)?;
        let text = format!("gk_{}", URL_SAFE_NO_PAD.encode(random));
        let hash = hash(&text);
        let database = self.database.lock();
        if self.known.read().len() >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        let insert = "INSERT INTO tokens (hash, login, role, expires_at) VALUES (?1, ?2, ?3, ?4)";
        database.execute(insert, params![hash, login, role.as_str(), expires_at])?;
        let token = Known {
            identity: Identity {
                id: database.last_insert_rowid(),
                login: login.into(),
                role,
            },
            created_at: Some(now),
            expires_at,
            last_used_at: AtomicI64::default(),
            stored_use: AtomicI64::default(),
        };
        let answer = shown(&token, now);
        self.known.write().insert(hash, token);
        Ok((text, answer))
    }

    /// Accepts a token of the operator's choice as administrator, for as long as this process runs.
    ///
    /// # Errors
    ///
    /// If it is too easy to guess.
    pub fn accept_admin(&self, token: &str) -> Result<(), TokenError> {
        let fits = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Weak);
        }
        let known = Known {
            identity: Identity {
                id: 0,
                login: "admin".into(),
                role: Role::Admin,
            },
            created_at: None,
            expires_at: None,
            last_used_at: AtomicI64::default(),
            stored_use: AtomicI64::default(),
        };
        self.known.write().insert(hash(token), known);
        Ok(())
    }

    /// Deletes a token by its number; it is refused from now on. Returns false if there is none.
    ///
    /// # Errors
    ///
    /// If the database fails; the token stays valid then.
    pub fn delete(&self, id: i64) -> Result<bool, TokenError> {
        let database = self.database.lock();
        let deleted = database.execute("DELETE FROM tokens WHERE id = ?1", params![id])? > 0;
        self.known
            .write()
            .retain(|_, token| token.identity.id != id || id == 0);
        self.deleted.send_modify(|deleted| *deleted += 1);
        Ok(deleted)
    }

    /// Stores the last use of each token that changed since it was stored.
    ///
    /// # Errors
    ///
    /// If the database fails; the next attempt writes it.
    pub fn store_uses(&self) -> Result<(), TokenError> {
        let uses: Vec<(i64, i64)> = {
            let known = self.known.read();
            let uses = known.values().filter(|token| token.identity.id > 0);
            let uses = uses.map(|token| {
                let used = token.last_used_at.load(Ordering::Relaxed);
                let stored = token.stored_use.swap(used, Ordering::Relaxed);
                (token.identity.id, used, stored)
            });
            let changed = uses.filter(|(_, used, stored)| used != stored);
            changed.map(|(id, used, _)| (id, used)).collect()
        };
        if uses.is_empty() {
            return Ok(());
        }
        let mut database = self.database.lock();
        let stored = (|| {
            let transaction = database.transaction()?;
            for (id, used) in &uses {
                let update = "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1";
                transaction.execute(update, params![id, used])?;
            }
            transaction.commit()
        })();
        if stored.is_err() {
            for token in self.known.read().values() {
                token.stored_use.store(-1, Ordering::Relaxed);
            }
        }
        Ok(stored?)
    }

    /// Returns the expiry of a token by its number: `None` if the token is not valid now,
    /// `Some(None)` if it does not expire.
    fn valid_until(&self, id: i64) -> Option<Option<i64>> {
        if id < 0 {
            // A user of this machine.
            return Some(None);
        }
        let now = unix_seconds(SystemTime::now());
        let known = self.known.read();
        let mut of_id = known.values().filter(|token| token.identity.id == id);
        let token = of_id.find(|token| token.is_valid(now));
        token.map(|token| token.expires_at)
    }

    /// Returns true if the token of that number is still valid.
    pub(crate) fn is_valid(&self, id: i64) -> bool {
        self.valid_until(id).is_some()
    }

    /// Waits until the token of that number is not valid any more.
    pub(crate) async fn gone(&self, id: i64) {
        let mut deleted = self.deleted.subscribe();
        while let Some(end) = self.valid_until(id) {
            let left = end.map(|end| end.saturating_sub(unix_seconds(SystemTime::now())));
            let left = left.map(|left| Duration::from_secs(left.unsigned_abs().max(1)));
            let expired = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Cannot fail, as the sender is `self`'s.
                _ = deleted.changed() => {}
                () = expired => {}
            }
        }
    }
}

/// Returns a token without its text.
fn shown(token: &Known, now: i64) -> Token {
    let used = token.last_used_at.load(Ordering::Relaxed);
    Token {
        id: token.identity.id,
        login: token.identity.login.to_string(),
        role: token.identity.role,
        created_at: token.created_at.and_then(rfc3339_of),
        expires_at: token.expires_at.and_then(rfc3339_of),
        expired: !token.is_valid(now),
        last_used_at: Some(used).filter(|used| *used > 0).and_then(rfc3339_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_a_restart_as_hashes_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let (token, identity) = {
            let tokens = Tokens::open(&path).unwrap();
            assert!(!tokens.has_role(Role::Admin));
            tokens.create("ann", Role::Agent, None).unwrap()
        };
        let tokens = Tokens::open(&path).unwrap();
        let known = tokens.identify(&token).unwrap();
        assert_eq!(
            (known.id, &*known.login, known.role),
            (identity.id, "ann", Role::Agent)
        );
        assert_eq!(tokens.identify("gk_other"), None);
        assert_eq!(tokens.identify(""), None);
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(
                !bytes
                    .windows(token.len())
                    .any(|window| window == token.as_bytes())
            );
        }
        assert!(tokens.delete(identity.id).unwrap());
        assert_eq!(tokens.identify(&token), None);
        assert!(!tokens.delete(identity.id).unwrap());
    }

    #[test]
    fn an_operators_token_is_an_admin_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let tokens = Tokens::open(&path).unwrap();
        assert!(matches!(
            tokens.accept_admin("short"),
            Err(TokenError::Weak)
        ));
        assert!(matches!(
            tokens.accept_admin("with a blank in the middle"),
            Err(TokenError::Weak)
        ));
        tokens.accept_admin("0123456789abcdef").unwrap();
        assert_eq!(
            tokens.identify("0123456789abcdef").unwrap().role,
            Role::Admin
        );
        assert_eq!(
            Tokens::open(&path).unwrap().identify("0123456789abcdef"),
            None
        );
    }

    #[test]
    fn logins_and_roles_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("host.db")).unwrap();
        for login in ["", "a\nb", &"x".repeat(LOGIN_CHARS_MAX + 1)] {
            assert!(
                matches!(
                    tokens.create(login, Role::Agent, None),
                    Err(TokenError::Login)
                ),
                "{login:?}"
            );
        }
        assert!("root".parse::<Role>().is_err());
        for time in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
            let refused = tokens.create("ann", Role::Agent, Some(time));
            assert!(matches!(refused, Err(TokenError::Time)), "{time:?}");
        }
    }

    #[test]
    fn a_token_that_has_expired_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let tokens = Tokens::open(&path).unwrap();
        let hour = Some(Duration::from_secs(3600));
        let (text, token) = tokens.create("ann", Role::Admin, hour).unwrap();
        assert!(tokens.identify(&text).is_some() && tokens.is_valid(token.id));
        assert!(!token.expired && token.expires_at.is_some());
        drop(tokens);
        let database = Connection::open(&path).unwrap();
        database
            .execute("UPDATE tokens SET expires_at = unixepoch() - 1", [])
            .unwrap();
        let tokens = Tokens::open(&path).unwrap();
        assert_eq!(tokens.identify(&text), None);
        assert!(!tokens.is_valid(token.id) && !tokens.has_role(Role::Admin));
        assert!(tokens.list()[0].expired);
    }

    #[test]
    fn the_last_use_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let tokens = Tokens::open(&path).unwrap();
        let (text, token) = tokens.create("ann", Role::Agent, None).unwrap();
        assert_eq!(tokens.list()[0].last_used_at, None);
        tokens.identify(&text).unwrap();
        let used = tokens.get(token.id).unwrap().last_used_at;
        assert!(used.is_some());
        tokens.store_uses().unwrap();
        assert_eq!(Tokens::open(&path).unwrap().list()[0].last_used_at, used);
    }

    /// The table of the first version has neither an end nor a last use.
    #[test]
    fn a_database_of_the_first_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "CREATE TABLE tokens (id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE,
                 login TEXT NOT NULL, role TEXT NOT NULL, created_at TEXT NOT NULL) STRICT",
            )
            .unwrap();
        let insert = "INSERT INTO tokens (hash, login, role, created_at) VALUES (?1, 'ann', 'agent', '2026-01-02T03:04:05Z')";
        database.execute(insert, params![hash("gk_old")]).unwrap();
        drop(database);
        let tokens = Tokens::open(&path).unwrap();
        assert!(tokens.identify("gk_old").is_some());
        let created = tokens.list()[0].created_at.clone();
        assert_eq!(created.as_deref(), Some("2026-01-02T03:04:05Z"));
        drop(tokens);
        Tokens::open(&path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("host.db")).unwrap();
        let (_, token) = tokens.create("ann", Role::Agent, None).unwrap();
        let gone = tokens.gone(token.id);
        tokio::pin!(gone);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), &mut gone)
                .await
                .is_err()
        );
        tokens.delete(token.id).unwrap();
        gone.await;
        // A user who came by the local socket has no token that could expire.
        let local = tokens.gone(Identity::local(1000).id);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), local)
                .await
                .is_err()
        );
        assert_eq!(Identity::local(1000).uid(), Some(1000));
        assert_eq!(Identity::local(0).uid(), Some(0));
    }
}
