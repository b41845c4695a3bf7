//! Queue of calls that wait until they may run. Pure: the time is passed in, and no function blocks
//! or wakes a task.
//!
//! The oldest call is first, unless calls have been waiting for [`NEWEST_FIRST_AFTER`] without a
//! break. In that case more calls arrive than are answered, and the newest one is first: it has the
//! most time left.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::limits::NEWEST_FIRST_AFTER;

/// Waiting calls, oldest first.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<(u64, T)>,
    /// Time since which the queue has not been empty.
    since: Option<Instant>,
    next: u64,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            since: None,
            next: 0,
        }
    }

    /// Adds a call at the end. Returns a number that identifies the call while it waits.
    pub(super) fn push(&mut self, now: Instant, call: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.since.get_or_insert(now);
        self.waiting.push_back((number, call));
        number
    }

    /// Takes out the next call.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        let since = self.since?;
        let newest = now.saturating_duration_since(since) >= NEWEST_FIRST_AFTER;
        let next = match newest {
            true => self.waiting.pop_back(),
            false => self.waiting.pop_front(),
        };
        self.settle();
        next.map(|(_, call)| call)
    }

    /// Takes out a call that gives up; `None` if that was taken out before.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let at = self
            .waiting
            .binary_search_by_key(&number, |(known, _)| *known);
        let removed = self.waiting.remove(at.ok()?);
        self.settle();
        removed.map(|(_, call)| call)
    }

    /// Takes out all calls, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.since = None;
        self.waiting.drain(..).map(|(_, call)| call)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn settle(&mut self) {
        if self.waiting.is_empty() {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_oldest_is_first_until_calls_have_waited_for_long_without_a_break() {
        let (start, mut queue) = (Instant::now(), Queue::new());
        for number in 0..6 {
            queue.push(start + number * MS, number);
        }
        assert_eq!(queue.pop(start + 99 * MS), Some(0));
        assert_eq!(queue.pop(start + 100 * MS), Some(5));
        queue.push(start + 101 * MS, 6);
        assert_eq!(queue.pop(start + 5000 * MS), Some(6));
        // A clock that goes back.
        assert_eq!(queue.pop(start - MS), Some(1));
        assert_eq!(queue.drain().collect::<Vec<_>>(), [2, 3, 4]);
        // The time starts again after a break, regardless of how the queue became empty.
        for break_at in [6000, 7000, 8000] {
            let begin = start + break_at * MS;
            assert!(queue.is_empty() && queue.pop(begin).is_none());
            let first = queue.push(begin, 7);
            queue.push(begin, 8);
            assert_eq!(queue.pop(begin + 99 * MS), Some(7));
            assert_eq!(queue.remove(first), None, "its turn has come");
            match break_at {
                6000 => assert_eq!(queue.pop(begin + 200 * MS), Some(8)),
                7000 => assert_eq!(queue.remove(first + 1), Some(8)),
                _ => assert_eq!(queue.drain().count(), 1),
            }
        }
    }

    /// Compares all sequences of steps with the same steps on a plain list. No call is lost or
    /// duplicated.
    #[test]
    fn in_every_order_of_steps_it_is_what_a_list_would_be() {
        const STEPS: u32 = 8;
        const KINDS: usize = 5;
        let start = Instant::now();
        for number in 0..KINDS.pow(STEPS) {
            let (mut steps, mut now) = (number, start);
            let (mut queue, mut list, mut since) = (Queue::new(), Vec::new(), None);
            for _ in 0..STEPS {
                match steps % KINDS {
                    0 => {
                        since.get_or_insert(now);
                        let added = queue.push(now, queue.next);
                        list.push(added);
                    }
                    1 => {
                        let newest = since.is_some_and(|since| now - since >= NEWEST_FIRST_AFTER);
                        let expected = match (list.is_empty(), newest) {
                            (true, _) => None,
                            (false, true) => list.pop(),
                            (false, false) => Some(list.remove(0)),
                        };
                        assert_eq!(queue.pop(now), expected);
                    }
                    2 => {
                        // A call in the middle, or one that was removed before.
                        let wanted = list.get(list.len() / 2).copied();
                        list.retain(|known| Some(*known) != wanted);
                        assert_eq!(queue.remove(wanted.unwrap_or_default()), wanted);
                    }
                    3 => now += NEWEST_FIRST_AFTER / 2,
                    _ => now += NEWEST_FIRST_AFTER,
                }
                if list.is_empty() {
                    since = None;
                }
                assert_eq!((queue.len(), queue.since), (list.len(), since));
                steps /= KINDS;
            }
            assert_eq!(queue.drain().collect::<Vec<_>>(), list);
        }
    }
}
