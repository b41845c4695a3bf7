//! The licences, sources and bans of `deny.toml`, checked from `cargo metadata`: no tool to
//! install, no network.
//!
//! `cargo deny check` reads the same file and checks advisories besides.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, MetadataCommand};
use serde::Deserialize;

use crate::command::{root, say};

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// A crate that may be under other licences, besides.
#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Checks every package of the resolved graph.
pub(crate) fn run() -> Result<()> {
    let file = root().join("deny.toml");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let deny: Deny = toml::from_str(&text).context("deny.toml is not valid")?;
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .exec()
        .context("cannot read the workspace's metadata")?;
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let name = &package.name;
        let mut allowed = deny.licenses.allow.clone();
        for exception in &deny.licenses.exceptions {
            if exception.name == name.as_str() {
                allowed.extend(exception.allow.iter().cloned());
            }
        }
        match &package.license {
            None => violations.push(format!("{name} names no licence")),
            Some(licence) => match satisfied(licence, &allowed) {
                Some(true) => {}
                Some(false) => violations.push(format!(
                    "{name} is under {licence:?}, which deny.toml does not allow"
                )),
                None => violations.push(format!("{name}: {licence:?} is no licence expression")),
            },
        }
        if let Some(source) = &package.source
            && !source.is_crates_io()
        {
            violations.push(format!(
                "{name} comes from {source}, not from the registry of crates"
            ));
        }
        if let Some(banned) = deny
            .bans
            .deny
            .iter()
            .find(|banned| banned.name == name.as_str())
        {
            violations.push(format!("{name} is banned: {}", banned.reason));
        }
    }
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    say(format!(
        "licences: {} packages are under what deny.toml allows",
        metadata.packages.len()
    ));
    Ok(())
}

/// Whether an SPDX expression can be fulfilled with these licences; `None` if it is no expression.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    // Before expressions had a syntax, a slash meant OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any_of(&words, &mut at, allowed)?;
    (at == words.len()).then_some(result)
}

fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = all_of(words, at, allowed)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all_of(words, at, allowed)?;
    }
    Some(result)
}

fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut result = one(words, at, allowed)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed)?;
    }
    Some(result)
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let result = any_of(words, at, allowed)?;
        *at += 1;
        return (words.get(*at - 1) == Some(&")")).then_some(result);
    }
    if [")", "AND", "OR", "WITH"].contains(&word) {
        return None;
    }
    let mut licence = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        licence = format!("{word} WITH {}", words.get(*at + 1)?);
        *at += 2;
    }
    Some(allowed.contains(&licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
        let allowed: BTreeSet<_> = allowed.map(str::to_owned).into();
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("MIT OR GPL-3.0", Some(true)),
            ("MIT/GPL-3.0", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("GPL-3.0 AND MIT OR ISC", Some(true)),
            ("GPL-3.0 AND (MIT OR ISC)", Some(false)),
            ("(MIT OR GPL-3.0) AND ISC", Some(true)),
            ("Apache-2.0", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("MIT ISC", None),
            ("(MIT", None),
            ("OR MIT", None),
            ("", None),
        ] {
            assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
        }
    }

    #[test]
    fn this_workspace_keeps_to_the_list() {
        run().unwrap();
    }
}
