//! The part of a registration that describes small applications under `/ui/<plugin>_<id>/`.

use crate::wire::wire_struct;

wire_struct! {
    /// A small application with pages of its own.
    pub struct UiSpec {
        /// Unique id; the pages are under `/ui/<plugin>_<id>/`.
        id: String,
        /// What people read.
        name: String,
        /// What it is for.
        description: String,
        /// `admin_page`, `agent_app`, `customer_app`, `public_page` or `kiosk`.
        #[serde(rename = "type")]
        kind: String,
        /// Icon.
        icon: String,
        /// `none`, `minimal` or `standard`; empty for the type's default.
        shell: String,
        /// Its pages.
        routes: Vec<UiRouteSpec>,
        /// Its navigation.
        nav: Option<UiNavSpec>,
        /// Its look.
        branding: Option<UiBrandingSpec>,
        /// Who may open it.
        auth: Option<UiAuthSpec>,
        /// Its progressive web application manifest.
        pwa: Option<UiPwaSpec>,
        /// Which data its user sees: `self`, `org` or `all`.
        data_scope: String,
        /// Requests per minute and address for public pages; 0 for the host's limit.
        rate_limit: i64,
        /// How it appears inside a ticket.
        ticket_view: Option<UiTicketViewSpec>,
    }

    /// A page of an application.
    pub struct UiRouteSpec {
        /// Path below the application's.
        path: String,
        /// Method; empty for `GET`.
        method: String,
        /// Function that renders it.
        handler: String,
    }

    /// How an application appears inside a ticket.
    pub struct UiTicketViewSpec {
        /// Path of the page to open.
        path: String,
        /// Query parameter that receives the ticket's id.
        param: String,
        /// What people read; empty for the application's name.
        label: String,
    }

    /// Navigation of an application.
    pub struct UiNavSpec {
        /// `bottom`, `top` or `side`.
        position: String,
        /// Its entries.
        items: Vec<UiNavItem>,
    }

    /// An entry of an application's navigation.
    pub struct UiNavItem {
        /// What people read.
        label: String,
        /// Icon.
        icon: String,
        /// Where it leads.
        path: String,
        /// Function that returns a number to show; empty for none.
        badge: String,
        /// Sorting: smaller first.
        order: i64,
    }

    /// Look of an application.
    pub struct UiBrandingSpec {
        /// Name shown.
        app_name: String,
        /// Path or URL of a logo.
        logo: String,
        /// Path or URL of a favicon.
        favicon: String,
        /// Main colour.
        color: String,
    }

    /// Who may open an application.
    pub struct UiAuthSpec {
        /// `session`, `token` or `none`.
        method: String,
        /// Groups of which all are needed.
        groups: Vec<String>,
    }

    /// Progressive web application manifest of an application.
    pub struct UiPwaSpec {
        /// `true` if it is served.
        enabled: bool,
        /// Path opened first.
        start_url: String,
        /// Display mode; empty for `standalone`.
        display: String,
        /// Theme colour.
        theme_color: String,
        /// Paths kept for offline use.
        cache_routes: Vec<String>,
    }
}
