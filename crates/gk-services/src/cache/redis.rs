//! The cache in a Redis server.

use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::time::{Instant, timeout_at};

use super::CacheConfig;
use crate::redis::RedisServer;

/// The cache in Redis.
#[derive(Debug)]
pub struct RedisCache {
    server: RedisServer,
    config: CacheConfig,
}

impl RedisCache {
    pub(super) fn new(url: &str, config: CacheConfig) -> Result<Self, HostError> {
        let server = RedisServer::new(url).map_err(|error| error.prefixed("the cache: "))?;
        Ok(Self { server, config })
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
            let (mut connection, epoch) = self
                .server
                .connection()
                .await
                .map_err(|error| unavailable(&error))?;
            match command.query_async(&mut connection).await {
                Ok(value) => Ok(value),
                Err(error) => {
                    if error.is_unrecoverable_error() || error.is_io_error() {
                        self.server.lost(epoch);
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
                    self.server.lost(self.server.epoch());
                }
                Err(HostError::timeout("the cache did not answer in time"))
            }
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
