//! What the host takes as settings: for the files that set some.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{command, root};

/// Documentation that names all variables of the host.
const OPERATIONS: &str = "docs/operations.md";

/// Beginnings of the names of its variables.
const PREFIXES: &[&str] = &["GK_", "GOATFLOW_", "AWS_"];

/// Fails if a variable that a file sets is none of the host's.
pub(super) fn are_variables<'a>(
    file: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let text = fs::read_to_string(root().join(OPERATIONS)).context(OPERATIONS)?;
    let known = named(&text);
    for name in names {
        if !known.contains(name) {
            bail!("{file} sets {name}, which {OPERATIONS} does not name");
        }
    }
    Ok(())
}

/// The variables in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

/// Fails if the host does not take a configuration.
pub(super) fn is_taken(file: &str, host: &Path, configuration: &str) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let place = made.path().join("host.toml");
    fs::write(&place, configuration)?;
    // Doctor reads the whole configuration before it looks at the sandbox, of which nothing is
    // asked here.
    let mut doctor = command(host);
    doctor.args(["doctor", "--json", "--config"]).arg(&place);
    let said = doctor.output().context("cannot start gk-host")?;
    if serde_json::from_slice::<serde_json::Value>(&said.stdout).is_err() {
        bail!(
            "the host does not take {file}: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_nothing_reads_is_found() {
        are_variables("x", ["GK_LISTEN", "GOATFLOW_SECURE_KEY", "AWS_REGION"]).unwrap();
        let error = are_variables("x.yaml", ["GK_LISTEN", "GK_LISTENS"]).unwrap_err();
        assert!(
            error.to_string().contains("x.yaml sets GK_LISTENS"),
            "{error}"
        );
    }

    #[test]
    fn variables_are_found_in_prose() {
        let found = named("| `--log` | `GK_LOG` | `log`; `GOATFLOW_X=1`. MY_GK_LOG");
        assert_eq!(found, BTreeSet::from(["GK_LOG", "GOATFLOW_X"]));
    }
}
