//! How much SQLite has in temporary files. It bounds the memory of sorts and of rows it has seen,
//! and puts the rest into files without a bound.
//!
//! The files have no names once they are open, but the process's descriptors tell of them. A
//! statement looks at these once it has run for a while, and gives up when all of them together are
//! too large: which statement's they are cannot be told.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a statement may run before it looks, and how long it waits to look again. In that time
/// it writes what a disk takes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The beginning of a temporary file's name, which SQLite spells backwards.
const NAME_START: &str = "etilqs_";

/// Finds out while a statement runs if the process's temporary files have become too large.
#[derive(Debug, Clone)]
pub(super) struct TempWatch {
    bytes_max: u64,
    next: Instant,
    is_over: Arc<AtomicBool>,
}

impl TempWatch {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            next: Instant::now() + LOOK_EVERY,
            is_over: Arc::default(),
        }
    }

    /// Looks if it is time to.
    pub(super) fn look(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        let is_over = temp_bytes() > self.bytes_max;
        self.next = now + LOOK_EVERY;
        self.is_over.fetch_or(is_over, Ordering::Relaxed);
        is_over
    }

    /// The flag that is set when the watch finds too much.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_over)
    }
}

/// Bytes that SQLite's temporary files take. Descriptors come and go meanwhile; what cannot be
/// looked at does not count.
fn temp_bytes() -> u64 {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    let sizes = descriptors.flatten().filter_map(|descriptor| {
        let path = descriptor.path();
        let target = fs::read_link(&path).ok()?;
        let name = target.file_name()?.to_str()?;
        name.starts_with(NAME_START)
            .then(|| fs::metadata(&path).ok())?
            .map(|file| file.blocks() * 512)
    });
    sizes.sum()
}
