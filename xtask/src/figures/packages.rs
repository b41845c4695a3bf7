//! The packages that a crate brings in when nothing else of the workspace is built.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::command::{cargo, output};

/// Packages that a crate brings in.
pub(super) struct Alone {
    /// Packages without features, with the default ones, with all; the crate itself not counted.
    pub(super) counts: [usize; 3],
    /// Packages, with default features, that compile C or link a C library.
    pub(super) native: Vec<String>,
}

/// Asks cargo, because features are unified over all that is built together.
pub(super) fn alone(name: &str) -> Result<Alone> {
    let counts = [
        tree(name, "normal", &["--no-default-features"])?.len(),
        tree(name, "normal", &[])?.len(),
        tree(name, "normal", &["--all-features"])?.len(),
    ];
    let built = tree(name, "normal,build", &[])?;
    // A `-sys` package binds a C library. `cc` and `cmake` compile one.
    let native = built
        .into_iter()
        .filter(|package| package.ends_with("-sys") || ["cc", "cmake"].contains(&&**package))
        .filter(|package| !BINDINGS_ONLY.contains(&&**package))
        .collect();
    Ok(Alone { counts, native })
}

/// Packages named like bindings that need no C compiler: declarations of what the system has.
const BINDINGS_ONLY: &[&str] = &["linux-raw-sys", "windows-sys", "js-sys", "web-sys"];

fn tree(name: &str, edges: &str, features: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = cargo();
    tree.args(["tree", "--offline", "--prefix", "none", "--package", name]);
    tree.args(["--edges", edges, "--no-dedupe"]).args(features);
    // Two versions of a package are two packages; its name alone is what is looked for, too.
    let text = output(&mut tree)?;
    let packages: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let (package, rest) = line.split_once(' ')?;
            Some((package, rest.split(' ').next()?))
        })
        .filter(|(package, _)| *package != name)
        .collect();
    Ok(packages
        .into_iter()
        .scan(None, |last, (package, version)| {
            let twice = *last == Some(package);
            *last = Some(package);
            Some(match twice {
                true => format!("{package} {version}"),
                false => package.to_owned(),
            })
        })
        .collect())
}
