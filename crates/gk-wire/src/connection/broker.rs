//! go-plugin's MuxBroker: streams that find each other by a number.
//!
//! The dialing end opens a stream and sends the id, four bytes in little-endian order; the
//! accepting end sends the same four bytes back. Each end numbers the ids that it accepts, starting
//! at 1.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::byte_stream::ByteStream;
use super::event::{Event, Tokens};
use super::{Connection, RpcError, StreamState};

/// Bytes of a broker id on the wire.
const ID_BYTES: usize = 4;

/// A broker id that is being received.
#[derive(Debug, Default)]
pub(super) struct PartialId {
    bytes: [u8; ID_BYTES],
    length: usize,
}

impl PartialId {
    /// Moves bytes of the id out of `piece`, and gives the id once it is complete.
    pub(super) fn receive(&mut self, piece: &mut Bytes) -> Option<u32> {
        let part = piece.split_to(piece.len().min(ID_BYTES - self.length));
        self.bytes[self.length..self.length + part.len()].copy_from_slice(&part);
        self.length += part.len();
        (self.length == ID_BYTES).then(|| u32::from_le_bytes(self.bytes))
    }
}

/// A broker id on which one side has arrived, or that is served.
pub(super) enum Claim<T: Tokens> {
    /// Every stream that names the id is served, for as long as the connection lives.
    Served(T::Service),
    /// The first stream that names the id is handed over.
    Awaited(T::Waiter),
    /// A stream of the peer has named the id, which is not accepted yet.
    Dialled(u32),
}

impl<T: Tokens> Connection<T> {
    /// An id that was not used on this side of the connection.
    #[must_use]
    pub fn next_broker_id(&mut self) -> u32 {
        self.next_broker_id = self.next_broker_id.wrapping_add(1).max(1);
        self.next_broker_id
    }

    /// Serves every stream that the peer dials to `id`, from now on until the connection ends.
    pub fn serve_id(&mut self, id: u32, service: T::Service) {
        if self.closed.is_some() {
            self.events.push_back(Event::Released(service));
            return;
        }
        let dialled = self.claim(id, Claim::Served(service));
        self.answer_dialled(id, dialled);
    }

    /// Hands the first stream that the peer dials to `id` to `waiter`, in an [`Event::Opened`]. An
    /// earlier acceptor of the id is [refused](Event::Refused).
    pub fn accept_id(&mut self, id: u32, waiter: T::Waiter) {
        if self.closed.is_some() {
            self.events.push_back(Event::Refused(waiter));
            return;
        }
        let dialled = self.claim(id, Claim::Awaited(waiter));
        self.answer_dialled(id, dialled);
    }

    /// Takes the waiter of an id back, if one for which `is_ours` holds still waits.
    pub fn cancel_accept(
        &mut self,
        id: u32,
        is_ours: impl FnOnce(&T::Waiter) -> bool,
    ) -> Option<T::Waiter> {
        let Entry::Occupied(entry) = self.claims.entry(id) else {
            return None;
        };
        match entry.get() {
            Claim::Awaited(waiter) if is_ours(waiter) => match entry.remove() {
                Claim::Awaited(waiter) => Some(waiter),
                _ => None,
            },
            _ => None,
        }
    }

    /// Opens a stream to the acceptor of `id` at the peer, and gives its number. The waiter gets
    /// the stream in an [`Event::Opened`] once the peer has echoed the id, or is
    /// [refused](Event::Refused).
    ///
    /// # Errors
    ///
    /// If the connection has ended, or no stream can be opened.
    pub fn dial(&mut self, now: Instant, id: u32, waiter: T::Waiter) -> Result<u32, RpcError> {
        if let Some(reason) = &self.closed {
            return Err(RpcError::Closed(Arc::clone(reason)));
        }
        let stream = self
            .session
            .open(now)
            .map_err(|error| RpcError::Closed(error.to_string().into()))?;
        self.streams.insert(
            stream,
            StreamState::Dialling {
                id,
                echo: PartialId::default(),
                waiter,
            },
        );
        self.session
            .send_bytes(stream, Bytes::copy_from_slice(&id.to_le_bytes()));
        Ok(stream)
    }

    /// Resets a stream that is being dialled, and gives its waiter back. `None` if the dial has
    /// ended.
    pub fn cancel_dial(&mut self, stream: u32) -> Option<T::Waiter> {
        let Entry::Occupied(entry) = self.streams.entry(stream) else {
            return None;
        };
        if !matches!(entry.get(), StreamState::Dialling { .. }) {
            return None;
        }
        match entry.remove() {
            StreamState::Dialling { waiter, .. } => {
                // The session does not know the stream any more, and throws its payload away.
                self.session.reset(stream);
                Some(waiter)
            }
            _ => None,
        }
    }

    /// Puts an acceptor in place, and gives the stream that has been dialled to the id already.
    fn claim(&mut self, id: u32, claim: Claim<T>) -> Option<u32> {
        match self.claims.insert(id, claim)? {
            Claim::Served(service) => self.events.push_back(Event::Released(service)),
            Claim::Awaited(waiter) => self.events.push_back(Event::Refused(waiter)),
            Claim::Dialled(stream) => return Some(stream),
        }
        None
    }

    fn answer_dialled(&mut self, id: u32, dialled: Option<u32>) {
        if let Some(stream) = dialled {
            self.accept_stream(id, stream);
        }
    }

    /// A stream of the peer has named its id.
    pub(super) fn named(&mut self, now: Instant, id: u32, stream: u32) {
        match self.claims.get(&id) {
            None => {
                self.claims.insert(id, Claim::Dialled(stream));
                let deadline = now + self.limits.broker_timeout;
                self.streams
                    .insert(stream, StreamState::Unaccepted { id, deadline });
            }
            Some(Claim::Served(_) | Claim::Awaited(_)) => self.accept_stream(id, stream),
            // A second dial to an id without acceptor: Go's broker would answer neither of them.
            Some(Claim::Dialled(_)) => self.reset_stream(stream),
        }
    }

    /// Hands a dialled stream to the acceptor of its id, and echoes the id.
    fn accept_stream(&mut self, id: u32, stream: u32) {
        let Entry::Occupied(entry) = self.claims.entry(id) else {
            return;
        };
        match entry.get() {
            Claim::Served(service) => {
                let service = service.clone();
                self.add_server(stream, service, true);
            }
            Claim::Awaited(_) => {
                if let Claim::Awaited(waiter) = entry.remove() {
                    self.events.push_back(Event::Opened { waiter, stream });
                }
                self.streams
                    .insert(stream, StreamState::Bytes(ByteStream::new()));
            }
            Claim::Dialled(_) => return,
        }
        self.with_deadline -= 1;
        self.session
            .send_bytes(stream, Bytes::copy_from_slice(&id.to_le_bytes()));
    }

    /// The peer has answered a stream that we dialled.
    pub(super) fn echoed(&mut self, stream: u32, echo: u32) {
        let Entry::Occupied(mut entry) = self.streams.entry(stream) else {
            return;
        };
        match entry.get() {
            StreamState::Dialling { id, .. } if *id == echo => {
                let bytes = StreamState::Bytes(ByteStream::new());
                if let StreamState::Dialling { waiter, .. } = entry.insert(bytes) {
                    self.events.push_back(Event::Opened { waiter, stream });
                }
            }
            _ => self.reset_stream(stream),
        }
    }
}
