//! A plugin's sources, and when they change.
//!
//! What has changed is seen by comparing two looks at the files. The system's watcher only says
//! when to look, so that events that it merges, loses or repeats do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ignore::WalkBuilder;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Directories in which no source of a plugin is.
const SKIPPED: &[&str] = &[".git", "dist", "node_modules", "target"];

/// The sources of a plugin.
pub(crate) struct Sources {
    root: PathBuf,
    /// Files that a build makes.
    pub(crate) made: Option<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

/// The files at one moment: when each was written, and its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    files: BTreeMap<PathBuf, (SystemTime, u64)>,
}

impl Look {
    /// Leaves out a file.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// The files that are not as they were, and when the newest of them was written.
    pub(crate) fn since(&self, before: &Look) -> Option<(Vec<PathBuf>, SystemTime)> {
        let written = self
            .files
            .iter()
            .filter(|(path, stamp)| before.files.get(*path) != Some(stamp));
        let removed = before
            .files
            .keys()
            .filter(|path| !self.files.contains_key(*path));
        let newest = written.clone().map(|(_, (time, _))| *time).max();
        let changed: Vec<_> = written
            .map(|(path, _)| path)
            .chain(removed)
            .cloned()
            .collect();
        match changed.is_empty() {
            true => None,
            false => Some((changed, newest.unwrap_or_else(SystemTime::now))),
        }
    }
}

impl Sources {
    /// Of the plugin in `root`. `touched` is called on another thread whenever it is time to look.
    ///
    /// # Errors
    /// The system's, if it cannot tell of changes. Looking works all the same.
    pub(crate) fn new(
        root: PathBuf,
        mut touched: impl FnMut() + Send + 'static,
    ) -> (Self, notify::Result<()>) {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change; and whatever cannot be told apart is a reason to look.
            let is_reading = event.is_ok_and(|event| match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                EventKind::Access(_) => true,
                _ => false,
            });
            if !is_reading {
                touched();
            }
        });
        let (watcher, mut result) = match watcher {
            Ok(watcher) => (Some(watcher), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let mut sources = Sources {
            root,
            made: None,
            watcher,
            watched: BTreeSet::new(),
        };
        if let Err(error) = sources.watch() {
            result = Err(error);
        }
        (sources, result)
    }

    /// Looks at all files, and from now on watches directories that are new.
    pub(crate) fn look(&mut self) -> Look {
        // A directory that cannot be watched is found by the next look.
        let _ = self.watch();
        let mut look = Look::default();
        for entry in self.walk() {
            let path = entry.path();
            if self.made.as_deref() == Some(path) || is_left_by_editors(entry.file_name()) {
                continue;
            }
            if let Ok(metadata) = entry.metadata()
                && !metadata.is_dir()
            {
                let time = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                look.files.insert(path.to_owned(), (time, metadata.len()));
            }
        }
        look
    }

    fn walk(&self) -> impl Iterator<Item = ignore::DirEntry> + use<> {
        let walk = WalkBuilder::new(&self.root)
            .parents(false)
            .ignore(false)
            .git_global(false)
            .git_exclude(false)
            // A plugin's .gitignore counts where no repository is, too.
            .require_git(false)
            .filter_entry(|entry| {
                entry.depth() == 0 || !SKIPPED.iter().any(|name| entry.file_name() == *name)
            })
            .build();
        // A file that cannot be read now may be readable at the next look.
        walk.filter_map(Result::ok)
    }

    fn watch(&mut self) -> notify::Result<()> {
        let directories: BTreeSet<_> = self
            .walk()
            .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()))
            .map(ignore::DirEntry::into_path)
            .collect();
        let Some(watcher) = &mut self.watcher else {
            return Ok(());
        };
        for gone in self.watched.difference(&directories) {
            // The watch is gone from the system's list, too.
            let _ = watcher.unwatch(gone);
        }
        let mut result = Ok(());
        for new in directories.difference(&self.watched) {
            result = result.and(watcher.watch(new, RecursiveMode::NonRecursive));
        }
        self.watched = directories;
        result
    }
}

/// Files that editors write beside the one that is saved.
fn is_left_by_editors(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let extension = Path::new(&*name).extension().and_then(OsStr::to_str);
    name.ends_with('~') || name == "4913" || matches!(extension, Some("swp" | "swx" | "tmp"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_look_sees_sources_and_nothing_that_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        };
        let (mut sources, watching) = Sources::new(dir.path().to_owned(), || {});
        watching.unwrap();
        sources.made = Some(dir.path().join("plugin"));
        write("main.go");
        let before = sources.look();
        for made in [
            "plugin",
            ".git/HEAD",
            "target/debug/plugin",
            "node_modules/a/b.js",
            "dist/plugin.zip",
            ".main.go.swp",
            "main.go~",
        ] {
            write(made);
        }
        assert_eq!(sources.look().since(&before), None);
        write(".gitignore");
        fs::write(dir.path().join(".gitignore"), "*.log\n").unwrap();
        write("a.log");
        assert_eq!(sources.look().since(&before), None, "it is ignored");
        write("web/page.html");
        fs::remove_file(dir.path().join("main.go")).unwrap();
        let (changed, _) = sources.look().since(&before).unwrap();
        let expected = ["web/page.html", "main.go"].map(|path| dir.path().join(path));
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_change_in_a_new_directory_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, told) = mpsc::channel();
        let touched = move || sender.send(()).unwrap_or_default();
        let (mut sources, watching) = Sources::new(dir.path().to_owned(), touched);
        watching.unwrap();
        let told = || told.recv_timeout(Duration::from_secs(60)).unwrap();
        let before = sources.look();
        fs::create_dir(dir.path().join("web")).unwrap();
        told();
        sources.look();
        fs::write(dir.path().join("web/page.html"), "1").unwrap();
        loop {
            told();
            if sources.look().since(&before).is_some() {
                break;
            }
        }
    }
}
