//! The databases of a host: prefix, guard, grants, engine.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::config::{DatabaseConfig, DatabasesConfig, DbLimits, Target};
use super::guard::{Analysis, Dialect, Guard, StatementKind, TableName};
use super::scope::{DbGrants, TableScope};
use super::{mysql::Mysql, postgres::Postgres, sqlite::Sqlite, value};
use crate::HostError;

/// The databases of a host. Servers are connected to when they are first asked, and again whenever
/// a connection is found broken: a server that is down, or restarted, needs no restart of the host.
#[derive(Debug)]
pub struct Databases {
    default: Option<Database>,
    named: HashMap<String, Database>,
    limits: DbLimits,
}

#[derive(Debug)]
struct Database {
    guard: Guard,
    engine: Engine,
    /// Whose tables need no schema before their names.
    own_schema: String,
}

#[derive(Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
    Mysql(Mysql),
}

/// What a statement was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Query,
    Exec,
}

impl Databases {
    /// Reads the configuration and opens SQLite's files. No server is connected to.
    ///
    /// # Errors
    ///
    /// A URL cannot be read, or a file cannot be opened; the error holds no part of a URL but a
    /// parameter's name.
    pub fn open(config: &DatabasesConfig) -> Result<Self, HostError> {
        let limits = &config.limits;
        let open = |config: &DatabaseConfig| Database::open(config, limits);
        let named = config.named.iter().map(|(name, config)| {
            let database = open(config)
                .map_err(|error| HostError::invalid(format!("database {name:?}: {error}")))?;
            Ok((name.clone(), database))
        });
        Ok(Self {
            named: named.collect::<Result<_, HostError>>()?,
            default: config.default.as_ref().map(open).transpose()?,
            limits: limits.clone(),
        })
    }

    /// Runs a statement that reads, and returns its rows: a JSON array of objects, `[]` where
    /// there are none. Dropping the future cancels the statement in the engine.
    ///
    /// # Errors
    ///
    /// The statement is refused by the guard or the grants, the engine fails it, its result is
    /// over a limit, the engine cannot be reached, or the deadline passes.
    pub async fn query(
        &self,
        grants: &DbGrants,
        statement: &str,
        args: &[Value],
        deadline: Instant,
    ) -> Result<Bytes, HostError> {
        let (database, statement) = self.admit(grants, statement, Call::Query)?;
        let args = value::arguments(args, statement.placeholders, self.limits.max_arg_bytes)?;
        in_time(deadline)?;
        match &database.engine {
            Engine::Sqlite(engine) => engine.query(statement, args, deadline).await,
            // Beside a server's answer an allocation is nothing; in the request's own future they would be copied
            // with each request of any kind.
            Engine::Postgres(engine) => Box::pin(engine.query(statement, args, deadline)).await,
            Engine::Mysql(engine) => Box::pin(engine.query(statement, args, deadline)).await,
        }
    }

    /// Runs a statement that writes, in a transaction of its own, and returns how many rows it
    /// wrote; 0 for one that changes tables. Dropping the future cancels the statement in the
    /// engine, if it is not too late.
    ///
    /// # Errors
    ///
    /// As for [`query`](Self::query). After a timeout or a broken connection nobody knows whether
    /// the statement was carried out.
    pub async fn exec(
        &self,
        grants: &DbGrants,
        statement: &str,
        args: &[Value],
        deadline: Instant,
    ) -> Result<u64, HostError> {
        let (database, statement) = self.admit(grants, statement, Call::Exec)?;
        let args = value::arguments(args, statement.placeholders, self.limits.max_arg_bytes)?;
        in_time(deadline)?;
        match &database.engine {
            Engine::Sqlite(engine) => engine.exec(statement, args, deadline).await,
            Engine::Postgres(engine) => Box::pin(engine.exec(statement, args, deadline)).await,
            Engine::Mysql(engine) => Box::pin(engine.exec(statement, args, deadline)).await,
        }
    }

    /// The database a statement is for, and what the statement does, if the plugin may do that.
    fn admit(
        &self,
        grants: &DbGrants,
        statement: &str,
        call: Call,
    ) -> Result<(&Database, std::sync::Arc<Analysis>), HostError> {
        let (name, statement) = split_prefix(statement)?;
        let grant = grants.of(name);
        let needed = match call {
            Call::Query => grant.and_then(|grant| grant.read.as_ref()),
            Call::Exec => grant.and_then(|grant| grant.write.as_ref()),
        };
        let of = name.map_or(String::new(), |name| format!(" on database {name:?}"));
        let not_granted =
            |access: &str| HostError::denied(format!("database {access} access not granted{of}"));
        if needed.is_none() {
            return Err(not_granted(match call {
                Call::Query => "read",
                Call::Exec => "write",
            }));
        }
        let database = match name {
            None => self
                .default
                .as_ref()
                .ok_or_else(|| HostError::unavailable("no databases configured"))?,
            Some(name) => self
                .named
                .get(name)
                .ok_or_else(|| HostError::not_found(format!("database {name:?} not found")))?,
        };
        let analysis = database.guard.analyse(statement)?;
        match (call, analysis.kind) {
            (Call::Query, StatementKind::Query)
            | (Call::Exec, StatementKind::Write | StatementKind::Schema) => {}
            (Call::Query, StatementKind::Write) => {
                return Err(HostError::denied(
                    "a query runs no statement that writes: db_exec does",
                ));
            }
            (Call::Query, StatementKind::Schema) => {
                return Err(HostError::denied("DDL statements not permitted in a query"));
            }
            (Call::Exec, StatementKind::Query) => {
                return Err(HostError::invalid(
                    "this statement returns rows: db_query runs it",
                ));
            }
        }
        let grant = grant.ok_or_else(|| not_granted("read"))?;
        let may = |scope: &Option<TableScope>, table: &TableName| {
            let scope = scope.as_ref();
            scope.is_some_and(|scope| scope.contains(table, &database.own_schema))
        };
        for table in &analysis.writes {
            if !may(&grant.write, table) {
                return Err(HostError::denied(format!(
                    "write access to table \"{table}\" not permitted{of}"
                )));
            }
        }
        for table in &analysis.reads {
            if !may(&grant.read, table) {
                return Err(HostError::denied(format!(
                    "access to table \"{table}\" not permitted{of}"
                )));
            }
        }
        Ok((database, analysis))
    }
}

impl Database {
    fn open(config: &DatabaseConfig, limits: &DbLimits) -> Result<Self, HostError> {
        let (dialect, engine, own_schema) = match config.target()? {
            Target::Sqlite(path) => {
                let engine = Engine::Sqlite(Sqlite::open(&path, limits)?);
                (Dialect::Sqlite, engine, "main".to_owned())
            }
            Target::Postgres(target) => {
                let schema = target.schema.clone().unwrap_or_else(|| "public".to_owned());
                let engine = Engine::Postgres(Postgres::open(&target, &schema, limits)?);
                (Dialect::Postgres, engine, schema)
            }
            Target::Mysql(target) => {
                let (engine, schema) = Mysql::open(&target, limits)?;
                (Dialect::Mysql, Engine::Mysql(engine), schema)
            }
        };
        Ok(Self {
            guard: Guard::new(dialect),
            engine,
            own_schema,
        })
    }
}

/// Timers may be late by a millisecond, in which some statements are done.
fn in_time(deadline: Instant) -> Result<(), HostError> {
    if Instant::now() >= deadline {
        return Err(HostError::timeout("the deadline has passed"));
    }
    Ok(())
}

/// `@name: SELECT …`
fn split_prefix(statement: &str) -> Result<(Option<&str>, &str), HostError> {
    let Some(named) = statement.trim_start().strip_prefix('@') else {
        return Ok((None, statement));
    };
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
    };
    match named.split_once(':') {
        Some((name, rest)) if is_name(name) => Ok((Some(name), rest)),
        _ => Err(HostError::invalid(
            "a statement that begins with @ begins with @name: for the database of that name",
        )),
    }
}
