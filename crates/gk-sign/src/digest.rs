//! SHA-256 digests, and the hexadecimal notation of everything here.

use std::fmt;
use std::fs::File;
use std::io;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Bytes that are read at a time.
pub(crate) const CHUNK: usize = 64 * 1024;

/// A SHA-256 digest. Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text is not the hexadecimal notation of so many bytes. The text itself is not repeated: it may be a secret.
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

/// What becomes a [`Digest`] of all that it is given.
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn digest(self) -> Digest {
        Digest(self.0.finalize().into())
    }
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

    /// The digest and length of what is left of `file`, which may have `max` bytes; `None` if it has more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(file: &File, max: u64) -> io::Result<Option<(Self, u64)>> {
        crate::pin::digest(file, max)
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
