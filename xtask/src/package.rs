//! The crates that are meant for others: each must be a package that a registry takes.

use anyhow::{Result, ensure};

use crate::command::{cargo, output, run};

/// In the order of their floors.
const PUBLISHED: &[&str] = &[
    "gk-manifest",
    "gk-wire",
    "gk-sandbox",
    "gk-sign",
    "gk-protocol",
    "gk-hostapi",
    "gk-plugin",
];

/// What each package has to have beside its source.
const TEXTS: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Makes the packages, without building them another time.
pub(crate) fn check() -> Result<()> {
    let packages = || {
        let mut package = cargo();
        package.args(["package", "--quiet", "--allow-dirty"]);
        package
    };
    for name in PUBLISHED {
        let listed = output(packages().args(["--list", "--package", name]))?;
        for text in TEXTS {
            ensure!(
                listed.lines().any(|file| file == *text),
                "the package of {name} has no {text}"
            );
        }
    }
    let mut all = packages();
    all.arg("--no-verify");
    for name in PUBLISHED {
        all.args(["--package", name]);
    }
    run(&mut all)
}
