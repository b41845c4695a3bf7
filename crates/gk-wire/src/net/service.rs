//! Calls of the peer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Shared;
use crate::connection::IncomingCall;
use crate::gob::Message;
use crate::rpc::{Empty, ServiceMethod};

/// A call of the peer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method, `Service.Method`.
    pub method: ServiceMethod,
    /// The argument.
    pub body: Message,
}

/// Answers the calls on a stream.
pub trait Service: Send + Sync + 'static {
    /// Takes a call. It runs on the connection's driver, before the calls that follow, so it must
    /// not block or take long: spawn a task that owns the [`Responder`] for longer work.
    fn call(&self, request: Request, responder: Responder);
}

/// Hands a call to its service.
pub(super) fn serve(service: &Arc<dyn Service>, responder: Responder, body: Message) {
    let request = Request {
        method: responder.method().clone(),
        body,
    };
    // A panic must not take the connection along: the responder, dropped on the way, replies.
    let call = AssertUnwindSafe(|| service.call(request, responder));
    if catch_unwind(call).is_err() {
        tracing::error!("a service panicked in a call of the peer");
    }
}

/// Replies to a call. Dropped without a reply, it sends an error.
#[must_use = "the caller waits for a reply"]
pub struct Responder {
    shared: Arc<Shared>,
    /// `Some` until the reply, which consumes the responder.
    call: Option<IncomingCall>,
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl Responder {
    pub(super) fn new(shared: &Arc<Shared>, call: IncomingCall) -> Self {
        Responder {
            shared: Arc::clone(shared),
            call: Some(call),
        }
    }

    /// The method that was called.
    #[must_use]
    pub fn method(&self) -> &ServiceMethod {
        match &self.call {
            Some(call) => call.method(),
            None => unreachable!("a reply consumes the responder"),
        }
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

    /// Replies that there is no such service, or that the name is not `Service.Method`, in Go's
    /// words.
    pub fn unknown_service(self) {
        let text = match self.method().as_str().contains('.') {
            true => format!("rpc: can't find service {}", self.method()),
            false => format!("rpc: service/method request ill-formed: {}", self.method()),
        };
        self.error(&text);
    }

    fn send<T: Serialize + DeserializeOwned + 'static>(&mut self, error: &str, value: &T) {
        let Some(call) = self.call.take() else {
            return;
        };
        let _whole = CloseOnPanic::new(&self.shared);
        let mut state = self.shared.lock();
        match state.connection.reply(call, error, value) {
            Ok(()) => self.shared.flush_soon(state),
            Err(error) => self.shared.close_locked(state, &error.to_string()),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.send("rpc: the handler gave no reply", &Empty {});
    }
}

/// Ends the connection if a `Serialize` panics: a half-encoded message cannot be taken back. Create
/// it before the lock is taken, so that it is dropped after the lock is released.
pub(super) struct CloseOnPanic<'a> {
    shared: &'a Arc<Shared>,
    /// `true` if the thread was panicking before: that panic has another cause.
    before: bool,
}

impl<'a> CloseOnPanic<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
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
