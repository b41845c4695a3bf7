//! `cargo xtask figures`: the size and the shape of the code, counted the same way each time.
//!
//! With `--check` it fails where a limit on files, functions, circles or packages is exceeded. The
//! figures of comments, names and columns have no limit.

mod packages;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use self::source::{Comments, Crate, File};
use crate::command::{print, root};
use crate::modules;

/// Maximum number of lines of a file, its inline tests not counted.
const FILE_LINES_MAX: usize = 500;

/// Maximum number of lines of a function.
const FUNCTION_LINES_MAX: usize = 100;

/// Maximum number of columns of a line.
const COLUMNS_MAX: usize = 100;

/// Functions that are tables: one arm or entry after the other, with nothing to take apart.
const TABLES: &[&str] = &[
    "crates/gk-api/src/openapi/examples.rs: example",
    "crates/gk-runtime/src/generation/machine.rs: on",
    "crates/gk-sqlguard/src/walk/types.rs: check",
];

/// Crates that others may use alone, and how many packages each may bring in.
const PACKAGES_MAX: &[(&str, usize)] = &[("gk-plugin", 60), ("gk-hostapi", 60)];

/// Crates that others build without a C compiler.
const WITHOUT_C: &[&str] = &[
    "gk-plugin",
    "gk-manifest",
    "gk-sign",
    "gk-package",
    "gk-sandbox",
];

/// Counts, prints, and checks if asked to.
pub(crate) fn run(check: bool) -> Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .exec()
        .context("cannot read the workspace's metadata")?;
    let crates = read(&metadata)?;
    let mut exceeded = sizes(&crates);
    exceeded.extend(functions(&crates));
    comments(&crates);
    names(&crates);
    exceeded.extend(circles(&metadata)?);
    exceeded.extend(packages(&crates)?);
    match exceeded.is_empty() || !check {
        true => Ok(()),
        false => bail!("{}", exceeded.join("\n")),
    }
}

fn read(metadata: &Metadata) -> Result<BTreeMap<String, Crate>> {
    let mut crates = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let dir = package.manifest_path.parent().context("no directory")?;
        let read = Crate::read(dir.as_std_path())
            .with_context(|| format!("cannot count {}", package.name))?;
        crates.insert(package.name.to_string(), read);
    }
    Ok(crates)
}

/// Prints files and lines of each crate; gives the files that are too long.
fn sizes(crates: &BTreeMap<String, Crate>) -> Vec<String> {
    print("crate          files   code    doc  comments  tests  median  p90  max");
    let mut total = Crate::default();
    for (name, of) in crates {
        size(name, of);
        total.files.extend(of.files.iter().cloned());
        total.test_lines += of.test_lines;
    }
    size("all", &total);
    let mut large: Vec<&File> = total.files.iter().collect();
    large.retain(|file| file.lines > FILE_LINES_MAX);
    large.sort_by_key(|file| std::cmp::Reverse(file.lines));
    print(format!(
        "\nfiles of more than {FILE_LINES_MAX} lines: {}",
        large.len()
    ));
    for file in &large {
        print(format!("  {:5}  {}", file.lines, file.path));
    }
    let large = large.iter().map(|file| {
        format!(
            "{} has {} lines; at most {FILE_LINES_MAX}",
            file.path, file.lines
        )
    });
    large.collect()
}

fn size(name: &str, of: &Crate) {
    let mut lines: Vec<usize> = of.files.iter().map(|file| file.lines).collect();
    lines.sort_unstable();
    let at = |part: usize| {
        let last = lines.len().saturating_sub(1);
        lines.get(last * part / 100).copied().unwrap_or_default()
    };
    let sum = |of_file: fn(&File) -> usize| of.files.iter().map(of_file).sum::<usize>();
    print(format!(
        "{name:14} {:5} {:6} {:6} {:9} {:6} {:7} {:4} {:4}",
        of.files.len(),
        sum(|file| file.code),
        sum(|file| file.doc),
        sum(|file| file.plain),
        of.test_lines,
        at(50),
        at(90),
        at(100),
    ));
}

/// Prints the functions that are too long, and gives them but for tables.
fn functions(crates: &BTreeMap<String, Crate>) -> Vec<String> {
    let files = crates.values().flat_map(|of| &of.files);
    let mut long: Vec<_> = files
        .flat_map(|file| file.functions.iter().map(move |function| (file, function)))
        .filter(|(_, (_, lines))| *lines > FUNCTION_LINES_MAX)
        .collect();
    long.sort_by_key(|(_, (_, lines))| std::cmp::Reverse(*lines));
    print(format!(
        "\nfunctions of more than {FUNCTION_LINES_MAX} lines: {}",
        long.len()
    ));
    let mut exceeded = Vec::new();
    let mut tables = TABLES.to_vec();
    for (file, (name, lines)) in long {
        let place = format!("{}: {name}", file.path);
        let table = TABLES.contains(&place.as_str());
        tables.retain(|known| *known != place);
        let note = if table { ", a table" } else { "" };
        print(format!("  {lines:5}  {place}{note}"));
        if !table {
            exceeded.push(format!(
                "{place} has {lines} lines; at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    let gone = tables.into_iter();
    exceeded
        .extend(gone.map(|table| format!("{table} is no long table any more: take it off TABLES")));
    exceeded
}

fn comments(crates: &BTreeMap<String, Crate>) {
    let mut sum = Comments::default();
    let (mut lines, mut wide) = (0, 0);
    for file in crates.values().flat_map(|of| &of.files) {
        sum.add(&file.comments);
        lines += file.lines;
        wide += file.wide;
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let percent = |part: usize, of: usize| part as f64 * 100.0 / of.max(1) as f64;
    print(format!("\ncomments: {} blocks", sum.blocks));
    for (what, count) in [
        ("begin with What, Who, Where, Whether, How", sum.questions),
        ("begin with It, They, That, Both, One, …", sum.pronouns),
        ("contain nobody, nothing, none, whoever, …", sum.nobodies),
        ("only repeat the name of their item", sum.echoes),
    ] {
        print(format!(
            "  {count:5}  {:4.1} %  {what}",
            percent(count, sum.blocks)
        ));
    }
    print(format!(
        "  {wide:5}  {:4.1} %  of all lines have more than {COLUMNS_MAX} columns",
        percent(wide, lines)
    ));
}

/// Prints the names of public types that two crates or more use for types of their own.
fn names(crates: &BTreeMap<String, Crate>) {
    let mut known = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (name, of) in crates {
        for item in of.files.iter().flat_map(|file| &file.public_types) {
            known.entry(item).or_default().insert(name);
        }
    }
    known.retain(|_, crates| crates.len() > 1);
    print(format!("\npublic types of one name: {}", known.len()));
    for (name, crates) in known {
        let crates: Vec<_> = crates.into_iter().collect();
        print(format!("  {name}: {}", crates.join(", ")));
    }
}

fn circles(metadata: &Metadata) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let dir = package.manifest_path.parent().context("no directory")?;
        for circle in modules::circles(dir.join("src").as_std_path())? {
            let modules = circle.modules.join(", ");
            found.push(format!("{}: a circle of {modules}", package.name));
        }
    }
    print(format!("\ncircles of imports: {}", found.len()));
    for circle in &found {
        print(format!("  {circle}"));
    }
    Ok(found)
}

/// Prints what each crate brings in when it is used alone.
fn packages(crates: &BTreeMap<String, Crate>) -> Result<Vec<String>> {
    print("\npackages of each crate alone (features: none / default / all), and what compiles C");
    let listed = PACKAGES_MAX.iter().map(|(name, _)| name).chain(WITHOUT_C);
    let mut exceeded: Vec<_> = listed
        .filter(|name| !crates.contains_key(**name))
        .map(|name| format!("there is no crate {name}: take it off the lists of figures"))
        .collect();
    for name in crates.keys().filter(|name| name.starts_with("gk-")) {
        let alone = packages::alone(name)?;
        let native = match alone.native.is_empty() {
            true => "no C".to_owned(),
            false => alone.native.join(", "),
        };
        if WITHOUT_C.contains(&name.as_str()) && !alone.native.is_empty() {
            exceeded.push(format!("{name} needs a C compiler: {native}"));
        }
        let [none, usual, all] = alone.counts;
        print(format!("  {name:14} {none:4} {usual:4} {all:4}   {native}"));
        if let Some((_, max)) = PACKAGES_MAX.iter().find(|(of, _)| of == name)
            && usual > *max
        {
            exceeded.push(format!("{name} brings in {usual} packages; at most {max}"));
        }
    }
    Ok(exceeded)
}
