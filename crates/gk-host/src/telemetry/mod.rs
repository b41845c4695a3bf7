//! Log and metrics of the host process.
//!
//! Both are bounded whatever happens around them: a log line has at most [`lines::LINE_BYTES_MAX`]
//! bytes, a second at most [`lines::LINES_PER_SECOND_MAX`] lines, and a histogram keeps counts and
//! no samples, so that nothing grows while nobody reads `/metrics`.

mod lines;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use gk_api::Figures;
use gk_runtime::Snapshot;
use prometheus::{Encoder, HistogramOpts, HistogramVec, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use self::lines::Limit;
use crate::config::{Config, LogFormat};

/// Bounds of the duration histograms in seconds: from a call's 30 µs to a timeout's 30 s.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
    30.0,
];

/// The duration histograms, their labels, and what `/metrics` says about them. Their buckets must
/// be known before the first sample.
const HISTOGRAMS: &[(&str, &[&str], &str)] = &[
    (
        "gk_plugin_call_duration_seconds",
        &["plugin"],
        "How long calls into plugins took.",
    ),
    (
        "gk_http_request_seconds",
        &[],
        "How long HTTP requests took, from the end of the head to the answer's.",
    ),
];

/// Says what is logged, and changes it.
pub(crate) type LogFilter = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// What is logged, as the configuration says.
pub(crate) fn filter(config: &Config) -> Result<EnvFilter> {
    EnvFilter::try_new(&config.log).with_context(|| format!("log = {:?} is no filter", config.log))
}

/// Sends the log to stderr. The first handle says when the host has started.
pub(crate) fn log(config: &Config) -> Result<(Limit, LogFilter)> {
    let (filter, handle) = reload::Layer::new(filter(config)?);
    let limit = Limit::new();
    let filter = filter.and(limit.filter());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => {
            let lines = lines
                .json()
                .map_event_format(|format| lines::Capped::json(format, limit.clone()));
            tracing_subscriber::registry()
                .with(lines.with_filter(filter))
                .try_init()
        }
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            let lines = lines.with_ansi(ansi).map_event_format(|format| {
                lines::Capped::text(format.with_ansi(ansi), limit.clone())
            });
            tracing_subscriber::registry()
                .with(lines.with_filter(filter))
                .try_init()
        }
    }
    .context("the log cannot be set up")?;
    Ok((limit, handle))
}

/// What is counted, in Prometheus' text format.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
}

/// Records metrics from now on.
pub(crate) fn metrics() -> Result<Metrics> {
    let registry = Registry::new();
    let mut recorder = metrics_prometheus::Recorder::builder()
        .with_registry(registry.clone())
        .with_failure_strategy(metrics_prometheus::failure::strategy::NoOp);
    for (name, labels, help) in HISTOGRAMS {
        let options = HistogramOpts::new(*name, *help).buckets(SECONDS.to_vec());
        let histogram =
            HistogramVec::new(options, labels).with_context(|| format!("the histogram {name}"))?;
        recorder = recorder
            .try_with_metric(histogram)
            .with_context(|| format!("the histogram {name}"))?;
    }
    let recorder = recorder.build();
    metrics::set_global_recorder(recorder)
        .ok()
        .context("a recorder of metrics is installed already")?;
    metrics::describe_gauge!("gk_build_info", "1; the label is the host's version.");
    metrics::gauge!("gk_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    lines::describe();
    process::describe();
    Ok(Metrics { registry })
}

/// Whether a metric is about a plugin that is there, or about none: those of a removed plugin are shown no more. What was
/// counted goes on if it comes back.
fn is_there(metric: &prometheus::proto::Metric, snapshot: &Snapshot) -> bool {
    let mut labels = metric.get_label().iter();
    let plugin = labels.find(|label| label.name() == "plugin");
    plugin.is_none_or(|plugin| snapshot.get(plugin.value()).is_some())
}

impl Metrics {
    /// Everything that was counted, and how processes stand at this moment: the host's own by the
    /// standard `process_…` names, the plugins' with their names.
    pub(crate) fn render(&self, snapshot: &Arc<Snapshot>) -> String {
        process::record_plugins(snapshot);
        let mut text = Vec::new();
        let mut families = self.registry.gather();
        for family in &mut families {
            let mut metrics = family.take_metric();
            metrics.retain(|metric| is_there(metric, snapshot));
            family.set_metric(metrics);
        }
        families.retain(|family| !family.get_metric().is_empty());
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        let mut text = String::from_utf8(text).unwrap_or_default();
        text.push_str(&process::own());
        text
    }

    /// What was counted and is measured of each plugin.
    pub(crate) fn figures(&self, snapshot: &Snapshot) -> BTreeMap<String, Figures> {
        process::record_plugins(snapshot);
        let mut all: BTreeMap<String, Figures> = BTreeMap::new();
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                let label = |wanted: &str| {
                    let mut labels = metric.get_label().iter();
                    let label = labels.find(|label| label.name() == wanted)?;
                    Some(label.value().to_owned())
                };
                if let Some(plugin) =
                    label("plugin").filter(|plugin| snapshot.get(plugin).is_some())
                {
                    let outcome = label("outcome");
                    add(
                        all.entry(plugin).or_default(),
                        family.name(),
                        outcome.as_deref(),
                        metric,
                    );
                }
            }
        }
        all
    }
}

/// Adds what a metric says to the figures of its plugin.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and bytes are whole, positive, and below 2^52"
)]
fn add(
    figures: &mut Figures,
    name: &str,
    outcome: Option<&str>,
    metric: &prometheus::proto::Metric,
) {
    let count = || metric.get_counter().get_value() as u64;
    let gauge = || metric.get_gauge().get_value().max(0.0);
    match name {
        "gk_plugin_memory_bytes" => figures.memory_bytes = gauge() as u64,
        "gk_plugin_cpu_seconds" => figures.cpu_seconds = gauge(),
        "gk_plugin_calls_in_flight" => figures.in_flight = gauge() as u64,
        "gk_plugin_calls_waiting" => figures.waiting = gauge() as u64,
        "gk_plugin_calls_shed_total" => figures.shed += count(),
        "gk_plugin_calls_total" => {
            figures.calls += count();
            if outcome != Some("ok") {
                figures.failed += count();
            }
        }
        "gk_plugin_call_duration_seconds" => {
            let histogram = metric.get_histogram();
            let buckets: Vec<_> = histogram
                .get_bucket()
                .iter()
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect();
            let total = histogram.get_sample_count();
            figures.p50_ms = quantile(&buckets, total, 0.5).map(|seconds| seconds * 1e3);
            figures.p99_ms = quantile(&buckets, total, 0.99).map(|seconds| seconds * 1e3);
        }
        _ => {}
    }
}

/// The value below which this share of all samples is, estimated from a histogram's buckets as Prometheus does it: samples
/// are spread evenly over their bucket. What is above the last bound counts as that.
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
            if upper.is_infinite() {
                break;
            }
            let within = (rank - as_float(below)) / as_float(count - below);
            return Some(lower + (upper - lower) * within);
        }
        (lower, below) = (*upper, *count);
    }
    buckets
        .iter()
        .rev()
        .map(|(upper, _)| *upper)
        .find(|upper| upper.is_finite())
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_estimated_within_their_bucket() {
        let buckets = [(1.0, 50), (2.0, 90), (4.0, 100)];
        assert_eq!(quantile(&buckets, 100, 0.5), Some(1.0));
        assert_eq!(quantile(&buckets, 100, 0.7), Some(1.5));
        assert_eq!(quantile(&buckets, 100, 0.95), Some(3.0));
        // Some are above all bounds.
        assert_eq!(quantile(&buckets, 200, 0.99), Some(4.0));
        assert_eq!(quantile(&buckets, 0, 0.5), None);
    }
}
