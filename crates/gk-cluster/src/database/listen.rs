//! The connection that listens.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::NoTls;
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::{Database, told};

/// Time before the next attempt after a connection broke.
const RETRY: Duration = Duration::from_secs(1);

impl Database {
    /// Hears what the database tells, for ever. Without a connection whoever waits finds out by
    /// looking.
    pub(crate) async fn listen(&self) {
        loop {
            let server = &self.inner.server;
            let heard = match server.tls.clone() {
                Some(tls) => match server.config.connect(tls).await {
                    Ok((client, connection)) => self.hear(client, connection).await,
                    Err(error) => Err(error),
                },
                None => match server.config.connect(NoTls).await {
                    Ok((client, connection)) => self.hear(client, connection).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = heard {
                tracing::debug!(error = %told(&error), "the shared database is not heard");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Hears until the connection ends.
    async fn hear<S, T>(
        &self,
        client: Client,
        mut connection: Connection<S, T>,
    ) -> Result<(), tokio_postgres::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let listen = async {
            client
                .batch_execute("LISTEN gk_changed; LISTEN gk_applied; LISTEN gk_jobs")
                .await?;
            // What was told before is to be looked for.
            self.tell(None);
            // The connection ends with its client.
            std::future::pending::<Result<(), tokio_postgres::Error>>().await
        };
        let hear = async {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message? {
                    self.tell(Some(notification.channel()));
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = hear => ended,
            ended = listen => ended,
        }
    }

    /// Tells those who wait for this channel, or for any.
    fn tell(&self, channel: Option<&str>) {
        let signals = self.signals();
        for (name, signal) in [
            ("gk_changed", &signals.changed),
            ("gk_applied", &signals.applied),
            ("gk_jobs", &signals.jobs),
        ] {
            if channel.is_none_or(|channel| channel == name) {
                signal.send_replace(());
            }
        }
    }
}
