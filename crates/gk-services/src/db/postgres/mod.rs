//! PostgreSQL: a transaction for each statement, and a request to cancel what is given up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_sqlguard::{Analysis, DbGrant, StatementKind, TableName};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DbLimits;
use super::config::ServerTarget;
use super::pool::Pool;
use super::rows::{Left, Rows};
use super::server::{self, Failure, STATEMENTS_KEPT, too_late, within};
use super::value::Arg;
use super::write::{Bound, Written, foreign_index};

mod arg;
mod connect;
mod decode;
mod stream;

use self::arg::TextArg;
use self::connect::{PostgresConnector, Session, tls};

/// Names that a connection remembers not to be functions.
const FIELDS_KEPT: usize = 1000;

/// A server's database.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: Pool<PostgresConnector>,
    /// The schema of tables and indexes that are named without one.
    schema: String,
    limits: DbLimits,
}

type Lease = super::pool::Lease<PostgresConnector>;

/// A PostgreSQL server by its URL, as [`DatabaseConfig`](super::DatabaseConfig) describes it, for
/// those who make connections of their own.
#[derive(Clone)]
pub struct PostgresServer {
    /// The driver's configuration.
    pub config: Config,
    /// How TLS is spoken; `None` without it.
    pub tls: Option<MakeRustlsConnect>,
    /// The parameter `schema`.
    pub schema: Option<String>,
}

impl std::fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresServer").finish_non_exhaustive()
    }
}

impl PostgresServer {
    /// Reads the URL; connects to nothing.
    ///
    /// # Errors
    /// Invalid: the URL, which the error does not repeat. Unavailable: the certificates.
    pub fn new(url: &str) -> Result<Self, HostError> {
        match super::DatabaseConfig::new(url).target()? {
            super::config::Target::Postgres(target) => Self::of(&target),
            _ => Err(HostError::invalid(
                "the URL does not begin with postgres://",
            )),
        }
    }

    fn of(target: &ServerTarget) -> Result<Self, HostError> {
        // The driver's errors may hold parts of the URL.
        let mut config: Config = target
            .url
            .parse()
            .map_err(|_| HostError::invalid("a postgres:// URL cannot be read"))?;
        config.application_name("goatkit");
        config.ssl_mode(match target.tls {
            None => tokio_postgres::config::SslMode::Disable,
            Some(_) => tokio_postgres::config::SslMode::Require,
        });
        Ok(Self {
            config,
            tls: target.tls.as_ref().map(tls).transpose()?,
            schema: target.schema.clone(),
        })
    }
}

impl Postgres {
    /// Reads the URL; connects to nothing.
    ///
    /// # Errors
    ///
    /// The URL or the certificates cannot be read.
    pub(super) fn open(
        target: &ServerTarget,
        schema: &str,
        limits: &DbLimits,
    ) -> Result<Self, HostError> {
        let mut server = PostgresServer::of(target)?;
        server.config.connect_timeout(limits.connect_timeout);
        let connector = PostgresConnector {
            config: Arc::new(server.config),
            message_bytes_max: server::packet_bytes_max(limits),
            tls: server.tls,
            // A temporary table would otherwise come before the schema's own.
            setup: format!(
                "SET search_path TO \"{schema}\", pg_temp; SET standard_conforming_strings TO on; \
                 SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'; SET bytea_output TO 'hex'; \
                 SET idle_in_transaction_session_timeout TO '60s'"
            ),
            temp_limit: format!(
                "SET temp_file_limit TO '{}kB'",
                (limits.max_temp_bytes / 1024).clamp(1, i32::MAX as u64)
            ),
        };
        let pool = Pool::new(connector, limits)?;
        Ok(Self {
            pool,
            schema: schema.to_owned(),
            limits: limits.clone(),
        })
    }

    pub(super) async fn query(
        &self,
        statement: Arc<Analysis>,
        args: Vec<Arg>,
        deadline: Instant,
    ) -> Result<Bytes, HostError> {
        within(deadline, async {
            let mut lease = Box::pin(self.pool.lease("BEGIN READ ONLY", deadline)).await?;
            let mut rows = Rows::new(&self.limits);
            let result = fetch(&mut lease, &statement, &args, &mut rows).await;
            let result = result.map(|_| rows.finish());
            end(lease, result).await
        })
        .await
    }

    /// Runs statements in one transaction, all of them or none.
    pub(super) async fn write(
        &self,
        statements: Vec<Bound>,
        grant: DbGrant,
        deadline: Instant,
    ) -> Result<Vec<Written>, HostError> {
        within(deadline, async {
            let mut lease = Box::pin(self.pool.lease("BEGIN READ WRITE", deadline)).await?;
            for bound in &statements {
                let checked = self.check_indexes(&mut lease, &bound.statement.drops, &grant);
                if let Err(error) = Box::pin(checked).await {
                    return end(lease, Err(error)).await;
                }
            }
            let result = Box::pin(write(&mut lease, &statements, &self.limits)).await;
            end(lease, result).await
        })
        .await
    }

    /// Refuses to drop an index of a table that may not be written.
    async fn check_indexes(
        &self,
        lease: &mut Lease,
        indexes: &BTreeSet<String>,
        grant: &DbGrant,
    ) -> Result<(), Failure> {
        const TABLES: &str = "SELECT t.relname::text FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace WHERE n.nspname = $1 AND x.relname = ANY($2)";
        if indexes.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = indexes.iter().map(String::as_str).collect();
        let client = &lease.session().map_err(Failure::Lost)?.client;
        let found = client.query(TABLES, &[&self.schema, &names]).await;
        for row in found.map_err(failure)? {
            let table: String = row.try_get(0).map_err(failure)?;
            let name = TableName::new(None, &table);
            let scope = grant.write.as_ref();
            if !scope.is_some_and(|scope| scope.contains(&name, &self.schema)) {
                return Err(Failure::Kept(foreign_index(&table)));
            }
        }
        Ok(())
    }
}

/// Runs a statement and writes its rows. Returns how many it wrote or read, as the server says.
async fn fetch(
    lease: &mut Lease,
    statement: &Analysis,
    args: &[Arg],
    rows: &mut Rows,
) -> Result<u64, Failure> {
    let session = lease.session().map_err(Failure::Lost)?;
    let prepared = session.prepare(statement).await?;
    for column in prepared.columns() {
        if !decode::is_supported(column.type_()) {
            return Err(Failure::Kept(HostError::failed(format!(
                "column {:?} is of type {}, which has no JSON form: cast it to text",
                column.name(),
                column.type_()
            ))));
        }
    }
    rows.columns(prepared.columns().iter().map(|column| column.name()));
    let found = session
        .client
        .query_raw(&prepared, args.iter().map(TextArg));
    let mut found = std::pin::pin!(found.await.map_err(failure)?);
    while let Some(row) = next(&mut found).await {
        let row = row.map_err(failure)?;
        // The rest of the result is still under way.
        rows.row(|index, json| decode::cell(&row, index, json))
            .map_err(Failure::Lost)?;
    }
    Ok(found.rows_affected().unwrap_or_default())
}

/// The next item of a stream, without a crate for it.
async fn next(
    stream: &mut std::pin::Pin<&mut tokio_postgres::RowStream>,
) -> Option<Result<tokio_postgres::Row, tokio_postgres::Error>> {
    use futures_core::Stream;
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

async fn write(
    lease: &mut Lease,
    statements: &[Bound],
    limits: &DbLimits,
) -> Result<Vec<Written>, Failure> {
    let mut left = Left::new(limits);
    let mut all = Vec::with_capacity(statements.len());
    for (index, bound) in statements.iter().enumerate() {
        let done = one(lease, bound, &mut left).await;
        all.push(done.map_err(|failure| failure.numbered(index, statements.len()))?);
    }
    Ok(all)
}

async fn one(
    lease: &mut Lease,
    Bound { statement, args }: &Bound,
    left: &mut Left,
) -> Result<Written, Failure> {
    let (counted, rows) = if statement.returns_rows() {
        let mut rows = left.rows();
        let counted = fetch(lease, statement, args, &mut rows).await?;
        (counted, Some(left.take(rows)))
    } else {
        let session = lease.session().map_err(Failure::Lost)?;
        let prepared = session.prepare(statement).await?;
        let written = session
            .client
            .execute_raw(&prepared, args.iter().map(TextArg));
        (written.await.map_err(failure)?, None)
    };
    if statement.kind == StatementKind::Schema {
        // Statements that were prepared may not fit the changed tables any more.
        lease.session().map_err(Failure::Lost)?.statements.clear();
    }
    let writes = statement.kind == StatementKind::Write;
    Ok(Written {
        affected: if writes { counted } else { 0 },
        last_insert_id: None,
        rows,
    })
}

impl Session {
    /// The statement, prepared; from memory where it was before.
    async fn prepare(&mut self, statement: &Analysis) -> Result<Statement, Failure> {
        if let Some(prepared) = self.statements.get(&statement.sql) {
            return Ok(prepared.clone());
        }
        self.check_fields(&statement.fields).await?;
        let prepared = self.client.prepare(&statement.sql).await;
        let prepared = prepared.map_err(failure)?;
        if self.statements.len() >= STATEMENTS_KEPT {
            self.statements.clear();
        }
        self.statements
            .insert(statement.sql.clone(), prepared.clone());
        Ok(prepared)
    }

    /// Refuses a name behind a period that the server may take for a function. What the server has
    /// of immutable functions only computes.
    async fn check_fields(&mut self, fields: &BTreeSet<String>) -> Result<(), Failure> {
        const FUNCTIONS: &str = "SELECT proname::text FROM pg_catalog.pg_proc WHERE proname = ANY($1) \
             AND (pronargs = 1 OR pronargs > 1 AND pronargs - pronargdefaults <= 1 OR provariadic <> 0) \
             AND NOT (pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'i') LIMIT 1";
        let unknown = fields.iter().filter(|name| !self.fields.contains(*name));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let found = self.client.query_opt(FUNCTIONS, &[&unknown]).await;
        if let Some(found) = found.map_err(failure)? {
            let name: String = found.try_get(0).map_err(failure)?;
            return Err(Failure::Kept(HostError::denied(format!(
                "\"{name}\" behind a period is a function to the server if it is no column: \
                 name the column in another way, as by an alias of the table's columns"
            ))));
        }
        if self.fields.len() + unknown.len() > FIELDS_KEPT {
            self.fields.clear();
        }
        self.fields.extend(unknown.into_iter().map(str::to_owned));
        Ok(())
    }
}

/// Ends the transaction, and gives the connection back.
async fn end<T>(mut lease: Lease, result: Result<T, Failure>) -> Result<T, HostError> {
    let session = lease.session()?;
    let (end, result) = match result {
        Ok(value) => ("COMMIT", Ok(value)),
        Err(Failure::Kept(error)) => ("ROLLBACK", Err(error)),
        Err(Failure::Lost(error)) => {
            return Err(match session.too_large.load(Ordering::Relaxed) {
                true => server::too_large_a_row(),
                false => error,
            });
        }
    };
    let ended = session.client.batch_execute(end).await;
    match (ended, &result) {
        (Ok(()), _) => {}
        (Err(_), Err(_)) => return result,
        (Err(error), Ok(_)) => {
            return Err(match failure(error) {
                Failure::Kept(error) | Failure::Lost(error) => error,
            });
        }
    }
    // A plan may have become stale by a change of tables; the next statement prepares anew.
    if result.is_err() {
        session.statements.clear();
    }
    lease.give_back();
    result
}

fn failure(error: tokio_postgres::Error) -> Failure {
    let Some(db) = error.as_db_error() else {
        // A value that the driver refuses to send is the plugin's argument.
        tracing::warn!(%error, "a connection to PostgreSQL broke");
        return Failure::connection();
    };
    let code = db.code();
    let message = db.message().to_owned();
    match code.code().get(..2) {
        _ if *code == SqlState::QUERY_CANCELED => Failure::Kept(too_late()),
        _ if *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED => Failure::Kept(HostError::limit(
            format!("{message} (limit max_temp_bytes): sort or compare fewer rows"),
        )),
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            Failure::Kept(HostError::denied("the statement writes"))
        }
        // The server ends the session: shutdown, crash, too many.
        Some("08" | "53" | "57" | "58" | "XX") => {
            tracing::warn!(%message, "PostgreSQL fails");
            Failure::server()
        }
        _ => Failure::Kept(HostError::failed(message)),
    }
}
