//! The methods of the host API: names, permissions, shapes, limits. docs/hostapi.md is checked against
//! this table.

use gk_manifest::{Access, PermissionKind};

use crate::policy::Rate;

/// A permission that a method needs. What its scope means is the method's own business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// What it is about.
    pub kind: PermissionKind,
    /// How it is used; `None` where the kind has no access.
    pub access: Option<Access>,
}

/// What is known of a method ahead of a request.
#[derive(Debug, Clone, Copy)]
pub struct MethodSpec {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it needs; `None` for nothing.
    pub permission: Option<Needs>,
    /// What the plugin is told without that permission.
    pub denied: &'static str,
    /// The rate it counts against.
    pub rate: Option<Rate>,
}

impl MethodSpec {
    /// A method that needs no permission.
    pub const fn free(name: &'static str) -> Self {
        MethodSpec {
            name,
            permission: None,
            denied: "",
            rate: None,
        }
    }

    /// A method that needs a permission.
    pub const fn needing(
        name: &'static str,
        kind: PermissionKind,
        access: Option<Access>,
        denied: &'static str,
    ) -> Self {
        MethodSpec {
            name,
            permission: Some(Needs { kind, access }),
            denied,
            rate: None,
        }
    }

    /// The same, counted against a rate.
    #[must_use]
    pub const fn counted(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }
}

/// The methods this crate serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of that name")]
pub(crate) enum Builtin {
    DbQuery,
    DbExec,
    DbBatch,
    CacheGet,
    CacheSet,
    CacheDelete,
    HttpRequest,
    SendEmail,
    Log,
    ConfigGet,
    Translate,
    PluginCall,
    PublishEvent,
    TimeNow,
    SecureConfigGet,
    SecureConfigSet,
    StoreFile,
    GetFile,
    DeleteFile,
    ListFiles,
    KvGet,
    KvSet,
    KvDelete,
    KvList,
}

const READ: Option<Access> = Some(Access::Read);
const WRITE: Option<Access> = Some(Access::Write);

/// The table.
pub(crate) const BUILTINS: &[(Builtin, MethodSpec)] = {
    use Builtin as B;
    use MethodSpec as M;
    use PermissionKind as K;
    const DB_READ: &str = "database read access not granted";
    const DB_WRITE: &str = "database write access not granted";
    &[
        (
            B::DbQuery,
            M::needing("db_query", K::Db, READ, DB_READ).counted(Rate::Db),
        ),
        (
            B::DbExec,
            M::needing("db_exec", K::Db, WRITE, DB_WRITE).counted(Rate::Db),
        ),
        (
            B::DbBatch,
            M::needing("db_batch", K::Db, WRITE, DB_WRITE).counted(Rate::Db),
        ),
        (
            B::CacheGet,
            M::needing("cache_get", K::Cache, READ, "cache access not granted"),
        ),
        (
            B::CacheSet,
            M::needing(
                "cache_set",
                K::Cache,
                WRITE,
                "cache write access not granted",
            ),
        ),
        (
            B::CacheDelete,
            M::needing(
                "cache_delete",
                K::Cache,
                WRITE,
                "cache delete access not granted",
            ),
        ),
        (
            B::HttpRequest,
            M::needing(
                "http_request",
                K::Http,
                None,
                "HTTP outbound access not granted",
            )
            .counted(Rate::Http),
        ),
        (
            B::SendEmail,
            M::needing("send_email", K::Email, None, "email access not granted")
                .counted(Rate::Mail),
        ),
        (B::Log, M::free("log")),
        (
            B::ConfigGet,
            M::needing("config_get", K::Config, READ, "config access not granted"),
        ),
        (B::Translate, M::free("translate")),
        (
            B::PluginCall,
            M::needing(
                "plugin_call",
                K::PluginCall,
                None,
                "plugin-to-plugin calls not granted",
            )
            .counted(Rate::Calls),
        ),
        (B::PublishEvent, M::free("publish_event")),
        (B::TimeNow, M::free("time_now")),
        (B::SecureConfigGet, M::free("secure_config_get")),
        (B::SecureConfigSet, M::free("secure_config_set")),
        (
            B::StoreFile,
            M::needing(
                "store_file",
                K::File,
                WRITE,
                "file write access not granted",
            ),
        ),
        (
            B::GetFile,
            M::needing("get_file", K::File, READ, "file read access not granted"),
        ),
        (
            B::DeleteFile,
            M::needing(
                "delete_file",
                K::File,
                WRITE,
                "file write access not granted",
            ),
        ),
        (
            B::ListFiles,
            M::needing("list_files", K::File, READ, "file read access not granted"),
        ),
        (B::KvGet, M::free("kv_get")),
        (B::KvSet, M::free("kv_set")),
        (B::KvDelete, M::free("kv_delete")),
        (B::KvList, M::free("kv_list")),
    ]
};

/// Methods of the contract (§6.2) about things this host does not have. A host application may add them.
pub const NOT_PROVIDED: &[&str] = &[
    "change_ticket_status",
    "create_article",
    "create_article_attachment",
    "custom_fields_get",
    "custom_fields_query",
    "custom_fields_set",
    "delete_article_attachment",
    "entity_hard_delete",
    "entity_restore",
    "entity_soft_delete",
    "generate_thumbnail",
    "list_article_attachments",
    "list_ticket_states",
    "list_ticket_views",
    "org_id",
    "recycle_bin_list",
    "render_markdown_to_pdf",
];

/// The methods this crate serves, with what the guard knows of each.
pub fn methods() -> impl Iterator<Item = MethodSpec> {
    BUILTINS.iter().map(|(_, spec)| *spec)
}
