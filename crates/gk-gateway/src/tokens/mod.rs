//! Bearer tokens: random, stored as their SHA-256, each with a role and an optional expiry.
//!
//! The tokens are stored in the host's SQLite file, or in the database that several hosts share. All
//! of them are in memory too, so that a request costs one hash and one look-up. A token's text is shown once, when it is created, and
//! not stored. The last use of a token is kept in memory, to the minute, and stored at intervals
//! ([`Tokens::store_uses`]).

mod identity;
mod shared;
mod sqlite;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use gk_api::Role;
use gk_api::{RoleError, Token};
use gk_hostapi::HostError;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

pub use self::identity::Identity;
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

/// Reason why a token could not be created or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The host's database failed.
    #[error("the host's database")]
    Database(#[from] rusqlite::Error),
    /// The database that hosts share failed.
    #[error(transparent)]
    Shared(#[from] HostError),
    /// The work was cut off by the host's end.
    #[error("the host ends")]
    Ended,
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
    fn of(token: StoredToken) -> Self {
        let used = token.last_used_at.unwrap_or_default();
        Self {
            identity: Identity {
                id: token.id,
                login: token.login.into(),
                role: token.role,
            },
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: used.into(),
            stored_use: used.into(),
        }
    }

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

/// A token as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredToken {
    pub(crate) id: i64,
    pub(crate) hash: Hash,
    pub(crate) login: String,
    pub(crate) role: Role,
    pub(crate) created_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
}

/// Where tokens are stored. Moments are seconds since 1970.
#[async_trait]
pub(crate) trait TokenStore: fmt::Debug + Send + Sync + 'static {
    /// Reads all tokens.
    async fn all(&self) -> Result<Vec<StoredToken>, TokenError>;

    /// Stores a token unless there are [`TOKENS_MAX`], and returns its number; that of `token` counts
    /// for nothing.
    async fn insert(&self, token: &StoredToken) -> Result<i64, TokenError>;

    /// Deletes a token, and says whether there was one.
    async fn delete(&self, id: i64) -> Result<bool, TokenError>;

    /// Stores last uses, by number.
    async fn store_uses(&self, uses: Vec<(i64, i64)>) -> Result<(), TokenError>;
}

/// All tokens of a host.
pub struct Tokens {
    store: Box<dyn TokenStore>,
    known: RwLock<HashMap<Hash, Known>>,
    /// Held while tokens are stored or read, so that what is known is what is stored.
    changing: tokio::sync::Mutex<()>,
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

impl Tokens {
    /// Opens the host's database, or creates it.
    ///
    /// # Errors
    ///
    /// If the file cannot be used.
    pub async fn open(path: &Path) -> Result<Self, TokenError> {
        Self::of(Box::new(sqlite::HostTokens::open(path)?)).await
    }

    /// Reads the tokens of a database that several hosts share.
    ///
    /// # Errors
    ///
    /// If the database cannot be used.
    pub async fn shared(database: gk_cluster::Database) -> Result<Self, TokenError> {
        Self::of(Box::new(database)).await
    }

    async fn of(store: Box<dyn TokenStore>) -> Result<Self, TokenError> {
        let tokens = Tokens {
            store,
            known: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            deleted: watch::Sender::default(),
        };
        tokens.refresh().await?;
        Ok(tokens)
    }

    /// Reads all tokens again, which other hosts may have changed. Deleted ones are refused from now
    /// on.
    ///
    /// # Errors
    ///
    /// If the database fails; what is known stays as it is.
    pub async fn refresh(&self) -> Result<(), TokenError> {
        let _changing = self.changing.lock().await;
        let stored = self.store.all().await?;
        let mut known = self.known.write();
        // The token of the environment is nowhere stored.
        let mut all: HashMap<_, _> = known
            .extract_if(|_, token| token.identity.id == 0)
            .collect();
        for token in stored {
            let hash = token.hash;
            let old = known.remove(&hash);
            let token = Known::of(token);
            if let Some(old) = old {
                let used = old.last_used_at.load(Ordering::Relaxed);
                token.last_used_at.fetch_max(used, Ordering::Relaxed);
            }
            all.insert(hash, token);
        }
        let has_deleted = !known.is_empty();
        *known = all;
        drop(known);
        if has_deleted {
            self.deleted.send_modify(|deleted| *deleted += 1);
        }
        Ok(())
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
    pub async fn create(
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
        let _changing = self.changing.lock().await;
        let mut stored = StoredToken {
            id: 0,
            hash,
            login: login.to_owned(),
            role,
            created_at: Some(now),
            expires_at,
            last_used_at: None,
        };
        stored.id = self.store.insert(&stored).await?;
        let token = Known::of(stored);
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
    pub async fn delete(&self, id: i64) -> Result<bool, TokenError> {
        let _changing = self.changing.lock().await;
        let deleted = self.store.delete(id).await?;
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
    pub async fn store_uses(&self) -> Result<(), TokenError> {
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
        let stored = self.store.store_uses(uses).await;
        if stored.is_err() {
            for token in self.known.read().values() {
                token.stored_use.store(-1, Ordering::Relaxed);
            }
        }
        stored
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
    use rusqlite::{Connection, params};

    use super::*;

    #[tokio::test]
    async fn tokens_survive_a_restart_as_hashes_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let (token, identity) = {
            let tokens = Tokens::open(&path).await.unwrap();
            assert!(!tokens.has_role(Role::Admin));
            tokens.create("ann", Role::Agent, None).await.unwrap()
        };
        let tokens = Tokens::open(&path).await.unwrap();
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
        assert!(tokens.delete(identity.id).await.unwrap());
        assert_eq!(tokens.identify(&token), None);
        assert!(!tokens.delete(identity.id).await.unwrap());
    }

    #[tokio::test]
    async fn an_operators_token_is_an_admin_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let tokens = Tokens::open(&path).await.unwrap();
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
            Tokens::open(&path)
                .await
                .unwrap()
                .identify("0123456789abcdef"),
            None
        );
    }

    #[tokio::test]
    async fn logins_and_roles_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("host.db")).await.unwrap();
        for login in ["", "a\nb", &"x".repeat(LOGIN_CHARS_MAX + 1)] {
            assert!(
                matches!(
                    tokens.create(login, Role::Agent, None).await,
                    Err(TokenError::Login)
                ),
                "{login:?}"
            );
        }
        assert!("root".parse::<Role>().is_err());
        for time in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
            let refused = tokens.create("ann", Role::Agent, Some(time)).await;
            assert!(matches!(refused, Err(TokenError::Time)), "{time:?}");
        }
    }

    #[tokio::test]
    async fn a_token_that_has_expired_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let tokens = Tokens::open(&path).await.unwrap();
        let hour = Some(Duration::from_secs(3600));
        let (text, token) = tokens.create("ann", Role::Admin, hour).await.unwrap();
        assert!(tokens.identify(&text).is_some() && tokens.is_valid(token.id));
        assert!(!token.expired && token.expires_at.is_some());
        drop(tokens);
        let database = Connection::open(&path).unwrap();
        database
            .execute("UPDATE tokens SET expires_at = unixepoch() - 1", [])
            .unwrap();
        let tokens = Tokens::open(&path).await.unwrap();
        assert_eq!(tokens.identify(&text), None);
        assert!(!tokens.is_valid(token.id) && !tokens.has_role(Role::Admin));
        assert!(tokens.list()[0].expired);
    }

    #[tokio::test]
    async fn the_last_use_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let tokens = Tokens::open(&path).await.unwrap();
        let (text, token) = tokens.create("ann", Role::Agent, None).await.unwrap();
        assert_eq!(tokens.list()[0].last_used_at, None);
        tokens.identify(&text).unwrap();
        let used = tokens.get(token.id).unwrap().last_used_at;
        assert!(used.is_some());
        tokens.store_uses().await.unwrap();
        assert_eq!(
            Tokens::open(&path).await.unwrap().list()[0].last_used_at,
            used
        );
    }

    /// The table of the first version has neither an end nor a last use.
    #[tokio::test]
    async fn a_database_of_the_first_version_is_read() {
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
        let tokens = Tokens::open(&path).await.unwrap();
        assert!(tokens.identify("gk_old").is_some());
        let created = tokens.list()[0].created_at.clone();
        assert_eq!(created.as_deref(), Some("2026-01-02T03:04:05Z"));
        drop(tokens);
        Tokens::open(&path).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("host.db")).await.unwrap();
        let (_, token) = tokens.create("ann", Role::Agent, None).await.unwrap();
        let gone = tokens.gone(token.id);
        tokio::pin!(gone);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), &mut gone)
                .await
                .is_err()
        );
        tokens.delete(token.id).await.unwrap();
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

    #[tokio::test]
    async fn tokens_of_several_hosts_are_known_and_revoked_everywhere() {
        let database = crate::testing::shared_database("tokens").await;
        let a = Tokens::shared(database.clone()).await.unwrap();
        let b = Tokens::shared(database.clone()).await.unwrap();
        b.accept_admin("0123456789abcdef").unwrap();
        let hour = Some(Duration::from_secs(3600));
        let (text, token) = a.create("ann", Role::Agent, hour).await.unwrap();
        assert_eq!(b.identify(&text), None);
        b.refresh().await.unwrap();
        assert_eq!(b.identify(&text).unwrap().id, token.id);
        // A last use is the latest of all hosts'.
        b.store_uses().await.unwrap();
        a.refresh().await.unwrap();
        let used = |tokens: &Tokens| tokens.get(token.id).unwrap().last_used_at;
        assert!(used(&a).is_some() && used(&a) == used(&b));
        // A role that a newer host has is nobody's here, and hides no other token.
        let (other, _) = a.create("ben", Role::Customer, None).await.unwrap();
        let newer = "UPDATE token SET role = 'auditor' WHERE login = 'ann' RETURNING 1";
        database.query(newer, &[]).await.unwrap();
        b.refresh().await.unwrap();
        assert_eq!(b.identify(&text), None);
        let gone = b.identify(&other).unwrap().id;
        assert!(a.delete(gone).await.unwrap() && !a.delete(gone).await.unwrap());
        b.refresh().await.unwrap();
        assert_eq!(b.identify(&other), None);
        // The token of the environment is this host's, and stays.
        assert!(b.identify("0123456789abcdef").is_some());
    }
}
