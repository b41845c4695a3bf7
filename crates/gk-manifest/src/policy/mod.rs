//! The stored policy: permissions and limits that an operator grants a plugin (contract §7.3), and
//! its rules. The meaning of a policy is for the host that enforces it.

mod check;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::duration::GoDuration;
use crate::resources::{Permission, PermissionKind, ResourceRequest};

/// The longest stored policy, in bytes of JSON.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Permissions of one policy.
pub const PERMISSIONS_MAX: usize = 256;
/// Patterns of one permission.
pub const SCOPE_ENTRIES_MAX: usize = 256;
/// The longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;
/// The most memory that can be set, in MiB; what a host gives is less.
pub const MEMORY_MIB_MAX: u32 = 1024 * 1024;
/// The largest body of a request that can be set, in MiB.
pub const BODY_MIB_MAX: u32 = 64;
/// The most calls in flight that can be set for a plugin: half of what a host lets run in it, so
/// that the calls that those make have room, too.
pub const CALLS_IN_FLIGHT_MAX: u32 = 512;
/// The most waiting calls that can be set for a plugin.
pub const CALLS_WAITING_MAX: u32 = 4096;
/// Paths, and headers, of one policy.
pub const HTTP_ENTRIES_MAX: usize = 64;
/// The largest rate that can be set.
pub const RATE_MAX: u32 = 1_000_000;

/// Error of a policy: the problem and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub(crate) String);

/// Decision of the operator about a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyStatus {
    /// Nothing is decided: the safe default of what the plugin asks for, whatever permissions the
    /// policy lists. Rates and limits of the policy hold.
    #[default]
    PendingReview,
    /// The plugin has the permissions that the policy lists. A plugin that later asks for more does
    /// not get it; the log and `exceeds_grant` in the admin API say so.
    Approved,
    /// The plugin has the permissions that the policy lists, knowingly fewer than it asks for: the
    /// difference is not reported.
    Restricted,
    /// The plugin may do nothing, and is not called.
    Blocked,
}

/// A policy, as it is stored and as the API shows it (contract §7.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Decision of the operator.
    pub status: PolicyStatus,
    /// Permissions that are granted. In a policy that is pending review: what the default grants.
    #[serde(default, deserialize_with = "strict")]
    pub permissions: Vec<Permission>,
    /// Calls to other plugins in a second; 0 is unlimited.
    #[serde(default = "default_calls")]
    pub max_calls_per_second: u32,
    /// Statements in a minute, queries and others together; 0 is unlimited.
    #[serde(default = "default_db")]
    pub max_db_queries_per_min: u32,
    /// Outgoing HTTP requests in a minute; 0 is unlimited.
    #[serde(default = "default_http")]
    pub max_http_req_per_min: u32,
    /// Bytes of stored files; 0 is the default of 500 MiB.
    #[serde(default)]
    pub max_file_storage_bytes: u64,
    /// Memory of its process in MiB: what runs within another limit is replaced; 0 leaves it to
    /// what the plugin asks for.
    #[serde(default)]
    pub memory_mb: u32,
    /// Maximum duration of a call, from the next call on; `None` leaves it to what the plugin asks
    /// for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_timeout: Option<GoDuration>,
    /// Maximum duration of a run of one of its jobs, from the next run on; `None` leaves it to the
    /// job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_timeout: Option<GoDuration>,
    /// Maximum duration of GKRegister and of Init, each, from the next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_timeout: Option<GoDuration>,
    /// Maximum duration of Shutdown, of processes that start from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_timeout: Option<GoDuration>,
    /// `true` if it is started anew when all its calls time out: the last 20 or more, for a minute.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart_on_timeouts: bool,
    /// `true` if GET and HEAD requests to its routes are sent once more when its process ends
    /// before it answers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retry_safe: bool,
    /// Calls into it that run at the same time, up to [`CALLS_IN_FLIGHT_MAX`]; 0 is the host's
    /// default of 64. It applies from the next call on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_calls_in_flight: u32,
    /// Calls that wait for one of those to end, up to [`CALLS_WAITING_MAX`]; 0 is the host's
    /// default of 256. It applies from the next call on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_calls_waiting: u32,
    /// The largest body of a request to its routes in MiB, up to [`BODY_MIB_MAX`]; 0 is the host's
    /// default of 4.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub body_limit_mb: u32,
    /// Paths beside its own that it may serve: `/webhook`, or `/shop/*` for all below. Never the
    /// host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Headers that its answers may have beyond the host's list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

const fn default_calls() -> u32 {
    100
}

const fn default_db() -> u32 {
    600
}

const fn default_http() -> u32 {
    60
}

impl Default for Policy {
    /// A policy that grants nothing, with the default rates.
    fn default() -> Self {
        Policy {
            status: PolicyStatus::PendingReview,
            permissions: Vec::new(),
            max_calls_per_second: default_calls(),
            max_db_queries_per_min: default_db(),
            max_http_req_per_min: default_http(),
            max_file_storage_bytes: 0,
            memory_mb: 0,
            call_timeout: None,
            job_timeout: None,
            init_timeout: None,
            shutdown_timeout: None,
            restart_on_timeouts: false,
            retry_safe: false,
            max_calls_in_flight: 0,
            max_calls_waiting: 0,
            body_limit_mb: 0,
            routes: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

impl Policy {
    /// Reads a policy from JSON and checks it. Unlike in a plugin's request, nothing unknown is let
    /// through: an operator who mistypes a permission must learn so.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_json(json: &[u8]) -> Result<Self, PolicyError> {
        if json.len() > POLICY_BYTES_MAX {
            return Err(PolicyError(format!(
                "a policy has at most {POLICY_BYTES_MAX} bytes of JSON, not {}",
                json.len()
            )));
        }
        let policy: Policy = serde_json::from_slice(json)
            .map_err(|error| PolicyError(format!("the policy cannot be read: {error}")))?;
        policy.check()?;
        Ok(policy)
    }

    /// Everything a plugin asks for, as a policy.
    pub fn of_request(request: &ResourceRequest) -> Self {
        let timeout = |asked: Option<Duration>| asked.and_then(|asked| asked.try_into().ok());
        // A scope where there is none means nothing; a policy must not have one.
        let permission = |asked: &Permission| Permission {
            scope: match asked.kind().is_none_or(PermissionKind::has_scope) {
                true => asked.scope.clone(),
                false => Vec::new(),
            },
            ..asked.clone()
        };
        Policy {
            permissions: request.permissions.iter().map(permission).collect(),
            max_file_storage_bytes: request.file_storage_bytes().unwrap_or(0),
            memory_mb: u32::try_from(request.memory_mb)
                .unwrap_or(0)
                .min(MEMORY_MIB_MAX),
            call_timeout: timeout(request.call_timeout()),
            init_timeout: timeout(request.init_timeout()),
            shutdown_timeout: timeout(request.shutdown_timeout()),
            ..Policy::default()
        }
    }
}

/// A permission of which every key is known. A plugin's request is read more leniently; here an
/// unknown key would be a mistyped `scope`, and the permission would grant everything.
#[derive(Debug)]
pub struct StrictPermission(pub Permission);

impl<'de> Deserialize<'de> for StrictPermission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            r#type: String,
            #[serde(default)]
            access: String,
            #[serde(default)]
            scope: Vec<String>,
        }
        // A derived type would take a list of the fields' values, too.
        struct Object;
        impl<'de> serde::de::Visitor<'de> for Object {
            type Value = Strict;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a permission: an object with `type`, and `access` and `scope` as needed",
                )
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Strict, A::Error> {
                Strict::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        let strict = deserializer.deserialize_map(Object)?;
        Ok(StrictPermission(Permission {
            kind_name: strict.r#type,
            access: strict.access,
            scope: strict.scope,
        }))
    }
}

/// Reads `permissions` of a stored policy.
fn strict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Permission>, D::Error> {
    let strict = Vec::<StrictPermission>::deserialize(deserializer)?;
    Ok(strict.into_iter().map(|permission| permission.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_strictly() {
        let policy = Policy::from_json(
            br#"{"status":"approved","permissions":[{"type":"db","access":"read","scope":["t_*"]}],"call_timeout":"1m30s","memory_mb":64}"#,
        )
        .unwrap();
        assert_eq!(
            (policy.max_db_queries_per_min, policy.max_http_req_per_min),
            (600, 60)
        );
        let again = Policy::from_json(&serde_json::to_vec(&policy).unwrap()).unwrap();
        assert_eq!(policy, again);
        for (json, says) in [
            (r#"{}"#, "status"),
            (r#"{"status":"fine"}"#, "fine"),
            (r#"{"status":"approved","permisions":[]}"#, "permisions"),
            (r#"{"status":"approved","call_timeout":"soon"}"#, "soon"),
            (
                r#"{"status":"approved","call_timeout":5}"#,
                "expected a duration",
            ),
            (
                r#"{"status":"approved","init_timeout":"0s"}"#,
                "more than 0s",
            ),
            (
                r#"{"status":"approved","shutdown_timeout":"-1s"}"#,
                "more than 0s",
            ),
            (r#"{"status":"approved","memory_mb":1048577}"#, "1048576"),
            (r#"{"status":"approved","memory_mb":-1}"#, "-1"),
            (
                r#"{"status":"approved","permissions":[{"type":"dbx"}]}"#,
                "dbx",
            ),
            (
                r#"{"status":"approved","permissions":[{"type":"db","access":"reed"}]}"#,
                "reed",
            ),
            (
                r#"{"status":"approved","permissions":[{"type":"db","access":""}]}"#,
                "readwrite",
            ),
            (
                r#"{"status":"approved","permissions":[{"type":"db","access":"read","scope":[""]}]}"#,
                "1 to 512",
            ),
            (
                r#"{"status":"approved","permissions":[{"type":"file","access":"read","scope":["a"]}]}"#,
                "no scope",
            ),
            (
                r#"{"status":"approved","max_calls_in_flight":513}"#,
                "max_calls_in_flight is at most 512",
            ),
            (
                r#"{"status":"approved","max_calls_waiting":4097}"#,
                "max_calls_waiting is at most 4096",
            ),
            (r#"{"status":"approved","body_limit_mb":65}"#, "at most 64"),
            (r#"{"status":"approved","routes":["x"]}"#, "no path"),
            (r#"{"status":"approved","routes":["/"]}"#, "no path"),
            (r#"{"status":"approved","routes":["/a/*/b"]}"#, "no path"),
            (r#"{"status":"approved","routes":["/a/../b"]}"#, "no path"),
            (
                r#"{"status":"approved","response_headers":["A b"]}"#,
                "no header",
            ),
            (
                r#"{"status":"approved","max_calls_per_second":1000001}"#,
                "1000000",
            ),
        ] {
            let error = Policy::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
        let long = vec![b' '; POLICY_BYTES_MAX + 1];
        assert!(
            Policy::from_json(&long)
                .unwrap_err()
                .to_string()
                .contains("65537")
        );
    }
}
