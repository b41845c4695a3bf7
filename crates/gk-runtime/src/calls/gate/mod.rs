//! Admission: counts the calls inside a plugin, and decides which waiting one may enter next.
//!
//! A call enters by one atomic operation while there is room. The [queue](super::queue) and its
//! lock are used only if there is none, or if other calls wait already.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::queue::Queue;

/// Counts the calls inside, makes further ones wait and, once closed, refuses all.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Number of calls inside, [`WAITING`], and [`CLOSED`].
    state: AtomicUsize,
    line: Mutex<Line>,
    empty: Notify,
}

/// Set while calls wait, so that new calls do not overtake them, and a call that leaves lets the
/// next one in. Changed only under the lock of the line.
const WAITING: usize = 1 << (usize::BITS - 2);
const CLOSED: usize = 1 << (usize::BITS - 1);
const INSIDE: usize = WAITING - 1;

/// The calls that wait.
#[derive(Debug)]
struct Line {
    queue: Queue<oneshot::Sender<()>>,
    /// Maximum number of calls inside, as of the newest waiting call.
    limit: usize,
}

/// Maximum number of calls inside, and of waiting calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) inside: usize,
    pub(crate) waiting: usize,
}

/// Reason why the gate refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Closed,
    Full,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicUsize::new(0),
            line: Mutex::new(Line {
                queue: Queue::new(),
                limit: 0,
            }),
            empty: Notify::new(),
        }
    }

    /// Lets a call in, if the gate is open, fewer than `limit` are inside, and no call waits.
    pub(super) fn enter(&self, limit: usize) -> Result<Inside<'_>, Refusal> {
        self.take_place(CLOSED | WAITING, limit)?;
        Ok(Inside(self))
    }

    /// Lets a call in ahead of those that wait, if the gate is open and fewer than `limit` are
    /// inside.
    pub(super) fn pass(&self, limit: usize) -> Result<Inside<'_>, Refusal> {
        self.take_place(CLOSED, limit)?;
        Ok(Inside(self))
    }

    /// Counts one more call inside, unless one of `bars` is set or there are `limit`.
    fn take_place(&self, bars: usize, limit: usize) -> Result<(), Refusal> {
        let entered = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & bars == 0 && state & INSIDE < limit).then_some(state + 1)
            });
        match entered {
            Ok(_) => Ok(()),
            Err(state) if state & CLOSED != 0 => Err(Refusal::Closed),
            Err(_) => Err(Refusal::Full),
        }
    }

    /// Adds a waiting call, if the gate is open and fewer than `limits.waiting` wait. The call may
    /// be let in at once.
    pub(super) fn wait(&self, limits: Limits, now: Instant) -> Result<Waiting<'_>, Refusal> {
        let mut line = self.line.lock();
        line.limit = limits.inside;
        // The limit may be higher than before.
        self.let_in(&mut line, now);
        if self.is_closed() {
            return Err(Refusal::Closed);
        }
        if line.queue.len() >= limits.waiting {
            return Err(Refusal::Full);
        }
        let (let_in, turn) = oneshot::channel();
        let number = line.queue.push(now, let_in);
        // Set before the check for room, so that a call that leaves later sees the flag.
        self.state.fetch_or(WAITING, Ordering::AcqRel);
        self.let_in(&mut line, now);
        Ok(Waiting {
            gate: self,
            number,
            turn: Some(turn),
        })
    }

    /// Lets in as many waiting calls as there is room for.
    fn let_in(&self, line: &mut Line, now: Instant) {
        while !line.queue.is_empty() {
            if self.take_place(CLOSED, line.limit).is_err() {
                return;
            }
            // The place belongs to the popped call, unless that has given up meanwhile.
            let mut turns = std::iter::from_fn(|| line.queue.pop(now));
            if !turns.any(|turn| turn.send(()).is_ok()) {
                // No waiting call is left, so dropping the place must not let another one in.
                self.state.fetch_and(!WAITING, Ordering::AcqRel);
                drop(Inside(self));
            }
        }
        self.state.fetch_and(!WAITING, Ordering::AcqRel);
    }

    /// Reacts to a call that has left; `before` is the state before that.
    fn left(&self, before: usize) {
        if before & WAITING != 0 {
            self.let_in(&mut self.line.lock(), Instant::now());
        }
        if before & !WAITING == CLOSED | 1 {
            self.empty.notify_waiters();
        }
    }

    /// Closes the gate. Waiting calls fail with [`Refusal::Closed`].
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        self.send_away();
        // A task in [`Self::drained`] would otherwise miss that the gate is empty already.
        self.empty.notify_waiters();
    }

    /// Fails all waiting calls.
    fn send_away(&self) {
        let mut line = self.line.lock();
        line.queue.drain().for_each(drop);
        self.state.fetch_and(!WAITING, Ordering::AcqRel);
    }

    /// Returns true if the gate is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Resolves when the gate is closed and no call is inside.
    pub(crate) async fn drained(&self) {
        loop {
            let empty = self.empty.notified();
            if self.state.load(Ordering::Acquire) & !WAITING == CLOSED {
                return;
            }
            empty.await;
        }
    }

    /// Returns the number of calls inside.
    pub(crate) fn inside(&self) -> usize {
        self.state.load(Ordering::Acquire) & INSIDE
    }

    /// Returns the number of waiting calls.
    pub(crate) fn waiting(&self) -> usize {
        self.line.lock().queue.len()
    }
}

/// A call inside, until dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(1, Ordering::AcqRel);
        self.0.left(before);
    }
}

/// A waiting call. Dropping it gives up its place: in the queue, or inside if the call was let in
/// meanwhile.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    gate: &'a Gate,
    number: u64,
    turn: Option<oneshot::Receiver<()>>,
}

impl<'a> Waiting<'a> {
    /// Resolves when the call may enter.
    ///
    /// # Errors
    /// The gate has closed.
    pub(super) async fn inside(mut self) -> Result<Inside<'a>, Refusal> {
        let has_entered = match &mut self.turn {
            Some(turn) => turn.await.is_ok(),
            None => false,
        };
        self.turn = None;
        match has_entered {
            true => Ok(Inside(self.gate)),
            false => Err(Refusal::Closed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else {
            return;
        };
        turn.close();
        if turn.try_recv().is_ok() {
            drop(Inside(self.gate));
            return;
        }
        let mut line = self.gate.line.lock();
        line.queue.remove(self.number);
        if line.queue.is_empty() {
            self.gate.state.fetch_and(!WAITING, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests;
