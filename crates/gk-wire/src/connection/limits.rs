//! Limits of a connection, and their use.

use std::time::Duration;

use crate::gob;
use crate::memory::MemoryBudget;
use crate::yamux;

/// Limits of a connection: what a peer can make this process hold and do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Limits of messages and their contents.
    pub gob: gob::Limits,
    /// Limits of streams, queues and keep-alive.
    pub yamux: yamux::Limits,
    /// Calls of the peer that run at once, all streams together; 4096 by default. More are answered
    /// with an error. Calls on the control stream are answered all the same.
    pub max_requests: usize,
    /// Bytes of the peer that are held at once, all streams together; 256 MiB by default.
    /// Incomplete messages and the arguments of running calls count. A call beyond the limit is
    /// answered with an error; unfinished messages beyond it end the connection.
    pub max_held_bytes: usize,
    /// A budget that this connection shares with others; none by default. Messages of more than 16
    /// KiB count in it, from their first byte until the last clone of their bytes is dropped. A
    /// call or reply for which the budget has no room is read, thrown away, and fails; the
    /// connection goes on.
    pub memory: Option<MemoryBudget>,
    /// Calls of ours on one stream without a reply; 65,536 by default. Calls whose caller has given
    /// up count until their late reply comes.
    pub max_calls: usize,
    /// Time for a brokered stream of the peer to send its id, and again for the id to be accepted;
    /// 5 s each by default, as in Go.
    pub broker_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            gob: gob::Limits::default(),
            yamux: yamux::Limits::default(),
            max_requests: 4096,
            max_held_bytes: 256 << 20,
            memory: None,
            max_calls: 65_536,
            broker_timeout: Duration::from_secs(5),
        }
    }
}

/// The share of the limits that running calls take, all of them or a single one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Calls that run.
    pub(super) requests: usize,
    /// Bytes of the peer that are held; see [`Limits::max_held_bytes`].
    pub(super) held_bytes: usize,
}

impl Usage {
    pub(super) fn fits(&self, limits: &Limits) -> bool {
        self.requests <= limits.max_requests && self.held_bytes <= limits.max_held_bytes
    }

    pub(super) fn add(&mut self, other: Usage) {
        self.requests += other.requests;
        self.held_bytes += other.held_bytes;
    }

    pub(super) fn subtract(&mut self, other: Usage) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.held_bytes = self.held_bytes.saturating_sub(other.held_bytes);
    }
}
