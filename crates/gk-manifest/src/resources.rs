//! Limits and permissions that a plugin asks for: `resources` of both the manifest and the
//! registration.

use std::time::Duration;

use crate::duration::GoDuration;
use crate::wire::wire_struct;

wire_struct! {
    /// Requested limits and permissions. A request grants nothing: the host's policy decides.
    pub struct ResourceRequest {
        /// Memory limit in MiB; 0 asks for none.
        memory_mb: i64,
        /// Time limit of one call, in Go's duration syntax; empty asks for none. See
        /// [`ResourceRequest::call_timeout`].
        call_timeout: String,
        /// Time limit of Init, in Go's duration syntax.
        init_timeout: String,
        /// Time limit of Shutdown, in Go's duration syntax.
        shutdown_timeout: String,
        /// Permissions asked for.
        permissions: Vec<Permission>,
        /// File storage quota in bytes; 0 asks for none.
        max_file_storage_bytes: i64,
    }

    /// A permission that a plugin asks for. A type or an access that this version does not know
    /// grants no permission.
    pub struct Permission {
        /// Subject of the permission; see [`Permission::kind`].
        #[serde(rename = "type")]
        kind_name: String,
        /// Kind of use; see [`Permission::access`].
        access: String,
        /// Limits of the permission: table, host, address, key or plugin patterns. An empty list is
        /// no limit.
        scope: Vec<String>,
    }
}

/// Subject of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PermissionKind {
    /// The database; scope: table patterns.
    Db,
    /// The cache; scope: key prefixes.
    Cache,
    /// Outgoing HTTP requests; scope: host patterns. Access does not matter.
    Http,
    /// Sending mail; scope: `@domain` or exact addresses. Access does not matter.
    Email,
    /// Host configuration; scope: key patterns.
    Config,
    /// Calling other plugins; scope: plugin names or `*`. Access does not matter.
    PluginCall,
    /// The plugin's own files.
    File,
    /// Articles of tickets.
    Article,
    /// Ticket states and views.
    Ticket,
    /// Entities; scope: entity types.
    Entity,
}

/// Kind of use of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Reading and writing.
    ReadWrite,
    /// Removing entities for good; no other access implies it.
    HardDelete,
}

impl PermissionKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Db,
        Self::Cache,
        Self::Http,
        Self::Email,
        Self::Config,
        Self::PluginCall,
        Self::File,
        Self::Article,
        Self::Ticket,
        Self::Entity,
    ];

    /// The kind's name in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Cache => "cache",
            Self::Http => "http",
            Self::Email => "email",
            Self::Config => "config",
            Self::PluginCall => "plugin_call",
            Self::File => "file",
            Self::Article => "article",
            Self::Ticket => "ticket",
            Self::Entity => "entity",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The accesses that mean something for this kind; empty where access does not matter.
    pub const fn accesses(self) -> &'static [Access] {
        match self {
            Self::Http | Self::Email | Self::PluginCall => &[],
            Self::Config => &[Access::Read],
            Self::Entity => &[
                Access::Read,
                Access::Write,
                Access::ReadWrite,
                Access::HardDelete,
            ],
            _ => &[Access::Read, Access::Write, Access::ReadWrite],
        }
    }
}

impl PermissionKind {
    /// Returns `true` if a permission of this kind can be limited to some of what it is about.
    pub const fn has_scope(self) -> bool {
        !matches!(self, Self::File | Self::Article | Self::Ticket)
    }
}

impl Access {
    /// Every access.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::ReadWrite, Self::HardDelete];

    /// The access's name in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
            Self::HardDelete => "hard_delete",
        }
    }

    /// The access of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|access| access.as_str() == name)
    }
}

impl Permission {
    /// The subject of the permission; `None` when this version does not know it, in which case the
    /// permission grants no access.
    pub fn kind(&self) -> Option<PermissionKind> {
        PermissionKind::from_name(&self.kind_name)
    }

    /// The kind of use; `None` when not given or not known.
    pub fn access(&self) -> Option<Access> {
        Access::from_name(&self.access)
    }
}

impl ResourceRequest {
    /// The time limit of one call; `None` when not asked for (or not valid, which validation
    /// reports).
    pub fn call_timeout(&self) -> Option<Duration> {
        timeout(&self.call_timeout)
    }

    /// The time limit of Init; `None` when not asked for.
    pub fn init_timeout(&self) -> Option<Duration> {
        timeout(&self.init_timeout)
    }

    /// The time limit of Shutdown; `None` when not asked for.
    pub fn shutdown_timeout(&self) -> Option<Duration> {
        timeout(&self.shutdown_timeout)
    }

    /// The memory limit in bytes; `None` when not asked for.
    pub fn memory_bytes(&self) -> Option<u64> {
        u64::try_from(self.memory_mb)
            .ok()
            .filter(|mib| *mib > 0)
            .and_then(|mib| mib.checked_mul(1024 * 1024))
    }

    /// The file storage quota in bytes; `None` when not asked for.
    pub fn file_storage_bytes(&self) -> Option<u64> {
        u64::try_from(self.max_file_storage_bytes)
            .ok()
            .filter(|bytes| *bytes > 0)
    }

    /// Merges the registration (`self`) with the manifest: a field of `self` that is set wins.
    /// Lists of permissions are not mixed, because a plugin that narrows its permissions in its
    /// registration means it.
    pub fn or(&self, manifest: &Self) -> Self {
        let text = |own: &String, other: &String| {
            if own.is_empty() {
                other.clone()
            } else {
                own.clone()
            }
        };
        let number = |own: i64, other: i64| if own == 0 { other } else { own };
        Self {
            memory_mb: number(self.memory_mb, manifest.memory_mb),
            call_timeout: text(&self.call_timeout, &manifest.call_timeout),
            init_timeout: text(&self.init_timeout, &manifest.init_timeout),
            shutdown_timeout: text(&self.shutdown_timeout, &manifest.shutdown_timeout),
            permissions: if self.permissions.is_empty() {
                &manifest.permissions
            } else {
                &self.permissions
            }
            .clone(),
            max_file_storage_bytes: number(
                self.max_file_storage_bytes,
                manifest.max_file_storage_bytes,
            ),
        }
    }
}

fn timeout(text: &str) -> Option<Duration> {
    text.parse::<GoDuration>()
        .ok()?
        .to_std()
        .filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registration_wins_field_by_field() {
        let permission = |kind: &str| Permission {
            kind_name: kind.into(),
            ..Permission::default()
        };
        let manifest = ResourceRequest {
            memory_mb: 512,
            call_timeout: "30s".into(),
            permissions: vec![permission("db"), permission("http")],
            ..ResourceRequest::default()
        };
        let registration = ResourceRequest {
            call_timeout: "5s".into(),
            init_timeout: "1m".into(),
            permissions: vec![permission("db")],
            ..ResourceRequest::default()
        };
        let both = registration.or(&manifest);
        assert_eq!(both.memory_bytes(), Some(512 << 20));
        assert_eq!(both.call_timeout(), Some(Duration::from_secs(5)));
        assert_eq!(both.init_timeout(), Some(Duration::from_secs(60)));
        assert_eq!(both.shutdown_timeout(), None);
        assert_eq!(both.permissions, registration.permissions);
        assert_eq!(ResourceRequest::default().or(&manifest), manifest);
    }

    #[test]
    fn names_are_their_own_inverse() {
        for kind in PermissionKind::ALL {
            assert_eq!(PermissionKind::from_name(kind.as_str()), Some(kind));
        }
        for access in Access::ALL {
            assert_eq!(Access::from_name(access.as_str()), Some(access));
        }
    }
}
