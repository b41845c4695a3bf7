//! Crates whose features are promised apart: each is compiled alone, with none and with each of its features. And what
//! a crate may bring with it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use cargo_metadata::MetadataCommand;

use crate::command::{cargo, output, root, run, say};

/// The crates that are compiled with none and with each of their features. Their tests run with none, too.
const APART: &[&str] = &["gk-services", "gk-sqlguard"];

/// The most packages in a crate's normal build, itself included: who imports it should not pay for more.
const PACKAGES_MAX: &[(&str, usize)] = &[("gk-hostapi", 60)];

/// Checks all of them.
pub(crate) fn check() -> Result<()> {
    for (name, packages_max) in PACKAGES_MAX {
        let mut tree = cargo();
        tree.args([
            "tree",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--no-dedupe",
        ]);
        let listed = output(tree.args(["--format", "{p}", "--package", name]))?;
        // The path of a crate of the workspace follows its version.
        let package = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let packages: BTreeSet<_> = listed.lines().map(package).collect();
        ensure!(
            packages.len() <= *packages_max,
            "{name} brings {} packages, and may bring {packages_max}: {packages:?}",
            packages.len()
        );
    }
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")?;
    for name in APART {
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name == *name);
        let package = package.with_context(|| format!("there is no crate {name}"))?;
        let features = package.features.keys().map(String::as_str);
        for feature in features.filter(|feature| *feature != "default").chain([""]) {
            say(format!("{name} with [{feature}]"));
            let mut clippy = cargo();
            clippy.args(["clippy", "--quiet", "--lib", "--no-default-features"]);
            clippy.args(["--package", name, "--features", feature]);
            run(clippy.args(["--", "-D", "warnings"]))?;
        }
        let mut tests = cargo();
        tests.args(["test", "--quiet", "--lib", "--no-default-features"]);
        run(tests.args(["--package", name]))?;
    }
    Ok(())
}
