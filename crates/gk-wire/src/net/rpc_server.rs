//! Being called by the peer.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::state::{Shared, State};
use crate::gob::Message;
use crate::rpc::{RequestHeader, ServiceMethod};

/// Go's `struct{}`: the body of an error reply, and of replies that say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename = "")]
pub struct Empty {}

/// A call of the peer.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is called.
    pub method: ServiceMethod,
    /// The argument.
    pub body: Message,
}

/// Answers the calls on a stream.
pub trait Service: Send + Sync + 'static {
    /// Takes a call. Runs on the connection's driver, ahead of the calls that follow, so it must not
    /// block or take long: work of any length belongs into a task that owns the [`Responder`].
    fn call(&self, request: Request, responder: Responder);
}

/// The way back to one caller. Dropped without a reply, it sends an error.
#[must_use = "the caller waits for a reply"]
pub struct Responder {
    shared: Option<Arc<Shared>>,
    stream: u32,
    header: RequestHeader,
    /// What the call takes of the connection's limits.
    share: Share,
}

/// What a running call takes of the connection's limits, until it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

impl Share {
    /// Whether the connection, with this share in it, keeps its limits.
    pub(super) fn fits(self, state: &State, limits: &super::Limits) -> bool {
        self.requests == 0
            || (state.requests <= limits.max_requests && state.held_bytes <= limits.max_held_bytes)
    }

    fn release(self, state: &mut State) {
        state.requests = state.requests.saturating_sub(self.requests);
        state.held_bytes = state.held_bytes.saturating_sub(self.bytes);
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Responder {
    pub(super) fn new(
        shared: &Arc<Shared>,
        stream: u32,
        header: RequestHeader,
        share: Share,
    ) -> Self {
        Responder {
            shared: Some(Arc::clone(shared)),
            stream,
            header,
            share,
        }
    }

    /// What was called.
    #[must_use]
    pub fn method(&self) -> &ServiceMethod {
        &self.header.service_method
    }

    /// Replies. A value that has no form in gob becomes an error reply.
    pub fn reply<T: Serialize + DeserializeOwned + 'static>(mut self, value: &T) {
        self.send("", value);
    }

    /// Replies with an error of the RPC layer.
    pub fn error(mut self, text: &str) {
        self.send(
            if text.is_empty() {
                "unknown error"
            } else {
                text
            },
            &Empty {},
        );
    }

    /// Replies that there is no such method, in Go's words.
    pub fn unknown_method(self) {
        let text = format!("rpc: can't find method {}", self.method());
        self.error(&text);
    }

    /// Replies that there is no such service, or that the name is not `Service.Method`, in Go's words.
    pub fn unknown_service(self) {
        let text = match self.method().as_str().contains('.') {
            true => format!("rpc: can't find service {}", self.method()),
            false => format!("rpc: service/method request ill-formed: {}", self.method()),
        };
        self.error(&text);
    }

    fn send<T: Serialize + DeserializeOwned + 'static>(&mut self, error: &str, value: &T) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let _whole = CloseOnPanic::new(&shared);
        let mut state = shared.lock();
        self.share.release(&mut state);
        if state.closed.is_some() {
            return;
        }
        if !state.session.has_room() {
            let queued = state.session.queued_bytes();
            return shared.close_locked(
                state,
                &format!("{queued} bytes of replies wait; the peer does not read"),
            );
        }
        let (method, seq) = (&self.header.service_method, self.header.seq);
        if let Err(encoding) = state.send_reply(self.stream, method, seq, error, value) {
            tracing::error!(%method, error = %encoding, "a reply cannot be encoded");
            let text = format!("rpc: gob error encoding body: {encoding}");
            let sent = state.send_reply(self.stream, method, seq, &text, &Empty {});
            debug_assert!(sent.is_ok());
        }
        shared.flush_soon(state);
    }

    /// Replies with an error while the state is locked; it is sent with the next flush.
    pub(super) fn error_locked(mut self, state: &mut State, text: &str) {
        self.shared = None;
        self.share.release(state);
        let sent = state.send_reply(
            self.stream,
            &self.header.service_method,
            self.header.seq,
            text,
            &Empty {},
        );
        debug_assert!(sent.is_ok());
    }
}

/// Ends the connection if a `Serialize` panics: what it had begun to say cannot be taken back. Goes into
/// place before the lock is taken, so that it runs after the lock is released.
pub(super) struct CloseOnPanic<'a> {
    shared: &'a Shared,
    /// A panic that was there before is somebody else's.
    before: bool,
}

impl<'a> CloseOnPanic<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        CloseOnPanic {
            shared,
            before: std::thread::panicking(),
        }
    }
}

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.before {
            self.shared.close("encoding a message panicked");
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.shared.is_some() {
            self.send("rpc: the handler gave no reply", &Empty {});
        }
    }
}
