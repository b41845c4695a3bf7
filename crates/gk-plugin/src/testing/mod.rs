//! Tests of a plugin without a host process: a host API in memory, and the plugin on it.
//!
//! ```
//! use gk_plugin::testing::{Answer, TestHost, User};
//! use gk_plugin::{Context, Error, Plugin, Route};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Item {
//!     name: String,
//! }
//!
//! async fn add(context: Context, item: Item) -> Result<Item, Error> {
//!     let host = context.host();
//!     host.db().execute("INSERT INTO shop_items (name) VALUES (?)", (&item.name,)).await?;
//!     host.publish_event("items", "item.added", &item).await?;
//!     Ok(item)
//! }
//!
//! fn plugin() -> Plugin {
//!     Plugin::new("shop", "1.0.0").route(Route::post("/api/plugins/shop/items").auth(), "add", add)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let host = TestHost::new();
//! host.on_execute("INSERT INTO shop_items (name) VALUES (?)", 1);
//! let plugin = host.start(plugin()).await?;
//!
//! let request = plugin.post("/api/plugins/shop/items").json(&serde_json::json!({ "name": "lamp" }));
//! let added: Item = request.as_user(User::agent()).send().await?;
//! assert_eq!(added.name, "lamp");
//! assert_eq!(host.events()[0].event_type, "item.added");
//! assert_eq!(host.calls_to("db_exec")[0].args["args"][0], "lamp");
//!
//! // A handler alone, with a context of its own:
//! host.deny("db_exec");
//! let refused = add(host.context("add"), Item { name: "lamp".into() }).await;
//! assert_eq!(
//!     refused.err().map(|error| error.to_string()).as_deref(),
//!     Some("host: plugin \"shop\": database write access not granted"),
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # How true it is
//!
//! Handlers get the SDK's own [`Host`](crate::Host): arguments and results are JSON as over a
//! connection, and the texts of errors are the real host's.
//!
//! Cache, keys and values, files, secrets, events, mails and the log work without being set up and
//! begin empty. Database, HTTP, other plugins and methods of an application have to be set up;
//! until then their requests fail, and the error says what to call. Everything is granted;
//! [`TestHost::deny`] takes it away.
//!
//! What it does not do: it parses no SQL, has no limits of size, number and rate, and starts no
//! process. `tracing` events go where the test sends them.
//!
//! The module is there without a feature: it adds no dependency, and a plugin that does not use it
//! links nothing of it.

mod answers;
mod host;
mod plugin;
mod request;
mod route;
mod serve;
mod started;
mod state;
mod stores;
mod texts;
mod user;

pub use answers::{Answer, OutgoingRequest, Statement};
pub use host::TestHost;
pub use plugin::TestPlugin;
pub use request::TestRequest;
pub use state::{Event, HostCall, LogRecord, Mail};
pub use user::{Role, User};
