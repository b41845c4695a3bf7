//! SHA-256 digests, and the hexadecimal notation of everything here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::threads::{is_for_two_threads, spawn};

/// Bytes that are read at a time.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Buffers between the thread that reads and the one that hashes.
const BUFFERS: usize = 4;

/// Bytes of such a buffer: few wake-ups, and what is read is still in the processor's cache when it
/// is hashed.
const BUFFER: usize = 256 * 1024;

/// A SHA-256 digest. Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text is not the hexadecimal notation of so many bytes. The text itself is not repeated: it may
/// be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// Too short or too long.
    #[error("expected {expected} hexadecimal digits, found {found} characters")]
    Length {
        /// Digits there should be.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The length is right, but there is something else than `0-9a-fA-F`.
    #[error("there is a character that is not a hexadecimal digit")]
    Digit,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest and length of what is left of `file`, which may have `max` bytes; `None` if it
    /// has more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(file: &File, max: u64) -> io::Result<Option<(Self, u64)>> {
        let mut source = file.take(max.saturating_add(1));
        let ahead = match is_for_two_threads(file.metadata()?.len()) {
            true => digest_ahead(&mut |buffer| read(&mut source, buffer)),
            false => None,
        };
        let (digest, size) = match ahead {
            Some(hashed) => hashed?,
            None => {
                let (mut hasher, mut size) = (Sha256::new(), 0);
                let mut buffer = vec![0; CHUNK];
                loop {
                    let length = read(&mut source, &mut buffer)?;
                    if length == 0 {
                        break (Self(hasher.finalize().into()), size);
                    }
                    hasher.update(&buffer[..length]);
                    size += length as u64;
                }
            }
        };
        Ok((size <= max).then_some((digest, size)))
    }
}

/// Reads ahead of what is hashed. `None`, and nothing read, if there is no second thread to be had.
fn digest_ahead(
    read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> Option<io::Result<(Digest, u64)>> {
    let (full, filled) = mpsc::sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let hashing = spawn(scope, move || {
            let mut hasher = Sha256::new();
            for (buffer, length) in filled {
                hasher.update(&buffer[..length]);
                let _ = empty.send(buffer);
            }
            Digest(hasher.finalize().into())
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

fn read(source: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let mut bytes = [0; 32];
        decode(text.as_bytes(), &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Lower-case digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Fills `bytes` from digits of either case, without branching on their values.
pub(crate) fn decode(text: &[u8], bytes: &mut [u8]) -> Result<(), HexError> {
    if text.len() != bytes.len() * 2 {
        return Err(HexError::Length {
            expected: bytes.len() * 2,
            found: text.len(),
        });
    }
    base16ct::mixed::decode(text, bytes)
        .map(drop)
        .map_err(|_| HexError::Digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bytes, file};

    #[test]
    fn a_digest_is_the_same_however_many_threads_there_are() {
        for length in [0, 1, CHUNK, BUFFER, BUFFER * BUFFERS * 2 + 7] {
            let (bytes, max) = (bytes(length), length as u64);
            let expected = Some((Digest::of(&bytes), max));
            assert_eq!(Digest::of_file(&file(&bytes), max).unwrap(), expected);
            let mut source = file(&bytes);
            let ahead = digest_ahead(&mut |buffer| read(&mut source, buffer));
            assert_eq!(ahead.unwrap().ok(), expected);
            if length > 0 {
                assert_eq!(Digest::of_file(&file(&bytes), max - 1).unwrap(), None);
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
    fn digits_of_either_case_and_nothing_else() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        assert_eq!(
            text[1..].parse::<Digest>(),
            Err(HexError::Length {
                expected: 64,
                found: 63
            })
        );
        assert_eq!(
            text.replace('b', "g").parse::<Digest>(),
            Err(HexError::Digit)
        );
        assert_eq!("é".repeat(32).parse::<Digest>(), Err(HexError::Digit));
    }

    #[test]
    fn a_file_at_its_limit_is_read_and_one_byte_more_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let read = |max| Digest::of_file(&File::open(&path).unwrap(), max).unwrap();
        assert_eq!(read(100_000), Some((Digest::of(&[7; 100_000]), 100_000)));
        assert_eq!(read(99_999), None);
    }
}
