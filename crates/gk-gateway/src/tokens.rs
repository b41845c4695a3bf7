//! Bearer tokens: random, kept as their SHA-256, each with a role.
//!
//! The tokens stand in the host's SQLite file; all of them are in memory too, so that a request costs
//! one hash and one look-up. A token's text is shown once, when it is made, and nowhere kept.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gk_hostapi::{User, UserRole};
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Longest token that is looked at, in bytes.
pub const TOKEN_CHARS_MAX: usize = 256;

/// Shortest token that may be set by hand, in characters.
pub const TOKEN_CHARS_MIN: usize = 16;

/// Longest login, in characters.
pub const LOGIN_CHARS_MAX: usize = 128;

/// Most tokens of a host.
pub const TOKENS_MAX: usize = 10_000;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// The plugin API's reading part, and routes for agents.
    Agent,
    /// Routes for customers.
    Customer,
}

impl Role {
    /// `admin`, `agent` or `customer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Agent => "agent",
            Role::Customer => "customer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        [Role::Admin, Role::Agent, Role::Customer]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| TokenError::Role(text.to_owned()))
    }
}

/// Who a request is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The token's number, which stands for the user.
    pub id: i64,
    /// The user's name.
    pub login: Arc<str>,
    /// What they may do.
    pub role: Role,
}

impl Identity {
    /// Whether this is an administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// The user, as plugins learn of them.
    pub(crate) fn user(&self) -> User {
        let role = match self.role {
            Role::Admin => UserRole::Admin,
            Role::Agent => UserRole::Agent,
            Role::Customer => UserRole::Customer,
        };
        User::new(self.id, Arc::clone(&self.login), role)
    }
}

/// Why a token could not be made or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The database.
    #[error("the host's database")]
    Database(#[from] rusqlite::Error),
    /// The database's file.
    #[error("the file {} cannot be made", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// No randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// No such role.
    #[error("unknown role {0:?}; admin, agent and customer exist")]
    Role(String),
    /// An empty, overlong or unprintable login.
    #[error("a login has 1 to {LOGIN_CHARS_MAX} printable characters")]
    Login,
    /// A token set by hand that is too easy to guess, or too long.
    #[error(
        "a token that is set by hand has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} printable characters without blanks"
    )]
    Weak,
    /// Too many.
    #[error("there are {TOKENS_MAX} tokens already; delete some")]
    Full,
}

type Hash = [u8; 32];

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// All tokens of a host.
pub struct Tokens {
    database: Mutex<Connection>,
    known: RwLock<HashMap<Hash, Identity>>,
    /// How many were deleted.
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
    /// Opens, or makes, the host's database.
    ///
    /// # Errors
    ///
    /// If the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        // SQLite would make the file as the umask has it, and its companions like the file.
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
        // The tokens are read once; a large page cache would only be memory lost.
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
        let mut known = HashMap::new();
        {
            let mut rows = database.prepare("SELECT id, hash, login, role FROM tokens")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let (hash, login, role): (Hash, String, String) =
                    (row.get(1)?, row.get(2)?, row.get(3)?);
                known.insert(
                    hash,
                    Identity {
                        id: row.get(0)?,
                        login: login.into(),
                        role: role.parse()?,
                    },
                );
            }
        }
        Ok(Tokens {
            database: Mutex::new(database),
            known: RwLock::new(known),
            deleted: watch::Sender::default(),
        })
    }

    /// Who a token stands for.
    #[must_use]
    pub fn identify(&self, token: &str) -> Option<Identity> {
        if token.is_empty() || token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        self.known.read().get(&hash(token)).cloned()
    }

    /// Whether anybody has this role.
    #[must_use]
    pub fn has_role(&self, role: Role) -> bool {
        self.known
            .read()
            .values()
            .any(|identity| identity.role == role)
    }

    /// All identities, by number.
    #[must_use]
    pub fn list(&self) -> Vec<Identity> {
        let mut all: Vec<_> = self.known.read().values().cloned().collect();
        all.sort_by_key(|identity| identity.id);
        all
    }

    /// Makes a token; its text is given back here and never again.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn create(&self, login: &str, role: Role) -> Result<(String, Identity), TokenError> {
        let printable = !login.is_empty() && login.chars().all(|c| !c.is_control());
        if !printable || login.chars().count() > LOGIN_CHARS_MAX {
            return Err(TokenError::Login);
        }
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(TokenError::Random)?;
        let token = format!("gk_{}", URL_SAFE_NO_PAD.encode(random));
        let hash = hash(&token);
        let database = self.database.lock();
        if self.known.read().len() >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        let insert = "INSERT INTO tokens (hash, login, role) VALUES (?1, ?2, ?3)";
        database.execute(insert, params![hash, login, role.as_str()])?;
        let identity = Identity {
            id: database.last_insert_rowid(),
            login: login.into(),
            role,
        };
        self.known.write().insert(hash, identity.clone());
        Ok((token, identity))
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
        let identity = Identity {
            id: 0,
            login: "admin".into(),
            role: Role::Admin,
        };
        self.known.write().insert(hash(token), identity);
        Ok(())
    }

    /// Deletes a token by its number; it is refused from now on. `false` if there is none.
    ///
    /// # Errors
    ///
    /// If the database fails; the token stays valid then.
    pub fn delete(&self, id: i64) -> Result<bool, TokenError> {
        let database = self.database.lock();
        let deleted = database.execute("DELETE FROM tokens WHERE id = ?1", params![id])? > 0;
        self.known
            .write()
            .retain(|_, identity| identity.id != id || id == 0);
        self.deleted.send_modify(|deleted| *deleted += 1);
        Ok(deleted)
    }

    /// Whether the token of that number is still valid.
    pub(crate) fn is_valid(&self, id: i64) -> bool {
        self.known.read().values().any(|identity| identity.id == id)
    }

    /// Waits until the token of that number is valid no more.
    pub(crate) async fn gone(&self, id: i64) {
        let mut deleted = self.deleted.subscribe();
        while self.is_valid(id) {
            // It cannot fail: the sender is `self`'s.
            let _ = deleted.changed().await;
        }
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
            tokens.create("ann", Role::Agent).unwrap()
        };
        let tokens = Tokens::open(&path).unwrap();
        assert_eq!(tokens.identify(&token), Some(identity.clone()));
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
                matches!(tokens.create(login, Role::Agent), Err(TokenError::Login)),
                "{login:?}"
            );
        }
        assert!(matches!("root".parse::<Role>(), Err(TokenError::Role(_))));
    }
}
