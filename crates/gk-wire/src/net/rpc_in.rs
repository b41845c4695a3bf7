//! One direction of net/rpc on the receiving side: from a stream's bytes to headers and bodies.

use bytes::Bytes;

use super::state::Limits;
use crate::gob::{self, Decoder, Message};
use crate::memory::{MemoryBudget, Reservation, SMALL_BYTES};
use crate::rpc::Assembler;

/// One direction of net/rpc: headers and bodies in turn.
pub(super) struct RpcIn<H> {
    pub(super) assembler: Assembler,
    pub(super) decoder: Decoder,
    pub(super) header: Option<H>,
    memory: Option<MemoryBudget>,
    /// The part of the budget that a value has which goes on in the next message.
    reservation: Option<Reservation>,
    /// The bytes of what is incomplete that the connection counts for this stream.
    pub(super) held_bytes: usize,
    /// Whether calls on it count among those that may run at once.
    pub(super) counted: bool,
}

impl<H> RpcIn<H> {
    pub(super) fn new(limits: &Limits) -> Self {
        RpcIn {
            assembler: Assembler::new(limits.gob).within(limits.memory.clone()),
            decoder: Decoder::new(limits.gob),
            header: None,
            memory: limits.memory.clone(),
            reservation: None,
            held_bytes: 0,
            counted: true,
        }
    }

    /// Brings the connection's count up to date.
    pub(super) fn count_held(&mut self, held_bytes: &mut usize) {
        let now = self.assembler.held_bytes() + self.decoder.unfinished_bytes();
        *held_bytes = held_bytes.saturating_sub(self.held_bytes) + now;
        self.held_bytes = now;
    }

    pub(super) fn message(
        &mut self,
        content: Bytes,
        read_header: impl Fn(&Message) -> Result<H, gob::Error>,
    ) -> Result<Option<(H, Message)>, gob::Error> {
        let Some(mut message) = self.decoder.message(content)? else {
            self.reserve()?;
            return Ok(None);
        };
        if let Some(reservation) = self.reservation.take() {
            message.0.content = reservation.attach(message.0.content);
        }
        match self.header.take() {
            Some(header) => Ok(Some((header, message))),
            None => {
                self.header = Some(read_header(&message)?);
                Ok(None)
            }
        }
    }

    /// Counts a value that goes on in the next message in the budget, unless it is small.
    fn reserve(&mut self) -> Result<(), gob::Error> {
        let bytes = self.decoder.unfinished_bytes();
        let Some(memory) = self.memory.as_ref().filter(|_| bytes > SMALL_BYTES) else {
            return Ok(());
        };
        let reserved = match &mut self.reservation {
            Some(reservation) => reservation.grow(bytes.saturating_sub(reservation.bytes())),
            none => memory
                .reserve(bytes)
                .map(|reservation| *none = Some(reservation)),
        };
        reserved.map_err(|_| gob::Error::NoMemory(bytes))
    }
}
