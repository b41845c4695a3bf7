//! The task that reads a connection.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::linger::Linger;
use super::recv::{Opening, Recv};
use super::state::{Effect, Shared};
use super::transport::Reader;

/// The reason of a connection that ended in order.
pub(super) const PEER_CLOSED: &str = "the peer closed the connection";

/// Reads per turn, before other tasks have theirs.
const READS_PER_TURN: usize = 16;

/// Bytes asked of the socket at once. Larger payloads are read straight into their message.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// Where this thread's connections are read into, one at a time: most of many connections are idle.
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// How often the driver looks for the rest of a frame before it sleeps.
const LOOKS_FOR_PAYLOAD: usize = 16;

pub(super) struct Driver {
    shared: Arc<Shared>,
    reader: Reader,
    recv: Recv,
    timer: Pin<Box<Sleep>>,
    effects: Vec<Effect>,
    linger: Linger,
}

impl Driver {
    pub(super) fn new(shared: &Arc<Shared>, reader: Reader, opening: Opening) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(Instant::now()));
        let recv = Recv::new(Arc::clone(shared), opening);
        Driver {
            shared: Arc::clone(shared),
            reader,
            recv,
            timer,
            effects: Vec::new(),
            linger: Linger::default(),
        }
    }

    /// Sends what is queued. `false` when the connection is over.
    fn poll_write(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.shared.lock();
        state.corked = false;
        if state.closed.is_some() {
            drop(state);
            self.shared.last_words();
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
                if self.shared.writer().waits_for_peer() {
                    return true;
                }
                match self.shared.writer().poll_write_ready(cx) {
                    Poll::Pending => return true,
                    Poll::Ready(Ok(())) => {}
                    // No descriptor is left, most likely: without one there is nothing to wait with.
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
                return state.closed.is_none();
            }
        }
    }

    /// Reads once and takes apart what came; gives how many tasks that woke, which are likely to send.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, String>> {
        let buffer = BUFFER.try_with(Cell::take).ok().flatten();
        let mut buffer = buffer.unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
        let read = self.poll_read_with(cx, &mut buffer);
        let _ = BUFFER.try_with(|place| place.set(Some(buffer)));
        self.effects.drain(..).for_each(Effect::run);
        read
    }

    fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, String>> {
        let direct = !self.reader.is_encrypted();
        let target = self.recv.target(direct, buffer);
        let mut read = self.reader.poll_read(cx, target);
        if read.is_pending() && self.recv.inside_frame() {
            // Go writes a frame's header and its payload one after the other: the rest is most likely on
            // its way, and sleeping until it is here costs more than looking again.
            for _ in 0..LOOKS_FOR_PAYLOAD {
                match self.reader.read_now(self.recv.target(direct, buffer)) {
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
        let mut state = self.shared.lock();
        let received = self
            .recv
            .received(count, buffer, &mut state, &mut self.effects);
        let woken = self.effects.len();
        state.corked = woken > 1;
        if !state.corked {
            self.shared.flush(state);
        } else {
            drop(state);
        }
        Poll::Ready(received.map(|()| woken).map_err(|error| error.to_string()))
    }

    /// Installs the receivers that others have switched, and looks after deadlines.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        loop {
            let next = {
                let mut state = self.shared.lock();
                if !state.switched.is_empty() {
                    let installed = self.recv.install_switched(&mut state, &mut self.effects);
                    self.shared.flush(state);
                    self.effects.drain(..).for_each(Effect::run);
                    installed.map_err(|error| error.to_string())?;
                    state = self.shared.lock();
                }
                Recv::next_deadline(&state)
            };
            if self.timer.deadline() != next.into() {
                self.timer.as_mut().reset(next.into());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let mut state = self.shared.lock();
            let expired = self.recv.expire(&mut state, &mut self.effects);
            self.shared.flush(state);
            self.effects.drain(..).for_each(Effect::run);
            expired.map_err(|error| error.to_string())?;
        }
    }
}

impl Driver {
    /// One turn; an error ends the connection.
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
                // The tasks that were woken run before this one does again, and what they send goes out
                // together.
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
        // What was read under TLS may have to be answered, or have opened the way for what waits.
        if self.reader.is_encrypted() && !self.poll_write(cx) {
            return Poll::Ready(Ok(()));
        }
        let now = std::time::Instant::now();
        if came {
            self.linger.came(now);
        }
        let (was_awake, awake) = (self.reader.is_awake(), self.linger.stays(now));
        if was_awake != awake {
            self.reader.set_awake(awake);
        }
        // After the last look out of the reactor there must be one more from within.
        if !idle || awake || was_awake {
            // Behind every task that is ready, and behind a look at the reactor; waking oneself would rouse
            // another thread to take the work over.
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
            self.shared.last_words();
        }
        self.shared.writer().shut_down();
        Poll::Ready(())
    }
}

impl Drop for Driver {
    /// Whatever ends the task, a runtime that shuts down too: nobody waits for a connection without one.
    fn drop(&mut self) {
        self.shared.close("the connection's task has ended");
        self.shared.writer().shut_down();
    }
}
