//! Releases memory when a period of load is over.

use std::convert::Infallible;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};

/// Interval between measurements of the processor time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Minimum processor time within one interval that counts as load: two percent of a processor.
const LOAD: Duration = Duration::from_millis(100);

/// Maximum processor time within one interval that counts as idle.
const IDLE: Duration = Duration::from_millis(25);

/// Releases memory whenever the host is idle after a time of load.
pub(crate) async fn follow() -> Infallible {
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut was_loaded) = (processor_time(), false);
    loop {
        interval.tick().await;
        let now = processor_time();
        let used = now.saturating_sub(before);
        before = now;
        was_loaded |= used >= LOAD;
        if was_loaded && used <= IDLE {
            was_loaded = false;
            let _ = tokio::task::spawn_blocking(release).await;
            before = processor_time();
        }
    }
}

/// Releases memory that is not needed now. Blocks for a millisecond or so.
pub(crate) fn release() {
    if let Err(error) = gk_runtime::release_memory() {
        tracing::debug!(%error, "pages of the program stay in memory that are not needed");
    }
}

/// Processor time of all threads of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
