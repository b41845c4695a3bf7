//! The services besides the database.

mod cache;
mod durability;
mod email;
mod http;
mod isolation;
mod smtp_tls;
mod web;

use std::time::Duration;

use gk_manifest::PluginName;
use tokio::time::Instant;

/// A deadline that no test reaches unless something hangs.
pub(crate) fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

pub(crate) fn plugin(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}
