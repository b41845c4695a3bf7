//! rustls between the frames and the socket. rustls does no I/O itself, so no adapter is needed.

use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use super::{Target, plain};

/// Room for a TLS record: 16 KiB, and its header and tag.
const RECORD_BYTES: usize = 17 * 1024;

/// Plaintext that is taken before the socket has taken its ciphertext.
const BUFFERED_BYTES: usize = 256 * 1024;

/// Puts TLS between a socket and its user.
pub(super) fn wrap(
    reader: plain::Reader,
    writer: plain::Writer,
    mut connection: rustls::Connection,
) -> (Reader, Writer) {
    connection.set_buffer_limit(Some(BUFFERED_BYTES));
    let tls = Arc::new(Mutex::new(connection));
    let reader = Reader {
        socket: reader,
        tls: Arc::clone(&tls),
        buffer: vec![0; RECORD_BYTES].into_boxed_slice(),
        rest: 0..0,
    };
    let socket = writer;
    (reader, Writer { socket, tls })
}

/// The reading end.
pub(in crate::net) struct Reader {
    socket: plain::Reader,
    tls: Arc<Mutex<rustls::Connection>>,
    /// Ciphertext on its way into TLS.
    buffer: Box<[u8]>,
    /// The part of the buffer that TLS has not taken yet.
    rest: Range<usize>,
}

impl Reader {
    pub(super) fn socket(&mut self) -> &mut plain::Reader {
        &mut self.socket
    }

    /// Reads plaintext once; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.lock().reader().read(target) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            if self.rest.is_empty() {
                let buffer = Target::Buffer(&mut self.buffer);
                match std::task::ready!(self.socket.poll_read(cx, buffer))? {
                    0 => return Poll::Ready(Ok(0)),
                    count => self.rest = 0..count,
                }
            }
            self.rest.start += self.decrypt()?;
        }
    }

    /// Hands ciphertext to TLS, and says how many bytes were taken.
    fn decrypt(&self) -> io::Result<usize> {
        let mut ciphertext = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let mut connection = self.tls.lock();
        let taken = connection.read_tls(&mut ciphertext)?;
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
}

/// The writing end.
pub(in crate::net) struct Writer {
    socket: plain::Writer,
    tls: Arc<Mutex<rustls::Connection>>,
}

/// The socket as rustls wants it.
struct Ciphertext<'a>(&'a plain::Writer);

impl Write for Ciphertext<'_> {
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

impl Writer {
    pub(super) fn socket(&self) -> &plain::Writer {
        &self.socket
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.tls.lock().wants_write()
    }

    pub(super) fn try_flush(&self) -> io::Result<()> {
        let mut connection = self.tls.lock();
        while connection.wants_write() {
            connection.write_tls(&mut Ciphertext(&self.socket))?;
        }
        Ok(())
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut connection = self.tls.lock();
        loop {
            let written = connection.writer().write_vectored(slices)?;
            let waits_for_peer = !connection.wants_write();
            while connection.wants_write() {
                match connection.write_tls(&mut Ciphertext(&self.socket)) {
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
            // Plaintext is not taken during the handshake, which needs the peer, or when the buffer
            // was full, which now has room.
            if waits_for_peer {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Returns `true` if nothing can be sent before the peer has done its part of the handshake.
    pub(super) fn waits_for_peer(&self) -> bool {
        let connection = self.tls.lock();
        connection.is_handshaking() && !connection.wants_write()
    }

    /// Says that nothing more comes, as far as the socket takes it.
    pub(super) fn finish(&self) {
        self.tls.lock().send_close_notify();
        // A peer that takes nothing more learns of the end by the socket's own.
        let _ = self.try_flush();
    }
}
