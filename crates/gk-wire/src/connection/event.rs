//! Events of a connection, and the tokens in them.

use std::fmt;

use super::RpcError;
use super::limits::Usage;
use crate::gob::Message;
use crate::rpc::{RequestHeader, ServiceMethod};

/// Types that an application attaches to calls and streams, and gets back in [`Event`]s. Tokens
/// spare the application maps of its own. Each tuple `(Call, Service, Waiter, Task)` implements the
/// trait.
pub trait Tokens {
    /// Belongs to a call of ours; comes back with the reply.
    type Call;
    /// Answers calls; each call of the peer brings a clone.
    type Service: Clone;
    /// Waits for a stream: one that is dialled, accepted, or opened by the host.
    type Waiter;
    /// Waits until a stream can be read or written.
    type Task;
}

impl<Call, Service: Clone, Waiter, Task> Tokens for (Call, Service, Waiter, Task) {
    type Call = Call;
    type Service = Service;
    type Waiter = Waiter;
    type Task = Task;
}

/// Tasks for the application, in order.
#[non_exhaustive]
pub enum Event<T: Tokens> {
    /// A call of ours has ended.
    Reply {
        /// The token of the call.
        call: T::Call,
        /// The reply's body, or why there is none.
        reply: Result<Message, RpcError>,
    },
    /// The peer calls. The call must be [answered](super::Connection::reply).
    Request {
        /// The service of the stream.
        service: T::Service,
        /// The call, with its method.
        call: IncomingCall,
        /// The argument.
        body: Message,
    },
    /// A stream for a waiter is open, to be read and written as bytes.
    Opened {
        /// The token of the waiter.
        waiter: T::Waiter,
        /// The stream, which is the application's to [release](super::Connection::release).
        stream: u32,
    },
    /// No stream will come for a waiter: the peer refused the dial, the id has another acceptor, or
    /// the connection has ended.
    Refused(T::Waiter),
    /// A stream may be read or written again.
    Ready(T::Task),
    /// A clone of a service is not needed any more: its stream has ended, or its id has another
    /// acceptor, or the connection has ended.
    Released(T::Service),
}

/// A call of the peer, to be [answered](super::Connection::reply).
#[derive(Debug)]
#[must_use = "the caller waits for a reply"]
pub struct IncomingCall {
    pub(super) stream: u32,
    pub(super) header: RequestHeader,
    pub(super) usage: Usage,
}

impl IncomingCall {
    /// The method that is called.
    #[must_use]
    pub fn method(&self) -> &ServiceMethod {
        &self.header.service_method
    }
}

impl<T: Tokens> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Reply { reply, .. } => f.debug_struct("Reply").field("reply", reply).finish(),
            Event::Request { call, body, .. } => f
                .debug_struct("Request")
                .field("call", call)
                .field("body", body)
                .finish(),
            Event::Opened { stream, .. } => {
                f.debug_struct("Opened").field("stream", stream).finish()
            }
            Event::Refused(_) => f.write_str("Refused"),
            Event::Ready(_) => f.write_str("Ready"),
            Event::Released(_) => f.write_str("Released"),
        }
    }
}
