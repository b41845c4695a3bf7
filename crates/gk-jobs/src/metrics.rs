//! Metrics of jobs.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::key::JobKey;
use crate::store::RunState;

const RUNS: &str = "gk_job_runs_total";
const SECONDS: &str = "gk_job_run_seconds";
const RUNNING: &str = "gk_job_runs_in_progress";
const SKIPPED: &str = "gk_job_skipped_total";
const MISSED: &str = "gk_job_missed_total";
const REFUSED: &str = "gk_job_late_results_total";
const STORE: &str = "gk_job_store_failures_total";

/// Describes the metrics of jobs.
pub(crate) fn describe() {
    describe_counter!(
        RUNS,
        "Attempts of jobs that ended on this host, by their end."
    );
    describe_histogram!(SECONDS, "Duration of attempts of jobs.");
    describe_gauge!(RUNNING, "Attempts of jobs under way on this host.");
    describe_counter!(
        SKIPPED,
        "Ticks that did not run because an earlier run went on."
    );
    describe_counter!(
        MISSED,
        "Ticks that did not run because no host was there in time."
    );
    describe_counter!(
        REFUSED,
        "Results that came after their attempt had been given up."
    );
    describe_counter!(STORE, "Work on the store of jobs that failed.");
}

/// Returns the only label that is text: the plugin's name, which the host knows. Ids of jobs are the
/// plugin's own, and new ones would make new series for ever.
fn plugin(key: &JobKey) -> [(&'static str, String); 1] {
    [("plugin", key.plugin.to_string())]
}

/// Counts an attempt that has ended.
pub(crate) fn ended(key: &JobKey, state: RunState, time: Duration) {
    let [(_, name)] = plugin(key);
    counter!(RUNS, "plugin" => name, "outcome" => state.as_str()).increment(1);
    histogram!(SECONDS, &plugin(key)).record(time);
}

/// Counts a tick that is skipped.
pub(crate) fn skipped(key: &JobKey) {
    counter!(SKIPPED, &plugin(key)).increment(1);
}

/// Counts ticks that were missed.
pub(crate) fn missed(key: &JobKey, ticks: u32) {
    counter!(MISSED, &plugin(key)).increment(u64::from(ticks));
}

/// Counts a late result.
pub(crate) fn refused(key: &JobKey) {
    counter!(REFUSED, &plugin(key)).increment(1);
}

/// Counts work on the store that failed. It is tried again each second, and counted each time.
pub(crate) fn store_failed() {
    counter!(STORE).increment(1);
}

/// An attempt under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(JobKey);

/// Counts an attempt under way.
pub(crate) fn running(key: &JobKey) -> Running {
    gauge!(RUNNING, &plugin(key)).increment(1.0);
    Running(key.clone())
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(RUNNING, &plugin(&self.0)).decrement(1.0);
    }
}
