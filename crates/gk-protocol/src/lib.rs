//! The GoatKit plugin contract on HashiCorp go-plugin's net/rpc: what host and plugin say to each
//! other.
//!
//! [`host`] is the host's end, [`plugin`] the plugin's. Both speak all three generations of SDKs
//! that plugins are built with (see [`SdkGeneration`]); which one a plugin has shows in what it
//! sends.
//!
//! go-plugin's AutoMTLS is the feature `automtls`, which is off: the GoatKit host does not ask for
//! it, and it needs a C compiler.
//!
//! This crate starts no processes, has no timeouts and grants nothing: those are the runtime's.

#![forbid(unsafe_code)]
// Copied whenever it is boxed or spawned, whatever of it is ever used.
#![warn(clippy::large_futures)]

pub mod call_token;
pub mod host;
mod messages;
mod place;
pub mod plugin;

pub use gk_wire::{Handshake, HandshakeConfig, Limits, RpcError};
pub use messages::{
    CallRequest, CallResponse, HostApiRequest, HostApiResponse, InitRequest, SdkGeneration,
};

/// Registration of a plugin.
pub mod registration {
    pub use gk_manifest::*;
}

/// The one name in the plugin set.
pub const PLUGIN_NAME: &str = "gkplugin";

/// Version of the application's protocol, the same in all SDK generations.
pub const PROTOCOL_VERSION: u32 = 1;

/// The handshake of GoatKit plugins: cookie `GOATKIT_PLUGIN=goatkit-v1`, version 1.
#[must_use]
pub fn handshake_config() -> HandshakeConfig {
    HandshakeConfig {
        protocol_version: PROTOCOL_VERSION,
        cookie_key: "GOATKIT_PLUGIN".to_owned(),
        cookie_value: "goatkit-v1".to_owned(),
    }
}
