//! The tokio adapter of [`connection`](crate::connection): sockets, TLS, locks and wake-ups.
//!
//! A driver task per connection reads the socket, hands the bytes to the connection, and handles
//! its events. A task that sends locks the connection while it encodes and, if no other task is
//! writing, writes the frames to the socket itself. So a call takes no task switch on its way out,
//! and one wake-up on its way back.

mod broker;
mod client;
mod driver;
mod linger;
mod service;
mod stream;
mod transport;
mod write;

pub mod host;
pub mod plugin;

use std::sync::Arc;
use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

pub use broker::Broker;
pub use client::RpcClient;
pub use service::{Request, Responder, Service};
pub use stream::Stream;
pub use transport::Socket;

use crate::connection::{Connection, ConnectionError, Event, RpcError, Tokens};
use crate::gob::Message;
use crate::yamux::Batch;
use transport::Writer;

/// The adapter's tokens for calls and streams.
enum Handles {}

impl Tokens for Handles {
    type Call = oneshot::Sender<Result<Message, RpcError>>;
    type Service = Arc<dyn Service>;
    type Waiter = oneshot::Sender<Stream>;
    type Task = Waker;
}

/// State that the driver of a connection and its handles share.
struct Shared {
    state: Mutex<State>,
    writer: Writer,
}

struct State {
    connection: Connection<Handles>,
    /// Set while the driver lets the tasks run that it woke: their frames are queued, and the
    /// driver writes all of them at once. The term is TCP's, whose option TCP_CORK does the same.
    corked: bool,
    /// A batch that the socket has not taken whole.
    blocked: Option<Batch>,
    /// Set while the socket takes nothing more; the driver waits until it does.
    stalled: bool,
    /// Set when the peer takes nothing any more, for good.
    reads_closed: bool,
    driver: Option<Waker>,
    /// Tasks that wait for the end of the connection.
    closing: Vec<oneshot::Sender<()>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn new(connection: Connection<Handles>, writer: Writer) -> Arc<Self> {
        let state = State {
            connection,
            corked: false,
            blocked: None,
            stalled: false,
            reads_closed: false,
            driver: None,
            closing: Vec::new(),
        };
        Arc::new(Shared {
            state: Mutex::new(state),
            writer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Completes an operation of a handle: writes, or has the driver do so, and sees to it that
    /// events are handled. The driver handles them, in their order, as long as there is one.
    fn settle(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        outcome: Result<(), ConnectionError>,
    ) {
        if let Err(error) = outcome {
            return self.close_locked(state, &error.to_string());
        }
        if state.connection.closed().is_some() {
            let events = std::mem::take(state.connection.events());
            drop(state);
            events.into_iter().for_each(|event| self.work_off(event));
            return;
        }
        if !state.connection.events().is_empty() {
            state.wake_driver();
        }
        self.flush_soon(state);
    }

    /// Ends the connection and tells every waiting task why. The first reason counts.
    fn close(self: &Arc<Self>, reason: &str) {
        self.close_locked(self.lock(), reason);
    }

    fn close_locked(self: &Arc<Self>, mut state: MutexGuard<'_, State>, reason: &str) {
        if !state.connection.close(reason) {
            return;
        }
        let events = std::mem::take(state.connection.events());
        let closing = std::mem::take(&mut state.closing);
        let driver = state.driver.take();
        drop(state);
        events.into_iter().for_each(|event| self.work_off(event));
        for waiter in closing {
            let _ = waiter.send(());
        }
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Why the connection is closed, if it is.
    fn closed_reason(&self) -> Option<Arc<str>> {
        self.lock().connection.closed().cloned()
    }

    /// Handles an event. The lock must be free: a waker that is called or a service that is dropped
    /// here may take it.
    fn work_off(self: &Arc<Self>, event: Event<Handles>) {
        match event {
            // Sending fails if the receiver has given up.
            Event::Reply { call, reply } => _ = call.send(reply),
            Event::Opened { waiter, stream } => _ = waiter.send(Stream::new(self, stream)),
            Event::Request {
                service,
                call,
                body,
            } => service::serve(&service, Responder::new(self, call), body),
            Event::Ready(task) => task.wake(),
            Event::Refused(waiter) => drop(waiter),
            Event::Released(service) => drop(service),
        }
    }
}

impl State {
    /// Has the driver look at events and deadlines that others have set.
    fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}
