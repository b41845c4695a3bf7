//! A connection of go-plugin's net/rpc protocol as a state machine: bytes and the time go in,
//! frames and [`Event`]s come out.
//!
//! [`Connection`] has no socket, no clock, no lock and no task. It holds the streams, the calls
//! that are under way, the broker and every deadline. An adapter moves bytes and looks at a clock;
//! the one for tokio is behind this crate's [`host::Client`](crate::host::Client) and
//! [`plugin::Server`](crate::plugin::Server). Use this module for another runtime, for other
//! transports, or for tests on virtual time.
//!
//! | An adapter | calls |
//! |---|---|
//! | has read bytes | [`handle_input`](Connection::handle_input) |
//! | can write | [`poll_transmit`](Connection::poll_transmit), then [`transmitted`](Connection::transmitted) |
//! | finds that a deadline has passed | [`handle_timeout`](Connection::handle_timeout); the deadline is [`poll_timeout`](Connection::poll_timeout)'s |
//! | after each of them | [`poll_event`](Connection::poll_event), until there is no event |
//! | has no peer any more, or gets an error from any of them | [`close`](Connection::close) |
//!
//! # Two ends in memory
//!
//! ```
//! use std::time::Instant;
//! use gk_wire::Limits;
//! use gk_wire::connection::{Connection, Event, Input};
//!
//! // The tokens: names for calls and services, nothing for streams and bytes.
//! type End = Connection<(&'static str, &'static str, (), ())>;
//!
//! let now = Instant::now();
//! let (mut host, streams) = End::host(Limits::default(), now)?;
//! let mut plugin = End::plugin(Limits::default(), now);
//! plugin.serve_control("control", [(), ()]);
//! host.call(streams.control, "Control.Ping", &true, "ping")?;
//!
//! let mut bytes = Vec::new();
//! host.transmit_into(&mut bytes);
//! plugin.handle_input(now, Input::Bytes(bytes.into()))?;
//! while let Some(event) = plugin.poll_event() {
//!     if let Event::Request { service, call, body } = event {
//!         assert_eq!((service, call.method().as_str()), ("control", "Control.Ping"));
//!         assert_eq!(body.decode(), Ok(true));
//!         plugin.reply(call, "", &"still here".to_owned())?;
//!     }
//! }
//!
//! let mut bytes = Vec::new();
//! plugin.transmit_into(&mut bytes);
//! host.handle_input(now, Input::Bytes(bytes.into()))?;
//! let Some(Event::Reply { call: "ping", reply: Ok(body) }) = host.poll_event() else {
//!     panic!("no reply");
//! };
//! assert_eq!(body.decode(), Ok("still here".to_owned()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod broker;
mod byte_stream;
mod client;
mod error;
mod event;
mod input;
mod limits;
mod rpc;
mod server;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use broker::{Claim, PartialId};
use byte_stream::ByteStream;
use client::Client;
use input::Position;
use limits::Usage;
use server::Server;

pub use error::{ConnectionError, RpcError, StreamClosed};
pub use event::{Event, IncomingCall, Tokens};
pub use input::{Input, MessageRead};
pub use limits::Limits;

use crate::gob::Sink;
use crate::yamux::{Batch, Role, Session, SessionError};

/// The streams that a host opens at the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostStreams {
    /// A client for `Control` and `Dispenser`.
    pub control: u32,
    /// The plugin's stdout, as bytes.
    pub stdout: u32,
    /// The plugin's stderr, as bytes.
    pub stderr: u32,
}

/// A stream, from its opening until it is closed on both sides or forgotten.
enum StreamState<T: Tokens> {
    /// Read and written as bytes by the application.
    Bytes(ByteStream<T>),
    /// Opened by the peer, which has to send a broker id.
    Naming { id: PartialId, deadline: Instant },
    /// Opened by the peer for a broker id that is not accepted yet.
    Unaccepted { id: u32, deadline: Instant },
    /// Opened by us for a broker id that the peer has to echo.
    Dialling {
        id: u32,
        echo: PartialId,
        waiter: T::Waiter,
    },
    /// We call.
    Client(Box<Client<T>>),
    /// The peer calls.
    Server(Box<Server<T>>),
}

/// A stream that the peer opens at the start of a connection: such streams are known by their
/// order.
enum Expected<T: Tokens> {
    Control(T::Service),
    Bytes(T::Waiter),
}

/// An end of a connection. See the [module](self).
pub struct Connection<T: Tokens> {
    limits: Limits,
    session: Session,
    /// The streams in use. Payload of other ones is thrown away.
    streams: HashMap<u32, StreamState<T>>,
    /// The number of streams that wait for a broker id or its acceptor, and so have a deadline.
    with_deadline: usize,
    claims: HashMap<u32, Claim<T>>,
    next_broker_id: u32,
    /// Uses of the peer's next streams, in order; later streams go to the broker.
    expected: VecDeque<Expected<T>>,
    position: Position,
    usage: Usage,
    events: VecDeque<Event<T>>,
    handshake_done: bool,
    closed: Option<Arc<str>>,
    /// A buffer for encoded messages, kept for reuse.
    sink: Sink,
}

impl<T: Tokens> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("streams", &self.streams.len())
            .field("usage", &self.usage)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl<T: Tokens> Connection<T> {
    /// Creates the host's end, and opens its first three streams for the caller to use.
    ///
    /// # Errors
    ///
    /// None in practice: a new session has neither been closed nor used up its stream numbers.
    pub fn host(limits: Limits, now: Instant) -> Result<(Self, HostStreams), SessionError> {
        let mut connection = Self::new(Role::Client, limits, now);
        let session = &mut connection.session;
        let streams = HostStreams {
            control: session.open(now)?,
            stdout: session.open(now)?,
            stderr: session.open(now)?,
        };
        connection.add_client(streams.control);
        for stream in [streams.stdout, streams.stderr] {
            let bytes = StreamState::Bytes(ByteStream::new());
            connection.streams.insert(stream, bytes);
        }
        Ok((connection, streams))
    }

    /// The plugin's end. Say what the host's first streams are for by
    /// [`serve_control`](Self::serve_control), before there is any input.
    #[must_use]
    pub fn plugin(limits: Limits, now: Instant) -> Self {
        Self::new(Role::Server, limits, now)
    }

    /// Treats the first three streams that the peer opens as control, stdout and stderr. `control`
    /// answers the calls of the first, which do not count in the limits of calls; the waiters get
    /// the other two.
    pub fn serve_control(&mut self, control: T::Service, stdio: [T::Waiter; 2]) {
        self.expected.push_back(Expected::Control(control));
        self.expected.extend(stdio.map(Expected::Bytes));
    }

    fn new(role: Role, limits: Limits, now: Instant) -> Self {
        Connection {
            session: Session::new(role, limits.yamux, now),
            limits,
            streams: HashMap::new(),
            with_deadline: 0,
            claims: HashMap::new(),
            next_broker_id: 0,
            expected: VecDeque::new(),
            position: Position::default(),
            usage: Usage::default(),
            events: VecDeque::new(),
            handshake_done: false,
            closed: None,
            sink: Sink::default(),
        }
    }

    /// Returns `true` if the peer has opened a stream: it speaks yamux, and TLS has accepted it.
    #[must_use]
    pub fn is_handshake_done(&self) -> bool {
        self.handshake_done
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event<T>> {
        self.events.pop_front()
    }

    /// The queue of events, for an adapter that takes all of them and handles them without a lock on
    /// the connection.
    pub fn events(&mut self) -> &mut VecDeque<Event<T>> {
        &mut self.events
    }

    /// All frames that wait to be sent, unless there are none or another batch is under way. A
    /// batch that is written goes to [`transmitted`](Self::transmitted).
    pub fn poll_transmit(&mut self) -> Option<Batch> {
        self.session.out().begin()
    }

    /// Takes a batch back that is written.
    pub fn transmitted(&mut self, batch: Batch) {
        self.session.out().end(batch);
    }

    /// Appends all frames that wait to be sent, for a transport that takes them from memory.
    pub fn transmit_into(&mut self, out: &mut Vec<u8>) {
        while let Some(mut batch) = self.poll_transmit() {
            while !batch.is_done() {
                let mut slices = [IoSlice::new(&[]); 16];
                let count = batch.slices(&mut slices);
                let before = out.len();
                slices
                    .iter()
                    .take(count)
                    .for_each(|slice| out.extend_from_slice(slice));
                let appended = out.len() - before;
                batch.advance(appended);
            }
            self.transmitted(batch);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next. Input and calls of the
    /// application change it. `None` once the connection is closed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let broker = match self.with_deadline {
            0 => None,
            _ => self
                .streams
                .values()
                .filter_map(StreamState::deadline)
                .min(),
        };
        let session = self.session.next_timeout();
        Some(broker.map_or(session, |broker| broker.min(session)))
    }

    /// Resets streams whose time is over, and looks after the session's keep-alive.
    ///
    /// # Errors
    ///
    /// If the peer does not answer. The connection cannot go on then: [close](Self::close) it.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        let is_late = |state: &StreamState<T>| state.deadline().is_some_and(|at| now >= at);
        for stream in self.sorted(is_late) {
            self.reset_stream(stream);
        }
        for stream in self.session.on_timeout(now)? {
            self.forget(stream);
        }
        Ok(())
    }

    /// Ends the connection. Each call and each waiter gets its event. Frames that are queued may
    /// still be sent. Returns `false` if the connection was closed before; the first reason counts.
    pub fn close(&mut self, reason: &str) -> bool {
        if self.closed.is_some() {
            return false;
        }
        self.closed = Some(reason.into());
        for stream in self.sorted(|_| true) {
            match self.streams.get_mut(&stream) {
                // Bytes that came before the end can still be read.
                Some(StreamState::Bytes(bytes)) => bytes.end(&mut self.events),
                _ => self.forget(stream),
            }
        }
        let expected = self.expected.drain(..).map(|expected| match expected {
            Expected::Control(service) => Event::Released(service),
            Expected::Bytes(waiter) => Event::Refused(waiter),
        });
        self.events.extend(expected);
        let mut claims: Vec<_> = self.claims.drain().collect();
        claims.sort_unstable_by_key(|(id, _)| *id);
        let claims = claims.into_iter().filter_map(|(_, claim)| match claim {
            Claim::Served(service) => Some(Event::Released(service)),
            Claim::Awaited(waiter) => Some(Event::Refused(waiter)),
            Claim::Dialled(_) => None,
        });
        self.events.extend(claims);
        true
    }

    /// Why the connection is closed, if it is.
    #[must_use]
    pub fn closed(&self) -> Option<&Arc<str>> {
        self.closed.as_ref()
    }

    /// The streams whose state is wanted, sorted because the order of a HashMap varies between
    /// runs.
    fn sorted(&self, is_wanted: impl Fn(&StreamState<T>) -> bool) -> Vec<u32> {
        let wanted = self.streams.iter().filter(|(_, state)| is_wanted(state));
        let mut streams: Vec<u32> = wanted.map(|(stream, _)| *stream).collect();
        streams.sort_unstable();
        streams
    }

    /// Resets a stream and forgets it.
    fn reset_stream(&mut self, stream: u32) {
        self.session.reset(stream);
        self.forget(stream);
    }

    /// Removes a stream's state, and gives its tokens back in events.
    fn forget(&mut self, stream: u32) {
        let Some(state) = self.streams.remove(&stream) else {
            return;
        };
        match state {
            StreamState::Bytes(mut bytes) => bytes.end(&mut self.events),
            StreamState::Naming { .. } => self.with_deadline -= 1,
            StreamState::Unaccepted { id, .. } => {
                self.with_deadline -= 1;
                self.claims.remove(&id);
            }
            StreamState::Dialling { waiter, .. } => {
                self.events.push_back(Event::Refused(waiter));
            }
            StreamState::Client(client) => {
                client.incoming.release_held(&mut self.usage.held_bytes);
                let reason = self.closed.clone();
                let reason = reason.unwrap_or_else(|| "the peer closed the stream".into());
                client.fail(&reason, &mut self.events);
            }
            StreamState::Server(server) => {
                server.incoming.release_held(&mut self.usage.held_bytes);
                self.events.push_back(Event::Released(server.service));
            }
        }
    }
}

impl<T: Tokens> StreamState<T> {
    fn deadline(&self) -> Option<Instant> {
        match self {
            StreamState::Naming { deadline, .. } | StreamState::Unaccepted { deadline, .. } => {
                Some(*deadline)
            }
            _ => None,
        }
    }
}
