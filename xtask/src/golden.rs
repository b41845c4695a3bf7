//! `cargo xtask golden --check`: the golden gob vectors against the Go at hand.

use anyhow::Result;

use crate::command::{command, root, run};
use crate::go::Go;

/// Encodes every vector that Go can again, and compares the bytes.
pub(crate) fn check() -> Result<()> {
    let go = Go::find()?;
    let directory = root().join("tests/plugins");
    let binary = root().join("target/golden/golden");
    go.build(&directory, "./golden", &binary)?;
    run(command(binary)
        .arg("-check")
        .arg(root().join("crates/gk-wire/tests/data/gob.jsonl")))
}
