//! Changes of a policy as an operator sends them: a policy, parts of which may be left out.

use gk_manifest::{Access, GoDuration, Permission, PluginName};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::grants::scope_of;
use super::{POLICY_BYTES_MAX, Policy, PolicyStatus, StrictPermission, check};
use crate::error::HostError;
use crate::scope::Scope;

/// A change of a plugin's policy, as the API takes it.
///
/// It is a [`Policy`], with three differences. `permissions` may be `"requested"`: everything the
/// plugin asks for at the moment the policy is set. A policy of status `approved` without
/// `permissions` means the same. And the answer of `GET` is taken back whole, in which case its
/// `policy` counts.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyUpdate {
    policy: Policy,
    requested: bool,
    /// The plugin that the answer of `GET` was about.
    about: Option<String>,
    /// The plugin's request in that answer.
    seen: Option<Vec<Permission>>,
    /// Set if the update says how many bytes of files the plugin may store.
    has_storage: bool,
}

/// As [`Policy`], with what may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    status: PolicyStatus,
    permissions: Option<Permissions>,
    max_calls_per_second: Option<u32>,
    max_db_queries_per_min: Option<u32>,
    max_http_req_per_min: Option<u32>,
    max_file_storage_bytes: Option<u64>,
    #[serde(default)]
    memory_mb: u32,
    call_timeout: Option<GoDuration>,
    job_timeout: Option<GoDuration>,
    init_timeout: Option<GoDuration>,
    shutdown_timeout: Option<GoDuration>,
    #[serde(default)]
    restart_on_timeouts: bool,
    #[serde(default)]
    retry_safe: bool,
    #[serde(default)]
    max_calls_in_flight: u32,
    #[serde(default)]
    max_calls_waiting: u32,
    #[serde(default)]
    body_limit_mb: u32,
    #[serde(default)]
    routes: Vec<String>,
    #[serde(default)]
    response_headers: Vec<String>,
}

enum Permissions {
    Requested,
    These(Vec<Permission>),
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Permissions;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of permissions, or \"requested\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Permissions, E> {
                match text {
                    "requested" => Ok(Permissions::Requested),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut entries: A,
            ) -> Result<Permissions, A::Error> {
                let mut permissions = Vec::new();
                while let Some(StrictPermission(permission)) = entries.next_element()? {
                    permissions.push(permission);
                }
                Ok(Permissions::These(permissions))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl PolicyUpdate {
    /// Reads an update from JSON and checks what can be checked without the plugin.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_json(json: &[u8]) -> Result<Self, HostError> {
        let unreadable = |error: serde_json::Error| {
            HostError::invalid(format!("the policy cannot be read: {error}"))
        };
        if json.len() > POLICY_BYTES_MAX {
            return Err(HostError::invalid(format!(
                "a policy has at most {POLICY_BYTES_MAX} bytes of JSON, not {}",
                json.len()
            )));
        }
        let view = View::of(json)?;
        let (json, about, seen) = match view {
            Some(view) => (
                view.policy.get().as_bytes(),
                view.plugin_name,
                view.requested.map(|requested| requested.permissions),
            ),
            None => (json, None, None),
        };
        let fields: Fields = serde_json::from_slice(json).map_err(unreadable)?;
        let (permissions, requested) = match (fields.permissions, fields.status) {
            (Some(Permissions::Requested), _) | (None, PolicyStatus::Approved) => {
                (Vec::new(), true)
            }
            (Some(Permissions::These(permissions)), _) => (permissions, false),
            (None, PolicyStatus::Restricted) => {
                return Err(HostError::invalid(
                    "a restricted policy needs `permissions`: the list of what is granted",
                ));
            }
            (None, _) => (Vec::new(), false),
        };
        let rates = Policy::default();
        let policy = Policy {
            status: fields.status,
            permissions,
            max_calls_per_second: fields
                .max_calls_per_second
                .unwrap_or(rates.max_calls_per_second),
            max_db_queries_per_min: fields
                .max_db_queries_per_min
                .unwrap_or(rates.max_db_queries_per_min),
            max_http_req_per_min: fields
                .max_http_req_per_min
                .unwrap_or(rates.max_http_req_per_min),
            max_file_storage_bytes: fields.max_file_storage_bytes.unwrap_or(0),
            memory_mb: fields.memory_mb,
            call_timeout: fields.call_timeout,
            job_timeout: fields.job_timeout,
            init_timeout: fields.init_timeout,
            shutdown_timeout: fields.shutdown_timeout,
            restart_on_timeouts: fields.restart_on_timeouts,
            retry_safe: fields.retry_safe,
            max_calls_in_flight: fields.max_calls_in_flight,
            max_calls_waiting: fields.max_calls_waiting,
            body_limit_mb: fields.body_limit_mb,
            routes: fields.routes,
            response_headers: fields.response_headers,
        };
        check(&policy)?;
        Ok(PolicyUpdate {
            policy,
            requested,
            about,
            seen,
            has_storage: fields.max_file_storage_bytes.is_some(),
        })
    }

    /// The status that the plugin is to have.
    pub fn status(&self) -> PolicyStatus {
        self.policy.status
    }

    /// The paths it would let the plugin serve beside its own.
    pub fn routes(&self) -> &[String] {
        &self.policy.routes
    }

    /// The policy it stands for, given what the plugin asks for; `None` if that is not known yet.
    ///
    /// # Errors
    /// Invalid: it is about another plugin, or grants what is asked for and that is not known, or
    /// cannot be read.
    pub(super) fn resolve(
        self,
        plugin: &PluginName,
        request: Option<&Policy>,
    ) -> Result<Policy, HostError> {
        if let Some(about) = self.about.filter(|about| about != plugin.as_str()) {
            return Err(HostError::invalid(format!(
                "this is the policy of plugin {about:?}, not of \"{plugin}\"; send its `policy` \
                 alone if that is meant"
            )));
        }
        let mut policy = self.policy;
        if !self.requested {
            return Ok(policy);
        }
        if let (Some(seen), Some(request)) = (&self.seen, request)
            && *seen != request.permissions
        {
            return Err(HostError::invalid(format!(
                "plugin \"{plugin}\" asks for something else by now than in the answer that was \
                 sent back; look at it again"
            )));
        }
        let request = request.ok_or_else(|| {
            HostError::invalid(format!(
                "what plugin \"{plugin}\" asks for is not known: it is not installed; list \
                 `permissions`, or check the name"
            ))
        })?;
        policy.permissions.clone_from(&request.permissions);
        if !self.has_storage {
            policy.max_file_storage_bytes = request.max_file_storage_bytes;
        }
        check(&policy)?;
        Ok(policy)
    }
}

/// The answer of `GET`, of which only the policy counts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct View<'a> {
    #[serde(borrow)]
    policy: &'a RawValue,
    plugin_name: Option<String>,
    #[serde(rename = "origin")]
    _origin: Option<serde::de::IgnoredAny>,
    requested: Option<Policy>,
    #[serde(rename = "exceeds_grant")]
    _exceeds_grant: Option<serde::de::IgnoredAny>,
    #[serde(rename = "clamped")]
    _clamped: Option<serde::de::IgnoredAny>,
    #[serde(rename = "usage")]
    _usage: Option<serde::de::IgnoredAny>,
}

impl<'a> View<'a> {
    fn of(json: &'a [u8]) -> Result<Option<Self>, HostError> {
        let keys: Result<BTreeMap<String, serde::de::IgnoredAny>, _> = serde_json::from_slice(json);
        if !keys.is_ok_and(|keys| keys.contains_key("policy")) {
            return Ok(None);
        }
        let view = serde_json::from_slice(json)
            .map_err(|error| HostError::invalid(format!("the policy cannot be read: {error}")))?;
        Ok(Some(view))
    }
}

/// The part of a request that a policy does not grant, as the permissions that are missing.
pub fn missing(request: &[Permission], granted: &[Permission]) -> Vec<Permission> {
    let grants = |entry: &Permission, asked: &Permission| {
        let access = asked.kind().is_some_and(|kind| kind.accesses().is_empty())
            || entry.access == asked.access
            || (entry.access() == Some(Access::ReadWrite)
                && matches!(asked.access(), Some(Access::Read | Access::Write)));
        let scope = scope_of(entry).allows(|granted| match scope_of(asked) {
            Scope::Any => false,
            Scope::Only(asked) => asked.iter().all(|pattern| granted.contains(pattern)),
        });
        entry.kind_name == asked.kind_name && access && scope
    };
    let is_missing = |asked: &&Permission| !granted.iter().any(|entry| grants(entry, asked));
    request.iter().filter(is_missing).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_of_a_permission_is_refused() {
        for permission in [
            r#"{"type":"db","access":"read","scopes":["tickets"]}"#,
            r#"{"type":"db","access":"read","Scope":["tickets"]}"#,
            r#"{"type":"http","hosts":["a.example"]}"#,
            r#"{"type":"http","access":"any-thing"}"#,
            r#"{"type":"db","access":"read","scope":["a"],"scope":["b"]}"#,
            r#"{"type":"db","access":"read","scope":null}"#,
            r#"{"access":"read"}"#,
            r#"["db","read"]"#,
        ] {
            for json in [
                format!(r#"{{"status":"approved","permissions":[{permission}]}}"#),
                format!(
                    r#"{{"plugin_name":"p","policy":{{"status":"approved","permissions":[{permission}]}}}}"#
                ),
            ] {
                let refused = PolicyUpdate::from_json(json.as_bytes());
                assert!(refused.is_err(), "{json}: {refused:?}");
                assert!(Policy::from_json(json.as_bytes()).is_err(), "{json}");
            }
        }
    }

    #[test]
    fn a_scope_that_can_never_match_is_refused() {
        for (kind, access, pattern) in [
            ("plugin_call", "", "Evil*"),
            ("plugin_call", "", "evil*"),
            ("plugin_call", "", "a b"),
            ("db", "read", "@nam ed:*"),
            ("db", "read", "@named"),
            ("db", "read", "@:x"),
            ("db", "read", "@n:"),
            ("db", "read", "a.b.c"),
            ("db", "read", ".b"),
            ("db", "read", "a."),
            ("db", "read", " a"),
            ("db", "read", "\"a\""),
            ("cache", "read", "a*b"),
            ("cache", "read", "a\n"),
            ("entity", "read", "*"),
            ("file", "read", "a"),
            ("ticket", "read", "a"),
            ("article", "read", "a"),
            ("http", "", "a b"),
            ("email", "", "*@a.example"),
        ] {
            let json = serde_json::json!({"status": "approved",
                "permissions": [{"type": kind, "access": access, "scope": [pattern]}]});
            let refused = PolicyUpdate::from_json(json.to_string().as_bytes());
            assert!(refused.is_err(), "{json}");
        }
        for (kind, access, pattern) in [
            ("plugin_call", "", "*"),
            ("plugin_call", "", "other-2"),
            ("db", "read", "*"),
            ("db", "readwrite", "@stats:public.t_*"),
            ("db", "readwrite", "Order Details"),
            ("cache", "read", "a:*"),
            ("entity", "hard_delete", "ticket"),
        ] {
            let json = serde_json::json!({"status": "approved",
                "permissions": [{"type": kind, "access": access, "scope": [pattern]}]});
            PolicyUpdate::from_json(json.to_string().as_bytes()).unwrap();
        }
    }

    #[test]
    fn missing_is_what_nothing_grants() {
        let permission = |kind: &str, access: &str, scope: &[&str]| Permission {
            kind_name: kind.into(),
            access: access.into(),
            scope: scope.iter().map(|&pattern| pattern.into()).collect(),
        };
        let granted = [
            permission("db", "readwrite", &["a", "b"]),
            permission("http", "", &["x"]),
        ];
        let asked = [
            permission("db", "read", &["a"]),
            permission("db", "write", &["b", "a"]),
            permission("http", "read", &["x"]),
            permission("db", "read", &["c"]),
            permission("db", "read", &[]),
            permission("http", "", &["y"]),
            permission("email", "", &[]),
        ];
        assert_eq!(missing(&asked, &granted), asked[3..]);
    }
}
