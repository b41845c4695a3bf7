//! The services against real servers, disks and processes.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod db;
mod services;
