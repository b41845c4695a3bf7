//! Admission: how many calls are inside a plugin, and which of those that wait may enter next.
//!
//! A call that finds room enters by one atomic operation. Only where there is none, or somebody waits already, the
//! [queue](super::queue) and its lock come in.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::queue::Queue;

/// Counts the calls inside, makes further ones wait and, once closed, lets no more in.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The number inside, [`WAITING`], and [`CLOSED`].
    state: AtomicUsize,
    line: Mutex<Line>,
    empty: Notify,
}

/// Set while calls wait, so that nobody overtakes them, and who leaves lets the next one in. Changes under the lock of the
/// line only.
const WAITING: usize = 1 << (usize::BITS - 2);
const CLOSED: usize = 1 << (usize::BITS - 1);
const INSIDE: usize = WAITING - 1;

/// The calls that wait.
#[derive(Debug)]
struct Line {
    queue: Queue<oneshot::Sender<()>>,
    /// How many may be inside, as the newest of them was told.
    limit: usize,
}

/// How many calls may be inside and wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) inside: usize,
    pub(crate) waiting: usize,
}

/// Why the gate let nobody in.
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

    /// Lets one in, if it is open, fewer than `limit` are inside, and nobody waits.
    pub(super) fn enter(&self, limit: usize) -> Result<Inside<'_>, Refusal> {
        self.take_place(CLOSED | WAITING, limit)?;
        Ok(Inside(self))
    }

    /// Lets one in ahead of those that wait, if it is open and fewer than `limit` are inside.
    pub(super) fn pass(&self, limit: usize) -> Result<Inside<'_>, Refusal> {
        self.take_place(CLOSED, limit)?;
        Ok(Inside(self))
    }

    /// Counts one more inside, unless one of `bars` is set or there are `limit`.
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

    /// Adds one to those that wait, if it is open and fewer than `limits.waiting` do. It may be let in at once.
    pub(super) fn wait(&self, limits: Limits, now: Instant) -> Result<Waiting<'_>, Refusal> {
        let mut line = self.line.lock();
        line.limit = limits.inside;
        // The limit may be higher than it was.
        self.let_in(&mut line, now);
        if self.is_closed() {
            return Err(Refusal::Closed);
        }
        if line.queue.len() >= limits.waiting {
            return Err(Refusal::Full);
        }
        let (let_in, turn) = oneshot::channel();
        let number = line.queue.push(now, let_in);
        // Ahead of the look at who is inside: who leaves later sees it.
        self.state.fetch_or(WAITING, Ordering::AcqRel);
        self.let_in(&mut line, now);
        Ok(Waiting {
            gate: self,
            number,
            turn: Some(turn),
        })
    }

    /// Lets in as many of those that wait as there is room for.
    fn let_in(&self, line: &mut Line, now: Instant) {
        while !line.queue.is_empty() {
            if self.take_place(CLOSED, line.limit).is_err() {
                return;
            }
            // The place is that one's own, unless it has given up meanwhile.
            let mut turns = std::iter::from_fn(|| line.queue.pop(now));
            if !turns.any(|turn| turn.send(()).is_ok()) {
                // Nobody waits any more, so nobody is to be let in for it.
                self.state.fetch_and(!WAITING, Ordering::AcqRel);
                drop(Inside(self));
            }
        }
        self.state.fetch_and(!WAITING, Ordering::AcqRel);
    }

    /// One has left; `before` is what the state was.
    fn left(&self, before: usize) {
        if before & WAITING != 0 {
            self.let_in(&mut self.line.lock(), Instant::now());
        }
        if before & !WAITING == CLOSED | 1 {
            self.empty.notify_waiters();
        }
    }

    /// Lets no more in. Those that wait are told so.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        self.send_away();
        // Whoever waits for the end already would otherwise miss that it is empty.
        self.empty.notify_waiters();
    }

    /// Tells those that wait that they wait for nothing.
    fn send_away(&self) {
        let mut line = self.line.lock();
        line.queue.drain().for_each(drop);
        self.state.fetch_and(!WAITING, Ordering::AcqRel);
    }

    /// Whether it lets no more in.
    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Resolves when it is closed and nobody is inside.
    pub(crate) async fn drained(&self) {
        loop {
            let empty = self.empty.notified();
            if self.state.load(Ordering::Acquire) & !WAITING == CLOSED {
                return;
            }
            empty.await;
        }
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> usize {
        self.state.load(Ordering::Acquire) & INSIDE
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.line.lock().queue.len()
    }
}

/// One that is inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(1, Ordering::AcqRel);
        self.0.left(before);
    }
}

/// One that waits. Dropping it gives its place away: in the queue, or inside if it was let in meanwhile.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    gate: &'a Gate,
    number: u64,
    turn: Option<oneshot::Receiver<()>>,
}

impl<'a> Waiting<'a> {
    /// Resolves when it may enter.
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
