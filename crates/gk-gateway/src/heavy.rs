//! Runs long computations apart from the threads that serve requests.

use std::num::NonZero;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Size in bytes above which JSON and bodies are processed on a separate thread: smaller ones take
/// less time than the switch of threads.
pub(crate) const HEAVY_BYTES: usize = 64 * 1024;

/// Limits these computations to one per processor.
#[derive(Debug)]
pub(crate) struct Heavy {
    places: Arc<Semaphore>,
}

impl Default for Heavy {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Heavy {
            places: Arc::new(Semaphore::new(processors)),
        }
    }
}

impl Heavy {
    /// Runs the work in place if it is on few bytes, else on a thread for blocking work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes <= HEAVY_BYTES {
            return Ok(work());
        }
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await;
        // The work goes on if its caller gives up, and keeps its permit until it ends.
        let placed = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(placed).await.map_err(|error| {
            tracing::error!(%error, "work on a request failed; please report this");
            Problem::internal("the request cannot be served; the host's log says why")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A client that goes away must not make room for other work while its own still runs.
    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_nobody_waits_for_keeps_its_place() {
        let heavy = Heavy {
            places: Arc::new(Semaphore::new(1)),
        };
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let first = heavy.run(HEAVY_BYTES + 1, move || {
            begun.send(()).unwrap();
            let _ = ends.recv();
        });
        // The first poll starts the work; then the future is dropped.
        assert!(tokio::time::timeout(Duration::ZERO, first).await.is_err());
        begins.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(heavy.places.available_permits(), 0);
        end.send(()).unwrap();
        heavy.run(HEAVY_BYTES + 1, || ()).await.unwrap();
    }
}
