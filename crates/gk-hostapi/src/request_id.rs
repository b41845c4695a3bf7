//! The id of a request, in every log.

use std::fmt;

use bytes::Bytes;

/// The longest id that is taken from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of a request in the logs of the host and of all plugins that it leads to: 1 to
/// [`REQUEST_ID_BYTES_MAX`] visible ASCII characters. A cheap clone, without an allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Bytes);

/// An id in place, so that it takes one allocation and not two.
struct Inline {
    len: usize,
    text: [u8; REQUEST_ID_BYTES_MAX],
}

impl AsRef<[u8]> for Inline {
    fn as_ref(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl RequestId {
    /// Takes a client's own; `None` if it is no id.
    pub fn new(text: &[u8]) -> Option<Self> {
        if !(1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
            || !text.iter().all(u8::is_ascii_graphic)
        {
            return None;
        }
        let mut inline = Inline {
            len: text.len(),
            text: [0; REQUEST_ID_BYTES_MAX],
        };
        inline.text[..text.len()].copy_from_slice(text);
        Some(Self(Bytes::from_owner(inline)))
    }

    /// Makes one of a random number: 32 hexadecimal digits.
    pub fn of(random: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random.to_be_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(Bytes::from_owner(text))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        // Only ever made of ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The id, sharing its memory.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_visible() {
        let long = "x".repeat(REQUEST_ID_BYTES_MAX);
        for good in ["a", "0af7-651.9_16", "\"~!", &long] {
            assert_eq!(RequestId::new(good.as_bytes()).unwrap().as_str(), good);
        }
        let longer = format!("{long}x");
        for bad in ["", " ", "a b", "a\n", "a\u{7f}", "ä", "a\0", &longer] {
            assert!(RequestId::new(bad.as_bytes()).is_none(), "{bad:?}");
        }
        let made = RequestId::of(0x0123_4567_89ab_cdef_0000_0000_0000_00ff);
        assert_eq!(made.to_string(), "0123456789abcdef00000000000000ff");
        assert_eq!(RequestId::new(made.as_str().as_bytes()), Some(made));
    }
}
