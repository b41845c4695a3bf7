//! What a GoatKit plugin may ask of its host, and the guard that no request gets around.
//!
//! Each service is a module with a typed API of its own and no opinion on who may use it; a
//! service whose check depends on what happens on the way (tables of a statement, redirects of a
//! request) takes the caller's scope as an argument and enforces it itself.
#![forbid(unsafe_code)]

pub mod cache;
pub mod config;
pub mod db;
pub mod email;
mod error;
pub mod events;
pub mod files;
pub mod http;
pub mod i18n;
pub mod kv;
pub mod secure;
pub mod store;

pub use error::{ErrorKind, HostError};
