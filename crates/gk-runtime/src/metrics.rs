//! What is counted, through the `metrics` facade. Labels are plugin names that the host itself
//! registered and outcomes from a fixed list, never what a caller or a plugin says.
//!
//! The handles are made when a plugin comes up, so a recorder has to be installed before that.

use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram};

use crate::error::CallError;

/// The handles of one plugin's calls.
pub(crate) struct CallMetrics {
    ok: Counter,
    application_error: Counter,
    timeout: Counter,
    crashed: Counter,
    protocol_error: Counter,
    seconds: Histogram,
    in_flight: Gauge,
}

impl CallMetrics {
    pub(crate) fn new(plugin: &str) -> Self {
        let calls = |outcome: &'static str| metrics::counter!("gk_plugin_calls_total", "plugin" => plugin.to_owned(), "outcome" => outcome);
        Self {
            ok: calls("ok"),
            application_error: calls("application_error"),
            timeout: calls("timeout"),
            crashed: calls("crashed"),
            protocol_error: calls("protocol_error"),
            seconds: metrics::histogram!("gk_plugin_call_duration_seconds", "plugin" => plugin.to_owned()),
            in_flight: metrics::gauge!("gk_plugin_calls_in_flight", "plugin" => plugin.to_owned()),
        }
    }

    /// A call that is running until the value is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.increment(1.0);
        InFlight(&self.in_flight)
    }

    pub(crate) fn end(&self, outcome: &Result<Bytes, CallError>, took: Duration) {
        self.seconds.record(took.as_secs_f64());
        match outcome {
            Ok(_) => &self.ok,
            Err(CallError::Application { .. }) => &self.application_error,
            Err(CallError::Timeout { .. }) => &self.timeout,
            Err(CallError::Crashed { .. }) => &self.crashed,
            Err(_) => &self.protocol_error,
        }
        .increment(1);
    }
}

pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A plugin came up, or failed to.
pub(crate) fn started(plugin: &str, came_up: bool) {
    let outcome = if came_up { "ok" } else { "failed" };
    metrics::counter!("gk_plugin_starts_total", "plugin" => plugin.to_owned(), "outcome" => outcome).increment(1);
}

/// A plugin was, or was not, started with a signature of this worth.
pub(crate) fn verified(plugin: &str, state: &'static str) {
    metrics::counter!("gk_plugin_signatures_total", "plugin" => plugin.to_owned(), "state" => state).increment(1);
}

/// A running plugin ended by itself.
pub(crate) fn crashed(plugin: &str) {
    metrics::counter!("gk_plugin_crashes_total", "plugin" => plugin.to_owned()).increment(1);
}

/// A plugin is in another state.
pub(crate) fn transition(plugin: &str, state: &'static str) {
    metrics::counter!("gk_plugin_transitions_total", "plugin" => plugin.to_owned(), "state" => state).increment(1);
}

/// A plugin keeps ending by itself, or no longer does.
pub(crate) fn crash_looping(plugin: &str, looping: bool) {
    let value = if looping { 1.0 } else { 0.0 };
    metrics::gauge!("gk_plugin_crash_looping", "plugin" => plugin.to_owned()).set(value);
}

/// A probe of a running plugin.
pub(crate) fn probed(plugin: &str, outcome: &'static str) {
    metrics::counter!("gk_plugin_health_probes_total", "plugin" => plugin.to_owned(), "outcome" => outcome).increment(1);
}

/// Names what is counted, for recorders that show descriptions.
pub(crate) fn describe() {
    metrics::describe_counter!("gk_plugin_calls_total", "Calls into plugins, by outcome.");
    metrics::describe_histogram!(
        "gk_plugin_call_duration_seconds",
        metrics::Unit::Seconds,
        "How long calls into plugins took."
    );
    metrics::describe_gauge!(
        "gk_plugin_calls_in_flight",
        "Calls into plugins that are running."
    );
    metrics::describe_counter!("gk_plugin_starts_total", "Starts of plugins, by outcome.");
    metrics::describe_counter!(
        "gk_plugin_signatures_total",
        "Starts of plugins, refused ones included, by what their signature was worth."
    );
    metrics::describe_counter!(
        "gk_plugin_transitions_total",
        "Changes of plugins' states, by the state that was entered."
    );
    metrics::describe_gauge!(
        "gk_plugin_crash_looping",
        "Whether a plugin keeps ending by itself."
    );
    metrics::describe_counter!(
        "gk_plugin_health_probes_total",
        "Health probes of running plugins, by outcome."
    );
    metrics::describe_counter!(
        "gk_plugin_crashes_total",
        "Running plugins that ended by themselves."
    );
}
