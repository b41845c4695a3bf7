//! Jobs of plugins: functions that run by a schedule.
//!
//! ```text
//! declarations of running plugins, settings of the operator
//!         │
//!      Planner      which tick has come: pure, the time is passed in
//!         │ claim
//!      JobStore     takes a tick once among all hosts, and puts its run into the queue
//!         │ take
//!      Jobs         starts runs, at most so many at once
//!         │ run
//!      Runner       calls the plugin's function
//!         │ finish
//!      JobStore     refuses the result of an attempt that was given up meanwhile
//! ```
//!
//! **Ticks.** The time of a tick comes from the schedule and never from a clock, so that two hosts
//! whose clocks differ mean the same tick. A tick is taken by one statement of the store, together
//! with the entry in the queue. No host leads the others.
//!
//! **Missed ticks.** Of ticks that passed while no host was there, the newest one runs if its
//! starting deadline has not passed. The others are counted.
//!
//! **Attempts.** A run that is given up, because its host ended or a later run took its place, may
//! still go on in the plugin. Its result is refused by the number of the attempt. So an attempt
//! starts at most once, and a plugin tells a repetition by `_tick` and `_attempt`.

#![forbid(unsafe_code)]

mod execute;
mod jobs;
mod key;
mod loops;
mod memory;
mod metrics;
mod planner;
mod runner;
pub mod schedule;
mod settings;
mod store;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use jobs::{CLOCK_CHECK, JobError, JobView, Jobs, JobsConfig, RUNNING_MAX, STORE_RETRY};
pub use key::JobKey;
pub use loops::notified_or_at;
pub use memory::MemoryStore;
pub use planner::{Due, FUTURE_MAX, Planner};
pub use runner::{Clock, Presence, RunAnswer, RunCall, RunFailure, Runner, SystemClock};
pub use settings::{
    BACKOFF_DEFAULT, BACKOFF_MAX, JITTER_DEFAULT_MAX, JobSettings, STARTING_DEADLINE_DEFAULT_MAX,
    TIMEOUT_DEFAULT, check_all,
};
pub use store::{
    Again, Announced, Claim, Claimed, ERROR_BYTES_MAX, FUTURE_WAIT_MAX, HISTORY_MAX, JOBS_MAX,
    JobState, JobStore, NewRun, OPEN_RUNS_MAX, RESULT_BYTES_MAX, Requested, Run, RunEnd, RunId,
    RunState, StoreError, Trigger,
};
