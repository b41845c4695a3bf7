//! HashiCorp go-plugin's net/rpc protocol: handshake, yamux, gob, net/rpc, broker, AutoMTLS.
//!
//! The crate implements both ends: [`host::Client`] calls plugins of any language that serve
//! net/rpc, and [`plugin::Server`] is such a plugin. It knows nothing of GoatKit and starts no
//! processes.
//!
//! The protocol is a set of state machines without sockets and clocks. [`connection`] is a whole
//! connection between a host and a plugin; [`yamux`], [`rpc`], [`gob`] and [`handshake`] are its
//! parts. The feature `tokio` (on by default) adds sockets, the feature `automtls` (on by default)
//! TLS.
//!
//! # Hosting
//!
//! ```no_run
//! # async fn example(line: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! use gk_wire::{Handshake, Limits, host::Client};
//!
//! // `line` is the first line that the plugin printed to its stdout.
//! let handshake = Handshake::parse(line)?;
//! let socket = tokio::net::UnixStream::connect(&handshake.address).await?;
//! let client = Client::connect(socket, Limits::default())?;
//! let greeter = client.dispense("greeter").await?;
//! let greeting: String = greeter.call("Plugin.Greet", &()).await?;
//! client.quit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The application starts the process, with the variables of [`HandshakeConfig::environment`],
//! without which a plugin refuses to run, and drains its stdout and stderr. `examples/host.rs` is a
//! whole host, `examples/greeter.rs` a plugin for it: `cargo run -p gk-wire --example host --
//! target/debug/examples/greeter`.
//!
//! Calls have no timeout. Put one around each call, [`Client::ping`](host::Client::ping) and
//! [`Client::quit`](host::Client::quit) included.
//!
//! # Without tokio
//!
//! [`connection`] runs on any runtime, over any transport, or in memory: bytes and the time go in,
//! frames and events come out. Its documentation has an example with both ends.
//!
//! # Limits and errors
//!
//! Data of the peer is checked against [`Limits`] before memory is allocated for it: frames,
//! streams, messages, calls. The documentation of each limit says what happens beyond it: the call
//! is answered with an error, or the connection ends. A peer that breaks the protocol ends the
//! connection, and every call on it fails with the reason.

#![forbid(unsafe_code)]

#[cfg(feature = "automtls")]
pub mod automtls;
pub mod connection;
pub mod gob;
pub mod handshake;
pub mod memory;
#[cfg(feature = "tokio")]
mod net;
pub mod rpc;
pub mod yamux;

pub use connection::{Limits, RpcError};
pub use handshake::{
    Handshake, HandshakeConfig, HandshakeError, IncompatibleVersion, Network, Protocol,
};
pub use memory::{MemoryBudget, OverBudget, Reservation};
#[cfg(feature = "tokio")]
pub use net::{Broker, Request, Responder, RpcClient, Service, Socket, Stream, host, plugin};
pub use rpc::Empty;
