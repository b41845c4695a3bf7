//! The part of a registration that describes small applications under `/ui/<plugin>_<id>/`.

use crate::wire::wire_struct;

wire_struct! {
    /// A small application with pages of its own.
    pub struct UiSpec {
        /// Unique id; the pages are under `/ui/<plugin>_<id>/`.
        id: String,
        /// Text that people read.
        name: String,
        /// Purpose of the application.
        description: String,
        /// `admin_page`, `agent_app`, `customer_app`, `public_page` or `kiosk`.
        #[serde(rename = "type")]
        kind: String,
        /// Icon: SVG, a class of an icon font, or a path.
        icon: String,
        /// `none`, `minimal` or `standard`; empty for the type's default.
        shell: String,
        /// Pages of the application.
        routes: Vec<UiRouteSpec>,
        /// Navigation between the pages.
        nav: Option<UiNavSpec>,
        /// Colours and logos.
        branding: Option<UiBrandingSpec>,
        /// Users who may open the application.
        auth: Option<UiAuthSpec>,
        /// Progressive web application manifest.
        pwa: Option<UiPwaSpec>,
        /// Which data its user sees: `self`, `org` or `all`.
        data_scope: String,
        /// Requests per minute and address for public pages; 0 for the host's limit.
        rate_limit: i64,
        /// Appearance inside a ticket.
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

    /// Appearance of an application inside a ticket.
    pub struct UiTicketViewSpec {
        /// Path of the page to open.
        path: String,
        /// Query parameter that receives the ticket's id.
        param: String,
        /// Text that people read; empty for the application's name.
        label: String,
    }

    /// Navigation of an application.
    pub struct UiNavSpec {
        /// `bottom`, `top` or `side`.
        position: String,
        /// Entries of the navigation.
        items: Vec<UiNavItem>,
    }

    /// An entry of an application's navigation.
    pub struct UiNavItem {
        /// Text that people read.
        label: String,
        /// Icon: SVG, a class of an icon font, or a path.
        icon: String,
        /// Target of the link.
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

    /// Users who may open an application.
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
