//! The licence texts of what is linked into the programs: their terms ask for them to go along.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::sbom::Package;

/// Beginnings of the names of files with licence texts.
const NAMES: &[&str] = &["licen", "copying", "copyright", "notice", "unlicense"];

/// Maximum depth at which they are looked for: libraries in C are in directories of the packages
/// that bring them.
const DEPTH: usize = 2;

/// The largest file that is taken for a licence, in bytes.
const TEXT_BYTES_MAX: u64 = 256 * 1024;

/// One text after the other, each once, with the packages it is of.
pub(super) fn texts(packages: &[Package]) -> Result<String> {
    let mut result = String::from(
        "The programs of GoatKit contain the Rust standard library (MIT OR Apache-2.0), where they are built for musl\n\
         also that C library (MIT), and these packages:\n\n",
    );
    let mut of_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !package.is_own) {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.licence.as_deref().unwrap_or("see below");
        let mut found = Vec::new();
        find(package.directory.as_std_path(), DEPTH, &mut found)
            .with_context(|| format!("cannot read the licences of {name}"))?;
        let note = if found.is_empty() {
            ", without a text of its own"
        } else {
            ""
        };
        let _ = writeln!(result, "{name}: {licence}{note}");
        for text in found {
            let packages = of_text.entry(text).or_default();
            if packages.last() != Some(&name) {
                packages.push(name.clone());
            }
        }
    }
    let mut texts: Vec<_> = of_text.into_iter().collect();
    texts.sort_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    for (text, packages) in texts {
        let line = "=".repeat(80);
        let _ = write!(
            result,
            "\n{line}\n{}\n{line}\n\n{text}\n",
            packages.join(", ")
        );
    }
    Ok(result)
}

fn find(directory: &Path, depth: usize, found: &mut Vec<String>) -> std::io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            find(&entry.path(), depth - 1, found)?;
        }
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_source = [".rs", ".c", ".h", ".py", ".go"]
            .iter()
            .any(|ending| name.ends_with(ending));
        let is_licence = NAMES.iter().any(|begin| name.starts_with(begin)) && !is_source;
        if kind.is_file() && is_licence && entry.metadata()?.len() <= TEXT_BYTES_MAX {
            let bytes = fs::read(entry.path())?;
            let text = String::from_utf8_lossy(&bytes);
            found.push(text.replace("\r\n", "\n").trim().to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sbom;
    use super::*;

    #[test]
    fn texts_are_there_once_and_name_their_packages() {
        let packages = sbom::packages("x86_64-unknown-linux-gnu").unwrap();
        let text = texts(&packages).unwrap();
        assert_eq!(text, texts(&packages).unwrap());
        let foreign = packages.iter().filter(|package| !package.is_own);
        for package in foreign {
            let line = format!("\n{} {}: ", package.name, package.version);
            assert!(text.contains(&line), "{line}");
        }
        assert!(text.contains("Permission is hereby granted"));
        let home = packages[0].directory.parent().unwrap();
        assert!(!text.contains(home.as_str()), "a path of this machine");
    }
}
