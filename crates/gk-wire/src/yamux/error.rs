//! Errors that end a session.

use std::time::Duration;

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer speaks another version of yamux, or no yamux.
    #[error("yamux version {0} (0 is known)")]
    Version(u8),
    /// An unknown frame type.
    #[error("unknown yamux frame type {0}")]
    Type(u8),
    /// The peer opened a stream twice.
    #[error("stream {0} was opened twice")]
    DuplicateStream(u32),
    /// The peer sent more than it was allowed.
    #[error("the peer overran the window of stream {0}")]
    WindowOverrun(u32),
    /// The peer granted more than 2³² bytes.
    #[error("the peer's grants for stream {0} overflow its window")]
    WindowOverflow(u32),
    /// The peer closed a stream twice.
    #[error("stream {0} was closed twice")]
    DuplicateFin(u32),
    /// The peer ended the session with a code: 1 is a protocol error, 2 an internal one.
    #[error("the peer ended the session with code {0}")]
    GoAway(u32),
    /// The peer did not answer a ping in time.
    #[error("the peer did not answer a ping within {0:?}")]
    KeepaliveTimeout(Duration),
    /// The peer did not acknowledge a stream in time.
    #[error("the peer did not accept stream {0} within {1:?}")]
    OpenTimeout(u32, Duration),
    /// The peer does not read what it is sent.
    #[error("{0} bytes wait to be sent and the peer does not read")]
    QueueFull(usize),
    /// All stream ids of this session are used.
    #[error("no stream ids are left")]
    Exhausted,
}
