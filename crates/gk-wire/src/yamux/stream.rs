//! The state of a stream: windows, data beyond them, and the sides that are closed.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::OutQueue;

/// A stream's window at its start.
pub(super) const INITIAL_WINDOW: u32 = 256 * 1024;

#[derive(Debug)]
pub(super) struct StreamState {
    /// Opened by the peer.
    pub(super) remote: bool,
    /// Bytes that we may still send.
    pub(super) send_window: u32,
    /// Bytes that the peer may still send.
    pub(super) recv_window: u32,
    /// Bytes taken from the peer and not granted again.
    pub(super) taken: u32,
    /// The time of the SYN, while its ACK is missing.
    pub(super) unacknowledged: Option<Instant>,
    pub(super) sent_fin: Option<Instant>,
    pub(super) got_fin: bool,
    /// Data beyond the send window.
    pub(super) pending: VecDeque<Bytes>,
    /// The time at which we closed the stream, while the FIN waits for pending data.
    pub(super) fin_after_pending: Option<Instant>,
}

impl StreamState {
    pub(super) fn new(remote: bool, unacknowledged: Option<Instant>) -> Self {
        StreamState {
            remote,
            send_window: INITIAL_WINDOW,
            recv_window: INITIAL_WINDOW,
            taken: 0,
            unacknowledged,
            sent_fin: None,
            got_fin: false,
            pending: VecDeque::new(),
            fin_after_pending: None,
        }
    }

    /// The time at which our side was closed, whether or not its FIN still waits for pending data.
    pub(super) fn closed_since(&self) -> Option<Instant> {
        self.sent_fin.or(self.fin_after_pending)
    }
}

/// Takes the pieces of one [`Session::send`](super::Session::send).
#[derive(Debug)]
pub(crate) struct StreamWriter<'a> {
    pub(super) out: &'a mut OutQueue,
    pub(super) pending: &'a mut VecDeque<Bytes>,
    pub(super) pending_bytes: &'a mut usize,
    pub(super) room: usize,
}

impl StreamWriter<'_> {
    pub(crate) fn small(&mut self, data: &[u8]) {
        let (now, later) = data.split_at(data.len().min(self.room));
        self.room -= now.len();
        self.out.small_data(now);
        if !later.is_empty() {
            self.later(Bytes::copy_from_slice(later));
        }
    }

    pub(crate) fn large(&mut self, mut data: Bytes) {
        let now = data.split_to(data.len().min(self.room));
        self.room -= now.len();
        self.out.large_data(now);
        if !data.is_empty() {
            self.later(data);
        }
    }

    fn later(&mut self, data: Bytes) {
        *self.pending_bytes += data.len();
        self.pending.push_back(data);
    }
}
