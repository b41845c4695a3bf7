//! A yamux stream as bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{RpcClient, Service, Shared};

/// A stream of a connection, read and written as bytes. Dropping it closes it; bytes that the peer
/// still sends are thrown away.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
    /// Cleared when a client or server has taken the stream over.
    owned: bool,
}

impl Stream {
    pub(super) fn new(shared: &Arc<Shared>, id: u32) -> Self {
        Stream {
            shared: Arc::clone(shared),
            id,
            owned: true,
        }
    }

    /// Calls the net/rpc server at the other end of this stream.
    #[must_use]
    pub fn into_rpc_client(mut self) -> RpcClient {
        self.owned = false;
        let mut state = self.shared.lock();
        let made = state.connection.make_client(Instant::now(), self.id);
        self.shared.settle(state, made);
        RpcClient::new(&self.shared, self.id)
    }

    /// Answers the net/rpc calls of the other end, until it closes the stream.
    pub fn serve(mut self, service: Arc<dyn Service>) {
        self.owned = false;
        let mut state = self.shared.lock();
        let made = state
            .connection
            .make_server(Instant::now(), self.id, service);
        self.shared.settle(state, made);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        let mut state = self.shared.lock();
        state.connection.release(Instant::now(), self.id);
        // The time that the peer has to close the stream too begins now.
        state.wake_driver();
        self.shared.flush_soon(state);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        let room = buf.remaining();
        let take = |bytes: &[u8]| buf.put_slice(bytes);
        let task = || cx.waker().clone();
        ready!(state.connection.read(self.id, room, take, task));
        self.shared.flush_soon(state);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        let task = || cx.waker().clone();
        let Ok(count) = ready!(state.connection.write(self.id, buf, task)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        self.shared.flush_soon(state);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.connection.shutdown(Instant::now(), self.id);
        // The time that the peer has to close the stream too begins now.
        state.wake_driver();
        self.shared.flush_soon(state);
        Poll::Ready(Ok(()))
    }
}
