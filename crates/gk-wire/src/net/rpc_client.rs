//! Calling the peer.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::rpc_server::CloseOnPanic;
use super::state::Shared;
use crate::gob::{self, Message};
use crate::rpc::ResponseHeader;

/// What a caller gets: the reply, or why there will be none.
pub(super) type Reply = Result<(ResponseHeader, Message), NoReply>;

/// Why a call gets no reply.
#[derive(Debug, Clone)]
pub(super) enum NoReply {
    /// The connection, or the stream, has ended.
    Closed(Arc<str>),
    /// The budget of memory had no room for this many bytes.
    Dropped(usize),
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer's RPC layer refused the call or its method failed: the text of `Response.Error`.
    #[error("{0}")]
    Remote(String),
    /// The connection, or the stream of this client, is closed.
    #[error("the connection is closed: {0}")]
    Closed(Arc<str>),
    /// This many bytes wait to be sent: the peer does not read. Nothing of the call was sent.
    #[error("{0} bytes wait to be sent; the peer does not read")]
    QueueFull(usize),
    /// So many calls on this stream have no reply yet. Nothing of the call was sent.
    #[error("{0} calls wait for the peer's reply")]
    TooManyCalls(usize),
    /// The reply was read and thrown away: [`Limits::memory`](super::Limits::memory) had no room for its
    /// so many bytes. The connection goes on.
    #[error("the reply has {0} bytes, for which there is no memory at this moment")]
    NoMemory(usize),
    /// The argument has no form in gob. Nothing of the call was sent.
    #[error("the argument cannot be encoded")]
    Encode(#[source] gob::Error),
    /// The reply is not what was asked for. The connection goes on.
    #[error("the reply cannot be decoded")]
    Decode(#[source] gob::Error),
}

/// A net/rpc client on one stream. Cheap to clone; calls run concurrently. The stream is closed with
/// the last clone.
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
        state.clients.remove(&self.stream);
        state.session.close(self.stream, std::time::Instant::now());
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

    /// Calls `Service.Method` and waits for the reply, for as long as it takes: put a timeout around it.
    /// A call whose future is dropped is not taken back: its late reply is thrown away, and until then it
    /// counts among [`Limits::max_calls`](super::Limits::max_calls).
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call<Q, R>(&self, method: &str, request: &Q) -> Result<R, CallError>
    where
        Q: Serialize + DeserializeOwned + 'static,
        R: DeserializeOwned,
    {
        self.call_message(method, request)
            .await?
            .decode()
            .map_err(CallError::Decode)
    }

    /// Like [`call`](Self::call), with the reply as it came.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call_message<Q>(&self, method: &str, request: &Q) -> Result<Message, CallError>
    where
        Q: Serialize + DeserializeOwned + 'static,
    {
        let reply = self.send(method, request)?;
        match reply
            .await
            .unwrap_or_else(|_| Err(NoReply::Closed("the connection was dropped".into())))
        {
            Ok((header, body)) if header.error.is_empty() => Ok(body),
            Ok((header, _)) => Err(CallError::Remote(header.error)),
            Err(NoReply::Closed(reason)) => Err(CallError::Closed(reason)),
            Err(NoReply::Dropped(bytes)) => Err(CallError::NoMemory(bytes)),
        }
    }

    fn send<Q>(&self, method: &str, request: &Q) -> Result<oneshot::Receiver<Reply>, CallError>
    where
        Q: Serialize + DeserializeOwned + 'static,
    {
        let shared = &self.inner.shared;
        let _whole = CloseOnPanic::new(shared);
        let mut state = shared.lock();
        let max_calls = shared.limits.max_calls;
        let reply = state.send_request(self.inner.stream, method, request, max_calls)?;
        shared.flush_soon(state);
        Ok(reply)
    }
}
