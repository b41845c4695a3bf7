//! Storage of metrics: an atomic number for each series, and for a histogram one for each bucket. A
//! series costs about 280 bytes of heap, its labels included, and recording takes no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use gk_api::Metric;
use metrics::{Counter, Gauge, HistogramFn, Key, KeyName, Label, Metadata, SharedString, Unit};
use metrics_util::registry::{Registry, Storage};
use parking_lot::Mutex;

/// Bounds of the histograms' buckets in seconds: from a call's 30 µs to a timeout's 30 s. Every
/// histogram of the host is one of durations.
pub(crate) const BOUNDS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
    30.0,
];

/// The recorder behind the macros of `metrics`.
#[derive(Debug)]
pub(super) struct Recorder {
    registry: Registry<Key, Series>,
    help: Mutex<HashMap<KeyName, SharedString>>,
}

/// Value of a series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Distribution),
}

/// Content of a histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    /// Number of samples up to each of [`BOUNDS`], those of lower buckets included.
    pub(crate) cumulative: [u64; BOUNDS.len()],
    /// Number of all samples, those above the last bound included.
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

/// Returns the plugin that a series belongs to.
pub(super) fn plugin_of(key: &Key) -> Option<&str> {
    label(key, "plugin")
}

/// Returns the value of a series' label.
pub(super) fn label<'a>(key: &'a Key, name: &str) -> Option<&'a str> {
    let mut labels = key.labels();
    labels.find(|label| label.key() == name).map(Label::value)
}

impl Recorder {
    pub(super) fn new() -> Self {
        Recorder {
            registry: Registry::new(Series),
            help: Mutex::default(),
        }
    }

    /// Passes every series to `each`: counters, then gauges, then histograms. `each` must not
    /// record a metric, as the registry is locked.
    pub(super) fn visit(&self, mut each: impl FnMut(&Key, Value)) {
        self.registry.visit_counters(|key, counter| {
            each(key, Value::Counter(counter.load(Ordering::Relaxed)));
        });
        self.registry.visit_gauges(|key, gauge| {
            let value = f64::from_bits(gauge.load(Ordering::Relaxed));
            each(key, Value::Gauge(value));
        });
        self.registry.visit_histograms(|key, histogram| {
            each(key, Value::Histogram(histogram.read()));
        });
    }

    /// Deletes the series that are gone, are empty (zero, or no sample), and have no other handle.
    /// A series that is recorded again continues its count, deleted or not.
    pub(super) fn forget(&self, is_gone: impl Fn(&Key) -> bool) {
        self.registry.retain_counters(|key, counter| {
            !is_gone(key) || is_held(counter) || counter.load(Ordering::Relaxed) > 0
        });
        self.registry.retain_gauges(|key, gauge| {
            !is_gone(key) || is_held(gauge) || f64::from_bits(gauge.load(Ordering::Relaxed)) != 0.0
        });
        self.registry.retain_histograms(|key, histogram| {
            !is_gone(key) || is_held(histogram) || histogram.read().count > 0
        });
    }

    /// Returns the description of the metrics of this name: that of the host's table, else what was
    /// said with the metric.
    pub(super) fn help(&self, name: &str) -> Option<SharedString> {
        let listed = Metric::named(name).map(|metric| SharedString::const_str(metric.help));
        listed.or_else(|| self.help.lock().get(name).cloned())
    }
}

/// Returns true if a series has a handle outside the registry. Call it only with the registry
/// locked, so that no handle can be created meanwhile.
fn is_held<T>(series: &Arc<T>) -> bool {
    if Arc::strong_count(series) > 1 {
        return true;
    }
    // Orders the records made through the last handle before the reads that follow.
    fence(Ordering::Acquire);
    false
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.help.lock().insert(name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.help.lock().insert(name, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.help.lock().insert(name, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.registry
            .get_or_create_counter(key, |counter| Counter::from_arc(Arc::clone(counter)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.registry
            .get_or_create_gauge(key, |gauge| Gauge::from_arc(Arc::clone(gauge)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        self.registry.get_or_create_histogram(key, |histogram| {
            metrics::Histogram::from_arc(Arc::clone(histogram))
        })
    }
}

/// Creates the series of a registry.
#[derive(Debug)]
struct Series;

impl Storage<Key> for Series {
    type Counter = Arc<AtomicU64>;
    /// Bits of an `f64`.
    type Gauge = Arc<AtomicU64>;
    type Histogram = Arc<Histogram>;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::default()
    }

    fn histogram(&self, _: &Key) -> Self::Histogram {
        Arc::default()
    }
}

/// Counts of samples by bucket; no sample is kept.
#[derive(Debug, Default)]
struct Histogram {
    /// Counts by bucket, each without those of lower buckets.
    buckets: [AtomicU64; BOUNDS.len()],
    above: AtomicU64,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    fn read(&self) -> Distribution {
        let mut count = 0;
        let cumulative = std::array::from_fn(|at| {
            count += self.buckets[at].load(Ordering::Relaxed);
            count
        });
        Distribution {
            cumulative,
            count: count + self.above.load(Ordering::Relaxed),
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
        }
    }
}

impl HistogramFn for Histogram {
    /// Counts a sample; a NaN is ignored.
    fn record(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let at = BOUNDS.partition_point(|bound| *bound < value);
        let bucket = self.buckets.get(at).unwrap_or(&self.above);
        bucket.fetch_add(1, Ordering::Relaxed);
        metrics::GaugeFn::increment(&self.sum, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::with_local_recorder;

    fn values(recorder: &Recorder) -> Vec<(String, Value)> {
        let mut values = Vec::new();
        recorder.visit(|key, value| values.push((key.name().to_owned(), value)));
        values.sort_by(|one, other| one.0.cmp(&other.0));
        values
    }

    #[test]
    fn a_series_is_one_whoever_records_it() {
        let recorder = Recorder::new();
        with_local_recorder(&recorder, || {
            let handle = metrics::counter!("calls", "plugin" => "a", "outcome" => "ok");
            handle.increment(2);
            // The order of labels does not matter.
            metrics::counter!("calls", "outcome" => "ok", "plugin" => "a").increment(3);
            handle.absolute(4);
            let level = metrics::gauge!("level");
            level.increment(2.5);
            level.decrement(1.0);
            metrics::gauge!("level").increment(1.0);
        });
        let expected = [
            ("calls".to_owned(), Value::Counter(5)),
            ("level".to_owned(), Value::Gauge(2.5)),
        ];
        assert_eq!(values(&recorder), expected);
    }

    #[test]
    fn a_sample_counts_in_its_bucket_and_all_above() {
        let histogram = Histogram::default();
        // A bound belongs to its bucket.
        for value in [-1.0, 0.0, 0.000_05, 0.000_06, 30.0, 30.5, f64::NAN] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!(read.cumulative[..3], [3, 4, 4]);
        assert_eq!(read.cumulative[12..], [4, 5]);
        assert_eq!(read.count, 6);
        assert!((read.sum - 59.500_11).abs() < 1e-9, "{}", read.sum);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| histogram.record(0.5)));
            }
        });
        let read = histogram.read();
        assert_eq!((read.count, read.cumulative[10]), (4000, 4000));
        assert!((read.sum - 2000.0).abs() < 1e-9, "{}", read.sum);
    }

    #[test]
    fn what_is_gone_is_deleted_unless_it_holds_something_or_is_held() {
        let recorder = Recorder::new();
        let names = |recorder: &Recorder| {
            let values = values(recorder).into_iter();
            values.map(|(name, _)| name).collect::<Vec<_>>()
        };
        with_local_recorder(&recorder, || {
            let held = (
                metrics::counter!("held_counter", "plugin" => "a"),
                metrics::gauge!("held_gauge", "plugin" => "a"),
                metrics::histogram!("held_histogram", "plugin" => "a"),
            );
            let _ = metrics::counter!("none", "plugin" => "a");
            let _ = metrics::histogram!("no_samples", "plugin" => "a");
            let _ = metrics::gauge!("zero", "plugin" => "a");
            metrics::gauge!("level", "plugin" => "a").set(7.0);
            metrics::counter!("some", "plugin" => "a").increment(1);
            metrics::histogram!("some_samples", "plugin" => "a").record(1.0);
            let _ = metrics::counter!("other", "plugin" => "b");
            let _ = metrics::gauge!("of_nobody");
            let is_gone = |key: &Key| plugin_of(key) == Some("a");
            recorder.forget(is_gone);
            let mut expected = vec!["held_counter", "held_gauge", "held_histogram"];
            expected.extend(["level", "of_nobody", "other", "some", "some_samples"]);
            assert_eq!(names(&recorder), expected);

            // A record through a handle that outlived the call is kept.
            held.0.increment(1);
            drop(held);
            recorder.forget(is_gone);
            expected.retain(|name| !["held_gauge", "held_histogram"].contains(name));
            assert_eq!(names(&recorder), expected);

            // The series is found again and continues its count.
            metrics::counter!("some", "plugin" => "a").increment(1);
        });
        let all = values(&recorder);
        assert!(
            all.contains(&("some".to_owned(), Value::Counter(2))),
            "{all:?}"
        );
    }
}
