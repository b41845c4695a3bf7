//! Probes a generation while it runs.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gk_manifest::ResourceRequest;

use crate::calls::Instance;
use crate::error::{CallError, PluginError};
use crate::health::{HealthConfig, Probed};
use crate::limits::{DEGRADED_CALLS, HEALTH_FUNCTION_TIMEOUT};
use crate::log::{LogLevel, LogSink};
use crate::metrics;
use crate::registry::Registry;

/// A plugin's own health function, as upstream calls it.
const FUNCTION: &str = "__health_ping__";

/// Number of slots that an interval is divided into.
const SLOTS: u32 = 30;

/// Knowledge about a plugin's own health function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// The function was not called successfully yet.
    Unknown,
    Yes,
    No,
}

/// Probes the plugin as long as it gives signs of life. Returns the reason when it does not.
pub(super) async fn probe(
    registry: Arc<Registry>,
    instance: Option<Arc<Instance>>,
    log: LogSink,
) -> PluginError {
    let Some(instance) = instance else {
        return std::future::pending().await;
    };
    let config = registry.config.health;
    let name = instance.plugin.as_str();
    let (mut own, mut was_degraded) = (Own::Unknown, false);
    loop {
        tokio::time::sleep_until(next(config.interval)).await;
        let is_degraded = instance.health.is_degraded();
        if is_degraded && !was_degraded {
            log.host(
                instance.generation,
                LogLevel::Warn,
                "it is degraded: its last calls all timed out",
            );
        }
        was_degraded = is_degraded;
        let limits = || {
            let request = ResourceRequest::default();
            registry.host_api.limits(&instance.plugin, &request)
        };
        if is_degraded && limits().restart_on_timeouts {
            return PluginError::TimingOut {
                calls: DEGRADED_CALLS,
            };
        }
        let probed = ask(&instance, &config, &mut own).await;
        metrics::probed(
            name,
            match &probed {
                Probed::Missed(_) => "missed",
                Probed::Complains(_) => "complained",
                _ => "ok",
            },
        );
        if let Probed::Missed(error) | Probed::Complains(error) = &probed {
            log.host(
                instance.generation,
                LogLevel::Warn,
                format!("health: {error}"),
            );
        }
        let last = probed.clone();
        let misses = instance.health.probed(probed);
        if let Probed::Missed(reason) = last
            && misses >= config.misses.max(1)
        {
            return PluginError::Unresponsive { misses, reason };
        }
    }
}

async fn ask(instance: &Instance, config: &HealthConfig, own: &mut Own) -> Probed {
    let interval = config.interval;
    let is_alive = instance.health.answered_within(interval, Instant::now());
    if *own == Own::No && is_alive {
        return Probed::Alive;
    }
    if *own != Own::No {
        match instance
            .health_function(FUNCTION, HEALTH_FUNCTION_TIMEOUT)
            .await
        {
            Ok(payload) => {
                *own = Own::Yes;
                return says(payload);
            }
            Err(error) if error.is_unknown_function(FUNCTION) => *own = Own::No,
            Err(CallError::Application { message, .. }) if *own == Own::Yes => {
                return Probed::Complains(format!("its health function says: {message}"));
            }
            Err(error) if *own == Own::Yes && !is_alive => {
                return Probed::Missed(error.to_string());
            }
            // A plugin that does not answer the function counts as one without it: a call that is
            // never answered would be in flight for good.
            Err(CallError::Timeout { .. }) if *own == Own::Unknown => *own = Own::No,
            // The plugin may not know the function, or may be busy: the Ping decides.
            Err(_) => {}
        }
    }
    match instance.ping(config.timeout).await {
        Ok(_) => Probed::Alive,
        Err(error) => Probed::Missed(error.to_string()),
    }
}

/// Result of a health function's answer. An answer that is not JSON is not kept.
fn says(payload: Bytes) -> Probed {
    match serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
        Ok(_) => Probed::Says(payload),
        Err(_) => Probed::Alive,
    }
}

/// Time of the next probe: after the interval, varied by a fifth, at the end of a slot that all
/// plugins share. All probes in one slot wake the host once.
fn next(interval: Duration) -> tokio::time::Instant {
    static BEGUN: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let after = interval.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX));
    let slot = (interval / SLOTS).as_nanos().max(1);
    let at = (BEGUN.elapsed() + after).as_nanos().next_multiple_of(slot);
    // Of centuries there is no need.
    *BEGUN + Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX))
}
