//! Notices that something in the plugins directory may have changed.
//!
//! An event of the file system only triggers a scan, which compares the files with those that run.
//! So it does not matter which events a tool causes, in which order, or that some get lost. Where a
//! file system sends none (network file systems, layers of a container that are changed from
//! outside), the regular scan
//! ([`RuntimeConfig::rescan_interval`](crate::RuntimeConfig::rescan_interval)) finds the same a
//! little later.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{CHANGE_QUIET, CHANGE_WAIT_MAX, WRITE_WAIT_MAX};

/// Changes that the file system has reported since the last scan. A mark, not a queue: its size
/// does not depend on the number of events.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    marked: Mutex<Option<Marked>>,
    more: Notify,
    /// Files that are being written, at most [`WRITING_MAX`].
    writing: Mutex<BTreeMap<PathBuf, Written>>,
}

/// Maximum number of files that are remembered as being written.
const WRITING_MAX: usize = 256;

/// Times of the first and the last write to a file that is not closed yet.
#[derive(Debug, Clone, Copy)]
struct Written {
    first: Instant,
    last: Instant,
}

impl Written {
    /// Returns true while the writer is waited for: not if it pauses for long, or never closes its
    /// file.
    fn goes_on(&self, now: Instant) -> bool {
        let since = |then| now.saturating_duration_since(then);
        since(self.last) <= CHANGE_WAIT_MAX && since(self.first) <= WRITE_WAIT_MAX
    }
}

#[derive(Debug, Clone, Copy)]
struct Marked {
    first: Instant,
    last: Instant,
}

impl Changes {
    /// Records that something may have changed.
    pub(crate) fn mark(&self) {
        let now = Instant::now();
        let mut marked = self.marked.lock();
        let first = marked.map_or(now, |marked| marked.first);
        *marked = Some(Marked { first, last: now });
        drop(marked);
        self.more.notify_one();
    }

    /// Waits until a scan is due: a while after the last change, or after the first if changes go
    /// on, or `rescan` after the call if none is reported.
    pub(crate) async fn due(&self, rescan: Duration) {
        let rescan = Instant::now() + rescan;
        loop {
            let marked = *self.marked.lock();
            let at = marked.map_or(rescan, |marked| {
                (marked.first + CHANGE_WAIT_MAX).min(marked.last + CHANGE_QUIET)
            });
            tokio::select! {
                () = tokio::time::sleep_until(at) => break,
                () = self.more.notified() => {}
            }
        }
        *self.marked.lock() = None;
    }

    /// Returns true if a file in this directory, or below it, is being written, so the package is
    /// not complete.
    pub(crate) fn is_written(&self, dir: &Path) -> bool {
        let now = Instant::now();
        let writing = self.writing.lock();
        let below = writing.range::<Path, _>((Bound::Included(dir), Bound::Unbounded));
        below
            .take_while(|(path, _)| path.starts_with(dir))
            .any(|(_, written)| written.goes_on(now))
    }

    /// Updates the files that are being written from an event.
    fn follow(&self, event: &notify::Event) {
        let now = Instant::now();
        let mut writing = self.writing.lock();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in &event.paths {
                    if let Some(written) = writing.get_mut(path) {
                        written.last = now;
                        continue;
                    }
                    if writing.len() >= WRITING_MAX {
                        writing.retain(|_, written| written.goes_on(now));
                    }
                    if writing.len() < WRITING_MAX {
                        let (first, last) = (now, now);
                        writing.insert(path.clone(), Written { first, last });
                    }
                }
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => {
                event.paths.iter().for_each(|path| {
                    writing.remove(path);
                });
            }
            _ => {}
        }
    }
}

/// Watches a directory and all below it, as far as the system can; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Watch {
    _watcher: Option<RecommendedWatcher>,
    /// Device and inode of the directory, as another one may take its path.
    watched: Option<(u64, u64)>,
}

impl Watch {
    /// The watch, or another one if the directory at the path is another one by now. Blocks.
    pub(crate) fn renew(before: Option<Self>, dir: &Path, changes: &Arc<Changes>) -> Self {
        match before {
            Some(watch) if watch.watched == identity(dir) => watch,
            before => {
                drop(before);
                Self::start(dir, Arc::clone(changes))
            }
        }
    }

    /// Marks `changes` when something below `dir` may have changed. If the directory cannot be
    /// watched, logs that once; then only the regular scans find changes.
    fn start(dir: &Path, changes: Arc<Changes>) -> Self {
        let root = dir.to_owned();
        let told = move |event: notify::Result<notify::Event>| {
            let concerns = match &event {
                Ok(event) => {
                    changes.follow(event);
                    event.need_rescan() || concerns(event, &root)
                }
                // An error of the watcher: something may be lost.
                Err(_) => true,
            };
            if concerns {
                changes.mark();
            }
        };
        // Links are not followed, as a link may lead anywhere. The regular scans see their targets.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(told, config).and_then(|mut watcher| {
            watcher.watch(dir, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(
                %error,
                "the plugins directory cannot be watched; changes are found only by the look every rescan_interval"
            );
        }
        Self {
            _watcher: watcher.ok(),
            watched: identity(dir),
        }
    }
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    let metadata = dir.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns true if an event may mean a change of a plugin. Reads do not count, nor do hidden names,
/// which tools use for files in transit.
fn concerns(event: &notify::Event, root: &Path) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    if matches!(event.kind, EventKind::Access(_)) && event.kind != written {
        return false;
    }
    let hidden = |path: &PathBuf| {
        let below = path.strip_prefix(root).unwrap_or(path);
        below.iter().any(|name| {
            // `..data`, as Kubernetes names the directory that it exchanges, is no such name.
            let name = name.as_encoded_bytes();
            name.starts_with(b".") && !name.starts_with(b"..")
        })
    };
    event.paths.is_empty() || event.paths.iter().any(|path| !hidden(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange};

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_when_it_is_quiet_and_at_last_in_any_case() {
        let changes = Changes::default();
        let far = Duration::from_secs(3600);
        let begun = Instant::now();
        changes.mark();
        changes.due(far).await;
        assert_eq!(begun.elapsed(), CHANGE_QUIET);
        // A writer that never stops.
        let begun = Instant::now();
        let writer = async {
            loop {
                changes.mark();
                tokio::time::sleep(CHANGE_QUIET / 2).await;
            }
        };
        tokio::select! {
            () = changes.due(far) => {}
            () = writer => {}
        }
        assert!(begun.elapsed() <= CHANGE_WAIT_MAX && begun.elapsed() > CHANGE_WAIT_MAX / 2);
        // No event is reported.
        let begun = Instant::now();
        changes.due(far).await;
        assert_eq!(begun.elapsed(), far);
    }

    /// `cp` on a busy machine, or over a slow line: what is half written is no program.
    #[tokio::test(start_paused = true)]
    async fn what_is_being_written_is_known() {
        let changes = Changes::default();
        let [package, other] = ["/plugins/p", "/plugins/p2"].map(Path::new);
        let event = |kind| notify::Event::new(kind).add_path("/plugins/p/lib/p".into());
        let write = event(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        let close = event(EventKind::Access(AccessKind::Close(AccessMode::Write)));
        assert!(!changes.is_written(package));
        for _ in 0..3 {
            changes.follow(&write);
            tokio::time::sleep(CHANGE_WAIT_MAX).await;
            assert!(changes.is_written(package) && !changes.is_written(other));
        }
        changes.follow(&close);
        assert!(!changes.is_written(package));
        // A writer that does not go on.
        changes.follow(&write);
        tokio::time::sleep(CHANGE_WAIT_MAX + CHANGE_QUIET).await;
        assert!(!changes.is_written(package));
        changes.follow(&close);
        // A file that is never complete, such as a log.
        let begun = Instant::now();
        while begun.elapsed() <= WRITE_WAIT_MAX {
            changes.follow(&write);
            assert!(changes.is_written(package));
            tokio::time::sleep(CHANGE_QUIET).await;
        }
        changes.follow(&write);
        assert!(!changes.is_written(package));
    }

    /// The number of remembered files is limited, and old ones make room for those that are written
    /// now.
    #[tokio::test(start_paused = true)]
    async fn files_that_are_written_are_remembered_up_to_a_limit() {
        let changes = Changes::default();
        let write = |number: usize| {
            let kind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
            changes
                .follow(&notify::Event::new(kind).add_path(format!("/plugins/{number}/p").into()));
        };
        (0..2 * WRITING_MAX).for_each(write);
        assert_eq!(changes.writing.lock().len(), WRITING_MAX);
        tokio::time::sleep(CHANGE_WAIT_MAX + CHANGE_QUIET).await;
        write(2 * WRITING_MAX);
        assert_eq!(changes.writing.lock().len(), 1);
    }

    #[test]
    fn reading_and_hidden_names_are_no_change() {
        let root = Path::new("/plugins");
        let event = |kind, path: &str| notify::Event::new(kind).add_path(path.into());
        for (kind, path, expected) in [
            (EventKind::Create(CreateKind::File), "/plugins/p/p", true),
            (
                EventKind::Modify(ModifyKind::Any),
                "/plugins/p/plugin.yaml",
                true,
            ),
            (
                EventKind::Modify(ModifyKind::Any),
                "/plugins/p/.p.XqT3",
                false,
            ),
            (
                EventKind::Create(CreateKind::Folder),
                "/plugins/.staging/p",
                false,
            ),
            (
                EventKind::Modify(ModifyKind::Any),
                "/plugins/p/..data",
                true,
            ),
            (EventKind::Access(AccessKind::Any), "/plugins/p/p", false),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                "/plugins/p/p",
                true,
            ),
        ] {
            assert_eq!(concerns(&event(kind, path), root), expected, "{path}");
        }
        assert!(concerns(&notify::Event::new(EventKind::Other), root));
    }
}
