//! go-plugin's MuxBroker: streams that find each other by a number.
//!
//! Whoever dials opens a stream and sends the id, four bytes in little-endian order; whoever accepts
//! sends the same four bytes back. Each acceptor numbers its own ids, starting at 1.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::recv::Receiver;
use super::rpc_client::CallError;
use super::rpc_server::Service;
use super::state::{Acceptor, Effect, Shared, Switch};
use super::stream::Stream;

/// Dials and accepts further streams of a connection.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) shared: Arc<Shared>,
}

impl Broker {
    /// An id that nobody has used on this side of the connection.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        let mut state = self.shared.lock();
        state.next_broker_id = state.next_broker_id.wrapping_add(1).max(1);
        state.next_broker_id
    }

    /// Serves every stream that the peer dials to `id`, from now on until the connection ends. Go's
    /// broker takes one stream, and that only within five seconds.
    pub fn serve(&self, id: u32, service: Arc<dyn Service>) {
        self.accept_with(id, Acceptor::Service(service));
    }

    /// Waits for the peer to dial `id`.
    ///
    /// # Errors
    ///
    /// If the connection ends first, or somebody else accepts the id.
    pub async fn accept(&self, id: u32) -> Result<Stream, CallError> {
        let (waiter, stream) = oneshot::channel();
        self.accept_with(id, Acceptor::Once(waiter));
        let mut accepting = Accepting {
            shared: &self.shared,
            id,
            stream,
        };
        (&mut accepting.stream).await.map_err(|_| self.closed())
    }

    fn accept_with(&self, id: u32, acceptor: Acceptor) {
        let mut state = self.shared.lock();
        if state.closed.is_some() {
            return;
        }
        let mut effects = Vec::new();
        if let Some(Acceptor::Service(service)) = state.acceptors.insert(id, acceptor) {
            effects.push(Effect::Release(service));
        }
        if let Some(place) = state.parked.iter().position(|parked| parked.id == id) {
            let parked = state.parked.swap_remove(place);
            effects.extend(state.take_dialled(&self.shared, id, parked.stream));
        }
        self.shared.flush_soon(state);
        effects.into_iter().for_each(Effect::run);
    }

    /// Opens a stream to whoever accepts `id` at the peer. Never dial an id twice unless the peer is
    /// known to accept it more than once: Go's broker locks up for good.
    ///
    /// # Errors
    ///
    /// If the peer refuses (Go does so after five seconds without an acceptor) or the connection ends.
    pub async fn dial(&self, id: u32) -> Result<Stream, CallError> {
        let (opened, stream) = self.start_dial(id)?;
        let _guard = Dialling {
            shared: &self.shared,
            stream: opened,
        };
        stream.await.map_err(|_| match self.shared.closed_reason() {
            Some(reason) => CallError::Closed(reason),
            None => CallError::Remote(format!("the peer does not accept broker id {id}")),
        })
    }

    fn start_dial(&self, id: u32) -> Result<(u32, oneshot::Receiver<Stream>), CallError> {
        let (waiter, stream) = oneshot::channel();
        let mut state = self.shared.lock();
        if let Some(reason) = &state.closed {
            return Err(CallError::Closed(Arc::clone(reason)));
        }
        let opened = state
            .session
            .open(Instant::now())
            .map_err(|error| CallError::Closed(error.to_string().into()))?;
        let bytes = id.to_le_bytes();
        state.dials.insert(opened, waiter);
        state
            .switched
            .push(Switch::new(opened, Receiver::Echo(bytes, [0; 4], 0)));
        // The time that the peer has to acknowledge the stream begins now.
        state.wake_driver();
        state
            .session
            .send_bytes(opened, Bytes::copy_from_slice(&bytes));
        self.shared.flush_soon(state);
        Ok((opened, stream))
    }

    fn closed(&self) -> CallError {
        CallError::Closed(
            self.shared
                .closed_reason()
                .unwrap_or_else(|| "the broker id was accepted elsewhere".into()),
        )
    }
}

/// Gives a dial up that nobody waits for any more.
struct Dialling<'a> {
    shared: &'a Arc<Shared>,
    stream: u32,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.dials.remove(&self.stream).is_some() {
            // What the peer still sends is unknown to the session, and thrown away with that.
            state.session.reset(self.stream);
            // Takes its receiver away, since the session does not know it any more.
            state
                .switched
                .push(Switch::new(self.stream, Receiver::Discard));
            self.shared.flush_soon(state);
        }
    }
}

/// Gives an id up that nobody waits for any more.
struct Accepting<'a> {
    shared: &'a Arc<Shared>,
    id: u32,
    stream: oneshot::Receiver<Stream>,
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        // From now on nothing can be sent to this waiter, and what was sent is dropped with it.
        self.stream.close();
        let mut state = self.shared.lock();
        if let Some(Acceptor::Once(waiter)) = state.acceptors.get(&self.id)
            && waiter.is_closed()
        {
            state.acceptors.remove(&self.id);
        }
    }
}
