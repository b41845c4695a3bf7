//! Limits and timeouts of a session.

use std::time::Duration;

/// Limits and timeouts of a session. The defaults are Go's where Go has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams of the peer that are open at once; 1024 by default. More are reset.
    pub max_streams: usize,
    /// Bytes queued for sending, all streams together; 256 MiB by default. Nothing further is taken
    /// for sending while so much waits.
    pub max_queued_bytes: usize,
    /// Bytes of frames without payload (pongs, grants, refusals) that are queued at once; 1 MiB by
    /// default. A peer that makes us write more without reading ends the session.
    pub max_queued_control_bytes: usize,
    /// A ping is sent this often; 30 s by default.
    pub keepalive_interval: Duration,
    /// The session ends when a ping is not answered within this; 10 s by default.
    pub keepalive_timeout: Duration,
    /// The session ends when an opened stream is not acknowledged within this; 75 s by default.
    pub open_timeout: Duration,
    /// A stream that we closed and the peer did not is reset after this; 5 min by default.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_streams: 1024,
            max_queued_bytes: 256 << 20,
            max_queued_control_bytes: 1 << 20,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(75),
            close_timeout: Duration::from_secs(300),
        }
    }
}
