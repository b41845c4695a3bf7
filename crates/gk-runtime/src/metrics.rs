//! Metrics of the runtime, through the `metrics` facade. Labels are plugin names that the host
//! itself registered and outcomes from a fixed list, never text from a caller or a plugin.
//!
//! The handles are created when a plugin comes up, so a recorder has to be installed before that.

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
    refused: Counter,
    cancelled: Counter,
    seconds: Histogram,
    in_flight: Gauge,
    waiting: Gauge,
    shed: [Counter; 3],
}

/// Reason why a call was refused for lack of capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The queue of waiting calls is full.
    QueueFull,
    /// The call has waited for the maximum time.
    Waited,
    /// The plugin has the maximum number of calls in flight.
    HardLimit,
}

impl Shed {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Waited, Self::HardLimit];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Waited => "waited",
            Self::HardLimit => "hard_limit",
        }
    }
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
            refused: calls("refused"),
            cancelled: calls("cancelled"),
            seconds: metrics::histogram!("gk_plugin_call_duration_seconds", "plugin" => plugin.to_owned()),
            in_flight: metrics::gauge!("gk_plugin_calls_in_flight", "plugin" => plugin.to_owned()),
            waiting: metrics::gauge!("gk_plugin_calls_waiting", "plugin" => plugin.to_owned()),
            shed: Shed::ALL.map(|why| metrics::counter!("gk_plugin_calls_shed_total", "plugin" => plugin.to_owned(), "reason" => why.as_str())),
        }
    }

    /// Counts a waiting call until the value is dropped.
    pub(crate) fn wait(&self) -> Level<'_> {
        Level::raise(&self.waiting)
    }

    /// Counts a running call until the value is dropped.
    pub(crate) fn run(&self) -> Level<'_> {
        Level::raise(&self.in_flight)
    }

    /// Counts a call that was refused for lack of capacity.
    pub(crate) fn shed(&self, why: Shed) {
        let [queue_full, waited, hard_limit] = &self.shed;
        match why {
            Shed::QueueFull => queue_full,
            Shed::Waited => waited,
            Shed::HardLimit => hard_limit,
        }
        .increment(1);
    }

    /// Counts a call that has ended, `took` after its arrival.
    pub(crate) fn end(&self, outcome: &Result<Bytes, CallError>, took: Duration) {
        if let Some(counter) = self.of(outcome) {
            self.seconds.record(took.as_secs_f64());
            counter.increment(1);
        }
    }

    /// Counts a call that was dropped before it ended.
    pub(crate) fn cancel(&self) {
        self.cancelled.increment(1);
    }

    /// Returns the counter of an outcome; `None` for calls that never entered a plugin.
    fn of(&self, outcome: &Result<Bytes, CallError>) -> Option<&Counter> {
        Some(match outcome {
            Ok(_) => &self.ok,
            Err(CallError::Application { .. }) => &self.application_error,
            Err(CallError::Timeout { .. }) => &self.timeout,
            Err(CallError::Crashed { .. }) => &self.crashed,
            Err(CallError::Refused { .. }) => &self.refused,
            Err(
                CallError::Busy { .. }
                | CallError::Moved { .. }
                | CallError::NotRunning { .. }
                | CallError::UnknownPlugin { .. }
                | CallError::FunctionName { .. }
                | CallError::ArgsTooLarge { .. },
            ) => return None,
            Err(_) => &self.protocol_error,
        })
    }
}

/// Raises a gauge by one until dropped.
pub(crate) struct Level<'a>(&'a Gauge);

impl<'a> Level<'a> {
    fn raise(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Counts a start of a plugin, successful or not.
pub(crate) fn started(plugin: &str, came_up: bool) {
    let outcome = if came_up { "ok" } else { "failed" };
    metrics::counter!("gk_plugin_starts_total", "plugin" => plugin.to_owned(), "outcome" => outcome).increment(1);
}

/// Counts a start of a plugin, or a refused one, by the state of its signature.
pub(crate) fn verified(plugin: &str, state: &'static str) {
    metrics::counter!("gk_plugin_signatures_total", "plugin" => plugin.to_owned(), "state" => state).increment(1);
}

/// Counts the end of a running plugin by itself.
pub(crate) fn crashed(plugin: &str) {
    metrics::counter!("gk_plugin_crashes_total", "plugin" => plugin.to_owned()).increment(1);
}

/// Counts a change of a plugin's state.
pub(crate) fn transition(plugin: &str, state: &'static str) {
    metrics::counter!("gk_plugin_transitions_total", "plugin" => plugin.to_owned(), "state" => state).increment(1);
}

/// Sets the gauge that tells if a plugin keeps ending by itself.
pub(crate) fn crash_looping(plugin: &str, looping: bool) {
    let value = if looping { 1.0 } else { 0.0 };
    metrics::gauge!("gk_plugin_crash_looping", "plugin" => plugin.to_owned()).set(value);
}

/// Sets the gauge of the generation that serves; 0 stands for none.
pub(crate) fn serving(plugin: &str, generation: u64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of processes are below 2^52"
    )]
    let value = generation as f64;
    metrics::gauge!("gk_plugin_generation", "plugin" => plugin.to_owned()).set(value);
}

/// Counts a start of a process in place of one that failed.
pub(crate) fn restarted(plugin: &str) {
    metrics::counter!("gk_plugin_restarts_total", "plugin" => plugin.to_owned()).increment(1);
}

/// Counts a probe of a running plugin.
pub(crate) fn probed(plugin: &str, outcome: &'static str) {
    metrics::counter!("gk_plugin_health_probes_total", "plugin" => plugin.to_owned(), "outcome" => outcome).increment(1);
}

/// Describes the metrics, for recorders that show descriptions.
pub(crate) fn describe() {
    metrics::describe_counter!("gk_plugin_calls_total", "Calls into plugins, by outcome.");
    metrics::describe_histogram!(
        "gk_plugin_call_duration_seconds",
        metrics::Unit::Seconds,
        "How long calls into plugins took, from when they came; those that were cancelled or shed are left out."
    );
    metrics::describe_gauge!(
        "gk_plugin_calls_in_flight",
        "Calls into plugins that are running."
    );
    metrics::describe_gauge!(
        "gk_plugin_calls_waiting",
        "Calls that wait for room in a plugin."
    );
    metrics::describe_counter!(
        "gk_plugin_calls_shed_total",
        "Calls refused for want of room in a plugin, by reason: queue_full, waited, hard_limit."
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
    metrics::describe_gauge!(
        "gk_plugin_generation",
        "Number of the process of a plugin that serves; 0 while none does."
    );
    metrics::describe_counter!(
        "gk_plugin_restarts_total",
        "Processes of plugins that were started in place of one that had failed."
    );
    metrics::describe_counter!(
        "gk_plugin_crashes_total",
        "Running plugins that ended by themselves."
    );
}
