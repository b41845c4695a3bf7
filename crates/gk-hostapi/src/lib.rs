//! What a GoatKit plugin may ask of its host, and the guard that no request gets around.
//!
//! A supervisor passes a plugin's requests to a [`HostApi`], with a [`Caller`] that says who asks. The one of
//! this crate is `Host`: it looks the method up, has the guard decide (policy, permission, rate), and only
//! with what the guard hands out is a service reached. Each service is a module with a typed API of its own;
//! one whose check depends on what happens on the way (tables of a statement, redirects of a request) takes
//! the granted scope as an argument and enforces it itself.
//!
//! | Module | What it is for |
//! |---|---|
//! | [`policy`] | what a plugin may do: stored policies, the safe default, rates |
//! | [`db`] | SQLite, PostgreSQL, MySQL and MariaDB |
//! | [`cache`] | the cache, in memory or in Redis |
//! | [`http`] | outgoing HTTP requests |
//! | [`email`] | mail by SMTP |
//! | [`config`] | configuration that plugins may read |
//! | [`secure`] | secrets, encrypted at rest |
//! | [`i18n`] | translations |
//! | [`files`] | files of a plugin |
//! | [`kv`] | keys and values of a plugin |
//! | [`events`] | events for browsers |
//! | [`store`] | the SQLite file under kv, secure and policies |
//!
//! Without the feature `services` (a default one) only the interface between supervisor and host API is
//! left, with [`BasicHostApi`].
#![forbid(unsafe_code)]
// Copied whenever it is boxed or spawned, whatever of it is ever used.
#![warn(clippy::large_futures)]

mod api;
mod basic;
mod caller;
mod chain;
mod error;
mod record;

#[cfg(feature = "services")]
pub mod cache;
#[cfg(feature = "services")]
pub mod config;
#[cfg(feature = "services")]
pub mod db;
#[cfg(feature = "services")]
pub mod email;
#[cfg(feature = "services")]
pub mod events;
#[cfg(feature = "services")]
pub mod files;
#[cfg(feature = "services")]
mod guard;
#[cfg(feature = "services")]
mod host;
#[cfg(feature = "services")]
pub mod http;
#[cfg(feature = "services")]
pub mod i18n;
#[cfg(feature = "services")]
pub mod kv;
#[cfg(feature = "services")]
mod method;
#[cfg(feature = "services")]
pub mod policy;
#[cfg(feature = "services")]
pub mod secure;
#[cfg(feature = "services")]
pub mod store;
#[cfg(feature = "services")]
mod wire;

pub use api::{Admission, CallPlugins, HostApi, OutgoingCall, PluginLimits};
pub use basic::BasicHostApi;
pub use caller::{CallInfo, Caller, Level, PluginProcess, Shape};
pub use chain::{Chain, DEPTH_MAX};
pub use error::{ErrorKind, HostError};
pub use record::LOG_BYTES_MAX;

#[cfg(feature = "services")]
pub use guard::{Granted, REQUEST_TIMEOUT};
#[cfg(feature = "services")]
pub use host::{Host, Services};
#[cfg(feature = "services")]
pub use method::{Method, MethodSpec, NOT_PROVIDED, Needs, methods};
