//! Why a call or a connection fails.

use std::sync::Arc;

use crate::gob;
use crate::yamux::SessionError;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The peer's RPC layer refused the call, or its method failed: the text of `Response.Error`.
    #[error("{0}")]
    Remote(String),
    /// The connection, or the stream of this client, is closed.
    #[error("the connection is closed: {0}")]
    Closed(Arc<str>),
    /// The peer does not read: this many bytes wait to be sent. Nothing of the call was sent.
    #[error("{0} bytes wait to be sent; the peer does not read")]
    QueueFull(usize),
    /// Too many calls on the stream, this many, have no reply yet. Nothing of the call was sent.
    #[error("{0} calls wait for the peer's reply")]
    TooManyCalls(usize),
    /// The reply was read and thrown away: [`Limits::memory`](super::Limits::memory) had no room
    /// for this many bytes. The connection goes on.
    #[error("the reply has {0} bytes, for which there is no memory at this moment")]
    NoMemory(usize),
    /// The argument has no form in gob. Nothing of the call was sent.
    #[error("the argument cannot be encoded")]
    Encode(#[source] gob::Error),
    /// The reply does not fit the type that was asked for. The connection goes on.
    #[error("the reply cannot be decoded")]
    Decode(#[source] gob::Error),
}

/// Why a connection cannot go on. [Close](super::Connection::close) it with the error's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer broke yamux's rules, or does not answer.
    #[error("yamux: {0}")]
    Session(SessionError),
    /// A stream's net/rpc messages cannot be read any further.
    #[error("gob on stream {stream}: {error}")]
    Gob {
        /// Id of the stream.
        stream: u32,
        /// Why.
        error: gob::Error,
    },
    /// Unfinished messages hold more than
    /// [`Limits::max_held_bytes`](super::Limits::max_held_bytes).
    #[error("the peer has begun more messages than {0} bytes can hold")]
    UnfinishedMessages(usize),
    /// A [`MessageRead`](super::MessageRead) was dropped, belongs to another connection, or came
    /// back shorter than it was or with more bytes than it has room for.
    #[error("the place of a large message did not come back as it has to")]
    MessageRead,
    /// A reply cannot be queued: this many bytes wait to be sent.
    #[error("{0} bytes of replies wait; the peer does not read")]
    UnreadReplies(usize),
}

impl From<SessionError> for ConnectionError {
    fn from(error: SessionError) -> Self {
        ConnectionError::Session(error)
    }
}

/// The stream is closed for writing, by either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is closed")]
pub struct StreamClosed;
