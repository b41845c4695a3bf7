//! What a plugin may do: the operator's stored policy, or the safe default for what nobody reviewed.
//!
//! What a plugin declares (plugin.yaml, registration) is a request and grants nothing by itself. For a
//! plugin without a stored policy the request is cut down to the safe default (`safe.rs`).

mod grants;
mod meter;
mod policies;
mod requests;
mod safe;
mod update;

use gk_manifest::{GoDuration, PermissionKind};

pub use gk_manifest::policy::*;
pub use grants::{Grants, ReadWrite};
pub use meter::Rate;
pub(crate) use policies::{Effective, PluginPolicy};
pub use policies::{Origin, Policies, PolicyView, Usage};
pub use update::{PolicyUpdate, missing};

use crate::api::PluginLimits;
use crate::error::HostError;

/// Mails of one plugin in a minute.
pub const MAILS_PER_MINUTE: u32 = 10;
/// Outgoing HTTP requests of one plugin at the same time.
pub const HTTP_IN_FLIGHT_MAX: usize = 16;
/// Requests of one plugin that use the host's store (`kv_…`, `secure_config_…`) at the same time; more
/// wait. The operator's policies are in the same store and must not wait behind one plugin's.
pub const STORE_REQUESTS_AT_ONCE_MAX: usize = 4;

/// Refuses what cannot be meant. What cannot be read as a scope would grant less than the operator believes.
fn check(policy: &Policy) -> Result<(), HostError> {
    policy.check()?;
    Grants::of(policy).map(drop)
}

/// What of a policy concerns the plugin's process.
pub fn limits(policy: &Policy) -> PluginLimits {
    let timeout = |set: Option<GoDuration>| set.and_then(GoDuration::to_std);
    PluginLimits {
        call_timeout: timeout(policy.call_timeout),
        init_timeout: timeout(policy.init_timeout),
        shutdown_timeout: timeout(policy.shutdown_timeout),
        memory_bytes: (policy.memory_mb > 0).then(|| u64::from(policy.memory_mb) * 1024 * 1024),
        network: policy.status != PolicyStatus::Blocked
            && policy
                .permissions
                .iter()
                .any(|permission| permission.kind() == Some(PermissionKind::Http)),
        restart_on_timeouts: policy.restart_on_timeouts,
    }
}

/// What a plugin's stored policy says of its routes, its requests' bodies and its answers' headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpPolicy {
    /// The largest body of a request in bytes; `None` is the host's default.
    pub body_bytes: Option<usize>,
    /// Whether GET and HEAD are sent once more when the plugin ends before it answers.
    pub retry_safe: bool,
    /// Paths beside its own: a path, or one that ends in `/*`.
    pub routes: Vec<String>,
    /// Further headers of answers.
    pub response_headers: Vec<String>,
}

impl HttpPolicy {
    fn of(policy: &Policy) -> Self {
        let bytes = usize::try_from(policy.body_limit_mb).unwrap_or_default() << 20;
        HttpPolicy {
            body_bytes: (bytes > 0).then_some(bytes),
            retry_safe: policy.retry_safe,
            routes: policy.routes.clone(),
            response_headers: policy.response_headers.clone(),
        }
    }
}
