//! Calling the peer.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::Shared;
use super::service::CloseOnPanic;
use crate::connection::RpcError;
use crate::gob::Message;

/// A net/rpc client on one stream. Cheap to clone; calls run concurrently. The stream is closed
/// with the last clone.
#[derive(Debug, Clone)]
pub struct RpcClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    stream: u32,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.connection.close_client(Instant::now(), self.stream);
        // The time that the peer has to close the stream too begins now.
        state.wake_driver();
        self.shared.flush_soon(state);
    }
}

impl RpcClient {
    /// The stream must be a client's already.
    pub(super) fn new(shared: &Arc<Shared>, stream: u32) -> Self {
        RpcClient {
            inner: Arc::new(Inner {
                shared: Arc::clone(shared),
                stream,
            }),
        }
    }

    /// Calls `Service.Method` and waits for the reply, for as long as it takes: put a timeout
    /// around it. A call whose future is dropped is not taken back: its late reply is thrown away,
    /// and until then it counts among [`Limits::max_calls`](crate::Limits::max_calls).
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub async fn call<Q, R>(&self, method: &str, request: &Q) -> Result<R, RpcError>
    where
        Q: Serialize + DeserializeOwned + 'static,
        R: DeserializeOwned,
    {
        self.call_message(method, request)
            .await?
            .decode()
            .map_err(RpcError::Decode)
    }

    /// Like [`call`](Self::call), with the reply as it came.
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub async fn call_message<Q>(&self, method: &str, request: &Q) -> Result<Message, RpcError>
    where
        Q: Serialize + DeserializeOwned + 'static,
    {
        let (caller, reply) = oneshot::channel();
        {
            let shared = &self.inner.shared;
            let _whole = CloseOnPanic::new(shared);
            let mut state = shared.lock();
            let stream = self.inner.stream;
            state.connection.call(stream, method, request, caller)?;
            shared.flush_soon(state);
        }
        let dropped = |_| Err(RpcError::Closed("the connection was dropped".into()));
        reply.await.unwrap_or_else(dropped)
    }
}
