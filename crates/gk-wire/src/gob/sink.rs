//! A buffer for encoded bytes, message by message.

use bytes::Bytes;

use super::{Error, num};

/// Bytes being encoded: what was written, and the shared pieces that belong in between.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) written: Vec<u8>,
    /// (position in `written` ahead of which the piece belongs, piece), in order.
    pub(crate) spliced: Vec<(usize, Bytes)>,
    /// The message that is being written.
    frame: Frame,
}

/// The start of a message whose length is not known yet.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    start: usize,
    length_before: usize,
    spliced_before: usize,
}

impl Sink {
    /// Writes a message: its length, then what `content` writes.
    pub(crate) fn framed<R>(
        &mut self,
        content: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let outer = self.frame;
        self.open();
        let result = content(self)?;
        self.close();
        self.frame = outer;
        Ok(result)
    }

    /// Ends the message here, and goes on in a further one: Go does so behind each type definition.
    pub(crate) fn next_message(&mut self) {
        self.close();
        self.open();
    }

    fn open(&mut self) {
        self.frame = Frame {
            start: self.written.len(),
            length_before: self.len(),
            spliced_before: self.spliced.len(),
        };
        self.written.push(0);
    }

    fn close(&mut self) {
        let Frame {
            start,
            length_before,
            spliced_before,
        } = self.frame;
        let length = (self.len() - length_before - 1) as u64;
        let extra = num::uint_len(length) - 1;
        if extra == 0 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "one byte long, so at most 0x7f"
            )]
            let short = length as u8;
            self.written[start] = short;
        } else {
            let mut prefix = Vec::new();
            num::put_uint(&mut prefix, length);
            self.written.splice(start..=start, prefix);
            self.spliced[spliced_before..]
                .iter_mut()
                .for_each(|(position, _)| *position += extra);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.written.clear();
        self.spliced.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.written.len()
            + self
                .spliced
                .iter()
                .map(|(_, piece)| piece.len())
                .sum::<usize>()
    }

    /// The pieces in the order in which they are sent.
    pub(crate) fn for_each(&mut self, mut small: impl FnMut(&[u8]), mut large: impl FnMut(Bytes)) {
        let mut at = 0;
        for (position, piece) in self.spliced.drain(..) {
            small(&self.written[at..position]);
            at = position;
            large(piece);
        }
        small(&self.written[at..]);
    }
}
