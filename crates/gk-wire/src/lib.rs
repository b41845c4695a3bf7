//! HashiCorp go-plugin's net/rpc protocol: handshake, yamux, gob, net/rpc, broker, AutoMTLS.
//!
//! Both ends: [`host::Client`] calls any go-plugin program, [`plugin::Server`] is one. The codecs
//! ([`gob`], [`yamux`], [`rpc`], [`handshake`]) are state machines without sockets or clocks; the feature
//! `tokio` (on by default) puts a thin adapter around them, and `automtls` (on by default) TLS.
//!
//! This crate knows nothing of GoatKit, starts no processes and has no timeouts for calls: whoever
//! calls puts one around it.
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
//! The process is yours to start, with [`HandshakeConfig::environment`], without which a plugin refuses to run, and with
//! somebody who drains its stdout and stderr. `examples/host.rs` is all of that, `examples/greeter.rs` the other end:
//! `cargo run -p gk-wire --example host -- target/debug/examples/greeter`.
//!
//! # Limits and errors
//!
//! What a peer sends is bounded before it is allocated, by [`Limits`]: frames, streams, messages, calls. What each does when
//! it is reached is said there: a call is answered with an error, or the connection ends. What is no protocol ends the
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

pub use connection::{CallError, Limits};
pub use handshake::{
    Handshake, HandshakeConfig, HandshakeError, IncompatibleVersion, Network, Protocol,
};
pub use memory::{MemoryBudget, OverBudget, Reservation};
#[cfg(feature = "tokio")]
pub use net::{Broker, Request, Responder, RpcClient, Service, Socket, Stream, host, plugin};
pub use rpc::Empty;
