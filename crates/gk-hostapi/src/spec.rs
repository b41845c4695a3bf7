//! The spec of a method: what is known of it ahead of a request, as data.

use gk_manifest::{Access, PermissionKind};

use crate::policy::{Counter, Queue, Rate};

/// A permission that a method needs. The method itself knows what the permission's scope means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The kind of the permission.
    pub kind: PermissionKind,
    /// The access; `None` where the kind has none.
    pub access: Option<Access>,
}

/// The guard's view of a method: it checks, counts and queues requests by this alone.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MethodSpec {
    /// The name on the wire.
    pub name: &'static str,
    /// The permission that a plugin needs; `None` for a method that every plugin may call.
    pub permission: Option<Needs>,
    /// The text of the refusal without that permission.
    pub denied: &'static str,
    /// The rate that a request counts against.
    pub rate: Option<Rate>,
    /// The queue of which a request takes a permit before the method runs.
    pub queue: Option<Queue>,
    /// The counter of [`Usage`](crate::policy::Usage) that a request adds to, beside that of all
    /// requests.
    pub counter: Option<Counter>,
}

impl MethodSpec {
    /// A method that needs no permission.
    pub const fn free(name: &'static str) -> Self {
        MethodSpec {
            name,
            permission: None,
            denied: "",
            rate: None,
            queue: None,
            counter: None,
        }
    }

    /// A method that needs a permission.
    pub const fn needing(
        name: &'static str,
        kind: PermissionKind,
        access: Option<Access>,
        denied: &'static str,
    ) -> Self {
        let mut spec = Self::free(name);
        spec.permission = Some(Needs { kind, access });
        spec.denied = denied;
        spec
    }

    /// The same method, whose requests count against a rate.
    #[must_use]
    pub const fn limited(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// The same method, whose requests take a permit of a queue.
    #[must_use]
    pub const fn queued(mut self, queue: Queue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// The same method, whose requests add to a counter.
    #[must_use]
    pub const fn counted(mut self, counter: Counter) -> Self {
        self.counter = Some(counter);
        self
    }
}

/// Methods of the contract (§6.2) about things this host does not have. A host application may add
/// them.
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
