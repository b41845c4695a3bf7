//! Admission: how many calls are inside a plugin, and whether more may enter.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the calls inside and, once closed, lets no more in.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The number inside, and the highest bit when closed.
    state: AtomicUsize,
    empty: Notify,
}

const CLOSED: usize = 1 << (usize::BITS - 1);

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
            empty: Notify::new(),
        }
    }

    /// Lets one in, if it is open and fewer than `limit` are inside.
    pub(super) fn enter(&self, limit: usize) -> Result<Inside<'_>, Refusal> {
        let before = self.state.fetch_add(1, Ordering::AcqRel);
        let inside = Inside(self);
        match before {
            before if before & CLOSED != 0 => Err(Refusal::Closed),
            before if before >= limit => Err(Refusal::Full),
            _ => Ok(inside),
        }
    }

    /// Lets no more in.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        // Whoever waits already would otherwise miss that it is empty.
        self.empty.notify_waiters();
    }

    /// Whether it lets no more in.
    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Resolves when it is closed and nobody is inside.
    pub(crate) async fn drained(&self) {
        loop {
            let empty = self.empty.notified();
            if self.state.load(Ordering::Acquire) == CLOSED {
                return;
            }
            empty.await;
        }
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> usize {
        self.state.load(Ordering::Acquire) & !CLOSED
    }
}

/// One that is inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            self.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    #[tokio::test]
    async fn the_gate_counts_limits_closes_and_drains() {
        let gate = Gate::new();
        let one = gate.enter(2).ok().unwrap();
        let two = gate.enter(2).ok().unwrap();
        assert_eq!(gate.enter(2).err(), Some(Refusal::Full));
        assert_eq!(gate.inside(), 2);
        drop(two);
        gate.close();
        assert_eq!(gate.enter(2).err(), Some(Refusal::Closed));
        let mut drained = std::pin::pin!(gate.drained());
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut drained)
                .await
                .is_err()
        );
        drop(one);
        drained.await;
        assert_eq!(gate.inside(), 0);
    }

    /// A waker that counts.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each step is one atomic operation, so all orders of the steps of several threads are all sequences of steps. A
    /// wake-up that is lost in one of them would let a plugin's end wait for ever for its last call.
    #[test]
    fn in_every_order_of_steps_the_gate_counts_and_the_waiting_one_is_woken() {
        const STEPS: u32 = 7;
        const KINDS: usize = 4;
        const LIMIT: usize = 2;
        for number in 0..KINDS.pow(STEPS) {
            let gate = Gate::new();
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let mut context = Context::from_waker(&waker);
            let mut drained = Some(Box::pin(gate.drained()));
            let (mut inside, mut closed, mut waits) = (Vec::new(), false, None);
            let mut steps = number;
            for _ in 0..STEPS {
                match steps % KINDS {
                    0 => match gate.enter(LIMIT) {
                        Ok(one) => {
                            assert!(!closed && inside.len() < LIMIT);
                            inside.push(one);
                        }
                        Err(Refusal::Closed) => assert!(closed),
                        Err(Refusal::Full) => assert!(!closed && inside.len() == LIMIT),
                    },
                    1 => drop(inside.pop()),
                    2 => {
                        gate.close();
                        closed = true;
                    }
                    _ => {
                        if let Some(future) = &mut drained {
                            if future.as_mut().poll(&mut context).is_ready() {
                                assert!(closed && inside.is_empty());
                                drained = None;
                            } else {
                                assert!(!closed || !inside.is_empty());
                                waits = Some(woken.0.load(Ordering::Relaxed));
                            }
                        }
                    }
                }
                assert_eq!(gate.inside(), inside.len());
                steps /= KINDS;
            }
            let still = drained.is_some() && closed && inside.is_empty();
            if let (true, Some(before)) = (still, waits) {
                assert!(woken.0.load(Ordering::Relaxed) > before, "{number}");
            }
        }
    }
}
