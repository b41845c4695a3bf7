//! The receiving side: takes the bytes of a connection apart.

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::broker::PartialId;
use super::byte_stream::ByteStream;
use super::event::{Event, Tokens};
use super::server::Parts;
use super::{Connection, ConnectionError, Expected, StreamState};
use crate::rpc::Content;
use crate::yamux::{self, Header, SessionError};

/// Bytes that were read for a connection.
#[derive(Debug)]
pub enum Input {
    /// Bytes as they came.
    Bytes(Bytes),
    /// A part of a large message that was read straight into its place.
    Message(MessageRead),
}

/// The place of the next bytes of a large message. What is read into it need not be copied. It has
/// to come back as [`Input::Message`] before any other input: without it,
/// [`handle_input`](Connection::handle_input) fails.
#[derive(Debug)]
pub struct MessageRead {
    stream: u32,
    message: Vec<u8>,
    before: usize,
    room: usize,
}

impl MessageRead {
    /// The message so far, and the maximum number of bytes that may be appended to it. Its present
    /// bytes must stay as they are.
    pub fn buffer(&mut self) -> (&mut Vec<u8>, usize) {
        (&mut self.message, self.room)
    }
}

/// The place in the row of frames.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The start of a header that is not complete.
    header: [u8; Header::LEN],
    header_len: usize,
    payload: Option<Payload>,
    /// `true` while a [`MessageRead`] is out.
    message_out: bool,
}

/// The payload of a data frame that is being received.
#[derive(Debug)]
struct Payload {
    stream: u32,
    /// Bytes that are still to come.
    left: usize,
    known: bool,
    /// `true` if the peer ends the stream behind this payload.
    ends: bool,
}

impl Position {
    fn next_header(&mut self, input: &mut Bytes) -> Result<Option<Header>, SessionError> {
        if self.header_len == 0
            && let Some(bytes) = input.first_chunk::<{ Header::LEN }>()
        {
            let header = Header::decode(bytes)?;
            input.advance(Header::LEN);
            return Ok(Some(header));
        }
        let part = input.split_to(input.len().min(Header::LEN - self.header_len));
        self.header[self.header_len..self.header_len + part.len()].copy_from_slice(&part);
        self.header_len += part.len();
        if self.header_len < Header::LEN {
            return Ok(None);
        }
        self.header_len = 0;
        Header::decode(&self.header).map(Some)
    }
}

impl<T: Tokens> Connection<T> {
    /// Takes what was read. What follows from it is in the events and in the frames to send.
    ///
    /// # Errors
    ///
    /// If the peer breaks the protocol or a limit, or if a [`MessageRead`] does not come back as it
    /// has to. The connection cannot go on then: [close](Self::close) it.
    pub fn handle_input(&mut self, now: Instant, input: Input) -> Result<(), ConnectionError> {
        let message_out = std::mem::take(&mut self.position.message_out);
        let mut input = match input {
            Input::Bytes(bytes) if !message_out => bytes,
            Input::Message(read) if message_out => {
                self.message_read(read)?;
                Bytes::new()
            }
            _ => return Err(ConnectionError::MessageRead),
        };
        loop {
            match &mut self.position.payload {
                None => {
                    let Some(header) = self.position.next_header(&mut input)? else {
                        return Ok(());
                    };
                    let event = self.session.received(header, now)?;
                    self.frame(now, event);
                }
                Some(payload) if payload.left > 0 => {
                    if input.is_empty() {
                        return Ok(());
                    }
                    let piece = input.split_to(input.len().min(payload.left));
                    payload.left -= piece.len();
                    let (stream, known) = (payload.stream, payload.known);
                    if known {
                        self.payload(now, stream, piece)?;
                    }
                }
                Some(payload) => {
                    let (stream, ends) = (payload.stream, payload.ends);
                    self.position.payload = None;
                    if ends {
                        self.ended(now, stream);
                    }
                }
            }
        }
    }

    /// Returns `true` if more of a frame, or of its header, is still to come.
    #[must_use]
    pub fn is_inside_frame(&self) -> bool {
        let payload = self.position.payload.as_ref();
        self.position.header_len > 0 || payload.is_some_and(|payload| payload.left > 0)
    }

    /// The place of the next bytes, if they belong to a large message. A transport that can reads
    /// them straight into it, and hands it back as [`Input::Message`].
    pub fn begin_message_read(&mut self) -> Option<MessageRead> {
        let payload = self.position.payload.as_ref()?;
        let (stream, left) = (payload.stream, payload.left);
        if left == 0 || self.position.message_out {
            return None;
        }
        let (message, missing) = match self.streams.get_mut(&stream)? {
            StreamState::Client(client) => client.incoming.assembler.take_buffer()?,
            StreamState::Server(server) => server.incoming.assembler.take_buffer()?,
            _ => return None,
        };
        self.position.message_out = true;
        Some(MessageRead {
            stream,
            before: message.len(),
            message,
            room: missing.min(left),
        })
    }

    /// Takes a part of a message that was read into its place.
    fn message_read(&mut self, read: MessageRead) -> Result<(), ConnectionError> {
        let MessageRead {
            stream,
            message,
            before,
            room,
        } = read;
        let count = message.len().checked_sub(before);
        let payload = self.position.payload.as_mut();
        let (Some(count), Some(payload)) = (
            count.filter(|count| *count <= room),
            payload.filter(|payload| payload.stream == stream && room <= payload.left),
        ) else {
            return Err(ConnectionError::MessageRead);
        };
        payload.left -= count;
        let done = match self.streams.get_mut(&stream) {
            Some(StreamState::Client(client)) => client.incoming.assembler.put_buffer(message),
            Some(StreamState::Server(server)) => server.incoming.assembler.put_buffer(message),
            _ => None,
        };
        self.calls(stream, done.map_or(Calls::InPlace, Calls::Message))?;
        self.session
            .consumed(stream, u32::try_from(count).unwrap_or(u32::MAX));
        Ok(())
    }

    fn frame(&mut self, now: Instant, event: yamux::Event) {
        match event {
            yamux::Event::None => {}
            yamux::Event::Data {
                stream,
                length,
                known,
                opened,
                fin,
                reset,
            } => {
                if opened {
                    self.opened(now, stream);
                }
                self.position.payload = Some(Payload {
                    stream,
                    left: length as usize,
                    known,
                    ends: fin || reset,
                });
            }
            yamux::Event::Stream {
                stream,
                opened,
                fin,
                reset,
                writable,
            } => {
                if opened {
                    self.opened(now, stream);
                }
                if writable && let Some(StreamState::Bytes(bytes)) = self.streams.get_mut(&stream) {
                    bytes.writable(&mut self.events);
                }
                if fin || reset {
                    self.ended(now, stream);
                }
            }
        }
    }

    /// The peer opened a stream: at a plugin the first three are control, stdout and stderr, every
    /// other one goes to the broker.
    fn opened(&mut self, now: Instant, stream: u32) {
        self.session.accept(stream);
        self.handshake_done = true;
        match self.expected.pop_front() {
            Some(Expected::Control(service)) => self.add_server(stream, service, false),
            Some(Expected::Bytes(waiter)) => {
                self.streams
                    .insert(stream, StreamState::Bytes(ByteStream::new()));
                self.events.push_back(Event::Opened { waiter, stream });
            }
            None => {
                let deadline = now + self.limits.broker_timeout;
                let id = PartialId::default();
                self.streams
                    .insert(stream, StreamState::Naming { id, deadline });
                self.with_deadline += 1;
            }
        }
    }

    /// Takes payload of a stream, and grants its bytes again once they are dealt with.
    pub(super) fn payload(
        &mut self,
        now: Instant,
        stream: u32,
        mut piece: Bytes,
    ) -> Result<(), ConnectionError> {
        let mut unread = 0;
        let length = piece.len();
        // Calls come first: most payload is theirs.
        while !self.calls(stream, Calls::Piece(&mut piece))? {
            match self.streams.get_mut(&stream) {
                Some(StreamState::Bytes(bytes)) if !bytes.eof => {
                    bytes.receive(&piece, &mut self.events);
                    // Granted again when they are read.
                    unread = piece.len();
                }
                Some(StreamState::Naming { id, .. }) => {
                    if let Some(id) = id.receive(&mut piece) {
                        self.named(now, id, stream);
                    }
                    if !piece.is_empty() {
                        continue;
                    }
                }
                Some(StreamState::Dialling { echo, .. }) => {
                    if let Some(echo) = echo.receive(&mut piece) {
                        self.echoed(stream, echo);
                    }
                    if !piece.is_empty() {
                        continue;
                    }
                }
                // The peer must wait for the id's echo.
                Some(StreamState::Unaccepted { .. }) => self.reset_stream(stream),
                // Thrown away. Calls were taken above.
                _ => {}
            }
            break;
        }
        let consumed = u32::try_from(length - unread).unwrap_or(u32::MAX);
        self.session.consumed(stream, consumed);
        Ok(())
    }

    /// Takes net/rpc of a stream, and counts what its incomplete messages hold. Returns `false` if
    /// the stream has no calls.
    fn calls(&mut self, stream: u32, input: Calls<'_>) -> Result<bool, ConnectionError> {
        let Connection {
            streams,
            limits,
            session,
            sink,
            usage,
            events,
            ..
        } = self;
        match streams.get_mut(&stream) {
            Some(StreamState::Client(client)) => {
                match input {
                    Calls::InPlace => Ok(()),
                    Calls::Piece(piece) => client.receive(piece, events),
                    Calls::Message(content) => client.content(content, events),
                }
                .map_err(|error| ConnectionError::Gob { stream, error })?;
                client.incoming.count_held(&mut usage.held_bytes);
            }
            Some(StreamState::Server(server)) => {
                let mut parts = Parts {
                    limits,
                    session,
                    sink,
                    usage,
                    events,
                };
                match input {
                    Calls::InPlace => {}
                    Calls::Piece(piece) => server.receive(stream, piece, &mut parts)?,
                    Calls::Message(content) => server.content(stream, content, &mut parts)?,
                }
                server.incoming.count_held(&mut usage.held_bytes);
            }
            _ => return Ok(false),
        }
        match usage.held_bytes > limits.max_held_bytes {
            true => Err(ConnectionError::UnfinishedMessages(limits.max_held_bytes)),
            false => Ok(true),
        }
    }

    /// The peer has closed or reset a stream.
    pub(super) fn ended(&mut self, now: Instant, stream: u32) {
        match self.streams.get_mut(&stream) {
            // The rest stands in the buffer.
            Some(StreamState::Bytes(bytes)) => bytes.end(&mut self.events),
            Some(StreamState::Client(_) | StreamState::Server(_)) => {
                self.session.close(stream, now);
                self.forget(stream);
            }
            Some(_) => self.reset_stream(stream),
            None => {}
        }
    }
}

/// Input of a stream of calls.
enum Calls<'a> {
    /// Part of a message, which is in its place already.
    InPlace,
    /// The next bytes.
    Piece(&'a mut Bytes),
    /// The next message.
    Message(Content),
}
