//! Sockets, plain or under TLS.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// A connected socket to a plugin or host.
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// A Unix socket: what go-plugin uses but on Windows.
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

pub(super) enum ReadHalf {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
}

pub(super) enum WriteHalf {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

impl Socket {
    fn split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Socket::Unix(socket) => {
                let (read, write) = socket.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
            Socket::Tcp(socket) => {
                // Small frames must not wait for each other; a socket that refuses still works.
                let _ = socket.set_nodelay(true);
                let (read, write) = socket.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
        }
    }

    /// The two ends of a plain connection.
    pub(super) fn plain(self) -> (Reader, Writer) {
        let (read, write) = self.split();
        (
            Reader {
                half: read,
                tls: None,
            },
            Writer {
                half: write,
                tls: None,
            },
        )
    }

    /// The two ends of a connection under TLS; the handshake is part of the traffic.
    #[cfg(feature = "automtls")]
    pub(super) fn encrypted(self, connection: rustls::Connection) -> (Reader, Writer) {
        let (read, write) = self.split();
        let tls = std::sync::Arc::new(tls::Tls::new(connection));
        let reader = Reader {
            half: read,
            tls: Some((std::sync::Arc::clone(&tls), BytesMut::new())),
        };
        (
            reader,
            Writer {
                half: write,
                tls: Some(tls),
            },
        )
    }
}

impl ReadHalf {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        async fn read(
            half: &mut (impl AsyncRead + Unpin),
            target: &mut BytesMut,
            room: usize,
        ) -> io::Result<usize> {
            half.read_buf(&mut target.limit(room)).await
        }
        match self {
            ReadHalf::Unix(half) => pin!(read(half, target, room)).poll(cx),
            ReadHalf::Tcp(half) => pin!(read(half, target, room)).poll(cx),
        }
    }
}

impl WriteHalf {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = match self {
            WriteHalf::Unix(half) => half.try_write_vectored(slices)?,
            WriteHalf::Tcp(half) => half.try_write_vectored(slices)?,
        };
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(written)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            WriteHalf::Unix(half) => half.as_ref().poll_write_ready(cx),
            WriteHalf::Tcp(half) => half.as_ref().poll_write_ready(cx),
        }
    }
}

#[cfg(feature = "automtls")]
type ReaderTls = Option<(std::sync::Arc<tls::Tls>, BytesMut)>;
#[cfg(feature = "automtls")]
type WriterTls = Option<std::sync::Arc<tls::Tls>>;
#[cfg(not(feature = "automtls"))]
type ReaderTls = Option<std::convert::Infallible>;
#[cfg(not(feature = "automtls"))]
type WriterTls = Option<std::convert::Infallible>;

/// The reading end, for the driver.
pub(super) struct Reader {
    half: ReadHalf,
    tls: ReaderTls,
}

/// The writing end, for everybody; one at a time.
pub(super) struct Writer {
    half: WriteHalf,
    tls: WriterTls,
}

impl Reader {
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads up to `room` bytes behind what `target` holds; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.half.poll_read(cx, target, room),
            #[cfg(feature = "automtls")]
            Some((tls, ciphertext)) => loop {
                let count = tls.read_plain(target, room)?;
                if let Some(count) = count {
                    return Poll::Ready(Ok(count));
                }
                // One step at a time: rustls takes nothing more while its plaintext is not read.
                if !ciphertext.is_empty() {
                    tls.receive(ciphertext)?;
                    continue;
                }
                ciphertext.reserve(tls::RECORD_BYTES);
                match std::task::ready!(self.half.poll_read(cx, ciphertext, tls::RECORD_BYTES))? {
                    0 => return Poll::Ready(Ok(0)),
                    _ => continue,
                }
            },
            #[cfg(not(feature = "automtls"))]
            Some(never) => match *never {},
        }
    }
}

impl Writer {
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.tls {
            None => self.half.try_write_vectored(slices),
            #[cfg(feature = "automtls")]
            Some(tls) => tls.write_plain(slices, &self.half),
            #[cfg(not(feature = "automtls"))]
            Some(never) => match *never {},
        }
    }

    /// Whether there are bytes that `try_write_vectored` has taken and the socket has not.
    pub(super) fn has_backlog(&self) -> bool {
        match &self.tls {
            None => false,
            #[cfg(feature = "automtls")]
            Some(tls) => tls.wants_write(),
            #[cfg(not(feature = "automtls"))]
            Some(never) => match *never {},
        }
    }

    pub(super) fn try_flush(&self) -> io::Result<()> {
        match &self.tls {
            None => Ok(()),
            #[cfg(feature = "automtls")]
            Some(tls) => tls.flush(&self.half),
            #[cfg(not(feature = "automtls"))]
            Some(never) => match *never {},
        }
    }

    /// Whether nothing can be written before something is read, whatever the socket says.
    pub(super) fn waits_for_peer(&self) -> bool {
        match &self.tls {
            None => false,
            #[cfg(feature = "automtls")]
            Some(tls) => tls.waits_for_peer(),
            #[cfg(not(feature = "automtls"))]
            Some(never) => match *never {},
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.poll_write_ready(cx)
    }

    /// Says goodbye, where the transport has a word for it.
    pub(super) fn finish(&self) {
        match &self.tls {
            None => {}
            #[cfg(feature = "automtls")]
            Some(tls) => tls.finish(&self.half),
            #[cfg(not(feature = "automtls"))]
            Some(never) => match *never {},
        }
    }

    /// Ends the connection in both directions, whoever still holds a handle of it.
    pub(super) fn shut_down(&self) {
        // A peer that is gone already is what we want.
        let _ = match &self.half {
            WriteHalf::Unix(half) => {
                rustix::net::shutdown(half.as_ref(), rustix::net::Shutdown::Both)
            }
            WriteHalf::Tcp(half) => {
                rustix::net::shutdown(half.as_ref(), rustix::net::Shutdown::Both)
            }
        };
    }
}

#[cfg(feature = "automtls")]
mod tls {
    //! rustls between the frames and the socket. It has no I/O of its own, so it fits in as it is.

    use std::io::{self, IoSlice, Read, Write};

    use bytes::{Buf, BufMut, BytesMut};
    use parking_lot::Mutex;

    use super::WriteHalf;

    /// Room for a TLS record: 16 KiB and what is around it.
    pub(super) const RECORD_BYTES: usize = 17 * 1024;

    /// Plaintext that is taken before the socket has taken its ciphertext.
    const BUFFERED_BYTES: usize = 256 * 1024;

    pub(super) struct Tls(Mutex<rustls::Connection>);

    struct Sock<'a>(&'a WriteHalf);

    impl Write for Sock<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.try_write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.0.try_write_vectored(slices)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Tls {
        pub(super) fn new(mut connection: rustls::Connection) -> Self {
            connection.set_buffer_limit(Some(BUFFERED_BYTES));
            Tls(Mutex::new(connection))
        }

        pub(super) fn wants_write(&self) -> bool {
            self.0.lock().wants_write()
        }

        pub(super) fn flush(&self, half: &WriteHalf) -> io::Result<()> {
            let mut connection = self.0.lock();
            while connection.wants_write() {
                connection.write_tls(&mut Sock(half))?;
            }
            Ok(())
        }

        pub(super) fn write_plain(
            &self,
            slices: &[IoSlice<'_>],
            half: &WriteHalf,
        ) -> io::Result<usize> {
            let mut connection = self.0.lock();
            loop {
                let written = connection.writer().write_vectored(slices)?;
                let full = !connection.wants_write();
                while connection.wants_write() {
                    match connection.write_tls(&mut Sock(half)) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock && written > 0 => {
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                }
                if written > 0 {
                    return Ok(written);
                }
                // Nothing was in the way but the handshake; else there is room now.
                if full {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            }
        }

        /// Plaintext that is there already; `None` if the socket must be read first.
        pub(super) fn read_plain(
            &self,
            target: &mut BytesMut,
            room: usize,
        ) -> io::Result<Option<usize>> {
            let mut connection = self.0.lock();
            let mut plain = [0; 4096];
            let part = plain.len().min(room);
            match connection.reader().read(&mut plain[..part]) {
                Ok(count) => {
                    target.put_slice(&plain[..count]);
                    Ok(Some(count))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            }
        }

        /// Takes bytes off the ciphertext.
        pub(super) fn receive(&self, ciphertext: &mut BytesMut) -> io::Result<()> {
            let mut connection = self.0.lock();
            let mut rest: &[u8] = ciphertext;
            let taken = connection.read_tls(&mut rest)?;
            if taken == 0 {
                return Err(io::Error::other("TLS takes nothing more"));
            }
            ciphertext.advance(taken);
            match connection.process_new_packets() {
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("TLS: {error}"),
                )),
            }
        }

        /// Whether nothing can be sent before the peer has done its part of the handshake.
        pub(super) fn waits_for_peer(&self) -> bool {
            let connection = self.0.lock();
            connection.is_handshaking() && !connection.wants_write()
        }

        /// Says that nothing more comes, as far as the socket takes it.
        pub(super) fn finish(&self, half: &WriteHalf) {
            let mut connection = self.0.lock();
            connection.send_close_notify();
            while connection.wants_write() {
                if connection.write_tls(&mut Sock(half)).is_err() {
                    return;
                }
            }
        }
    }
}
