//! The services against real servers.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod db;
