//! The HTTP side of the host: the routes and widgets of plugins, the plugin API, tokens, health.
//!
//! This is the only crate that knows HTTP. The runtime limits what a plugin may be asked, and for
//! how long. This crate decides which caller may ask, and fails closed: a route that names a
//! middleware this host does not know is not served at all.
//!
//! | Module | Content |
//! |---|---|
//! | [`tokens`] | bearer tokens and the identities behind them |
//! | `routes` | table of the plugin functions by method and path |
//! | `bodies` | requests' bodies, within their limits |
//! | `forwarded`, `cors` | address of a client behind a proxy, and origins of pages |
//! | `envelope` | arguments that describe a request to a plugin |
//! | `answer` | HTTP answers from a plugin's results |
//! | `admin` | the host's own endpoints, each of which is a row of [`gk_api::ENDPOINTS`] |
//! | [`audit`] | log of all changes with their authors |
//! | `insight` | information that only the program around the gateway has |
//! | `front` | processing that all requests share |
//! | `plugin_route` | requests to plugins' routes |
//! | `events`, `sse`, `streams`, `tickets` | plugins' events, as server-sent events, and tickets for browsers |
//! | `heavy` | long computations, apart from the threads that serve requests |
//! | [`server`] | connections and their limits |

#![forbid(unsafe_code)]
// Large futures are copied in full whenever they are boxed or spawned.
#![warn(clippy::large_futures)]

mod admin;
mod answer;
pub mod audit;
mod auth;
mod bodies;
mod cors;
mod envelope;
mod events;
mod extract;
mod forwarded;
mod front;
mod gateway;
mod heavy;
mod insight;
mod paths;
mod places;
mod plugin_route;
mod problem;
mod request_id;
mod rfc3339;
mod routes;
pub mod server;
mod sse;
mod streams;
#[cfg(test)]
mod testing;
mod tickets;
pub mod tokens;
mod trace;

pub use bodies::BODY_BYTES_MAX;
pub use cors::Cors;
pub use forwarded::TrustedProxies;
pub use front::Front;
pub use gateway::{Gateway, GatewayConfig, MEMORY_BYTES_DEFAULT, RenderMetrics};
pub use insight::{About, Insight, Seen};
pub use routes::RouteTable;
