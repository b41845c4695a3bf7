//! From a byte stream in pieces to whole gob messages.

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use crate::gob::{self, Limits, message_length};
use crate::memory::{MemoryBudget, Reservation, SMALL_BYTES};

/// A message that is not complete grows by at least this much, so that an announced length alone
/// reserves little.
const GROWTH_BYTES: usize = 1 << 20;

/// From this many missing bytes on, a reader may put them into the message directly.
const DIRECT_MIN_BYTES: usize = 4 * 1024;

/// The longest form of a type's id, in bytes.
const ID_BYTES_MAX: usize = 9;

/// The next content of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A whole message.
    Message(Bytes),
    /// A message for which the budget had no room: it was read and thrown away.
    Dropped {
        /// The message's length in bytes.
        length: usize,
        /// Its first bytes, as many as a type's id may take.
        start: Bytes,
    },
}

/// Finds the messages in the pieces of a stream. A message inside one piece is not copied.
#[derive(Debug)]
pub struct Assembler {
    limits: Limits,
    memory: Option<MemoryBudget>,
    /// The start of a length that is not complete; its longest form has nine bytes.
    prefix: [u8; 9],
    prefix_len: usize,
    /// A message that began in an earlier piece.
    partial: Option<Partial>,
}

/// A message that is not complete.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    length: usize,
    /// Its part of the budget; grows with what is allocated.
    reservation: Option<Reservation>,
    /// Bytes that are still to be thrown away, if the budget had no room for the message.
    dropping: Option<usize>,
    /// The first bytes of what is thrown away.
    start: SmallVec<[u8; ID_BYTES_MAX]>,
}

impl Partial {
    /// Makes room for `more` bytes, ahead but never beyond the message; without room in the budget
    /// the message is dropped from here on.
    fn grow(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return;
        }
        let step = self.bytes.len().max(GROWTH_BYTES).max(more);
        let step = step.min(self.length - self.bytes.len());
        if let Some(reservation) = &mut self.reservation
            && reservation.grow(step).is_err()
        {
            self.dropping = Some(self.length - self.bytes.len());
            let start = self.bytes.len().min(ID_BYTES_MAX);
            self.start.extend_from_slice(&self.bytes[..start]);
            self.bytes = Vec::new();
            self.reservation = None;
            return;
        }
        self.bytes.reserve_exact(step);
    }

    fn take(&mut self, piece: &mut Bytes) {
        if self.dropping.is_none() {
            let missing = piece.len().min(self.length - self.bytes.len());
            self.grow(missing);
            if self.dropping.is_none() {
                self.bytes.extend_from_slice(&piece.split_to(missing));
                return;
            }
        }
        if let Some(left) = &mut self.dropping {
            let gone = piece.len().min(*left);
            let start = gone.min(ID_BYTES_MAX - self.start.len());
            self.start.extend_from_slice(&piece[..start]);
            piece.advance(gone);
            *left -= gone;
        }
    }

    fn is_complete(&self) -> bool {
        match self.dropping {
            Some(left) => left == 0,
            None => self.bytes.len() == self.length,
        }
    }

    fn into_content(self) -> Content {
        match (self.dropping, self.reservation) {
            (Some(_), _) => Content::Dropped {
                length: self.length,
                start: Bytes::copy_from_slice(&self.start),
            },
            (None, Some(reservation)) => Content::Message(reservation.attach(self.bytes)),
            (None, None) => Content::Message(Bytes::from(self.bytes)),
        }
    }
}

impl Assembler {
    /// An assembler at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Assembler {
            limits,
            memory: None,
            prefix: [0; 9],
            prefix_len: 0,
            partial: None,
        }
    }

    /// Counts messages that come in several pieces in this budget, until the last clone of their
    /// bytes is dropped. A message for which the budget has no room is thrown away.
    #[must_use]
    pub fn within(mut self, memory: Option<MemoryBudget>) -> Self {
        self.memory = memory;
        self
    }

    /// Takes bytes off `piece` and gives the content of the next message; `None` when `piece` is
    /// used up.
    ///
    /// # Errors
    ///
    /// If a length is malformed or over the limit: the stream is lost.
    pub fn next(&mut self, piece: &mut Bytes) -> Result<Option<Content>, gob::Error> {
        if let Some(partial) = &mut self.partial {
            partial.take(piece);
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

    fn start(&mut self, piece: &mut Bytes, length: usize) -> Result<Option<Content>, gob::Error> {
        if piece.len() >= length {
            return Ok(Some(Content::Message(piece.split_to(length))));
        }
        // Small messages are not counted: they fit into one read, and a header must never be
        // dropped.
        let counted = self.memory.as_ref().filter(|_| length > SMALL_BYTES);
        let mut partial = Partial {
            bytes: Vec::new(),
            length,
            // Reserving no bytes cannot fail.
            reservation: counted.and_then(|memory| memory.reserve(0).ok()),
            dropping: None,
            start: SmallVec::new(),
        };
        partial.take(piece);
        self.partial = Some(partial);
        Ok(None)
    }

    /// Takes out the message that is being received, and says how many bytes may be appended to it,
    /// if so many are missing that reading them straight into place is worth it. The message must
    /// come back by [`put_buffer`](Self::put_buffer) before anything else is done.
    pub fn take_buffer(&mut self) -> Option<(Vec<u8>, usize)> {
        let partial = self.partial.as_mut()?;
        let missing = partial.length - partial.bytes.len();
        if missing < DIRECT_MIN_BYTES || partial.dropping.is_some() {
            return None;
        }
        partial.grow(1);
        if partial.dropping.is_some() {
            return None;
        }
        let room = partial.bytes.capacity() - partial.bytes.len();
        Some((std::mem::take(&mut partial.bytes), missing.min(room)))
    }

    /// Takes back what [`take_buffer`](Self::take_buffer) has given, and gives the message if it is
    /// complete.
    pub fn put_buffer(&mut self, bytes: Vec<u8>) -> Option<Content> {
        self.partial.as_mut()?.bytes = bytes;
        self.take_complete()
    }

    /// Bytes of an incomplete message that are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.bytes.len())
    }

    fn take_complete(&mut self) -> Option<Content> {
        self.partial
            .take_if(|partial| partial.is_complete())
            .map(Partial::into_content)
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
            while let Some(content) = assembler.next(&mut piece).unwrap() {
                let Content::Message(message) = content else {
                    panic!("dropped without a budget");
                };
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
        let (buffer, room) = assembler.take_buffer().unwrap();
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

    /// Feeds a message of `length` bytes in pieces, part of them read directly.
    fn feed(assembler: &mut Assembler, length: usize) -> Content {
        let mut stream = vec![0xfc];
        stream.extend(u32::try_from(length).unwrap().to_be_bytes());
        stream.resize(stream.len() + length, 7);
        let mut at = 0;
        loop {
            if let Some((mut message, room)) = assembler.take_buffer() {
                let count = room.min(50_000);
                message.extend_from_slice(&stream[at..at + count]);
                at += count;
                if let Some(content) = assembler.put_buffer(message) {
                    return content;
                }
                continue;
            }
            let end = stream.len().min(at + 16_000);
            let mut piece = Bytes::copy_from_slice(&stream[at..end]);
            at = end;
            if let Some(content) = assembler.next(&mut piece).unwrap() {
                assert_eq!(at, stream.len());
                return content;
            }
        }
    }

    #[test]
    fn what_the_budget_has_no_room_for_is_read_and_thrown_away() {
        let limits = Limits {
            max_message_bytes: 32 << 20,
            ..Limits::default()
        };
        let budget = MemoryBudget::new(8 << 20);
        let mut assembler = Assembler::new(limits).within(Some(budget.clone()));
        let Content::Message(first) = feed(&mut assembler, 4 << 20) else {
            panic!("there was room for it");
        };
        assert_eq!((first.len(), budget.used()), (4 << 20, 4 << 20));
        assert_eq!(
            feed(&mut assembler, 5 << 20),
            Content::Dropped {
                length: 5 << 20,
                start: Bytes::from_static(&[7; ID_BYTES_MAX])
            }
        );
        assert_eq!(budget.used(), 4 << 20, "what is dropped takes nothing");
        assert!(budget.peak() <= 6 << 20, "large ones leave a quarter");
        drop(first);
        assert!(matches!(feed(&mut assembler, 5 << 20), Content::Message(_)));
        assert_eq!(budget.used(), 0);
        let rest = budget.reserve(8 << 20);
        rest.unwrap_err();
        let _all: Vec<_> = (0..64)
            .map(|_| budget.reserve(128 << 10).unwrap())
            .collect();
        // A header, or anything else that is small, is never dropped.
        assert!(matches!(
            feed(&mut assembler, SMALL_BYTES),
            Content::Message(_)
        ));
    }
}
