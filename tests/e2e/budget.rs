//! What clients and plugins may make the host hold: everything at once, and over a long time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::eventually;
use crate::host::{Host, Setup};

/// What the attacked host may take, in MiB: less than the default, so that a test has enough of it.
const BUDGET_MIB: u64 = 256;

/// Connections that ask for a large result and do not read it.
const UNREAD: usize = 60;
/// Connections with a head that does not end.
const HEADS: usize = 700;
/// Connections that say nothing.
const IDLE: usize = 500;
/// Clients that send large forms, and that read large results, again and again.
const BUSY: usize = 4;
/// Statements that do not end, and as many clients whose statements have more arguments than one may.
const STATEMENTS: usize = 4;
/// The function of gen3 that asks the host for what it is told to.
const ASK_HOST: &str = "/api/v1/plugins/gen3/call/ask_host";
/// Arguments of such a statement.
const ARGUMENTS: usize = 65_001;

/// A figure of `/proc/<pid>/status`, in KiB.
fn status_kib(host: &Host, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap().trim_start_matches(':').trim();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

fn request(host: &Host, head: &str, body: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(host.address())?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    Ok(stream)
}

/// Reads an answer to its end; how long it was.
fn read_all(mut stream: TcpStream) -> usize {
    let mut part = [0; 64 * 1024];
    let mut all = 0;
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(bytes) => all += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return all,
        }
    }
}

/// Without the limits each of these alone takes gigabytes: results that nobody reads, heads without an end, forms
/// of half a million keys, results that are parsed into a tree, statements with thousands of arguments that wait
/// behind endless ones, connections that do nothing.
#[test]
fn all_attacks_at_once_stay_within_the_budget() {
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let host = Setup::new()
        .plugin_with("gen3", "gen3", "memory_mb: 4096")
        .plugin("hello-rust", "hello-rust")
        .argument("--config")
        .argument("host.toml")
        .file(
            "host.toml",
            // A proxy's requests are those of many clients: it has no share of its own that would end first.
            &format!(
                "health_listen = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nmemory_mb = {BUDGET_MIB}\n"
            ),
        )
        .settled();
    let health = host.printed_after("telling how the host is on http://");
    host.expect_serving("hello-rust");
    host.admin("PUT", "/api/v1/plugins/gen3/policy")
        .json(&json!({ "status": "approved", "permissions": [{ "type": "db", "access": "readwrite" }] }))
        .send()
        .expect(200);
    let endless = json!({ "method": "db_query", "args": {
        "query": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
    } });
    let arguments = json!({ "method": "db_query", "args": {
        "query": "SELECT 1", "args": vec![0; ARGUMENTS],
    } });
    let before = status_kib(&host, "VmRSS");
    let form: Vec<u8> = (0..560_000_u32)
        .flat_map(|key| format!("{key:x}&").into_bytes())
        .collect();
    let head = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {}",
        "x".repeat(390_000)
    );
    let over = AtomicBool::new(false);
    let [refused, answered, unread_arguments] = [const { AtomicUsize::new(0) }; 3];
    thread::scope(|scope| {
        // The first ones take what there is for large results; they are kept until the end.
        let unread: Vec<_> = (0..UNREAD)
            .map(|_| {
                let ask = "GET /api/plugins/gen3/large?mb=31 HTTP/1.1\r\nHost: x\r\n\r\n";
                request(&host, ask, b"").unwrap()
            })
            .collect();
        for _ in 0..BUSY {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let head = format!(
                        "POST /api/plugins/gen3/form HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
                        form.len()
                    );
                    if let Ok(stream) = request(&host, &head, &form) {
                        read_all(stream);
                    }
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let ask = "GET /api/plugins/gen3/large?mb=31&shaped=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                    if let Ok(stream) = request(&host, ask, b"") {
                        read_all(stream);
                    }
                }
            });
        }
        for _ in 0..STATEMENTS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // It ends by its limit of time, or the host has no memory for it.
                    let ended = host.admin("POST", ASK_HOST).json(&endless).try_send();
                    assert!(!ended.is_ok_and(|ended| ended.status == 200));
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let refused = host.admin("POST", ASK_HOST).json(&arguments).try_send();
                    if refused.is_ok_and(|refused| refused.text().contains("999")) {
                        unread_arguments.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Those whose head is refused are closed; that is what is meant to happen.
        let heads: Vec<_> = (0..HEADS)
            .filter_map(|_| request(&host, &head, b"").ok())
            .collect();
        let idle: Vec<_> = (0..IDLE)
            .filter_map(|_| TcpStream::connect(host.address()).ok())
            .collect();
        // All the while the host says how it is, and others are served.
        let started = Instant::now();
        let mut rounds = 0;
        let seen = || [&answered, &unread_arguments].map(|count| count.load(Ordering::Relaxed) > 0);
        while started.elapsed() < Duration::from_secs(5)
            || rounds < 20
            || (seen() != [true, true] && started.elapsed() < crate::DEADLINE)
        {
            crate::http::Call::new("GET", format!("http://{health}/livez"))
                .send()
                .expect(200);
            match host
                .admin("GET", "/api/plugins/hello-rust/status")
                .try_send()
            {
                Ok(reply) if reply.status == 200 => answered.fetch_add(1, Ordering::Relaxed),
                // Over budget for a moment.
                Ok(reply) => {
                    reply.expect(503);
                    refused.fetch_add(1, Ordering::Relaxed)
                }
                Err(_) => refused.fetch_add(1, Ordering::Relaxed),
            };
            rounds += 1;
        }
        over.store(true, Ordering::Relaxed);
        drop((unread, heads, idle));
    });
    let peak = status_kib(&host, "VmHWM");
    println!(
        "resident before {} MiB, peak {} MiB, budget {BUDGET_MIB} MiB; of the others' requests {answered:?} were answered, {refused:?} refused; {unread_arguments:?} statements with {ARGUMENTS} arguments were refused",
        before >> 10,
        peak >> 10,
    );
    assert!(peak < BUDGET_MIB << 10, "{} MiB", peak >> 10);
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert!(unread_arguments.load(Ordering::Relaxed) > 0);
    // It gives back what it held, and serves on.
    eventually("nothing is held any more", || {
        let text = crate::http::Call::new("GET", format!("http://{health}/metrics"))
            .send()
            .text();
        let line = text
            .lines()
            .find(|line| line.starts_with("gk_memory_held_bytes "))?;
        let held: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (held < f64::from(1 << 20)).then_some(())
    });
    host.get("/api/plugins/gen3/large?mb=31").expect(200);
    host.expect_serving("hello-rust");
    // The plugin was not the one to suffer for what clients did.
    assert_eq!(host.plugin("gen3")["generation"], 1);
}

/// Requests over one connection, each answered before the next.
fn many(host: &Host, count: usize, each: impl Fn(usize) -> String) {
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(crate::DEADLINE)).unwrap();
    let mut answer = vec![0; 16 * 1024];
    for number in 0..count {
        stream.write_all(each(number).as_bytes()).unwrap();
        let mut have = 0;
        loop {
            have += match stream.read(&mut answer[have..]).unwrap() {
                0 => panic!("closed after {number} requests"),
                bytes => bytes,
            };
            let text = &answer[..have];
            let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else {
                continue;
            };
            let length = std::str::from_utf8(&text[..head])
                .unwrap()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if have >= head + 4 + length.unwrap_or_default() {
                break;
            }
        }
    }
}

/// Nobody reads `/metrics`. What was kept of each request, 37 bytes, was never given back.
#[test]
fn requests_leave_nothing_behind() {
    const WARM: usize = 10_000;
    const MORE: usize = 60_000;
    const ROUNDS: usize = 4;
    // What the host does from time to time it does often, so that its memory is there before and its growth is seen.
    let often = "rescan_interval = \"1s\"\n[health]\ninterval = \"1s\"\ntimeout = \"1s\"\n";
    let setup = Setup::new()
        .plugin("hello-rust", "hello-rust")
        .file("host.toml", often);
    let configuration = setup.path("host.toml");
    let host = setup.argument("--config").argument(configuration).settled();
    let token = host.admin_token().to_owned();
    let each = |number: usize| {
        // Also what is refused, with names that a client makes up.
        let path = match number % 8 {
            0 => format!("/api/plugins/hello-rust/none-{number}"),
            1 => format!("/api/v1/plugins/none-{number}"),
            _ => "/api/plugins/hello-rust/status".to_owned(),
        };
        let token = match number % 16 {
            2 => format!("wrong-{number}"),
            _ => token.clone(),
        };
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    many(&host, WARM, each);
    crate::eventually("it was probed a few times", || {
        (host.metric("gk_plugin_health_probes_total", "hello-rust")? >= 3.0).then_some(())
    });
    host.admin("POST", "/api/v1/plugins/hello-rust/reload?wait=60s")
        .send()
        .expect(200);
    // What is kept of each request grows in every round; what has its memory late grows in one.
    let mut grown = Vec::new();
    let leaks = (0..ROUNDS).all(|_| {
        let before = status_kib(&host, "VmRSS");
        many(&host, MORE, each);
        let after = status_kib(&host, "VmRSS");
        grown.push((before, after));
        after >= before + 1024
    });
    println!("resident in KiB before and after each {MORE} requests: {grown:?}");
    assert!(
        !leaks,
        "each {MORE} requests grow the host, in KiB: {grown:?}"
    );
    let calls = host.metric("gk_plugin_call_duration_seconds_count", "hello-rust");
    assert!(calls.unwrap() > 40_000.0);
    host.function("hello-rust", "echo", &json!({})).expect(200);
}

/// The same for hours of work in minutes: ten million calls, over HTTP, several at a time. Run it with
/// `cargo xtask test-e2e -- --ignored ten_million --nocapture`.
#[test]
#[ignore = "takes minutes; to be run on a quiet machine"]
fn ten_million_calls_leave_nothing_behind() {
    const WARM: usize = 10_000;
    const CALLS: usize = 10_000_000;
    const CLIENTS: usize = 4;
    /// Requests that a client sends before it waits for their answers.
    const BATCH: usize = 32;
    let host = Setup::new().plugin("hello-rust", "hello-rust").settled();
    let request = format!(
        "GET /api/plugins/hello-rust/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        host.admin_token()
    );
    let calls = |count: usize| {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    batches(
                        &host,
                        request.repeat(BATCH).as_bytes(),
                        count / CLIENTS / BATCH,
                        BATCH,
                    )
                });
            }
        });
    };
    calls(WARM);
    let before = status_kib(&host, "VmRSS");
    let started = Instant::now();
    for tenth in 1..=10 {
        calls(CALLS / 10);
        let now = status_kib(&host, "VmRSS");
        println!(
            "{} calls in {:?}: {before} KiB became {now} KiB",
            CALLS / 10 * tenth,
            started.elapsed()
        );
    }
    let after = status_kib(&host, "VmRSS");
    assert!(after < before + 2048, "{before} KiB became {after} KiB");
}

/// Sends a batch of requests, waits for as many answers, and so on.
fn batches(host: &Host, batch: &[u8], count: usize, answers: usize) {
    const BEGINNING: &[u8] = b"HTTP/1.1 200";
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(crate::DEADLINE)).unwrap();
    let mut part = vec![0; 64 * 1024];
    for _ in 0..count {
        stream.write_all(batch).unwrap();
        let (mut have, mut kept) = (0, 0);
        while have < answers {
            let read = stream.read(&mut part[kept..]).unwrap();
            assert_ne!(read, 0, "closed");
            let seen = &part[..kept + read];
            have += seen
                .windows(BEGINNING.len())
                .filter(|window| *window == BEGINNING)
                .count();
            // A beginning may be cut.
            let from = seen.len().saturating_sub(BEGINNING.len() - 1);
            kept = seen.len() - from;
            part.copy_within(from..from + kept, 0);
        }
    }
}
