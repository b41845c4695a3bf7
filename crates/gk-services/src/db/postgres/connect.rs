//! Connections to PostgreSQL.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gk_hostapi::HostError;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::stream::{self, BoundedTls, Largest};
use crate::db::config::TlsRoots;
use crate::db::pool::Connector;
use crate::db::server;

/// Makes connections.
pub(super) struct PostgresConnector {
    pub(super) config: Arc<Config>,
    pub(super) message_bytes_max: usize,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) setup: String,
    pub(super) temp_limit: String,
}

/// A connection.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) config: Arc<Config>,
    /// A message was too large, which ended the connection.
    pub(super) too_large: Arc<AtomicBool>,
    pub(super) statements: HashMap<String, Statement>,
    /// Names that were no functions when they were looked up.
    pub(super) fields: HashSet<String>,
}

impl Connector for PostgresConnector {
    const ENGINE: &'static str = "PostgreSQL";
    type Session = Session;
    type Error = NotConnected;
    /// The statement that begins the transaction.
    type Begin = &'static str;

    async fn connect(&self) -> Result<Session, NotConnected> {
        let bound = Largest {
            message_bytes_max: self.message_bytes_max,
            too_large: Arc::default(),
        };
        let too_large = Arc::clone(&bound.too_large);
        let client = match self.tls.clone() {
            None => {
                let stream = stream::connect(&self.config, bound).await?;
                let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
                tokio::spawn(connection);
                client
            }
            Some(inner) => {
                let tls = BoundedTls { inner, bound };
                let (client, connection) = Box::pin(self.config.connect(tls)).await?;
                tokio::spawn(connection);
                client
            }
        };
        client.batch_execute(&self.setup).await?;
        // Not every user may set the limit; otherwise it is the server's operator's to set.
        if let Err(error) = client.batch_execute(&self.temp_limit).await {
            tracing::debug!(%error, "temp_file_limit is left as it is");
        }
        Ok(Session {
            client,
            tls: self.tls.clone(),
            config: self.config.clone(),
            too_large,
            statements: HashMap::new(),
            fields: HashSet::new(),
        })
    }

    fn describe(error: &NotConnected) -> String {
        describe(error)
    }

    fn is_closed(session: &Session) -> bool {
        session.client.is_closed()
    }

    fn may_run(_: &Session) -> bool {
        // Also where the host closed the connection itself, because a message was too large.
        true
    }

    async fn begin(
        session: &mut Session,
        begin: &'static str,
        left: Duration,
    ) -> Result<(), NotConnected> {
        let left = left.as_millis().max(1);
        let begin = format!("{begin}; SET LOCAL statement_timeout TO {left}");
        Ok(session.client.batch_execute(&begin).await?)
    }

    async fn cancel(session: &Session) -> Result<(), NotConnected> {
        let cancel = session.client.cancel_token();
        match session.tls.clone() {
            None => {
                let bound = Largest {
                    message_bytes_max: usize::MAX,
                    too_large: Arc::default(),
                };
                let stream = stream::connect(&session.config, bound).await?;
                Ok(cancel.cancel_query_raw(stream, NoTls).await?)
            }
            Some(tls) => Ok(cancel.cancel_query(tls).await?),
        }
    }
}

/// Why there is no connection: the network's words, or the driver's.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotConnected {
    #[error("{0}")]
    Network(#[from] std::io::Error),
    #[error("{0}")]
    Driver(#[from] tokio_postgres::Error),
}

fn describe(error: &NotConnected) -> String {
    let error = match error {
        NotConnected::Network(error) => return error.to_string(),
        NotConnected::Driver(error) => error,
    };
    match error.as_db_error() {
        Some(db) => db.message().to_owned(),
        None => {
            let source = std::error::Error::source(error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    }
}

pub(super) fn tls(roots: &TlsRoots) -> Result<MakeRustlsConnect, HostError> {
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
