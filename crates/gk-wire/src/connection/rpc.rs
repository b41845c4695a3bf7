//! net/rpc on one stream: what is sent, and what is received, in headers and bodies.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Limits;
use crate::gob::{self, Decoder, Encoder, Message, Sink};
use crate::memory::{MemoryBudget, Reservation, SMALL_BYTES};
use crate::rpc::{Assembler, FIRST_BODY_ID, HeaderEncoder, ServiceMethod};
use crate::yamux::Session;

/// The sending direction. Each method leaves one header and one body in the sink, or nothing.
#[derive(Debug)]
pub(super) struct Outgoing {
    headers: HeaderEncoder,
    bodies: Encoder,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Outgoing {
            headers: HeaderEncoder::default(),
            bodies: Encoder::starting_at(FIRST_BODY_ID),
        }
    }

    pub(super) fn request<B: Serialize + DeserializeOwned + 'static>(
        &mut self,
        method: &str,
        seq: u64,
        body: &B,
        sink: &mut Sink,
    ) -> Result<(), gob::Error> {
        sink.clear();
        let header = self.headers.request(method, seq, &mut sink.written);
        self.bodies.encode_to(body, sink)?;
        header.sent();
        Ok(())
    }

    pub(super) fn response<B: Serialize + DeserializeOwned + 'static>(
        &mut self,
        method: &ServiceMethod,
        seq: u64,
        error: &str,
        body: &B,
        sink: &mut Sink,
    ) -> Result<(), gob::Error> {
        sink.clear();
        let written = &mut sink.written;
        let header = self.headers.response(method, seq, error, written);
        self.bodies.encode_to(body, sink)?;
        header.sent();
        Ok(())
    }
}

/// Queues what the sink holds.
pub(super) fn send(session: &mut Session, stream: u32, sink: &mut Sink) {
    session.send(stream, sink.len(), |writer| {
        let writer = std::cell::RefCell::new(writer);
        sink.for_each(
            |small| writer.borrow_mut().small(small),
            |large| writer.borrow_mut().large(large),
        );
    });
}

/// The receiving direction: headers and bodies in turn.
#[derive(Debug)]
pub(super) struct Incoming<H> {
    pub(super) assembler: Assembler,
    decoder: Decoder,
    /// A header whose body has not come yet.
    header: Option<H>,
    memory: Option<MemoryBudget>,
    /// The part of the budget for a value that goes on in the next message.
    reservation: Option<Reservation>,
    /// Bytes of incomplete messages that the connection counts for this stream.
    held_bytes: usize,
}

impl<H> Incoming<H> {
    pub(super) fn new(limits: &Limits) -> Self {
        Incoming {
            assembler: Assembler::new(limits.gob).within(limits.memory.clone()),
            decoder: Decoder::new(limits.gob),
            header: None,
            memory: limits.memory.clone(),
            reservation: None,
            held_bytes: 0,
        }
    }

    /// Brings the connection's count up to date.
    pub(super) fn count_held(&mut self, held_bytes: &mut usize) {
        let now = self.assembler.held_bytes() + self.decoder.unfinished_bytes();
        *held_bytes = held_bytes.saturating_sub(self.held_bytes) + now;
        self.held_bytes = now;
    }

    /// Takes this stream's part out of the connection's count.
    pub(super) fn release_held(&self, held_bytes: &mut usize) {
        *held_bytes = held_bytes.saturating_sub(self.held_bytes);
    }

    /// Takes a message, and gives the header and the body that the message completes.
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

    /// Takes note of a message of `length` bytes that was thrown away, and gives the header of its
    /// call.
    ///
    /// # Errors
    ///
    /// If the stream cannot be read without the message.
    pub(super) fn dropped(&mut self, length: usize, start: &[u8]) -> Result<Option<H>, gob::Error> {
        match self.decoder.can_miss(start) {
            true => Ok(self.header.take()),
            false => Err(gob::Error::NoMemory(length)),
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
