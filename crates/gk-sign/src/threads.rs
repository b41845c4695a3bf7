//! When a second thread is worth it, and to be had.

use std::thread::{self, Scope, ScopedJoinHandle};

/// Files of at least this many bytes are worth a second thread.
const LARGE: u64 = 1 << 20;

/// Returns `true` if a second thread makes work on so many bytes shorter.
pub(crate) fn is_for_two_threads(size: u64) -> bool {
    size >= LARGE && thread::available_parallelism().is_ok_and(|threads| threads.get() > 1)
}

/// `None` if the system refuses a thread.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    let builder = thread::Builder::new().name("gk-sign".into());
    builder.spawn_scoped(scope, work).ok()
}
