//! Policies: what a plugin asks for, and what it is granted.

use gk_manifest::Permission;
use gk_manifest::policy::Policy;
use serde::{Deserialize, Serialize};

/// Origin of the policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyOrigin {
    /// The operator stored it.
    Stored,
    /// Unreviewed plugin: its request, cut down to what is safe.
    Default,
    /// Unreviewed plugin on a host that trusts what plugins declare: its whole request.
    Declared,
    /// Neither registered nor installed: no permissions.
    Unregistered,
    /// The stored policy cannot be read: no permissions.
    Unreadable,
}

impl PolicyOrigin {
    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyOrigin::Stored => "stored",
            PolicyOrigin::Default => "default",
            PolicyOrigin::Declared => "declared",
            PolicyOrigin::Unregistered => "unregistered",
            PolicyOrigin::Unreadable => "unreadable",
        }
    }
}

/// Use of the host API by a plugin, since the host started (contract §7.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Usage {
    /// Requests to the host API.
    pub requests: u64,
    /// Statements that read.
    pub db_queries: u64,
    /// Other statements.
    pub db_execs: u64,
    /// Cache requests.
    pub cache_ops: u64,
    /// Outgoing HTTP requests.
    pub http_requests: u64,
    /// Calls to other plugins.
    pub calls: u64,
    /// Requests refused by the policy or a rate.
    pub errors: u64,
    /// Time of the last request, in milliseconds since 1970; 0 without one.
    pub last_call_at: i64,
}

/// A plugin's policy, with what it asks for and what it has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PolicyView {
    /// Name of the plugin.
    pub plugin_name: String,
    /// Origin of the policy.
    pub origin: PolicyOrigin,
    /// The policy in force.
    pub policy: Policy,
    /// Request of the plugin, as a policy that would grant it.
    pub requested: Policy,
    /// Permissions that the plugin asks for and an approved policy does not grant. Empty for every
    /// other status.
    pub exceeds_grant: Vec<Permission>,
    /// Use of the host API by the plugin.
    pub usage: Usage,
    /// Of a policy that was just set: limits that are beyond what this host gives, and what it
    /// gives instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamped: Vec<String>,
}

/// Request of a plugin, compared with what is granted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PolicyDiff {
    /// Name of the plugin.
    pub plugin_name: String,
    /// The status of the policy in force.
    pub status: String,
    /// Permissions that it asks for and has.
    pub granted: Vec<Permission>,
    /// Permissions that it asks for and does not have.
    pub missing: Vec<Permission>,
    /// Permissions that it has and does not ask for.
    pub extra: Vec<Permission>,
    /// Limits that differ: which one, what is asked for, what is in force.
    pub limits: Vec<LimitDiff>,
    /// The policy that grants what it asks for: send it to `PUT …/policy` to approve exactly this.
    pub approval: serde_json::Value,
}

/// A limit that is not what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LimitDiff {
    /// Name of the limit in a policy.
    pub limit: String,
    /// Value that the plugin asks for.
    pub asked: String,
    /// Value in force.
    pub granted: String,
}
