//! Builders for what a plugin offers most: routes and widgets.

use gk_protocol::registration::{RouteSpec, WidgetSpec};
use serde::Serialize;

/// A route of the host's HTTP server. The host hands its path, query and body to the function as
/// one JSON object, with its own envelope (`_user_id`, `_is_admin`, …).
#[derive(Debug, Clone)]
pub struct Route(pub(crate) RouteSpec);

impl Route {
    /// Any method: GET, POST, PUT, DELETE or PATCH. A path may hold `:name` and end in `*rest`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Route(RouteSpec {
            method: method.to_owned(),
            path: path.to_owned(),
            ..RouteSpec::default()
        })
    }

    /// A GET route.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Route::new("GET", path)
    }

    /// A POST route.
    #[must_use]
    pub fn post(path: &str) -> Self {
        Route::new("POST", path)
    }

    /// Lets the host send a request once more when the process ends before it answers: asking twice
    /// does what asking once does.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.0.idempotent = true;
        self
    }

    /// Only with a valid token. A route without any middleware is public.
    #[must_use]
    pub fn auth(self) -> Self {
        self.middleware("auth")
    }

    /// Only for administrators.
    #[must_use]
    pub fn admin(self) -> Self {
        self.middleware("admin")
    }

    /// Adds a middleware by its name. The host refuses a route whose middleware it does not know.
    #[must_use]
    pub fn middleware(mut self, name: &str) -> Self {
        self.0.middleware.push(name.to_owned());
        self
    }

    /// Says what the route is for.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        self.0.description = text.to_owned();
        self
    }
}

/// A widget for the host's dashboards. Its function returns [`Html`].
#[derive(Debug, Clone)]
pub struct Widget(pub(crate) WidgetSpec);

impl Widget {
    /// A widget of medium size for the dashboard.
    #[must_use]
    pub fn new(id: &str, title: &str) -> Self {
        Widget(WidgetSpec {
            id: id.to_owned(),
            title: title.to_owned(),
            location: "dashboard".to_owned(),
            size: "medium".to_owned(),
            ..WidgetSpec::default()
        })
    }

    /// Sets the place of the widget: `dashboard`, `agent_home`, `admin_home`, `customer_home`.
    #[must_use]
    pub fn location(mut self, location: &str) -> Self {
        self.0.location = location.to_owned();
        self
    }

    /// `small`, `medium`, `large` or `full`.
    #[must_use]
    pub fn size(mut self, size: &str) -> Self {
        self.0.size = size.to_owned();
        self
    }

    /// Says what it shows.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        self.0.description = text.to_owned();
        self
    }
}

/// HTML as a result: a widget, or a page of a route.
#[derive(Debug, Clone, Serialize)]
pub struct Html(
    /// The markup. Escape what comes from users.
    #[serde(serialize_with = "as_object")]
    pub String,
);

fn as_object<S: serde::Serializer>(html: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("html", html)])
}
