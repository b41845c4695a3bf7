//! The SDK against a host: without a process, over a socket pair.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod handlers;
mod host_api;
mod testing;
