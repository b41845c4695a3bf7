//! Pinned binaries, so that a restart of an unchanged plugin makes no second copy of it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Pinned;
use crate::digest::Digest;
use crate::limits::{CACHE_BYTES, CACHE_ENTRIES};
use crate::package::{Opened, Stamp};

/// Pinned binaries, the least recently used of which go first.
///
/// Only binaries that passed [`verify`](crate::verify()) get in, and they get in as sealed bytes
/// with the digest of these bytes. Signature, trust and revocation are judged by that digest on
/// every start, and the sealed bytes are what runs: a hit never lets run what was not judged.
///
/// A file is a hit if its inode and the kernel's time of its last change are those that it had when
/// it was compared with the sealed bytes, or else if it is equal to them to the last byte. A hit
/// spares the copy and its digest.
///
/// What is written without a trace in that time is not seen until the file is written or replaced
/// in the usual way, and the older bytes, which were judged, run until then: stores through a
/// mapping that was made before, and writes on file systems that tell an old time from their cache.
///
/// Dropping an entry, or the cache, does not end artifacts that are in use.
pub struct Cache {
    entries: Mutex<VecDeque<Entry>>,
    entries_max: usize,
    bytes_max: u64,
}

struct Entry {
    pinned: Arc<Pinned>,
    /// The files that have these bytes, as long as they are not written; the newest last.
    files: VecDeque<Stamp>,
}

impl Entry {
    fn add(&mut self, stamp: Option<Stamp>) {
        let Some(stamp) = stamp.filter(|stamp| !self.files.contains(stamp)) else {
            return;
        };
        if self.files.len() >= FILES_MAX {
            self.files.pop_front();
        }
        self.files.push_back(stamp);
    }
}

/// Files that are known to have the bytes of one entry: many plugins may be one program.
const FILES_MAX: usize = 1024;

impl Cache {
    /// A cache with the limits [`CACHE_ENTRIES`] and [`CACHE_BYTES`].
    pub fn new() -> Self {
        Self::with_limits(CACHE_ENTRIES, CACHE_BYTES)
    }

    /// A cache of at most so many binaries, with at most so many bytes together. With 0 nothing is
    /// kept.
    pub fn with_limits(entries: usize, bytes: u64) -> Self {
        Self {
            entries: Mutex::default(),
            entries_max: entries,
            bytes_max: bytes,
        }
    }

    /// Number of binaries.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Returns `true` if it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of the sizes of the binaries, in bytes.
    pub fn bytes(&self) -> u64 {
        bytes(&self.entries.lock())
    }

    /// Drops a binary; for one that has been revoked, say.
    pub fn remove(&self, digest: &Digest) {
        let is_other = |entry: &Entry| entry.pinned.digest() != digest;
        self.entries.lock().retain(is_other);
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.entries.lock().clear();
    }

    /// Finds the binary that has the content of an open file.
    pub(crate) fn find(&self, opened: &Opened) -> io::Result<Option<Arc<Pinned>>> {
        let likely: Vec<_> = {
            let mut entries = self.entries.lock();
            if let Some(stamp) = opened.stamp {
                let known = entries.iter();
                let at = known
                    .into_iter()
                    .position(|entry| entry.files.contains(&stamp));
                if let Some(entry) = at.and_then(|at| entries.remove(at)) {
                    let pinned = Arc::clone(&entry.pinned);
                    entries.push_back(entry);
                    return Ok(Some(pinned));
                }
            }
            // The newest first: a plugin that starts again is as it was.
            let pinned = entries.iter().rev().map(|entry| &entry.pinned);
            let alike = pinned.filter(|pinned| pinned.size() == opened.size);
            alike.cloned().collect()
        };
        for pinned in likely {
            if pinned.has_content_of(&opened.file)? {
                let mut entries = self.entries.lock();
                let at = entries
                    .iter()
                    .position(|entry| Arc::ptr_eq(&entry.pinned, &pinned));
                if let Some(mut entry) = at.and_then(|at| entries.remove(at)) {
                    entry.add(opened.stamp_now());
                    entries.push_back(entry);
                }
                return Ok(Some(pinned));
            }
        }
        Ok(None)
    }

    /// Keeps what was pinned from an open file.
    pub(crate) fn insert(&self, pinned: &Arc<Pinned>, stamp: Option<Stamp>) {
        let mut entries = self.entries.lock();
        let known = entries
            .iter()
            .position(|entry| entry.pinned.digest() == pinned.digest());
        let known = known.and_then(|at| entries.remove(at));
        if pinned.size() > self.bytes_max {
            return;
        }
        let mut entry = Entry {
            pinned: Arc::clone(pinned),
            files: known.map(|known| known.files).unwrap_or_default(),
        };
        entry.add(stamp);
        entries.push_back(entry);
        while entries.len() > self.entries_max || bytes(&entries) > self.bytes_max {
            entries.pop_front();
        }
    }
}

fn bytes(entries: &VecDeque<Entry>) -> u64 {
    entries.iter().map(|entry| entry.pinned.size()).sum()
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
    use std::fs::{self, File};
    use std::io::{Seek as _, Write as _};
    use std::time::{Duration, Instant};

    use crate::package::Package;

    fn pin(byte: u8, size: usize) -> Arc<Pinned> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![byte; size]).unwrap();
        file.rewind().unwrap();
        Arc::new(Pinned::new(&file, 1000).unwrap().unwrap())
    }

    #[test]
    fn it_is_bounded_and_the_least_recently_used_goes() {
        let cache = Cache::with_limits(2, 100);
        let has = |pinned: &Pinned| {
            let opened = Opened {
                file: File::open(pinned.exec_path()).unwrap(),
                size: pinned.size(),
                executable: true,
                stamp: None,
            };
            let found = cache.find(&opened).unwrap();
            found.is_some_and(|found| found.digest() == pinned.digest())
        };
        let (a, b, c) = (pin(1, 40), pin(2, 40), pin(3, 40));
        cache.insert(&a, None);
        cache.insert(&b, None);
        cache.insert(&b, None);
        assert_eq!((cache.len(), cache.bytes()), (2, 80));
        assert!(has(&a));
        cache.insert(&c, None);
        assert_eq!((cache.len(), cache.bytes()), (2, 80));
        assert!(!has(&b) && has(&a));
        // By bytes: exactly 100 fit, and what never fits pushes nothing out.
        cache.insert(&pin(4, 101), None);
        assert_eq!(cache.len(), 2);
        cache.insert(&pin(5, 60), None);
        assert_eq!((cache.len(), cache.bytes()), (2, 100));
        cache.insert(&pin(6, 100), None);
        assert_eq!((cache.len(), cache.bytes()), (1, 100));
        assert!(has(&pin(6, 100)) && !has(&pin(5, 100)) && !has(&pin(6, 99)));
        cache.remove(pin(6, 100).digest());
        assert!(cache.is_empty());
        let nothing = Cache::with_limits(0, 100);
        nothing.insert(&a, None);
        assert!(nothing.is_empty());
    }

    /// The file `p` in a directory, once its stamp tells that it is written.
    fn settled(package: &Package) -> Opened {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let opened = package.file("p").unwrap();
            if opened.stamp.is_some() {
                return opened;
            }
            assert!(Instant::now() < end, "its stamp stays young");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_is_read_again_once_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        fs::write(&path, "one").unwrap();
        let package = Package::open(dir.path(), None).unwrap();
        let cache = Cache::new();
        // Young: another write could leave the same stamp.
        assert_eq!(package.file("p").unwrap().stamp, None);
        let opened = settled(&package);
        let pinned = Pinned::new(&opened.file, 3).unwrap().unwrap();
        cache.insert(&Arc::new(pinned), opened.stamp);
        // It is not read: an open file that has no bytes left is found.
        let empty = tempfile::tempfile().unwrap();
        let unread = Opened {
            file: empty,
            ..settled(&package)
        };
        assert!(cache.find(&unread).unwrap().is_some());
        // The same size and time of writing, as `cp -p` and `touch -r` leave them.
        let times = fs::FileTimes::new();
        let times = times.set_modified(path.metadata().unwrap().modified().unwrap());
        fs::write(&path, "two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(times).unwrap();
        drop(file);
        assert!(cache.find(&package.file("p").unwrap()).unwrap().is_none());
        assert!(cache.find(&settled(&package)).unwrap().is_none());
        // Its bytes again: it is read, found, and known from then on.
        fs::write(&path, "one").unwrap();
        assert!(cache.find(&settled(&package)).unwrap().is_some());
        let unread = Opened {
            file: tempfile::tempfile().unwrap(),
            ..settled(&package)
        };
        assert!(cache.find(&unread).unwrap().is_some());
    }
}
