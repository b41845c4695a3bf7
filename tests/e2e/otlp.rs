//! Export by OTLP: to an OpenTelemetry collector, and to none.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::host::{Host, Setup};
use crate::traces::{self, SPAN_ID, TRACE_ID};
use crate::{DEADLINE, eventually, program};

/// A port that nobody listened on a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A collector that prints what it gets. It ends with the test.
struct Collector {
    process: Child,
    printed: Arc<Mutex<String>>,
    url: String,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Collector {
    #[allow(
        clippy::disallowed_methods,
        reason = "the collector is a program of the test's, not a plugin"
    )]
    fn start(directory: &Path) -> Self {
        let port = free_port();
        let config = directory.join("collector.yaml");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
             exporters: {{debug: {{verbosity: detailed, use_internal_logger: false}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [debug]}}\n    \
             metrics: {{receivers: [otlp], exporters: [debug]}}\n    \
             logs: {{receivers: [otlp], exporters: [debug]}}\n"
        );
        fs::write(&config, text).unwrap();
        let mut process = Command::new(program("otelcol"))
            .arg(format!("--config=file:{}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::<Mutex<String>>::default();
        let (mut output, all) = (process.stdout.take().unwrap(), Arc::clone(&printed));
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                all.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        let url = format!("http://127.0.0.1:{port}");
        eventually("the collector listens", || {
            assert!(
                process.try_wait().unwrap().is_none(),
                "the collector has ended"
            );
            std::net::TcpStream::connect(("127.0.0.1", port))
                .ok()
                .map(drop)
        });
        Self {
            process,
            printed,
            url,
        }
    }

    /// The spans of a name, each with trace, parent and own id.
    fn spans(&self, name: &str) -> Vec<[String; 3]> {
        let printed = self.printed.lock().unwrap();
        let spans = printed.split("\nSpan #").skip(1);
        let value = |span: &str, key: &str| {
            let mut lines = span.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(known, _)| known.trim() == key);
            found
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        spans
            .filter(|span| value(span, "Name") == name)
            .map(|span| ["Trace ID", "Parent ID", "ID"].map(|key| value(span, key)))
            .collect()
    }

    fn waits_for(&self, text: &str) {
        eventually(&format!("{text:?} gets to the collector"), || {
            self.printed.lock().unwrap().contains(text).then_some(())
        });
    }
}

fn host(url: &str, setup: Setup) -> Host {
    let setup = setup
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .variable("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .variable("OTEL_SERVICE_NAME", "goats");
    traces::host_of(setup)
}

#[test]
fn a_collector_gets_spans_metrics_and_logs() {
    let setup = Setup::new();
    let collector = Collector::start(&setup.path("."));
    let host = host(&collector.url, setup);
    let (url, requests) = traces::server();
    let ask = |parent: Option<&str>| {
        let question = json!({ "method": "http_request", "args": { "url": url } });
        let call = host
            .admin("POST", "/api/v1/plugins/go/call/ask_host")
            .json(&question);
        let call = match parent {
            Some(parent) => call.header("traceparent", parent),
            None => call,
        };
        call.send().expect(200);
        requests.recv_timeout(DEADLINE).unwrap()
    };
    // One that nobody records, one that its client records, and one without a trace.
    ask(Some(&format!("00-{}-{SPAN_ID}-00", "a".repeat(32))));
    let head = ask(Some(&format!("00-{TRACE_ID}-{SPAN_ID}-01")));
    ask(None);
    let of = |name: &str| {
        let two = |mut spans: Vec<[String; 3]>| {
            spans.sort_by_key(|[trace, ..]| trace != TRACE_ID);
            (spans.len() >= 2).then_some(spans)
        };
        eventually(&format!("spans of {name:?}"), || two(collector.spans(name)))
    };
    let [calls, asked, sent] = ["plugin call", "host API", "HTTP request"].map(of);
    for (at, first_parent) in [(0, SPAN_ID), (1, "")] {
        let [call, asked, sent] = [&calls[at], &asked[at], &sent[at]];
        assert!(
            call[0] == asked[0] && call[0] == sent[0],
            "{call:?} {asked:?} {sent:?}"
        );
        assert_eq!(call[1], first_parent);
        assert_eq!(
            (&asked[1], &sent[1]),
            (&call[2], &asked[2]),
            "each within the other"
        );
    }
    let header = format!("traceparent: 00-{TRACE_ID}-{}-01", sent[0][2]);
    assert!(head.contains(&header), "{head}");
    assert_eq!(
        calls.len() + asked.len() + sent.len(),
        6,
        "what is not sampled is not sent"
    );

    collector.waits_for("gk_plugin_call_duration_seconds");
    collector.waits_for("process_cpu_seconds_total");
    collector.waits_for("service.name: Str(goats)");
    // The line about the request, with its trace.
    collector.waits_for("log.target: Str(gk_gateway::access)");
    collector.waits_for(&format!("Trace ID: {TRACE_ID}"));
}

#[test]
fn a_collector_that_is_not_there_is_told_of_once() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let host = host(&url, Setup::new());
    let dropped = |signal: &str| {
        let text = host.call("GET", "/metrics").send().expect(200).text();
        let series = format!("gk_otlp_dropped_total{{signal=\"{signal}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&series).map(str::to_owned));
        line.and_then(|count| count.parse::<u64>().ok())
            .unwrap_or_default()
    };
    eventually("all signals are dropped", || {
        host.function("go", "trace", &json!({})).expect(200);
        let all = ["traces", "metrics", "logs"].map(dropped);
        all.iter().all(|count| *count > 0).then_some(())
    });
    let log = host.log();
    let told = log
        .matches("the OpenTelemetry collector cannot be reached")
        .count();
    assert_eq!(told, 1, "{log}");
}

#[test]
fn a_variable_that_is_not_valid_ends_the_start() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ] {
        let setup = Setup::new().variable("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://localhost/");
        let (status, printed) = setup.variable(name, value).refused();
        assert!(!status.success() && printed.contains(name), "{printed}");
    }
}
