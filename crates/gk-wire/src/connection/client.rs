//! Calls to the peer.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::{Event, Tokens};
use super::rpc::{self, Incoming, Outgoing};
use super::{Connection, ConnectionError, Limits, RpcError, StreamState};
use crate::gob;
use crate::rpc::{Content, ResponseHeader};

/// Sequence numbers count up from 0: a multiplication spreads them over all bits.
#[derive(Debug, Default)]
pub(super) struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(20);
    }
}

/// A stream on which we call.
pub(super) struct Client<T: Tokens> {
    outgoing: Outgoing,
    pub(super) incoming: Incoming<ResponseHeader>,
    next_seq: u64,
    /// Calls without a reply. A call stays when its caller has given up: the peer still works on it.
    pending: HashMap<u64, T::Call, BuildHasherDefault<SeqHasher>>,
}

impl<T: Tokens> Client<T> {
    fn new(limits: &Limits) -> Self {
        Client {
            outgoing: Outgoing::new(),
            incoming: Incoming::new(limits),
            next_seq: 0,
            pending: HashMap::default(),
        }
    }

    /// Takes bytes of the stream.
    pub(super) fn receive(
        &mut self,
        piece: &mut Bytes,
        events: &mut VecDeque<Event<T>>,
    ) -> Result<(), gob::Error> {
        while let Some(content) = self.incoming.assembler.next(piece)? {
            self.content(content, events)?;
        }
        Ok(())
    }

    /// Takes a message. A late or an invented reply finds no pending call.
    pub(super) fn content(
        &mut self,
        content: Content,
        events: &mut VecDeque<Event<T>>,
    ) -> Result<(), gob::Error> {
        match content {
            Content::Message(content) => {
                let read_header = ResponseHeader::from_message;
                if let Some((header, body)) = self.incoming.message(content, read_header)?
                    && let Some(call) = self.pending.remove(&header.seq)
                {
                    let reply = match header.error.is_empty() {
                        true => Ok(body),
                        false => Err(RpcError::Remote(header.error)),
                    };
                    events.push_back(Event::Reply { call, reply });
                }
            }
            Content::Dropped { length, start } => {
                if let Some(header) = self.incoming.dropped(length, &start)?
                    && let Some(call) = self.pending.remove(&header.seq)
                {
                    let reply = Err(RpcError::NoMemory(length));
                    events.push_back(Event::Reply { call, reply });
                }
            }
        }
        Ok(())
    }

    /// Fails the calls that have no reply.
    pub(super) fn fail(self, reason: &Arc<str>, events: &mut VecDeque<Event<T>>) {
        events.extend(self.pending.into_values().map(|call| Event::Reply {
            call,
            reply: Err(RpcError::Closed(Arc::clone(reason))),
        }));
    }
}

impl<T: Tokens> Connection<T> {
    /// Makes a net/rpc client of a stream that is read and written as bytes.
    ///
    /// # Errors
    ///
    /// If bytes of the peer that were not read yet are no net/rpc.
    pub fn make_client(&mut self, now: Instant, stream: u32) -> Result<(), ConnectionError> {
        let Some(bytes) = self.take_bytes(stream) else {
            return Ok(());
        };
        if bytes.eof {
            // Calls find no client, and say that the peer closed the stream.
            self.session.close(stream, now);
            return Ok(());
        }
        self.add_client(stream);
        match bytes.buffer.is_empty() {
            true => Ok(()),
            false => self.payload(now, stream, bytes.buffer.freeze()),
        }
    }

    pub(super) fn add_client(&mut self, stream: u32) {
        let client = Box::new(Client::new(&self.limits));
        self.streams.insert(stream, StreamState::Client(client));
    }

    /// Queues a call on a client's stream. The token comes back with the reply, in an
    /// [`Event::Reply`]; after an error it is dropped.
    ///
    /// # Errors
    ///
    /// If the stream is closed, too much is under way, or the argument has no form in gob.
    pub fn call<B: Serialize + DeserializeOwned + 'static>(
        &mut self,
        stream: u32,
        method: &str,
        body: &B,
        call: T::Call,
    ) -> Result<(), RpcError> {
        if let Some(reason) = &self.closed {
            return Err(RpcError::Closed(Arc::clone(reason)));
        }
        if !self.session.has_room() {
            return Err(RpcError::QueueFull(self.session.queued_bytes()));
        }
        let client = match self.streams.get_mut(&stream) {
            Some(StreamState::Client(client)) => client,
            _ => return Err(RpcError::Closed("the peer closed the stream".into())),
        };
        if client.pending.len() >= self.limits.max_calls {
            return Err(RpcError::TooManyCalls(self.limits.max_calls));
        }
        if !self.session.can_send(stream) {
            return Err(RpcError::Closed("the peer closed the stream".into()));
        }
        let seq = client.next_seq;
        client
            .outgoing
            .request(method, seq, body, &mut self.sink)
            .map_err(RpcError::Encode)?;
        client.next_seq += 1;
        client.pending.insert(seq, call);
        rpc::send(&mut self.session, stream, &mut self.sink);
        Ok(())
    }

    /// Closes a client's stream. Replies that still come are thrown away.
    pub fn close_client(&mut self, now: Instant, stream: u32) {
        if let Some(StreamState::Client(client)) = self.streams.get_mut(&stream) {
            client.pending.clear();
        }
        self.session.close(stream, now);
    }
}
