//! Pinning on all systems: copying a file, and comparing two.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::digest::CHUNK;
use crate::threads::{is_for_two_threads, spawn};

/// Copies what is left of `from`; the number of bytes, or `None` if there are more than `max`.
/// Where both are files of the kernel's, it copies.
pub(crate) fn copy(from: &File, mut to: &File, max: u64) -> io::Result<Option<u64>> {
    let size = io::copy(&mut from.take(max.saturating_add(1)), &mut to)?;
    Ok((size <= max).then_some(size))
}

/// Compares `size` bytes of two files, up to the first difference.
pub(crate) fn are_equal(one: &File, other: &File, size: u64) -> io::Result<bool> {
    // Different binaries differ early as a rule: an executable's head has its sizes and its build's
    // id.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes, file};

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
