//! Starts of a plugin, to its being initialised: our host's, confined and verified, beside others'.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::process::System;
use super::promises::{Limit, Promises};
use super::{Programs, figure, median};
use crate::command::say;

/// Time ahead of each start of the other hosts, as ahead of ours.
const PAUSE: Duration = Duration::from_millis(250);

/// Milliseconds of each round, by what was started and how.
pub(super) struct Starts(BTreeMap<&'static str, Vec<f64>>);

// The first start in a process of the Go host and one more in the same, without and with
// go-plugin's SecureConfig.
const GO: &str = "go, first";
const GO_MORE: &str = "go, again";
const GO_CHECKSUM: &str = "go, checksum, first";
const GO_CHECKSUM_MORE: &str = "go, checksum, again";
// The first start of the bytes in a host whose keeper is up, the same of a signed package where
// signatures are required, and one more of the unsigned one.
const GO_FIRST: &str = "gk-go, first";
const GO_SIGNED: &str = "gk-go, signed";
const GO_AGAIN: &str = "gk-go, again";
const RUST_FIRST: &str = "gk-rust, first";
const RUST_SIGNED: &str = "gk-rust, signed";
const RUST_AGAIN: &str = "gk-rust, again";
const GOPLUGIN: &str = "goplugin";

pub(super) fn measure(programs: &Programs, quick: bool) -> Result<Starts> {
    let rounds = if quick { 7 } else { 15 };
    let (go_dir, rust_dir) = (programs.go_dir()?, programs.rust_dir()?);
    let hello_go = programs.hello_go();
    let mut ours = System::start(&programs.gk_bench(), &["starts".as_ref()])?;
    let mut starts: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    let mut add = |name, ms| starts.entry(name).or_default().push(ms);
    say(format!("starts of a plugin, {rounds} rounds"));
    for _ in 0..rounds {
        let theirs = |how| -> Result<[f64; 2]> {
            let arguments = ["-starts".as_ref(), "-plugin".as_ref(), hello_go.as_ref()];
            let mut go = System::start(&programs.gobench(), &arguments)?;
            let mut start = || {
                std::thread::sleep(PAUSE);
                figure(&go.ask(how)?, "start_ms")
            };
            Ok([start()?, start()?])
        };
        let [first, again] = theirs("plain")?;
        add(GO, first);
        add(GO_MORE, again);
        let first = ours.ask(&format!("unsigned {}", go_dir.display()))?;
        add(GO_FIRST, figure(&first, "first_ms")?);
        add(GO_AGAIN, figure(&first, "again_ms")?);
        let [first, again] = theirs("checksum")?;
        add(GO_CHECKSUM, first);
        add(GO_CHECKSUM_MORE, again);
        let signed = ours.ask(&format!("signed {}", go_dir.display()))?;
        add(GO_SIGNED, figure(&signed, "first_ms")?);
        let first = ours.ask(&format!("unsigned {}", rust_dir.display()))?;
        add(RUST_FIRST, figure(&first, "first_ms")?);
        add(RUST_AGAIN, figure(&first, "again_ms")?);
        let signed = ours.ask(&format!("signed {}", rust_dir.display()))?;
        add(RUST_SIGNED, figure(&signed, "first_ms")?);
        std::thread::sleep(PAUSE);
        let arguments = ["goplugin".as_ref(), hello_go.as_ref()];
        let arguments = [&arguments[..], &["--instances".as_ref(), "1".as_ref()]].concat();
        let line = System::start(&programs.gk_bench(), &arguments)?.last_line()?;
        add(GOPLUGIN, figure(&line, "spawn_ms")?);
    }
    Ok(Starts(starts))
}

impl Starts {
    fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn median(&self, name: &str) -> f64 {
        median(self.of(name).to_vec())
    }

    /// The median of the ratios within each round.
    fn ratio(&self, name: &str, to: &str) -> f64 {
        let pairs = self.of(name).iter().zip(self.of(to));
        median(pairs.map(|(ms, other)| ms / other).collect())
    }

    pub(super) fn print(&self, promises: &mut Promises) {
        println!("\nstart of a plugin, to its being initialised:");
        for name in self.0.keys() {
            println!(
                "  {name:<20} {:>8.1} ms {:>7.2} of {GO:?}",
                self.median(name),
                self.ratio(name, GO)
            );
        }
        promises.look(
            "first start of the Go sample to the Go host's",
            self.ratio(GO_FIRST, GO),
            Limit::AtMost(1.0),
        );
        promises.look(
            "first start of the Go sample, signed, to the Go host's with a checksum",
            self.ratio(GO_SIGNED, GO_CHECKSUM),
            Limit::AtMost(1.0),
        );
        promises.look(
            "first start of the Rust sample, ms",
            self.median(RUST_FIRST),
            Limit::AtMost(10.0),
        );
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.0.iter().map(|(name, ms)| {
            json!({ "start": name, "median_ms": self.median(name), "to_go": self.ratio(name, GO), "rounds_ms": ms })
        });
        json!({ "rows": rows.collect::<Vec<_>>() })
    }
}
