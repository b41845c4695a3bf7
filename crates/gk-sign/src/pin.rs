//! What pinning has in common on all systems: copying a file, its digest, and comparing two.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::digest::{CHUNK, Digest, Hasher};

/// Files of at least this many bytes are worth a second thread.
const LARGE: u64 = 1 << 20;

/// Buffers between the thread that reads and the one that hashes.
const BUFFERS: usize = 4;

/// Bytes of such a buffer: few wake-ups, and what is read is still in the processor's cache when it is hashed.
const BUFFER: usize = 256 * 1024;

/// Copies what is left of `from`; the number of bytes, or `None` if there are more than `max`. Where both are files of
/// the kernel's, it copies.
pub(crate) fn copy(from: &File, mut to: &File, max: u64) -> io::Result<Option<u64>> {
    let size = io::copy(&mut from.take(max.saturating_add(1)), &mut to)?;
    Ok((size <= max).then_some(size))
}

/// The digest and length of what is left of `file`, which may have `max` bytes; `None` if it has more. A large file is
/// read ahead of what is hashed.
pub(crate) fn digest(file: &File, max: u64) -> io::Result<Option<(Digest, u64)>> {
    let (mut source, mut hasher) = (file.take(max.saturating_add(1)), Hasher::new());
    let left = file.metadata()?.len();
    let ahead = match is_for_two_threads(left) {
        true => digest_ahead(&mut |buffer| read(&mut source, buffer)),
        false => None,
    };
    let (digest, size) = match ahead {
        Some(hashed) => hashed?,
        None => {
            let (mut buffer, mut size) = (vec![0; CHUNK], 0);
            loop {
                let length = read(&mut source, &mut buffer)?;
                if length == 0 {
                    break (hasher.digest(), size);
                }
                hasher.update(&buffer[..length]);
                size += length as u64;
            }
        }
    };
    Ok((size <= max).then_some((digest, size)))
}

/// `None`, and nothing read, if there is no second thread to be had.
fn digest_ahead(
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> Option<io::Result<(Digest, u64)>> {
    let (full, filled) = mpsc::sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let hashing = spawn(scope, move || {
            let mut hasher = Hasher::new();
            for (buffer, length) in filled {
                hasher.update(&buffer[..length]);
                let _ = empty.send(buffer);
            }
            hasher.digest()
        })?;
        let gone = || io::Error::other("the thread that hashes has ended");
        let mut each = || {
            let (mut size, mut buffers) = (0, 0);
            loop {
                let mut buffer = if buffers < BUFFERS {
                    buffers += 1;
                    vec![0; BUFFER]
                } else {
                    emptied.recv().map_err(|_| gone())?
                };
                let length = read(&mut buffer)?;
                if length == 0 {
                    return Ok(size);
                }
                size += length as u64;
                full.send((buffer, length)).map_err(|_| gone())?;
            }
        };
        let size = each();
        drop(full);
        let digest = hashing.join().map_err(|_| gone());
        Some(size.and_then(|size| Ok((digest?, size))))
    })
}

fn is_for_two_threads(size: u64) -> bool {
    size >= LARGE && thread::available_parallelism().is_ok_and(|threads| threads.get() > 1)
}

/// `None` if the system refuses a thread.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    let builder = thread::Builder::new().name("gk-sign".into());
    builder.spawn_scoped(scope, work).ok()
}

/// Whether two files have the same `size` bytes. Looks at each byte of both until there is a difference.
pub(crate) fn are_equal(one: &File, other: &File, size: u64) -> io::Result<bool> {
    // What differs differs early as a rule: an executable's head has its sizes and its build's id.
    let head = size.min(CHUNK as u64);
    let over = AtomicBool::new(false);
    let compare = |range| {
        let equal = is_equal(one, other, range, &over);
        over.fetch_or(!matches!(equal, Ok(true)), Ordering::Relaxed);
        equal
    };
    if !compare(0..head)? {
        return Ok(false);
    }
    let middle = match is_for_two_threads(size) {
        true => size / 2,
        false => size,
    };
    thread::scope(|scope| {
        let second = (middle < size).then(|| spawn(scope, || compare(middle..size)));
        match second.flatten() {
            None => compare(head..size),
            Some(second) => {
                let first = compare(head..middle);
                let second = second.join();
                let gone = |_| io::Error::other("the thread that compares has ended");
                // The one that is over first stops the other, which has nothing to say then.
                Ok(first? && second.map_err(gone)??)
            }
        }
    })
}

/// False also when it is `over` before the end of the range.
fn is_equal(
    one: &File,
    other: &File,
    range: std::ops::Range<u64>,
    over: &AtomicBool,
) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = range.start;
    while at < range.end {
        if over.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let length = usize::try_from(range.end - at).map_or(CHUNK, |length| length.min(CHUNK));
        let (left, right) = (&mut left[..length], &mut right[..length]);
        let is_short = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
        for (file, buffer) in [(one, &mut *left), (other, &mut *right)] {
            match file.read_exact_at(buffer, at) {
                Err(error) if is_short(&error) => return Ok(false),
                read => read?,
            }
        }
        if left != right {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

fn read(source: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn a_copy_has_the_bytes() {
        for length in [0, 1, CHUNK, 3 << 20] {
            let bytes = bytes(length);
            let to = tempfile::tempfile().unwrap();
            let max = length as u64;
            assert_eq!(copy(&file(&bytes), &to, max).unwrap(), Some(max));
            let mut copied = vec![0; length];
            to.read_exact_at(&mut copied, 0).unwrap();
            assert!(copied == bytes && to.metadata().unwrap().len() == max);
        }
        let to = tempfile::tempfile().unwrap();
        assert_eq!(copy(&file(&bytes(1000)), &to, 999).unwrap(), None);
    }

    #[test]
    fn a_digest_is_the_same_however_many_threads_there_are() {
        for length in [0, 1, CHUNK, BUFFER, BUFFER * BUFFERS * 2 + 7] {
            let (bytes, max) = (bytes(length), length as u64);
            let expected = Some((Digest::of(&bytes), max));
            assert_eq!(digest(&file(&bytes), max).unwrap(), expected);
            let mut source = file(&bytes);
            let ahead = digest_ahead(&mut |buffer| read(&mut source, buffer));
            assert_eq!(ahead.unwrap().ok(), expected);
            if length > 0 {
                assert_eq!(digest(&file(&bytes), max - 1).unwrap(), None);
            }
        }
        // An error in the middle ends both.
        let mut left = BUFFERS * 3;
        let failed = digest_ahead(&mut |buffer| {
            left -= 1;
            match left {
                0 => Err(io::ErrorKind::Other.into()),
                _ => Ok(buffer.len()),
            }
        });
        failed.unwrap().unwrap_err();
    }

    #[test]
    fn files_are_equal_if_each_byte_is() {
        for length in [1, CHUNK + 1, 3 << 20] {
            let size = length as u64;
            let same = bytes(length);
            assert!(are_equal(&file(&same), &file(&same), size).unwrap());
            for at in [0, length / 2, length - 1] {
                let mut other = same.clone();
                other[at] ^= 1;
                assert!(!are_equal(&file(&same), &file(&other), size).unwrap());
            }
            let cut = file(&same[..length - 1]);
            assert!(!are_equal(&cut, &file(&same), size).unwrap());
        }
    }
}
