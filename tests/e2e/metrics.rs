//! What `/metrics` says of plugins, held against the host's table of metrics.

use std::collections::BTreeMap;

use gk_api::{Metric, MetricKind};
use serde_json::json;

use crate::eventually;
use crate::host::{Host, Setup};

/// A sample: the name of its series, its labels, and its value.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The samples of `/metrics` at this moment. No label of the host's has a value with a quotation mark or a comma.
fn samples(host: &Host) -> Vec<Sample> {
    let text = host.call("GET", "/metrics").send().expect(200).text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
                None => (series, ""),
            };
            let labels = labels.split(',').filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (label, value) = label.split_once("=\"").unwrap();
                (
                    label.to_owned(),
                    value.strip_suffix('"').unwrap().to_owned(),
                )
            });
            Sample {
                name: name.to_owned(),
                labels: labels.collect(),
                value: value.parse().unwrap(),
            }
        })
        .collect()
}

/// The value of the series with these labels and no others.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: BTreeMap<String, String> = labels
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect();
    let found = samples
        .iter()
        .find(|sample| sample.name == name && sample.labels == labels);
    found.map(|sample| sample.value)
}

fn ask(host: &Host, method: &str) {
    let question = json!({ "method": method, "args": {} });
    host.function("goat", "ask_host", &question);
}

#[test]
fn what_is_told_of_a_plugin_is_in_the_table_and_goes_with_it() {
    let host = Setup::new()
        .plugin("goat", "gen3")
        .plugin("kid", "gen3")
        .settled();
    host.function("goat", "get_status", &json!({})).expect(200);
    host.function("goat", "fail", &json!({}));
    for method in [
        "time_now",
        "time_now",
        "http_request",
        "plugin-own \"word\"",
        "org_id",
    ] {
        ask(&host, method);
    }
    host.admin("POST", "/api/v1/plugins/goat/jobs/note/run")
        .send()
        .expect(200);
    let seen = samples(&host);
    let of_goat = |name: &str, labels: &[(&str, &str)]| {
        let labels: Vec<_> = labels.iter().copied().chain([("plugin", "goat")]).collect();
        value(&seen, name, &labels)
    };
    assert_eq!(value(&seen, "gk_ready", &[]), Some(1.0));
    assert_eq!(of_goat("gk_plugin_up", &[]), Some(1.0));
    assert_eq!(of_goat("gk_plugin_enabled", &[]), Some(1.0));
    assert_eq!(of_goat("gk_plugin_generation", &[]), Some(1.0));
    assert_eq!(of_goat("gk_plugin_restarts_total", &[]), None);
    assert_eq!(
        of_goat("gk_plugin_calls_total", &[("outcome", "application_error")]).map(|n| n >= 1.0),
        Some(true)
    );
    assert_eq!(
        of_goat("gk_job_runs_total", &[("outcome", "succeeded")]),
        Some(1.0)
    );
    for (method, outcome, count) in [
        ("time_now", "ok", 2.0),
        ("http_request", "denied", 1.0),
        ("(unknown)", "invalid", 1.0),
    ] {
        let labels = [("method", method), ("outcome", outcome)];
        assert_eq!(
            of_goat("gk_hostapi_requests_total", &labels),
            Some(count),
            "{method}"
        );
    }
    let refused = [("method", "http_request")];
    assert_eq!(of_goat("gk_hostapi_refused_total", &refused), Some(1.0));
    let durations = value(
        &seen,
        "gk_hostapi_request_duration_seconds_count",
        &[("method", "time_now")],
    );
    assert_eq!(durations, Some(2.0));

    // Every series is one of the table's, with exactly its labels.
    for sample in &seen {
        let metric = Metric::of_series(&sample.name);
        let metric = metric.unwrap_or_else(|| panic!("not in the table: {sample:?}"));
        let mut labels: Vec<_> = metric.labels.to_vec();
        if metric.kind == MetricKind::Histogram && sample.name.ends_with("_bucket") {
            labels.push("le");
        }
        labels.sort_unstable();
        assert_eq!(
            sample.labels.keys().collect::<Vec<_>>(),
            labels,
            "{sample:?}"
        );
        let words = sample.labels.values().any(|value| value.contains("word"));
        assert!(!words, "a plugin's own word: {sample:?}");
    }

    // One that ends by itself is started again.
    host.function("goat", "crash", &json!({}));
    eventually("another process", || {
        let seen = samples(&host);
        let one = [("plugin", "goat")];
        let restarts = value(&seen, "gk_plugin_restarts_total", &one)?;
        let generation = value(&seen, "gk_plugin_generation", &one)?;
        (generation > 1.0).then(|| assert!(restarts >= 1.0))
    });
    // One that is disabled is not missed.
    host.admin("POST", "/api/v1/plugins/kid/disable?wait=100s")
        .send()
        .expect(200);
    eventually("kid is gone", || {
        let seen = samples(&host);
        let of_kid = |name| value(&seen, name, &[("plugin", "kid")]);
        (of_kid("gk_plugin_generation") == Some(0.0)).then(|| {
            assert_eq!(
                (of_kid("gk_plugin_up"), of_kid("gk_plugin_enabled")),
                (Some(0.0), Some(0.0))
            );
        })
    });
    host.admin("DELETE", "/api/v1/plugins/goat")
        .send()
        .expect(200);
    let left = samples(&host);
    let left = left.iter().filter(|sample| {
        sample
            .labels
            .get("plugin")
            .is_some_and(|plugin| plugin == "goat")
    });
    assert_eq!(
        left.map(|sample| &sample.name).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    let reported = host.log();
    assert!(
        !reported.contains("a metric is not in the host's table"),
        "{reported}"
    );
}
