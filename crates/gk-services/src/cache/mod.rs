//! The cache: in memory or in Redis, a namespace for each plugin.
//!
//! An entry may be gone at any time. What must stay belongs into keys and values.

mod memory;
mod methods;
#[cfg(feature = "redis")]
mod redis;

use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use tokio::time::Instant;

pub use self::memory::MemoryCache;
pub(crate) use self::methods::METHODS;
#[cfg(feature = "redis")]
pub use self::redis::RedisCache;

/// Longest key, in bytes of UTF-8. The shortest has one.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// How long an entry lives at most; a longer time is taken as this one.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long an entry lives where neither the plugin nor the operator says.
pub const TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// How the cache behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// How long an entry lives where the plugin does not say; [`TTL_DEFAULT`] by default, at most
    /// [`TTL_MAX`].
    pub default_ttl: Duration,
    /// Bytes of all plugins together, keys and overhead included; 128 MiB by default. In memory
    /// only: Redis has its own `maxmemory`.
    pub max_bytes: u64,
    /// How long Redis may take to connect, and to answer; 2 s by default. A request's deadline may
    /// be earlier.
    pub timeout: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            default_ttl: TTL_DEFAULT,
            max_bytes: 128 * 1024 * 1024,
            timeout: Duration::from_secs(2),
        }
    }
}

impl CacheConfig {
    /// The time an entry lives: none and zero are the default, and more than [`TTL_MAX`] is that.
    fn ttl(&self, wanted: Option<Duration>) -> Duration {
        wanted
            .filter(|ttl| !ttl.is_zero())
            .unwrap_or(self.default_ttl)
            .min(TTL_MAX)
    }
}

/// The service.
#[derive(Debug)]
pub enum Cache {
    /// In this process.
    Memory(MemoryCache),
    /// In a Redis server.
    #[cfg(feature = "redis")]
    Redis(Box<RedisCache>),
}

#[cfg_attr(
    not(feature = "redis"),
    allow(unused_variables, reason = "only Redis uses deadlines")
)]
impl Cache {
    /// A cache in this process.
    #[must_use]
    pub fn memory(config: CacheConfig) -> Self {
        Self::Memory(MemoryCache::new(config))
    }

    /// A cache in the Redis server at `url` (`redis://` or `rediss://`). It connects when it is
    /// used, and again whenever the connection was lost.
    ///
    /// # Errors
    /// Invalid: the URL. The text does not repeat it, as it may hold a password. Unavailable: this
    /// host is built without Redis.
    pub fn redis(url: &str, config: CacheConfig) -> Result<Self, HostError> {
        #[cfg(feature = "redis")]
        return Ok(Self::Redis(Box::new(RedisCache::new(url, config)?)));
        #[cfg(not(feature = "redis"))]
        {
            Err(crate::not_compiled("a cache in Redis", "redis"))
        }
    }

    /// The value of a key, as it was set.
    ///
    /// # Errors
    /// Invalid: a key that is empty or longer than [`KEY_BYTES_MAX`]. Redis only: unavailable, and
    /// timeout.
    #[inline]
    pub async fn get(
        &self,
        plugin: &PluginName,
        key: &str,
        deadline: Instant,
    ) -> Result<Option<Bytes>, HostError> {
        check_key(key)?;
        match self {
            Self::Memory(cache) => Ok(cache.get(plugin, key)),
            // Boxed, so that no other request carries its size.
            #[cfg(feature = "redis")]
            Self::Redis(cache) => Box::pin(cache.get(plugin, key, deadline)).await,
        }
    }

    /// Sets a key. `ttl` is how long it lives: none or zero for the default, [`TTL_MAX`] at most.
    ///
    /// In memory the value is kept as it is, so it should be a buffer of its own.
    ///
    /// # Errors
    /// Invalid: the key. Limit: a value longer than [`VALUE_BYTES_MAX`]. Redis only: unavailable,
    /// and timeout, after which the entry may be there or not.
    pub async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        deadline: Instant,
    ) -> Result<(), HostError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a cached value has at most {VALUE_BYTES_MAX} bytes, not {}",
                value.len()
            )));
        }
        match self {
            Self::Memory(cache) => {
                cache.set(plugin, key, value, ttl);
                Ok(())
            }
            #[cfg(feature = "redis")]
            Self::Redis(cache) => Box::pin(cache.set(plugin, key, &value, ttl, deadline)).await,
        }
    }

    /// Deletes a key, if there is one.
    ///
    /// # Errors
    /// Invalid: the key. Redis only: unavailable, and timeout.
    pub async fn delete(
        &self,
        plugin: &PluginName,
        key: &str,
        deadline: Instant,
    ) -> Result<(), HostError> {
        check_key(key)?;
        match self {
            Self::Memory(cache) => {
                cache.delete(plugin, key);
                Ok(())
            }
            #[cfg(feature = "redis")]
            Self::Redis(cache) => Box::pin(cache.delete(plugin, key, deadline)).await,
        }
    }

    /// Forgets a plugin that is unloaded, and gives its share to the others. In Redis its entries
    /// stay until they expire.
    pub fn forget(&self, plugin: &PluginName) {
        match self {
            Self::Memory(cache) => cache.forget(plugin),
            #[cfg(feature = "redis")]
            Self::Redis(_) => {}
        }
    }
}

#[inline]
fn check_key(key: &str) -> Result<(), HostError> {
    match key.len() {
        0 => Err(HostError::invalid("the key is empty")),
        1..=KEY_BYTES_MAX => Ok(()),
        length => Err(HostError::invalid(format!(
            "a key has at most {KEY_BYTES_MAX} bytes, not {length}"
        ))),
    }
}
