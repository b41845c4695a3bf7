//! What the programs are made of, as CycloneDX 1.6 in JSON: from `cargo tree`, `cargo metadata` and
//! Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cargo_metadata::camino::Utf8PathBuf;
use cargo_metadata::{MetadataCommand, PackageId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::{cargo, output, root};

/// Programs that are shipped.
const PROGRAMS: &[&str] = &["gk-cli", "gk-host"];

/// A package that is in a program.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: Option<String>,
    /// `true` if it is this workspace's own.
    pub(super) is_own: bool,
    /// Directory of the package's source on this machine.
    pub(super) directory: Utf8PathBuf,
    repository: Option<String>,
    /// The SHA-256 of its package at the registry.
    checksum: Option<String>,
    /// The packages that it needs: their references.
    needs: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Package {
    /// Package URL (<https://github.com/package-url/purl-spec>).
    fn purl(&self) -> String {
        purl(&self.name, &self.version)
    }
}

fn purl(name: &str, version: &str) -> String {
    // A + of build metadata is the one character of versions that a URL reserves.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// The packages that are linked into the programs for a target, by name and version.
pub(super) fn packages(target: &str) -> Result<Vec<Package>> {
    let linked = linked(target)?;
    let text =
        std::fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let lock: Lock = toml::from_str(&text).context("Cargo.lock is not valid")?;
    let checksums: BTreeMap<_, _> = lock
        .package
        .into_iter()
        .map(|locked| ((locked.name, locked.version), locked.checksum))
        .collect();
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked", "--filter-platform", target].map(str::to_owned))
        .exec()
        .context("cannot read the workspace's metadata")?;
    let key = |id: &PackageId| {
        let package = &metadata[id];
        (package.name.to_string(), package.version.to_string())
    };
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo resolved nothing")?;
    let mut packages = Vec::new();
    for node in &resolve.nodes {
        let (name, version) = key(&node.id);
        if !linked.contains(&(name.clone(), version.clone())) {
            continue;
        }
        let package = &metadata[&node.id];
        let needs = node
            .dependencies
            .iter()
            .map(&key)
            .filter(|needed| linked.contains(needed))
            .map(|(name, version)| purl(&name, &version));
        packages.push(Package {
            licence: package.license.as_ref().map(|text| spdx(text)),
            is_own: package.source.is_none(),
            directory: package
                .manifest_path
                .parent()
                .context("a manifest is in no directory")?
                .to_owned(),
            repository: package.repository.clone(),
            checksum: checksums
                .get(&(name.clone(), version.clone()))
                .cloned()
                .flatten(),
            needs: needs.collect(),
            name,
            version,
        });
    }
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(packages)
}

/// Name and version of what is linked, with the features that are on; what only builds is not among
/// it.
fn linked(target: &str) -> Result<BTreeSet<(String, String)>> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--format", "{p}", "--target", target]);
    for program in PROGRAMS {
        tree.args(["--package", program]);
    }
    let text = output(&mut tree)?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some((name.to_owned(), version.to_owned()))
        })
        .collect())
}

/// Before expressions had a syntax, a slash meant OR.
fn spdx(licence: &str) -> String {
    licence
        .split('/')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" OR ")
}

/// The document.
pub(super) fn write(packages: &[Package], version: &str, epoch: u64) -> Result<String> {
    let of_release = format!("pkg:generic/goatkit@{version}");
    let programs: Vec<_> = packages
        .iter()
        .filter(|package| PROGRAMS.contains(&&*package.name))
        .map(Package::purl)
        .collect();
    let mut dependencies = vec![json!({ "ref": of_release, "dependsOn": programs })];
    dependencies.extend(
        packages
            .iter()
            .map(|package| json!({ "ref": package.purl(), "dependsOn": package.needs })),
    );
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(epoch)?,
            "component": {
                "type": "application",
                "bom-ref": of_release,
                "name": "goatkit",
                "version": version,
                "purl": of_release,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
        },
        "components": packages.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(package: &Package) -> Value {
    let is_program = PROGRAMS.contains(&&*package.name);
    let mut component = json!({
        "type": if is_program { "application" } else { "library" },
        "bom-ref": package.purl(),
        "name": package.name,
        "version": package.version,
        "purl": package.purl(),
    });
    if let Some(licence) = &package.licence {
        component["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

/// RFC 3339, in UTC.
fn timestamp(epoch: u64) -> Result<String> {
    let seconds = i64::try_from(epoch).context("the time is too late")?;
    let time = jiff::Timestamp::from_second(seconds).context("the time is too late")?;
    Ok(time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_its_licence_and_hash_and_what_it_needs_is_there() {
        let packages = packages("x86_64-unknown-linux-gnu").unwrap();
        let text = write(&packages, "1.2.3", 1_700_000_000).unwrap();
        assert_eq!(text, write(&packages, "1.2.3", 1_700_000_000).unwrap());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        let components = document["components"].as_array().unwrap();
        let known: BTreeSet<_> = components
            .iter()
            .map(|component| component["bom-ref"].as_str().unwrap())
            .collect();
        assert_eq!(known.len(), components.len(), "a reference is there twice");
        let name = |component: &Value| component["name"].as_str().unwrap().to_owned();
        for component in components {
            assert!(
                component["licenses"][0]["expression"].is_string(),
                "{component}"
            );
            let own = name(component).starts_with("gk-");
            assert_eq!(own, component["hashes"].is_null(), "{component}");
        }
        for expected in ["gk-cli", "gk-host", "gk-wire", "tokio", "rustls"] {
            assert!(
                components
                    .iter()
                    .any(|component| name(component) == expected),
                "{expected}"
            );
        }
        for absent in [
            "xtask",
            "gk-plugin",
            "insta",
            "criterion",
            "goplugin",
            "serde_derive",
        ] {
            assert!(
                !components.iter().any(|component| name(component) == absent),
                "{absent}"
            );
        }
        for edge in document["dependencies"].as_array().unwrap() {
            for needed in edge["dependsOn"].as_array().unwrap() {
                assert!(known.contains(needed.as_str().unwrap()), "{edge}");
            }
        }
    }

    #[test]
    fn old_licence_texts_are_expressions() {
        assert_eq!(spdx("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(spdx("MIT OR Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(purl("a", "1.0.0+b"), "pkg:cargo/a@1.0.0%2Bb");
    }
}
