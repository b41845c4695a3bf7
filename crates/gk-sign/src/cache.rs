//! Pinned binaries, so that a restart of an unchanged plugin makes no second copy of it.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Pinned;
use crate::digest::Digest;
use crate::limits::{CACHE_BYTES, CACHE_ENTRIES};

/// Pinned binaries by their digest, the least recently used of which go first.
///
/// Only binaries that passed [`verify`](crate::verify()) get in, and they get in as sealed bytes with the digest of
/// these bytes. So nothing has to be believed of a hit: on every start the file is compared with the sealed bytes to the
/// last one, signature, trust and revocation are judged by the digest of these, and they are what runs. File times and
/// inode numbers decide nothing. What a hit spares is the copy and its digest.
///
/// Dropping an entry, or the cache, does not end artifacts that are in use.
pub struct Cache {
    entries: Mutex<VecDeque<Arc<Pinned>>>,
    entries_max: usize,
    bytes_max: u64,
}

impl Cache {
    /// A cache with the limits [`CACHE_ENTRIES`] and [`CACHE_BYTES`].
    pub fn new() -> Self {
        Self::with_limits(CACHE_ENTRIES, CACHE_BYTES)
    }

    /// A cache of at most so many binaries, with at most so many bytes together. With 0 nothing is kept.
    pub fn with_limits(entries: usize, bytes: u64) -> Self {
        Self {
            entries: Mutex::default(),
            entries_max: entries,
            bytes_max: bytes,
        }
    }

    /// How many binaries it has.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes its binaries have together.
    pub fn bytes(&self) -> u64 {
        bytes(&self.entries.lock())
    }

    /// Drops a binary; for one that has been revoked, say.
    pub fn remove(&self, digest: &Digest) {
        self.entries.lock().retain(|entry| entry.digest() != digest);
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.entries.lock().clear();
    }

    /// What has the content of a file of this size, which is compared byte by byte.
    pub(crate) fn find(&self, file: &File, size: u64) -> io::Result<Option<Arc<Pinned>>> {
        let likely: Vec<_> = {
            let entries = self.entries.lock();
            // The newest first: a plugin that starts again is as it was.
            let alike = entries.iter().rev().filter(|entry| entry.size() == size);
            alike.cloned().collect()
        };
        for pinned in likely {
            if pinned.has_content_of(file)? {
                // The last to go from now on.
                let mut entries = self.entries.lock();
                if let Some(at) = entries.iter().position(|entry| Arc::ptr_eq(entry, &pinned)) {
                    entries.remove(at);
                    entries.push_back(Arc::clone(&pinned));
                }
                return Ok(Some(pinned));
            }
        }
        Ok(None)
    }

    pub(crate) fn insert(&self, pinned: &Arc<Pinned>) {
        let mut entries = self.entries.lock();
        entries.retain(|entry| entry.digest() != pinned.digest());
        if pinned.size() > self.bytes_max {
            return;
        }
        entries.push_back(Arc::clone(pinned));
        while entries.len() > self.entries_max || bytes(&entries) > self.bytes_max {
            entries.pop_front();
        }
    }
}

fn bytes(entries: &VecDeque<Arc<Pinned>>) -> u64 {
    entries.iter().map(|entry| entry.size()).sum()
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    fn pin(byte: u8, size: usize) -> Arc<Pinned> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![byte; size]).unwrap();
        file.rewind().unwrap();
        Arc::new(Pinned::new(&file, size as u64, 1000).unwrap().unwrap())
    }

    #[test]
    fn it_is_bounded_and_the_least_recently_used_goes() {
        let cache = Cache::with_limits(2, 100);
        let has = |pinned: &Pinned| {
            let file = File::open(pinned.exec_path()).unwrap();
            let found = cache.find(&file, pinned.size()).unwrap();
            found.is_some_and(|found| found.digest() == pinned.digest())
        };
        let (a, b, c) = (pin(1, 40), pin(2, 40), pin(3, 40));
        cache.insert(&a);
        cache.insert(&b);
        cache.insert(&b);
        assert_eq!((cache.len(), cache.bytes()), (2, 80));
        assert!(has(&a));
        cache.insert(&c);
        assert_eq!((cache.len(), cache.bytes()), (2, 80));
        assert!(!has(&b) && has(&a));
        // By bytes: exactly 100 fit, and what never fits pushes nothing out.
        cache.insert(&pin(4, 101));
        assert_eq!(cache.len(), 2);
        cache.insert(&pin(5, 60));
        assert_eq!((cache.len(), cache.bytes()), (2, 100));
        cache.insert(&pin(6, 100));
        assert_eq!((cache.len(), cache.bytes()), (1, 100));
        assert!(has(&pin(6, 100)) && !has(&pin(5, 100)) && !has(&pin(6, 99)));
        cache.remove(pin(6, 100).digest());
        assert!(cache.is_empty());
        let nothing = Cache::with_limits(0, 100);
        nothing.insert(&a);
        assert!(nothing.is_empty());
    }
}
