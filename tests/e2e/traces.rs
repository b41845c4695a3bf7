//! Traces by W3C Trace Context: from an HTTP request through plugins to what they ask the host for.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::host::{Host, Setup};
use crate::{DEADLINE, eventually};

pub(crate) const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const SPAN_ID: &str = "b7ad6b7169203331";

/// A `traceparent`, taken apart.
#[derive(Debug, Clone, PartialEq)]
struct Parent {
    trace_id: String,
    span_id: String,
    flags: String,
}

/// Reads a `traceparent` of version 00.
#[track_caller]
fn parent(text: &str) -> Parent {
    let parts: Vec<_> = text.split('-').collect();
    let [version, trace_id, span_id, flags] = parts[..] else {
        panic!("not a traceparent: {text:?}");
    };
    let lengths = [version, trace_id, span_id, flags].map(str::len);
    assert_eq!((version, lengths), ("00", [2, 32, 16, 2]), "{text}");
    assert!(
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')),
        "{text}"
    );
    Parent {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        flags: flags.to_owned(),
    }
}

/// A server that answers every request with 204; tells the heads of the requests.
pub(crate) fn server() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
            }
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            if sender.send(head).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

/// The value of a header in a head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let of = |line: &'a str| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    };
    head.lines().find_map(of)
}

/// A plugin on each SDK of this repository, and one whose SDK knows nothing of traces.
fn host() -> Host {
    host_of(Setup::new())
}

/// As [`host`], of this setup.
pub(crate) fn host_of(setup: Setup) -> Host {
    let permissions = "permissions:\n  - {type: http}\n  - {type: plugin_call}";
    let config = "trust_declared_permissions = true\n\
                  log = \"info,gk_gateway::access=debug,gk_runtime::calls=debug,gk_runtime::callbacks=debug\"\n\
                  [http]\nallow_networks = [\"127.0.0.0/8\"]\n";
    let setup = setup.file("host.toml", config);
    let path = setup.path("host.toml");
    let setup = setup.argument("--config").argument(path);
    setup
        .plugin_with("go", "traced-go", permissions)
        .plugin_with("rust", "rust-versioned", permissions)
        .plugin_with("foreign", "gen3", permissions)
        .settled()
}

type Headers<'a> = &'a [(&'static str, &'a str)];

/// Calls a function with these headers.
#[track_caller]
fn call(host: &Host, plugin: &str, function: &str, args: &Value, headers: Headers<'_>) -> Value {
    let path = format!("/api/v1/plugins/{plugin}/call/{function}");
    let call = host.admin("POST", &path).json(args);
    let call = headers
        .iter()
        .fold(call, |call, (name, value)| call.header(name, value));
    call.send().expect(200).json()
}

/// What a plugin of the repository's SDKs is told of the trace.
#[track_caller]
fn told(host: &Host, plugin: &str, headers: Headers<'_>) -> (String, String) {
    let told = call(host, plugin, "trace", &json!({}), headers);
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    (text("traceparent"), text("tracestate"))
}

fn sent() -> String {
    format!("00-{TRACE_ID}-{SPAN_ID}-01")
}

/// What a trace that came with a request has in common with what is made of it.
#[track_caller]
fn is_child(text: &str) -> Parent {
    let parent = parent(text);
    assert_eq!((&*parent.trace_id, &*parent.flags), (TRACE_ID, "01"));
    assert_ne!(parent.span_id, SPAN_ID, "a span of its own");
    parent
}

#[test]
fn a_trace_goes_through_plugins_of_both_sdks_and_on_to_what_they_ask_for() {
    let (host, sent) = (host(), sent());
    let (url, requests) = server();
    let headers: Headers<'_> = &[("traceparent", &sent), ("tracestate", "a=b;c, d=e")];
    for plugin in ["go", "rust"] {
        let (parent, state) = told(&host, plugin, headers);
        is_child(&parent);
        assert_eq!(state, "a=b;c,d=e", "{plugin}");
    }
    // A route is no other way.
    let call = host.call("GET", "/api/plugins/go/trace");
    let answer = call.header("traceparent", &sent).send().expect(200).json();
    is_child(answer["traceparent"].as_str().unwrap());

    for plugin in ["go", "rust", "foreign"] {
        let request = json!({ "method": "http_request", "args": { "url": url } });
        let answer = self::call(&host, plugin, "ask_host", &request, headers);
        assert_eq!(answer["status"], 204, "{plugin}: {answer}");
        let head = requests.recv_timeout(DEADLINE).unwrap();
        is_child(header(&head, "traceparent").unwrap());
        assert_eq!(header(&head, "tracestate"), Some("a=b;c,d=e"), "{head}");

        // What a plugin says itself is left alone.
        let own = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";
        let args = json!({ "url": url, "headers": { "Traceparent": own } });
        let request = json!({ "method": "http_request", "args": args });
        self::call(&host, plugin, "ask_host", &request, headers);
        let head = requests.recv_timeout(DEADLINE).unwrap();
        assert_eq!(header(&head, "traceparent"), Some(own), "{head}");
        assert_eq!(header(&head, "tracestate"), None, "{head}");

        for target in ["go", "rust"] {
            let args = json!({ "plugin": target, "function": "trace" });
            let request = json!({ "method": "plugin_call", "args": args });
            let answer = self::call(&host, plugin, "ask_host", &request, headers);
            is_child(answer["traceparent"].as_str().unwrap());
            assert_eq!(answer["tracestate"], "a=b;c,d=e", "{plugin} -> {target}");
        }
    }
    // A chain: each call is another span, and so is the request at its end.
    let inner = json!({ "method": "http_request", "args": { "url": url } });
    let args = json!({ "plugin": "rust", "function": "ask_host", "args": inner });
    let request = json!({ "method": "plugin_call", "args": args });
    self::call(&host, "go", "ask_host", &request, headers);
    is_child(header(&requests.recv_timeout(DEADLINE).unwrap(), "traceparent").unwrap());
}

#[test]
fn an_invalid_trace_is_replaced_and_none_is_none() {
    let (host, sent) = (host(), sent());
    let (url, requests) = server();
    let upper = sent.to_uppercase();
    let long = format!("{sent}{}", "0".repeat(4096));
    let zeros = format!("00-{}-{SPAN_ID}-01", "0".repeat(32));
    let bad = [&*upper, &long, &zeros, "", &sent[..54], "ff-x"];
    for plugin in ["go", "rust"] {
        for bad in bad {
            let headers: Headers<'_> = &[("traceparent", bad), ("tracestate", "a=b")];
            let (told, state) = told(&host, plugin, headers);
            let new = parent(&told);
            assert_ne!(new.trace_id, TRACE_ID, "{bad:.80}");
            assert_eq!((&*new.flags, &*state), ("00", ""), "{bad:.80}");
        }
        let twice: Headers<'_> = &[("traceparent", &sent), ("traceparent", &sent)];
        assert_ne!(parent(&told(&host, plugin, twice).0).trace_id, TRACE_ID);
        let none = (String::new(), String::new());
        assert_eq!(told(&host, plugin, &[]), none);
        assert_eq!(told(&host, plugin, &[("tracestate", "a=b")]), none);
    }
    let request = json!({ "method": "http_request", "args": { "url": url } });
    call(&host, "go", "ask_host", &request, &[]);
    let head = requests.recv_timeout(DEADLINE).unwrap();
    assert_eq!(header(&head, "traceparent"), None, "{head}");
}

#[test]
fn a_run_of_a_job_begins_a_trace() {
    let host = host();
    let run = || {
        let path = "/api/v1/plugins/go/jobs/trace/run";
        let run = host.admin("POST", path).send().expect(200).json();
        parent(run["result"]["traceparent"].as_str().unwrap())
    };
    let (one, other) = (run(), run());
    assert_ne!(one.trace_id, other.trace_id);
    assert_eq!(one.flags, "00", "nobody records it");
}

#[test]
fn a_state_is_bounded_on_its_way_to_a_plugin() {
    let (host, sent) = (host(), sent());
    let many = (0..33).map(|at| format!("k{at}=v")).collect::<Vec<_>>();
    let long = format!("long={},a=1", "v".repeat(250));
    let over = format!("{long},b={}", "v".repeat(256));
    for plugin in ["go", "rust"] {
        let state = |state: &str| {
            let headers: Headers<'_> = &[("traceparent", &sent), ("tracestate", state)];
            let (parent, state) = told(&host, plugin, headers);
            is_child(&parent);
            state
        };
        assert_eq!(state(&many[..32].join(",")), many[..32].join(","));
        assert_eq!(state(&many.join(",")), "");
        assert_eq!(state(&long), long);
        assert_eq!(
            state(&over),
            long,
            "a long member is dropped, the last one first"
        );
        assert_eq!(state("not a state"), "");
    }
}

#[test]
fn what_a_plugin_puts_behind_its_token_is_not_believed() {
    let (host, sent) = (host(), sent());
    let (url, requests) = server();
    let headers: Headers<'_> = &[("traceparent", &sent)];
    let token = call(&host, "foreign", "token", &json!({}), headers);
    let token = token.as_str().unwrap();
    let (id, told) = token.split_once(';').unwrap();
    assert_eq!(id.len(), 32, "{token}");
    is_child(told.strip_prefix("traceparent=").unwrap());
    let plain = call(&host, "foreign", "token", &json!({}), &[]);
    assert_eq!(plain.as_str().map(str::len), Some(32), "{plain}");

    // A token of a call that has ended is none, whatever stands behind it.
    let args = json!({ "method": "time_now", "args": {}, "call_token": token });
    let path = "/api/v1/plugins/foreign/call/ask_host";
    let refused = host.admin("POST", path).json(&args).send().error();
    assert!(
        refused.contains("unknown or finished call context"),
        "{refused}"
    );
    for behind in ["x".repeat(1024), "x".repeat(1 << 20)] {
        let args =
            json!({ "method": "time_now", "args": {}, "call_token": format!("{id};{behind}") });
        let refused = host.admin("POST", path).json(&args).send().error();
        assert!(
            refused.contains("unknown or finished call context"),
            "{refused}"
        );
    }
    let request = json!({ "method": "http_request", "args": { "url": url } });
    call(&host, "foreign", "ask_host", &request, headers);
    is_child(header(&requests.recv_timeout(DEADLINE).unwrap(), "traceparent").unwrap());
}

#[test]
fn the_trace_is_in_every_log_that_the_request_is_in() {
    let (host, sent) = (host(), sent());
    let headers: Headers<'_> = &[("traceparent", &sent)];
    let args = json!({ "level": "info", "message": "said during a trace" });
    let request = json!({ "method": "log", "args": args });
    for plugin in ["go", "rust", "foreign"] {
        call(&host, plugin, "ask_host", &request, headers);
        let logs = host.get(&format!("/api/v1/plugins/{plugin}/logs"));
        let logs = logs.expect(200).json();
        let mut said = logs["logs"].as_array().unwrap().iter();
        let said = said.find(|entry| entry["message"] == "said during a trace");
        let fields = &said.unwrap_or_else(|| panic!("{plugin}: {logs}"))["fields"];
        assert_eq!(fields["trace_id"], TRACE_ID, "{fields}");
    }
    for target in [
        "gk_gateway::access",
        "gk_runtime::calls",
        "gk_runtime::callbacks",
    ] {
        eventually(&format!("a line of {target} with the trace"), || {
            let log = host.log();
            let mut lines = log.lines().filter(|line| line.contains(target));
            lines
                .find(|line| line.contains(&format!("trace_id={TRACE_ID}")))
                .map(drop)
        });
    }
}
