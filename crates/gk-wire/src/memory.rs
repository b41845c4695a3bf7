//! A budget of memory that many connections share: what their peers may make this process hold.
//!
//! Every limit of one connection is multiplied by the number of connections; a budget is not. Bytes
//! that are [held](MemoryBudget::hold) carry their reservation with them and give it back when the
//! last of their clones is dropped, wherever that is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Size in bytes from which a reservation is large. Large reservations leave a quarter of the budget
/// to smaller ones, so that a few large messages cannot block all others.
pub const LARGE_BYTES: usize = 256 * 1024;

/// Size in bytes up to which messages do not count in the budget: one read brings as much anyway.
pub(crate) const SMALL_BYTES: usize = 16 * 1024;

/// A number of bytes that may be held at once. Clones are cheap and share the budget.
#[derive(Clone)]
pub struct MemoryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    limit: AtomicUsize,
    used: AtomicUsize,
    /// The most that was used.
    peak: AtomicUsize,
    /// Reservations that were refused.
    refused: AtomicUsize,
}

/// The budget has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget of {limit} bytes has no room for {bytes} more; try again later")]
pub struct OverBudget {
    /// Bytes that were asked for.
    pub bytes: usize,
    /// The whole budget, in bytes.
    pub limit: usize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        MemoryBudget {
            shared: Arc::new(Shared {
                limit: AtomicUsize::new(limit),
                used: AtomicUsize::new(0),
                peak: AtomicUsize::new(0),
                refused: AtomicUsize::new(0),
            }),
        }
    }

    /// The budget's size in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Sets the budget's size in bytes. Reservations beyond it stay, and no further ones are made until
    /// enough of them have been given back.
    pub fn set_limit(&self, limit: usize) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes that are reserved at this moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// The most that was reserved at any moment, in bytes.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed)
    }

    /// The number of reservations that were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` bytes.
    ///
    /// # Errors
    /// If there is no room for them.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, OverBudget> {
        let mut reservation = Reservation {
            budget: self.clone(),
            bytes: 0,
        };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Bytes that are counted until the last clone of them is dropped.
    ///
    /// # Errors
    /// If there is no room for them; they are dropped.
    pub fn hold(&self, bytes: impl Into<Bytes>) -> Result<Bytes, OverBudget> {
        let bytes = bytes.into();
        Ok(self.reserve(bytes.len())?.attach(bytes))
    }

    fn take(&self, whole: usize, more: usize) -> Result<(), OverBudget> {
        let shared = &*self.shared;
        let limit = self.limit();
        let room = if whole >= LARGE_BYTES {
            limit - limit / 4
        } else {
            limit
        };
        let taken = shared
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|used| *used <= room)
            });
        match taken {
            Ok(before) => {
                shared.peak.fetch_max(before + more, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                Err(OverBudget { bytes: more, limit })
            }
        }
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("limit", &self.limit())
            .field("used", &self.used())
            .finish()
    }
}

/// Budgets are equal if they are clones of each other.
impl PartialEq for MemoryBudget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for MemoryBudget {}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
#[must_use = "a reservation that is dropped reserves nothing"]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

impl Reservation {
    /// The reservation's size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves `more` bytes in addition.
    ///
    /// # Errors
    /// If there is no room for them; the reservation stays as it is.
    pub fn grow(&mut self, more: usize) -> Result<(), OverBudget> {
        let whole = self.bytes.saturating_add(more);
        self.budget.take(whole, more)?;
        self.bytes = whole;
        Ok(())
    }

    /// Moves so many bytes, at most all of them, into a reservation of their own.
    pub fn split_off(&mut self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation {
            budget: self.budget.clone(),
            bytes,
        }
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.budget.shared.used.fetch_sub(less, Ordering::Relaxed);
    }

    /// Ties the reservation to the bytes that it was made for: it ends with their last clone.
    pub fn attach(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _reservation: self,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

struct Held<B> {
    bytes: B,
    _reservation: Reservation,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_their_last_clone_is_gone() {
        let budget = MemoryBudget::new(100);
        let held = budget.hold(vec![7; 60]).unwrap();
        assert_eq!((budget.used(), held.len()), (60, 60));
        let part = held.slice(1..2);
        drop(held);
        assert_eq!(
            budget.hold(vec![0; 41]).unwrap_err(),
            OverBudget {
                bytes: 41,
                limit: 100
            }
        );
        drop(part);
        assert_eq!((budget.used(), budget.peak(), budget.refused()), (0, 60, 1));
    }

    #[test]
    fn a_smaller_limit_takes_nothing_away() {
        let budget = MemoryBudget::new(100);
        let held = budget.reserve(60).unwrap();
        budget.set_limit(50);
        assert_eq!(budget.reserve(1).unwrap_err().limit, 50);
        assert_eq!((held.bytes(), budget.used()), (60, 60));
        drop(held);
        let _held = budget.reserve(50).unwrap();
        budget.set_limit(51);
        let _one = budget.reserve(1).unwrap();
    }

    #[test]
    fn a_reservation_grows_and_shrinks() {
        let budget = MemoryBudget::new(10);
        let mut reservation = budget.reserve(4).unwrap();
        reservation.grow(6).unwrap();
        assert!(reservation.grow(1).is_err());
        assert_eq!((reservation.bytes(), budget.used()), (10, 10));
        reservation.shrink_to(3);
        assert_eq!(budget.used(), 3);
        reservation.grow(usize::MAX).unwrap_err();
        let part = reservation.split_off(2);
        assert_eq!(
            (part.bytes(), reservation.bytes(), budget.used()),
            (2, 1, 3)
        );
        assert_eq!(reservation.split_off(9).bytes(), 1);
        assert_eq!((reservation.bytes(), budget.used()), (0, 2));
        drop(part);
        drop(reservation);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn large_ones_leave_room_for_small_ones() {
        let budget = MemoryBudget::new(4 * LARGE_BYTES);
        let large: Vec<_> = (0..4)
            .map_while(|_| budget.reserve(LARGE_BYTES).ok())
            .collect();
        assert_eq!(large.len(), 3);
        let small = budget.reserve(LARGE_BYTES - 1).unwrap();
        assert!(budget.reserve(2).is_err());
        drop((large, small));
        assert_eq!(budget.used(), 0);
    }
}
