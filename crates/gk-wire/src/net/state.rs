//! What the driver of a connection and its users share.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::recv::Receiver;
use super::rpc_client::{NoReply, Reply};
use super::rpc_server::{Request, Responder, Service};
use super::stream::Stream;
use super::transport::Writer;
use crate::gob::{self, Encoder, Sink};
use crate::memory::MemoryBudget;
use crate::rpc::{HeaderEncoder, ServiceMethod};
use crate::yamux::{self, Role, Session};

/// What a connection takes from its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Messages and their contents.
    pub gob: gob::Limits,
    /// Streams, queues and keep-alive.
    pub yamux: yamux::Limits,
    /// Calls of the peer that run at once, all streams together; 4096 by default. More are answered
    /// with an error. Calls on the control stream are answered all the same.
    pub max_requests: usize,
    /// Bytes of the peer that are held at once, all streams together; 256 MiB by default. It counts
    /// messages that are not complete and the arguments of calls that run. A call beyond it is answered
    /// with an error; unfinished messages beyond it end the connection.
    pub max_held_bytes: usize,
    /// A budget that this connection shares with others; none by default. Messages of more than 16 KiB
    /// count in it, from their first byte until nobody holds them any more. A call or reply for which it
    /// has no room is read, thrown away, and fails; the connection goes on.
    pub memory: Option<MemoryBudget>,
    /// Calls of ours on one stream that the peer has not answered, those included whose caller has
    /// given up; 65,536 by default.
    pub max_calls: usize,
    /// How long a stream of the peer's broker may wait until its id has been sent, and for somebody who
    /// accepts the id; 5 s by default, as in Go.
    pub broker_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            gob: gob::Limits::default(),
            yamux: yamux::Limits::default(),
            max_requests: 4096,
            max_held_bytes: 256 << 20,
            memory: None,
            max_calls: 65_536,
            broker_timeout: Duration::from_secs(5),
        }
    }
}

/// A sequence number is its own hash, spread over all bits.
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

/// The sending side of net/rpc on one stream.
#[derive(Debug)]
pub(super) struct RpcOut {
    headers: HeaderEncoder,
    bodies: Encoder,
}

impl RpcOut {
    pub(super) fn new() -> Self {
        RpcOut {
            headers: HeaderEncoder::default(),
            bodies: Encoder::starting_at(crate::rpc::FIRST_BODY_ID),
        }
    }
}

#[derive(Debug)]
pub(super) struct ClientState {
    pub(super) out: RpcOut,
    pub(super) next_seq: u64,
    /// Calls without a reply. One whose caller has given up stays: the peer still works on it.
    pub(super) pending: HashMap<u64, oneshot::Sender<Reply>, BuildHasherDefault<SeqHasher>>,
}

/// A stream that is read and written as bytes.
#[derive(Debug, Default)]
pub(super) struct RawState {
    pub(super) buffer: BytesMut,
    pub(super) eof: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

/// Who takes the streams of a broker id.
pub(super) enum Acceptor {
    /// Every stream that names the id, for as long as the connection lives.
    Service(Arc<dyn Service>),
    /// The first one.
    Once(oneshot::Sender<Stream>),
}

/// A stream whose broker id nobody has accepted yet.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) id: u32,
    pub(super) stream: u32,
}

/// A stream's next receiver.
pub(super) struct Switch {
    pub(super) stream: u32,
    pub(super) receiver: Receiver,
    /// Bytes that came before it.
    pub(super) before: BytesMut,
    /// Whether the peer has ended the stream already.
    pub(super) ended: bool,
}

impl Switch {
    /// A receiver for what is yet to come.
    pub(super) fn new(stream: u32, receiver: Receiver) -> Self {
        Switch {
            stream,
            receiver,
            before: BytesMut::new(),
            ended: false,
        }
    }
}

pub(super) struct State {
    pub(super) session: Session,
    pub(super) clients: HashMap<u32, ClientState>,
    pub(super) servers: HashMap<u32, RpcOut>,
    pub(super) raws: HashMap<u32, RawState>,
    pub(super) acceptors: HashMap<u32, Acceptor>,
    pub(super) parked: Vec<Parked>,
    pub(super) dials: HashMap<u32, oneshot::Sender<Stream>>,
    /// Streams of the peer's broker that must get on by a deadline.
    pub(super) deadlines: HashMap<u32, Instant>,
    /// Receivers that the driver has to install.
    pub(super) switched: Vec<Switch>,
    pub(super) requests: usize,
    /// Bytes of the peer that are held; see [`Limits::max_held_bytes`].
    pub(super) held_bytes: usize,
    pub(super) next_broker_id: u32,
    /// Set while the driver lets the tasks it woke run, to send what they produce in one write.
    pub(super) corked: bool,
    /// Set while the socket takes nothing more; the driver waits for it.
    blocked: Option<yamux::Batch>,
    pub(super) stalled: bool,
    /// Set when the peer takes nothing any more, for good.
    deaf: bool,
    /// Whether the peer has opened a stream: it speaks yamux, and is who it must be.
    pub(super) greeted: bool,
    pub(super) driver: Option<Waker>,
    pub(super) closed: Option<Arc<str>>,
    pub(super) closed_wakers: Vec<oneshot::Sender<()>>,
    sink: Sink,
}

/// What is to be done once the lock is released.
pub(super) enum Effect {
    Reply(oneshot::Sender<Reply>, Reply),
    Request(Arc<dyn Service>, Request, Responder),
    Stream(oneshot::Sender<Stream>, Stream),
    Wake(Waker),
    Closed(oneshot::Sender<()>),
    /// Lets go of what may itself hold handles of the connection: their drop takes the lock.
    Release(Arc<dyn Service>),
}

pub(super) struct Shared {
    state: Mutex<State>,
    writer: Writer,
    pub(super) limits: Limits,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(role: Role, limits: Limits, writer: Writer) -> Arc<Self> {
        let state = State {
            session: Session::new(role, limits.yamux, Instant::now()),
            clients: HashMap::new(),
            servers: HashMap::new(),
            raws: HashMap::new(),
            acceptors: HashMap::new(),
            parked: Vec::new(),
            dials: HashMap::new(),
            deadlines: HashMap::new(),
            switched: Vec::new(),
            requests: 0,
            held_bytes: 0,
            next_broker_id: 0,
            corked: false,
            blocked: None,
            stalled: false,
            deaf: false,
            greeted: false,
            driver: None,
            closed: None,
            closed_wakers: Vec::new(),
            sink: Sink::default(),
        };
        Arc::new(Shared {
            state: Mutex::new(state),
            writer,
            limits,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Writes what is queued, unless somebody else does or the socket is full. The lock is not held
    /// while writing.
    pub(super) fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            if state.stalled || state.deaf || state.closed.is_some() {
                return;
            }
            let Some(mut batch) = state.blocked.take().or_else(|| state.session.out().begin())
            else {
                if self.writer.has_backlog() && !state.stalled {
                    drop(state);
                    let flushed = self.writer.try_flush();
                    state = self.lock();
                    match flushed {
                        Ok(()) => continue,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.stall(&mut state)
                        }
                        Err(error) => return self.write_failed(state, &error),
                    }
                }
                return;
            };
            drop(state);
            let written = self.write(&mut batch);
            state = self.lock();
            match written {
                Ok(()) => state.session.out().end(batch),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.blocked = Some(batch);
                    self.stall(&mut state);
                    return;
                }
                Err(error) => return self.write_failed(state, &error),
            }
        }
    }

    fn stall(&self, state: &mut State) {
        state.stalled = true;
        state.wake_driver();
    }

    fn write_failed(&self, state: MutexGuard<'_, State>, error: &io::Error) {
        // The peer's last words may still be unread: the driver finds the end of the stream by itself.
        if error.kind() == io::ErrorKind::BrokenPipe
            || error.kind() == io::ErrorKind::ConnectionReset
        {
            let mut state = state;
            state.deaf = true;
        } else {
            self.close_locked(state, &format!("writing to the peer failed: {error}"));
        }
    }

    /// Writes what the socket takes of what is queued; for a connection that is closed.
    pub(super) fn last_words(&self) {
        let mut state = self.lock();
        if state.deaf {
            return;
        }
        let batch = state.blocked.take().or_else(|| state.session.out().begin());
        drop(state);
        let written = batch.map_or(Ok(()), |mut batch| self.write(&mut batch));
        if written.is_ok() {
            self.writer.finish();
        }
    }

    fn write(&self, batch: &mut yamux::Batch) -> io::Result<()> {
        while !batch.is_done() {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = batch.slices(&mut slices);
            let written = self
                .writer
                .try_write_vectored(slices.get(..count).unwrap_or_default())?;
            batch.advance(written);
        }
        Ok(())
    }

    /// Flushes, unless the driver is about to.
    pub(super) fn flush_soon(&self, state: MutexGuard<'_, State>) {
        if !state.corked {
            self.flush(state);
        }
    }

    /// Ends the connection: everybody who waits for something learns why. The first reason counts.
    pub(super) fn close(&self, reason: &str) {
        self.close_locked(self.lock(), reason);
    }

    pub(super) fn close_locked(&self, mut state: MutexGuard<'_, State>, reason: &str) {
        if state.closed.is_some() {
            return;
        }
        let effects = state.fail(reason);
        let driver = state.driver.take();
        drop(state);
        effects.into_iter().for_each(Effect::run);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Why the connection is closed, if it is.
    pub(super) fn closed_reason(&self) -> Option<Arc<str>> {
        self.lock().closed.clone()
    }
}

impl State {
    /// Has the driver look at deadlines and receivers that others have set.
    pub(super) fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    fn fail(&mut self, reason: &str) -> Vec<Effect> {
        let reason: Arc<str> = reason.into();
        self.closed = Some(Arc::clone(&reason));
        let mut effects = Vec::new();
        for (_, client) in self.clients.drain() {
            let replies = client.pending.into_values();
            effects
                .extend(replies.map(|caller| {
                    Effect::Reply(caller, Err(NoReply::Closed(Arc::clone(&reason))))
                }));
        }
        for raw in self.raws.values_mut() {
            raw.eof = true;
            effects.extend(
                raw.reader
                    .take()
                    .into_iter()
                    .chain(raw.writer.take())
                    .map(Effect::Wake),
            );
        }
        // Dropping the senders tells those who dial, accept, or wait for the end.
        self.dials.clear();
        self.servers.clear();
        let acceptors = self
            .acceptors
            .drain()
            .filter_map(|(_, acceptor)| match acceptor {
                Acceptor::Service(service) => Some(service),
                Acceptor::Once(_) => None,
            });
        let receivers = self.switched.drain(..).map(|switch| switch.receiver);
        let services = acceptors.chain(receivers.filter_map(Receiver::into_service));
        effects.extend(services.map(Effect::Release));
        effects.extend(self.closed_wakers.drain(..).map(Effect::Closed));
        effects
    }

    /// Encodes and queues one request.
    pub(super) fn send_request<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        stream: u32,
        method: &str,
        body: &T,
        max_calls: usize,
    ) -> Result<oneshot::Receiver<Reply>, super::CallError> {
        if let Some(reason) = &self.closed {
            return Err(super::CallError::Closed(Arc::clone(reason)));
        }
        if !self.session.has_room() {
            return Err(super::CallError::QueueFull(self.session.queued_bytes()));
        }
        let client = match self.clients.get_mut(&stream) {
            Some(client) if client.pending.len() >= max_calls => {
                return Err(super::CallError::TooManyCalls(max_calls));
            }
            Some(client) if self.session.can_send(stream) => client,
            _ => {
                return Err(super::CallError::Closed(
                    "the peer closed the stream".into(),
                ));
            }
        };
        self.sink.clear();
        let (headers, written) = (&mut client.out.headers, &mut self.sink.written);
        let header = headers.request(method, client.next_seq, written);
        let encoded = client.out.bodies.encode_to(body, &mut self.sink);
        encoded.map_err(super::CallError::Encode)?;
        header.sent();
        let seq = client.next_seq;
        client.next_seq += 1;
        let (caller, reply) = oneshot::channel();
        client.pending.insert(seq, caller);
        send_sink(&mut self.session, stream, &mut self.sink);
        Ok(reply)
    }

    /// Encodes and queues one reply: `body`, or an error with the empty body that goes with it.
    pub(super) fn send_reply<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        stream: u32,
        method: &ServiceMethod,
        seq: u64,
        error: &str,
        body: &T,
    ) -> Result<(), gob::Error> {
        let Some(out) = self.servers.get_mut(&stream) else {
            return Ok(());
        };
        self.sink.clear();
        let written = &mut self.sink.written;
        let header = out.headers.response(method, seq, error, written);
        out.bodies.encode_to(body, &mut self.sink)?;
        header.sent();
        send_sink(&mut self.session, stream, &mut self.sink);
        Ok(())
    }
}

fn send_sink(session: &mut Session, stream: u32, sink: &mut Sink) {
    session.send(stream, sink.len(), |writer| {
        let writer = std::cell::RefCell::new(writer);
        sink.for_each(
            |small| writer.borrow_mut().small(small),
            |large| writer.borrow_mut().large(large),
        );
    });
}

impl Effect {
    pub(super) fn run(self) {
        match self {
            // Whoever waited may have given up.
            Effect::Reply(caller, reply) => _ = caller.send(reply),
            Effect::Stream(waiter, stream) => _ = waiter.send(stream),
            Effect::Closed(waiter) => _ = waiter.send(()),
            Effect::Request(service, request, responder) => {
                // A panic must not take the connection along: the responder, dropped on the way, replies.
                let call = AssertUnwindSafe(|| service.call(request, responder));
                if catch_unwind(call).is_err() {
                    tracing::error!("a service panicked in a call of the peer");
                }
            }
            Effect::Release(service) => drop(service),
            Effect::Wake(waker) => waker.wake(),
        }
    }
}
