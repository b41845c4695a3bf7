//! Time and memory limits of one connection.
//!
//! The HTTP library reads and writes. The limits on what a client may make it wait for and buffer
//! are enforced here, below it: idle time, time for a head, minimum rate of taking an answer, and
//! the part of the buffers that counts in the host's budget.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use gk_runtime::{MemoryBudget, Reservation};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::{HEAD_BYTES_MAX, WRITE_BYTES_MIN, WRITE_TIMEOUT};

/// Memory of an idle open connection, for its task and first buffers, in bytes.
const IDLE_BYTES: usize = 16 * 1024;

/// Number of received bytes up to which a buffer is not counted: most requests are smaller.
const UNCOUNTED_BYTES: usize = 4 * 1024;

/// Maximum number of bytes that the HTTP library buffers of a request in parts: a head, and the
/// data read after it.
const BUFFER_BYTES: usize = 2 * HEAD_BYTES_MAX;

/// Maximum number of further bytes that the library buffers of an HTTP/2 connection: windows, and a
/// header block.
const HTTP2_BYTES: usize = 192 * 1024;

/// First bytes of an HTTP/2 connection; no other request begins with them.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) idle: Duration,
    pub(super) head: Duration,
}

/// Progress of a connection's requests, which the service tells the connection.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Number of requests that have begun.
    begun: AtomicUsize,
    /// Number of requests that have no answer yet.
    running: AtomicUsize,
    /// Number of HTTP/2 answers of a known length that are not sent in full yet.
    sending: AtomicUsize,
}

/// Guard of a request that has no answer yet.
pub(super) struct Running(Arc<Progress>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Progress {
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }

    /// Watches an answer over HTTP/2, until it is sent or its stream has ended. A client that does
    /// not take it merely grants no window, which does not show in the socket. Answers without an
    /// end, such as events, may be silent.
    pub(super) fn watch(
        self: &Arc<Self>,
        response: Response,
        reservation: Reservation,
    ) -> Response {
        let has_end = response
            .body()
            .size_hint()
            .exact()
            .is_some_and(|bytes| bytes > 0);
        let sending = has_end.then(|| {
            self.sending.fetch_add(1, Ordering::AcqRel);
            Sending(Arc::clone(self))
        });
        response.map(|body| {
            Body::new(Watched {
                body,
                rest: Bytes::new(),
                _sending: sending,
                _reservation: reservation,
            })
        })
    }
}

struct Sending(Arc<Progress>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Size of the pieces that are handed to an HTTP/2 connection, in bytes. The connection would take
/// all data at once, and the progress of sending would not be visible.
const PIECE_BYTES: usize = 16 * 1024;

struct Watched {
    body: Body,
    /// Rest of the last piece of the body.
    rest: Bytes,
    _sending: Option<Sending>,
    _reservation: Reservation,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let frame = match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// A socket with limits on the client's time and memory.
pub(super) struct Connection<S> {
    socket: S,
    progress: Arc<Progress>,
    times: Times,
    timer: Pin<Box<Sleep>>,
    /// Time of the last byte in either direction.
    active: Instant,
    /// Time at which the present head began.
    head: Option<Instant>,
    /// Value of `Progress::begun` at the last check.
    begun: usize,
    writing: Writing,
    /// The first bytes were those of HTTP/2; `None` before any came.
    http2: Option<bool>,
    /// Number of bytes received since the last byte was sent.
    unanswered: usize,
    reservation: Reservation,
}

/// Progress of the client in taking an answer.
#[derive(Debug, Default)]
struct Writing {
    /// Time since which the socket has not been able to take everything.
    since: Option<Instant>,
    /// Number of bytes that it took since.
    bytes: usize,
}

impl<S> Connection<S> {
    /// # Errors
    /// If the budget has no room for one more.
    pub(super) fn new(
        socket: S,
        progress: Arc<Progress>,
        times: Times,
        memory: &MemoryBudget,
    ) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Connection {
            socket,
            progress,
            times,
            timer: Box::pin(tokio::time::sleep_until(now + times.idle)),
            active: now,
            head: None,
            begun: 0,
            writing: Writing::default(),
            http2: None,
            unanswered: 0,
            reservation: memory.reserve(IDLE_BYTES).map_err(no_memory)?,
        })
    }

    /// Accounts for received bytes: notes the begin of a head, and reserves memory for its buffers.
    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        self.active = now;
        if self.http2.is_none() {
            let common = bytes.len().min(HTTP2_PREFACE.len());
            let http2 = bytes[..common] == HTTP2_PREFACE[..common];
            self.http2 = Some(http2);
        }
        if self.http2 == Some(true) {
            self.head = None;
            self.unanswered = self.unanswered.saturating_add(bytes.len());
            // The preface and settings of a connection make the library buffer little.
            let buffers = self.unanswered > UNCOUNTED_BYTES
                || self.progress.begun.load(Ordering::Acquire) > 0;
            if buffers && self.reservation.bytes() == IDLE_BYTES {
                self.reservation.grow(HTTP2_BYTES).map_err(no_memory)?;
            }
            return Ok(());
        }
        let idle = self.progress.running.load(Ordering::Acquire) == 0;
        if idle && self.head.is_none() {
            self.head = Some(now);
        }
        self.unanswered += bytes.len();
        if self.unanswered > UNCOUNTED_BYTES && self.reservation.bytes() == IDLE_BYTES {
            self.reservation.grow(BUFFER_BYTES).map_err(no_memory)?;
        }
        Ok(())
    }

    fn sent(&mut self, bytes: usize) {
        self.active = Instant::now();
        self.writing.bytes += bytes;
        if self.http2 == Some(true) {
            return;
        }
        self.unanswered = 0;
        // While a request runs, the bytes may be a `100 Continue`, and the request's head is still
        // kept.
        if self.progress.running.load(Ordering::Acquire) == 0 {
            self.reservation.shrink_to(IDLE_BYTES);
        }
    }

    /// Returns the time limit of the client for sending; `None` while it is the host's turn.
    fn deadline(&mut self) -> Option<Instant> {
        let begun = self.progress.begun.load(Ordering::Acquire);
        if begun != self.begun {
            // The present head is complete.
            self.begun = begun;
            self.head = None;
        }
        if self.progress.running.load(Ordering::Acquire) > 0 {
            return None;
        }
        Some(match self.head {
            Some(began) => began + self.times.head,
            None => self.active + self.times.idle,
        })
    }

    /// Fails if the client takes too little of the answer.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let now = Instant::now();
        let since = *self.writing.since.get_or_insert_with(|| {
            self.writing.bytes = 0;
            now
        });
        let mut until = since + WRITE_TIMEOUT;
        if now >= until {
            if self.writing.bytes < WRITE_BYTES_MIN {
                return Err(timed_out("the client takes too little of the answer"));
            }
            self.writing = Writing {
                since: Some(now),
                bytes: 0,
            };
            until = now + WRITE_TIMEOUT;
        }
        self.wake_at(cx, until);
        Ok(())
    }

    /// Wakes the task at this time, or earlier.
    fn wake_at(&mut self, cx: &mut Context<'_>, at: Instant) {
        if self.timer.is_elapsed() || self.timer.deadline() > at {
            self.timer.as_mut().reset(at);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.timer.as_mut().reset(at);
            // Ready at once if `at` has passed meanwhile; the task runs again then.
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

fn no_memory(error: gk_runtime::OverBudget) -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, error)
}

fn timed_out(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, text)
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(cx, buffer) {
            read?;
            let bytes = buffer.filled().get(before..).unwrap_or_default();
            if !bytes.is_empty() {
                this.received(bytes)?;
            }
            return Poll::Ready(Ok(()));
        }
        if this.progress.sending.load(Ordering::Acquire) > 0 {
            this.poll_taken(cx)?;
        }
        if let Some(deadline) = this.deadline() {
            if Instant::now() >= deadline {
                if this.head.is_some() {
                    return Poll::Ready(Err(timed_out("the request's head took too long")));
                }
                // An idle connection is closed without an error.
                return Poll::Ready(Ok(()));
            }
            this.wake_at(cx, deadline);
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.sent(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match self.poll_taken(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(flushed) => {
                // All data is taken, unless an HTTP/2 client grants no window for the rest.
                if self.progress.sending.load(Ordering::Acquire) == 0 {
                    self.writing = Writing::default();
                }
                Poll::Ready(flushed)
            }
            Poll::Pending => match self.poll_taken(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const TIMES: Times = Times {
        idle: Duration::from_secs(75),
        head: Duration::from_secs(10),
    };

    fn connection(
        memory: &MemoryBudget,
    ) -> (Connection<DuplexStream>, DuplexStream, Arc<Progress>) {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let progress = Arc::new(Progress::default());
        let connection = Connection::new(near, Arc::clone(&progress), TIMES, memory).unwrap();
        (connection, far, progress)
    }

    async fn read(connection: &mut Connection<DuplexStream>) -> io::Result<usize> {
        connection.read(&mut vec![0; 128 * 1024]).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_and_an_idle_connection_have_a_time_each() {
        let memory = MemoryBudget::new(1 << 20);
        let started = Instant::now();
        let (mut idle, _far, _) = connection(&memory);
        assert_eq!(read(&mut idle).await.unwrap(), 0);
        assert_eq!(started.elapsed().as_secs(), 75, "before its first request");

        let (mut slow, mut far, _) = connection(&memory);
        let started = Instant::now();
        for _ in 0..9 {
            far.write_all(b"GET").await.unwrap();
            read(&mut slow).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let error = read(&mut slow).await.unwrap_err();
        assert_eq!(
            (error.kind(), started.elapsed().as_secs()),
            (ErrorKind::TimedOut, 10)
        );

        let (mut between, mut far, progress) = connection(&memory);
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        read(&mut between).await.unwrap();
        let running = progress.begin();
        let started = Instant::now();
        let waiting = tokio::time::timeout(Duration::from_secs(600), read(&mut between));
        waiting
            .await
            .expect_err("a call that runs is no idle connection");
        drop(running);
        between.write_all(b"HTTP/1.1 200").await.unwrap();
        assert_eq!(read(&mut between).await.unwrap(), 0);
        assert_eq!(started.elapsed().as_secs(), 600 + 75);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_must_be_taken_at_some_rate() {
        let memory = MemoryBudget::new(1 << 20);
        for (bytes, kept) in [(100, false), (8 * 1024, true)] {
            let (mut connection, mut far, progress) = connection(&memory);
            let _running = progress.begin();
            let taking = tokio::spawn(async move {
                let mut buffer = vec![0; bytes];
                // The client reads four times in each interval.
                while far.read_exact(&mut buffer).await.is_ok() {
                    tokio::time::sleep(WRITE_TIMEOUT / 5).await;
                }
            });
            let sent = connection.write_all(&vec![7; 400 * 1024]).await;
            assert_eq!(sent.is_ok(), kept, "{bytes}: {sent:?}");
            drop(connection);
            taking.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_pays_for_what_it_makes_the_host_buffer() {
        let memory = MemoryBudget::new(IDLE_BYTES * 2 + BUFFER_BYTES);
        let (mut first, mut far_first, _) = connection(&memory);
        let (mut second, mut far_second, _) = connection(&memory);
        assert_eq!(memory.used(), 2 * IDLE_BYTES);
        far_first.write_all(&[b'x'; 5000]).await.unwrap();
        read(&mut first).await.unwrap();
        assert_eq!(memory.used(), memory.limit());
        let third = tokio::io::duplex(1).0;
        assert!(Connection::new(third, Arc::default(), TIMES, &memory).is_err());
        far_second.write_all(&[b'x'; 5000]).await.unwrap();
        let refused = read(&mut second).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        first.write_all(b"HTTP/1.1 200").await.unwrap();
        assert_eq!(memory.used(), 2 * IDLE_BYTES);
        drop((first, second));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn http_2_is_known_by_its_first_bytes() {
        let memory = MemoryBudget::new(1 << 20);
        let (mut connection, mut far, progress) = connection(&memory);
        far.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        read(&mut connection).await.unwrap();
        // The client has sent no request yet.
        assert_eq!(memory.used(), IDLE_BYTES);
        drop(progress.begin());
        far.write_all(b"more").await.unwrap();
        read(&mut connection).await.unwrap();
        assert_eq!(memory.used(), IDLE_BYTES + HTTP2_BYTES);
        // The client grants no window, and answers pings in between.
        let response = Response::new(Body::from("answer"));
        let response = progress.watch(response, memory.reserve(1).unwrap());
        let pings = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(3)).await;
                if far.write_all(b"ping").await.is_err() {
                    return;
                }
            }
        });
        let error = loop {
            match read(&mut connection).await {
                Ok(0) => panic!("not cut"),
                Ok(_) => connection.write_all(b"pong").await.unwrap(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop((connection, response));
        pings.await.unwrap();
    }

    /// `100 Continue` is sent while the request's head is still kept.
    #[tokio::test]
    async fn a_head_counts_until_its_request_is_answered() {
        let memory = MemoryBudget::new(1 << 20);
        let (mut connection, mut far, progress) = connection(&memory);
        far.write_all(&[b'x'; 2 * UNCOUNTED_BYTES]).await.unwrap();
        while memory.used() == IDLE_BYTES {
            read(&mut connection).await.unwrap();
        }
        assert_eq!(memory.used(), IDLE_BYTES + BUFFER_BYTES);
        let running = progress.begin();
        connection
            .write_all(b"HTTP/1.1 100 Continue")
            .await
            .unwrap();
        assert_eq!(memory.used(), IDLE_BYTES + BUFFER_BYTES);
        drop(running);
        connection.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        assert_eq!(memory.used(), IDLE_BYTES);
    }
}
