//! Whole packages on a real file system: signed, tampered with, raced against.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fuzz_smoke;
mod golden;
mod links;
mod package;
#[cfg(target_os = "linux")]
mod race;
mod states;
mod tampering;
