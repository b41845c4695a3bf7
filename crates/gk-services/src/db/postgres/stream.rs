//! The connection to PostgreSQL, message by message: one that is larger than a result may be ends
//! it, before it is read. The driver would gather the whole of a row first, and a value may have 1
//! GiB.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// Type and length of a message.
const HEADER_BYTES: usize = 5;

/// A stream whose messages are no larger than that.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    inner: S,
    frames: Frames,
}

/// The stream's place within the server's messages.
#[derive(Debug)]
struct Frames {
    message_bytes_max: usize,
    header: [u8; HEADER_BYTES],
    header_read: usize,
    body_left: usize,
    too_large: Arc<AtomicBool>,
}

impl Frames {
    /// Goes on over bytes that came.
    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(byte) = bytes.first() {
            if self.body_left > 0 {
                let passed = self.body_left.min(bytes.len());
                self.body_left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.header.get_mut(self.header_read) {
                *place = *byte;
            }
            self.header_read += 1;
            bytes = bytes.get(1..).unwrap_or_default();
            if self.header_read < HEADER_BYTES {
                continue;
            }
            self.header_read = 0;
            let [_, length @ ..] = self.header;
            // The length counts itself.
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.body_left = length.saturating_sub(HEADER_BYTES - 1);
            if self.body_left > self.message_bytes_max {
                self.too_large.store(true, Ordering::Relaxed);
                return Err(io::Error::other("a message is larger than a result may be"));
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buf);
        if let Poll::Ready(Ok(())) = read {
            let came = buf.filled().get(before..).unwrap_or_default();
            this.frames.pass(came)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// How large a message may be, and where it is noted that one was larger.
#[derive(Debug, Clone)]
pub(super) struct Largest {
    pub(super) message_bytes_max: usize,
    pub(super) too_large: Arc<AtomicBool>,
}

impl Largest {
    fn of<S>(self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            frames: Frames {
                message_bytes_max: self.message_bytes_max,
                header: [0; HEADER_BYTES],
                header_read: 0,
                body_left: 0,
                too_large: self.too_large,
            },
        }
    }
}

/// TLS of another, within which messages are bounded.
#[derive(Clone)]
pub(super) struct BoundedTls<T> {
    pub(super) inner: T,
    pub(super) bound: Largest,
}

impl<S, T: MakeTlsConnect<S>> MakeTlsConnect<S> for BoundedTls<T>
where
    <T::TlsConnect as TlsConnect<S>>::Future: Send + 'static,
{
    type Stream = Bounded<T::Stream>;
    type TlsConnect = BoundedTls<T::TlsConnect>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, T::Error> {
        Ok(BoundedTls {
            inner: self.inner.make_tls_connect(domain)?,
            bound: self.bound.clone(),
        })
    }
}

type Connecting<S, E> = Pin<Box<dyn Future<Output = Result<S, E>> + Send>>;

impl<S, T: TlsConnect<S>> TlsConnect<S> for BoundedTls<T>
where
    T::Future: Send + 'static,
{
    type Stream = Bounded<T::Stream>;
    type Error = T::Error;
    type Future = Connecting<Self::Stream, T::Error>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.inner.connect(stream);
        Box::pin(async move { Ok(self.bound.of(connecting.await?)) })
    }
}

/// A stream of either kind.
trait Plain: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Plain for S {}

/// A connection without TLS.
pub(super) struct PlainStream(Box<dyn Plain>);

impl AsyncRead for PlainStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buf)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

/// Connects to the first host that answers.
///
/// # Errors
///
/// The last host's.
pub(super) async fn connect(config: &Config, bound: Largest) -> io::Result<Bounded<PlainStream>> {
    let ports = config.get_ports();
    let mut failed = io::Error::other("the URL names no host");
    for (index, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let connected: io::Result<PlainStream> = match host {
            Host::Tcp(host) => TcpStream::connect((host.as_str(), port))
                .await
                .map(|stream| {
                    // A statement and its answer are small and wait for each other.
                    let _ = stream.set_nodelay(true);
                    PlainStream(Box::new(stream))
                }),
            Host::Unix(directory) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                UnixStream::connect(path)
                    .await
                    .map(|stream| PlainStream(Box::new(stream)))
            }
        };
        match connected {
            Ok(stream) => return Ok(bound.of(stream)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes come, a message is told by its length.
    #[test]
    fn messages_are_told_by_their_lengths() {
        let message = |bytes: u32| {
            let mut message = vec![b'D'];
            message.extend_from_slice(&(bytes + 4).to_be_bytes());
            message.resize(message.len() + bytes as usize, b'D');
            message
        };
        let fine = [message(0), message(10), message(3), message(10)].concat();
        let large = [message(10), message(11)].concat();
        for piece in [1, 2, 3, 7, 100] {
            let passes = |bytes: &[u8]| {
                let bound = Largest {
                    message_bytes_max: 10,
                    too_large: Arc::default(),
                };
                let mut frames = bound.of(()).frames;
                let passed = bytes.chunks(piece).try_for_each(|bytes| frames.pass(bytes));
                assert_eq!(passed.is_err(), frames.too_large.load(Ordering::Relaxed));
                passed.is_ok()
            };
            assert!(passes(&fine), "{piece}");
            assert!(!passes(&large), "{piece}");
        }
    }
}
