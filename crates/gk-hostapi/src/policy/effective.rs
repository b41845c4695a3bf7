//! The policy in force: what follows from a stored policy, the safe default, and what the plugin
//! asks for. Pure.

use std::collections::BTreeSet;

use gk_manifest::{Permission, PluginName};
use serde::Serialize;

use super::safe::safe_default;
use super::{Grants, Policy, PolicyStatus, missing};
use crate::error::HostError;

/// The source of a policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The operator stored it.
    Stored,
    /// The plugin is not reviewed: its request, cut down to what is safe.
    Default,
    /// The plugin is not reviewed, and the host trusts what plugins declare.
    Declared,
    /// The plugin is neither registered nor installed: nothing is granted.
    Unregistered,
    /// The stored policy cannot be read: nothing is granted.
    Unreadable,
}

/// A policy in force.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) policy: Policy,
    pub(crate) origin: Origin,
    pub(crate) grants: Grants,
}

impl Effective {
    fn new(policy: Policy, origin: Origin) -> Result<Self, HostError> {
        Ok(Effective {
            grants: Grants::of(&policy)?,
            policy,
            origin,
        })
    }

    /// No grants at all.
    pub(super) fn nothing(origin: Origin) -> Self {
        Effective {
            policy: Policy::default(),
            origin,
            grants: Grants::default(),
        }
    }

    /// A policy that is stored and cannot be read. It may say that the plugin is blocked.
    pub(super) fn unreadable() -> Self {
        let mut nothing = Effective::nothing(Origin::Unreadable);
        nothing.policy.status = PolicyStatus::Blocked;
        nothing
    }

    /// Returns whether the policy blocks the plugin.
    pub(crate) fn is_blocked(&self) -> bool {
        self.policy.status == PolicyStatus::Blocked
    }

    /// Returns whether the policy is the operator's, readable or not.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self.origin, Origin::Stored | Origin::Unreadable)
    }
}

/// The policy that applies: the stored one, or the default where none is stored or nothing is
/// decided yet.
pub(super) fn in_force(
    trust_declared: bool,
    plugin: &PluginName,
    stored: Option<Policy>,
    request: Policy,
    installed: &BTreeSet<PluginName>,
) -> Effective {
    let stored = match stored {
        Some(policy) if policy.status != PolicyStatus::PendingReview => {
            return compiled(plugin, policy, Origin::Stored);
        }
        pending => pending,
    };
    let (default, origin) = match trust_declared {
        true => (request, Origin::Declared),
        false => (safe_default(plugin, &request, installed), Origin::Default),
    };
    match stored {
        None => compiled(plugin, default, origin),
        Some(pending) => {
            let permissions = default.permissions;
            let policy = Policy {
                permissions,
                ..pending
            };
            compiled(plugin, policy, Origin::Stored)
        }
    }
}

fn compiled(plugin: &PluginName, policy: Policy, origin: Origin) -> Effective {
    let blocked = policy.status == PolicyStatus::Blocked;
    Effective::new(policy, origin).unwrap_or_else(|error| {
        tracing::warn!(
            %plugin, %error,
            "the permissions cannot be read as a policy; the plugin has nothing"
        );
        match blocked {
            true => Effective::unreadable(),
            false => Effective::nothing(origin),
        }
    })
}

/// The permissions that an approved plugin asks for beyond those it was granted.
pub(super) fn exceeds_grant(policy: &Policy, request: &Policy) -> Vec<Permission> {
    match policy.status {
        PolicyStatus::Approved => missing(&request.permissions, &policy.permissions),
        _ => Vec::new(),
    }
}
