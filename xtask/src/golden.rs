//! `cargo xtask golden --check`: the golden vectors of gob and of signatures against the Go at
//! hand.

use anyhow::Result;

use crate::command::{command, root, run};
use crate::go::Go;

/// Makes every vector that Go can again, and compares the bytes.
pub(crate) fn check() -> Result<()> {
    let go = Go::find()?;
    let directory = root().join("tests/plugins");
    for (program, vectors) in [
        ("golden", "crates/gk-wire/tests/data/gob.jsonl"),
        ("signer", "crates/gk-sign/tests/data/v1.jsonl"),
    ] {
        let binary = root().join("target/golden").join(program);
        go.build(&directory, &format!("./{program}"), &binary)?;
        run(command(binary).arg("-check").arg(root().join(vectors)))?;
    }
    Ok(())
}
