//! The SDKs' source, which travels inside of the command, so that a new plugin builds without this
//! repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;
use toml::{Table, Value};

use crate::failure::{Exit, Failure};

/// The Go module, with its tests.
#[derive(RustEmbed)]
#[folder = "../../plugins/sdk-go/"]
#[include = "go.mod"]
#[include = "go.sum"]
#[include = "README.md"]
#[include = "*.go"]
struct Go;

macro_rules! crates {
    ($($name:ident $folder:literal)*) => {
        $(
            #[derive(RustEmbed)]
            #[folder = $folder]
            #[include = "src/*"]
            #[include = "Cargo.toml"]
            #[include = "README.md"]
            #[include = "LICENSE-*"]
            struct $name;
        )*
    };
}
crates! {
    GkPlugin "../gk-plugin/"
    GkProtocol "../gk-protocol/"
    GkManifest "../gk-manifest/"
    GkWire "../gk-wire/"
}

/// The crates of the Rust SDK.
const CRATES: [&str; 4] = ["gk-plugin", "gk-protocol", "gk-manifest", "gk-wire"];
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The Go module that plugins import.
pub(crate) const GO_MODULE: &str = "github.com/goatkit/goatflow";

/// A file of an SDK: its path, and its content.
pub(crate) type SdkFile = (String, Vec<u8>);

/// Origin of a plugin's SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its source, copied into the plugin's directory `sdk`.
    Embedded,
    /// A copy somewhere on this machine.
    Path(PathBuf),
    /// A published version.
    Version(String),
}

impl Source {
    /// `--sdk`: a version, with or without `v`, or else a path.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else {
            return Ok(Source::Embedded);
        };
        let version = text.strip_prefix('v').unwrap_or(text);
        if semver::Version::parse(version).is_ok() {
            return Ok(Source::Version(version.to_owned()));
        }
        let path = Path::new(text);
        path.canonicalize()
            .map(Source::Path)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Failure::new(
                    Exit::Usage,
                    format!("--sdk {text}: neither a version nor a directory that exists"),
                    "write a version such as 1.2.3, or the path of the SDK's source",
                ),
                _ => Failure::file("read", path, &error),
            })
    }
}

fn files<E: RustEmbed>(prefix: &str) -> Vec<SdkFile> {
    E::iter()
        .filter_map(|path| {
            let file = E::get(&path)?;
            Some((format!("{prefix}{path}"), file.data.into_owned()))
        })
        .collect()
}

/// The Go module's files.
pub(crate) fn go_files() -> Vec<SdkFile> {
    files::<Go>("")
}

/// go.mod and go.sum of a plugin in Go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GoModule {
    pub(crate) module: String,
    pub(crate) sums: Option<String>,
}

impl GoModule {
    /// The module `name`, on the SDK from `source`.
    pub(crate) fn new(name: &str, source: &Source) -> Result<Self, Failure> {
        let (sdk, sums, place) = match source {
            Source::Version(version) => {
                // Under that path there is GoatFlow's own module, too: this one is meant.
                let module = format!(
                    "module {name}\n\ngo 1.24\n\nrequire {GO_MODULE} v{version}\n\nreplace {GO_MODULE} => {} v{version}\n",
                    go_module_place()
                );
                return Ok(GoModule { module, sums: None });
            }
            Source::Embedded => {
                let embedded = |path| {
                    let bytes = Go::get(path).map(|file| file.data.into_owned());
                    String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
                };
                (embedded("go.mod"), embedded("go.sum"), "./sdk".to_owned())
            }
            Source::Path(path) => {
                let read = |name| {
                    let file = path.join(name);
                    std::fs::read_to_string(&file)
                        .map_err(|error| Failure::file("read the SDK's", &file, &error))
                };
                let sdk = read("go.mod")?;
                if !sdk
                    .lines()
                    .any(|line| line.trim() == format!("module {GO_MODULE}"))
                {
                    return Err(Failure::new(
                        Exit::Usage,
                        format!(
                            "{} is not the Go SDK: its go.mod is of another module",
                            path.display()
                        ),
                        format!("name the directory whose go.mod says: module {GO_MODULE}"),
                    ));
                }
                (sdk, read("go.sum")?, path.display().to_string())
            }
        };
        let go = sdk
            .lines()
            .find(|line| line.starts_with("go "))
            .unwrap_or("go 1.24");
        let mut module =
            format!("module {name}\n\n{go}\n\nrequire {GO_MODULE} v0.0.0\n\nrequire (\n");
        for requirement in requirements(&sdk) {
            module.push_str(&format!("\t{requirement} // indirect\n"));
        }
        // A path with blanks has to be quoted.
        let place = match place.contains(char::is_whitespace) {
            true => format!("{place:?}"),
            false => place,
        };
        module.push_str(&format!(")\n\nreplace {GO_MODULE} => {place}\n"));
        Ok(GoModule {
            module,
            sums: Some(sums),
        })
    }
}

/// The requirements of a go.mod: path and version, sorted.
fn requirements(module: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in module.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        match line {
            "require (" => inside = true,
            ")" => inside = false,
            line if inside && !line.is_empty() => {
                found.insert(line.to_owned());
            }
            line => {
                found.extend(line.strip_prefix("require ").map(|it| it.trim().to_owned()));
            }
        }
    }
    found
}

/// The Rust SDK as a workspace of its own: its crates, and a Cargo.toml that has of the
/// repository's what they need.
pub(crate) fn rust_files() -> Result<Vec<SdkFile>, Failure> {
    let mut all = [
        files::<GkPlugin>("gk-plugin/"),
        files::<GkProtocol>("gk-protocol/"),
        files::<GkManifest>("gk-manifest/"),
        files::<GkWire>("gk-wire/"),
    ]
    .concat();
    let mut needed = BTreeSet::new();
    for (path, bytes) in &mut all {
        if path.ends_with("/Cargo.toml") {
            let mut manifest = table(&String::from_utf8_lossy(bytes))?;
            // Tests and examples stay behind.
            for key in ["dev-dependencies", "example", "test", "bench"] {
                manifest.remove(key);
            }
            needed.extend(dependencies(&manifest));
            *bytes = text(&manifest)?.into_bytes();
        }
    }
    let repository = table(WORKSPACE)?;
    let mut workspace = Table::new();
    workspace.insert("resolver".into(), "3".into());
    let members = CRATES.map(Value::from).to_vec();
    workspace.insert("members".into(), Value::Array(members));
    let from = repository.get("workspace").and_then(Value::as_table);
    for key in ["package", "lints"] {
        if let Some(value) = from.and_then(|from| from.get(key)) {
            workspace.insert(key.into(), value.clone());
        }
    }
    let mut known = Table::new();
    let all_known = from
        .and_then(|from| from.get("dependencies"))
        .and_then(Value::as_table);
    for name in needed {
        let Some(mut value) = all_known.and_then(|all| all.get(&name)).cloned() else {
            continue;
        };
        if let (true, Some(value)) = (CRATES.contains(&name.as_str()), value.as_table_mut()) {
            value.insert("path".into(), name.clone().into());
        }
        known.insert(name, value);
    }
    workspace.insert("dependencies".into(), Value::Table(known));
    let mut root = Table::new();
    root.insert("workspace".into(), Value::Table(workspace));
    let root = format!(
        "# The SDK for GoatKit plugins in Rust, as gk {} has it.\n{}",
        env!("CARGO_PKG_VERSION"),
        text(&root)?
    );
    all.push(("Cargo.toml".to_owned(), root.into_bytes()));
    let readme = GkPlugin::get("README.md").map(|file| file.data.into_owned());
    all.push(("README.md".to_owned(), readme.unwrap_or_default()));
    Ok(all)
}

/// The Rust version that the SDK needs.
pub(crate) fn rust_version() -> String {
    workspace_package("rust-version")
}

/// The path of the Go module, as the `replace` of a go.mod names it.
fn go_module_place() -> String {
    let repository = repository();
    let path = repository.trim_start_matches("https://");
    format!("{path}/plugins/sdk-go")
}

/// The directory of this project.
pub(crate) fn repository() -> String {
    workspace_package("repository")
}

fn workspace_package(key: &str) -> String {
    let found = table(WORKSPACE).ok().and_then(|root| {
        let package = root.get("workspace")?.get("package")?;
        Some(package.get(key)?.as_str()?.to_owned())
    });
    found.unwrap_or_default()
}

/// Names of normal and build dependencies, optional ones included.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let tables = ["dependencies", "build-dependencies"].iter();
    tables
        .filter_map(|key| manifest.get(*key)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// A Cargo.lock for the package `name` with these direct dependencies: of the repository's lock,
/// what the SDK and they need, in the versions that the SDK is tested with. It has more than one
/// build needs; cargo drops the rest.
pub(crate) fn cargo_lock(name: &str, direct: &[&str]) -> Result<String, Failure> {
    let lock = table(LOCK)?;
    let packages = lock.get("package").and_then(Value::as_array);
    // By name and version: what Cargo.lock itself refers to entries by.
    let mut all: BTreeMap<(String, String), Table> = BTreeMap::new();
    for package in packages.into_iter().flatten().filter_map(Value::as_table) {
        let field = |key| package.get(key).and_then(Value::as_str).unwrap_or_default();
        all.insert(
            (field("name").into(), field("version").into()),
            package.clone(),
        );
    }
    // The crates' dependencies as they are here: without those of their tests.
    let mut own = BTreeMap::new();
    for (path, bytes) in rust_files()? {
        if let Some(name) = path.strip_suffix("/Cargo.toml") {
            let manifest = table(&String::from_utf8_lossy(&bytes))?;
            own.insert(name.to_owned(), dependencies(&manifest));
        }
    }
    let find = |reference: &str| {
        let mut words = reference.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        all.keys()
            .filter(|(known, of)| known == name && version.is_none_or(|version| of == version))
            .max_by_key(|(_, version)| semver::Version::parse(version).ok())
            .cloned()
    };
    let mut queue: Vec<_> = direct.iter().filter_map(|name| find(name)).collect();
    let mut root = Table::new();
    root.insert("name".into(), name.into());
    root.insert("version".into(), "1.0.0".into());
    let references = |names: &[(String, String)]| {
        let reference = |(name, version): &(String, String)| {
            let several = all.keys().filter(|(known, _)| known == name).count() > 1;
            Value::from(if several {
                format!("{name} {version}")
            } else {
                name.clone()
            })
        };
        Value::Array(names.iter().map(reference).collect())
    };
    root.insert("dependencies".into(), references(&queue));
    let mut chosen = BTreeMap::from([((name.to_owned(), "1.0.0".to_owned()), root)]);
    while let Some(key) = queue.pop() {
        let Some(package) = all.get(&key).filter(|_| !chosen.contains_key(&key)) else {
            continue;
        };
        let mut package = package.clone();
        let listed = package.get("dependencies").and_then(Value::as_array);
        let mut kept: Vec<_> = listed.cloned().unwrap_or_default();
        if let Some(own) = own.get(&key.0) {
            kept.retain(|value| {
                let name = value.as_str().and_then(|text| text.split(' ').next());
                name.is_some_and(|name| own.contains(name))
            });
        }
        queue.extend(kept.iter().filter_map(Value::as_str).filter_map(find));
        match kept.is_empty() {
            true => package.remove("dependencies"),
            false => package.insert("dependencies".into(), Value::Array(kept)),
        };
        chosen.insert(key, package);
    }
    let version = lock.get("version").and_then(Value::as_integer).unwrap_or(4);
    let mut text = format!(
        "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = {version}\n"
    );
    // In cargo's own layout, so that what cargo changes in it is to be seen.
    for package in chosen.into_values() {
        text.push_str("\n[[package]]\n");
        for key in ["name", "version", "source", "checksum"] {
            if let Some(value) = package.get(key) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        if let Some(dependencies) = package.get("dependencies").and_then(Value::as_array) {
            let mut lines: Vec<_> = dependencies.iter().map(|it| format!(" {it},\n")).collect();
            lines.sort();
            text.push_str(&format!("dependencies = [\n{}]\n", lines.concat()));
        }
    }
    Ok(text)
}

fn table(text: &str) -> Result<Table, Failure> {
    text.parse().map_err(|error| broken(&error))
}

fn text(table: &Table) -> Result<String, Failure> {
    toml::to_string(table).map_err(|error| broken(&error))
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the SDK in this command is damaged: {error}"),
        "install gk again, and please report this",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_sdk_is_whole() {
        let paths: BTreeSet<_> = go_files().into_iter().map(|(path, _)| path).collect();
        for path in [
            "go.mod",
            "go.sum",
            "README.md",
            "pkg/plugin/doc.go",
            "pkg/plugin/grpcutil/serve.go",
            "pkg/plugin/request_test.go",
        ] {
            assert!(paths.contains(path), "{path}: {paths:?}");
        }
        let module = GoModule::new("x", &Source::Embedded).unwrap();
        assert!(
            module.module.contains("\tgithub.com/hashicorp/go-plugin v"),
            "{}",
            module.module
        );
        assert!(
            module
                .module
                .ends_with("replace github.com/goatkit/goatflow => ./sdk\n")
        );
        assert!(module.sums.unwrap().contains("github.com/hashicorp/yamux"));
        // Not GoatFlow's module of the same path.
        let module = GoModule::new("x", &Source::Version("1.2.3".into())).unwrap();
        assert!(
            module.module.ends_with(
                "replace github.com/goatkit/goatflow => github.com/goatkit/plugin-host/plugins/sdk-go v1.2.3\n"
            ),
            "{}",
            module.module
        );
    }

    #[test]
    fn the_rust_sdk_is_whole_and_has_no_c() {
        let files: BTreeMap<_, _> = rust_files().unwrap().into_iter().collect();
        for path in [
            "Cargo.toml",
            "README.md",
            "gk-plugin/src/lib.rs",
            "gk-wire/src/net/mod.rs",
            "gk-manifest/LICENSE-MIT",
        ] {
            assert!(files.contains_key(path), "{path}: {:?}", files.keys());
        }
        assert!(
            !files
                .keys()
                .any(|path| path.contains("/tests/") || path.contains("/fuzz/"))
        );
        let root = String::from_utf8_lossy(&files["Cargo.toml"]).into_owned();
        assert!(root.contains("[workspace.dependencies"), "{root}");
        assert!(!root.contains("gk-sandbox"), "{root}");
    }

    #[test]
    fn requirements_of_a_module() {
        let module = "module m\nrequire a.b/c v1.0.0\nrequire (\n\td.e/f v2.0.0 // indirect\n)\n";
        let found: Vec<_> = requirements(module).into_iter().collect();
        assert_eq!(found, ["a.b/c v1.0.0", "d.e/f v2.0.0"]);
    }

    #[test]
    fn sources() {
        assert_eq!(Source::parse(None), Ok(Source::Embedded));
        assert_eq!(
            Source::parse(Some("v1.2.3")),
            Ok(Source::Version("1.2.3".into()))
        );
        assert!(matches!(Source::parse(Some("/")), Ok(Source::Path(_))));
        assert_eq!(
            Source::parse(Some("./not-there")).unwrap_err().exit(),
            Exit::Usage
        );
    }
}
