//! Scopes of permissions: hosts, recipients, keys of the configuration. Pure.
//!
//! A scope is compiled once for each policy. Tables are in [`gk_sqlguard`].

mod config;
mod http;
mod mail;

pub use config::{CONFIG_KEY_BYTES_MAX, ConfigScope};
pub use gk_sqlguard::Scope;
pub use http::{HOST_PATTERN_BYTES_MAX, HttpScope};
pub use mail::{ADDRESS_BYTES_MAX, MailAddress, MailScope, RECIPIENT_BYTES_MAX, Recipient};
