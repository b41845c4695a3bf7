//! The connection to Redis, which carries what may be lost.

use std::fmt;
use std::time::Duration;

use gk_hostapi::HostError;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, ScriptInvocation};
use tokio::time::{Instant, timeout};

/// Maximum time for an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for which Redis is not asked after it could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of requests that wait for an answer.
const IN_FLIGHT_MAX: usize = 256;

/// Why Redis did not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It was not asked.
    NotAsked,
    /// It may have done it.
    InDoubt,
}

/// A Redis server. One connection carries all requests.
pub struct Redis {
    client: Client,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    asked_again_at: Mutex<Option<Instant>>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: its URL holds the password.
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
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
            connection: tokio::sync::Mutex::new(None),
            asked_again_at: Mutex::new(None),
        })
    }

    /// Runs a script.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Unanswered> {
        if self
            .asked_again_at
            .lock()
            .is_some_and(|at| Instant::now() < at)
        {
            return Err(Unanswered::NotAsked);
        }
        let mut connection = match timeout(ANSWER_TIMEOUT, self.connected()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                self.failed(&error);
                return Err(Unanswered::NotAsked);
            }
            Err(_) => {
                self.failed(&"it does not take connections in time");
                return Err(Unanswered::NotAsked);
            }
        };
        match timeout(ANSWER_TIMEOUT, script.invoke_async(&mut connection)).await {
            Ok(Ok(value)) => {
                *self.asked_again_at.lock() = None;
                Ok(value)
            }
            Ok(Err(error)) => {
                self.failed(&error);
                self.forget();
                Err(Unanswered::InDoubt)
            }
            Err(_) => {
                self.failed(&"it does not answer in time");
                self.forget();
                Err(Unanswered::InDoubt)
            }
        }
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_concurrency_limit(IN_FLIGHT_MAX);
        let client = &self.client;
        let new = client.get_multiplexed_async_connection_with_config(&config);
        let new = new.await?;
        *connection = Some(new.clone());
        Ok(new)
    }

    /// A connection of its own, for requests that wait in the server.
    pub(crate) async fn own_connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(None);
        let client = &self.client;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Lets the next request make a new connection.
    fn forget(&self) {
        // Whoever holds the lock is connecting.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    fn failed(&self, error: &dyn fmt::Display) {
        let mut asked_again_at = self.asked_again_at.lock();
        if asked_again_at.is_none() {
            tracing::warn!(%error, "Redis cannot be used: events and rates are this host's own");
        }
        *asked_again_at = Some(Instant::now() + PAUSE);
    }
}
