//! The wire against scripted peers: what another program may send, and what must become of it.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod backpressure;
mod bad_input;
mod gob;
mod interfaces;
mod peer;
mod replay;
mod session;
mod streams;
#[cfg(feature = "automtls")]
mod tls;
mod traps;
mod versions;
