//! Dialling and accepting streams by a number.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Service, Shared, Stream};
use crate::connection::RpcError;

/// Dials and accepts further streams of a connection.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) shared: Arc<Shared>,
}

impl Broker {
    /// An id that was not used on this side of the connection.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.shared.lock().connection.next_broker_id()
    }

    /// Serves every stream that the peer dials to `id`, from now on until the connection ends. Go's
    /// broker takes one stream, and that only within five seconds.
    pub fn serve(&self, id: u32, service: Arc<dyn Service>) {
        let mut state = self.shared.lock();
        state.connection.serve_id(id, service);
        self.shared.settle(state, Ok(()));
    }

    /// Waits for the peer to dial `id`.
    ///
    /// # Errors
    ///
    /// If the connection ends first, or the id is accepted anew.
    pub async fn accept(&self, id: u32) -> Result<Stream, RpcError> {
        let (waiter, stream) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            state.connection.accept_id(id, waiter);
            self.shared.settle(state, Ok(()));
        }
        let mut accepting = Accepting {
            shared: &self.shared,
            id,
            stream,
        };
        (&mut accepting.stream).await.map_err(|_| {
            let reason = self.shared.closed_reason();
            RpcError::Closed(
                reason.unwrap_or_else(|| "the broker id was accepted elsewhere".into()),
            )
        })
    }

    /// Opens a stream to the acceptor of `id` at the peer. Never dial an id twice unless the peer
    /// is known to accept it more than once: Go's broker locks up for good.
    ///
    /// # Errors
    ///
    /// If the peer refuses (Go does so after five seconds without an acceptor) or the connection
    /// ends.
    pub async fn dial(&self, id: u32) -> Result<Stream, RpcError> {
        let (waiter, stream) = oneshot::channel();
        let _guard = {
            let mut state = self.shared.lock();
            let opened = state.connection.dial(Instant::now(), id, waiter)?;
            // The time that the peer has to acknowledge the stream begins now.
            state.wake_driver();
            self.shared.flush_soon(state);
            Dialling {
                shared: &self.shared,
                stream: opened,
            }
        };
        stream.await.map_err(|_| match self.shared.closed_reason() {
            Some(reason) => RpcError::Closed(reason),
            None => RpcError::Remote(format!("the peer does not accept broker id {id}")),
        })
    }
}

/// Gives a dial up that has no caller any more.
struct Dialling<'a> {
    shared: &'a Arc<Shared>,
    stream: u32,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.connection.cancel_dial(self.stream).is_some() {
            self.shared.flush_soon(state);
        }
    }
}

/// Gives an id up that has no caller any more.
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
        let closed = oneshot::Sender::is_closed;
        state.connection.cancel_accept(self.id, closed);
    }
}
