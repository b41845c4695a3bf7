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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
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
pub(super) struct Inside<'a>(&'a Gate);

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
}
