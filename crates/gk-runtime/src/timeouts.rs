//! The timeouts of one plugin: what it asks for, within the host's limits.

use std::time::Duration;

use gk_manifest::ResourceRequest;

use crate::limits::{
    CALL_TIMEOUT_DEFAULT, CALL_TIMEOUT_MAX, INIT_TIMEOUT_DEFAULT, INIT_TIMEOUT_MAX,
    SHUTDOWN_TIMEOUT_DEFAULT, SHUTDOWN_TIMEOUT_MAX, TIMEOUT_MIN,
};

/// The timeouts in force for a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Of one call.
    pub call: Duration,
    /// Of GKRegister and of Init, each.
    pub init: Duration,
    /// Of Shutdown.
    pub shutdown: Duration,
}

impl Timeouts {
    /// What `resources` asks for, clamped to the limits; the defaults where it asks for nothing.
    pub fn from_resources(resources: &ResourceRequest) -> Self {
        let pick = |asked: Option<Duration>, default: Duration, max: Duration| {
            asked.unwrap_or(default).clamp(TIMEOUT_MIN, max)
        };
        Self {
            call: pick(
                resources.call_timeout(),
                CALL_TIMEOUT_DEFAULT,
                CALL_TIMEOUT_MAX,
            ),
            init: pick(
                resources.init_timeout(),
                INIT_TIMEOUT_DEFAULT,
                INIT_TIMEOUT_MAX,
            ),
            shutdown: pick(
                resources.shutdown_timeout(),
                SHUTDOWN_TIMEOUT_DEFAULT,
                SHUTDOWN_TIMEOUT_MAX,
            ),
        }
    }
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
}
