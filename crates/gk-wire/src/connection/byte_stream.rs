//! Streams that are read and written as bytes.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::event::{Event, Tokens};
use super::{Connection, StreamClosed, StreamState};

/// Most bytes that one write queues.
const WRITE_MAX_BYTES: usize = 64 * 1024;

/// A stream that is read and written as bytes.
pub(super) struct ByteStream<T: Tokens> {
    /// Bytes of the peer that were not read yet.
    pub(super) buffer: BytesMut,
    /// `true` if the peer sends nothing more.
    pub(super) eof: bool,
    /// The task that waits for bytes.
    reader: Option<T::Task>,
    /// The task that waits for the peer's window.
    writer: Option<T::Task>,
}

impl<T: Tokens> ByteStream<T> {
    pub(super) fn new() -> Self {
        ByteStream {
            buffer: BytesMut::new(),
            eof: false,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn receive(&mut self, piece: &Bytes, events: &mut VecDeque<Event<T>>) {
        self.buffer.extend_from_slice(piece);
        events.extend(self.reader.take().map(Event::Ready));
    }

    /// Notes that the peer's window has grown.
    pub(super) fn writable(&mut self, events: &mut VecDeque<Event<T>>) {
        events.extend(self.writer.take().map(Event::Ready));
    }

    /// Notes that the peer sends nothing more.
    pub(super) fn end(&mut self, events: &mut VecDeque<Event<T>>) {
        self.eof = true;
        let waiting = self.reader.take().into_iter().chain(self.writer.take());
        events.extend(waiting.map(Event::Ready));
    }
}

impl<T: Tokens> Connection<T> {
    /// Hands at most `limit` bytes of a stream to `take` and gives their number, 0 at the stream's
    /// end. Without bytes the call is pending, and `task` comes back in an [`Event::Ready`] when
    /// there are some; a later task replaces an earlier one.
    pub fn read(
        &mut self,
        stream: u32,
        limit: usize,
        take: impl FnOnce(&[u8]),
        task: impl FnOnce() -> T::Task,
    ) -> Poll<usize> {
        let Some(StreamState::Bytes(bytes)) = self.streams.get_mut(&stream) else {
            return Poll::Ready(0);
        };
        if bytes.buffer.is_empty() {
            if bytes.eof {
                return Poll::Ready(0);
            }
            bytes.reader = Some(task());
            return Poll::Pending;
        }
        let count = bytes.buffer.len().min(limit);
        take(&bytes.buffer[..count]);
        bytes.buffer.advance(count);
        if bytes.buffer.is_empty() {
            // Give the memory of a burst back.
            bytes.buffer = BytesMut::new();
        }
        self.session
            .consumed(stream, u32::try_from(count).unwrap_or(u32::MAX));
        Poll::Ready(count)
    }

    /// Queues bytes for a stream, and says how many: no more than the peer's window has room for.
    /// Without room the call is pending, and `task` comes back in an [`Event::Ready`] when there is
    /// some.
    ///
    /// # Errors
    ///
    /// If the connection has ended, or the stream is closed for writing.
    pub fn write(
        &mut self,
        stream: u32,
        data: &[u8],
        task: impl FnOnce() -> T::Task,
    ) -> Poll<Result<usize, StreamClosed>> {
        if self.closed.is_some() || !self.session.can_send(stream) {
            return Poll::Ready(Err(StreamClosed));
        }
        let window = self.session.send_window(stream);
        let count = data.len().min(window).min(WRITE_MAX_BYTES);
        if count == 0 && !data.is_empty() {
            if let Some(StreamState::Bytes(bytes)) = self.streams.get_mut(&stream) {
                bytes.writer = Some(task());
            }
            return Poll::Pending;
        }
        self.session
            .send_bytes(stream, Bytes::copy_from_slice(&data[..count]));
        Poll::Ready(Ok(count))
    }

    /// Closes a stream for writing, behind what is queued.
    pub fn shutdown(&mut self, now: Instant, stream: u32) {
        self.session.close(stream, now);
    }

    /// Closes a stream that is read and written as bytes, and forgets it. Bytes that still come are
    /// thrown away.
    pub fn release(&mut self, now: Instant, stream: u32) {
        if let Some(bytes) = self.take_bytes(stream) {
            // The peer may wait until these are read.
            let unread = u32::try_from(bytes.buffer.len()).unwrap_or(u32::MAX);
            self.session.consumed(stream, unread);
        }
        self.session.close(stream, now);
    }

    /// Takes the state of a stream away that is to be used otherwise. `None` if the stream has
    /// ended.
    pub(super) fn take_bytes(&mut self, stream: u32) -> Option<ByteStream<T>> {
        let Entry::Occupied(entry) = self.streams.entry(stream) else {
            return None;
        };
        if !matches!(entry.get(), StreamState::Bytes(_)) {
            return None;
        }
        match entry.remove() {
            StreamState::Bytes(bytes) if self.closed.is_none() && self.session.contains(stream) => {
                Some(bytes)
            }
            _ => None,
        }
    }
}
