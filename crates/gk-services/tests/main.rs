//! The services of the host API against real servers, disks and processes.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod db;
mod docs;
mod host;
mod policies;
mod services;
