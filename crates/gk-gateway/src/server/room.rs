//! Limit of concurrent connections that can change at run time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Permits for concurrent connections.
#[derive(Debug)]
pub(super) struct Room {
    places: Semaphore,
    /// Number of connections above the limit, after that was lowered: the next ones that end free
    /// no permit.
    excess: AtomicUsize,
}

/// Guard of a connection's permit, until dropped.
#[derive(Debug)]
pub(super) struct Inside(Arc<Room>);

impl Room {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Room {
            places: Semaphore::new(limit),
            excess: AtomicUsize::new(0),
        })
    }

    /// Waits for a permit.
    pub(super) async fn enter(self: &Arc<Self>) -> Inside {
        // The semaphore is never closed.
        let _ = self.places.acquire().await.map(SemaphorePermit::forget);
        Inside(Arc::clone(self))
    }

    /// Adds or removes permits by the difference of two limits. Present connections stay.
    pub(super) fn resize(&self, before: usize, limit: usize) {
        if let Some(fewer) = before.checked_sub(limit) {
            let free = self.places.forget_permits(fewer);
            self.excess.fetch_add(fewer - free, Ordering::AcqRel);
        } else {
            (before..limit).for_each(|_| self.make_place());
        }
    }

    /// Frees a permit, or reduces the number of connections above the limit.
    fn make_place(&self) {
        let less = |excess: usize| excess.checked_sub(1);
        let taken = self
            .excess
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        if taken.is_err() {
            self.places.add_permits(1);
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.make_place();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn try_enter(room: &Arc<Room>) -> Option<Inside> {
        match pin!(room.enter()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(inside) => Some(inside),
            Poll::Pending => None,
        }
    }

    #[test]
    fn whoever_is_above_a_smaller_limit_makes_no_room() {
        let room = Room::new(2);
        let first = try_enter(&room).unwrap();
        let second = try_enter(&room).unwrap();
        assert!(try_enter(&room).is_none());
        room.resize(2, 4);
        let third = try_enter(&room).unwrap();
        // Of four permits three are taken; the limit falls to one.
        room.resize(4, 1);
        for place in [first, second] {
            assert!(try_enter(&room).is_none());
            drop(place);
            // The same limit once more changes nothing.
            room.resize(1, 1);
        }
        assert!(try_enter(&room).is_none());
        drop(third);
        let last = try_enter(&room).unwrap();
        assert!(try_enter(&room).is_none());
        // A larger limit takes effect at once, after the excess over the smaller one.
        room.resize(1, 3);
        let more = [try_enter(&room), try_enter(&room)];
        assert!(more.iter().all(Option::is_some) && try_enter(&room).is_none());
        room.resize(3, 1);
        room.resize(1, 2);
        drop(last);
        assert!(try_enter(&room).is_none());
        drop(more);
        assert!(try_enter(&room).is_some());
    }
}
