//! Finds the plugins of a plugins directory: `<plugins>/<dir>/plugin.yaml`, top level only.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gk_manifest::{Diagnostic, Manifest, ManifestError, PluginName};

use crate::limits::PLUGIN_DIRS_MAX;

/// The manifest's file name.
pub(crate) const MANIFEST_NAME: &str = "plugin.yaml";

/// What a plugins directory holds.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// The plugins to start, by name.
    pub(crate) plugins: Vec<Discovered>,
    /// What cannot be started, in directory order.
    pub(crate) problems: Vec<Problem>,
}

/// A plugin to start.
#[derive(Debug, Clone)]
pub(crate) struct Discovered {
    pub(crate) name: PluginName,
    /// Absolute.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Arc<Manifest>,
    /// Warnings about the manifest.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// A directory that looks like a plugin and cannot be started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The directory.
    pub dir: PathBuf,
    /// The plugin's name: the manifest's where there is one, else the directory's where that is
    /// a valid name.
    pub name: Option<PluginName>,
    /// What is wrong and what to do.
    pub error: String,
}

/// Looks through `plugins_dir`. Only an unreadable directory is an error: a bad plugin is a
/// problem of its own.
pub(crate) fn discover(plugins_dir: &Path) -> io::Result<Discovery> {
    let plugins_dir = plugins_dir.canonicalize()?;
    let mut dirs = Vec::new();
    for entry in plugins_dir.read_dir()? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_dir() {
            dirs.push(entry.path());
        }
    }
    dirs.sort();

    let mut discovery = Discovery::default();
    if dirs.len() > PLUGIN_DIRS_MAX {
        let error = format!(
            "{} holds {} directories; only the first {PLUGIN_DIRS_MAX} are looked at",
            plugins_dir.display(),
            dirs.len()
        );
        discovery.problems.push(Problem {
            dir: plugins_dir.clone(),
            name: None,
            error,
        });
        dirs.truncate(PLUGIN_DIRS_MAX);
    }
    let mut taken: BTreeMap<PluginName, PathBuf> = BTreeMap::new();
    for dir in dirs {
        let file = dir.join(MANIFEST_NAME);
        // A dangling link is an error to report, not an absent manifest.
        if file.symlink_metadata().is_err() {
            // It may be anybody's; but who forgot the manifest has nothing else to go by.
            tracing::info!(
                "{} has no {MANIFEST_NAME} and is left alone; a plugin needs one",
                dir.display()
            );
            continue;
        }
        match Manifest::load(&file) {
            Ok((manifest, warnings)) => {
                let name = manifest.name.clone();
                if let Some(first) = taken.get(&name) {
                    let error = format!(
                        "plugin \"{name}\" in {} is not loaded: {} has the same name and comes first; rename one of them or remove it",
                        dir.display(),
                        first.display()
                    );
                    discovery.problems.push(Problem {
                        dir,
                        name: Some(name),
                        error,
                    });
                    continue;
                }
                taken.insert(name.clone(), dir.clone());
                discovery.plugins.push(Discovered {
                    name,
                    dir,
                    manifest: Arc::new(manifest),
                    warnings,
                });
            }
            Err(error) if error.is_not_native() => tracing::info!("{error}"),
            Err(error) => {
                let name = dir
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| PluginName::new(name).ok());
                discovery.problems.push(Problem {
                    error: describe(&error),
                    dir,
                    name,
                });
            }
        }
    }
    discovery.plugins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(discovery)
}

fn describe(error: &ManifestError) -> String {
    let text = crate::error::chain(error);
    match error {
        ManifestError::Read { .. } => format!("{text}; make it a readable file"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugins_dir(plugins: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (dir, manifest) in plugins {
            let dir = root.path().join(dir);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(MANIFEST_NAME), manifest).unwrap();
        }
        root
    }

    fn names(discovery: &Discovery) -> Vec<&str> {
        discovery
            .plugins
            .iter()
            .map(|plugin| plugin.name.as_str())
            .collect()
    }

    #[test]
    fn only_native_plugins_of_the_top_level_are_found_by_name() {
        let root = plugins_dir(&[
            ("a", "name: zeta\nversion: 1.0.0\nruntime: grpc\n"),
            ("b", "version: 1.0.0\nruntime: grpc\n"),
            ("c/nested", "name: nested\nversion: 1.0.0\nruntime: grpc\n"),
            ("d", "name: w\nversion: 1.0.0\nruntime: wasm\n"),
            (
                ".gk-staging-1",
                "name: staged\nversion: 1.0.0\nruntime: grpc\n",
            ),
        ]);
        std::fs::write(root.path().join("file.zip"), "").unwrap();
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let discovery = discover(root.path()).unwrap();
        assert_eq!(names(&discovery), ["b", "zeta"]);
        assert_eq!(discovery.problems, []);
        assert!(
            discovery
                .plugins
                .iter()
                .all(|plugin| plugin.dir.is_absolute())
        );
    }

    #[test]
    fn of_equal_names_the_first_directory_wins_and_the_other_is_told() {
        let manifest = "name: same\nversion: 1.0.0\nruntime: grpc\n";
        let root = plugins_dir(&[("two", manifest), ("one", manifest)]);
        let discovery = discover(root.path()).unwrap();
        assert_eq!(names(&discovery), ["same"]);
        assert!(discovery.plugins[0].dir.ends_with("one"));
        let [problem] = discovery.problems.as_slice() else {
            panic!("{:?}", discovery.problems)
        };
        assert!(problem.dir.ends_with("two"));
        assert!(
            problem.error.contains("has the same name") && problem.error.contains("rename"),
            "{}",
            problem.error
        );
    }

    #[test]
    fn a_bad_manifest_is_a_problem_of_its_own() {
        let root = plugins_dir(&[
            ("bad", "name: [\n"),
            ("Bad Dir", "name: A B\nruntime: grpc\n"),
            ("good", "version: 1.0.0\nruntime: grpc\n"),
        ]);
        std::os::unix::fs::symlink("/nowhere", {
            let dir = root.path().join("link");
            std::fs::create_dir(&dir).unwrap();
            dir.join(MANIFEST_NAME)
        })
        .unwrap();
        let discovery = discover(root.path()).unwrap();
        assert_eq!(names(&discovery), ["good"]);
        let found: Vec<Option<&str>> = discovery
            .problems
            .iter()
            .map(|problem| problem.name.as_ref().map(PluginName::as_str))
            .collect();
        assert_eq!(found, [None, Some("bad"), Some("link")]);
        assert!(
            discovery.problems[1].error.contains("plugin.yaml"),
            "{}",
            discovery.problems[1].error
        );
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert!(discover(Path::new("/no/such/directory")).is_err());
    }
}
