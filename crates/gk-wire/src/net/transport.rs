//! Sockets, plain or under TLS.

use std::io::{self, IoSlice, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

/// Where bytes of the socket go.
pub(super) enum Target<'a> {
    /// Into this buffer.
    Buffer(&'a mut [u8]),
    /// To the end of a message, at most this many.
    Message(&'a mut Vec<u8>, usize),
}

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

/// The socket itself, nonblocking.
///
/// tokio's own streams ask for readiness to read and to write. A Unix socket becomes "writable" anew each
/// time the peer takes something out of it, so every call would wake the driver once for nothing. Here the
/// driver is told of reading alone, and of writing only while something waits to be written.
#[derive(Debug)]
enum Raw {
    Unix(unix::net::UnixStream),
    Tcp(net::TcpStream),
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Raw::Unix(socket) => socket.as_fd(),
            Raw::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Read for &Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Raw::Unix(socket) => (&*socket).read(buffer),
            Raw::Tcp(socket) => (&*socket).read(buffer),
        }
    }
}

/// A descriptor in the reactor, for one kind of readiness.
fn registered<T: AsRawFd>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that are closed early; these are owned"
    )]
    AsyncFd::with_interest(descriptor, interest)
}

impl Socket {
    fn split(self) -> (Unread, WriteHalf) {
        // Taking a socket out of tokio's reactor fails only if it never was in there.
        let raw = Arc::new(match self {
            Socket::Unix(socket) => Raw::Unix(socket.into_std().expect("a registered socket")),
            Socket::Tcp(socket) => {
                // Small frames must not wait for each other; a socket that refuses still works.
                let _ = socket.set_nodelay(true);
                Raw::Tcp(socket.into_std().expect("a registered socket"))
            }
        });
        (
            Unread::new(Arc::clone(&raw)),
            WriteHalf {
                raw,
                writable: Mutex::new(None),
            },
        )
    }

    /// The two ends of a plain connection.
    pub(super) fn plain(self) -> (Reader, Writer) {
        let (read, write) = self.split();
        (
            Reader {
                socket: read,
                tls: None,
            },
            Writer {
                half: write,
                tls: None,
            },
        )
    }

    /// The two ends of a connection under TLS; the handshake is part of the traffic.
    #[cfg(feature = "tls")]
    pub(super) fn encrypted(self, connection: rustls::Connection) -> (Reader, Writer) {
        let (read, write) = self.split();
        let tls = Arc::new(tls::Tls::new(connection));
        let reader = Reader {
            socket: read,
            tls: Some(TlsReader::new(Arc::clone(&tls))),
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

/// The socket's reading side, in the reactor or out of it.
struct Unread {
    raw: Arc<Raw>,
    registered: Option<AsyncFd<Arc<Raw>>>,
    awake: bool,
}

impl Unread {
    fn new(raw: Arc<Raw>) -> Self {
        Unread {
            raw,
            registered: None,
            awake: false,
        }
    }

    /// One read of what is there. Out of the reactor nobody is woken when there is nothing.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&Raw) -> io::Result<(usize, bool)>,
    ) -> Poll<io::Result<usize>> {
        if self.awake {
            return match read(&self.raw) {
                Ok((count, _)) => Poll::Ready(Ok(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        let socket = match &mut self.registered {
            Some(socket) => socket,
            none => none.insert(registered(Arc::clone(&self.raw), Interest::READABLE)?),
        };
        loop {
            let mut ready = std::task::ready!(socket.poll_read_ready(cx))?;
            match read(socket.get_ref()) {
                Ok((count, emptied)) => {
                    // A read that was not filled has emptied the socket.
                    if emptied {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn read_buffer(raw: &Raw, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut raw = raw;
    let count = raw.read(buffer)?;
    // At its end a socket stays readable.
    Ok((count, 0 < count && count < buffer.len()))
}

/// Appends up to `room` bytes without filling them with zeros first.
fn read_message(raw: &Raw, message: &mut Vec<u8>, room: usize) -> io::Result<(usize, bool)> {
    let before = message.len();
    let limit = u64::try_from(room).unwrap_or(u64::MAX);
    let outcome = match raw {
        Raw::Unix(socket) => socket.take(limit).read_to_end(message),
        Raw::Tcp(socket) => socket.take(limit).read_to_end(message),
    };
    let count = message.len() - before;
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && count > 0 => Ok((count, true)),
        Err(error) => Err(error),
        Ok(_) => Ok((count, false)),
    }
}

pub(super) struct WriteHalf {
    raw: Arc<Raw>,
    /// A second descriptor of the socket, registered while something waits to be written.
    writable: Mutex<Option<AsyncFd<OwnedFd>>>,
}

impl WriteHalf {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let written = match &*self.raw {
                Raw::Unix(socket) => (&mut &*socket).write_vectored(slices),
                Raw::Tcp(socket) => (&mut &*socket).write_vectored(slices),
            };
            match written {
                Ok(0) if slices.iter().any(|slice| !slice.is_empty()) => {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Waits until a write that did not go through may be tried again.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut place = self.writable.lock();
        let writable = match &mut *place {
            Some(writable) => writable,
            empty => empty.insert(registered(
                self.raw.as_fd().try_clone_to_owned()?,
                Interest::WRITABLE,
            )?),
        };
        let ready = std::task::ready!(writable.poll_write_ready(cx)).map(drop);
        *place = None;
        Poll::Ready(ready)
    }
}

#[cfg(feature = "tls")]
type ReaderTls = Option<TlsReader>;
#[cfg(feature = "tls")]
type WriterTls = Option<Arc<tls::Tls>>;
#[cfg(not(feature = "tls"))]
type ReaderTls = Option<std::convert::Infallible>;
#[cfg(not(feature = "tls"))]
type WriterTls = Option<std::convert::Infallible>;

/// The reading end, for the driver.
pub(super) struct Reader {
    socket: Unread,
    tls: ReaderTls,
}

/// Ciphertext on its way into TLS.
#[cfg(feature = "tls")]
struct TlsReader {
    tls: Arc<tls::Tls>,
    buffer: Box<[u8]>,
    /// What of the buffer TLS has not taken yet.
    rest: std::ops::Range<usize>,
}

#[cfg(feature = "tls")]
impl TlsReader {
    fn new(tls: Arc<tls::Tls>) -> Self {
        TlsReader {
            tls,
            buffer: vec![0; tls::RECORD_BYTES].into_boxed_slice(),
            rest: 0..0,
        }
    }

    fn poll_read(
        &mut self,
        socket: &mut Unread,
        cx: &mut Context<'_>,
        target: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(count) = self.tls.read_plain(target)? {
                return Poll::Ready(Ok(count));
            }
            if self.rest.is_empty() {
                let buffer = &mut self.buffer;
                match std::task::ready!(socket.poll_read(cx, |raw| read_buffer(raw, buffer)))? {
                    0 => return Poll::Ready(Ok(0)),
                    count => self.rest = 0..count,
                }
            }
            let ciphertext = self.buffer.get(self.rest.clone()).unwrap_or_default();
            self.rest.start += self.tls.receive(ciphertext)?;
        }
    }
}

/// The writing end, for everybody; one at a time.
pub(super) struct Writer {
    half: WriteHalf,
    tls: WriterTls,
}

impl Reader {
    /// Whether the connection is under TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Takes the socket out of the reactor, or lets it in again with the next read: while somebody looks
    /// for data all the time, the peer need not wake anybody with every write.
    pub(super) fn set_awake(&mut self, awake: bool) {
        if awake {
            self.socket.registered = None;
        }
        self.socket.awake = awake;
    }

    pub(super) fn is_awake(&self) -> bool {
        self.socket.awake
    }

    /// Reads what is there, whatever the reactor knows of it.
    pub(super) fn read_now(&mut self, target: Target<'_>) -> io::Result<usize> {
        let raw = &*self.socket.raw;
        let read = match (&self.tls, target) {
            (None, Target::Buffer(buffer)) => read_buffer(raw, buffer),
            (None, Target::Message(message, room)) => read_message(raw, message, room),
            (Some(_), _) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        read.map(|(count, _)| count)
    }

    /// Reads once; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: Target<'_>,
    ) -> Poll<io::Result<usize>> {
        let socket = &mut self.socket;
        match (&mut self.tls, target) {
            (None, Target::Buffer(buffer)) => socket.poll_read(cx, |raw| read_buffer(raw, buffer)),
            (None, Target::Message(message, room)) => {
                socket.poll_read(cx, |raw| read_message(raw, message, room))
            }
            #[cfg(feature = "tls")]
            (Some(tls), Target::Buffer(buffer)) => tls.poll_read(socket, cx, buffer),
            #[cfg(feature = "tls")]
            (Some(_), Target::Message(..)) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            #[cfg(not(feature = "tls"))]
            (Some(never), _) => match *never {},
        }
    }
}

impl Writer {
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.tls {
            None => self.half.try_write_vectored(slices),
            #[cfg(feature = "tls")]
            Some(tls) => tls.write_plain(slices, &self.half),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    /// Whether there are bytes that `try_write_vectored` has taken and the socket has not.
    pub(super) fn has_backlog(&self) -> bool {
        match &self.tls {
            None => false,
            #[cfg(feature = "tls")]
            Some(tls) => tls.wants_write(),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    pub(super) fn try_flush(&self) -> io::Result<()> {
        match &self.tls {
            None => Ok(()),
            #[cfg(feature = "tls")]
            Some(tls) => tls.flush(&self.half),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    /// Whether nothing can be written before something is read, whatever the socket says.
    pub(super) fn waits_for_peer(&self) -> bool {
        match &self.tls {
            None => false,
            #[cfg(feature = "tls")]
            Some(tls) => tls.waits_for_peer(),
            #[cfg(not(feature = "tls"))]
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
            #[cfg(feature = "tls")]
            Some(tls) => tls.finish(&self.half),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }

    /// Ends the connection in both directions, whoever still holds a handle of it.
    pub(super) fn shut_down(&self) {
        // A peer that is gone already is what we want.
        let _ = rustix::net::shutdown(&self.half.raw, rustix::net::Shutdown::Both);
    }
}

#[cfg(feature = "tls")]
mod tls {
    //! rustls between the frames and the socket. It has no I/O of its own, so it fits in as it is.

    use std::io::{self, IoSlice, Read, Write};

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
        pub(super) fn read_plain(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
            let mut connection = self.0.lock();
            match connection.reader().read(buffer) {
                Ok(count) => Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            }
        }

        /// Takes bytes off the ciphertext, and says how many.
        pub(super) fn receive(&self, ciphertext: &[u8]) -> io::Result<usize> {
            let mut connection = self.0.lock();
            let mut rest = ciphertext;
            let taken = connection.read_tls(&mut rest)?;
            if taken == 0 {
                return Err(io::Error::other("TLS takes nothing more"));
            }
            match connection.process_new_packets() {
                Ok(_) => Ok(taken),
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
