//! What waits for one subscriber: bounded by events and by bytes, and let go of at once when the
//! subscriber lags. A client that does not read must not make the host keep what a plugin
//! publishes.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Delivery, Event, QUEUE_BYTES_MAX, QUEUE_MAX};

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    ended: bool,
    lagged: bool,
}

/// The end where events go in. Dropping it ends the other side, once waiting events are taken.
pub(super) struct Sender(Arc<Shared>);

/// The end where events come out.
pub(super) struct Receiver(Arc<Shared>);

/// Makes both ends of a queue.
pub(super) fn queue() -> (Sender, Receiver) {
    let shared = Arc::<Shared>::default();
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Adds an event. `false`: too much waits, all of it is let go of, and the subscriber is told
    /// that it lagged.
    pub(super) fn give(&self, event: &Arc<Event>) -> bool {
        let mut waiting = self.0.waiting.lock();
        let bytes = waiting.bytes + event.data().len();
        let fits = waiting.events.len() < QUEUE_MAX
            && (bytes <= QUEUE_BYTES_MAX || waiting.events.is_empty());
        if fits {
            waiting.bytes = bytes;
            waiting.events.push_back(Arc::clone(event));
        } else {
            waiting.lagged = true;
            waiting.events = VecDeque::new();
        }
        drop(waiting);
        self.0.more.notify_one();
        fits
    }
}

impl Sender {
    /// Lets go of what waits: the subscriber is told that it lagged.
    pub(super) fn lag(&self) {
        let mut waiting = self.0.waiting.lock();
        waiting.lagged = true;
        waiting.events = VecDeque::new();
        waiting.bytes = 0;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.waiting.lock().ended = true;
        self.0.more.notify_one();
    }
}

impl Receiver {
    /// Waits for what comes next. If the wait is given up, nothing is lost.
    pub(super) async fn next(&self) -> Delivery {
        loop {
            let found = {
                let mut waiting = self.0.waiting.lock();
                match waiting.events.pop_front() {
                    Some(event) => {
                        waiting.bytes -= event.data().len();
                        Some(Delivery::Event(event))
                    }
                    None if std::mem::take(&mut waiting.lagged) => Some(Delivery::Lagged),
                    None => waiting.ended.then_some(Delivery::Closed),
                }
            };
            match found {
                Some(delivery) => return delivery,
                // There is one receiver, so a permit that is stored for it is not lost.
                None => self.0.more.notified().await,
            }
        }
    }
}
