//! The one table of what `GET /metrics` answers.

/// Kind of a metric, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows; it begins at 0 when the host starts.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts of durations in seconds by buckets: the series `…_bucket` with the label `le`, `…_sum`
    /// and `…_count`.
    Histogram,
}

impl MetricKind {
    /// The name of the kind in the text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric of the host. Values of its labels come from fixed lists, or are names of plugins that
/// the host knows.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name, without the endings of a histogram's series.
    pub name: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Labels that every series of the metric has, without a histogram's `le`. A series with the
    /// label `plugin` is not shown while there is no such plugin.
    pub labels: &'static [&'static str],
    /// What it says, with the values of its labels.
    pub help: &'static str,
}

impl Metric {
    /// Returns the metric of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| metric.name == name)
    }

    /// Returns the metric that a series belongs to, by the name of the series.
    #[must_use]
    pub fn of_series(series: &str) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| match metric.kind {
            MetricKind::Histogram => series
                .strip_prefix(metric.name)
                .is_some_and(|ending| ["_bucket", "_sum", "_count"].contains(&ending)),
            MetricKind::Counter | MetricKind::Gauge => metric.name == series,
        })
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Histogram,
        labels,
        help,
    }
}

const NONE: &[&str] = &[];
const PLUGIN: &[&str] = &["plugin"];
const PLUGIN_OUTCOME: &[&str] = &["plugin", "outcome"];

/// All metrics, by subject and name.
pub const METRICS: &[Metric] = &[
    gauge(
        "gk_build_info",
        &["version"],
        "1; the label is the host's version.",
    ),
    gauge("gk_ready", NONE, "1 while /readyz answers 200, else 0."),
    gauge(
        "gk_cluster_age_seconds",
        NONE,
        "Time since this host knew all that other hosts had changed, where several share their state.",
    ),
    counter(
        "gk_cluster_events_alone_total",
        NONE,
        "Events that this host alone has delivered, because Redis could not be reached.",
    ),
    counter(
        "gk_cluster_events_missed_total",
        NONE,
        "Times that this host has missed events of other hosts; their subscribers were told.",
    ),
    gauge(
        "gk_memory_budget_bytes",
        NONE,
        "Limit of what requests and results hold in the host's memory.",
    ),
    gauge(
        "gk_memory_held_bytes",
        NONE,
        "What requests and results hold at this moment.",
    ),
    gauge(
        "gk_memory_held_peak_bytes",
        NONE,
        "The most that they have held.",
    ),
    gauge(
        "gk_memory_refused",
        NONE,
        "Requests and results that were refused because the limit was reached.",
    ),
    counter(
        "gk_log_lines_dropped_total",
        NONE,
        "Log lines that were dropped because there were too many in a second.",
    ),
    counter(
        "gk_otlp_dropped_total",
        &["signal"],
        "Spans, log entries and values of metrics that did not get to the OpenTelemetry collector, by signal: traces, logs, metrics.",
    ),
    counter(
        "gk_audit_failures_total",
        NONE,
        "Uses of the audit log that failed; changes are refused then.",
    ),
    counter(
        "gk_store_failures_total",
        NONE,
        "Work on the host's store that failed.",
    ),
    counter(
        "gk_http_requests_total",
        &["status"],
        "HTTP requests that were answered, by class of status: 1xx, 2xx, 3xx, 4xx, 5xx, other.",
    ),
    histogram(
        "gk_http_request_seconds",
        NONE,
        "How long HTTP requests took, from the end of the head to the answer's.",
    ),
    counter(
        "gk_http_connections_refused_total",
        NONE,
        "Connections that were closed at once because their client had too many.",
    ),
    counter(
        "gk_auth_failures_total",
        NONE,
        "Requests with a token that is not valid.",
    ),
    gauge(
        "gk_plugin_up",
        PLUGIN,
        "1 while a plugin is running, else 0.",
    ),
    gauge(
        "gk_plugin_enabled",
        PLUGIN,
        "0 while an operator or a policy keeps a plugin from running (disabled, blocked), else 1.",
    ),
    gauge(
        "gk_plugin_generation",
        PLUGIN,
        "Number of the process that serves; 0 while none does. It is higher after each start.",
    ),
    gauge(
        "gk_plugin_memory_bytes",
        PLUGIN,
        "Resident memory of a plugin's processes; what they share counts for each.",
    ),
    gauge(
        "gk_plugin_cpu_seconds",
        PLUGIN,
        "Processor time that a plugin's present processes have used, user and system.",
    ),
    counter(
        "gk_plugin_calls_total",
        PLUGIN_OUTCOME,
        "Calls into plugins that ended, by outcome: ok, application_error, timeout, crashed, protocol_error, refused (the plugin was blocked), cancelled (the client went away).",
    ),
    histogram(
        "gk_plugin_call_duration_seconds",
        PLUGIN,
        "How long calls into plugins took, from when they came; those that were cancelled or shed are left out.",
    ),
    gauge(
        "gk_plugin_calls_in_flight",
        PLUGIN,
        "Calls into plugins that are running.",
    ),
    gauge(
        "gk_plugin_calls_waiting",
        PLUGIN,
        "Calls that wait for room in a plugin.",
    ),
    counter(
        "gk_plugin_calls_shed_total",
        &["plugin", "reason"],
        "Calls refused for want of room in a plugin, by reason: queue_full, waited (too long), hard_limit (1024 calls).",
    ),
    counter(
        "gk_plugin_starts_total",
        PLUGIN_OUTCOME,
        "Processes of plugins that came up or did not, by outcome: ok, failed.",
    ),
    counter(
        "gk_plugin_restarts_total",
        PLUGIN,
        "Processes that were started in place of one that had failed.",
    ),
    counter(
        "gk_plugin_crashes_total",
        PLUGIN,
        "Processes that ended by themselves, or were given up, after they had come up.",
    ),
    gauge(
        "gk_plugin_crash_looping",
        PLUGIN,
        "1 while a plugin keeps ending by itself, else 0.",
    ),
    counter(
        "gk_plugin_transitions_total",
        &["plugin", "state"],
        "Changes of plugins' states, by the state that was entered: starting, running, stopping, stopped, failed.",
    ),
    counter(
        "gk_plugin_health_probes_total",
        PLUGIN_OUTCOME,
        "Probes of running plugins, by outcome: ok, complained (its own health function), missed.",
    ),
    counter(
        "gk_plugin_signatures_total",
        &["plugin", "state"],
        "Starts of plugins, refused ones included, by the state of the signature: valid, valid-v1, unsigned, untrusted key, tampered, revoked.",
    ),
    counter(
        "gk_hostapi_requests_total",
        &["plugin", "method", "outcome"],
        "Requests of plugins to the host API that ended, by method and outcome: ok, or the kind of the error (invalid, denied, limit, not_found, unavailable, timeout, not_provided, failed). Methods that the host lacks are (unknown) and (not provided).",
    ),
    histogram(
        "gk_hostapi_request_duration_seconds",
        &["method"],
        "How long requests to the host API took that a policy let through, with the time that they waited.",
    ),
    counter(
        "gk_hostapi_refused_total",
        &["plugin", "method"],
        "Requests to the host API that a policy or a rate refused.",
    ),
    counter(
        "gk_job_runs_total",
        PLUGIN_OUTCOME,
        "Attempts of jobs that ended on this host, by outcome: succeeded, failed, timed_out, lost, replaced, dropped.",
    ),
    histogram(
        "gk_job_run_seconds",
        PLUGIN,
        "Duration of attempts of jobs.",
    ),
    gauge(
        "gk_job_runs_in_progress",
        PLUGIN,
        "Attempts of jobs under way on this host.",
    ),
    counter(
        "gk_job_skipped_total",
        PLUGIN,
        "Ticks that did not run because an earlier run went on.",
    ),
    counter(
        "gk_job_missed_total",
        PLUGIN,
        "Ticks that did not run because no host was there in time.",
    ),
    counter(
        "gk_job_late_results_total",
        PLUGIN,
        "Results that came after their attempt had been given up.",
    ),
    counter(
        "gk_job_store_failures_total",
        NONE,
        "Work on the store of jobs that failed.",
    ),
    counter(
        "process_cpu_seconds_total",
        NONE,
        "Total user and system CPU time spent in seconds.",
    ),
    gauge(
        "process_resident_memory_bytes",
        NONE,
        "Resident memory size in bytes.",
    ),
    gauge(
        "process_virtual_memory_bytes",
        NONE,
        "Virtual memory size in bytes.",
    ),
    gauge(
        "process_threads",
        NONE,
        "Number of OS threads in the process.",
    ),
    gauge(
        "process_start_time_seconds",
        NONE,
        "Start time of the process since unix epoch in seconds.",
    ),
    gauge("process_open_fds", NONE, "Number of open file descriptors."),
    gauge(
        "process_max_fds",
        NONE,
        "Maximum number of open file descriptors.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for (at, metric) in METRICS.iter().enumerate() {
            let is_counter = metric.kind == MetricKind::Counter;
            assert_eq!(
                metric.name.ends_with("_total"),
                is_counter,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            let others = &METRICS[at + 1..];
            assert!(
                others.iter().all(|other| other.name != metric.name),
                "{}",
                metric.name
            );
        }
    }

    #[test]
    fn a_series_of_a_histogram_has_an_ending() {
        let name = |series| Metric::of_series(series).map(|metric| metric.name);
        assert_eq!(
            name("gk_job_run_seconds_bucket"),
            Some("gk_job_run_seconds")
        );
        assert_eq!(name("gk_job_run_seconds_count"), Some("gk_job_run_seconds"));
        for series in [
            "gk_job_run_seconds",
            "gk_job_run_seconds_total",
            "gk_ready_sum",
            "gk_",
        ] {
            assert_eq!(name(series), None, "{series}");
        }
        assert_eq!(name("gk_ready"), Some("gk_ready"));
    }
}
