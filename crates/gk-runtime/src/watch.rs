//! Notices that something in the plugins directory may have changed.
//!
//! An event of the file system only says *look*: what happened is found out by looking, and comparing with what runs.
//! So it does not matter which events a tool causes, in which order, or that some get lost; and where a file system
//! sends none (network file systems, layers of a container that are changed from outside) a look every now and
//! then ([`RuntimeConfig::rescan_interval`](crate::RuntimeConfig::rescan_interval)) finds the same a little later.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{CHANGE_QUIET, CHANGE_WAIT_MAX};

/// What the file system has told since the last look. A mark, not a queue: however much happens, it stays small.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    marked: Mutex<Option<Marked>>,
    more: Notify,
    /// Files that are being written, at most [`WRITING_MAX`]: what is half written is not looked at.
    writing: Mutex<BTreeSet<PathBuf>>,
}

/// Files of which it is remembered that they are being written.
const WRITING_MAX: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Marked {
    first: Instant,
    last: Instant,
}

impl Changes {
    /// Something may have changed.
    pub(crate) fn mark(&self) {
        let now = Instant::now();
        let mut marked = self.marked.lock();
        let first = marked.map_or(now, |marked| marked.first);
        *marked = Some(Marked { first, last: now });
        drop(marked);
        self.more.notify_one();
    }

    /// Waits until it is time to look: a while after the last change, or after the first if they do not end, or a while
    /// after nothing was told.
    pub(crate) async fn due(&self, rescan: Duration) {
        let rescan = Instant::now() + rescan;
        loop {
            let marked = *self.marked.lock();
            let is_written = !self.writing.lock().is_empty();
            let at = marked.map_or(rescan, |marked| {
                let at_last = marked.first + CHANGE_WAIT_MAX;
                match is_written {
                    true => at_last,
                    false => at_last.min(marked.last + CHANGE_QUIET),
                }
            });
            tokio::select! {
                () = tokio::time::sleep_until(at) => break,
                () = self.more.notified() => {}
            }
        }
        *self.marked.lock() = None;
        // Whoever still writes does not hold off the next look, too, unless it writes on.
        self.writing.lock().clear();
    }

    /// Takes in what happened to a file, as far as it says whether that is being written.
    fn follow(&self, event: &notify::Event) {
        let mut writing = self.writing.lock();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                let room = WRITING_MAX.saturating_sub(writing.len());
                writing.extend(event.paths.iter().take(room).cloned());
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => {
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
    /// Which directory it is: another one may take its path.
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

    /// Marks `changes` when something below `dir` may have changed. What cannot be watched is told once: then only the
    /// regular looks find changes.
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
        // What links lead to is found by the regular looks: a link may lead into anything.
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

/// Whether an event may mean that a plugin is another one: not that something was read, nor what hidden names do, which
/// tools use for files that are under way.
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
        // One that never stops writing.
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
        // Where nothing is told.
        let begun = Instant::now();
        changes.due(far).await;
        assert_eq!(begun.elapsed(), far);
    }

    /// `cp` on a busy machine: what is half written is no program.
    #[tokio::test(start_paused = true)]
    async fn what_is_being_written_is_waited_for() {
        let changes = Changes::default();
        let far = Duration::from_secs(3600);
        let event = |kind| notify::Event::new(kind).add_path("/plugins/p/p".into());
        let write = event(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        let close = event(EventKind::Access(AccessKind::Close(AccessMode::Write)));
        let begun = Instant::now();
        changes.follow(&write);
        changes.mark();
        let pause = 3 * CHANGE_QUIET;
        let writer = async {
            tokio::time::sleep(pause).await;
            changes.follow(&close);
            changes.mark();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = changes.due(far) => {}
            () = writer => {}
        }
        assert_eq!(begun.elapsed(), pause + CHANGE_QUIET);
        // One that never closes its file.
        let begun = Instant::now();
        changes.follow(&write);
        changes.mark();
        changes.due(far).await;
        assert_eq!(begun.elapsed(), CHANGE_WAIT_MAX);
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
