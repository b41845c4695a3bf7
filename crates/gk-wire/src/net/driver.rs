//! The task that reads a connection.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::time::Sleep;

use super::linger::Linger;
use super::transport::{Reader, Target};
use super::{Handles, Shared};
use crate::connection::{Event, Input, MessageRead};

/// The reason of a connection that ended in order.
pub(super) const PEER_CLOSED: &str = "the peer closed the connection";

/// Reads per turn, before other tasks have theirs.
const READS_PER_TURN: usize = 16;

/// Bytes asked of the socket at once. Larger payloads are read straight into their message.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// The read buffer of this thread's connections, used by one at a time. Most of many
    /// connections are idle, so a buffer for each would be wasted.
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Reads that the driver tries for the rest of a frame before it sleeps.
const LOOKS_FOR_PAYLOAD: usize = 16;

pub(super) struct Driver {
    shared: Arc<Shared>,
    reader: Reader,
    timer: Pin<Box<Sleep>>,
    /// The events of the last input, worked off once the lock is free.
    events: VecDeque<Event<Handles>>,
    /// The large message that the next bytes belong to.
    message: Option<MessageRead>,
    /// `true` if the last input ended inside a frame.
    inside_frame: bool,
    linger: Linger,
}

impl Driver {
    pub(super) fn new(shared: &Arc<Shared>, reader: Reader) -> Self {
        Driver {
            shared: Arc::clone(shared),
            reader,
            timer: Box::pin(tokio::time::sleep_until(Instant::now().into())),
            events: VecDeque::new(),
            message: None,
            inside_frame: false,
            linger: Linger::default(),
        }
    }

    /// Sends what is queued. `false` when the connection is over.
    fn poll_write(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.corked = false;
        if state.connection.closed().is_some() {
            drop(state);
            self.shared.write_last();
            return false;
        }
        if !state
            .driver
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            state.driver = Some(cx.waker().clone());
        }
        loop {
            if state.stalled {
                drop(state);
                // Reading must go on first, and leads back here.
                if self.shared.writer.waits_for_peer() {
                    return true;
                }
                match self.shared.writer.poll_write_ready(cx) {
                    Poll::Pending => return true,
                    Poll::Ready(Ok(())) => {}
                    // No descriptor is left, most likely: without one there is nothing to wait
                    // with.
                    Poll::Ready(Err(error)) => {
                        self.shared
                            .close(&format!("waiting for the socket failed: {error}"));
                        return false;
                    }
                }
                state = self.shared.lock();
                state.stalled = false;
            }
            self.shared.flush(state);
            state = self.shared.lock();
            if !state.stalled {
                return state.connection.closed().is_none();
            }
        }
    }

    /// Reads once and takes apart what came; gives how many tasks that woke, which are likely to
    /// send.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, String>> {
        let buffer = BUFFER.try_with(Cell::take).ok().flatten();
        let mut buffer = buffer.unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
        let read = self.poll_read_with(cx, &mut buffer);
        let _ = BUFFER.try_with(|place| place.set(Some(buffer)));
        self.work_off();
        read
    }

    fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, String>> {
        let mut read = self.reader.poll_read(cx, target(&mut self.message, buffer));
        if read.is_pending() && self.inside_frame {
            // Go writes a frame's header and its payload one after the other: the rest is most
            // likely on its way, and sleeping until it is here costs more than looking again.
            for _ in 0..LOOKS_FOR_PAYLOAD {
                match self.reader.read_now(target(&mut self.message, buffer)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::hint::spin_loop()
                    }
                    other => {
                        read = Poll::Ready(other);
                        break;
                    }
                }
            }
        }
        let count = match std::task::ready!(read) {
            Ok(0) => return Poll::Ready(Err(PEER_CLOSED.to_owned())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Poll::Ready(Err(PEER_CLOSED.to_owned()));
            }
            Err(error) => {
                return Poll::Ready(Err(format!("reading from the peer failed: {error}")));
            }
        };
        let input = match self.message.take() {
            Some(message) => Input::Message(message),
            None => Input::Bytes(Bytes::copy_from_slice(
                buffer.get(..count).unwrap_or_default(),
            )),
        };
        let now = Instant::now();
        let mut state = self.shared.lock();
        let handled = state.connection.handle_input(now, input);
        self.inside_frame = state.connection.is_inside_frame();
        if self.inside_frame && !self.reader.is_encrypted() {
            self.message = state.connection.begin_message_read();
        }
        std::mem::swap(&mut self.events, state.connection.events());
        let woken = self.events.len();
        state.corked = woken > 1;
        if !state.corked {
            self.shared.flush(state);
        } else {
            drop(state);
        }
        Poll::Ready(handled.map(|()| woken).map_err(|error| error.to_string()))
    }

    /// Works the events off that were taken out of the connection.
    fn work_off(&mut self) {
        for event in self.events.drain(..) {
            self.shared.work_off(event);
        }
    }

    /// Looks after deadlines, and after events that are due to what handles have done.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        loop {
            let next = {
                let mut state = self.shared.lock();
                std::mem::swap(&mut self.events, state.connection.events());
                state.connection.poll_timeout()
            };
            self.work_off();
            // The connection is closed: the task that closed it has woken this one.
            let Some(next) = next else {
                return Ok(());
            };
            if self.timer.deadline() != next.into() {
                self.timer.as_mut().reset(next.into());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let mut state = self.shared.lock();
            let handled = state.connection.handle_timeout(Instant::now());
            std::mem::swap(&mut self.events, state.connection.events());
            self.shared.flush(state);
            self.work_off();
            handled.map_err(|error| error.to_string())?;
        }
    }
}

/// The place for the next bytes of the socket.
fn target<'a>(message: &'a mut Option<MessageRead>, buffer: &'a mut [u8]) -> Target<'a> {
    match message {
        Some(message) => {
            let (message, room) = message.buffer();
            Target::Message(message, room)
        }
        None => Target::Buffer(buffer),
    }
}

impl Driver {
    /// Writes, reads and looks after deadlines once. An error ends the connection.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        if !self.poll_write(cx) {
            return Poll::Ready(Ok(()));
        }
        let (mut idle, mut came) = (false, false);
        for _ in 0..READS_PER_TURN {
            match self.poll_read(cx) {
                Poll::Pending => {
                    idle = true;
                    break;
                }
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(1)) => came = true,
                // The tasks that were woken run before this one does again, and what they send goes
                // out together.
                Poll::Ready(Ok(_)) => {
                    came = true;
                    break;
                }
                Poll::Ready(Err(reason)) => return Poll::Ready(Err(reason)),
            }
        }
        if let Err(reason) = self.poll_rest(cx) {
            return Poll::Ready(Err(reason));
        }
        // TLS may have to answer what was read, or may now let through what waits.
        if self.reader.is_encrypted() && !self.poll_write(cx) {
            return Poll::Ready(Ok(()));
        }
        let now = Instant::now();
        if came {
            self.linger.came(now);
        }
        let (was_awake, awake) = (self.reader.is_awake(), self.linger.stays(now));
        if was_awake != awake {
            self.reader.set_awake(awake);
        }
        // A socket that goes back into the reactor must be read once more: data that came before
        // its registration wakes no task.
        if !idle || awake || was_awake {
            // `yield_now` runs this task again after all ready tasks and one poll of the reactor.
            // Waking the task's own waker would unpark another worker thread.
            let again = std::pin::pin!(tokio::task::yield_now());
            let yielded = again.poll(cx);
            debug_assert!(yielded.is_pending());
        }
        Poll::Pending
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let over = std::task::ready!(self.turn(cx));
        if let Err(reason) = over {
            self.shared.close(&reason);
            self.shared.write_last();
        }
        self.shared.writer.shut_down();
        Poll::Ready(())
    }
}

impl Drop for Driver {
    /// Closes the connection whatever ends the task, a runtime that shuts down included: without
    /// its driver a connection would leave its callers waiting.
    fn drop(&mut self) {
        self.shared.close("the connection's task has ended");
        self.shared.writer.shut_down();
    }
}
