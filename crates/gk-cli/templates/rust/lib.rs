//! {{name}}, a GoatKit plugin: a route and a widget.

use gk_plugin::{Context, Error, Html, Plugin, Route, Widget};
use serde::Serialize;

// Both stand in plugin.yaml, too; tests/plugin.rs compares them.
const NAME: &str = "{{name}}";
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct Status {
    status: &'static str,
    version: &'static str,
}

/// What `GET /api/plugins/{{name}}/status` answers.
async fn get_status(_: Context, _: ()) -> Result<Status, Error> {
    Ok(Status {
        status: "running",
        version: VERSION,
    })
}

/// What the widget shows.
async fn render_widget(_: Context, _: ()) -> Result<Html, Error> {
    let html = "<div class=\"text-center p-4\"><h3>{{title}}</h3>\
                <p>A native Rust process renders this.</p></div>";
    Ok(Html(html.to_owned()))
}

/// The plugin, ready to run.
pub fn plugin() -> Plugin {
    Plugin::new(NAME, VERSION)
        .description("A route and a widget")
        .license("Apache-2.0")
        .route(
            Route::get(&format!("/api/plugins/{NAME}/status"))
                .auth()
                .description("Whether the plugin runs, and which version"),
            "get_status",
            get_status,
        )
        .widget(
            Widget::new("my-widget", "{{title}}").location("agent_home"),
            "render_widget",
            render_widget,
        )
        .on_init(async |context| {
            tracing::info!(host_version = context.config("host_version"), "ready");
            Ok(())
        })
}
