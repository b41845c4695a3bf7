//! Links of the documentation: each file exists, and so does each heading. Without the network, so
//! links to other places are not followed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::root;

/// A link of a Markdown file.
#[derive(Debug, PartialEq)]
struct Link {
    line: usize,
    target: String,
}

/// Lines that are not in fenced code, with their numbers, and without code in backticks.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        let plain = line.split('`').step_by(2).collect();
        (!is_fence && !in_code).then_some((number + 1, plain))
    })
}

/// The targets of `[…](…)` in this repository.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, plain) in prose(text) {
        for (at, _) in plain.match_indices("](") {
            let target = plain[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !is_elsewhere {
                let target = target.to_owned();
                found.push(Link { line, target });
            }
        }
    }
    found
}

/// The anchors of a file's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut in_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        let heading = line.trim_start_matches('#');
        if in_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor: String = heading.trim().chars().filter(is_kept).collect();
        let anchor = anchor.to_lowercase().replace(' ', "-");
        let times = seen.entry(anchor.clone()).or_default();
        found.insert(match *times {
            0 => anchor,
            times => format!("{anchor}-{times}"),
        });
        *times += 1;
    }
    found
}

/// All Markdown files of the repository but what was built.
fn markdown(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                markdown(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut files = Vec::new();
    markdown(&root(), &mut files);
    assert!(files.len() > 20, "{files:?}");
    let mut broken = Vec::new();
    let mut count = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for Link { line, target } in links(&text) {
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let leads_to = match path {
                "" => file.clone(),
                path => file.parent().unwrap().join(path),
            };
            let is_there = match leads_to.extension().is_some_and(|end| end == "md") {
                true => fs::read_to_string(&leads_to)
                    .is_ok_and(|text| anchor.is_empty() || anchors(&text).contains(anchor)),
                false => leads_to.exists() && anchor.is_empty(),
            };
            if !is_there {
                broken.push(format!("{}:{line}: {target}", file.display()));
            }
        }
    }
    assert!(count > 100, "{count} links");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn links_and_anchors_are_found() {
    let text = "# A `b_c` (d)\n## When …\n## When …\n```sh\n# no\n[x](no.md)\n```\n[a](x.md#y), [`b`](z.md) `](no.md)` [c](https://x)\n";
    let link = |target: &str| Link {
        line: 8,
        target: target.to_owned(),
    };
    assert_eq!(links(text), [link("x.md#y"), link("z.md")]);
    let expected = ["a-b_c-d", "when-", "when--1"].map(str::to_owned);
    assert_eq!(anchors(text), expected.into());
}
