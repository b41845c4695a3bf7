//! The session: streams, windows, keep-alive.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;

use super::stream::{INITIAL_WINDOW, StreamState, StreamWriter};
use super::{Event, Flags, Header, Kind, Limits, OutQueue, SessionError};

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens streams with odd ids: go-plugin's host.
    Client,
    /// Opens streams with even ids: go-plugin's plugin.
    Server,
}

/// An end of a yamux connection.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    streams: HashMap<u32, StreamState>,
    next_id: u32,
    out: OutQueue,
    pending_bytes: usize,
    remote_streams: usize,
    next_ping: Instant,
    /// Value and deadline of the ping that is under way.
    ping: Option<(u32, Instant)>,
    ping_value: u32,
    /// This end takes no more streams, and has said so.
    going_away: bool,
    /// The peer takes no more streams.
    peer_going_away: bool,
}

impl Session {
    /// A new session.
    #[must_use]
    pub fn new(role: Role, limits: Limits, now: Instant) -> Self {
        Session {
            limits,
            streams: HashMap::new(),
            next_id: if role == Role::Client { 1 } else { 2 },
            out: OutQueue::default(),
            pending_bytes: 0,
            remote_streams: 0,
            next_ping: now + limits.keepalive_interval,
            ping: None,
            ping_value: 0,
            going_away: false,
            peer_going_away: false,
        }
    }

    /// The frames that wait to be written.
    pub fn out(&mut self) -> &mut OutQueue {
        &mut self.out
    }

    /// Bytes that wait to be written, or for the peer's window.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.out.bytes() + self.pending_bytes
    }

    /// Returns `true` if a stream exists and takes data from us.
    #[must_use]
    pub fn can_send(&self, stream: u32) -> bool {
        self.streams
            .get(&stream)
            .is_some_and(|state| state.sent_fin.is_none() && state.fin_after_pending.is_none())
    }

    /// Returns `true` if a stream exists.
    #[must_use]
    pub fn contains(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Bytes of a stream that wait for the peer's window.
    #[must_use]
    pub fn stream_pending(&self, stream: u32) -> usize {
        self.streams
            .get(&stream)
            .map_or(0, |state| state.pending.iter().map(Bytes::len).sum())
    }

    fn frame(&mut self, kind: Kind, flags: Flags, stream: u32, length: u32) {
        self.out.header(Header {
            kind,
            flags,
            stream,
            length,
        });
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// If the peer takes no more streams, or all ids are used.
    pub fn open(&mut self, now: Instant) -> Result<u32, SessionError> {
        if self.going_away || self.peer_going_away {
            return Err(SessionError::GoAway(0));
        }
        // A peer may have taken an id of our parity.
        let id = loop {
            let id = self.next_id;
            self.next_id = id.checked_add(2).ok_or(SessionError::Exhausted)?;
            if !self.streams.contains_key(&id) {
                break id;
            }
        };
        self.streams.insert(id, StreamState::new(false, Some(now)));
        self.frame(Kind::WindowUpdate, Flags::SYN, id, 0);
        Ok(id)
    }

    /// Takes a header that was read.
    ///
    /// # Errors
    ///
    /// Any error ends the session.
    pub fn received(&mut self, header: Header, now: Instant) -> Result<Event, SessionError> {
        let event = self.frame_received(header, now)?;
        let control = self.out.control_bytes();
        if control > self.limits.max_queued_control_bytes {
            return Err(SessionError::QueueFull(control));
        }
        Ok(event)
    }

    fn frame_received(&mut self, header: Header, now: Instant) -> Result<Event, SessionError> {
        match header.kind {
            Kind::Ping => {
                if header.flags.has(Flags::SYN) {
                    self.frame(Kind::Ping, Flags::ACK, 0, header.length);
                } else if self.ping.is_some_and(|(value, _)| value == header.length) {
                    self.ping = None;
                    self.next_ping = now + self.limits.keepalive_interval;
                }
                Ok(Event::None)
            }
            Kind::GoAway if header.length == 0 => {
                self.peer_going_away = true;
                Ok(Event::None)
            }
            Kind::GoAway => Err(SessionError::GoAway(header.length)),
            Kind::Data | Kind::WindowUpdate => self.stream_frame(header, now),
        }
    }

    fn stream_frame(&mut self, header: Header, now: Instant) -> Result<Event, SessionError> {
        let Header {
            kind,
            flags,
            stream,
            length,
        } = header;
        let mut opened = false;
        if flags.has(Flags::SYN) {
            if self.streams.contains_key(&stream) {
                return Err(SessionError::DuplicateStream(stream));
            }
            if self.remote_streams >= self.limits.max_streams || self.going_away {
                self.frame(Kind::WindowUpdate, Flags::RST, stream, 0);
            } else {
                self.streams.insert(stream, StreamState::new(true, None));
                self.remote_streams += 1;
                opened = true;
            }
        }
        let data = kind == Kind::Data;
        let Some(state) = self.streams.get_mut(&stream) else {
            return Ok(match data {
                true => Event::Data {
                    stream,
                    length,
                    known: false,
                    opened: false,
                    fin: false,
                    reset: false,
                },
                false => Event::None,
            });
        };
        if flags.has(Flags::ACK) {
            state.unacknowledged = None;
        }
        if data {
            state.recv_window = state
                .recv_window
                .checked_sub(length)
                .ok_or(SessionError::WindowOverrun(stream))?;
        } else {
            state.send_window = state
                .send_window
                .checked_add(length)
                .ok_or(SessionError::WindowOverflow(stream))?;
        }
        let fin = flags.has(Flags::FIN);
        if fin && std::mem::replace(&mut state.got_fin, true) {
            return Err(SessionError::DuplicateFin(stream));
        }
        let reset = flags.has(Flags::RST);
        let writable = !data && length > 0;
        if writable {
            self.pump(stream, now);
        }
        if reset {
            self.forget(stream);
        } else if fin {
            self.forget_if_closed(stream);
        }
        Ok(match data {
            true => Event::Data {
                stream,
                length,
                known: true,
                opened,
                fin,
                reset,
            },
            false => Event::Stream {
                stream,
                opened,
                fin,
                reset,
                writable,
            },
        })
    }

    fn forget(&mut self, stream: u32) {
        if let Some(state) = self.streams.remove(&stream) {
            self.pending_bytes -= state.pending.iter().map(Bytes::len).sum::<usize>();
            self.remote_streams -= usize::from(state.remote);
        }
    }

    fn forget_if_closed(&mut self, stream: u32) {
        if self
            .streams
            .get(&stream)
            .is_some_and(|state| state.got_fin && state.sent_fin.is_some())
        {
            self.forget(stream);
        }
    }

    /// Acknowledges a stream that the peer opened.
    pub fn accept(&mut self, stream: u32) {
        self.frame(Kind::WindowUpdate, Flags::ACK, stream, 0);
    }

    /// Notes that `count` payload bytes of a stream were taken. They are granted to the peer again
    /// once they are half of a window.
    pub fn consumed(&mut self, stream: u32, count: u32) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        state.taken = state.taken.saturating_add(count);
        if state.taken >= INITIAL_WINDOW / 2 && !state.got_fin {
            let grant = std::mem::take(&mut state.taken);
            state.recv_window = state.recv_window.saturating_add(grant);
            self.frame(Kind::WindowUpdate, Flags::NONE, stream, grant);
        }
    }

    /// Sends data that stands in pieces: `total` bytes, which `pieces` hands over in order.
    /// Data for a stream that is closed is dropped. Ask [`has_room`](Self::has_room) first.
    pub(crate) fn send(
        &mut self,
        stream: u32,
        total: usize,
        pieces: impl FnOnce(&mut StreamWriter<'_>),
    ) {
        if !self.can_send(stream) {
            return;
        }
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        let now = match state.pending.is_empty() {
            true => state
                .send_window
                .min(u32::try_from(total).unwrap_or(u32::MAX)),
            false => 0,
        };
        state.send_window -= now;
        if now > 0 {
            self.out.data_frame(stream, now);
        }
        let mut writer = StreamWriter {
            out: &mut self.out,
            pending: &mut state.pending,
            pending_bytes: &mut self.pending_bytes,
            room: now as usize,
        };
        pieces(&mut writer);
        debug_assert_eq!(writer.room, 0);
    }

    /// Sends one piece of data; dropped if the stream is closed. Ask [`has_room`](Self::has_room)
    /// first.
    pub fn send_bytes(&mut self, stream: u32, data: Bytes) {
        self.send(stream, data.len(), |writer| writer.large(data));
    }

    /// Returns `true` if less is queued than [`Limits::max_queued_bytes`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queued_bytes() < self.limits.max_queued_bytes
    }

    /// Bytes that can be sent on a stream right now.
    #[must_use]
    pub fn send_window(&self, stream: u32) -> usize {
        self.streams.get(&stream).map_or(0, |state| {
            if state.pending.is_empty() {
                state.send_window as usize
            } else {
                0
            }
        })
    }

    /// Moves pending data into frames, as far as the window allows.
    fn pump(&mut self, stream: u32, now: Instant) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        let pending: usize = state.pending.iter().map(Bytes::len).sum();
        let mut room = state
            .send_window
            .min(u32::try_from(pending).unwrap_or(u32::MAX));
        if room > 0 {
            state.send_window -= room;
            self.pending_bytes -= room as usize;
            self.out.data_frame(stream, room);
            while room > 0 {
                let Some(mut piece) = state.pending.pop_front() else {
                    break;
                };
                let part = piece.split_to(piece.len().min(room as usize));
                room -= u32::try_from(part.len()).unwrap_or(room);
                self.out.large_data(part);
                if !piece.is_empty() {
                    state.pending.push_front(piece);
                }
            }
        }
        if state.pending.is_empty() && state.fin_after_pending.take().is_some() {
            state.sent_fin = Some(now);
            self.frame(Kind::WindowUpdate, Flags::FIN, stream, 0);
            self.forget_if_closed(stream);
        }
    }

    /// Closes a stream for writing, behind pending data.
    pub fn close(&mut self, stream: u32, now: Instant) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if state.sent_fin.is_some() || state.fin_after_pending.is_some() {
            return;
        }
        if !state.pending.is_empty() {
            state.fin_after_pending = Some(now);
            return;
        }
        state.sent_fin = Some(now);
        self.frame(Kind::WindowUpdate, Flags::FIN, stream, 0);
        self.forget_if_closed(stream);
    }

    /// Resets a stream: both directions end at once.
    pub fn reset(&mut self, stream: u32) {
        if self.streams.contains_key(&stream) {
            self.forget(stream);
            self.frame(Kind::WindowUpdate, Flags::RST, stream, 0);
        }
    }

    /// Tells the peer that the session ends normally: its further streams are refused.
    pub fn go_away(&mut self) {
        self.going_away = true;
        self.frame(Kind::GoAway, Flags::NONE, 0, 0);
    }

    /// The time of the next call of [`on_timeout`](Self::on_timeout).
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        let ping = self.ping.map_or(self.next_ping, |(_, deadline)| deadline);
        let streams = self.streams.values().filter_map(|state| {
            let open = state
                .unacknowledged
                .map(|since| since + self.limits.open_timeout);
            let close = state
                .closed_since()
                .map(|since| since + self.limits.close_timeout);
            open.into_iter().chain(close).min()
        });
        streams.fold(ping, Instant::min)
    }

    /// Sends pings, and resets streams that the peer does not close; gives their numbers.
    ///
    /// # Errors
    ///
    /// If the peer does not answer a ping or acknowledge a stream. The session has ended then.
    pub fn on_timeout(&mut self, now: Instant) -> Result<Vec<u32>, SessionError> {
        match self.ping {
            Some((_, deadline)) if now >= deadline => {
                return Err(SessionError::KeepaliveTimeout(
                    self.limits.keepalive_timeout,
                ));
            }
            None if now >= self.next_ping => {
                self.ping_value = self.ping_value.wrapping_add(1);
                self.ping = Some((self.ping_value, now + self.limits.keepalive_timeout));
                self.frame(Kind::Ping, Flags::SYN, 0, self.ping_value);
            }
            _ => {}
        }
        let mut lingering = Vec::new();
        for (stream, state) in &self.streams {
            if state
                .unacknowledged
                .is_some_and(|since| now >= since + self.limits.open_timeout)
            {
                return Err(SessionError::OpenTimeout(*stream, self.limits.open_timeout));
            }
            if state
                .closed_since()
                .is_some_and(|since| now >= since + self.limits.close_timeout)
            {
                lingering.push(*stream);
            }
        }
        lingering.iter().for_each(|stream| self.reset(*stream));
        Ok(lingering)
    }
}
