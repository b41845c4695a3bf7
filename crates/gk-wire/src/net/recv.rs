//! The receiving side of a connection: takes bytes apart and says what is to be done.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::rpc_client::NoReply;
use super::rpc_in::RpcIn;
use super::rpc_server::{Request, Responder, Service, Share};
use super::state::{
    Acceptor, ClientState, Effect, Limits, Parked, RawState, RpcOut, Shared, State, Switch,
};
use super::stream::Stream;
use crate::gob;
use crate::rpc::{Content, RequestHeader, ResponseHeader};
use crate::yamux::{Event, Header, SessionError};

/// Why a connection ends from the receiving side.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiveError {
    #[error("yamux: {0}")]
    Session(#[from] SessionError),
    #[error("gob on stream {stream}: {source}")]
    Gob { stream: u32, source: gob::Error },
    #[error("the peer has begun more messages than {0} bytes can hold")]
    Held(usize),
}

/// What becomes of a stream's bytes.
pub(super) enum Receiver {
    /// They are read through a [`Stream`].
    Raw,
    /// The first four are a broker id.
    BrokerId([u8; 4], usize),
    /// The id is there, somebody to accept it is not.
    Parked,
    /// The first four must repeat the id we dialled.
    Echo([u8; 4], [u8; 4], usize),
    /// Replies to our calls.
    Replies(Box<RpcIn<ResponseHeader>>),
    /// Calls of the peer.
    Requests(Box<RpcIn<RequestHeader>>, Arc<dyn Service>),
    /// They are thrown away.
    Discard,
}

impl Receiver {
    pub(super) fn replies(limits: &Limits) -> Self {
        Receiver::Replies(Box::new(RpcIn::new(limits)))
    }

    pub(super) fn requests(limits: &Limits, service: Arc<dyn Service>) -> Self {
        Receiver::Requests(Box::new(RpcIn::new(limits)), service)
    }

    /// Calls that are answered however many run: those that ask whether we live.
    pub(super) fn control(limits: &Limits, service: Arc<dyn Service>) -> Self {
        let mut rpc = RpcIn::new(limits);
        rpc.counted = false;
        Receiver::Requests(Box::new(rpc), service)
    }

    /// Takes its share out of the bytes that the connection holds.
    fn release(&self, held_bytes: &mut usize) {
        let share = match self {
            Receiver::Replies(rpc) => rpc.held_bytes,
            Receiver::Requests(rpc, _) => rpc.held_bytes,
            _ => 0,
        };
        *held_bytes = held_bytes.saturating_sub(share);
    }

    fn count_held(&mut self, held_bytes: &mut usize) {
        match self {
            Receiver::Replies(rpc) => rpc.count_held(held_bytes),
            Receiver::Requests(rpc, _) => rpc.count_held(held_bytes),
            _ => {}
        }
    }

    pub(super) fn into_service(self) -> Option<Arc<dyn Service>> {
        match self {
            Receiver::Requests(_, service) => Some(service),
            _ => None,
        }
    }
}

struct Current {
    stream: u32,
    left: usize,
    known: bool,
    fin: bool,
    reset: bool,
}

/// Where bytes of the socket go.
pub(super) enum Target<'a> {
    /// Into this buffer.
    Buffer(&'a mut [u8]),
    /// To the end of a message, at most so many.
    Message(&'a mut Vec<u8>, usize),
}

/// How a connection starts.
pub(super) enum Opening {
    /// We open control, stdout and stderr.
    Host,
    /// They are the first three streams to arrive.
    Plugin {
        /// Answers the control stream.
        control: Arc<dyn Service>,
        /// Wait for stdout and stderr.
        stdio: VecDeque<oneshot::Sender<Stream>>,
    },
}

pub(super) struct Recv {
    shared: Arc<Shared>,
    opening: Opening,
    /// Whether the last read went into a message.
    into_message: bool,
    /// What was read and is not yet taken apart.
    chunk: Bytes,
    header: [u8; Header::LEN],
    header_len: usize,
    current: Option<Current>,
    receivers: HashMap<u32, Receiver>,
    arrived: usize,
}

impl Recv {
    pub(super) fn new(shared: Arc<Shared>, opening: Opening) -> Self {
        Recv {
            shared,
            opening,
            into_message: false,
            chunk: Bytes::new(),
            header: [0; Header::LEN],
            header_len: 0,
            current: None,
            receivers: HashMap::new(),
            arrived: 0,
        }
    }

    /// Where the next bytes of the socket belong: the middle of a large message if one is under way and
    /// the socket can, else this buffer.
    pub(super) fn target<'a>(&'a mut self, direct: bool, buffer: &'a mut [u8]) -> Target<'a> {
        self.into_message = false;
        if direct
            && let Some(current) = self.current.as_ref().filter(|current| current.left > 0)
            && let Some((message, missing)) = match self.receivers.get_mut(&current.stream) {
                Some(Receiver::Replies(rpc)) => rpc.assembler.direct(),
                Some(Receiver::Requests(rpc, _)) => rpc.assembler.direct(),
                _ => None,
            }
        {
            self.into_message = true;
            return Target::Message(message, missing.min(current.left));
        }
        Target::Buffer(buffer)
    }

    /// Whether more of a frame, or of its header, is still to come: it is most likely on its way.
    pub(super) fn inside_frame(&self) -> bool {
        self.header_len > 0
            || self
                .current
                .as_ref()
                .is_some_and(|current| current.left > 0)
    }

    /// Takes the `count` bytes that were read into the target, which was `buffer` if no message is under way.
    pub(super) fn received(
        &mut self,
        count: usize,
        buffer: &[u8],
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        if self.into_message {
            self.direct(count, state, effects)?;
        } else {
            self.chunk = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        }
        let now = Instant::now();
        loop {
            self.install_switched(state, effects)?;
            match &mut self.current {
                None => {
                    let Some(header) = self.next_header()? else {
                        return Ok(());
                    };
                    let event = state.session.received(header, now)?;
                    self.event(event, now, state, effects);
                }
                Some(current) if current.left > 0 => {
                    if self.chunk.is_empty() {
                        return Ok(());
                    }
                    let piece = self.chunk.split_to(self.chunk.len().min(current.left));
                    current.left -= piece.len();
                    let (stream, known) = (current.stream, current.known);
                    if known {
                        self.payload(stream, piece, state, effects)?;
                    }
                }
                Some(_) => {
                    let current = self.current.take();
                    if let Some(Current {
                        stream, fin, reset, ..
                    }) = current
                        && (fin || reset)
                    {
                        self.ended(stream, reset, state, effects);
                    }
                }
            }
        }
    }

    /// Bytes went straight into a message.
    fn direct(
        &mut self,
        count: usize,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let stream = current.stream;
        current.left -= count.min(current.left);
        let done = match self.receivers.get_mut(&stream) {
            Some(Receiver::Replies(rpc)) => rpc.assembler.direct_done(),
            Some(Receiver::Requests(rpc, _)) => rpc.assembler.direct_done(),
            _ => None,
        };
        self.count_held(stream, state)?;
        if let Some(content) = done {
            self.rpc_message(stream, content, state, effects)?;
        }
        state
            .session
            .consumed(stream, u32::try_from(count).unwrap_or(u32::MAX));
        Ok(())
    }

    fn next_header(&mut self) -> Result<Option<Header>, SessionError> {
        if self.header_len == 0
            && let Some(bytes) = self.chunk.first_chunk::<{ Header::LEN }>()
        {
            let header = Header::decode(bytes)?;
            bytes::Buf::advance(&mut self.chunk, Header::LEN);
            return Ok(Some(header));
        }
        let part = self
            .chunk
            .split_to(self.chunk.len().min(Header::LEN - self.header_len));
        self.header[self.header_len..self.header_len + part.len()].copy_from_slice(&part);
        self.header_len += part.len();
        if self.header_len < Header::LEN {
            return Ok(None);
        }
        self.header_len = 0;
        Header::decode(&self.header).map(Some)
    }

    fn event(&mut self, event: Event, now: Instant, state: &mut State, effects: &mut Vec<Effect>) {
        match event {
            Event::None => {}
            Event::Data {
                stream,
                length,
                known,
                opened,
                fin,
                reset,
            } => {
                if opened {
                    self.opened(stream, now, state, effects);
                }
                self.current = Some(Current {
                    stream,
                    left: length as usize,
                    known,
                    fin,
                    reset,
                });
            }
            Event::Stream {
                stream,
                opened,
                fin,
                reset,
                writable,
            } => {
                if opened {
                    self.opened(stream, now, state, effects);
                }
                if writable
                    && let Some(writer) = state
                        .raws
                        .get_mut(&stream)
                        .and_then(|raw| raw.writer.take())
                {
                    effects.push(Effect::Wake(writer));
                }
                if fin || reset {
                    self.ended(stream, reset, state, effects);
                }
            }
        }
    }

    /// The peer opened a stream: at a plugin the first three are control, stdout and stderr, every
    /// other one goes to the broker.
    fn opened(&mut self, stream: u32, now: Instant, state: &mut State, effects: &mut Vec<Effect>) {
        state.session.accept(stream);
        state.greeted = true;
        self.arrived = self.arrived.saturating_add(1);
        if let Opening::Plugin { control, stdio } = &mut self.opening
            && self.arrived <= 3
        {
            if self.arrived == 1 {
                state.servers.insert(stream, RpcOut::new());
                let control = Receiver::control(&self.shared.limits, Arc::clone(control));
                self.install(stream, control, state, effects);
            } else if let Some(waiter) = stdio.pop_front() {
                state.raws.insert(stream, RawState::default());
                self.install(stream, Receiver::Raw, state, effects);
                effects.push(Effect::Stream(waiter, Stream::new(&self.shared, stream)));
            }
            return;
        }
        self.install(stream, Receiver::BrokerId([0; 4], 0), state, effects);
        state
            .deadlines
            .insert(stream, now + self.shared.limits.broker_timeout);
    }

    /// Puts receivers into place that others asked for.
    pub(super) fn install_switched(
        &mut self,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        while !state.switched.is_empty() {
            for switch in std::mem::take(&mut state.switched) {
                let stream = switch.stream;
                if !state.session.contains(stream) {
                    // It has ended on both sides; nothing comes any more.
                    state.servers.remove(&stream);
                    self.uninstall(stream, state, effects);
                    effects.extend(switch.receiver.into_service().map(Effect::Release));
                    continue;
                }
                self.install(stream, switch.receiver, state, effects);
                if !switch.before.is_empty() {
                    self.payload(stream, switch.before.freeze(), state, effects)?;
                }
                if switch.ended {
                    self.ended(stream, false, state, effects);
                }
            }
        }
        Ok(())
    }

    fn install(
        &mut self,
        stream: u32,
        receiver: Receiver,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) {
        let before = self.receivers.insert(stream, receiver);
        Self::let_go(before, state, effects);
    }

    fn uninstall(&mut self, stream: u32, state: &mut State, effects: &mut Vec<Effect>) {
        let receiver = self.receivers.remove(&stream);
        Self::let_go(receiver, state, effects);
    }

    fn let_go(receiver: Option<Receiver>, state: &mut State, effects: &mut Vec<Effect>) {
        if let Some(receiver) = receiver {
            receiver.release(&mut state.held_bytes);
            effects.extend(receiver.into_service().map(Effect::Release));
        }
    }

    /// Counts what a stream's incomplete message holds.
    ///
    /// # Errors
    /// When all of them together hold too much.
    fn count_held(&mut self, stream: u32, state: &mut State) -> Result<(), ReceiveError> {
        if let Some(receiver) = self.receivers.get_mut(&stream) {
            receiver.count_held(&mut state.held_bytes);
        }
        let limit = self.shared.limits.max_held_bytes;
        if state.held_bytes > limit {
            return Err(ReceiveError::Held(limit));
        }
        Ok(())
    }

    fn payload(
        &mut self,
        stream: u32,
        mut piece: Bytes,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        loop {
            let gob = |source| ReceiveError::Gob { stream, source };
            let content = match self.receivers.get_mut(&stream) {
                None | Some(Receiver::Discard) => break,
                Some(Receiver::Raw) => {
                    if let Some(raw) = state.raws.get_mut(&stream) {
                        raw.buffer.extend_from_slice(&piece);
                        effects.extend(raw.reader.take().map(Effect::Wake));
                    }
                    // Granted again when it is read.
                    return Ok(());
                }
                Some(Receiver::Replies(rpc)) => rpc.assembler.next(&mut piece).map_err(gob)?,
                Some(Receiver::Requests(rpc, _)) => rpc.assembler.next(&mut piece).map_err(gob)?,
                Some(Receiver::BrokerId(bytes, have)) => {
                    *have += take(&mut piece, bytes, *have);
                    if *have == bytes.len() {
                        let id = u32::from_le_bytes(*bytes);
                        self.dialled(id, stream, state, effects);
                        if !piece.is_empty() {
                            self.install_switched(state, effects)?;
                        }
                    }
                    None
                }
                Some(Receiver::Parked) => {
                    // Nothing may follow before the id is echoed.
                    self.drop_stream(stream, state, effects);
                    break;
                }
                Some(Receiver::Echo(want, bytes, have)) => {
                    *have += take(&mut piece, bytes, *have);
                    if *have == bytes.len() {
                        let accepted = want == bytes;
                        self.answered(stream, accepted, state, effects);
                    }
                    None
                }
            };
            match content {
                Some(content) => self.rpc_message(stream, content, state, effects)?,
                None if piece.is_empty() => break,
                None => {}
            }
        }
        self.count_held(stream, state)?;
        state.session.consumed(stream, length);
        Ok(())
    }

    fn rpc_message(
        &mut self,
        stream: u32,
        content: Content,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        let gob = |source| ReceiveError::Gob { stream, source };
        let content = match content {
            Content::Message(content) => content,
            Content::Dropped { length, start } => {
                return self.dropped(stream, length, &start, state, effects);
            }
        };
        match self.receivers.get_mut(&stream) {
            Some(Receiver::Replies(rpc)) => {
                if let Some((header, body)) = rpc.message(content, ResponseHeader::from_message).map_err(gob)?
                    && let Some(client) = state.clients.get_mut(&stream)
                    // Nobody waits for a late or an invented reply.
                    && let Some(caller) = client.pending.remove(&header.seq)
                {
                    effects.push(Effect::Reply(caller, Ok((header, body))));
                }
            }
            Some(Receiver::Requests(rpc, service)) => {
                if let Some((header, body)) = rpc
                    .message(content, RequestHeader::from_message)
                    .map_err(gob)?
                {
                    let service = Arc::clone(service);
                    // From now on its bytes are the call's.
                    rpc.count_held(&mut state.held_bytes);
                    let bytes = body.0.content.len();
                    let share = Share {
                        requests: usize::from(rpc.counted),
                        bytes: if rpc.counted { bytes } else { 0 },
                    };
                    state.requests += share.requests;
                    state.held_bytes += share.bytes;
                    let responder = Responder::new(&self.shared, stream, header, share);
                    let limits = &self.shared.limits;
                    if !share.fits(state, limits) {
                        let refusal = format!(
                            "rpc: too many calls at once (at most {}, with {} bytes)",
                            limits.max_requests, limits.max_held_bytes
                        );
                        responder.error_locked(state, &refusal);
                        if !state.session.has_room() {
                            let queued = state.session.queued_bytes();
                            return Err(SessionError::QueueFull(queued).into());
                        }
                    } else {
                        let request = Request {
                            method: responder.method().clone(),
                            body,
                        };
                        effects.push(Effect::Request(service, request, responder));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// There was no room for a message: the call it belongs to fails.
    fn dropped(
        &mut self,
        stream: u32,
        bytes: usize,
        start: &[u8],
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        let can_miss = match self.receivers.get_mut(&stream) {
            Some(Receiver::Replies(rpc)) => rpc.decoder.can_miss(start),
            Some(Receiver::Requests(rpc, _)) => rpc.decoder.can_miss(start),
            _ => true,
        };
        if !can_miss {
            let source = gob::Error::NoMemory(bytes);
            return Err(ReceiveError::Gob { stream, source });
        }
        match self.receivers.get_mut(&stream) {
            Some(Receiver::Replies(rpc)) => {
                if let Some(header) = rpc.header.take()
                    && let Some(client) = state.clients.get_mut(&stream)
                    && let Some(caller) = client.pending.remove(&header.seq)
                {
                    effects.push(Effect::Reply(caller, Err(NoReply::Dropped(bytes))));
                }
            }
            Some(Receiver::Requests(rpc, _)) => {
                if let Some(header) = rpc.header.take() {
                    let share = Share {
                        requests: 0,
                        bytes: 0,
                    };
                    let text = format!(
                        "the request has {bytes} bytes, for which the host has no memory at this moment; try again later"
                    );
                    Responder::new(&self.shared, stream, header, share).error_locked(state, &text);
                    if !state.session.has_room() {
                        let queued = state.session.queued_bytes();
                        return Err(SessionError::QueueFull(queued).into());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A stream of the peer's broker named its id.
    fn dialled(&mut self, id: u32, stream: u32, state: &mut State, effects: &mut Vec<Effect>) {
        state.deadlines.remove(&stream);
        if state.acceptors.contains_key(&id) {
            let accepted = state.take_dialled(&self.shared, id, stream);
            effects.extend(accepted);
        } else if state.parked.iter().any(|parked| parked.id == id) {
            // A second dial to an id nobody has accepted: Go's broker would never answer either of them.
            self.drop_stream(stream, state, effects);
        } else {
            self.receivers.insert(stream, Receiver::Parked);
            state.parked.push(Parked { id, stream });
            state
                .deadlines
                .insert(stream, Instant::now() + self.shared.limits.broker_timeout);
        }
    }

    /// The peer answered a stream that we dialled.
    fn answered(
        &mut self,
        stream: u32,
        accepted: bool,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) {
        let waiter = state.dials.remove(&stream);
        match waiter {
            Some(waiter) if accepted => {
                state.raws.insert(stream, RawState::default());
                self.receivers.insert(stream, Receiver::Raw);
                effects.push(Effect::Stream(waiter, Stream::new(&self.shared, stream)));
            }
            _ => self.drop_stream(stream, state, effects),
        }
    }

    fn drop_stream(&mut self, stream: u32, state: &mut State, effects: &mut Vec<Effect>) {
        self.uninstall(stream, state, effects);
        state.session.reset(stream);
        state.forget_stream(stream, effects);
    }

    /// The peer closed or reset a stream.
    fn ended(&mut self, stream: u32, reset: bool, state: &mut State, effects: &mut Vec<Effect>) {
        match self.receivers.get(&stream) {
            Some(Receiver::Raw) => {
                if let Some(raw) = state.raws.get_mut(&stream) {
                    raw.eof = true;
                    effects.extend(
                        raw.reader
                            .take()
                            .into_iter()
                            .chain(raw.writer.take())
                            .map(Effect::Wake),
                    );
                }
            }
            Some(Receiver::Replies(_)) => {
                if let Some(client) = state.clients.get_mut(&stream) {
                    let reason: Arc<str> = "the peer closed the stream".into();
                    let callers = std::mem::take(&mut client.pending).into_values();
                    effects.extend(callers.map(|caller| {
                        Effect::Reply(caller, Err(NoReply::Closed(Arc::clone(&reason))))
                    }));
                }
                state.session.close(stream, Instant::now());
            }
            Some(Receiver::Requests(..)) => {
                state.servers.remove(&stream);
                state.session.close(stream, Instant::now());
            }
            Some(Receiver::BrokerId(..) | Receiver::Parked | Receiver::Echo(..)) => {
                state.session.reset(stream);
                state.forget_stream(stream, effects);
            }
            Some(Receiver::Discard) | None => {}
        }
        if reset {
            state.clients.remove(&stream);
        }
        // What the peer has ended sends nothing any more; a raw stream's rest stands in its buffer.
        self.uninstall(stream, state, effects);
    }

    /// When [`expire`](Self::expire) wants to be called next.
    pub(super) fn next_deadline(state: &State) -> Instant {
        state
            .deadlines
            .values()
            .copied()
            .fold(state.session.next_timeout(), Instant::min)
    }

    /// Drops streams whose time is over, and looks after the session.
    pub(super) fn expire(
        &mut self,
        state: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReceiveError> {
        let now = Instant::now();
        let late: Vec<u32> = state
            .deadlines
            .iter()
            .filter(|(_, deadline)| now >= **deadline)
            .map(|(stream, _)| *stream)
            .collect();
        late.into_iter()
            .for_each(|stream| self.drop_stream(stream, state, effects));
        for stream in state.session.on_timeout(now)? {
            self.uninstall(stream, state, effects);
            state.forget_stream(stream, effects);
        }
        Ok(())
    }
}

/// Moves bytes into `place`, of which `have` are there.
fn take(piece: &mut Bytes, place: &mut [u8; 4], have: usize) -> usize {
    let part = piece.split_to(piece.len().min(place.len() - have));
    place[have..have + part.len()].copy_from_slice(&part);
    part.len()
}

impl State {
    /// Hands a dialled stream to the acceptor of its id, which must exist, and echoes the id.
    pub(super) fn take_dialled(
        &mut self,
        shared: &Arc<Shared>,
        id: u32,
        stream: u32,
    ) -> Option<Effect> {
        self.deadlines.remove(&stream);
        let effect = match self.acceptors.get(&id) {
            Some(Acceptor::Service(service)) => {
                let receiver = Receiver::requests(&shared.limits, Arc::clone(service));
                self.servers.insert(stream, RpcOut::new());
                self.switched.push(Switch::new(stream, receiver));
                None
            }
            Some(Acceptor::Once(_)) => {
                self.raws.insert(stream, RawState::default());
                self.switched.push(Switch::new(stream, Receiver::Raw));
                match self.acceptors.remove(&id) {
                    Some(Acceptor::Once(waiter)) => {
                        Some(Effect::Stream(waiter, Stream::new(shared, stream)))
                    }
                    _ => None,
                }
            }
            None => return None,
        };
        self.session
            .send_bytes(stream, Bytes::copy_from_slice(&id.to_le_bytes()));
        effect
    }

    /// Makes an RPC client of a raw stream.
    pub(super) fn make_client(&mut self, shared: &Shared, stream: u32) {
        let raw = self.raws.remove(&stream).unwrap_or_default();
        if raw.eof {
            // Calls find no client, and say that the peer closed the stream.
            self.session.close(stream, Instant::now());
            return;
        }
        let client = ClientState {
            out: RpcOut::new(),
            next_seq: 0,
            pending: Default::default(),
        };
        self.clients.insert(stream, client);
        self.switch_raw(stream, Receiver::replies(&shared.limits), raw);
    }

    /// Makes an RPC server of a raw stream.
    pub(super) fn make_server(&mut self, shared: &Shared, stream: u32, service: Arc<dyn Service>) {
        let raw = self.raws.remove(&stream).unwrap_or_default();
        self.servers.insert(stream, RpcOut::new());
        self.switch_raw(stream, Receiver::requests(&shared.limits, service), raw);
    }

    fn switch_raw(&mut self, stream: u32, receiver: Receiver, raw: RawState) {
        let switch = Switch {
            stream,
            receiver,
            before: raw.buffer,
            ended: raw.eof,
        };
        let urgent = switch.ended || !switch.before.is_empty();
        self.switched.push(switch);
        if urgent {
            // What is there already must not wait for the next frame.
            self.wake_driver();
        }
    }

    pub(super) fn forget_stream(&mut self, stream: u32, effects: &mut Vec<Effect>) {
        self.deadlines.remove(&stream);
        self.parked.retain(|parked| parked.stream != stream);
        self.dials.remove(&stream);
        if let Some(raw) = self.raws.remove(&stream) {
            // Who reads finds the end now.
            effects.extend(raw.reader.into_iter().chain(raw.writer).map(Effect::Wake));
        }
        self.clients.remove(&stream);
        self.servers.remove(&stream);
    }
}
