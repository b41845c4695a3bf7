//! `cargo xtask monitoring`: the dashboard and the alerts in `deploy`, held against the metrics
//! that the host has.
//!
//! Every expression is parsed. Its metrics and their labels have to be in the table of gk-api, and
//! the values that it selects have to be named there. Prometheus' own promtool judges the rules and
//! runs their tests.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use gk_api::{METRICS, Metric, MetricKind};
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, AggregateExpr, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde_json::Value;

use crate::command::{command, root, run as run_command, say};

const DASHBOARD: &str = "deploy/grafana/goatkit.json";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const ALERT_TESTS: &str = "deploy/prometheus/alerts.test.yaml";

/// Labels that Prometheus adds to every series.
const TARGET_LABELS: &[&str] = &["instance", "job"];

/// The metric that Prometheus makes itself, for each target.
const UP: &str = "up";

/// Checks both files.
pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    let dashboard = fs::read_to_string(root().join(DASHBOARD))
        .with_context(|| format!("cannot read {DASHBOARD}"))?;
    let alerts =
        fs::read_to_string(root().join(ALERTS)).with_context(|| format!("cannot read {ALERTS}"))?;
    let mut checked = 0;
    for expression in of_dashboard(&dashboard)?
        .into_iter()
        .chain(of_alerts(&alerts)?)
    {
        checked += 1;
        match check(&expression) {
            Ok(metrics) => named.extend(metrics),
            Err(error) => wrong.push(format!("{}: {error:#}", expression.place)),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let metrics = METRICS.iter().map(|metric| metric.name);
    let unused: Vec<_> = metrics.filter(|name| !named.contains(name)).collect();
    ensure!(
        unused.iter().all(|name| UNUSED.contains(name)),
        "neither {DASHBOARD} nor {ALERTS} uses {}; add what they say to the dashboard",
        unused.join(", ")
    );
    say(format!("{checked} expressions name what the host has"));
    promtool()
}

/// Metrics that no panel needs: others say the same, or more of it.
const UNUSED: &[&str] = &[
    "gk_memory_held_peak_bytes",
    "gk_plugin_transitions_total",
    "process_virtual_memory_bytes",
];

/// Lets Prometheus' own tool judge the rules, and run their tests.
fn promtool() -> Result<()> {
    let there = command("promtool").arg("--version").output();
    there.context(
        "promtool is missing; Debian has it: apt-get install --no-install-recommends prometheus",
    )?;
    let tool = |arguments: &[&str], file: &str| {
        run_command(command("promtool").args(arguments).arg(root().join(file)))
    };
    tool(&["check", "rules", "--lint-fatal"], ALERTS)?;
    tool(&["test", "rules"], ALERT_TESTS)
}

/// An expression, and what the file shows of its result.
#[derive(Debug)]
struct Expression {
    place: String,
    text: String,
    /// Labels that a legend or an annotation shows.
    shown: Vec<String>,
}

/// Returns the expressions of the panels, the annotations and the variables of a dashboard.
fn of_dashboard(text: &str) -> Result<Vec<Expression>> {
    let dashboard: Value = serde_json::from_str(text).context(DASHBOARD)?;
    let mut expressions = Vec::new();
    let mut add = |place: &str, text: &Value, shown: &Value| -> Result<()> {
        let text = text.as_str().context("an expression is no text")?;
        let shown = shown.as_str().unwrap_or_default();
        expressions.push(Expression {
            place: format!("{DASHBOARD}: {place}"),
            text: text.replace("$__rate_interval", "5m"),
            shown: placeholders(shown, ""),
        });
        Ok(())
    };
    for panel in list(&dashboard["panels"])? {
        if panel["type"] == "row" {
            continue;
        }
        let title = panel["title"].as_str().context("a panel has no title")?;
        for target in list(&panel["targets"]).context(title.to_owned())? {
            add(title, &target["expr"], &target["legendFormat"])?;
        }
    }
    for annotation in list(&dashboard["annotations"]["list"])? {
        add("annotation", &annotation["expr"], &annotation["textFormat"])?;
    }
    let mut variables = BTreeSet::new();
    for variable in list(&dashboard["templating"]["list"])? {
        let name = variable["name"]
            .as_str()
            .context("a variable has no name")?;
        variables.insert(format!("${name}"));
        if variable["type"] != "query" {
            continue;
        }
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        let values = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(','));
        let (selector, label) = values.with_context(|| format!("${name}: {query:?}"))?;
        expressions.push(Expression {
            place: format!("{DASHBOARD}: ${name}"),
            text: selector.to_owned(),
            shown: vec![label.trim().to_owned()],
        });
    }
    for wanted in ["$datasource", "$host", "$plugin"] {
        ensure!(
            variables.contains(wanted),
            "{DASHBOARD} has no variable {wanted}"
        );
    }
    Ok(expressions)
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("a list is missing")
}

/// Returns the names of labels in `{{…}}` of a legend, or in `{{ $labels.… }}` of an annotation.
fn placeholders(text: &str, before: &str) -> Vec<String> {
    let inner = text
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"));
    let names = inner.filter_map(|(inner, _)| inner.trim().strip_prefix(before));
    names.map(|name| name.trim().to_owned()).collect()
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: std::collections::BTreeMap<String, String>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// Returns the expressions of the alerts.
fn of_alerts(text: &str) -> Result<Vec<Expression>> {
    let rules: Rules = serde_saphyr::from_str(text).context(ALERTS)?;
    let mut names = BTreeSet::new();
    let mut expressions = Vec::new();
    for rule in rules.groups.into_iter().flat_map(|group| group.rules) {
        let place = format!("{ALERTS}: {}", rule.alert);
        ensure!(
            names.insert(rule.alert),
            "{place}: there are two of this name"
        );
        let severity = rule.labels.get("severity").map(String::as_str);
        ensure!(
            matches!(severity, Some("critical" | "warning")),
            "{place}: the severity is {severity:?}"
        );
        for wanted in ["summary", "description"] {
            ensure!(
                rule.annotations.contains_key(wanted),
                "{place}: it has no {wanted}"
            );
        }
        let texts = rule.annotations.values();
        expressions.push(Expression {
            place,
            text: rule.expr,
            shown: texts
                .flat_map(|text| placeholders(text, "$labels."))
                .collect(),
        });
    }
    Ok(expressions)
}

/// Checks an expression; returns the host's metrics in it.
fn check(expression: &Expression) -> Result<BTreeSet<&'static str>> {
    let parsed = parser::parse(&expression.text)
        .map_err(|error| anyhow::anyhow!("{error} in {}", expression.text))?;
    let mut names = Names::default();
    walk_expr(&mut names, &parsed)?;
    ensure!(!names.series.is_empty(), "it names no metric");
    let known = labels_of(&names.series)?;
    for label in names.grouped.iter().chain(&expression.shown) {
        ensure!(
            known.contains(label.as_str()),
            "no metric of it has the label {label:?}"
        );
    }
    let metrics = names
        .series
        .iter()
        .filter_map(|name| Metric::of_series(name));
    Ok(metrics.map(|metric| metric.name).collect())
}

/// Names in an expression.
#[derive(Debug, Default)]
struct Names {
    series: BTreeSet<String>,
    /// Labels of `by`, `without`, `on` and `ignoring`.
    grouped: BTreeSet<String>,
}

impl ExprVisitor for Names {
    type Error = anyhow::Error;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool> {
        match expression {
            Expr::VectorSelector(selector) => self.select(selector)?,
            Expr::MatrixSelector(matrix) => self.select(&matrix.vs)?,
            Expr::Aggregate(AggregateExpr {
                modifier: Some(modifier),
                ..
            }) => {
                self.grouped
                    .extend(modifier.labels().labels.iter().cloned());
            }
            Expr::Binary(binary) => {
                let matching = binary.modifier.as_ref().and_then(|it| it.matching.as_ref());
                let labels = matching.into_iter().flat_map(|it| &it.labels().labels);
                self.grouped.extend(labels.cloned());
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Names {
    fn select(&mut self, selector: &VectorSelector) -> Result<()> {
        let name = selector
            .name
            .as_deref()
            .context("a selector without a name")?;
        let labels = labels_of(&BTreeSet::from([name.to_owned()]))?;
        ensure!(
            selector.matchers.or_matchers.is_empty(),
            "{name}: or in a selector"
        );
        for matcher in &selector.matchers.matchers {
            let label = matcher.name.as_str();
            ensure!(labels.contains(label), "{name} has no label {label:?}");
            let is_free = TARGET_LABELS.contains(&label) || ["plugin", "method"].contains(&label);
            if is_free || matcher.value.starts_with('$') {
                continue;
            }
            let help = Metric::of_series(name).map_or("", |metric| metric.help);
            let values: Vec<&str> = match matcher.op {
                MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
                MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
            };
            for value in values {
                ensure!(
                    names_value(help, value),
                    "{name} has no {label}={value:?} by its description: {help}"
                );
            }
        }
        self.series.insert(name.to_owned());
        Ok(())
    }
}

/// Returns true if a description names a value, as a word of its own.
fn names_value(help: &str, value: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    let mut words = help.split(|letter| !is_part(letter));
    words.any(|word| word == value)
}

/// Returns the labels that series of these names have.
fn labels_of(series: &BTreeSet<String>) -> Result<BTreeSet<&'static str>> {
    let mut labels: BTreeSet<&str> = TARGET_LABELS.iter().copied().collect();
    for name in series {
        if name == UP {
            continue;
        }
        let Some(metric) = Metric::of_series(name) else {
            bail!("the host has no metric {name}; crates/gk-api/src/metrics.rs has all");
        };
        labels.extend(metric.labels);
        if metric.kind == MetricKind::Histogram && name.ends_with("_bucket") {
            labels.insert("le");
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, shown: &[&str]) -> Result<BTreeSet<&'static str>, String> {
        let expression = Expression {
            place: "here".to_owned(),
            text: text.to_owned(),
            shown: shown.iter().map(|&label| label.to_owned()).collect(),
        };
        check(&expression).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_host_has_is_let_through() {
        let good = "sum by (instance, plugin) (rate(gk_plugin_calls_total{job=\"x\",plugin=~\"$plugin\",outcome=~\"ok|timeout\"}[5m]))
            / on (instance, plugin) group_left () gk_plugin_up";
        let names = checked(good, &["plugin"]).unwrap();
        assert_eq!(
            names,
            BTreeSet::from(["gk_plugin_calls_total", "gk_plugin_up"])
        );
        let buckets = "histogram_quantile(0.9, sum by (le) (rate(gk_job_run_seconds_bucket[5m])))";
        assert_eq!(
            checked(buckets, &[]).unwrap(),
            BTreeSet::from(["gk_job_run_seconds"])
        );
        assert!(
            checked("up{job=\"goatkit\"} == 0", &["instance"])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_it_does_not_have_is_named() {
        for (text, shown, error) in [
            (
                "rate(gk_plugin_call_total[5m])",
                None,
                "no metric gk_plugin_call_total",
            ),
            ("gk_job_run_seconds", None, "no metric gk_job_run_seconds"),
            ("gk_plugin_up{name=\"x\"}", None, "no label \"name\""),
            (
                "gk_plugin_calls_total{outcome=\"okay\"}",
                None,
                "no outcome=\"okay\"",
            ),
            (
                "gk_plugin_calls_total{outcome!~\"ok|erorr\"}",
                None,
                "no outcome=\"erorr\"",
            ),
            (
                "sum by (reason) (gk_plugin_up)",
                None,
                "the label \"reason\"",
            ),
            (
                "sum by (le) (gk_job_run_seconds_count)",
                None,
                "the label \"le\"",
            ),
            (
                "gk_ready and on (plugin) gk_ready",
                None,
                "the label \"plugin\"",
            ),
            ("gk_ready", Some("plugin"), "the label \"plugin\""),
            ("{plugin=\"x\"}", None, "without a name"),
            ("vector(1)", None, "no metric"),
            ("sum by (", None, "sum by ("),
        ] {
            let told = checked(text, shown.as_slice()).unwrap_err();
            assert!(told.contains(error), "{text}: {told}");
        }
    }

    #[test]
    fn labels_in_texts_are_found() {
        assert_eq!(
            placeholders("{{plugin}} and {{ le }}, {x}", ""),
            ["plugin", "le"]
        );
        let text = "{{ $value | humanize }} of {{ $labels.plugin }}";
        assert_eq!(placeholders(text, "$labels."), ["plugin"]);
    }

    #[test]
    fn an_alert_says_how_urgent_it_is_and_what_it_means() {
        let of = |labels: &str, annotations: &str| {
            let rule =
                format!("{{alert: A, expr: up, labels: {labels}, annotations: {annotations}}}");
            of_alerts(&format!("groups: [{{name: g, rules: [{rule}]}}]"))
        };
        let texts = "{summary: s, description: d}";
        assert_eq!(of("{severity: warning}", texts).unwrap().len(), 1);
        assert!(of("{severity: high}", texts).is_err());
        assert!(of("{severity: warning}", "{summary: s}").is_err());
    }
}
