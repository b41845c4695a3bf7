//! Whole-system tests: the real `gk-host`, real plugins in Go and Rust, HTTP from outside.
//!
//! The programs come from `cargo xtask test-e2e`. Each test has a host of its own on a free port, with directories of
//! its own, so that all of them run at the same time.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod attacks;
mod backup;
mod bad_plugins;
mod budget;
mod calls;
mod cluster;
mod conformance;
mod control;
mod crashes;
mod develop;
mod endpoints;
mod escape;
mod examples;
mod front;
mod generations;
mod gk;
mod gk_hostile;
mod gk_output;
mod goat;
mod gob;
mod gone;
mod greeter;
mod guide;
mod harmless;
mod host;
mod host_api;
mod http;
mod jobs;
mod layers;
mod lifecycle;
mod memory;
mod metrics;
mod namespaces;
mod operators;
mod otlp;
mod output;
mod packages;
mod person;
mod processes;
mod refusals;
mod reload;
mod reload_load;
mod reload_many;
mod reload_watch;
mod reload_ways;
mod restarts;
mod service;
mod signatures;
mod slow_clients;
mod traces;
mod tutorial;
mod users;
mod versions;

use std::path::PathBuf;
use std::time::Duration;

/// How long anything here may take; far more than it does, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// Where the programs are that were built for these tests.
fn programs() -> PathBuf {
    std::env::var_os("GK_E2E_BIN")
        .expect("GK_E2E_BIN does not say where the built programs are: run cargo xtask test-e2e")
        .into()
}

/// A program that was built for these tests.
fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(
        path.is_file(),
        "{} is not there: run cargo xtask test-e2e",
        path.display()
    );
    path
}

/// Asks again and again until there is an answer: for what an outside program gives no signal of.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not come about");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
