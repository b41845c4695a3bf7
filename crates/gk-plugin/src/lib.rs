//! GoatKit plugins in Rust.
//!
//! A plugin says what it offers, gives a function for each, and runs:
//!
//! ```no_run
//! use gk_plugin::{Context, Error, Html, Plugin, Route, Widget};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize)]
//! struct Status {
//!     status: &'static str,
//! }
//!
//! #[derive(Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! async fn status(_: Context, _: ()) -> Result<Status, Error> {
//!     Ok(Status { status: "running" })
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Plugin::new("my-plugin", "1.0.0")
//!         .description("My first plugin")
//!         .route(Route::get("/api/plugins/my-plugin/status").auth(), "get_status", status)
//!         .widget(Widget::new("my-widget", "My widget"), "render", async |_: Context, (): ()| {
//!             Ok::<_, Error>(Html("<p>Hello</p>".to_owned()))
//!         })
//!         .function("greet", async |_: Context, greet: Greet| {
//!             Ok::<_, Error>(format!("Hello, {}!", greet.name))
//!         })
//!         .run()
//! }
//! ```
//!
//! What the host offers is at [`Context::host`]: database, cache, durable keys and values, files,
//! HTTP, mail, configuration, translations, events and other plugins. [`Context::traceparent`] says
//! to which trace a call belongs.
//!
//! Arguments are read into the function's type; text of a path, a query or a form is taken for the
//! numbers and truth values that it wants. [`IncomingRequest`] has the bytes of a body and the
//! files of a form.
//!
//! Calls run concurrently, each in its own task. A handler that panics fails its own call and
//! nothing else. `tracing` events become structured records in the host's log. Handlers that block
//! belong into [`Plugin::blocking_function`].
//!
//! [`testing`] runs a plugin, or a handler alone, on a host API in memory.
//!
//! The feature `automtls` is for hosts that ask for go-plugin's AutoMTLS, which the GoatKit host
//! does not. It needs a C compiler.

#![forbid(unsafe_code)]

mod context;
mod error;
mod handler;
mod host;
mod lenient;
mod logging;
mod plugin;
mod request;
mod spec;
pub mod testing;

pub use context::Context;
pub use error::Error;
pub use host::{
    Batch, Cache, Db, FileInfo, Files, Host, HostError, HttpRequest, HttpResponse, Keys, Kv,
    KvPage, LogLevel, PAGE_ROWS_DEFAULT, Rows, StoredFile, Written,
};
pub use plugin::Plugin;
pub use request::{IncomingRequest, UploadedFile};
pub use spec::{Html, Route, Widget};

/// The contract's own types, for what the builders do not cover.
pub use gk_protocol::registration;
