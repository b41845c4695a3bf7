//! The safe default: the part of a request that a plugin gets that is not reviewed.

use std::collections::BTreeSet;

use gk_manifest::{Access, Permission, PermissionKind, PluginName};

use super::grants::scope_of;
use super::{Policy, PolicyStatus};
use crate::scope::Scope;

/// The part of a request that is safe to grant to an unknown author: reading its own tables, the
/// cache, its own files. No network, no mail, no writing to the database, no other plugin.
///
/// Its own tables are those whose names start with `gk_`, the plugin's name (`-` as `_`) and `_`.
/// Without `gk_` they might be the operator's: a plugin may call itself `customer`, and a name is
/// the author's to choose. For the same reason a prefix that includes tables of another installed
/// plugin (`goat` and `goat-x`), or that is among them, is nobody's.
pub(super) fn safe_default(
    plugin: &PluginName,
    request: &Policy,
    installed: &BTreeSet<PluginName>,
) -> Policy {
    let others = installed.iter().filter(|other| *other != plugin);
    let own = own_prefix(plugin);
    let overlaps = |other: String| other.starts_with(&own) || own.starts_with(&other);
    let own = (!others.map(own_prefix).any(overlaps)).then_some(own.as_str());
    let permissions = request
        .permissions
        .iter()
        .filter_map(|permission| safe(own, permission))
        .collect();
    Policy {
        status: PolicyStatus::PendingReview,
        permissions,
        max_file_storage_bytes: 0,
        ..Policy::default()
    }
}

fn safe(own: Option<&str>, permission: &Permission) -> Option<Permission> {
    let reads = matches!(permission.access()?, Access::Read | Access::ReadWrite);
    match permission.kind()? {
        PermissionKind::Db if reads => {
            let own = own?;
            let is_own = |pattern: &&String| pattern.to_lowercase().starts_with(own);
            let scope: Vec<String> = match scope_of(permission) {
                Scope::Any => vec![format!("{own}*")],
                Scope::Only(patterns) => patterns.iter().filter(is_own).cloned().collect(),
            };
            // In a permission, an empty list would be everything.
            (!scope.is_empty()).then(|| Permission {
                kind_name: PermissionKind::Db.as_str().into(),
                access: Access::Read.as_str().into(),
                scope,
            })
        }
        PermissionKind::Cache | PermissionKind::File => Some(permission.clone()),
        _ => None,
    }
}

/// The prefix of the names of a plugin's own tables.
fn own_prefix(plugin: &PluginName) -> String {
    format!("gk_{}_", plugin.as_str().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(kind: &str, access: &str, scope: &[&str]) -> Permission {
        Permission {
            kind_name: kind.into(),
            access: access.into(),
            scope: scope.iter().map(|&pattern| pattern.into()).collect(),
        }
    }

    #[test]
    fn a_request_is_cut_down_to_what_is_the_plugins_own() {
        let request = Policy {
            status: PolicyStatus::Approved,
            permissions: vec![
                permission(
                    "db",
                    "readwrite",
                    &[
                        "my_goat_*",
                        "GK_my_goat_x",
                        "users",
                        "*",
                        "@other:my_goat_x",
                    ],
                ),
                permission("db", "write", &["my_goat_*"]),
                permission("db", "read", &[]),
                permission("db", "read", &["users"]),
                permission("cache", "readwrite", &[]),
                permission("file", "read", &[]),
                permission("http", "", &["*"]),
                permission("http", "read", &["*"]),
                permission("email", "read", &[]),
                permission("config", "read", &[]),
                permission("plugin_call", "read", &[]),
                permission("entity", "hard_delete", &[]),
                permission("unheard", "read", &[]),
            ],
            max_db_queries_per_min: 0,
            max_file_storage_bytes: 1 << 50,
            ..Policy::default()
        };
        let plugin = PluginName::new("my-goat").unwrap();
        let installed =
            ["my-goat", "mygoat", "my-goats"].map(|name| PluginName::new(name).unwrap());
        let safe = safe_default(&plugin, &request, &BTreeSet::from(installed));
        assert_eq!(safe.status, PolicyStatus::PendingReview);
        assert_eq!(
            (safe.max_db_queries_per_min, safe.max_file_storage_bytes),
            (600, 0)
        );
        assert_eq!(
            safe.permissions,
            [
                permission("db", "read", &["GK_my_goat_x"]),
                permission("db", "read", &["gk_my_goat_*"]),
                permission("cache", "readwrite", &[]),
                permission("file", "read", &[]),
            ]
        );
    }

    /// `goat_*` would be the tables of `goat-x`, too, and `goat_x_*` may be `goat`'s: whose they
    /// are is not for a name to say.
    #[test]
    fn names_of_which_one_begins_with_the_other_get_no_tables() {
        let request = Policy {
            permissions: vec![
                permission("db", "read", &[]),
                permission("cache", "read", &[]),
            ],
            ..Policy::default()
        };
        let name = |name| PluginName::new(name).unwrap();
        let installed = BTreeSet::from([name("goat"), name("goat-x")]);
        let safe = safe_default(&name("goat"), &request, &installed);
        assert_eq!(safe.permissions, [permission("cache", "read", &[])]);
        let safe = safe_default(&name("goat-x"), &request, &installed);
        assert_eq!(safe.permissions, [permission("cache", "read", &[])]);
        let alone = safe_default(&name("goat-x"), &request, &BTreeSet::from([name("goat-x")]));
        assert_eq!(alone.permissions.len(), 2);
    }

    /// A plugin that takes the name of something of the operator's gets nothing of it.
    #[test]
    fn a_name_alone_grants_no_table_of_the_operators() {
        let request = Policy {
            permissions: vec![
                permission("db", "readwrite", &["customer_*", "customer", "*", "gk_*"]),
                permission("db", "readwrite", &[]),
            ],
            ..Policy::default()
        };
        let name = PluginName::new("customer").unwrap();
        let safe = safe_default(&name, &request, &BTreeSet::new());
        assert_eq!(
            safe.permissions,
            [permission("db", "read", &["gk_customer_*"])]
        );
    }

    #[test]
    fn a_name_that_begins_with_the_hosts_prefix_gets_no_other_plugins_tables() {
        let request = Policy {
            permissions: vec![
                permission("db", "read", &[]),
                permission("db", "read", &["gk_goat_secrets", "gk_*"]),
            ],
            ..Policy::default()
        };
        let name = |name| PluginName::new(name).unwrap();
        let scopes = |plugin, installed: &[&'static str]| {
            let installed = installed.iter().map(|&other| name(other)).collect();
            let safe = safe_default(&name(plugin), &request, &installed).permissions;
            let patterns = safe.into_iter().flat_map(|permission| permission.scope);
            patterns.collect::<Vec<_>>()
        };
        assert_eq!(scopes("gk-goat", &["gk-goat", "goat"]), ["gk_gk_goat_*"]);
        assert_eq!(
            scopes("goat", &["gk-goat", "goat"]),
            ["gk_goat_*", "gk_goat_secrets"]
        );
        assert!(scopes("gk", &["gk", "gk-goat"]).is_empty());
    }
}
