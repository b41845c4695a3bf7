//! A connection to a Redis server, which all requests share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use gk_hostapi::HostError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::Mutex;

/// Requests that wait for the server's answer; the next ones wait for a place. It bounds what a
/// server that hangs can make the host hold.
pub const IN_FLIGHT_MAX: usize = 128;

/// A server, and one connection for all requests, made when it is needed or was lost. Neither has a
/// time limit: who asks has one for both.
pub struct RedisServer {
    client: Client,
    /// Held while connecting, so that a server that is down is asked once and not by everybody.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Counts connections: who meets an error drops only the connection it used.
    epoch: AtomicU64,
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: its URL holds the password.
        f.debug_struct("RedisServer").finish_non_exhaustive()
    }
}

impl RedisServer {
    /// Reads the URL; connects to nothing.
    ///
    /// # Errors
    /// Invalid: the URL, which the error does not repeat.
    pub fn new(url: &str) -> Result<Self, HostError> {
        let client = Client::open(url).map_err(|_| {
            HostError::invalid(
                "the URL is none of Redis: redis://[user:password@]host[:port][/database], or \
                 rediss:// for TLS",
            )
        })?;
        Ok(Self {
            client,
            connection: Mutex::new(None),
            epoch: AtomicU64::new(0),
        })
    }

    /// The connection, and its number.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok((connection.clone(), self.epoch()));
        }
        let new = self.connect(Some(IN_FLIGHT_MAX)).await?;
        *connection = Some(new.clone());
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        Ok((new, epoch))
    }

    /// A connection of its own, for requests that the server holds back.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn own_connection(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connect(None).await
    }

    async fn connect(&self, in_flight: Option<usize>) -> Result<MultiplexedConnection, RedisError> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        if let Some(in_flight) = in_flight {
            config = config.set_concurrency_limit(in_flight);
        }
        let client = &self.client;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Number of the latest connection.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Drops the connection of this number, unless somebody has made a new one meanwhile.
    pub fn lost(&self, epoch: u64) {
        // The holder of the lock is connecting.
        if let Ok(mut connection) = self.connection.try_lock()
            && self.epoch() == epoch
        {
            *connection = None;
        }
    }
}
