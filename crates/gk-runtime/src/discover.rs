//! Finds the plugins of a plugins directory: `<plugins>/<dir>/plugin.yaml`, top level only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gk_manifest::{Diagnostic, Manifest, PluginName};

use crate::files::{Files, MANIFEST_NAME, Stamps, Tree};
use crate::limits::PLUGIN_DIRS_MAX;
use crate::manifests::{Content, Manifests};

/// Contents of a plugins directory.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// The plugins to start, by name.
    pub(crate) plugins: Vec<Discovered>,
    /// Directories whose plugin cannot be started, in their order.
    pub(crate) problems: Vec<Problem>,
    /// Names of plugins that are not loaded, as far as directories and broken manifests tell.
    pub(crate) other_names: BTreeSet<String>,
    /// Notes on directories that hold no plugin for this host.
    pub(crate) left_alone: Vec<String>,
}

/// A plugin to start.
#[derive(Debug, Clone)]
pub(crate) struct Discovered {
    pub(crate) name: PluginName,
    /// The plugins directory it was found in: absolute, without links.
    pub(crate) plugins_dir: PathBuf,
    /// Absolute.
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Arc<Manifest>,
    /// Warnings about the manifest.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Stamps of the plugin's files, taken before the files were read.
    pub(crate) stamps: Stamps,
    pub(crate) tree: Tree,
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
    /// The failure and its remedy.
    pub error: String,
}

/// Looks through `plugins_dir`. Only an unreadable directory is an error: a bad plugin is a
/// problem of its own. `manifests` is what earlier looks at it read.
pub(crate) fn discover(plugins_dir: &Path, manifests: &mut Manifests) -> io::Result<Discovery> {
    let plugins_dir = plugins_dir.canonicalize()?;
    let mut discovery = Discovery::default();
    let dirs = plugin_dirs(&plugins_dir, &mut discovery)?;
    manifests.keep(|dir| dirs.binary_search(dir).is_ok());
    let mut found: BTreeMap<PluginName, Vec<Discovered>> = BTreeMap::new();
    for dir in dirs {
        look_into(dir, &plugins_dir, manifests, &mut found, &mut discovery);
    }
    take_one_of_each_name(found, &mut discovery);
    discovery.problems.sort_by(|a, b| a.dir.cmp(&b.dir));
    Ok(discovery)
}

/// The directories that may be plugins', in the order of their names.
fn plugin_dirs(plugins_dir: &Path, discovery: &mut Discovery) -> io::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in plugins_dir.read_dir()? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => dirs.push(path),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => discovery.problems.push(unreadable(&path, &error)),
        }
    }
    dirs.sort();

    if dirs.len() > PLUGIN_DIRS_MAX {
        let error = format!(
            "{} holds {} directories; only the first {PLUGIN_DIRS_MAX} are looked at",
            plugins_dir.display(),
            dirs.len()
        );
        discovery.problems.push(Problem {
            dir: plugins_dir.to_owned(),
            name: None,
            error,
        });
        dirs.truncate(PLUGIN_DIRS_MAX);
    }
    Ok(dirs)
}

/// Adds the plugin in a directory to `found`, or the reason why it cannot be used to `discovery`.
fn look_into(
    dir: PathBuf,
    plugins_dir: &Path,
    manifests: &mut Manifests,
    found: &mut BTreeMap<PluginName, Vec<Discovered>>,
    discovery: &mut Discovery,
) {
    let own_name = dir.file_name().and_then(|name| name.to_str());
    let file = dir.join(MANIFEST_NAME);
    // A dangling link is an error to report, not an absent manifest.
    let is_link = match file.symlink_metadata() {
        Ok(metadata) => metadata.is_symlink(),
        Err(error) => {
            if !is_absent(&error) {
                discovery.problems.push(unreadable(&dir, &error));
            } else {
                // The directory need not be a plugin's; but if its manifest was forgotten, this
                // note is the only hint.
                discovery.left_alone.push(format!(
                    "{} has no {MANIFEST_NAME} and is left alone; a plugin needs one",
                    dir.display()
                ));
            }
            discovery.other_names.extend(own_name.map(str::to_owned));
            return;
        }
    };
    if is_link && let Some(error) = leads_out(&file, &dir, plugins_dir) {
        discovery.other_names.extend(own_name.map(str::to_owned));
        let name = own_name.and_then(|name| PluginName::new(name).ok());
        discovery.problems.push(Problem { error, dir, name });
        return;
    }
    match manifests.read(&dir, &file) {
        (stamp, Content::Plugin(manifest, warnings)) => {
            let name = manifest.name.clone();
            let mut stamps = Files::stamps(&dir, &dir.join(&manifest.binary));
            stamps[1] = stamp;
            let tree = Tree::new(&dir);
            found.entry(name.clone()).or_default().push(Discovered {
                name,
                plugins_dir: plugins_dir.to_owned(),
                dir,
                manifest,
                warnings,
                stamps,
                tree,
            });
        }
        (
            _,
            Content::Other {
                error,
                is_not_native,
                name,
            },
        ) => {
            discovery.other_names.extend(own_name.map(str::to_owned));
            discovery.other_names.extend(name);
            if is_not_native {
                discovery.left_alone.push(error);
                return;
            }
            let name = own_name.and_then(|name| PluginName::new(name).ok());
            discovery.problems.push(Problem { error, dir, name });
        }
    }
}

/// Takes one of several directories with a plugin of the same name; the others become problems.
fn take_one_of_each_name(found: BTreeMap<PluginName, Vec<Discovered>>, discovery: &mut Discovery) {
    for (name, mut candidates) in found {
        let chosen = candidates.swap_remove(choose(&name, &candidates));
        for other in candidates {
            let error = format!(
                "plugin \"{name}\" in {} (version {:?}) is not loaded: {} (version {:?}) has the same name and {}; rename one of them or remove it",
                other.dir.display(),
                other.manifest.version,
                chosen.dir.display(),
                chosen.manifest.version,
                if is_named(&chosen, &name) {
                    "is the directory of that name"
                } else if version(&chosen) > version(&other) {
                    "is newer"
                } else {
                    "comes first"
                },
            );
            discovery.problems.push(Problem {
                dir: other.dir,
                name: Some(name.clone()),
                error,
            });
        }
        discovery.plugins.push(chosen);
    }
}

/// Problem of a directory that cannot be read; its content stays unknown.
fn unreadable(dir: &Path, error: &io::Error) -> Problem {
    let name = dir.file_name().and_then(|name| name.to_str());
    Problem {
        dir: dir.to_owned(),
        name: name.and_then(|name| PluginName::new(name).ok()),
        error: format!(
            "{} cannot be looked into ({error}); mend its permissions, or the file system",
            dir.display()
        ),
    }
}

/// Returns true if an error says that a file does not exist, and not merely that it cannot be read
/// now.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns the problem with a manifest that is a link which leads out of its package and out of the
/// plugins directory. Dangling links are reported elsewhere.
fn leads_out(file: &Path, dir: &Path, plugins_dir: &Path) -> Option<String> {
    let (real, dir) = (file.canonicalize().ok()?, dir.canonicalize().ok()?);
    let is_inside = real.starts_with(&dir) || real.starts_with(plugins_dir);
    (!is_inside).then(|| {
        format!(
            "{} is a symbolic link, or behind one, that leads out of {}; put the file itself there",
            file.display(),
            plugins_dir.display()
        )
    })
}

/// Index of the directory that provides the plugin of a name: the one with that name, else the one
/// with the newest version, else the first.
fn choose(name: &PluginName, candidates: &[Discovered]) -> usize {
    let mut best = 0;
    for at in 1..candidates.len() {
        let rank = |of: &Discovered| (is_named(of, name), version(of));
        if rank(&candidates[at]) > rank(&candidates[best]) {
            best = at;
        }
    }
    best
}

fn is_named(found: &Discovered, name: &PluginName) -> bool {
    found
        .dir
        .file_name()
        .is_some_and(|dir| dir == name.as_str())
}

/// Numbers of the version; `None`, which sorts before any, if it is not a version.
fn version(found: &Discovered) -> Option<[u64; 3]> {
    crate::version::numbers(&found.manifest.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(plugins_dir: &Path) -> Discovery {
        discover(plugins_dir, &mut Manifests::default()).unwrap()
    }

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

    /// An unreadable directory keeps no other plugin from starting, and is not taken as absent.
    #[test]
    fn what_cannot_be_looked_into_is_a_problem_of_its_own() {
        let root = plugins_dir(&[("goat", "version: 1.0.0\nruntime: grpc\n")]);
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("gone")).unwrap();
        let discovery = look(root.path());
        assert_eq!(names(&discovery), ["goat"]);
        let problem = &discovery.problems[0];
        assert_eq!(problem.name.as_ref().map(PluginName::as_str), Some("loop"));
        assert!(
            problem.error.contains("cannot be looked into"),
            "{}",
            problem.error
        );
        assert_eq!(discovery.problems.len(), 1);
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
        let discovery = look(root.path());
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
    fn of_equal_names_one_directory_is_chosen_and_the_other_is_told() {
        let manifest = |version: &str| format!("name: same\nversion: {version}\nruntime: grpc\n");
        let (old, new) = (manifest("1.9.0"), manifest("1.10.0"));
        for (dirs, chosen, why) in [
            ([("two", &old), ("one", &old)], "one", "comes first"),
            ([("a-backup", &old), ("b", &new)], "b", "is newer"),
            ([("a", &new), ("b", &old)], "a", "is newer"),
            (
                [("backup-same", &new), ("same", &old)],
                "same",
                "of that name",
            ),
        ] {
            let dirs = dirs.map(|(dir, manifest)| (dir, manifest.as_str()));
            let root = plugins_dir(&dirs);
            let discovery = look(root.path());
            assert_eq!(names(&discovery), ["same"]);
            assert!(discovery.plugins[0].dir.ends_with(chosen), "{dirs:?}");
            let [problem] = discovery.problems.as_slice() else {
                panic!("{:?}", discovery.problems)
            };
            assert!(!problem.dir.ends_with(chosen));
            assert!(
                problem.error.contains(why) && problem.error.contains("rename"),
                "{}",
                problem.error
            );
        }
    }

    #[test]
    fn a_runtime_that_nobody_knows_is_a_problem() {
        let root = plugins_dir(&[
            ("a", "version: 1.0.0\nruntime: netrpc\n"),
            ("b", "version: 1.0.0\nruntime: wasm\n"),
        ]);
        let discovery = look(root.path());
        let [problem] = discovery.problems.as_slice() else {
            panic!("{:?}", discovery.problems)
        };
        assert!(problem.dir.ends_with("a"));
        assert!(
            problem.error.contains("netrpc") && problem.error.contains("runtime: grpc"),
            "{}",
            problem.error
        );
    }

    /// Names of plugins that are not loaded keep other plugins from their variables.
    #[test]
    fn what_is_not_loaded_has_names_too() {
        let root = plugins_dir(&[
            ("broken", "name: \"probe-x\" # mine\nversion: [\n"),
            ("wasm", "name: w\nversion: 1.0.0\nruntime: wasm\n"),
            ("good", "version: 1.0.0\nruntime: grpc\n"),
        ]);
        std::fs::create_dir(root.path().join("half-copied")).unwrap();
        let discovery = look(root.path());
        let others: Vec<&str> = discovery.other_names.iter().map(String::as_str).collect();
        assert_eq!(others, ["broken", "half-copied", "probe-x", "w", "wasm"]);
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
        let discovery = look(root.path());
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
    fn a_manifest_may_be_a_link_that_stays_inside() {
        let manifest = "version: 1.0.0\nruntime: grpc\n";
        let root = plugins_dir(&[(".store", manifest), ("good", manifest)]);
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join(MANIFEST_NAME);
        std::fs::write(&secret, manifest).unwrap();
        let link = |target: &Path, name: &str| {
            std::fs::create_dir(root.path().join(name)).unwrap();
            let at = root.path().join(name).join(MANIFEST_NAME);
            std::os::unix::fs::symlink(target, at).unwrap();
        };
        link(Path::new("../.store/plugin.yaml"), "inside");
        link(&secret, "outside");
        // A whole package may be anywhere: the operator linked it.
        std::os::unix::fs::symlink(outside.path(), root.path().join("package")).unwrap();
        let discovery = look(root.path());
        assert_eq!(names(&discovery), ["good", "inside", "package"]);
        let [problem] = discovery.problems.as_slice() else {
            panic!("{:?}", discovery.problems)
        };
        assert!(problem.dir.ends_with("outside"));
        assert!(problem.error.contains("leads out of"), "{}", problem.error);
    }

    /// Opening a FIFO would wait for a writer, and the host would wait with it.
    #[test]
    fn a_fifo_in_place_of_a_manifest_is_a_problem_and_blocks_nothing() {
        let root = plugins_dir(&[("good", "version: 1.0.0\nruntime: grpc\n")]);
        std::fs::create_dir(root.path().join("fifo")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path().join("fifo").join(MANIFEST_NAME),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let (found, finds) = std::sync::mpsc::channel();
        let path = root.path().to_owned();
        std::thread::spawn(move || found.send(look(&path)));
        let discovery = finds
            .recv_timeout(std::time::Duration::from_secs(60))
            .expect("it waits for a writer");
        assert_eq!(names(&discovery), ["good"]);
        let [problem] = discovery.problems.as_slice() else {
            panic!("{:?}", discovery.problems)
        };
        assert!(problem.error.contains("regular file"), "{}", problem.error);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert!(discover(Path::new("/no/such/directory"), &mut Manifests::default()).is_err());
    }
}
