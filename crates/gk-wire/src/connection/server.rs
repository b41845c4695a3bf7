//! Calls of the peer.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::{Event, IncomingCall, Tokens};
use super::limits::{Limits, Usage};
use super::rpc::{self, Incoming, Outgoing};
use super::{Connection, ConnectionError, StreamState};
use crate::gob::{self, Sink};
use crate::rpc::{Content, Empty, RequestHeader};
use crate::yamux::{Session, SessionError};

/// A stream on which the peer calls.
pub(super) struct Server<T: Tokens> {
    outgoing: Outgoing,
    pub(super) incoming: Incoming<RequestHeader>,
    pub(super) service: T::Service,
    /// `true` if its calls count in the limits. Calls of the control stream do not: pings are
    /// answered even when the limits are reached.
    counted: bool,
}

/// The parts of a connection that a stream's calls need.
pub(super) struct Parts<'a, T: Tokens> {
    pub(super) limits: &'a Limits,
    pub(super) session: &'a mut Session,
    pub(super) sink: &'a mut Sink,
    pub(super) usage: &'a mut Usage,
    pub(super) events: &'a mut VecDeque<Event<T>>,
}

impl<T: Tokens> Server<T> {
    fn new(limits: &Limits, service: T::Service, counted: bool) -> Self {
        Server {
            outgoing: Outgoing::new(),
            incoming: Incoming::new(limits),
            service,
            counted,
        }
    }

    /// Takes bytes of the stream.
    pub(super) fn receive(
        &mut self,
        stream: u32,
        piece: &mut Bytes,
        parts: &mut Parts<'_, T>,
    ) -> Result<(), ConnectionError> {
        let gob = |error| ConnectionError::Gob { stream, error };
        while let Some(content) = self.incoming.assembler.next(piece).map_err(gob)? {
            self.content(stream, content, parts)?;
        }
        Ok(())
    }

    /// Takes a message.
    pub(super) fn content(
        &mut self,
        stream: u32,
        content: Content,
        parts: &mut Parts<'_, T>,
    ) -> Result<(), ConnectionError> {
        let gob = |error| ConnectionError::Gob { stream, error };
        match content {
            Content::Message(content) => {
                let read_header = RequestHeader::from_message;
                let message = self.incoming.message(content, read_header);
                let Some((header, body)) = message.map_err(gob)? else {
                    return Ok(());
                };
                // The bytes of a complete message are the call's.
                self.incoming.count_held(&mut parts.usage.held_bytes);
                let usage = match self.counted {
                    true => Usage {
                        requests: 1,
                        held_bytes: body.0.content.len(),
                    },
                    false => Usage::default(),
                };
                parts.usage.add(usage);
                if self.counted && !parts.usage.fits(parts.limits) {
                    parts.usage.subtract(usage);
                    let refusal = format!(
                        "rpc: too many calls at once (at most {}, with {} bytes)",
                        parts.limits.max_requests, parts.limits.max_held_bytes
                    );
                    return self.refuse(stream, &header, &refusal, parts);
                }
                parts.events.push_back(Event::Request {
                    service: self.service.clone(),
                    call: IncomingCall {
                        stream,
                        header,
                        usage,
                    },
                    body,
                });
                Ok(())
            }
            Content::Dropped { length, start } => {
                match self.incoming.dropped(length, &start).map_err(gob)? {
                    None => Ok(()),
                    Some(header) => {
                        let refusal = format!(
                            "the request has {length} bytes, for which the host has no memory at \
                             this moment; try again later"
                        );
                        self.refuse(stream, &header, &refusal, parts)
                    }
                }
            }
        }
    }

    /// Answers a call that is not taken.
    ///
    /// # Errors
    ///
    /// If the peer reads none of the answers.
    fn refuse(
        &mut self,
        stream: u32,
        header: &RequestHeader,
        text: &str,
        parts: &mut Parts<'_, T>,
    ) -> Result<(), ConnectionError> {
        self.send(stream, header, text, &Empty {}, parts.session, parts.sink)
            .map_err(|error| ConnectionError::Gob { stream, error })?;
        match parts.session.has_room() {
            true => Ok(()),
            false => Err(SessionError::QueueFull(parts.session.queued_bytes()).into()),
        }
    }

    /// Queues a reply.
    fn send<B: Serialize + DeserializeOwned + 'static>(
        &mut self,
        stream: u32,
        header: &RequestHeader,
        error: &str,
        body: &B,
        session: &mut Session,
        sink: &mut Sink,
    ) -> Result<(), gob::Error> {
        let (method, seq) = (&header.service_method, header.seq);
        self.outgoing.response(method, seq, error, body, sink)?;
        rpc::send(session, stream, sink);
        Ok(())
    }
}

impl<T: Tokens> Connection<T> {
    /// Makes a net/rpc server of a stream that is read and written as bytes, until the peer closes
    /// it.
    ///
    /// # Errors
    ///
    /// If bytes of the peer that were not read yet are no net/rpc.
    pub fn make_server(
        &mut self,
        now: Instant,
        stream: u32,
        service: T::Service,
    ) -> Result<(), ConnectionError> {
        let Some(bytes) = self.take_bytes(stream) else {
            self.events.push_back(Event::Released(service));
            return Ok(());
        };
        self.add_server(stream, service, true);
        if !bytes.buffer.is_empty() {
            self.payload(now, stream, bytes.buffer.freeze())?;
        }
        if bytes.eof {
            self.ended(now, stream);
        }
        Ok(())
    }

    pub(super) fn add_server(&mut self, stream: u32, service: T::Service, counted: bool) {
        let server = Box::new(Server::new(&self.limits, service, counted));
        self.streams.insert(stream, StreamState::Server(server));
    }

    /// Queues the reply to a call: `body`, or with a text in `error` an error of the RPC layer,
    /// whose body is [`Empty`]. A body that has no form in gob becomes an error reply. The reply is
    /// dropped if the peer has closed the stream.
    ///
    /// # Errors
    ///
    /// If replies pile up that the peer does not read. The connection cannot go on then.
    pub fn reply<B: Serialize + DeserializeOwned + 'static>(
        &mut self,
        call: IncomingCall,
        error: &str,
        body: &B,
    ) -> Result<(), ConnectionError> {
        let IncomingCall {
            stream,
            header,
            usage,
        } = call;
        self.usage.subtract(usage);
        if self.closed.is_some() {
            return Ok(());
        }
        let Connection {
            streams,
            session,
            sink,
            ..
        } = self;
        if !session.has_room() {
            return Err(ConnectionError::UnreadReplies(session.queued_bytes()));
        }
        let Some(StreamState::Server(server)) = streams.get_mut(&stream) else {
            return Ok(());
        };
        if let Err(encoding) = server.send(stream, &header, error, body, session, sink) {
            let method = &header.service_method;
            tracing::error!(%method, error = %encoding, "a reply cannot be encoded");
            let text = format!("rpc: gob error encoding body: {encoding}");
            let sent = server.send(stream, &header, &text, &Empty {}, session, sink);
            debug_assert!(sent.is_ok());
        }
        Ok(())
    }
}
