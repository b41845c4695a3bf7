//! A yamux stream as bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::recv::Receiver;
use super::rpc_client::RpcClient;
use super::rpc_server::Service;
use super::state::{Shared, Switch};

/// Most bytes that one write queues.
const WRITE_MAX_BYTES: usize = 64 * 1024;

/// One stream of a connection, read and written as bytes. Dropping it closes it; what the peer still
/// sends is thrown away then.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
    /// Cleared when something else has taken the stream over.
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
        {
            let mut state = self.shared.lock();
            state.make_client(&self.shared, self.id);
            self.shared.flush_soon(state);
        }
        RpcClient::new(&self.shared, self.id)
    }

    /// Answers the net/rpc calls of the other end, until it closes the stream.
    pub fn serve(mut self, service: Arc<dyn Service>) {
        self.owned = false;
        let mut state = self.shared.lock();
        if state.closed.is_none() {
            state.make_server(&self.shared, self.id, service);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        let mut state = self.shared.lock();
        let ended = state.raws.remove(&self.id).is_none_or(|raw| raw.eof);
        state.session.close(self.id, Instant::now());
        if !ended {
            state.switched.push(Switch::new(self.id, Receiver::Discard));
        }
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
        let closed = state.closed.is_some();
        let Some(raw) = state.raws.get_mut(&self.id) else {
            return Poll::Ready(Ok(()));
        };
        if raw.buffer.is_empty() {
            if raw.eof || closed {
                return Poll::Ready(Ok(()));
            }
            raw.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = raw.buffer.len().min(buf.remaining());
        buf.put_slice(&raw.buffer[..count]);
        raw.buffer.advance(count);
        if raw.buffer.is_empty() {
            // Give the memory of a burst back.
            raw.buffer = Default::default();
        }
        state
            .session
            .consumed(self.id, u32::try_from(count).unwrap_or(u32::MAX));
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
        if state.closed.is_some() || !state.session.can_send(self.id) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = buf
            .len()
            .min(state.session.send_window(self.id))
            .min(WRITE_MAX_BYTES);
        if count == 0 && !buf.is_empty() {
            if let Some(raw) = state.raws.get_mut(&self.id) {
                raw.writer = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        state
            .session
            .send_bytes(self.id, Bytes::copy_from_slice(&buf[..count]));
        self.shared.flush_soon(state);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.session.close(self.id, Instant::now());
        // The time that the peer has to close the stream too begins now.
        state.wake_driver();
        self.shared.flush_soon(state);
        Poll::Ready(Ok(()))
    }
}
