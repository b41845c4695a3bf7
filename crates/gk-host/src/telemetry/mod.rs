//! Log and metrics of the host process.
//!
//! Log and metrics are bounded: a log line has at most [`lines::LINE_BYTES_MAX`] bytes, a second at
//! most [`lines::LINES_PER_SECOND_MAX`] lines, and a histogram keeps counts and no samples, so that
//! it does not grow while `/metrics` is not read.

mod lines;
mod process;
mod recorder;
mod render;
mod unlisted;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use gk_api::Figures;
use gk_runtime::Snapshot;
use metrics::Key;
use tracing_subscriber::filter::{FilterExt, Filtered};
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

pub(crate) use self::lines::Limit;
#[cfg(all(test, feature = "otlp"))]
pub(crate) use self::recorder::Distribution;
pub(crate) use self::recorder::{BOUNDS, Value};
use self::recorder::{Recorder, label, plugin_of};
use crate::config::{Config, LogFormat};

/// Layer that the log goes to beside stderr.
pub(crate) type Exported = Box<dyn Layer<Registry> + Send + Sync>;

/// What the lines of stderr are a layer on.
type Base = Layered<Option<Filtered<Exported, EnvFilter, Registry>>, Registry>;

/// Handle that changes the log filter of the lines on stderr.
pub(crate) type LogFilter = reload::Handle<EnvFilter, Base>;

/// Returns the configured log filter.
pub(crate) fn filter(config: &Config) -> Result<EnvFilter> {
    EnvFilter::try_new(&config.log).with_context(|| format!("log = {:?} is no filter", config.log))
}

/// Sends the log to stderr, and to `export` by the filter of the start. The first handle ends the start's extra lines; the second one changes
/// the filter.
pub(crate) fn log(config: &Config, export: Option<Exported>) -> Result<(Limit, LogFilter)> {
    let exported = self::filter(config)?;
    let base = Registry::default().with(export.map(|layer| layer.with_filter(exported)));
    let (filter, handle) = reload::Layer::new(filter(config)?);
    let limit = Limit::new();
    let filter = filter.and(limit.filter());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => {
            let lines = lines
                .json()
                .map_event_format(|format| lines::Capped::json(format, limit.clone()));
            base.with(lines.with_filter(filter)).try_init()
        }
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            let lines = lines.with_ansi(ansi).map_event_format(|format| {
                lines::Capped::text(format.with_ansi(ansi), limit.clone())
            });
            base.with(lines.with_filter(filter)).try_init()
        }
    }
    .context("the log cannot be set up")?;
    Ok((limit, handle))
}

/// Metrics of the host, in Prometheus' text format.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    recorder: Arc<Recorder>,
}

/// Installs the recorder of metrics.
pub(crate) fn metrics() -> Result<Metrics> {
    let recorder = Arc::new(Recorder::new());
    metrics::set_global_recorder(Arc::clone(&recorder))
        .ok()
        .context("a recorder of metrics is installed already")?;
    metrics::gauge!("gk_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(Metrics { recorder })
}

impl Metrics {
    /// Returns all metrics, and those of processes at this moment: the host's own by the standard
    /// `process_…` names, the plugins' with their names.
    ///
    /// Series of a removed plugin are hidden. Their counts go on if it comes back.
    pub(crate) fn render(&self, snapshot: &Arc<Snapshot>) -> String {
        process::record_plugins(snapshot);
        let is_there =
            |key: &Key| plugin_of(key).is_none_or(|plugin| snapshot.get(plugin).is_some());
        self.recorder.forget(|key| !is_there(key));
        unlisted::report(&self.recorder);
        let mut text = render::render(&self.recorder, is_there);
        text.push_str(&process::own());
        text
    }

    /// Passes the value of each series at this moment to `each`, those of the process included.
    #[cfg(feature = "otlp")]
    pub(crate) fn visit(&self, snapshot: &Snapshot, mut each: impl FnMut(&Key, Value)) {
        process::record_plugins(snapshot);
        self.recorder.visit(|key, value| {
            if plugin_of(key).is_none_or(|plugin| snapshot.get(plugin).is_some()) {
                each(key, value);
            }
        });
        for (name, value) in process::values() {
            each(&Key::from_static_name(name), Value::Gauge(value));
        }
    }

    /// Returns the counted and measured figures of each plugin.
    pub(crate) fn figures(&self, snapshot: &Snapshot) -> BTreeMap<String, Figures> {
        process::record_plugins(snapshot);
        let mut all: BTreeMap<String, Figures> = BTreeMap::new();
        self.recorder.visit(|key, value| {
            if let Some(plugin) = plugin_of(key).filter(|plugin| snapshot.get(plugin).is_some()) {
                add(all.entry(plugin.to_owned()).or_default(), key, &value);
            }
        });
        all
    }
}

/// Adds the value of a series to the figures of its plugin.
fn add(figures: &mut Figures, key: &Key, value: &Value) {
    match (key.name(), value) {
        ("gk_plugin_memory_bytes", Value::Gauge(bytes)) => figures.memory_bytes = whole(*bytes),
        ("gk_plugin_cpu_seconds", Value::Gauge(seconds)) => figures.cpu_seconds = seconds.max(0.0),
        ("gk_plugin_calls_in_flight", Value::Gauge(calls)) => figures.in_flight = whole(*calls),
        ("gk_plugin_calls_waiting", Value::Gauge(calls)) => figures.waiting = whole(*calls),
        ("gk_plugin_calls_shed_total", Value::Counter(count)) => figures.shed += count,
        ("gk_plugin_calls_total", Value::Counter(count)) => {
            figures.calls += count;
            if label(key, "outcome") != Some("ok") {
                figures.failed += count;
            }
        }
        ("gk_plugin_call_duration_seconds", Value::Histogram(calls)) => {
            let buckets: Vec<_> = BOUNDS.into_iter().zip(calls.cumulative).collect();
            let quantile = |share| quantile(&buckets, calls.count, share);
            figures.p50_ms = quantile(0.5).map(|seconds| seconds * 1e3);
            figures.p99_ms = quantile(0.99).map(|seconds| seconds * 1e3);
        }
        _ => {}
    }
}

/// Converts a gauge of calls or bytes to a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they are whole, and below 2^52"
)]
fn whole(gauge: f64) -> u64 {
    gauge.max(0.0) as u64
}

/// Estimates the value below which this share of all samples is, from a histogram's buckets and as
/// Prometheus does it: samples are spread evenly over their bucket. Values above the last bound
/// count as that.
fn quantile(buckets: &[(f64, u64)], total: u64, share: f64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^52")]
    let as_float = |count: u64| count as f64;
    let rank = as_float(total) * share;
    let (mut lower, mut below) = (0.0, 0);
    for (upper, count) in buckets {
        if as_float(*count) >= rank && *count > below {
            let within = (rank - as_float(below)) / as_float(count - below);
            return Some(lower + (upper - lower) * within);
        }
        (lower, below) = (*upper, *count);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_is_not_there_is_not_shown() {
        let metrics = Metrics {
            recorder: Arc::new(Recorder::new()),
        };
        let snapshot = Arc::new(Snapshot::default());
        let text = metrics::with_local_recorder(&metrics.recorder, || {
            metrics::counter!("gk_plugin_crashes_total", "plugin" => "gone").increment(1);
            metrics::counter!("gk_auth_failures_total").increment(2);
            metrics.render(&snapshot)
        });
        assert!(text.contains("\ngk_auth_failures_total 2\n"), "{text}");
        assert!(text.contains("\nprocess_threads "), "{text}");
        assert!(!text.contains("gk_plugin_crashes_total"), "{text}");
        assert!(metrics.figures(&snapshot).is_empty());
    }

    #[test]
    fn figures_are_what_the_series_of_a_plugin_say() {
        let recorder = Recorder::new();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("gk_plugin_calls_total", "outcome" => "ok").increment(5);
            metrics::counter!("gk_plugin_calls_total", "outcome" => "timeout").increment(2);
            metrics::counter!("gk_plugin_calls_shed_total", "reason" => "waited").increment(3);
            metrics::counter!("gk_plugin_calls_shed_total", "reason" => "queue_full").increment(1);
            metrics::gauge!("gk_plugin_calls_in_flight").set(4.0);
            metrics::gauge!("gk_plugin_calls_waiting").set(-1.0);
            metrics::gauge!("gk_plugin_memory_bytes").set(4096.0);
            metrics::gauge!("gk_plugin_cpu_seconds").set(1.5);
            metrics::histogram!("gk_plugin_call_duration_seconds").record(0.07);
            // Series of an unexpected kind are ignored.
            metrics::gauge!("gk_plugin_calls_total").set(9.0);
        });
        let mut figures = Figures::default();
        recorder.visit(|key, value| add(&mut figures, key, &value));
        assert_eq!((figures.calls, figures.failed, figures.shed), (7, 2, 4));
        assert_eq!((figures.in_flight, figures.waiting), (4, 0));
        assert_eq!(figures.memory_bytes, 4096);
        assert_eq!(figures.cpu_seconds.to_bits(), 1.5_f64.to_bits());
        let milliseconds = figures.p50_ms.zip(figures.p99_ms).unwrap();
        assert!(
            milliseconds.0 > 50.0 && milliseconds.1 < 100.0,
            "{milliseconds:?}"
        );
    }

    #[test]
    fn quantiles_are_estimated_within_their_bucket() {
        let buckets = [(1.0, 50), (2.0, 90), (4.0, 100)];
        assert_eq!(quantile(&buckets, 100, 0.5), Some(1.0));
        assert_eq!(quantile(&buckets, 100, 0.7), Some(1.5));
        assert_eq!(quantile(&buckets, 100, 0.95), Some(3.0));
        // Samples above all bounds.
        assert_eq!(quantile(&buckets, 200, 0.99), Some(4.0));
        assert_eq!(quantile(&buckets, 0, 0.5), None);
    }
}
