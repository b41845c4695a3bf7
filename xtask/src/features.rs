//! `cargo xtask features`: what Cargo.toml files promise is compiled. Each crate is built alone
//! with no, each and all of its features, on the systems that it says it runs on, and its fuzz
//! targets with it. A warning is a failure.

use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package, TargetKind};

use crate::command::{cargo, command, root, say};

/// Crates that run on other systems and machines than the one at hand.
///
/// Those that compile C (AutoMTLS) are checked without it: their build scripts need a C compiler
/// for the other system.
const PORTABLE: &[&str] = &[
    "gk-manifest",
    "gk-wire",
    "gk-sandbox",
    "gk-sign",
    "gk-package",
    "gk-sqlguard",
    "gk-protocol",
    "gk-plugin",
];

/// Crates whose tests run without features, too: an engine that is not compiled in says so.
const OPTIONAL_ENGINES: &[&str] = &["gk-services", "gk-sqlguard"];

/// The other systems and machines.
const TARGETS: &[&str] = &[
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
];

/// Checks everything; the error names all that does not compile. `quick` leaves out the other systems,
/// and the single features of crates with many.
pub(crate) fn run(quick: bool) -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")?;
    let mut failures = Vec::new();
    let mut step = |what: String, command: &mut Command| -> Result<()> {
        say(format!("features: {what}"));
        if let Some(complaint) = complaint(command)? {
            failures.push(format!("{what}:\n{complaint}"));
        }
        Ok(())
    };
    for package in libraries(&metadata) {
        for features in selections(package, quick) {
            let what = format!("{} {}", package.name, features.join(" "));
            step(what, check(&package.name).args(&features))?;
        }
    }
    for name in OPTIONAL_ENGINES {
        let mut tests = cargo();
        tests.args(["test", "--quiet", "--lib", "--no-default-features"]);
        step(
            format!("{name} without its engines"),
            tests.args(["--package", name]),
        )?;
    }
    let installed = installed()?;
    let mut missing = Vec::new();
    let targets = if quick { &[] } else { TARGETS };
    for target in targets {
        if !installed.iter().any(|other| other == target) {
            missing.push(format!(
                "{target}: its standard library is not installed; `rustup target add {target}` \
                 installs it"
            ));
            continue;
        }
        for name in PORTABLE {
            let features = portable_features(&metadata, name);
            let mut check = check(name);
            check.args(["--target", target]).args(&features);
            step(format!("{name} on {target}"), &mut check)?;
        }
    }
    for package in metadata.workspace_packages() {
        let fuzz = package.manifest_path.with_file_name("fuzz/Cargo.toml");
        if fuzz.is_file() {
            let mut check = cargo();
            check.args(["check", "--quiet", "--locked", "--bins", "--manifest-path"]);
            check.arg(&fuzz).arg("--target-dir");
            check.arg(root().join("target/fuzz-check"));
            // Without it a build script compiles libFuzzer, which only linking needs.
            check.env("CUSTOM_LIBFUZZER_PATH", "/dev/null");
            step(format!("the fuzz targets of {}", package.name), &mut check)?;
        }
    }
    failures.extend(missing);
    match failures.is_empty() {
        true => Ok(()),
        false => bail!("{}", failures.join("\n")),
    }
}

fn libraries(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let packages = metadata.workspace_packages().into_iter();
    packages.filter(|package| {
        let is_library = |kinds: &[TargetKind]| kinds.contains(&TargetKind::Lib);
        let dir = package.manifest_path.parent();
        dir.is_some_and(|dir| dir.starts_with(root().join("crates").to_string_lossy().as_ref()))
            && package
                .targets
                .iter()
                .any(|target| is_library(&target.kind))
    })
}

/// Number of features from which on a crate has many.
const MANY: usize = 6;

/// Arguments for no feature, each one, and all.
fn selections(package: &Package, quick: bool) -> Vec<Vec<String>> {
    let none = vec!["--no-default-features".to_owned()];
    let features = package.features.keys().filter(|name| *name != "default");
    let each = features.map(|name| {
        let mut arguments = none.clone();
        arguments.extend(["--features".to_owned(), name.clone()]);
        arguments
    });
    let mut all: Vec<_> = std::iter::once(none.clone()).chain(each).collect();
    if quick && all.len() > MANY {
        return vec![none, vec!["--all-features".to_owned()]];
    }
    match all.len() {
        // Of a crate without features there is one form.
        1 => vec![Vec::new()],
        // One feature alone is all of them.
        2 => all,
        _ => {
            all.push(vec!["--all-features".to_owned()]);
            all
        }
    }
}

/// The features that need no C compiler for another system.
fn portable_features(metadata: &Metadata, name: &str) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let package = packages.iter().find(|package| package.name == name);
    let features = package.map(|package| package.features.keys());
    let features = features.into_iter().flatten();
    let features: Vec<_> = features
        .filter(|name| !["default", "automtls"].contains(&name.as_str()))
        .cloned()
        .collect();
    let mut arguments = vec!["--no-default-features".to_owned()];
    if !features.is_empty() {
        arguments.extend(["--features".to_owned(), features.join(",")]);
    }
    arguments
}

fn check(name: &str) -> Command {
    let mut check = cargo();
    check.args(["check", "--quiet", "--lib", "--package", name]);
    check
}

/// The compiler's complaints, if it has any: a warning is one.
fn complaint(command: &mut Command) -> Result<Option<String>> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    let complains = !output.status.success() || !text.is_empty();
    let stdout = String::from_utf8_lossy(&output.stdout);
    Ok(complains.then(|| format!("{command:?}\n{stdout}{text}")))
}

/// The targets whose standard library the toolchain has.
fn installed() -> Result<Vec<String>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = crate::command::output(command(rustc).args(["--print", "sysroot"]))?;
    let libraries = std::path::Path::new(sysroot.trim()).join("lib/rustlib");
    let entries = std::fs::read_dir(&libraries)
        .with_context(|| format!("cannot read {}", libraries.display()))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let targets = names.filter(|path| path.join("lib").is_dir());
    Ok(targets
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect())
}
