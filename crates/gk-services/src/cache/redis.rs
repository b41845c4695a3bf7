//! The cache in a Redis server.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::CacheConfig;

/// Requests that wait for the server's answer; the next ones wait for a place. It bounds what a
/// server that hangs can make the host hold.
pub const IN_FLIGHT_MAX: usize = 128;

/// The cache in Redis: a connection for all requests, made when it is needed or was lost.
pub struct RedisCache {
    client: Client,
    config: CacheConfig,
    /// Held while connecting, so that a server that is down is asked once and not by everybody.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Counts connections: who meets an error drops only the connection it used.
    epoch: AtomicU64,
}

impl RedisCache {
    pub(super) fn new(url: &str, config: CacheConfig) -> Result<Self, HostError> {
        let client = Client::open(url).map_err(|_| {
            HostError::invalid(
                "the cache's URL is none of Redis: \
                 redis://[user:password@]host[:port][/database], or rediss:// for TLS",
            )
        })?;
        Ok(Self {
            client,
            config,
            connection: Mutex::new(None),
            epoch: AtomicU64::new(0),
        })
    }

    pub(super) async fn get(
        &self,
        plugin: &PluginName,
        key: &str,
        deadline: Instant,
    ) -> Result<Option<Bytes>, HostError> {
        let mut command = redis::cmd("GET");
        command.arg(namespaced(plugin, key));
        let value: Option<Vec<u8>> = self.ask(&command, deadline).await?;
        Ok(value.map(Bytes::from))
    }

    pub(super) async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        deadline: Instant,
    ) -> Result<(), HostError> {
        let ttl_ms = u64::try_from(self.config.ttl(ttl).as_millis()).unwrap_or(u64::MAX);
        let mut command = redis::cmd("SET");
        // Redis refuses a time of zero.
        command
            .arg(namespaced(plugin, key))
            .arg(value)
            .arg("PX")
            .arg(ttl_ms.max(1));
        self.ask(&command, deadline).await
    }

    pub(super) async fn delete(
        &self,
        plugin: &PluginName,
        key: &str,
        deadline: Instant,
    ) -> Result<(), HostError> {
        let mut command = redis::cmd("DEL");
        command.arg(namespaced(plugin, key));
        self.ask::<i64>(&command, deadline).await.map(drop)
    }

    async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<T, HostError> {
        let own = Instant::now() + self.config.timeout;
        let until = own.min(deadline);
        let asking = async {
            let (mut connection, epoch) =
                self.connect().await.map_err(|error| unavailable(&error))?;
            match command.query_async(&mut connection).await {
                Ok(value) => Ok(value),
                Err(error) => {
                    if error.is_unrecoverable_error() || error.is_io_error() {
                        self.lost(epoch).await;
                    }
                    Err(unavailable(&error))
                }
            }
        };
        match timeout_at(until, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                // A request that waited the whole time has seen that this connection leads nowhere;
                // a deadline of the caller's that was too short says nothing about it.
                if until == own {
                    self.lost(self.epoch.load(Ordering::Relaxed)).await;
                }
                Err(HostError::timeout("the cache did not answer in time"))
            }
        }
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok((connection.clone(), self.epoch.load(Ordering::Relaxed)));
        }
        let config = AsyncConnectionConfig::new()
            // `ask` has the time for both, and knows whose deadline it was that passed.
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_concurrency_limit(IN_FLIGHT_MAX);
        let new = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        *connection = Some(new.clone());
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        Ok((new, epoch))
    }

    /// Drops the connection, unless somebody has made a new one meanwhile.
    async fn lost(&self, epoch: u64) {
        // The holder of the lock is connecting.
        if let Ok(mut connection) = self.connection.try_lock()
            && self.epoch.load(Ordering::Relaxed) == epoch
        {
            *connection = None;
        }
    }
}

/// The key in the server. The plugin's length stands before it, so no key of one plugin can read as
/// one of another, whatever names may hold some day.
fn namespaced(plugin: &PluginName, key: &str) -> Vec<u8> {
    let plugin = plugin.as_str();
    format!("gk:cache:{}:{plugin}:{key}", plugin.len()).into_bytes()
}

/// The server's address and the client's text may name what a plugin and a log must not show; the
/// kind says enough.
fn unavailable(error: &RedisError) -> HostError {
    tracing::warn!(kind = ?error.kind(), "the cache's server failed");
    if error.is_timeout() {
        HostError::timeout("the cache did not answer in time")
    } else {
        HostError::unavailable("the cache's server cannot be reached or refuses the request")
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the client: its URL holds the password.
        f.debug_struct("RedisCache")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_reads_as_another_plugins() {
        let key = |plugin: &str, key| namespaced(&PluginName::new(plugin).unwrap(), key);
        assert_eq!(key("a", "b:c"), b"gk:cache:1:a:b:c");
        assert_ne!(key("a", "b:c"), key("ab", "c"));
        assert_ne!(key("a", "1:b:c"), key("a-b", "c"));
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        for url in ["http://:secret@x/", "redis//:secret", ""] {
            let error = RedisCache::new(url, CacheConfig::default()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let cache = RedisCache::new("redis://:secret@localhost", CacheConfig::default()).unwrap();
        assert!(!format!("{cache:?}").contains("secret"));
    }
}
