//! The tutorial's plugin in Rust: a route, a widget, and an echo.

use gk_plugin::{Context, Error, Html, Plugin, Route, Widget};
use serde::Serialize;

#[derive(Serialize)]
struct Status {
    status: &'static str,
    version: &'static str,
}

async fn get_status(_: Context, _: ()) -> Result<Status, Error> {
    Ok(Status {
        status: "running",
        version: env!("CARGO_PKG_VERSION"),
    })
}

async fn render_widget(_: Context, _: ()) -> Result<Html, Error> {
    let html = "<div class=\"text-center p-4\"><h3>Hello from Rust</h3>\
                <p>Running as a native process.</p></div>";
    Ok(Html(html.to_owned()))
}

/// The plugin, ready to run.
pub fn plugin() -> Plugin {
    Plugin::new("hello-rust", env!("CARGO_PKG_VERSION"))
        .description("The tutorial's plugin in Rust")
        .license("MIT OR Apache-2.0")
        .route(
            Route::get("/api/plugins/hello-rust/status")
                .auth()
                .description("Get plugin status"),
            "get_status",
            get_status,
        )
        .widget(
            Widget::new("my-widget", "My Widget").location("agent_home"),
            "render_widget",
            render_widget,
        )
        .raw_function("echo", async |_, args| Ok(args))
        .on_init(async |context| {
            tracing::info!(host_version = context.config("host_version"), "initialised");
            Ok(())
        })
}
