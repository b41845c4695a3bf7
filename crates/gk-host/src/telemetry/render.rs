//! Metrics in Prometheus' text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use metrics::{Key, KeyName, Label};

use super::recorder::{BOUNDS, Recorder, Value};

/// Series of the same name.
struct Family {
    kind: &'static str,
    /// Labels as they are written between the braces, and value.
    series: Vec<(String, Value)>,
}

/// Renders the series that are to be shown, by name and labels.
///
/// An invalid name, of a metric or of a label, would spoil the whole answer. Such a series is left
/// out, and so is one whose name also has another kind. The log reports both.
pub(super) fn render(recorder: &Recorder, is_shown: impl Fn(&Key) -> bool) -> String {
    let mut families: BTreeMap<KeyName, Family> = BTreeMap::new();
    let mut wrong = BTreeSet::new();
    recorder.visit(|key, value| {
        if !is_shown(key) {
            return;
        }
        let kind = kind(&value);
        if !is_name(key.name()) || !key.labels().all(|label| is_name(label.key())) {
            wrong.insert((key.name_shared(), kind));
            return;
        }
        let family = families.entry(key.name_shared()).or_insert(Family {
            kind,
            series: Vec::new(),
        });
        if family.kind == kind {
            family.series.push((labels(key), value));
        } else {
            wrong.insert((key.name_shared(), kind));
        }
    });
    for (name, kind) in wrong {
        tracing::error!(
            name = name.as_str(),
            kind,
            "a metric is not shown: it has a name that is not valid, or another metric's; please report this"
        );
    }
    let mut text = String::new();
    for (name, mut family) in families {
        let name = name.as_str();
        let help = recorder.help(name);
        head(
            &mut text,
            name,
            family.kind,
            help.as_deref().unwrap_or(name),
        );
        family.series.sort_by(|one, other| one.0.cmp(&other.0));
        for (labels, value) in &family.series {
            match value {
                Value::Counter(count) => sample(&mut text, name, "", labels, count),
                Value::Gauge(value) => sample(&mut text, name, "", labels, value),
                Value::Histogram(distribution) => {
                    let comma = if labels.is_empty() { "" } else { "," };
                    let mut bucket = |bound: &dyn Display, count: u64| {
                        let labels = format!("{labels}{comma}le=\"{bound}\"");
                        sample(&mut text, name, "_bucket", &labels, count);
                    };
                    for (bound, count) in BOUNDS.iter().zip(distribution.cumulative) {
                        bucket(bound, count);
                    }
                    bucket(&"+Inf", distribution.count);
                    sample(&mut text, name, "_sum", labels, distribution.sum);
                    sample(&mut text, name, "_count", labels, distribution.count);
                }
            }
        }
    }
    text
}

/// Writes the head of a metric's samples.
pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str("# HELP ");
    text.push_str(name);
    text.push(' ');
    escape(text, help, false);
    // Writing to a String does not fail.
    let _ = writeln!(text, "\n# TYPE {name} {kind}");
}

/// Adds a sample; `labels` are escaped already.
pub(super) fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &str,
    value: impl Display,
) {
    // Writing to a String does not fail.
    let _ = match labels {
        "" => writeln!(text, "{name}{suffix} {value}"),
        labels => writeln!(text, "{name}{suffix}{{{labels}}} {value}"),
    };
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Counter(_) => "counter",
        Value::Gauge(_) => "gauge",
        Value::Histogram(_) => "histogram",
    }
}

/// Returns the labels of a series, by name, as they are written between the braces.
fn labels(key: &Key) -> String {
    let mut labels: Vec<&Label> = key.labels().collect();
    labels.sort();
    let mut text = String::new();
    for label in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(label.key());
        text.push_str("=\"");
        escape(&mut text, label.value(), true);
        text.push('"');
    }
    text
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// Returns true for a valid name of a metric or a label. Colons are reserved for the rules of a
/// scraper.
fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::recorder::plugin_of;
    use super::*;
    use metrics::with_local_recorder;

    fn rendered(record: impl FnOnce()) -> String {
        let recorder = Recorder::new();
        with_local_recorder(&recorder, record);
        render(&recorder, |_| true)
    }

    #[test]
    fn families_and_series_are_sorted_and_escaped() {
        let text = rendered(|| {
            metrics::describe_gauge!("b", "a \\ and a \"line\"\nand another");
            metrics::gauge!("b").set(-0.5);
            let _ = metrics::counter!("a_total", "plugin" => "z", "outcome" => "ok");
            metrics::counter!("a_total", "plugin" => "q\"\\\nü", "outcome" => "ok").increment(3);
            metrics::counter!("a_total", "plugin" => "z", "outcome" => "failed").increment(1);
        });
        let expected = r##"# HELP a_total a_total
# TYPE a_total counter
a_total{outcome="failed",plugin="z"} 1
a_total{outcome="ok",plugin="q\"\\\nü"} 3
a_total{outcome="ok",plugin="z"} 0
# HELP b a \\ and a "line"\nand another
# TYPE b gauge
b -0.5
"##;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_a_sum_and_a_count() {
        let text = rendered(|| {
            metrics::describe_histogram!("s", "How long.");
            let seconds = metrics::histogram!("s", "plugin" => "a");
            for value in [0.000_01, 0.25, 0.25, 60.0] {
                seconds.record(value);
            }
        });
        let expected = r#"# HELP s How long.
# TYPE s histogram
s_bucket{plugin="a",le="0.00005"} 1
s_bucket{plugin="a",le="0.0001"} 1
s_bucket{plugin="a",le="0.00025"} 1
s_bucket{plugin="a",le="0.0005"} 1
s_bucket{plugin="a",le="0.001"} 1
s_bucket{plugin="a",le="0.0025"} 1
s_bucket{plugin="a",le="0.005"} 1
s_bucket{plugin="a",le="0.01"} 1
s_bucket{plugin="a",le="0.05"} 1
s_bucket{plugin="a",le="0.1"} 1
s_bucket{plugin="a",le="0.5"} 3
s_bucket{plugin="a",le="1"} 3
s_bucket{plugin="a",le="5"} 3
s_bucket{plugin="a",le="30"} 3
s_bucket{plugin="a",le="+Inf"} 4
s_sum{plugin="a"} 60.50001
s_count{plugin="a"} 4
"#;
        assert_eq!(text, expected);
        let text = rendered(|| metrics::histogram!("s").record(1));
        assert!(text.contains("\ns_bucket{le=\"1\"} 1\n"), "{text}");
        assert!(text.ends_with("\ns_sum 1\ns_count 1\n"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_left_out_and_spoils_nothing() {
        let text = rendered(|| {
            metrics::gauge!("twice").set(2.0);
            metrics::counter!("twice").increment(1);
            metrics::histogram!("twice").record(1.0);
            metrics::counter!("not a name").increment(1);
            metrics::counter!("9").increment(1);
            metrics::counter!("").increment(1);
            metrics::counter!("right", "not-a-label" => "x").increment(1);
            metrics::counter!("right").increment(1);
        });
        let expected = "# HELP right right\n# TYPE right counter\nright 1\n\
            # HELP twice twice\n# TYPE twice counter\ntwice 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_family_with_nothing_to_show_is_hidden() {
        let recorder = Recorder::new();
        with_local_recorder(&recorder, || {
            metrics::counter!("a", "plugin" => "gone").increment(1);
            metrics::counter!("b", "plugin" => "gone").increment(1);
            metrics::counter!("b", "plugin" => "there").increment(1);
        });
        let text = render(&recorder, |key| plugin_of(key) != Some("gone"));
        let expected = "# HELP b b\n# TYPE b counter\nb{plugin=\"there\"} 1\n";
        assert_eq!(text, expected);
        assert!(render(&recorder, |_| true).contains("a{plugin=\"gone\"} 1\n"));
    }
}
