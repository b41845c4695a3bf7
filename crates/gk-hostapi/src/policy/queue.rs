//! How many requests of a plugin run at the same time.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::error::HostError;

/// The most statements of one plugin that run at the same time. Fewer than a database has
/// connections: a plugin whose statements never end must not take them all.
pub const STATEMENTS_AT_ONCE_MAX: usize = 4;
/// The most outgoing HTTP requests of one plugin at the same time.
pub const HTTP_IN_FLIGHT_MAX: usize = 16;
/// The most requests of one plugin at the same time that use the host's store (`kv_…`,
/// `secure_config_…`). The operator's policies are in the same store and must not wait behind one
/// plugin's requests.
pub const STORE_REQUESTS_AT_ONCE_MAX: usize = 4;
/// The most requests of one plugin at the same time that hold a whole file: files are read faster
/// than they are passed on.
pub const FILES_AT_ONCE_MAX: usize = 8;

/// A queue of requests, of which each plugin has its own. The guard takes a permit of a method's
/// queue before the method runs, and gives it back when the method is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Queue {
    /// Statements: [`STATEMENTS_AT_ONCE_MAX`] run, further ones wait until their deadline.
    Statements,
    /// Outgoing HTTP requests, each of which may hold bodies of many megabytes:
    /// [`HTTP_IN_FLIGHT_MAX`] run, further ones are refused.
    Http,
    /// Requests to the host's store: [`STORE_REQUESTS_AT_ONCE_MAX`] run, further ones wait until
    /// their deadline.
    Store,
    /// Requests that hold a whole file: [`FILES_AT_ONCE_MAX`] run, further ones wait until their
    /// deadline.
    Files,
}

impl Queue {
    fn at_once_max(self) -> usize {
        match self {
            Self::Statements => STATEMENTS_AT_ONCE_MAX,
            Self::Http => HTTP_IN_FLIGHT_MAX,
            Self::Store => STORE_REQUESTS_AT_ONCE_MAX,
            Self::Files => FILES_AT_ONCE_MAX,
        }
    }
}

/// The queues of one plugin.
#[derive(Debug)]
pub(super) struct Queues {
    statements: Semaphore,
    http: Semaphore,
    store: Semaphore,
    files: Semaphore,
}

impl Queues {
    pub(super) fn new() -> Self {
        let permits = |queue: Queue| Semaphore::new(queue.at_once_max());
        Self {
            statements: permits(Queue::Statements),
            http: permits(Queue::Http),
            store: permits(Queue::Store),
            files: permits(Queue::Files),
        }
    }

    /// Takes a permit, and waits for one where the queue is one that waits.
    ///
    /// # Errors
    /// Timeout: no other request ended before the deadline. Limit: the queue does not wait.
    pub(super) async fn permit(
        &self,
        queue: Queue,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, HostError> {
        let semaphore = match queue {
            Queue::Statements => &self.statements,
            Queue::Http => &self.http,
            Queue::Store => &self.store,
            Queue::Files => &self.files,
        };
        let at_once = queue.at_once_max();
        if let Ok(permit) = semaphore.try_acquire() {
            return Ok(permit);
        }
        if queue == Queue::Http {
            return Err(HostError::limit(format!(
                "{at_once} HTTP requests are under way; wait for one of them"
            )));
        }
        let permit = tokio::time::timeout_at(deadline, semaphore.acquire()).await;
        // The semaphore is never closed.
        permit.ok().and_then(Result::ok).ok_or_else(|| {
            HostError::timeout(format!(
                "{at_once} other such requests of the plugin did not end in time"
            ))
        })
    }
}
