//! The HTTP side of the host: the routes and widgets of plugins, the plugin API, tokens, health.
//!
//! This is the only crate that knows HTTP. What a plugin may be asked, and for how long, is the
//! runtime's; who may ask is decided here, and decided closed: a route that names a middleware this
//! host does not know is not served at all.
//!
//! | Module | What it is |
//! |---|---|
//! | [`tokens`] | bearer tokens and the identities behind them |
//! | `routes` | which plugin function answers which method and path |
//! | `bodies` | requests' bodies, within their limits |
//! | `forwarded`, `cors` | whose request it is behind a proxy, and from which page |
//! | `envelope` | what a plugin is told about a request |
//! | `answer` | what a plugin's result means in HTTP |
//! | `admin` | the host's own endpoints, each of which is a row of [`gk_api::ENDPOINTS`] |
//! | [`audit`] | who changed what |
//! | `insight` | what only the program around the gateway knows |
//! | `front` | what all requests go through |
//! | `plugin_route` | requests to plugins' routes |
//! | `events`, `sse`, `streams`, `tickets` | plugins' events, as server-sent events, and the way in for browsers |
//! | `heavy` | work that takes long, away from everybody else's |
//! | [`server`] | connections and their limits |

#![forbid(unsafe_code)]
// Copied whenever it is boxed or spawned, whatever of it is ever used.
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

pub use bodies::BODY_BYTES_MAX;
pub use cors::Cors;
pub use forwarded::TrustedProxies;
pub use front::Front;
pub use gateway::{Gateway, GatewayConfig, MEMORY_BYTES_DEFAULT, RenderMetrics};
pub use insight::{About, Insight, Seen};
pub use routes::RouteTable;
