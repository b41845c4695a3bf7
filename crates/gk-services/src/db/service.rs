//! The databases of a host: prefix, guard, grants, engine.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_sqlguard::{
    Access, Analysis, DbGrant, DbGrants, Dialect, Guard, NotGranted, Scope, StatementKind,
};
use serde_json::Value;
use tokio::time::Instant;

use super::config::{DatabaseConfig, DatabasesConfig, DbLimits, Target};
#[cfg(feature = "mysql")]
use super::mysql::Mysql;
#[cfg(feature = "postgres")]
use super::postgres::Postgres;
#[cfg(feature = "sqlite")]
use super::sqlite::Sqlite;
use super::value;
use super::value::Arg;
use super::write::{BATCH_STATEMENTS_MAX, Bound, Written};

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
    dialect: Dialect,
    guard: Guard,
    engine: Engine,
    /// Whose tables need no schema before their names.
    own_schema: String,
}

#[derive(Debug)]
enum Engine {
    #[cfg(feature = "sqlite")]
    Sqlite(Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
    #[cfg(feature = "mysql")]
    Mysql(Mysql),
}

/// The method that a statement was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Query,
    Exec,
    Batch,
}

/// A statement that a plugin may run.
struct Admitted<'a> {
    database: &'a Database,
    grant: &'a DbGrant,
    analysis: Arc<Analysis>,
}

impl Databases {
    /// The names of the databases that statements select with `@name:`, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.named.keys().cloned().collect();
        names.sort();
        names
    }

    /// Returns whether there is one without a name.
    pub fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// Asks a database, the default one or that of this name, to answer a statement that reads no
    /// table.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn check(&self, name: Option<&str>, deadline: Instant) -> Result<(), HostError> {
        let pattern = name.map(|name| [format!("@{name}:*")]);
        let scope = pattern
            .as_ref()
            .map_or(Scope::Any, |one| Scope::Only(&one[..]));
        let grants = DbGrants::new([(Access::Read, scope)]);
        let statement = match name {
            Some(name) => format!("@{name}:SELECT 1"),
            None => "SELECT 1".to_owned(),
        };
        self.query(&grants, &statement, &[], deadline)
            .await
            .map(drop)
    }

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

    /// Runs a statement and returns its rows: a JSON array of objects, `[]` where there are none. A
    /// statement that writes is run where the plugin may write; its rows are those of its
    /// RETURNING. Dropping the future cancels the statement in the engine.
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
        let admitted = self.admit(grants, statement, Call::Query)?;
        let args = self.arguments(&admitted.analysis, args)?;
        in_time(deadline)?;
        let statement = admitted.analysis;
        if statement.kind != StatementKind::Query {
            let statements = vec![Bound { statement, args }];
            let engine = &admitted.database.engine;
            let written = engine.write(statements, admitted.grant, deadline).await?;
            let rows = written.into_iter().next().and_then(|written| written.rows);
            return Ok(rows.unwrap_or(Bytes::from_static(b"[]")));
        }
        let engine = &admitted.database.engine;
        engine.query(statement, args, deadline).await
    }

    /// Runs a statement that writes, in a transaction of its own. Dropping the future cancels the
    /// statement in the engine, if it is not too late.
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
    ) -> Result<Written, HostError> {
        let admitted = self.admit(grants, statement, Call::Exec)?;
        let args = self.arguments(&admitted.analysis, args)?;
        in_time(deadline)?;
        let statement = admitted.analysis;
        let statements = vec![Bound { statement, args }];
        let engine = &admitted.database.engine;
        let written = engine.write(statements, admitted.grant, deadline).await?;
        let written = written.into_iter().next();
        written.ok_or_else(|| HostError::failed("the statement could not be run"))
    }

    /// Runs statements of any kind in one transaction, all of them or none, and returns what came
    /// of each. All are for the same database. On MySQL none of them may change tables, as that
    /// ends the transaction there.
    ///
    /// # Errors
    ///
    /// Limit: more than [`BATCH_STATEMENTS_MAX`]. Otherwise as for [`exec`](Self::exec); the text
    /// says which statement failed, counted from 1. The limits of arguments and results hold for
    /// all together.
    pub async fn batch(
        &self,
        grants: &DbGrants,
        statements: &[(&str, &[Value])],
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        if statements.len() > BATCH_STATEMENTS_MAX {
            return Err(HostError::limit(format!(
                "a batch has at most {BATCH_STATEMENTS_MAX} statements, not {}",
                statements.len()
            )));
        }
        let (mut target, mut bound, mut bytes) = (None, Vec::with_capacity(statements.len()), 0);
        for (index, (text, args)) in statements.iter().enumerate() {
            let numbered = |error: HostError| error.prefixed(&format!("statement {}: ", index + 1));
            let admitted = self.admit(grants, text, Call::Batch).map_err(numbered)?;
            let (database, grant) = *target.get_or_insert((admitted.database, admitted.grant));
            if !std::ptr::eq(database, admitted.database) || !std::ptr::eq(grant, admitted.grant) {
                return Err(numbered(HostError::invalid(
                    "a batch is for one database: no transaction is over two of them",
                )));
            }
            let statement = admitted.analysis;
            if database.dialect == Dialect::Mysql && statement.kind == StatementKind::Schema {
                return Err(numbered(HostError::denied(
                    "in a batch no table is changed on MySQL, where that ends the transaction",
                )));
            }
            let args = self.arguments(&statement, args).map_err(numbered)?;
            bytes += args.iter().map(Arg::bytes).sum::<usize>();
            if bytes > self.limits.max_arg_bytes {
                return Err(value::too_many_bytes(self.limits.max_arg_bytes));
            }
            bound.push(Bound { statement, args });
        }
        in_time(deadline)?;
        match target {
            None => Ok(Vec::new()),
            Some((database, grant)) => database.engine.write(bound, grant, deadline).await,
        }
    }

    fn arguments(&self, statement: &Analysis, args: &[Value]) -> Result<Vec<Arg>, HostError> {
        value::arguments(args, statement.placeholders, self.limits.max_arg_bytes)
    }

    /// The database a statement is for, and what the statement does, if the plugin may do that.
    fn admit<'a>(
        &'a self,
        grants: &'a DbGrants,
        statement: &str,
        call: Call,
    ) -> Result<Admitted<'a>, HostError> {
        let (name, statement) = split_prefix(statement)?;
        let grant = grants.of(name);
        let needed = match call {
            Call::Query => grant.and_then(|grant| grant.read.as_ref()),
            Call::Exec | Call::Batch => grant.and_then(|grant| grant.write.as_ref()),
        };
        let of = name.map_or(String::new(), |name| format!(" on database {name:?}"));
        let not_granted =
            |access: &str| HostError::denied(format!("database {access} access not granted{of}"));
        if needed.is_none() {
            return Err(not_granted(match call {
                Call::Query => "read",
                Call::Exec | Call::Batch => "write",
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
            (Call::Query, StatementKind::Schema) => {
                return Err(HostError::denied("DDL statements not permitted in a query"));
            }
            (Call::Exec, StatementKind::Query) => {
                return Err(HostError::invalid(
                    "this statement returns rows: db_query runs it",
                ));
            }
            (Call::Query, StatementKind::Write)
                if grant.is_none_or(|grant| grant.write.is_none()) =>
            {
                return Err(not_granted("write"));
            }
            _ => {}
        }
        let grant = grant.ok_or_else(|| not_granted("read"))?;
        grant
            .check(&analysis, &database.own_schema)
            .map_err(|refused| {
                HostError::denied(match refused {
                    NotGranted::Key(table) => format!(
                        "a foreign key to table \"{table}\" not permitted{of}: it tells which rows are \
                         there, and keeps others from deleting them, so reading and writing that \
                         table have to be granted"
                    ),
                    NotGranted::Write(table) => {
                        format!("write access to table \"{table}\" not permitted{of}")
                    }
                    NotGranted::Read(table) => {
                        format!("access to table \"{table}\" not permitted{of}")
                    }
                    other => format!("{other}{of}"),
                })
            })?;
        Ok(Admitted {
            database,
            grant,
            analysis,
        })
    }
}

impl Engine {
    async fn query(
        &self,
        statement: Arc<Analysis>,
        args: Vec<Arg>,
        deadline: Instant,
    ) -> Result<Bytes, HostError> {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref engine) => engine.query(statement, args, deadline).await,
            // Beside a server's answer an allocation is nothing; in the request's own future the
            // drivers' futures would be copied with each request of any kind.
            #[cfg(feature = "postgres")]
            Self::Postgres(ref engine) => Box::pin(engine.query(statement, args, deadline)).await,
            #[cfg(feature = "mysql")]
            Self::Mysql(ref engine) => Box::pin(engine.query(statement, args, deadline)).await,
        }
    }

    async fn write(
        &self,
        statements: Vec<Bound>,
        grant: &DbGrant,
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref engine) => engine.write(statements, grant.clone(), deadline).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(ref engine) => {
                Box::pin(engine.write(statements, grant.clone(), deadline)).await
            }
            #[cfg(feature = "mysql")]
            Self::Mysql(ref engine) => Box::pin(engine.write(statements, deadline)).await,
        }
    }
}

impl Database {
    fn open(config: &DatabaseConfig, limits: &DbLimits) -> Result<Self, HostError> {
        let (dialect, engine, own_schema) = match config.target()? {
            #[cfg(feature = "sqlite")]
            Target::Sqlite(path) => {
                let engine = Engine::Sqlite(Sqlite::open(&path, limits)?);
                (Dialect::Sqlite, engine, "main".to_owned())
            }
            #[cfg(not(feature = "sqlite"))]
            Target::Sqlite(_) => return Err(crate::not_compiled("SQLite", "sqlite")),
            #[cfg(feature = "postgres")]
            Target::Postgres(target) => {
                let schema = target.schema.clone().unwrap_or_else(|| "public".to_owned());
                let engine = Engine::Postgres(Postgres::open(&target, &schema, limits)?);
                (Dialect::Postgres, engine, schema)
            }
            #[cfg(not(feature = "postgres"))]
            Target::Postgres(_) => return Err(crate::not_compiled("PostgreSQL", "postgres")),
            #[cfg(feature = "mysql")]
            Target::Mysql(target) => {
                let (engine, schema) = Mysql::open(&target, limits)?;
                (Dialect::Mysql, Engine::Mysql(engine), schema)
            }
            #[cfg(not(feature = "mysql"))]
            Target::Mysql(_) => return Err(crate::not_compiled("MySQL", "mysql")),
        };
        Ok(Self {
            dialect,
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
