//! What pinning has in common on all systems: one reading of the file, with a bound.

use std::fs::File;
use std::io::{self, Read as _, Take, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread;

use crate::digest::{CHUNK, Digest, Hasher};

/// Files of at least this many bytes are worth a second thread.
const LARGE: u64 = 1 << 20;

/// Buffers between the thread that copies and the one that hashes.
const BUFFERS: usize = 4;

/// Bytes of such a buffer: few wake-ups, and what is copied is still in the processor's cache when it is hashed.
const BUFFER: usize = 256 * 1024;

/// Copies what is left of `from`, which has about `size` bytes. Returns the number of bytes and their digest, or `None`
/// if there are more than `max`.
///
/// The digest is over the buffers that are written. It is that of the copy because nobody else can open the copy
/// before this returns.
pub(crate) fn copy(
    from: &File,
    to: &File,
    size: u64,
    max: u64,
) -> io::Result<Option<(Digest, u64)>> {
    if is_for_two_threads(size) {
        return copy_on_two_threads(from, to, max);
    }
    let (mut hasher, mut copied) = (Hasher::new(), 0);
    let mut source = Source::new(from, max);
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = source.read(&mut buffer)?;
        if read.is_empty() {
            return Ok(Some((hasher.digest(), copied)));
        }
        copied += read.len() as u64;
        if copied > max {
            return Ok(None);
        }
        { to }.write_all(read)?;
        hasher.update(read);
    }
}

fn is_for_two_threads(size: u64) -> bool {
    size >= LARGE && thread::available_parallelism().is_ok_and(|threads| threads.get() > 1)
}

/// Copying and hashing take about the same time, so they are done side by side.
fn copy_on_two_threads(from: &File, to: &File, max: u64) -> io::Result<Option<(Digest, u64)>> {
    let (full, filled) = mpsc::sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let hashing = thread::Builder::new().name("gk-hash".into());
        let hashing = hashing.spawn_scoped(scope, move || {
            let mut hasher = Hasher::new();
            for (buffer, length) in filled {
                hasher.update(&buffer[..length]);
                let _ = empty.send(buffer);
            }
            hasher.digest()
        })?;
        let mut source = Source::new(from, max);
        let (mut copied, mut buffers) = (0, 0);
        let gone = || io::Error::other("the thread that hashes has ended");
        loop {
            let mut buffer = if buffers < BUFFERS {
                buffers += 1;
                vec![0; BUFFER]
            } else {
                emptied.recv().map_err(|_| gone())?
            };
            let length = source.read(&mut buffer)?.len();
            if length == 0 {
                break;
            }
            copied += length as u64;
            if copied > max {
                return Ok(None);
            }
            { to }.write_all(&buffer[..length])?;
            full.send((buffer, length)).map_err(|_| gone())?;
        }
        drop(full);
        let digest = hashing.join().map_err(|_| gone())?;
        Ok(Some((digest, copied)))
    })
}

/// Whether two files have the same `size` bytes. Looks at each byte of both until there is a difference.
pub(crate) fn are_equal(one: &File, other: &File, size: u64) -> io::Result<bool> {
    // What differs differs early as a rule: an executable's head has its sizes and its build's id.
    let head = size.min(CHUNK as u64);
    if !is_equal(one, other, 0..head)? {
        return Ok(false);
    }
    if !is_for_two_threads(size) {
        return is_equal(one, other, head..size);
    }
    let middle = size / 2;
    thread::scope(|scope| {
        let second = scope.spawn(|| is_equal(one, other, middle..size));
        let first = is_equal(one, other, head..middle)?;
        let second = second.join();
        let second = second.map_err(|_| io::Error::other("the thread that compares has ended"))?;
        Ok(first && second?)
    })
}

fn is_equal(one: &File, other: &File, range: std::ops::Range<u64>) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = range.start;
    while at < range.end {
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

/// A file that is read once, up to one byte more than it may have.
struct Source<'a>(Take<&'a File>);

impl<'a> Source<'a> {
    fn new(file: &'a File, max: u64) -> Self {
        Self(file.take(max.saturating_add(1)))
    }

    /// What comes next; nothing at the end.
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        loop {
            match self.0.read(buffer) {
                Ok(length) => return Ok(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

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
    fn a_copy_has_the_bytes_and_their_digest_however_many_threads_there_are() {
        for length in [0, 1, CHUNK, BUFFER, BUFFER * BUFFERS * 2 + 7] {
            let bytes = bytes(length);
            // Whatever size it is said to have.
            for size in [0, LARGE] {
                let to = tempfile::tempfile().unwrap();
                let max = length as u64;
                let copied = copy(&file(&bytes), &to, size, max).unwrap();
                assert_eq!(copied, Some((Digest::of(&bytes), max)));
                let mut copy = vec![0; length];
                to.read_exact_at(&mut copy, 0).unwrap();
                assert!(copy == bytes && to.metadata().unwrap().len() == max);
            }
        }
        for size in [0, LARGE] {
            let to = tempfile::tempfile().unwrap();
            let long = file(&bytes(BUFFER * 9));
            let copied = copy(&long, &to, size, BUFFER as u64 * 9 - 1).unwrap();
            assert_eq!(copied, None);
        }
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
