//! What stands before the plugins: addresses, connections, heads, bodies, and the end of the host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::host::{Host, Setup};
use crate::http::Call;
use crate::{DEADLINE, eventually, program};

/// Sends this over a connection of its own and reads the answer to its end.
fn raw(address: &str, request: &str) -> String {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    exchange(stream, request)
}

/// Asks for a sign of life over a Unix socket.
fn livez(socket: &Path) -> String {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    exchange(stream, request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn several_addresses_and_sockets_are_listened_on() {
    let setup = Setup::new();
    let socket = setup.path("http.sock");
    let listen = format!("127.0.0.1:0,unix:{}", socket.display());
    let mut host = setup
        .plugin("hello-rust", "hello-rust")
        .argument("--health-listen")
        .argument("localhost:0")
        .argument("--config")
        .argument("host.toml")
        .file("host.toml", "socket_mode = \"0600\"\n")
        .listening_on(&listen)
        .settled();
    host.expect_serving("hello-rust");
    let health = host.printed_after("telling how the host is on http://");
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/api/v1/plugins", 404),
    ] {
        Call::new("GET", format!("http://{health}{path}"))
            .send()
            .expect(status);
    }
    let mode = std::fs::metadata(&socket).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    let answer = livez(&socket);
    assert!(answer.ends_with("ok\n"), "{answer}");
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert!(!socket.exists(), "the socket is left behind");
}

/// A listener to which nobody connects must not hold the place that the other one needs.
#[test]
fn one_connection_at_a_time_is_enough_for_two_listeners() {
    let setup = Setup::new();
    let socket = setup.path("http.sock");
    let listen = format!("127.0.0.1:0,unix:{}", socket.display());
    let host = setup
        .argument("--config")
        .argument("host.toml")
        .file("host.toml", "[limits]\nconnections = 1\n")
        .listening_on(&listen)
        .start();
    for _ in 0..2 {
        Call::new("GET", format!("http://{}/livez", host.address()))
            .send()
            .expect(200);
        let answer = livez(&socket);
        assert!(answer.ends_with("ok\n"), "{answer}");
    }
}

/// As systemd does for a unit with `Accept=no`: descriptor 3, and two variables.
#[test]
#[expect(clippy::disallowed_methods, reason = "the host under test")]
fn a_socket_that_is_handed_over_is_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let mut host = Command::new("sh")
        .args(["-c", script])
        .arg(program("gk-host"))
        .args(["serve", "--plugins-dir", "plugins", "--data-dir", "data"])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(host.stdout.take().unwrap());
    let line = stdout
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("listening on"));
    assert_eq!(line, Some(format!("listening on http://{address}")));
    Call::new("GET", format!("http://{address}/livez"))
        .send()
        .expect(200);
    host.kill().unwrap();
    host.wait().unwrap();
}

#[test]
fn a_head_is_small_and_says_its_host_once() {
    let host = Setup::new().settled();
    let long = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "x".repeat(390_000)
    );
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        (
            "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET /livez HTTP/1.1\r\nHost: a\r\nhOST: a\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET /livez HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
            "400",
        ),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
        (
            "GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
            "200",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "204",
        ),
    ] {
        let answer = raw(host.address(), head);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head:?}: {answer}");
    }
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The host may close before all of it is sent.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[test]
fn one_client_has_no_more_than_its_share() {
    let host = Setup::new()
        .argument("--config")
        .argument("host.toml")
        .file(
            "host.toml",
            "health_listen = \"127.0.0.1:0\"\n[limits]\nconnections_per_client = 10\n",
        )
        .settled();
    let health = host.printed_after("telling how the host is on http://");
    let idle: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(host.address()).unwrap())
        .collect();
    host.wait_for_log("plugins are up");
    eventually("one more is closed", || {
        let mut more = TcpStream::connect(host.address()).ok()?;
        more.set_read_timeout(Some(DEADLINE)).ok()?;
        // Closed with or without a reset, as what was sent had been read or not.
        matches!(more.read(&mut [0]), Ok(0) | Err(_)).then_some(())
    });
    host.wait_for_log("a client has too many connections");
    Call::new("GET", format!("http://{health}/livez"))
        .send()
        .expect(200);
    drop(idle);
    eventually("its share is free again", || {
        host.call("GET", "/livez")
            .try_send()
            .ok()
            .map(|reply| reply.expect(200))
    });
}

#[test]
fn a_host_that_drains_says_so_and_serves_on() {
    let mut host = Setup::new().plugin("gen3", "gen3").settled();
    let (family, _) = host.family("gen3");
    let mut open = BufReader::new(TcpStream::connect(host.address()).unwrap());
    open.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = |request: &str| {
        open.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(open.read_line(&mut head).unwrap(), 0, "closed: {head}");
        }
        head.to_ascii_lowercase()
    };
    let request = "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(!head(request).contains("connection: close"));
    std::thread::scope(|scope| {
        let call = loop {
            let call = scope.spawn(|| host.function("gen3", "sleep", &json!({ "ms": 5000 })));
            let runs = eventually("a call is under way, or over", || {
                let running = host.metric("gk_plugin_calls_in_flight", "gen3")?;
                (running >= 1.0 || call.is_finished()).then_some(running >= 1.0)
            });
            if runs {
                break call;
            }
            call.join().unwrap().expect(200);
        };
        host.signal(Signal::TERM);
        host.wait_for_log("stopping");
        // Over a new connection.
        let ready = host.call("GET", "/readyz").send().expect(503);
        assert_eq!(ready.header("connection"), "close");
        assert!(ready.text().contains("stopping"), "{}", ready.text());
        host.call("GET", "/livez").send().expect(200);
        // Over one that was open.
        let answer = head(request);
        assert!(
            answer.starts_with("http/1.1 200") && answer.contains("connection: close"),
            "{answer}"
        );
        let reply = call.join().unwrap().expect(200);
        assert_eq!(reply.json()["ms"], 5000);
    });
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
    family.expect_end();
}

#[test]
fn pages_of_other_origins_call_if_the_operator_says_so() {
    let host = Setup::new()
        .plugin("gen3", "gen3")
        .argument("--config")
        .argument("host.toml")
        .file(
            "host.toml",
            "[cors]\norigins = [\"https://app.example\"]\ncredentials = true\n",
        )
        .settled();
    let path = "/api/plugins/gen3/echo/5";
    let ask = |origin| {
        host.call("OPTIONS", path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .send()
            .expect(204)
    };
    let allowed = ask("https://app.example");
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(allowed.header("access-control-allow-credentials"), "true");
    assert_eq!(
        allowed.header("access-control-allow-methods"),
        "POST, OPTIONS"
    );
    assert!(
        allowed
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "null",
    ] {
        assert_eq!(
            ask(origin).header("access-control-allow-origin"),
            "",
            "{origin}"
        );
    }
    let reply = host
        .admin("GET", "/api/v1/plugins")
        .header("Origin", "https://app.example")
        .send();
    let reply = reply.expect(200);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(reply.header("vary"), "origin");
    // Without configuration there is nothing of it, and OPTIONS says what there is.
    let host = Setup::new().settled();
    for (path, methods) in [
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/api/v1/tokens", "GET, HEAD, POST, OPTIONS"),
    ] {
        let reply = host
            .call("OPTIONS", path)
            .header("Origin", "https://app.example")
            .send();
        let reply = reply.expect(204);
        let mut found: Vec<_> = reply.header("allow").split(", ").collect();
        found.sort_unstable();
        let mut expected: Vec<_> = methods.split(", ").collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    host.call("OPTIONS", "/nowhere").send().expect(404);
}

fn sent(host: &Host, headers: &[(&'static str, &'static str)], body: &[u8]) -> crate::http::Reply {
    let mut call = host.admin("POST", "/api/plugins/gen3/echo/5");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.body(body).send()
}

#[test]
fn bodies_of_every_kind_reach_the_function() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let bytes = [0xff, 0xfe, 0, b'a'];
    let seen = sent(
        &host,
        &[("Content-Type", "application/octet-stream")],
        &bytes,
    );
    let seen = seen.expect(200).json();
    assert_eq!(
        (&seen["_body"], &seen["_body_encoding"]),
        (&json!("//4AYQ=="), &json!("base64"))
    );
    assert_eq!(seen["_client_ip"], "127.0.0.1");
    let form = b"--b\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\r\n\xff\r\n--b--\r\n";
    let seen = sent(
        &host,
        &[("Content-Type", "multipart/form-data; boundary=b")],
        form,
    );
    let seen = seen.expect(200).json();
    assert_eq!((&seen["t"], &seen["id"]), (&json!("x"), &json!("5")));
    let file = json!({ "name": "f", "filename": "a.bin", "content_type": "application/octet-stream", "size": 1, "data": "/w==" });
    assert_eq!(seen["_files"], Value::Array(vec![file]));
    // gzip of {"a":1}, stored.
    let zipped =
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x07\0\xf8\xff{\"a\":1}\x5a\xfd\xdb\x0c\x07\0\0\0";
    let json_type = ("Content-Type", "application/json");
    let refused = sent(&host, &[json_type, ("Content-Encoding", "deflate")], zipped);
    let refused = refused.expect(415);
    assert_eq!(refused.header("accept-encoding"), "gzip, br, zstd");
    let wrong = sent(
        &host,
        &[json_type, ("Content-Encoding", "gzip")],
        &zipped[..20],
    );
    assert!(wrong.expect(400).error().contains("gzip"));
    // A policy raises the limit of a body from 4 MiB.
    let large = vec![b'x'; 5 << 20];
    sent(&host, &[("Content-Type", "text/plain")], &large).expect(413);
    host.admin("PUT", "/api/v1/plugins/gen3/policy")
        .json(&json!({ "status": "approved", "body_limit_mb": 6 }))
        .send()
        .expect(200);
    let seen = sent(&host, &[("Content-Type", "text/plain")], &large).expect(200);
    assert_eq!(seen.json()["_body"].as_str().unwrap().len(), large.len());
}

#[test]
fn one_that_hangs_does_not_hold_the_others_back() {
    let host = Setup::new()
        .plugin("hang-start", "misbehave")
        .plugin("hello-go", "hello-go")
        .argument("--start-timeout")
        .argument("600s")
        .start();
    eventually("the host is ready", || {
        (host.call("GET", "/readyz").send().status == 200).then_some(())
    });
    let text = host
        .call("GET", "/readyz?verbose")
        .send()
        .expect(200)
        .text();
    assert!(text.contains("[-] plugin hang-start starting"), "{text}");
    eventually("hello-go is up", || {
        let text = host
            .call("GET", "/readyz?verbose")
            .send()
            .expect(200)
            .text();
        text.contains("[+] plugin hello-go running").then_some(())
    });
    host.expect_serving("hello-go");
    // What it would serve is not known yet.
    let reply = host.get("/api/plugins/hang-start/status").expect(503);
    assert!(reply.error().contains("hang-start"));
}

#[test]
fn a_plugin_that_is_down_or_blocked_answers_so_before_and_after_a_restart() {
    let host = Setup::new()
        .plugin("gen3", "gen3")
        .plugin("hello-rust", "hello-rust")
        .settled();
    // One that ended by itself is started again: who asks meanwhile waits.
    host.function("gen3", "crash", &json!({})).expect(502);
    host.get("/api/plugins/gen3/status").expect(200);
    host.admin("POST", "/api/v1/plugins/gen3/disable?wait=100s")
        .send()
        .expect(200);
    host.get("/api/plugins/gen3/status").expect(403);
    host.get("/api/plugins/gen3/none").expect(404);
    host.admin("PUT", "/api/v1/plugins/hello-rust/policy")
        .json(&json!({ "status": "blocked" }))
        .send()
        .expect(200);
    let answers = |host: &Host| -> Vec<(u16, String)> {
        [
            "/api/plugins/hello-rust/status",
            "/api/plugins/hello-rust/none",
        ]
        .iter()
        .flat_map(|path| [host.get(path), host.call("GET", path).send()])
        .map(|reply| (reply.status, reply.error()))
        .collect()
    };
    let before = answers(&host);
    assert!(
        before.iter().all(|(status, _)| *status == 403),
        "{before:?}"
    );
    let mut host = host;
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    let host = host.after_kill(crate::users::User::Same).settled();
    assert_eq!(answers(&host), before);
}

#[test]
fn a_stream_of_events_can_be_had_with_a_ticket() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let agent = host.new_token("anna", "agent");
    let path = "/api/v1/plugins/gen3/events";
    host.call("POST", &format!("{path}/ticket"))
        .send()
        .expect(401);
    let made = host
        .call("POST", &format!("{path}/ticket"))
        .token(&agent)
        .send()
        .expect(201);
    let ticket = made.json()["ticket"].as_str().unwrap().to_owned();
    let open = |ticket: &str| {
        let mut stream = BufReader::new(TcpStream::connect(host.address()).unwrap());
        stream.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET {path}/ch?ticket={ticket} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        (stream, line)
    };
    let (mut stream, line) = open(&ticket);
    assert!(line.contains("200"), "{line}");
    let mut lines = stream.by_ref().lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("connected")));
    for used in [&*ticket, "none", ""] {
        assert!(open(used).1.contains("401"), "{used}");
    }
    // Who failed to sign in is told, and counted.
    let line = host.wait_for_log("a sign-in failed");
    assert!(
        line.contains("client=127.0.0.1") && !line.contains(&ticket),
        "{line}"
    );
    let metrics = host.call("GET", "/metrics").send().text();
    for line in [
        "gk_auth_failures_total 3",
        "gk_plugin_up{plugin=\"gen3\"} 1",
        "gk_build_info{version=",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for name in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "gk_plugin_memory_bytes{plugin=\"gen3\"}",
    ] {
        let found = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}"));
        assert!(
            found.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0,
            "{found}"
        );
    }
}

#[test]
fn every_error_of_the_api_is_json() {
    let host = Setup::new().plugin("hello-go", "hello-go").settled();
    for (method, path, status) in [
        ("GET", "/api/v1/plugins/hello-go/logs?limit=-1", 400),
        ("GET", "/api/v1/plugins/hello-go/logs?limit=x", 400),
        (
            "GET",
            "/api/v1/plugins/hello-go/widgets/my-widget?wrap=maybe",
            400,
        ),
        ("POST", "/api/v1/plugins/hello-go/call/nosuch", 404),
        ("DELETE", "/api/v1/tokens/x", 404),
        ("PATCH", "/api/v1/tokens", 405),
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/api/v1/plugins/%ff/logs", 400),
    ] {
        let reply = host.admin(method, path).send().expect(status);
        assert!(
            !reply.error().is_empty(),
            "{method} {path}: {}",
            reply.text()
        );
    }
}
