//! Work that takes long, away from the threads that everybody else's requests need.

use std::num::NonZero;

use tokio::sync::Semaphore;

use crate::problem::Problem;

/// From this size on, in bytes, JSON and bodies are taken apart on a thread of their own: smaller ones
/// take less time than the change of threads.
pub(crate) const HEAVY_BYTES: usize = 64 * 1024;

/// As many of such jobs at a time as there are processors.
#[derive(Debug)]
pub(crate) struct Heavy {
    places: Semaphore,
}

impl Default for Heavy {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Heavy {
            places: Semaphore::new(processors),
        }
    }
}

impl Heavy {
    /// Runs the work here if it is on few bytes, else on a thread where it may take its time.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= HEAVY_BYTES {
            return Ok(work());
        }
        // It is never closed.
        let _place = self.places.acquire().await;
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "work on a request failed; please report this");
            Problem::internal("the request cannot be served; the host's log says why")
        })
    }
}
