//! PostgreSQL: a transaction for each statement, and a request to cancel what is given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleError, RecycleResult};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTls;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DbLimits;
use super::config::{ServerTarget, TlsRoots};
use super::guard::Analysis;
use super::rows::Rows;
use super::server::{self, Failure, NotReached, STATEMENTS_KEPT, too_late, within};
use super::value::Arg;
use crate::HostError;

mod decode;

/// A server's database.
#[derive(Debug)]
pub(super) struct Postgres {
    pool: Pool<Connector>,
    limits: DbLimits,
}

/// Makes connections.
struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    setup: String,
    timeout: Duration,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// A connection.
struct Session {
    client: Client,
    tls: Option<MakeRustlsConnect>,
    statements: HashMap<String, Statement>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// A connection at work. Unless it comes to its end, it is not used again, and what it does is
/// cancelled: a dropped future, a deadline, a result over its limits.
struct Lease {
    session: Option<Object<Connector>>,
}

impl Manager for Connector {
    type Type = Session;
    type Error = NotReached;

    async fn create(&self) -> Result<Session, NotReached> {
        NotReached::within(self.timeout, Box::pin(self.connect()), describe).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Self::Error> {
        if session.client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}

impl Connector {
    async fn connect(&self) -> Result<Session, tokio_postgres::Error> {
        let client = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
            Some(tls) => {
                let (client, connection) = Box::pin(self.config.connect(tls.clone())).await?;
                tokio::spawn(connection);
                client
            }
        };
        client.batch_execute(&self.setup).await?;
        Ok(Session {
            client,
            tls: self.tls.clone(),
            statements: HashMap::new(),
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
        // The driver's errors may hold parts of the URL.
        let mut config: Config = target
            .url
            .parse()
            .map_err(|_| HostError::invalid("a postgres:// URL cannot be read"))?;
        config.application_name("goatkit");
        config.connect_timeout(limits.connect_timeout);
        config.ssl_mode(match target.tls {
            None => tokio_postgres::config::SslMode::Disable,
            Some(_) => tokio_postgres::config::SslMode::Require,
        });
        let connector = Connector {
            config,
            tls: target.tls.as_ref().map(connector).transpose()?,
            // A temporary table would otherwise come before the schema's own.
            setup: format!(
                "SET search_path TO \"{schema}\", pg_temp; SET standard_conforming_strings TO on; \
                 SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'; SET bytea_output TO 'hex'; \
                 SET idle_in_transaction_session_timeout TO '60s'"
            ),
            timeout: limits.connect_timeout,
        };
        let pool = server::pool(connector, limits)?;
        Ok(Self {
            pool,
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
            let mut lease = self.lease("BEGIN READ ONLY", deadline).await?;
            let result = self.read(&mut lease, &statement, &args).await;
            lease.end(result).await
        })
        .await
    }

    pub(super) async fn exec(
        &self,
        statement: Arc<Analysis>,
        args: Vec<Arg>,
        deadline: Instant,
    ) -> Result<u64, HostError> {
        within(deadline, async {
            let mut lease = self.lease("BEGIN READ WRITE", deadline).await?;
            let result = write(&mut lease, &statement, &args).await;
            lease.end(result).await
        })
        .await
    }

    /// A connection in a transaction. One that turns out to be broken is replaced.
    async fn lease(&self, begin: &str, deadline: Instant) -> Result<Lease, HostError> {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        let begin = format!("{begin}; SET LOCAL statement_timeout TO {}", left.max(1));
        for _ in 0..=self.limits.max_connections {
            let session = self.pool.get().await.map_err(|error| {
                tracing::warn!(%error, "PostgreSQL cannot be reached");
                server::not_reached()
            })?;
            let lease = Lease {
                session: Some(session),
            };
            match lease.client()?.batch_execute(&begin).await {
                Ok(()) => return Ok(lease),
                Err(error) => tracing::debug!(%error, "a connection to PostgreSQL was broken"),
            }
        }
        Err(server::all_broken())
    }

    async fn read(
        &self,
        lease: &mut Lease,
        statement: &Analysis,
        args: &[Arg],
    ) -> Result<Bytes, Failure> {
        let prepared = lease.prepare(statement).await?;
        for column in prepared.columns() {
            if !decode::is_supported(column.type_()) {
                return Err(Failure::Kept(HostError::failed(format!(
                    "column {:?} is of type {}, which has no JSON form: cast it to text",
                    column.name(),
                    column.type_()
                ))));
            }
        }
        let mut rows = Rows::new(&self.limits);
        rows.columns(prepared.columns().iter().map(|column| column.name()));
        let client = lease.client().map_err(Failure::Lost)?;
        let found = client.query_raw(&prepared, args.iter().map(TextArg));
        let mut found = std::pin::pin!(found.await.map_err(failure)?);
        while let Some(row) = next(&mut found).await {
            let row = row.map_err(failure)?;
            // The rest of the result is still under way.
            rows.row(|index, json| decode::cell(&row, index, json))
                .map_err(Failure::Lost)?;
        }
        Ok(rows.finish())
    }
}

/// The next item of a stream, without a crate for it.
async fn next(
    stream: &mut std::pin::Pin<&mut tokio_postgres::RowStream>,
) -> Option<Result<tokio_postgres::Row, tokio_postgres::Error>> {
    use futures_core::Stream;
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

async fn write(lease: &mut Lease, statement: &Analysis, args: &[Arg]) -> Result<u64, Failure> {
    let prepared = lease.prepare(statement).await?;
    let client = lease.client().map_err(Failure::Lost)?;
    let written = client.execute_raw(&prepared, args.iter().map(TextArg));
    written.await.map_err(failure)
}

impl Lease {
    fn client(&self) -> Result<&Client, HostError> {
        match &self.session {
            Some(session) => Ok(&session.client),
            None => Err(server::gone()),
        }
    }

    async fn prepare(&mut self, statement: &Analysis) -> Result<Statement, Failure> {
        let Some(session) = &mut self.session else {
            return Err(Failure::Lost(server::gone()));
        };
        if let Some(prepared) = session.statements.get(&statement.sql) {
            return Ok(prepared.clone());
        }
        let prepared = session
            .client
            .prepare(&statement.sql)
            .await
            .map_err(failure)?;
        if session.statements.len() >= STATEMENTS_KEPT {
            session.statements.clear();
        }
        session
            .statements
            .insert(statement.sql.clone(), prepared.clone());
        Ok(prepared)
    }

    /// Ends the transaction, and gives the connection back.
    async fn end<T>(mut self, result: Result<T, Failure>) -> Result<T, HostError> {
        let (end, result) = match result {
            Ok(value) => ("COMMIT", Ok(value)),
            Err(Failure::Kept(error)) => ("ROLLBACK", Err(error)),
            Err(Failure::Lost(error)) => return Err(error),
        };
        let ended = self.client()?.batch_execute(end).await;
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
        if result.is_err()
            && let Some(session) = &mut self.session
        {
            session.statements.clear();
        }
        self.session = None;
        result
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let session = Object::take(session);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(server::cancel(
            "PostgreSQL",
            session,
            async |session: &Session| {
                let cancel = session.client.cancel_token();
                match session.tls.clone() {
                    None => cancel.cancel_query(NoTls).await,
                    Some(tls) => cancel.cancel_query(tls).await,
                }
            },
        ));
    }
}

fn failure(error: tokio_postgres::Error) -> Failure {
    let Some(db) = error.as_db_error() else {
        // What we send in a form that the driver does not like is the plugin's argument.
        tracing::warn!(%error, "a connection to PostgreSQL broke");
        return Failure::connection();
    };
    let code = db.code();
    let message = db.message().to_owned();
    match code.code().get(..2) {
        _ if *code == SqlState::QUERY_CANCELED => Failure::Kept(too_late()),
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            Failure::Kept(HostError::denied("the statement writes"))
        }
        // The server ends the session: shutdown, crash, too many.
        Some("08" | "53" | "57" | "58" | "XX") => {
            tracing::warn!(%message, "PostgreSQL fails");
            Failure::server()
        }
        // Values that are not of the type they stand for.
        Some("22") => Failure::Kept(HostError::failed(message)),
        _ => Failure::Kept(HostError::failed(message)),
    }
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => db.message().to_owned(),
        None => {
            let source = std::error::Error::source(error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    }
}

fn connector(roots: &TlsRoots) -> Result<MakeRustlsConnect, HostError> {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(server::roots(roots)?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| HostError::unavailable("no version of TLS"))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// An argument as text: the server reads it as the type that its place in the statement has.
#[derive(Debug)]
struct TextArg<'a>(&'a Arg);

impl ToSql for TextArg<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Arg::Null => return Ok(IsNull::Yes),
            Arg::Bool(value) => out.put_slice(if *value { b"true" } else { b"false" }),
            Arg::Int(value) => out.put_slice(value.to_string().as_bytes()),
            Arg::Unsigned(value) => out.put_slice(value.to_string().as_bytes()),
            Arg::Float(value) => out.put_slice(value.to_string().as_bytes()),
            Arg::Text(value) => out.put_slice(value.as_bytes()),
            Arg::Blob(value) => {
                out.put_slice(b"\\x");
                for byte in value {
                    out.put_slice(format!("{byte:02x}").as_bytes());
                }
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
