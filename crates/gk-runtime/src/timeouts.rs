//! Limits of one plugin: those of its policy, or else those it asks for, within the host's limits.

use std::time::Duration;

use gk_hostapi::PluginLimits;
use gk_manifest::ResourceRequest;

use crate::limits::{
    CALL_TIMEOUT_DEFAULT, CALL_TIMEOUT_MAX, INIT_TIMEOUT_DEFAULT, INIT_TIMEOUT_MAX, MEMORY_DEFAULT,
    MEMORY_MAX, MEMORY_MIN, SHUTDOWN_TIMEOUT_DEFAULT, SHUTDOWN_TIMEOUT_MAX, TIMEOUT_MIN,
};

/// The timeouts in force for a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Timeout of one call.
    pub call: Duration,
    /// Timeout of GKRegister and of Init, each.
    pub init: Duration,
    /// Timeout of Shutdown.
    pub shutdown: Duration,
}

impl Timeouts {
    /// Returns the timeouts that `resources` asks for, or else the defaults, clamped to the limits.
    pub fn from_resources(resources: &ResourceRequest) -> Self {
        Self::new(resources, &PluginLimits::default())
    }

    /// Returns the timeouts in the policy's `limits`, or else those that `resources` asks for, or
    /// else the defaults, clamped to the limits.
    pub(crate) fn new(resources: &ResourceRequest, limits: &PluginLimits) -> Self {
        let pick = |set: Option<Duration>, asked: Option<Duration>, default: Duration, max| {
            set.or(asked).unwrap_or(default).clamp(TIMEOUT_MIN, max)
        };
        Self {
            call: pick(
                limits.call_timeout,
                resources.call_timeout(),
                CALL_TIMEOUT_DEFAULT,
                CALL_TIMEOUT_MAX,
            ),
            init: pick(
                limits.init_timeout,
                resources.init_timeout(),
                INIT_TIMEOUT_DEFAULT,
                INIT_TIMEOUT_MAX,
            ),
            shutdown: pick(
                limits.shutdown_timeout,
                resources.shutdown_timeout(),
                SHUTDOWN_TIMEOUT_DEFAULT,
                SHUTDOWN_TIMEOUT_MAX,
            ),
        }
    }
}

/// Lists the limits of a policy that are outside of this host's range, with the values that apply
/// instead.
pub fn clamped(limits: &PluginLimits) -> Vec<String> {
    outside(&ResourceRequest::default(), limits)
}

/// Like [`clamped`], including the limits that a plugin asks for where its policy has none.
pub(crate) fn outside(resources: &ResourceRequest, limits: &PluginLimits) -> Vec<String> {
    let in_force = Timeouts::new(resources, limits);
    let timeouts = [
        (
            "call_timeout",
            limits.call_timeout,
            resources.call_timeout(),
            in_force.call,
        ),
        (
            "init_timeout",
            limits.init_timeout,
            resources.init_timeout(),
            in_force.init,
        ),
        (
            "shutdown_timeout",
            limits.shutdown_timeout,
            resources.shutdown_timeout(),
            in_force.shutdown,
        ),
    ];
    let timeouts = timeouts.into_iter().filter_map(|(name, set, asked, used)| {
        let wanted = set.or(asked).filter(|wanted| *wanted != used)?;
        Some(format!("{name} {wanted:?} is taken for {used:?}"))
    });
    let used = memory(resources, limits);
    let bytes = limits.memory_bytes.or(resources.memory_bytes());
    let memory = bytes
        .filter(|wanted| *wanted != used)
        .map(|wanted| format!("memory_mb {} is taken for {}", wanted >> 20, used >> 20));
    timeouts.chain(memory).collect()
}

/// Returns the memory limit of a plugin in bytes: the one in the policy's `limits`, or else the one
/// in its plugin.yaml, or else the default, clamped.
pub(crate) fn memory(resources: &ResourceRequest, limits: &PluginLimits) -> u64 {
    limits
        .memory_bytes
        .or(resources.memory_bytes())
        .unwrap_or(MEMORY_DEFAULT)
        .clamp(MEMORY_MIN, MEMORY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_for_defaulted_and_clamped() {
        let mut resources = ResourceRequest::default();
        let of = Timeouts::from_resources;
        assert_eq!(
            of(&resources),
            Timeouts {
                call: CALL_TIMEOUT_DEFAULT,
                init: INIT_TIMEOUT_DEFAULT,
                shutdown: SHUTDOWN_TIMEOUT_DEFAULT
            }
        );
        resources.call_timeout = "1m30s".into();
        resources.init_timeout = "1ns".into();
        resources.shutdown_timeout = "1000h".into();
        assert_eq!(
            of(&resources),
            Timeouts {
                call: Duration::from_secs(90),
                init: TIMEOUT_MIN,
                shutdown: SHUTDOWN_TIMEOUT_MAX
            }
        );
    }

    #[test]
    fn what_is_taken_for_something_else_is_said() {
        let resources = ResourceRequest {
            call_timeout: "1h".into(),
            init_timeout: "1m".into(),
            memory_mb: 16,
            ..ResourceRequest::default()
        };
        let none = PluginLimits::default();
        assert_eq!(
            outside(&resources, &none),
            [
                "call_timeout 3600s is taken for 600s",
                "memory_mb 16 is taken for 32"
            ]
        );
        let mut limits = PluginLimits::default();
        limits.call_timeout = Some(Duration::from_secs(5));
        limits.memory_bytes = Some(1 << 40);
        assert_eq!(outside(&resources, &limits), clamped(&limits));
        assert_eq!(clamped(&limits), ["memory_mb 1048576 is taken for 4096"]);
        assert_eq!(clamped(&none), Vec::<String>::new());
    }

    #[test]
    fn a_policy_wins_within_the_limits() {
        let mut resources = ResourceRequest {
            call_timeout: "1m".into(),
            init_timeout: "2s".into(),
            memory_mb: 100,
            ..ResourceRequest::default()
        };
        let mut limits = PluginLimits::default();
        assert_eq!(memory(&resources, &limits), 100 << 20);
        limits.call_timeout = Some(Duration::from_secs(5));
        limits.shutdown_timeout = Some(Duration::from_secs(3600));
        limits.memory_bytes = Some(1 << 40);
        assert_eq!(
            Timeouts::new(&resources, &limits),
            Timeouts {
                call: Duration::from_secs(5),
                init: Duration::from_secs(2),
                shutdown: SHUTDOWN_TIMEOUT_MAX
            }
        );
        assert_eq!(memory(&resources, &limits), MEMORY_MAX);
        limits.memory_bytes = Some(1);
        assert_eq!(memory(&resources, &limits), MEMORY_MIN);
        resources.memory_mb = 0;
        assert_eq!(memory(&resources, &PluginLimits::default()), MEMORY_DEFAULT);
    }
}
