//! The crates that are meant for others: each must be a package that a registry takes.

use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::command::{cargo, output, root, run, say};

/// In the order in which they are published: each comes after those that it needs.
const PUBLISHED: &[&str] = &[
    "gk-manifest",
    "gk-wire",
    "gk-sandbox",
    "gk-sign",
    "gk-sqlguard",
    "gk-jobs",
    "gk-protocol",
    "gk-hostapi",
    "gk-services",
    "gk-plugin",
];

/// Files that each package has beside its source.
const TEXTS: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Limits of the crate registry.
const KEYWORDS_MAX: usize = 5;
const KEYWORD_CHARS_MAX: usize = 20;
const CATEGORIES_MAX: usize = 5;

/// The categories of the crate registry that crates of this kind may be in, by their slugs. One
/// that is missing here and exists there may be added.
const CATEGORIES: &[&str] = &[
    "api-bindings",
    "asynchronous",
    "authentication",
    "caching",
    "concurrency",
    "config",
    "cryptography",
    "data-structures",
    "database",
    "date-and-time",
    "development-tools",
    "development-tools::testing",
    "email",
    "encoding",
    "filesystem",
    "internationalization",
    "network-programming",
    "os",
    "os::linux-apis",
    "os::unix-apis",
    "parser-implementations",
    "parsing",
    "rust-patterns",
    "text-processing",
    "web-programming",
    "web-programming::http-client",
    "web-programming::http-server",
];

/// Target for which the site of documentation builds.
const DOCS_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Checks what the crates say of themselves, and runs `cargo publish` up to the upload: of all in
/// one command, which finds those that are not on the crate registry yet among the others. `verify`
/// also builds each package from its own files.
pub(crate) fn check(verify: bool) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")?;
    let problems = problems(&metadata.packages);
    for problem in &problems {
        say(problem);
    }
    ensure!(
        problems.is_empty(),
        "{} things keep the crates from being published",
        problems.len()
    );
    for name in PUBLISHED {
        let mut list = cargo();
        list.args(["package", "--quiet", "--allow-dirty", "--list"]);
        let listed = output(list.args(["--package", name]))?;
        for text in TEXTS {
            ensure!(
                listed.lines().any(|file| file == *text),
                "the package of {name} has no {text}"
            );
        }
    }
    let mut publish = cargo();
    publish.args(["publish", "--dry-run", "--quiet", "--allow-dirty"]);
    // Cargo knows a package by name, version and directory, and takes what it has built of it for
    // good: in a directory that was used before, a sibling is that of the last time, whatever has
    // changed since.
    let fresh = tempfile::Builder::new()
        .prefix("verify-")
        .tempdir_in(root().join("target"))
        .context("cannot make a directory to build in")?;
    if verify {
        publish.arg("--target-dir").arg(fresh.path());
    } else {
        publish.arg("--no-verify");
    }
    for name in PUBLISHED {
        publish.args(["--package", name]);
    }
    run(&mut publish)
}

/// What is wrong with the crates that are published, and with which ones those are.
fn problems(packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        let is_listed = PUBLISHED.contains(&package.name.as_str());
        if is_listed == is_unpublished(package) {
            problems.push(format!(
                "{}: `publish` of its Cargo.toml and the list in xtask/src/package.rs differ",
                package.name
            ));
        }
    }
    for (place, name) in PUBLISHED.iter().enumerate() {
        let Some(package) = packages.iter().find(|package| package.name == *name) else {
            problems.push(format!("{name}: there is no such crate"));
            continue;
        };
        let found = lacks(package).into_iter();
        let found = found.chain(siblings(package, packages, &PUBLISHED[..place]));
        problems.extend(found.map(|problem| format!("{name}: {problem}")));
    }
    problems
}

fn is_unpublished(package: &Package) -> bool {
    package.publish.as_ref().is_some_and(Vec::is_empty)
}

/// What a package does not say, or says so that a registry refuses it.
fn lacks(package: &Package) -> Vec<String> {
    let mut problems = Vec::new();
    let mut demand = |is_there: bool, problem: String| {
        if !is_there {
            problems.push(problem);
        }
    };
    let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
    demand(text(&package.description), "no description".to_owned());
    demand(text(&package.license), "no license".to_owned());
    demand(text(&package.repository), "no repository".to_owned());
    demand(package.readme.is_some(), "no readme".to_owned());
    demand(package.rust_version.is_some(), "no rust-version".to_owned());
    demand(
        package.version.pre.is_empty() && package.version > semver_zero(),
        format!("the version {}", package.version),
    );
    let (keywords, categories) = (&package.keywords, &package.categories);
    demand(
        (1..=KEYWORDS_MAX).contains(&keywords.len()),
        format!("{} keywords, not 1 to {KEYWORDS_MAX}", keywords.len()),
    );
    for keyword in keywords {
        demand(
            is_keyword(keyword),
            format!("the crate registry takes no keyword {keyword:?}"),
        );
    }
    demand(
        (1..=CATEGORIES_MAX).contains(&categories.len()),
        format!("{} categories, not 1 to {CATEGORIES_MAX}", categories.len()),
    );
    for category in categories {
        demand(
            CATEGORIES.contains(&category.as_str()),
            format!("no known category {category:?}; xtask/src/package.rs has a list"),
        );
    }
    let docs = &package.metadata["docs"]["rs"];
    demand(
        docs["all-features"] == true,
        "[package.metadata.docs.rs] without all-features = true".to_owned(),
    );
    demand(
        docs["targets"] == serde_json::json!([DOCS_TARGET]),
        format!("[package.metadata.docs.rs] without targets = [{DOCS_TARGET:?}]"),
    );
    problems
}

fn semver_zero() -> cargo_metadata::semver::Version {
    cargo_metadata::semver::Version::new(0, 0, 0)
}

/// 1 to 20 characters of ASCII: a letter or digit, then also `_`, `-` and `+`.
fn is_keyword(keyword: &str) -> bool {
    keyword.len() <= KEYWORD_CHARS_MAX
        && keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-+".contains(c))
}

/// What is wrong with a package's dependencies on other crates of the workspace. `before` are
/// published ahead of it.
fn siblings(package: &Package, packages: &[Package], before: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        if dependency.path.is_none() {
            continue;
        }
        let name = dependency.name.as_str();
        let has_version = !dependency.req.comparators.is_empty();
        if dependency.kind == DependencyKind::Development && !has_version {
            // A dependency without a version is left out of the package.
            continue;
        }
        let version = packages.iter().find(|other| other.name == name);
        let version = version.map(|other| &other.version);
        if !has_version {
            problems.push(format!("the dependency {name} has a path and no version"));
        } else if !version.is_some_and(|version| dependency.req.matches(version)) {
            problems.push(format!(
                "the dependency {name} wants {}, which its crate is not",
                dependency.req
            ));
        }
        if !before.contains(&name) {
            problems.push(format!("the dependency {name} is not published before it"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Vec<Package> {
        let metadata = MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .no_deps()
            .exec();
        metadata.unwrap().packages
    }

    /// What is found once the crate of that name is changed.
    fn changed(name: &str, change: impl FnOnce(&mut Package)) -> Vec<String> {
        let mut packages = packages();
        let package = packages.iter_mut().find(|package| package.name == name);
        change(package.unwrap());
        problems(&packages)
    }

    #[test]
    fn the_crates_are_as_a_registry_wants_them() {
        assert_eq!(problems(&packages()), Vec::<String>::new());
    }

    #[test]
    fn what_a_package_lacks_is_found() {
        let keyword = "a-keyword-of-21-chars";
        assert_eq!(keyword.len(), KEYWORD_CHARS_MAX + 1);
        let found = changed("gk-plugin", |package| {
            package.description = Some(" ".to_owned());
            package.license = None;
            package.repository = None;
            package.readme = None;
            package.rust_version = None;
            package.version = semver_zero();
            package.keywords = vec![keyword.to_owned(), "a b".to_owned(), "-a".to_owned()];
            package.categories = vec!["plugins".to_owned()];
            package.metadata = serde_json::Value::Null;
        });
        let expected = [
            "no description",
            "no license",
            "no repository",
            "no readme",
            "no rust-version",
            "the version 0.0.0",
            "the crate registry takes no keyword \"a-keyword-of-21-chars\"",
            "the crate registry takes no keyword \"a b\"",
            "the crate registry takes no keyword \"-a\"",
            "no known category \"plugins\"; xtask/src/package.rs has a list",
            "[package.metadata.docs.rs] without all-features = true",
            "[package.metadata.docs.rs] without targets = [\"x86_64-unknown-linux-gnu\"]",
        ];
        assert_eq!(found, expected.map(|text| format!("gk-plugin: {text}")));
        let found = changed("gk-wire", |package| {
            package.keywords = vec!["a".to_owned(); KEYWORDS_MAX + 1];
            package.categories.clear();
        });
        let expected = [
            "gk-wire: 6 keywords, not 1 to 5",
            "gk-wire: 0 categories, not 1 to 5",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn dependencies_have_versions_and_come_first() {
        let found = changed("gk-manifest", |package| {
            package.version = cargo_metadata::semver::Version::new(0, 2, 0);
        });
        let wants = "the dependency gk-manifest wants ^0.1.0, which its crate is not";
        let expected = ["gk-jobs", "gk-protocol", "gk-hostapi", "gk-services"]
            .map(|name| format!("{name}: {wants}"));
        assert_eq!(found, expected);
        let found = changed("gk-plugin", |package| {
            package.dependencies[0].path = Some("somewhere".into());
            package.dependencies[0].req = cargo_metadata::semver::VersionReq::STAR;
        });
        let other = packages()
            .iter()
            .find(|package| package.name == "gk-plugin")
            .map(|package| package.dependencies[0].name.clone());
        let other = other.unwrap();
        let expected = [
            format!("gk-plugin: the dependency {other} has a path and no version"),
            format!("gk-plugin: the dependency {other} is not published before it"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_list_is_what_the_manifests_say() {
        let differ = "`publish` of its Cargo.toml and the list in xtask/src/package.rs differ";
        let found = changed("gk-runtime", |package| package.publish = None);
        assert_eq!(found, [format!("gk-runtime: {differ}")]);
        let found = changed("gk-sign", |package| package.publish = Some(Vec::new()));
        assert_eq!(found, [format!("gk-sign: {differ}")]);
    }
}
