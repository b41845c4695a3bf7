//! Metrics that the host's table does not have as they are recorded. The documentation, the dashboard
//! and the alerts are made from the table, or checked with it.

use std::collections::BTreeSet;

use gk_api::{Metric, MetricKind};
use metrics::{Key, Label};

use super::recorder::{Recorder, Value};

/// Reports every metric that is recorded otherwise than the table says. It is shown all the same.
pub(super) fn report(recorder: &Recorder) {
    for name in names(recorder) {
        tracing::error!(
            name,
            "a metric is not in the host's table, or has another kind or other labels there; please report this"
        );
    }
}

/// Returns the names of the metrics of which a series is not as the table says.
fn names(recorder: &Recorder) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    recorder.visit(|key, value| {
        if !is_listed(key, &value) {
            names.insert(key.name().to_owned());
        }
    });
    names
}

fn is_listed(key: &Key, value: &Value) -> bool {
    let kind = match value {
        Value::Counter(_) => MetricKind::Counter,
        Value::Gauge(_) => MetricKind::Gauge,
        Value::Histogram(_) => MetricKind::Histogram,
    };
    Metric::named(key.name()).is_some_and(|metric| {
        let has = |label: &Label| metric.labels.contains(&label.key());
        metric.kind == kind && key.labels().len() == metric.labels.len() && key.labels().all(has)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_kind_and_labels_are_those_of_the_table() {
        let recorder = Recorder::new();
        metrics::with_local_recorder(&recorder, || {
            metrics::gauge!("gk_ready").set(1.0);
            metrics::counter!("gk_plugin_calls_total", "outcome" => "ok", "plugin" => "a")
                .increment(1);
            metrics::histogram!("gk_plugin_call_duration_seconds", "plugin" => "a").record(1.0);
        });
        assert!(names(&recorder).is_empty());
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("gk_no_such_total").increment(1);
            metrics::counter!("gk_plugin_up", "plugin" => "a").increment(1);
            metrics::counter!("gk_plugin_starts_total", "plugin" => "a").increment(1);
            metrics::counter!("gk_store_failures_total", "plugin" => "a").increment(1);
            metrics::gauge!("gk_plugin_generation", "name" => "a").set(1.0);
        });
        let expected = [
            "gk_no_such_total",
            "gk_plugin_generation",
            "gk_plugin_starts_total",
            "gk_plugin_up",
            "gk_store_failures_total",
        ];
        assert_eq!(names(&recorder), expected.map(ToOwned::to_owned).into());
    }
}
