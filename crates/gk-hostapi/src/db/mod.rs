//! Databases: SQLite, PostgreSQL, MySQL and MariaDB, behind a parser and each engine's own wall.

use bytes::Bytes;
use gk_manifest::Access;
use serde_json::Value;
use tokio::time::Instant;

use crate::HostError;

/// What a plugin may do with the host's databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbGrants;

impl DbGrants {
    /// The union of the `db` entries of a plugin's permissions.
    pub fn from_permissions<'a>(_: impl IntoIterator<Item = (Access, &'a [String])>) -> Self {
        DbGrants
    }
}

/// The databases of a host: none yet.
#[derive(Debug, Default)]
pub struct Databases;

impl Databases {
    /// Runs a statement that reads.
    ///
    /// # Errors
    /// There is no database.
    pub async fn query(
        &self,
        _: &DbGrants,
        _: &str,
        _: &[Value],
        _: Instant,
    ) -> Result<Bytes, HostError> {
        Err(HostError::unavailable("no databases configured"))
    }

    /// Runs a statement that writes.
    ///
    /// # Errors
    /// There is no database.
    pub async fn exec(
        &self,
        _: &DbGrants,
        _: &str,
        _: &[Value],
        _: Instant,
    ) -> Result<u64, HostError> {
        Err(HostError::unavailable("no databases configured"))
    }
}

/// One database.
#[derive(Debug, Clone)]
pub struct DatabaseConfig;

impl DatabaseConfig {
    /// The database of that URL.
    pub fn new(_: impl Into<String>) -> Self {
        DatabaseConfig
    }
}

/// The host's databases.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DatabasesConfig {
    /// What statements without a prefix go to.
    pub default: Option<DatabaseConfig>,
    /// What `@name:` before a statement selects.
    pub named: std::collections::BTreeMap<String, DatabaseConfig>,
}

impl Databases {
    /// Opens the databases.
    ///
    /// # Errors
    /// None yet.
    pub fn open(_: &DatabasesConfig) -> Result<Self, HostError> {
        Ok(Databases)
    }
}
