//! A policy, ready to be asked.

use gk_manifest::{Access, Permission, PermissionKind, PluginName};
use gk_sqlguard::{DbGrants, Scope};

use super::Policy;
use crate::error::HostError;
use crate::scope::{ConfigScope, HttpScope, MailScope};

/// The grants of a policy. Entries of one kind add up; one without a scope is all of its kind.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Tables.
    pub db: DbGrants,
    /// Hosts; `None` is none.
    pub http: Option<HttpScope>,
    /// Recipients; `None` is none.
    pub email: Option<MailScope>,
    /// Keys of the configuration; `None` is none.
    pub config: Option<ConfigScope>,
    /// Keys of the cache, by their prefixes.
    pub cache: Scoped,
    /// Other plugins.
    pub plugin_call: Scoped,
    /// The plugin's own files.
    pub file: ReadWrite,
    /// The permissions as they are written, for methods that a host application adds.
    permissions: Vec<Permission>,
}

/// Reading, writing, both or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadWrite {
    /// Reading.
    pub read: bool,
    /// Writing and deleting.
    pub write: bool,
}

/// Names or prefixes that may be read or written. The default is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scoped {
    read: Option<Scope<Vec<String>>>,
    write: Option<Scope<Vec<String>>>,
}

impl Scoped {
    fn of<'a>(entries: impl Iterator<Item = &'a Permission> + Clone, any_access: bool) -> Self {
        let scope = |reads: bool| {
            let granting = entries.clone().filter(|entry| {
                let (read, write) = sides(entry.access());
                any_access || if reads { read } else { write }
            });
            union(granting)
        };
        Scoped {
            read: scope(true),
            write: scope(false),
        }
    }

    /// Returns whether reading, or else writing, is granted for anything at all.
    pub fn any(&self, write: bool) -> bool {
        self.side(write).is_some()
    }

    /// Returns whether a key is granted: it starts with one of the scope's entries (a `*` at an
    /// entry's end means the same).
    pub fn key(&self, key: &str, write: bool) -> bool {
        let matches = |prefix: &String| key.starts_with(prefix.strip_suffix('*').unwrap_or(prefix));
        self.side(write)
            .is_some_and(|scope| scope.allows(|prefixes| prefixes.iter().any(matches)))
    }

    /// Returns whether a plugin is granted: it is one of the scope's entries, or one of them is
    /// `*`.
    pub fn plugin(&self, plugin: &PluginName) -> bool {
        let matches = |name: &String| name == "*" || name == plugin.as_str();
        self.side(false)
            .is_some_and(|scope| scope.allows(|names| names.iter().any(matches)))
    }

    fn side(&self, write: bool) -> Option<&Scope<Vec<String>>> {
        match write {
            true => self.write.as_ref(),
            false => self.read.as_ref(),
        }
    }
}

fn sides(access: Option<Access>) -> (bool, bool) {
    match access {
        Some(Access::Read) => (true, false),
        Some(Access::Write) => (false, true),
        Some(Access::ReadWrite) => (true, true),
        _ => (false, false),
    }
}

/// The scope of a permission as it is written, where an empty list is everything. Nothing else than
/// this function reads that list.
pub(super) fn scope_of(permission: &Permission) -> Scope<&[String]> {
    match &*permission.scope {
        [] => Scope::Any,
        names => Scope::Only(names),
    }
}

/// The scopes of several entries together; `None` without an entry.
fn union<'a>(entries: impl Iterator<Item = &'a Permission>) -> Option<Scope<Vec<String>>> {
    let mut all: Option<Scope<Vec<String>>> = None;
    for entry in entries {
        let both = match (all.take(), scope_of(entry)) {
            (Some(Scope::Any), _) | (_, Scope::Any) => Scope::Any,
            (None, Scope::Only(names)) => Scope::Only(names.to_vec()),
            (Some(Scope::Only(mut before)), Scope::Only(names)) => {
                before.extend_from_slice(names);
                Scope::Only(before)
            }
        };
        all = Some(both);
    }
    all
}

impl Grants {
    /// Compiles a policy's permissions.
    ///
    /// # Errors
    /// When a scope cannot be read.
    pub fn of(policy: &Policy) -> Result<Self, HostError> {
        let entries = |kind: PermissionKind| {
            policy
                .permissions
                .iter()
                .filter(move |permission| permission.kind() == Some(kind))
        };
        let db = entries(PermissionKind::Db).filter_map(|entry| {
            let access = match entry.access()? {
                Access::Read => gk_sqlguard::Access::Read,
                Access::Write => gk_sqlguard::Access::Write,
                Access::ReadWrite => gk_sqlguard::Access::ReadWrite,
                _ => return None,
            };
            Some((access, scope_of(entry)))
        });
        let reading = |kind| entries(kind).filter(|entry| sides(entry.access()).0);
        let files = entries(PermissionKind::File).map(|entry| sides(entry.access()));
        let file = files.fold(ReadWrite::default(), |all, (read, write)| ReadWrite {
            read: all.read || read,
            write: all.write || write,
        });
        Ok(Grants {
            db: DbGrants::new(db),
            http: union(entries(PermissionKind::Http))
                .map(|scope| HttpScope::parse(only(&scope)))
                .transpose()?,
            email: union(entries(PermissionKind::Email))
                .map(|scope| MailScope::parse(only(&scope)))
                .transpose()?,
            config: union(reading(PermissionKind::Config))
                .map(|scope| ConfigScope::parse(only(&scope)))
                .transpose()?,
            cache: Scoped::of(entries(PermissionKind::Cache), false),
            plugin_call: Scoped::of(entries(PermissionKind::PluginCall), true),
            file,
            permissions: policy.permissions.clone(),
        })
    }

    /// Returns whether an access of a kind is granted at all, whatever its scope.
    pub fn has(&self, kind: PermissionKind, access: Option<Access>) -> bool {
        self.permissions
            .iter()
            .filter(|entry| entry.kind() == Some(kind))
            .any(|entry| grants(entry, access))
    }

    /// The scopes of a kind's entries that grant an access, for a method that knows what they mean;
    /// `None` when nothing is granted.
    pub fn scope(
        &self,
        kind: PermissionKind,
        access: Option<Access>,
    ) -> Option<Scope<Vec<String>>> {
        union(
            self.permissions
                .iter()
                .filter(|entry| entry.kind() == Some(kind) && grants(entry, access)),
        )
    }
}

fn only(scope: &Scope<Vec<String>>) -> Scope<&[String]> {
    scope.as_ref().map(Vec::as_slice)
}

/// Returns whether an entry grants an access; `readwrite` covers both, `hard_delete` is never
/// implied.
fn grants(entry: &Permission, wanted: Option<Access>) -> bool {
    let (read, write) = sides(entry.access());
    match wanted {
        None => true,
        Some(Access::Read) => read,
        Some(Access::Write) => write,
        Some(Access::ReadWrite) => read && write,
        Some(other) => entry.access() == Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants_of(permissions: &[(&str, &str, &[&str])]) -> Grants {
        let permissions = permissions
            .iter()
            .map(|(kind, access, scope)| Permission {
                kind_name: (*kind).into(),
                access: (*access).into(),
                scope: scope.iter().map(|&pattern| pattern.into()).collect(),
            })
            .collect();
        Grants::of(&Policy {
            permissions,
            ..Policy::default()
        })
        .unwrap()
    }

    #[test]
    fn nothing_is_granted_that_is_not_there() {
        let none = grants_of(&[]);
        assert!(none.http.is_none() && none.email.is_none() && none.config.is_none());
        assert!(!none.cache.key("k", false) && !none.cache.any(true));
        assert!(!none.plugin_call.plugin(&PluginName::new("a").unwrap()));
        assert_eq!(none.file, ReadWrite::default());
        for kind in PermissionKind::ALL {
            assert!(!none.has(kind, None));
            assert_eq!(none.scope(kind, None), None);
        }
    }

    #[test]
    fn entries_add_up_by_access() {
        let grants = grants_of(&[
            ("cache", "read", &["a:"]),
            ("cache", "write", &["b:*"]),
            ("file", "read", &[]),
            ("plugin_call", "", &["other"]),
            ("entity", "hard_delete", &["ticket"]),
        ]);
        assert!(grants.cache.key("a:1", false) && !grants.cache.key("a:1", true));
        assert!(grants.cache.key("b:1", true) && !grants.cache.key("b:1", false));
        assert!(!grants.cache.key("", false) && !grants.cache.key("c", true));
        assert_eq!(
            grants.file,
            ReadWrite {
                read: true,
                write: false
            }
        );
        assert!(
            grants
                .plugin_call
                .plugin(&PluginName::new("other").unwrap())
        );
        assert!(
            !grants
                .plugin_call
                .plugin(&PluginName::new("another").unwrap())
        );
        assert!(!grants.has(PermissionKind::Entity, Some(Access::Write)));
        let scope = grants.scope(PermissionKind::Entity, Some(Access::HardDelete));
        assert_eq!(scope, Some(Scope::Only(vec!["ticket".to_owned()])));
        // One entry without a scope is everything.
        let all = grants_of(&[("cache", "readwrite", &["a"]), ("cache", "write", &[])]);
        assert!(all.cache.key("z", true) && !all.cache.key("z", false));
    }
}
