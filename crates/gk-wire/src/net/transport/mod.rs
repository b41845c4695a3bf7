//! Sockets, plain or under TLS.

mod plain;
#[cfg(feature = "tls")]
mod tls;

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use tokio::net::{TcpStream, UnixStream};

/// A connected socket to a plugin or host.
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// A Unix socket: go-plugin's choice everywhere but on Windows.
    Unix(UnixStream),
    /// A TCP connection.
    Tcp(TcpStream),
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Socket::Unix(socket)
    }
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Socket::Tcp(socket)
    }
}

impl Socket {
    /// The two ends of a plain connection.
    pub(super) fn plain(self) -> (Reader, Writer) {
        let (reader, writer) = plain::split(self);
        (Reader::Plain(reader), Writer::Plain(writer))
    }

    /// The two ends of a connection under TLS; the handshake is part of the traffic.
    #[cfg(feature = "tls")]
    pub(super) fn encrypted(self, connection: rustls::Connection) -> (Reader, Writer) {
        let (reader, writer) = plain::split(self);
        let (reader, writer) = tls::wrap(reader, writer, connection);
        (Reader::Tls(reader), Writer::Tls(writer))
    }
}

/// The place for bytes of the socket.
pub(super) enum Target<'a> {
    /// Memory of the caller's.
    Buffer(&'a mut [u8]),
    /// The end of a message, for at most this many bytes.
    Message(&'a mut Vec<u8>, usize),
}

/// The reading end, for the driver.
pub(super) enum Reader {
    Plain(plain::Reader),
    #[cfg(feature = "tls")]
    Tls(tls::Reader),
}

impl Reader {
    fn socket(&mut self) -> &mut plain::Reader {
        match self {
            Reader::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Reader::Tls(tls) => tls.socket(),
        }
    }

    /// Returns `true` if the connection is under TLS. Such a connection cannot be read into
    /// messages.
    pub(super) fn is_encrypted(&self) -> bool {
        !matches!(self, Reader::Plain(_))
    }

    /// Takes the socket out of the reactor, or lets it in again with the next read. The peer's
    /// writes need not wake a thread while the driver looks for data all the time.
    pub(super) fn set_awake(&mut self, awake: bool) {
        self.socket().set_awake(awake);
    }

    pub(super) fn is_awake(&mut self) -> bool {
        self.socket().is_awake()
    }

    /// Reads once without asking the reactor.
    pub(super) fn read_now(&mut self, target: Target<'_>) -> io::Result<usize> {
        match self {
            Reader::Plain(socket) => socket.read_now(target),
            #[cfg(feature = "tls")]
            Reader::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads once; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: Target<'_>,
    ) -> Poll<io::Result<usize>> {
        match (self, target) {
            (Reader::Plain(socket), target) => socket.poll_read(cx, target),
            #[cfg(feature = "tls")]
            (Reader::Tls(tls), Target::Buffer(buffer)) => tls.poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            (Reader::Tls(_), Target::Message(..)) => {
                Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
            }
        }
    }
}

/// The writing end, for all tasks; one at a time.
pub(super) enum Writer {
    Plain(plain::Writer),
    #[cfg(feature = "tls")]
    Tls(tls::Writer),
}

impl Writer {
    fn socket(&self) -> &plain::Writer {
        match self {
            Writer::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Writer::Tls(tls) => tls.socket(),
        }
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Writer::Plain(socket) => socket.try_write_vectored(slices),
            #[cfg(feature = "tls")]
            Writer::Tls(tls) => tls.try_write_vectored(slices),
        }
    }

    /// Returns `true` if there are bytes that `try_write_vectored` has taken and the socket has
    /// not.
    pub(super) fn has_backlog(&self) -> bool {
        match self {
            Writer::Plain(_) => false,
            #[cfg(feature = "tls")]
            Writer::Tls(tls) => tls.has_backlog(),
        }
    }

    pub(super) fn try_flush(&self) -> io::Result<()> {
        match self {
            Writer::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Writer::Tls(tls) => tls.try_flush(),
        }
    }

    /// Returns `true` if nothing can be written before something is read, even to a socket that is
    /// writable.
    pub(super) fn waits_for_peer(&self) -> bool {
        match self {
            Writer::Plain(_) => false,
            #[cfg(feature = "tls")]
            Writer::Tls(tls) => tls.waits_for_peer(),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    /// Tells the peer that nothing more comes, where the transport can.
    pub(super) fn finish(&self) {
        match self {
            Writer::Plain(_) => {}
            #[cfg(feature = "tls")]
            Writer::Tls(tls) => tls.finish(),
        }
    }

    /// Ends the connection in both directions, however many handles of it are left.
    pub(super) fn shut_down(&self) {
        self.socket().shut_down();
    }
}
