//! `GKRegistration`, the answer to `GKRegister`: everything a plugin adds to the host.
//!
//! One definition for JSON and gob: the JSON keys are the contract's, and a gob field matches when
//! case and underscores are ignored (`menu_items` = `MenuItems`). The fields are those of the
//! newest contract; older plugins simply do not send the later ones.

mod json;
mod ui;

use std::collections::BTreeMap;

pub use self::json::JsonValue;
pub use self::ui::{
    UiAuthSpec, UiBrandingSpec, UiNavItem, UiNavSpec, UiPwaSpec, UiRouteSpec, UiSpec,
    UiTicketViewSpec,
};
use crate::resources::ResourceRequest;
use crate::wire::wire_struct;

wire_struct! {
    /// Registration of a plugin. Decoding accepts anything of the right types;
    /// [`Registration::validate`] checks it.
    pub struct Registration {
        /// Unique name; must equal the manifest's.
        name: String,
        /// Semantic version.
        version: String,
        /// Purpose of the plugin.
        description: String,
        /// Author of the plugin.
        author: String,
        /// Licence of the plugin.
        license: String,
        /// Home page of the plugin.
        homepage: String,
        /// Inline SVG, a FontAwesome class or a bundled path.
        icon: String,
        /// HTTP routes.
        routes: Vec<RouteSpec>,
        /// Navigation entries.
        menu_items: Vec<MenuItemSpec>,
        /// Dashboard widgets.
        widgets: Vec<WidgetSpec>,
        /// Scheduled jobs.
        jobs: Vec<JobSpec>,
        /// Template overrides.
        templates: Vec<TemplateSpec>,
        /// Translations.
        i18n: Option<I18nSpec>,
        /// API error codes.
        error_codes: Vec<ErrorCodeSpec>,
        /// Function asked before somebody subscribes to the plugin's events; empty for none.
        event_authorizer: String,
        /// Ids of host menu items to hide.
        hide_menu_items: Vec<String>,
        /// Page to which agents are sent after login; empty for the host's own page.
        landing_page: String,
        /// Agent groups to create.
        groups: Vec<GroupSpec>,
        /// Custom fields to create before Init.
        custom_fields: Vec<CustomFieldSpec>,
        /// Small applications under `/ui/<plugin>_<id>/`.
        uis: Vec<UiSpec>,
        /// Functions called when entities are deleted.
        cascades: Vec<CascadeSpec>,
        /// Tools offered over the Model Context Protocol.
        mcp_tools: Vec<McpToolSpec>,
        /// Steps of the setup assistant.
        setup_tasks: Vec<SetupTaskSpec>,
        /// `true` if the host leaves the organisation out of arguments.
        skip_org_injection: bool,
        /// Oldest host version the plugin works with; empty for any.
        min_host_version: String,
        /// Permission list of an older form; never evaluated.
        permissions: Vec<String>,
        /// Requested limits and permissions; wins over the manifest's.
        resources: Option<ResourceRequest>,
    }

    /// An HTTP route.
    pub struct RouteSpec {
        /// `GET`, `POST`, `PUT`, `DELETE` or `PATCH`.
        method: String,
        /// Path with `:name` parameters and an optional final `*rest`.
        path: String,
        /// Function called with the request.
        handler: String,
        /// Names of access rules, such as `auth` or `admin`; none means public.
        middleware: Vec<String>,
        /// Purpose of the route.
        description: String,
        /// `true` if a request may be sent once more when the plugin's process ends before it
        /// answers: asking twice does what asking once does.
        idempotent: bool,
    }

    /// A navigation entry.
    pub struct MenuItemSpec {
        /// Unique id.
        id: String,
        /// Text or translation key.
        label: String,
        /// Icon: SVG, a class of an icon font, or a path.
        icon: String,
        /// Target of the link.
        path: String,
        /// `agent`, `admin`, `customer` or `profile`.
        location: String,
        /// Id of the parent entry; empty for none.
        parent: String,
        /// Sorting: smaller first.
        order: i64,
        /// Entries below this one.
        children: Vec<MenuItemSpec>,
    }

    /// A dashboard widget.
    pub struct WidgetSpec {
        /// Unique id.
        id: String,
        /// Heading.
        title: String,
        /// Content of the widget.
        description: String,
        /// Function that renders it.
        handler: String,
        /// The page it appears on, such as `agent_home`.
        location: String,
        /// `small`, `medium`, `large` or `full`.
        size: String,
        /// Sorting: smaller first.
        order: i64,
        /// `true` if the page may refresh it.
        refreshable: bool,
        /// Seconds between refreshes; 0 for never.
        refresh_sec: i64,
    }

    /// A scheduled job.
    pub struct JobSpec {
        /// Unique id.
        id: String,
        /// Function that is run.
        handler: String,
        /// Cron expression with five fields, or a descriptor such as `@hourly`.
        schedule: String,
        /// Purpose of the job.
        description: String,
        /// `true` if it runs at all.
        enabled: bool,
        /// Time limit in Go's duration syntax; empty for the host's. See [`JobSpec::timeout`].
        timeout: String,
        /// Time zone of the schedule, such as `Europe/Berlin`; empty for the host's.
        time_zone: String,
        /// `forbid`, `allow` or `replace`; empty for `forbid`. See [`JobSpec::concurrency`].
        concurrency: String,
        /// How late a run may start, in Go's duration syntax; empty for the period, at most an hour.
        starting_deadline: String,
        /// Maximum delay of a start, in Go's duration syntax; empty for a tenth of the period, at
        /// most 30 seconds.
        jitter: String,
        /// Number of repetitions of a run that failed.
        retries: i64,
        /// Wait before the first repetition, in Go's duration syntax; empty for the host's. Each
        /// further wait is twice as long.
        backoff: String,
    }

    /// A template override.
    pub struct TemplateSpec {
        /// Name of the host's template.
        name: String,
        /// Path of the plugin's template.
        path: String,
        /// `true` if it replaces the host's.
        #[serde(rename = "override")]
        overrides: bool,
    }

    /// Translations of a plugin.
    pub struct I18nSpec {
        /// Prefix of the keys; empty for the plugin's name.
        namespace: String,
        /// Languages offered.
        languages: Vec<String>,
        /// Language → key → text.
        translations: BTreeMap<String, BTreeMap<String, String>>,
    }

    /// An API error code.
    pub struct ErrorCodeSpec {
        /// The code, registered as `<plugin>:<code>`.
        code: String,
        /// Text that people read.
        message: String,
        /// HTTP status it maps to.
        http_status: i64,
    }

    /// An agent group.
    pub struct GroupSpec {
        /// Name of the group.
        name: String,
        /// Purpose of the group.
        description: String,
    }

    /// A custom field of an entity, stored as `<plugin>_<name>`.
    pub struct CustomFieldSpec {
        /// Name without the plugin's prefix.
        name: String,
        /// Text that people read.
        label: String,
        /// The entity it belongs to.
        entity_type: String,
        /// Kind of value.
        field_type: String,
        /// Section of the form; empty for `custom`.
        section: String,
        /// Sorting: smaller first.
        order: i64,
        /// `true` if a value is needed.
        required: bool,
        /// Help text.
        description: String,
        /// Placeholder of the input.
        placeholder: String,
        /// Options of the field type.
        config: JsonValue,
    }

    /// A tool offered over the Model Context Protocol.
    pub struct McpToolSpec {
        /// Name of the tool, which the host prefixes with the plugin's.
        name: String,
        /// Effect of the tool.
        description: String,
        /// Function called with the tool's arguments.
        handler: String,
        /// JSON Schema of the arguments.
        input_schema: JsonValue,
    }

    /// A step of the setup assistant.
    pub struct SetupTaskSpec {
        /// Unique id.
        id: String,
        /// Heading.
        title: String,
        /// Subject of the task.
        description: String,
        /// Icon: SVG, a class of an icon font, or a path.
        icon: String,
        /// Function that renders and runs it.
        handler: String,
        /// Category it is listed under.
        category: String,
    }

    /// Functions that are called when an entity is deleted.
    pub struct CascadeSpec {
        /// The entity's type.
        entity_type: String,
        /// Function called when it moves to the recycle bin; empty for none.
        on_soft_delete: String,
        /// Function called when it is removed for good; empty for none.
        on_hard_delete: String,
    }
}
