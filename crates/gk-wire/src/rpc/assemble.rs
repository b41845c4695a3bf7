//! From a byte stream in pieces to whole gob messages.

use bytes::{Buf, Bytes};

use crate::gob::{self, Limits, message_length};

/// A message that is not complete grows by at least this much, so that an announced length alone
/// reserves little.
const GROWTH_BYTES: usize = 1 << 20;

/// From this many missing bytes on, a reader may put them into the message directly.
const DIRECT_MIN_BYTES: usize = 4 * 1024;

/// Finds the messages in the pieces of a stream. A message inside one piece is not copied.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    /// The start of a length that is not complete; its longest form has nine bytes.
    prefix: [u8; 9],
    prefix_len: usize,
    /// A message that began in an earlier piece, and its whole length.
    partial: Option<(Vec<u8>, usize)>,
}

impl Assembler {
    /// At the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Assembler {
            limits,
            prefix: [0; 9],
            prefix_len: 0,
            partial: None,
        }
    }

    /// Takes bytes off `piece` and gives the content of the next message; `None` when `piece` is used up.
    ///
    /// # Errors
    ///
    /// If a length is malformed or over the limit: the stream is lost.
    pub fn next(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, gob::Error> {
        if let Some((partial, length)) = &mut self.partial {
            let missing = piece.split_to(piece.len().min(*length - partial.len()));
            grow(partial, *length, missing.len());
            partial.extend_from_slice(&missing);
            return Ok(self.take_complete());
        }
        while self.prefix_len > 0 && piece.has_remaining() {
            // The rare case of a length across two pieces.
            if let Some(place) = self.prefix.get_mut(self.prefix_len) {
                *place = piece.get_u8();
            }
            self.prefix_len += 1;
            if let Some((length, _)) = message_length(
                self.prefix.get(..self.prefix_len).unwrap_or_default(),
                &self.limits,
            )? {
                self.prefix_len = 0;
                return self.start(piece, length);
            }
        }
        if piece.is_empty() {
            return Ok(None);
        }
        match message_length(piece, &self.limits)? {
            Some((length, start)) => {
                piece.advance(start);
                self.start(piece, length)
            }
            None => {
                self.prefix_len = piece.len();
                piece.copy_to_slice(&mut self.prefix[..self.prefix_len]);
                Ok(None)
            }
        }
    }

    fn start(&mut self, piece: &mut Bytes, length: usize) -> Result<Option<Bytes>, gob::Error> {
        if piece.len() >= length {
            return Ok(Some(piece.split_to(length)));
        }
        let mut partial = Vec::new();
        grow(&mut partial, length, piece.len());
        partial.extend_from_slice(piece);
        piece.clear();
        self.partial = Some((partial, length));
        Ok(None)
    }

    /// Where the next bytes of the stream belong, and how many of them at most, if so many are missing
    /// that reading them straight into place is worth it. Call [`direct_done`](Self::direct_done) after.
    pub fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let (partial, length) = self.partial.as_mut()?;
        let missing = *length - partial.len();
        if missing < DIRECT_MIN_BYTES {
            return None;
        }
        grow(partial, *length, 1);
        let room = partial.capacity() - partial.len();
        Some((partial, missing.min(room)))
    }

    /// How many bytes of an incomplete message it holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |(partial, _)| partial.len())
    }

    /// The message that a direct read completed, if it did.
    pub fn direct_done(&mut self) -> Option<Bytes> {
        self.take_complete()
    }

    fn take_complete(&mut self) -> Option<Bytes> {
        match &self.partial {
            Some((partial, length)) if partial.len() == *length => {
                self.partial.take().map(|(done, _)| Bytes::from(done))
            }
            _ => None,
        }
    }
}

/// Makes room for `more` bytes, ahead but never beyond the message.
fn grow(partial: &mut Vec<u8>, length: usize, more: usize) {
    if partial.capacity() - partial.len() < more {
        let step = partial.len().max(GROWTH_BYTES).max(more);
        partial.reserve_exact(step.min(length - partial.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(stream: &[u8], size: usize) -> Vec<Bytes> {
        let mut assembler = Assembler::new(Limits::default());
        let mut messages = Vec::new();
        for piece in stream.chunks(size) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(message) = assembler.next(&mut piece).unwrap() {
                messages.push(message);
            }
            assert!(piece.is_empty());
        }
        messages
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut stream = vec![3, 1, 2, 3, 0xff, 200];
        stream.extend([7; 200]);
        stream.extend([1, 9]);
        for size in 1..stream.len() {
            let messages = pieces(&stream, size);
            assert_eq!(messages.len(), 3, "cut at {size}");
            assert_eq!(
                (messages[0].len(), messages[1].len(), &messages[2][..]),
                (3, 200, &[9][..])
            );
        }
    }

    #[test]
    fn a_huge_length_reserves_little_and_an_over_long_one_is_refused() {
        let limits = Limits {
            max_message_bytes: 32 << 20,
            ..Limits::default()
        };
        let mut assembler = Assembler::new(limits);
        let mut piece = Bytes::from_static(&[0xfc, 0x02, 0, 0, 0, 1]);
        assert_eq!(assembler.next(&mut piece), Ok(None));
        let (buffer, room) = assembler.direct().unwrap();
        assert!(buffer.capacity() < 3 << 20 && room < 3 << 20);
        // 1 GiB.
        let mut piece = Bytes::from_static(&[0xfc, 0x40, 0, 0, 0, 1]);
        let refused = Assembler::new(limits).next(&mut piece);
        assert_eq!(
            refused,
            Err(gob::Error::MessageTooLong {
                length: 1 << 30,
                limit: 32 << 20
            })
        );
    }
}
