//! Policies: the operator's stored ones, and the safe default for plugins that are not reviewed.
//!
//! What a plugin declares (plugin.yaml, registration) is a request and grants nothing by itself.
//! For a plugin without a stored policy the request is cut down to the safe default (`safe.rs`).

mod effective;
mod grants;
mod plugin;
mod policies;
mod queue;
mod rate;
mod requests;
mod safe;
mod store;
mod update;
mod usage;

use gk_manifest::{GoDuration, PermissionKind};

pub(crate) use effective::Effective;
pub use effective::Origin;
pub use gk_manifest::policy::*;
pub use grants::{Grants, ReadWrite, Scoped};
pub(crate) use plugin::PluginPolicy;
pub use policies::{Policies, PolicyView};
pub use queue::{
    FILES_AT_ONCE_MAX, HTTP_IN_FLIGHT_MAX, Queue, STATEMENTS_AT_ONCE_MAX,
    STORE_REQUESTS_AT_ONCE_MAX,
};
pub use rate::{Rate, SharedRates};
pub use store::{MemoryPolicyStore, PolicyStore, Settle};
pub use update::{PolicyUpdate, missing};
pub use usage::{Counter, Usage};

use crate::api::PluginLimits;
use crate::error::HostError;

/// The most mails of one plugin in a minute.
pub const MAILS_PER_MINUTE: u32 = 10;

/// Refuses a policy that cannot be meant: a scope that cannot be read would grant less than the
/// operator believes.
fn check(policy: &Policy) -> Result<(), HostError> {
    policy.check()?;
    Grants::of(policy).map(drop)
}

/// The limits that a policy sets to the plugin's process.
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

/// The part of a plugin's stored policy about routes, bodies of requests and headers of answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpPolicy {
    /// The largest body of a request in bytes; `None` is the host's default.
    pub body_bytes: Option<usize>,
    /// Set if requests by GET and HEAD are sent once more when the plugin ends before it answers.
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
