//! A socket without TLS, in the reactor for reading alone.

use std::io::{self, IoSlice, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Socket, Target};

/// The socket itself, nonblocking.
///
/// tokio's own streams ask for readiness to read and to write. A Unix socket becomes "writable"
/// anew each time the peer takes something out of it, so every call would wake the driver once for
/// nothing. Here the driver is told of reading alone, and of writing only while something waits to
/// be written.
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

/// The two ends of a socket.
pub(super) fn split(socket: Socket) -> (Reader, Writer) {
    // Taking a socket out of tokio's reactor fails only if the socket never was in there.
    let raw = Arc::new(match socket {
        Socket::Unix(socket) => Raw::Unix(socket.into_std().expect("a registered socket")),
        Socket::Tcp(socket) => {
            // Small frames must not wait for each other; a socket that refuses still works.
            let _ = socket.set_nodelay(true);
            Raw::Tcp(socket.into_std().expect("a registered socket"))
        }
    });
    let reader = Reader {
        raw: Arc::clone(&raw),
        registered: None,
        awake: false,
    };
    let writable = Mutex::new(None);
    (reader, Writer { raw, writable })
}

/// The reading end, in the reactor or out of it.
pub(in crate::net) struct Reader {
    raw: Arc<Raw>,
    registered: Option<AsyncFd<Arc<Raw>>>,
    awake: bool,
}

impl Reader {
    pub(super) fn set_awake(&mut self, awake: bool) {
        if awake {
            self.registered = None;
        }
        self.awake = awake;
    }

    pub(super) fn is_awake(&self) -> bool {
        self.awake
    }

    pub(super) fn read_now(&mut self, target: Target<'_>) -> io::Result<usize> {
        match target {
            Target::Buffer(buffer) => read_buffer(&self.raw, buffer),
            Target::Message(message, room) => read_message(&self.raw, message, room),
        }
        .map(|(count, _)| count)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: Target<'_>,
    ) -> Poll<io::Result<usize>> {
        match target {
            Target::Buffer(buffer) => self.poll_read_by(cx, |raw| read_buffer(raw, buffer)),
            Target::Message(message, room) => {
                self.poll_read_by(cx, |raw| read_message(raw, message, room))
            }
        }
    }

    /// Reads once. Out of the reactor no task is woken when there is no data.
    fn poll_read_by(
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

/// Reads once, and says whether that has emptied the socket.
fn read_buffer(mut raw: &Raw, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
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

/// The writing end.
pub(in crate::net) struct Writer {
    raw: Arc<Raw>,
    /// A second descriptor of the socket, registered while something waits to be written.
    writable: Mutex<Option<AsyncFd<OwnedFd>>>,
}

impl Writer {
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    pub(super) fn shut_down(&self) {
        // An error says that the peer is gone already.
        let _ = rustix::net::shutdown(&self.raw, rustix::net::Shutdown::Both);
    }
}
