//! Rates that all hosts keep together, in Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use gk_hostapi::policy::{Rate, SharedRates};
use gk_manifest::PluginName;
use redis::Script;

use crate::redis::Redis;

/// Number of parts of a window. What was taken leaves the window part by part.
const PARTS: u64 = 60;

/// Takes from a rate what is left of it in the window that ends now. KEYS: the plugin's rate. ARGV:
/// limit, number needed, number wanted, microseconds of a part, number of parts. Answers the number granted:
/// what is wanted, what is needed, or nothing.
const TAKE: &str = "
local time = redis.call('TIME')
local need, want = tonumber(ARGV[2]), tonumber(ARGV[3])
local width, parts = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = math.floor((time[1] * 1000000 + time[2]) / width)
local used = 0
local all = redis.call('HGETALL', KEYS[1])
for place = 1, #all, 2 do
    if tonumber(all[place]) <= now - parts then
        redis.call('HDEL', KEYS[1], all[place])
    else
        used = used + tonumber(all[place + 1])
    end
end
local left = tonumber(ARGV[1]) - used
local granted = left >= want and want or left >= need and need or 0
if granted > 0 then
    redis.call('HINCRBY', KEYS[1], string.format('%.0f', now), granted)
    redis.call('PEXPIRE', KEYS[1], math.ceil(width * (parts + 1) / 1000))
end
return granted";

/// The rates of all hosts.
#[derive(Debug)]
pub struct Rates {
    redis: Arc<Redis>,
    take: Script,
    hosts: AtomicU32,
}

impl Rates {
    /// The rates in this Redis.
    #[must_use]
    pub fn new(redis: Arc<Redis>) -> Self {
        Self {
            redis,
            take: Script::new(TAKE),
            hosts: AtomicU32::new(1),
        }
    }

    /// Takes note of the number of hosts.
    pub fn set_hosts(&self, hosts: usize) {
        let hosts = u32::try_from(hosts).unwrap_or(u32::MAX).max(1);
        self.hosts.store(hosts, Ordering::Relaxed);
    }
}

#[async_trait]
impl SharedRates for Rates {
    async fn take(
        &self,
        plugin: &PluginName,
        rate: Rate,
        limit: u32,
        (need, want): (u32, u32),
    ) -> Option<u32> {
        let part = u64::try_from(rate.window().as_micros()).unwrap_or(u64::MAX) / PARTS;
        let mut script = self.take.prepare_invoke();
        script
            .key(format!("gk:cluster:rate:{}:{plugin}", rate.as_str()))
            .arg(limit)
            .arg(need)
            .arg(want)
            .arg(part)
            .arg(PARTS);
        self.redis.run(&script).await.ok()
    }

    fn hosts(&self) -> u32 {
        self.hosts.load(Ordering::Relaxed)
    }
}
