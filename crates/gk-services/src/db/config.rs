//! Which databases there are, and their limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gk_hostapi::HostError;

/// The host's databases.
#[derive(Debug, Clone, Default)]
pub struct DatabasesConfig {
    /// The database of statements without a prefix.
    pub default: Option<DatabaseConfig>,
    /// The databases that `@name:` before a statement selects, by name.
    pub named: BTreeMap<String, DatabaseConfig>,
    /// Limits of each database.
    pub limits: DbLimits,
}

/// A database, by its URL.
///
/// | URL | |
/// |---|---|
/// | `sqlite:PATH` | a file, made with mode 0600 where there is none; its directory has to be there |
/// | `postgres://USER:PASSWORD@HOST:PORT/DATABASE` | also with `host=/directory` of a socket as a parameter |
/// | `mysql://…`, `mariadb://…` | the same |
///
/// Parameters of servers: `sslmode=disable` or `sslmode=require` (which checks the server's
/// certificate, and is the default but for loopback addresses and sockets), and `sslrootcert=PATH`
/// for a certificate authority other than the machine's; PostgreSQL also has `schema=NAME` for the
/// schema of tables that are named without one, `public` by default.
#[derive(Clone)]
pub struct DatabaseConfig {
    url: String,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_tuple("DatabaseConfig").field(&scheme).finish()
    }
}

impl DatabaseConfig {
    /// The database of that URL, which is read when the databases are opened.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }
}

/// Limits of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DbLimits {
    /// Most rows of a result.
    pub max_rows: usize,
    /// Most bytes of a result, as JSON.
    pub max_result_bytes: usize,
    /// Most bytes of a statement's arguments.
    pub max_arg_bytes: usize,
    /// Most bytes that statements may put into temporary files: all that run in SQLite at a moment
    /// together, and each one of a server that has such a limit and lets the host's user set it
    /// (PostgreSQL `temp_file_limit`, MariaDB `tmp_disk_table_size`).
    pub max_temp_bytes: u64,
    /// Most connections to one database; statements wait for one until their deadline.
    pub max_connections: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// SQLite: whether short reads run on the thread that asks. Not for files on slow storage.
    pub inline_reads: bool,
}

impl Default for DbLimits {
    fn default() -> Self {
        Self {
            max_rows: 10_000,
            max_result_bytes: 8 * 1024 * 1024,
            max_arg_bytes: 8 * 1024 * 1024,
            max_temp_bytes: 256 * 1024 * 1024,
            max_connections: 8,
            connect_timeout: Duration::from_secs(5),
            inline_reads: true,
        }
    }
}

/// A URL, read. Errors name no part of the URL but a parameter's name: it holds a password.
#[derive(Debug)]
pub(super) enum Target {
    Sqlite(PathBuf),
    Postgres(ServerTarget),
    Mysql(ServerTarget),
}

/// A server: the URL as its driver reads it, and what the driver does not read.
pub(super) struct ServerTarget {
    pub(super) url: String,
    pub(super) tls: Option<TlsRoots>,
    pub(super) schema: Option<String>,
}

impl std::fmt::Debug for ServerTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTarget").finish_non_exhaustive()
    }
}

/// Whom a server's certificate has to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsRoots {
    Machine,
    File(PathBuf),
}

impl DatabaseConfig {
    pub(super) fn target(&self) -> Result<Target, HostError> {
        let (scheme, rest) = self.url.split_once(':').unwrap_or_default();
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.starts_with(':') || path.contains('?') {
                    return Err(HostError::invalid("a sqlite: URL is the path of a file"));
                }
                Ok(Target::Sqlite(PathBuf::from(path)))
            }
            "postgres" | "postgresql" => server("postgres", rest).map(Target::Postgres),
            "mysql" | "mariadb" => server("mysql", rest).map(Target::Mysql),
            _ => Err(HostError::invalid(
                "a database's URL begins with sqlite:, postgres://, mysql:// or mariadb://",
            )),
        }
    }
}

fn server(scheme: &str, rest: &str) -> Result<ServerTarget, HostError> {
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.strip_prefix("//").ok_or_else(|| {
        HostError::invalid("a server's URL has // before its host, or before its user")
    })?;
    let host = authority.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let mut is_near = ["localhost", "127.0.0.1", "[::1]", ""].iter().any(|near| {
        *near == host
            || host
                .strip_prefix(near)
                .is_some_and(|rest| rest.starts_with(':'))
    });
    let mut kept = Vec::new();
    let (mut mode, mut root, mut schema) = (None, None, None);
    for parameter in parameters
        .split('&')
        .filter(|parameter| !parameter.is_empty())
    {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "sslmode" => mode = Some(value),
            "sslrootcert" => root = Some(PathBuf::from(value)),
            "schema" => schema = Some(value.to_owned()),
            "host" | "socket" => {
                is_near =
                    value.starts_with('/') || value.starts_with("%2F") || value.starts_with("%2f");
                kept.push(parameter);
            }
            "connect_timeout" | "application_name" | "keepalives" | "keepalives_idle" => {
                kept.push(parameter);
            }
            _ => {
                return Err(HostError::invalid(format!(
                    "the parameter {name} of a database's URL is not known"
                )));
            }
        }
    }
    let wants_tls = match mode {
        Some("disable") => false,
        Some("require" | "verify-full") => true,
        None => !is_near || root.is_some(),
        Some(_) => {
            return Err(HostError::invalid(
                "sslmode is disable or require, which checks the certificate",
            ));
        }
    };
    if schema
        .as_deref()
        .is_some_and(|schema| !gk_sqlguard::is_plain_schema(schema))
    {
        return Err(HostError::invalid("schema is not the name of a schema"));
    }
    let mut url = format!("{scheme}:{place}");
    if !kept.is_empty() {
        url = format!("{url}?{}", kept.join("&"));
    }
    Ok(ServerTarget {
        url,
        tls: wants_tls.then(|| root.map_or(TlsRoots::Machine, TlsRoots::File)),
        schema,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = |url: &str| DatabaseConfig::new(url).target();
        assert!(
            matches!(target("sqlite:/a/b.db"), Ok(Target::Sqlite(path)) if path.ends_with("b.db"))
        );
        assert!(
            matches!(target("sqlite:///a/b.db"), Ok(Target::Sqlite(path)) if path.starts_with("/a"))
        );
        let server = |url: &str| match target(url).unwrap() {
            Target::Postgres(server) | Target::Mysql(server) => server,
            Target::Sqlite(_) => panic!("{url}"),
        };
        for (url, driver, tls) in [
            (
                "postgres://u:p@127.0.0.1:1/d",
                "postgres://u:p@127.0.0.1:1/d",
                None,
            ),
            (
                "postgres://u:p@localhost/d",
                "postgres://u:p@localhost/d",
                None,
            ),
            (
                "postgres://u:p@h/d",
                "postgres://u:p@h/d",
                Some(TlsRoots::Machine),
            ),
            // A user that looks like a near host.
            (
                "postgres://localhost:p@h/d",
                "postgres://localhost:p@h/d",
                Some(TlsRoots::Machine),
            ),
            ("postgres://u@h/d?sslmode=disable", "postgres://u@h/d", None),
            (
                "mariadb://u@h/d?sslrootcert=/ca.pem",
                "mysql://u@h/d",
                Some(TlsRoots::File("/ca.pem".into())),
            ),
            (
                "postgresql:///d?host=%2Frun",
                "postgres:///d?host=%2Frun",
                None,
            ),
        ] {
            let server = server(url);
            assert_eq!((server.url.as_str(), server.tls), (driver, tls), "{url}");
        }
        for url in [
            "",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:/a?mode=rwc",
            "oracle://h",
            "postgres:h",
            "postgres://u:secret@h/d?sslmode=prefer",
            "postgres://u:secret@h/d?options=-c",
            "postgres://u:secret@h/d?schema=a%22b",
        ] {
            let error = target(url).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let config = DatabaseConfig::new("postgres://u:secret@h/d");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
