//! A plugin's requests to the host API.

use std::ffi::OsStr;

use anyhow::Result;

use super::process::System;
use super::promises::{Limit, Promises};
use super::{Programs, figure};
use crate::command::say;

/// Durations of a plugin's requests to the host API, in microseconds.
pub(super) struct Callbacks {
    call: f64,
    cache_get: f64,
    db_query: f64,
    in_process_query: f64,
}

pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Callbacks> {
    say("a plugin's requests to the host API");
    let (rounds, count) = if quick { ("3", "3000") } else { ("9", "10000") };
    let arguments = ["callback", "--rounds", rounds, "--count", count].map(OsStr::new);
    let line = System::start(&programs.gk_bench(), &arguments)?.last_line()?;
    Ok(Callbacks {
        call: figure(&line, "call_us")?,
        cache_get: figure(&line, "cache_get_us")?,
        db_query: figure(&line, "db_query_us")?,
        in_process_query: figure(&line, "in_process_query_us")?,
    })
}

impl Callbacks {
    pub(super) fn print(&self, promises: &mut Promises) {
        println!();
        println!("a plugin's requests to the host API, medians with a Rust plugin:");
        println!("  plain call                 {:8.1} us", self.call);
        println!("  cache_get                  {:8.1} us", self.cache_get);
        println!("  db_query, one row, SQLite  {:8.1} us", self.db_query);
        println!(
            "  the same query in process  {:8.1} us",
            self.in_process_query
        );
        promises.look(
            "cache_get to a call",
            self.cache_get / self.call,
            Limit::AtMost(1.2),
        );
        promises.look(
            "db_query to twice the query in process and a call",
            self.db_query / (2.0 * self.in_process_query + self.call),
            Limit::AtMost(1.0),
        );
    }
}
