//! Queues of fixed length, emptied in batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::send::Trouble;

/// Maximum number of items that wait.
const WAITING_MAX: usize = 4096;

/// Time from an item's arrival to its sending.
const DELAY: Duration = Duration::from_secs(1);

/// Maximum number of items in a batch.
const BATCH_MAX: usize = 512;

/// The end of a queue that items are put into. A cheap clone.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: mpsc::Sender<T>,
    signal: &'static str,
    trouble: Arc<Trouble>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            signal: self.signal,
            trouble: Arc::clone(&self.trouble),
        }
    }
}

/// The end of a queue that batches are taken from.
pub(super) struct Batches<T>(mpsc::Receiver<T>);

/// Creates a queue for a signal.
pub(super) fn new<T>(signal: &'static str, trouble: &Arc<Trouble>) -> (Queue<T>, Batches<T>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let queue = Queue {
        sender,
        signal,
        trouble: Arc::clone(trouble),
    };
    (queue, Batches(receiver))
}

impl<T> Queue<T> {
    /// Puts an item into the queue. It is dropped and counted if the queue is full.
    pub(super) fn push(&self, item: T) {
        if self.sender.try_send(item).is_err() {
            self.trouble.dropped(self.signal, 1);
        }
    }
}

impl<T> Batches<T> {
    /// Passes on batches until it is stopped, and then what is left.
    pub(super) async fn each(mut self, stop: CancellationToken, send: impl AsyncFn(Vec<T>)) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.0.recv_many(&mut batch, BATCH_MAX) => if taken == 0 { break },
            }
            let wait = tokio::time::sleep(DELAY);
            tokio::pin!(wait);
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = &mut wait => break,
                    taken = self.0.recv_many(&mut batch, room) => if taken == 0 { break },
                }
            }
            send(std::mem::take(&mut batch)).await;
        }
        self.0.close();
        while self.0.recv_many(&mut batch, BATCH_MAX).await > 0 {
            send(std::mem::take(&mut batch)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_passed_on_in_batches() {
        let trouble = Arc::<Trouble>::default();
        let (queue, batches) = new("traces", &trouble);
        (0..BATCH_MAX + 3).for_each(|number| queue.push(number));
        let seen = Mutex::new(Vec::new());
        let stop = CancellationToken::new();
        stop.cancel();
        let send = async |batch: Vec<usize>| seen.lock().push(batch.len());
        batches.each(stop, send).await;
        assert_eq!(*seen.lock(), [BATCH_MAX, 3]);
    }

    #[tokio::test]
    async fn what_finds_the_queue_full_is_dropped_and_counted() {
        let trouble = Arc::<Trouble>::default();
        let (queue, _batches) = new("traces", &trouble);
        (0..WAITING_MAX + 7).for_each(|number| queue.push(number));
        assert_eq!(trouble.count(), 7);
    }
}
