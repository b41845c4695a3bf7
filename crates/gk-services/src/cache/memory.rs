//! The cache in this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use gk_manifest::PluginName;
use moka::Expiry;
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;

use super::CacheConfig;

/// The cost of an entry besides its key and value: nodes, links and hash table of the cache.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// The cache is split into this many shares, and into twice as many whenever there are more plugins
/// that use it.
const SHARES_MIN: usize = 4;

/// A value of this size is accounted for at once, a smaller one with the next few: what is not yet
/// accounted for stays below a few MiB in all.
const ACCOUNT_AT_ONCE_BYTES: usize = 8 * 1024;

#[derive(Clone)]
struct Entry {
    value: Bytes,
    expires: Instant,
}

/// An entry's own time to live.
struct OwnTtl;

impl Expiry<Box<str>, Entry> for OwnTtl {
    fn expire_after_create(&self, _: &Box<str>, entry: &Entry, now: Instant) -> Option<Duration> {
        Some(entry.expires.saturating_duration_since(now))
    }

    fn expire_after_update(
        &self,
        _: &Box<str>,
        entry: &Entry,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.expires.saturating_duration_since(now))
    }
}

type Key = Box<str>;
type Share = moka::sync::Cache<Key, Entry>;

/// The shares of the plugins. Each is a cache of its own, so a plugin can neither see nor evict
/// another's entries.
#[derive(Default)]
struct Shares {
    /// Into how many the whole is split; a power of two that is not below the number of plugins.
    parts: usize,
    by_plugin: HashMap<PluginName, Share>,
}

/// A cache bounded by bytes, over all plugins and for each: `max_bytes` is split evenly among the
/// plugins that use the cache, rounded up to 4, 8, 16 … shares. Within a share what was not used
/// for longest goes first. An entry larger than the share is not kept.
pub struct MemoryCache {
    config: CacheConfig,
    shares: ArcSwap<Shares>,
    /// Held while the shares are made anew.
    changing: Mutex<()>,
}

impl MemoryCache {
    pub(super) fn new(config: CacheConfig) -> Self {
        Self {
            config,
            shares: ArcSwap::from_pointee(Shares {
                parts: SHARES_MIN,
                by_plugin: HashMap::new(),
            }),
            changing: Mutex::new(()),
        }
    }

    /// Two look-ups and no allocation.
    #[inline]
    pub(super) fn get(&self, plugin: &PluginName, key: &str) -> Option<Bytes> {
        let shares = self.shares.load();
        let entry = shares.by_plugin.get(plugin)?.get(key)?;
        Some(entry.value)
    }

    pub(super) fn set(&self, plugin: &PluginName, key: &str, value: Bytes, ttl: Option<Duration>) {
        let large = value.len() >= ACCOUNT_AT_ONCE_BYTES;
        let expires = Instant::now() + self.config.ttl(ttl);
        let entry = Entry { value, expires };
        let insert = |share: &Share| {
            share.insert(Box::from(key), entry);
            if large {
                share.run_pending_tasks();
            }
        };
        match self.shares.load().by_plugin.get(plugin) {
            Some(share) => insert(share),
            None => insert(&self.join(plugin)),
        }
    }

    pub(super) fn delete(&self, plugin: &PluginName, key: &str) {
        if let Some(share) = self.shares.load().by_plugin.get(plugin) {
            share.invalidate(key);
        }
    }

    pub(super) fn forget(&self, plugin: &PluginName) {
        let _changing = self.changing.lock();
        let shares = self.shares.load();
        if !shares.by_plugin.contains_key(plugin) {
            return;
        }
        let mut by_plugin = shares.by_plugin.clone();
        by_plugin.remove(plugin);
        self.change(&shares, by_plugin);
    }

    /// Gives a plugin its share, and everybody a smaller one if there are too few.
    fn join(&self, plugin: &PluginName) -> Share {
        let _changing = self.changing.lock();
        let shares = self.shares.load();
        if let Some(share) = shares.by_plugin.get(plugin) {
            return share.clone();
        }
        let mut by_plugin = shares.by_plugin.clone();
        let share = self.share(parts(by_plugin.len() + 1));
        by_plugin.insert(plugin.clone(), share.clone());
        self.change(&shares, by_plugin);
        share
    }

    /// Puts the new set of plugins in place. Where the size of a share changes, entries move over;
    /// one that is set meanwhile may get lost, as in a cache any entry may.
    fn change(&self, before: &Shares, mut by_plugin: HashMap<PluginName, Share>) {
        let parts = parts(by_plugin.len());
        if parts != before.parts {
            for (plugin, share) in &mut by_plugin {
                if !before.by_plugin.contains_key(plugin) {
                    continue;
                }
                let resized = self.share(parts);
                for (key, entry) in share.iter() {
                    resized.insert(Box::from(&**key), entry);
                }
                *share = resized;
            }
        }
        self.shares.store(Arc::new(Shares { parts, by_plugin }));
    }

    fn share(&self, parts: usize) -> Share {
        moka::sync::Cache::builder()
            .max_capacity(self.config.max_bytes / parts.max(1) as u64)
            .weigher(|key: &Key, entry: &Entry| {
                let bytes = key.len() + entry.value.len() + ENTRY_OVERHEAD_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            // An entry that was just set must be found: the default policy may refuse a newcomer.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(OwnTtl)
            .build()
    }
}

fn parts(plugins: usize) -> usize {
    plugins.next_power_of_two().max(SHARES_MIN)
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("config", &self.config)
            .field("plugins", &self.shares.load().by_plugin.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str) -> PluginName {
        PluginName::new(name).unwrap()
    }

    fn cache(max_bytes: u64) -> MemoryCache {
        MemoryCache::new(CacheConfig {
            max_bytes,
            ..CacheConfig::default()
        })
    }

    fn kept(cache: &MemoryCache, plugin: &PluginName) -> u64 {
        let shares = cache.shares.load();
        let Some(share) = shares.by_plugin.get(plugin) else {
            return 0;
        };
        share.run_pending_tasks();
        share.weighted_size()
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let (cache, p) = (cache(1 << 20), plugin("p"));
        for value in [&b""[..], b"\0\xff\"quoted\"", &[7; 5000]] {
            cache.set(&p, "k", Bytes::copy_from_slice(value), None);
            assert_eq!(cache.get(&p, "k").unwrap(), value);
        }
        cache.delete(&p, "k");
        assert_eq!(cache.get(&p, "k"), None);
    }

    #[test]
    fn an_entry_expires_on_its_own_time() {
        let (cache, p) = (cache(1 << 20), plugin("p"));
        let set = Instant::now();
        let short = Duration::from_millis(30);
        cache.set(&p, "short", Bytes::new(), Some(short));
        cache.set(&p, "long", Bytes::new(), Some(Duration::from_secs(600)));
        cache.set(&p, "default", Bytes::new(), Some(Duration::ZERO));
        while cache.get(&p, "short").is_some() {
            assert!(set.elapsed() < Duration::from_secs(120), "it never expires");
            std::thread::yield_now();
        }
        assert!(cache.get(&p, "long").is_some() && cache.get(&p, "default").is_some());
        // The time that is left moves along when shares are resized.
        cache.set(&p, "short", Bytes::new(), Some(short));
        for n in 0..5 {
            cache.set(&plugin(&n.to_string()), "k", Bytes::new(), None);
        }
        assert!(cache.get(&p, "long").is_some());
        while cache.get(&p, "short").is_some() {
            assert!(set.elapsed() < Duration::from_secs(120), "it never expires");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_greedy_plugin_evicts_itself_alone() {
        let cache = cache(4 << 20);
        let (greedy, modest) = (plugin("greedy"), plugin("modest"));
        cache.set(&modest, "k", Bytes::from_static(b"still here"), None);
        for n in 0..4096 {
            cache.set(&greedy, &n.to_string(), Bytes::from(vec![0; 4096]), None);
        }
        assert!(kept(&cache, &greedy) <= 1 << 20);
        assert_eq!(cache.get(&modest, "k").unwrap(), "still here");
        assert_eq!(cache.get(&greedy, "0"), None);
        assert!(cache.get(&greedy, "4095").is_some());
    }

    #[test]
    fn all_plugins_together_stay_within_the_bound() {
        let max = 8 << 20;
        let cache = cache(max);
        let plugins: Vec<_> = (0..33).map(|n| plugin(&format!("p{n}"))).collect();
        for _ in 0..2 {
            for p in &plugins {
                for n in 0..20 {
                    cache.set(p, &n.to_string(), Bytes::from(vec![0; 32 * 1024]), None);
                }
            }
        }
        let all: u64 = plugins.iter().map(|p| kept(&cache, p)).sum();
        assert!(all <= max && all >= max / 4, "{all}");
        assert_eq!(cache.shares.load().parts, 64);
        for p in &plugins[1..] {
            cache.forget(p);
        }
        assert_eq!(cache.shares.load().parts, SHARES_MIN);
        assert!(cache.get(&plugins[0], "19").is_some());
        assert!(cache.get(&plugins[1], "19").is_none());
    }
}
