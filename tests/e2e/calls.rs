//! More calls than a plugin may run, clients that go away, and what a request is called in every log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};

use crate::host::{Host, Setup};
use crate::{DEADLINE, eventually};

const SLEEP: &str = "/api/v1/plugins/goat/call/sleep";

/// The sum of a metric's values whose lines have all of these in them.
fn value(host: &Host, name: &str, with: &[&str]) -> f64 {
    let text = host.call("GET", "/metrics").send().text();
    let lines = text.lines().filter(|line| {
        line.starts_with(&format!("{name}{{")) && with.iter().all(|part| line.contains(part))
    });
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn of_goat(host: &Host, name: &str) -> f64 {
    value(host, name, &["plugin=\"goat\""])
}

fn cancelled(host: &Host) -> f64 {
    let with = ["plugin=\"goat\"", "outcome=\"cancelled\""];
    value(host, "gk_plugin_calls_total", &with)
}

fn set_policy(host: &Host, plugin: &str, policy: &Value) {
    let path = format!("/api/v1/plugins/{plugin}/policy");
    host.admin("PUT", &path).json(policy).send().expect(200);
}

fn one_at_a_time(host: &Host) {
    let policy = json!({ "status": "approved", "max_calls_in_flight": 1,
        "permissions": [{ "type": "plugin_call" }] });
    set_policy(host, "goat", &policy);
}

fn connect(host: &Host) -> TcpStream {
    let stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Begins a call of HTTP/1 that takes so long.
fn sleeper(host: &Host, ms: u32) -> TcpStream {
    let mut stream = connect(host);
    let body = json!({ "ms": ms }).to_string();
    let head = format!(
        "POST {SLEEP} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        host.admin_token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection of HTTP/2, spoken by the letter.
struct Http2(TcpStream);

impl Http2 {
    fn open(host: &Host) -> Self {
        let mut stream = connect(host);
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Http2(stream)
    }

    /// Begins calls that take so long each.
    fn sleepers(&mut self, host: &Host, streams: impl Iterator<Item = u32>, ms: u32) {
        let mut head = Vec::new();
        let authorization = format!("Bearer {}", host.admin_token());
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", SLEEP),
            ("authorization", &authorization),
        ] {
            // A literal that is not to be remembered.
            head.push(0);
            for text in [name, value] {
                head.push(u8::try_from(text.len()).unwrap());
                head.extend(text.as_bytes());
            }
        }
        let body = json!({ "ms": ms }).to_string();
        let frames: Vec<u8> = streams
            .flat_map(|stream| {
                let mut frames = frame(HEADERS, END_HEADERS, stream, &head);
                frames.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
                frames
            })
            .collect();
        self.0.write_all(&frames).unwrap();
    }

    /// Reads until so many streams have ended; says of each whether its status was 200.
    fn answers(&mut self, streams: usize) -> Vec<(u32, bool)> {
        let (mut statuses, mut ended) = (Vec::new(), 0);
        while ended < streams {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).unwrap();
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                // The first field is the status, and 200 has a number of its own.
                HEADERS => statuses.push((stream, payload[0] == 0x88)),
                RST_STREAM => panic!("stream {stream} was reset"),
                _ => {}
            }
            if matches!(head[3], HEADERS | DATA) && head[4] & END_STREAM != 0 {
                ended += 1;
            }
        }
        statuses
    }
}

/// Ten thousand at once: each of them is answered, and calls of the other plugin do not notice.
#[test]
fn what_does_not_fit_is_shed() {
    const CONNECTIONS: usize = 160;
    const STREAMS: u32 = 63;
    let host = Setup::new()
        .plugin("goat", "gen3")
        .plugin("other", "gen3")
        .settled();
    let mut clients: Vec<Http2> = (0..CONNECTIONS).map(|_| Http2::open(&host)).collect();
    for client in &mut clients {
        client.sleepers(&host, (0..STREAMS).map(|number| 2 * number + 1), 3000);
    }
    // Still more: this one sees what it is told.
    let told = eventually("one is refused", || {
        let reply = host.function("goat", "echo", &json!({}));
        (reply.status != 200).then_some(reply)
    });
    assert_eq!((told.status, told.header("retry-after")), (503, "1"));
    let error = told.error();
    assert!(
        error.contains("is busy: ") && error.contains("calls run and"),
        "{error}"
    );
    for _ in 0..50 {
        host.function("other", "echo", &json!({})).expect(200);
    }
    let (mut answered, mut shed) = (0, 0);
    for client in &mut clients {
        let mut answers = client.answers(STREAMS as usize);
        answers.sort_unstable();
        let streams: Vec<u32> = answers.iter().map(|(stream, _)| *stream).collect();
        let sent: Vec<u32> = (0..STREAMS).map(|number| 2 * number + 1).collect();
        assert_eq!(streams, sent, "each is answered once");
        let well = answers.iter().filter(|(_, is_well)| *is_well).count();
        answered += well;
        shed += answers.len() - well;
    }
    assert!(answered >= 64, "{answered}");
    // And those that only looked whether it is busy.
    assert!(of_goat(&host, "gk_plugin_calls_shed_total") > f64::from(u32::try_from(shed).unwrap()));
    eprintln!("{answered} answered, {shed} shed");
    for gauge in ["gk_plugin_calls_waiting", "gk_plugin_calls_in_flight"] {
        assert_eq!(of_goat(&host, gauge), 0.0, "{gauge}");
    }
    host.function("goat", "echo", &json!({})).expect(200);
}

/// Whoever goes away leaves no call behind: not in the queue, and not where it runs.
#[test]
fn a_client_that_goes_away_ends_its_call() {
    let host = Setup::new()
        .plugin("goat", "gen3")
        .argument("--log")
        .argument("info,gk_runtime::calls=debug")
        .settled();
    one_at_a_time(&host);
    let runs = |calls: f64| {
        eventually("so many calls run", || {
            (of_goat(&host, "gk_plugin_calls_in_flight") == calls).then_some(())
        });
    };
    let gone = |calls: f64| {
        eventually("the call is cancelled", || {
            (cancelled(&host) == calls).then_some(())
        });
        runs(0.0);
        host.function("goat", "echo", &json!({})).expect(200);
    };
    let first = sleeper(&host, 90_000);
    runs(1.0);
    drop(first);
    gone(1.0);
    let line = host.wait_for_log("its caller went away");
    assert!(line.contains("request_id="), "{line}");
    // One stream of several.
    let mut client = Http2::open(&host);
    client.sleepers(&host, std::iter::once(1), 90_000);
    runs(1.0);
    let cancel = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    client.0.write_all(&cancel).unwrap();
    gone(2.0);
    client.sleepers(&host, std::iter::once(3), 1);
    assert_eq!(client.answers(1), [(3, true)]);
    // The whole connection.
    client.sleepers(&host, std::iter::once(5), 90_000);
    runs(1.0);
    drop(client);
    gone(3.0);
    // One that waits. On a busy machine its second may be over before it is seen.
    let _runs = sleeper(&host, 90_000);
    runs(1.0);
    eventually("a call is cancelled that waits", || {
        let waits = sleeper(&host, 1);
        let shed = of_goat(&host, "gk_plugin_calls_shed_total");
        let is_over = || of_goat(&host, "gk_plugin_calls_shed_total") > shed;
        eventually("it waits, or has waited", || {
            let is_waiting = of_goat(&host, "gk_plugin_calls_waiting") > 0.0;
            (is_waiting || is_over()).then_some(())
        });
        drop(waits);
        eventually("it does not wait any more", || {
            (of_goat(&host, "gk_plugin_calls_waiting") == 0.0).then_some(())
        });
        (cancelled(&host) == 4.0).then_some(())
    });
    runs(1.0);
}

/// Where one call runs at a time, it may still make another one that only then can end.
#[test]
fn a_call_that_calls_its_own_plugin_does_not_wait_for_itself() {
    let host = Setup::new().plugin("goat", "gen3").settled();
    one_at_a_time(&host);
    let echo = json!({ "plugin": "goat", "function": "echo", "args": { "a": 1 } });
    let question = json!({ "method": "plugin_call", "args": echo });
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Those that come at the same time take their turns.
                let reply = eventually("it has its turn", || {
                    let reply = host.function("goat", "ask_host", &question);
                    (reply.status != 503).then_some(reply)
                });
                assert_eq!(reply.expect(200).json()["a"], 1);
            });
        }
    });
}

#[test]
fn a_request_has_one_id_in_every_log() {
    let log = "info,gk_gateway::access=debug,gk_runtime::calls=debug,gk_runtime::callbacks=debug";
    let host = Setup::new()
        .plugin("goat", "gen3")
        .plugin("kid", "gen3")
        .argument("--log")
        .argument(log)
        .settled();
    let policy = json!({ "status": "approved", "permissions": [{ "type": "plugin_call" }] });
    set_policy(&host, "goat", &policy);
    let record = json!({ "method": "log", "args": { "message": "called", "fields": { "a": 1 } } });
    let call = json!({ "plugin": "kid", "function": "ask_host", "args": record });
    let question = json!({ "method": "plugin_call", "args": call, "_request_id": "forged" });
    let reply = host
        .admin("POST", "/api/v1/plugins/goat/call/ask_host")
        .header("X-Request-Id", "order-66")
        .json(&question)
        .send()
        .expect(200);
    assert_eq!(reply.header("x-request-id"), "order-66");
    // The plugin's own log, one call further.
    let entries = host.get("/api/v1/plugins/kid/logs").expect(200).json();
    let entries = entries["logs"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["message"] == "called");
    let fields = &entry.unwrap()["fields"];
    assert_eq!(*fields, json!({ "request_id": "order-66", "a": "1" }));
    // The host's: of the request, of both calls, and of what was asked during each.
    for parts in [
        ["gk_gateway::access", "status=200", "ask_host"],
        ["gk_runtime::calls", "plugin=goat", "function=\"ask_host\""],
        ["gk_runtime::calls", "plugin=kid", "function=\"ask_host\""],
        ["gk_runtime::callbacks", "plugin=goat", "plugin_call"],
        ["gk_runtime::callbacks", "plugin=kid", "method=\"log\""],
    ] {
        eventually(&format!("a line with {parts:?}"), || {
            let log = host.log();
            let line = log.lines().find(|line| {
                line.contains("request_id=order-66") && parts.iter().all(|part| line.contains(part))
            });
            line.map(drop)
        });
    }
    // Told to the plugin, and made where the client has none.
    let reply = host.function("goat", "echo", &json!({ "_request_id": "forged" }));
    let made = reply.header("x-request-id").to_owned();
    assert_eq!(reply.expect(200).json()["_request_id"], *made);
    assert_eq!(made.len(), 32, "{made}");
}
