//! Pinned binaries, so that a restart of an unchanged plugin makes no second copy of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Pinned;
use crate::digest::Digest;
use crate::limits::{CACHE_BYTES, CACHE_ENTRIES};

/// Pinned binaries by their digest, the least recently used of which go first.
///
/// Only binaries that passed [`verify`](crate::verify()) get in, and they get in as sealed bytes under the digest of
/// these bytes. So nothing has to be believed of a hit: the file is read and hashed on every start, signature, trust
/// and revocation are judged on every start, and what runs are sealed bytes of the digest that was judged. File
/// times, sizes and inode numbers decide nothing. What a hit spares is the copy.
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

    /// Whether it is worth hashing a file of this size before copying it.
    pub(crate) fn may_have(&self, size: u64) -> bool {
        self.entries.lock().iter().any(|entry| entry.size() == size)
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<Arc<Pinned>> {
        let mut entries = self.entries.lock();
        let at = entries.iter().position(|entry| entry.digest() == digest)?;
        let found = entries.remove(at)?;
        entries.push_back(Arc::clone(&found));
        Some(found)
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
        Arc::new(Pinned::new(&file, 1000).unwrap().unwrap())
    }

    #[test]
    fn it_is_bounded_and_the_least_recently_used_goes() {
        let cache = Cache::with_limits(2, 100);
        let (a, b, c) = (pin(1, 40), pin(2, 40), pin(3, 40));
        cache.insert(&a);
        cache.insert(&b);
        cache.insert(&b);
        assert_eq!((cache.len(), cache.bytes()), (2, 80));
        assert!(cache.find(a.digest()).is_some());
        cache.insert(&c);
        assert_eq!((cache.len(), cache.bytes()), (2, 80));
        assert!(cache.find(b.digest()).is_none() && cache.find(a.digest()).is_some());
        // By bytes: exactly 100 fit, and what never fits pushes nothing out.
        cache.insert(&pin(4, 101));
        assert_eq!(cache.len(), 2);
        cache.insert(&pin(5, 60));
        assert_eq!((cache.len(), cache.bytes()), (2, 100));
        cache.insert(&pin(6, 100));
        assert_eq!((cache.len(), cache.bytes()), (1, 100));
        assert!(cache.may_have(100) && !cache.may_have(99));
        cache.remove(pin(6, 100).digest());
        assert!(cache.is_empty());
        let nothing = Cache::with_limits(0, 100);
        nothing.insert(&a);
        assert!(nothing.is_empty());
    }
}
