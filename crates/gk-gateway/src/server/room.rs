//! Room for so many connections at a time, which may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for connections.
#[derive(Debug)]
pub(super) struct Room {
    places: Semaphore,
    /// Connections above the limit, since it was made smaller: whoever leaves makes no room then.
    excess: AtomicUsize,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Inside(Arc<Room>);

impl Room {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Room {
            places: Semaphore::new(limit),
            excess: AtomicUsize::new(0),
        })
    }

    /// Waits for a place.
    pub(super) async fn enter(self: &Arc<Self>) -> Inside {
        // It is never closed.
        let _ = self.places.acquire().await.map(SemaphorePermit::forget);
        Inside(Arc::clone(self))
    }

    /// Makes it larger or smaller by the difference of two limits. Whoever is inside stays.
    pub(super) fn resize(&self, before: usize, limit: usize) {
        if let Some(fewer) = before.checked_sub(limit) {
            let free = self.places.forget_permits(fewer);
            self.excess.fetch_add(fewer - free, Ordering::AcqRel);
        } else {
            (before..limit).for_each(|_| self.make_place());
        }
    }

    /// One place more, or one connection less above the limit.
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
        // One place is free, three are taken, and one may be.
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
        // A larger limit counts at once, with what is above the smaller one.
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
