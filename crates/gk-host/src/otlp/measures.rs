//! Metrics as OTLP's messages. Counters and histograms count from the host's start.

use std::collections::BTreeMap;
use std::time::SystemTime;

use gk_api::{Metric as Listed, MetricKind};
use metrics::Key;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};

use super::encode;
use crate::telemetry::{BOUNDS, Value};

/// Metrics of one moment.
pub(super) struct Measures {
    start: u64,
    now: u64,
    metrics: BTreeMap<String, Metric>,
    points: usize,
}

impl Measures {
    pub(super) fn new(started: SystemTime, now: SystemTime) -> Self {
        Measures {
            start: encode::nanos(started),
            now: encode::nanos(now),
            metrics: BTreeMap::new(),
            points: 0,
        }
    }

    /// Adds the value of a series. A series of another kind than the others of its name is left
    /// out.
    pub(super) fn add(&mut self, key: &Key, value: Value) {
        let labels = key.labels();
        let attributes = labels.map(|label| encode::text(label.key(), label.value().to_owned()));
        let number = |value, start| NumberDataPoint {
            attributes: attributes.clone().collect(),
            start_time_unix_nano: start,
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        };
        let metric = self.metrics.entry(key.name().to_owned());
        let metric = metric.or_insert_with(|| empty(key.name(), &value));
        match (value, &mut metric.data) {
            (Value::Counter(count), Some(Data::Sum(sum))) => {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                sum.data_points
                    .push(number(Number::AsInt(count), self.start));
            }
            // A counter with a fraction, of the host's own process.
            (Value::Gauge(value), Some(Data::Sum(sum))) if is_counter(key.name()) => {
                sum.data_points
                    .push(number(Number::AsDouble(value), self.start));
            }
            (Value::Gauge(value), Some(Data::Gauge(gauge))) => {
                gauge.data_points.push(number(Number::AsDouble(value), 0));
            }
            (Value::Histogram(read), Some(Data::Histogram(histogram))) => {
                let mut below = 0;
                let up_to = read.cumulative.into_iter().chain([read.count]);
                let counts = up_to.map(|count| count - std::mem::replace(&mut below, count));
                histogram.data_points.push(HistogramDataPoint {
                    bucket_counts: counts.collect(),
                    attributes: attributes.collect(),
                    start_time_unix_nano: self.start,
                    time_unix_nano: self.now,
                    count: read.count,
                    sum: Some(read.sum),
                    explicit_bounds: BOUNDS.to_vec(),
                    ..HistogramDataPoint::default()
                });
            }
            _ => return,
        }
        self.points += 1;
    }

    /// Returns the request, and the number of values in it.
    pub(super) fn finish(
        self,
        resource: &[(String, String)],
    ) -> (ExportMetricsServiceRequest, usize) {
        let scope = ScopeMetrics {
            scope: Some(encode::scope()),
            metrics: self.metrics.into_values().collect(),
            ..ScopeMetrics::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(encode::resource(resource)),
                scope_metrics: vec![scope],
                ..ResourceMetrics::default()
            }],
        };
        (request, self.points)
    }
}

/// Returns true for a counter of the host's table.
fn is_counter(name: &str) -> bool {
    Listed::named(name).is_some_and(|listed| listed.kind == MetricKind::Counter)
}

/// Returns a metric without values.
fn empty(name: &str, value: &Value) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match value {
        Value::Gauge(_) if !is_counter(name) => Data::Gauge(Gauge::default()),
        Value::Counter(_) | Value::Gauge(_) => Data::Sum(Sum {
            aggregation_temporality: temporality,
            is_monotonic: true,
            ..Sum::default()
        }),
        Value::Histogram(_) => Data::Histogram(Histogram {
            aggregation_temporality: temporality,
            ..Histogram::default()
        }),
    };
    let seconds = matches!(value, Value::Histogram(_));
    Metric {
        name: name.to_owned(),
        description: Listed::named(name)
            .map_or("", |listed| listed.help)
            .to_owned(),
        unit: if seconds { "s" } else { "" }.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Distribution;
    use metrics::Label;

    #[test]
    fn buckets_are_counted_each_for_itself() {
        let mut cumulative = [3; BOUNDS.len()];
        cumulative[0] = 1;
        let mut measures = Measures::new(SystemTime::UNIX_EPOCH, SystemTime::now());
        let key = Key::from_parts("gk_job_run_seconds", vec![Label::new("plugin", "goat")]);
        let count = 5;
        measures.add(
            &key,
            Value::Histogram(Distribution {
                cumulative,
                count,
                sum: 70.0,
            }),
        );
        // Another kind under this name.
        measures.add(&key, Value::Counter(1));
        measures.add(
            &Key::from_name("gk_store_failures_total"),
            Value::Counter(7),
        );
        measures.add(
            &Key::from_name("process_cpu_seconds_total"),
            Value::Gauge(0.5),
        );
        let (request, points) = measures.finish(&[]);
        assert_eq!(points, 3);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Histogram(histogram)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts.len(), BOUNDS.len() + 1);
        assert_eq!(point.bucket_counts[..3], [1, 2, 0]);
        assert_eq!(point.bucket_counts.last(), Some(&2));
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), count);
        let Some(Data::Sum(sum)) = &metrics[1].data else {
            panic!("{metrics:?}");
        };
        assert!(sum.is_monotonic && metrics[1].description.contains("store"));
        assert_eq!(sum.data_points[0].value, Some(Number::AsInt(7)));
        let Some(Data::Sum(sum)) = &metrics[2].data else {
            panic!("{metrics:?}");
        };
        assert_eq!(sum.data_points[0].value, Some(Number::AsDouble(0.5)));
    }
}
