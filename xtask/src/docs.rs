//! `cargo xtask docs`: the parts of the documentation that are made of the code: docs/cli.md of
//! gk's commands, and the tables of endpoints and metrics in docs/operations.md of the admin API's.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gk_api::{ENDPOINTS, Endpoint, METRICS, ParameterKind};

use crate::command::{cargo, command, root, run as run_command, say};

const CLI: &str = "docs/cli.md";
const OPERATIONS: &str = "docs/operations.md";

/// A table that is made of the code, between two lines of docs/operations.md.
struct Table {
    begin: &'static str,
    end: &'static str,
    make: fn() -> String,
}

const TABLES: [Table; 2] = [
    Table {
        begin: "<!-- endpoints: made by `cargo xtask docs` -->",
        end: "<!-- /endpoints -->",
        make: endpoints,
    },
    Table {
        begin: "<!-- metrics: made by `cargo xtask docs` -->",
        end: "<!-- /metrics -->",
        make: metrics,
    },
];

/// Builds `gk`, and writes or compares.
pub(crate) fn run(check: bool) -> Result<()> {
    with(&build_gk()?, check)
}

/// Builds a `gk` to generate with.
pub(crate) fn build_gk() -> Result<PathBuf> {
    let mut build = cargo();
    build
        .args(["build", "--quiet", "--package", "gk-cli", "--target-dir"])
        .arg(root().join("target"));
    run_command(&mut build)?;
    Ok(gk())
}

/// Compares, with the `gk` that was built before.
pub(crate) fn check() -> Result<()> {
    with(&gk(), true)
}

fn gk() -> PathBuf {
    root().join("target/debug/gk")
}

fn with(gk: &Path, check: bool) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    run_command(
        command(gk)
            .args(["generate", "markdown", "--out"])
            .arg(made.path()),
    )?;
    let cli = read(&made.path().join("cli.md"))?;
    let operations = root().join(OPERATIONS);
    let text = read(&operations)?;
    let updated = TABLES
        .iter()
        .try_fold(text, |text, table| table.replaced(&text))?;
    let mut stale = Vec::new();
    for (path, wanted) in [(CLI, &cli), (OPERATIONS, &updated)] {
        let file = root().join(path);
        if fs::read_to_string(&file).is_ok_and(|present| present == *wanted) {
            continue;
        }
        match check {
            true => stale.push(path),
            false => {
                fs::write(&file, wanted)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                say(format!("written: {path}"));
            }
        }
    }
    if !stale.is_empty() {
        bail!(
            "not what the code says: {}; run: cargo xtask docs",
            stale.join(" and ")
        );
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

impl Table {
    /// The document with the table of now between its marks.
    fn replaced(&self, text: &str) -> Result<String> {
        let Self { begin, end, make } = self;
        let parts = text
            .split_once(begin)
            .and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
        let (before, after) =
            parts.with_context(|| format!("{OPERATIONS} has no lines {begin:?} and {end:?}"))?;
        Ok(format!("{before}{begin}\n{}{end}{after}", make()))
    }
}

fn metrics() -> String {
    let mut text = String::from("| Metric | Kind | Labels | What |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.collect::<Vec<_>>().join(", "),
            metric.help.replace('|', "\\|"),
        );
    }
    text
}

fn endpoints() -> String {
    let mut text = String::from("| Method and path | Who | What |\n|---|---|---|\n");
    for endpoint in ENDPOINTS {
        let _ = writeln!(
            text,
            "| `{} {}` | {} | {} |",
            endpoint.method,
            endpoint.path,
            endpoint.access.as_str(),
            what(endpoint).replace('|', "\\|"),
        );
    }
    text
}

/// The summary of an endpoint, and each parameter of its query.
fn what(endpoint: &Endpoint) -> String {
    let mut text = format!("{}.", endpoint.summary);
    for parameter in endpoint.query {
        let value = match parameter.kind {
            ParameterKind::Flag => "",
            ParameterKind::Boolean => "=true",
            ParameterKind::Integer => "=N",
            ParameterKind::Duration => "=10s",
            ParameterKind::Text => "=…",
        };
        let _ = write!(text, " `?{}{value}`: {}", parameter.name, parameter.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_goes_between_the_marks_and_nothing_else_changes() {
        for (table, row) in TABLES.iter().zip([
            "| `GET /livez` | anybody |",
            "| `gk_plugin_calls_total` | counter | `plugin`, `outcome` |",
        ]) {
            let Table { begin, end, .. } = table;
            let document = format!("before\n{begin}\nold\n{end}\nafter\n");
            let updated = table.replaced(&document).unwrap();
            assert!(updated.starts_with("before\n") && updated.ends_with("\nafter\n"));
            assert!(!updated.contains("\nold\n"));
            assert_eq!(updated.matches(row).count(), 1, "{updated}");
            assert_eq!(table.replaced(&updated).unwrap(), updated);
            assert!(table.replaced("no marks").is_err());
        }
    }

    #[test]
    fn a_metric_of_the_table_is_one_of_the_sources() {
        let mut sources = String::new();
        let mut directories = vec![root().join("crates")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.ends_with("gk-api/src/metrics.rs") {
                    // The table itself.
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    sources.push_str(&fs::read_to_string(path).unwrap());
                }
            }
        }
        for metric in METRICS {
            let name = format!("{:?}", metric.name);
            assert!(sources.contains(&name), "no source has {name}");
        }
    }

    #[test]
    fn every_dependency_has_a_row() {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let declared = manifest["workspace"]["dependencies"].as_table().unwrap();
        let declared: BTreeSet<_> = declared
            .keys()
            .map(String::as_str)
            .filter(|name| !name.starts_with("gk-"))
            .collect();
        let page = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
        let cells = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let described: BTreeSet<_> = cells
            .flat_map(|cell| cell.split(", "))
            .map(|name| name.trim_matches('`'))
            .collect();
        assert_eq!(described, declared, "docs/dependencies.md and Cargo.toml");
    }
}
