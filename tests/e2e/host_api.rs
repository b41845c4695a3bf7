//! tickets-go, a plugin that uses the whole host API, on every database and cache.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Instant;

use gk_servers::{Certificate, Mariadb, Postgres, Redis};
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::host::{Host, Setup};

const BASE: &str = "/api/plugins/tickets-go";

/// A server that the plugin's outgoing requests reach: what they said, one after the other.
fn webhook() -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length, mut event) = (String::new(), 0, String::new());
            loop {
                head.clear();
                stream.read_line(&mut head).unwrap();
                let line = head.trim().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
                if let Some(value) = line.strip_prefix("x-event: ") {
                    event = value.to_owned();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            if sender
                .send((event, serde_json::from_slice(&body).unwrap()))
                .is_err()
            {
                return;
            }
        }
    });
    (url, receiver)
}

fn tickets(arguments: &[String]) -> (Host, mpsc::Receiver<(String, Value)>) {
    tickets_in(Setup::new(), arguments)
}

fn tickets_in(setup: Setup, arguments: &[String]) -> (Host, mpsc::Receiver<(String, Value)>) {
    let (url, hooks) = webhook();
    // Its tables are made on a server that was just started, on a machine that may be busy.
    let manifest = include_str!("../../plugins/tickets-go/plugin.yaml");
    let manifest = &manifest.replace(
        "call_timeout: 20s",
        "call_timeout: 100s\n  init_timeout: 100s",
    );
    assert!(manifest.contains("init_timeout: 100s"));
    let config = "trust_declared_permissions = true\n[http]\nallow_networks = [\"127.0.0.0/8\"]\n";
    let setup = setup.file("host.toml", config);
    let path = setup.path("host.toml");
    let setup = setup
        .plugin("tickets-go", "tickets-go")
        .file("plugins/tickets-go/plugin.yaml", manifest)
        .argument("--config")
        .argument(path)
        .variable("GOATFLOW_PLUGIN_TICKETS_GO_WEBHOOK_URL", url);
    let setup = arguments
        .iter()
        .fold(setup, |setup, argument| setup.argument(argument));
    (setup.settled(), hooks)
}

/// Events of a channel, as a browser gets them.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    pub(crate) fn subscribe(host: &Host, path: &str) -> Self {
        Self::subscribe_as(host, path, host.admin_token())
    }

    fn subscribe_as(host: &Host, path: &str, token: &str) -> Self {
        let address = host.address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n",
        )
        .unwrap();
        let mut events = Events(BufReader::new(stream));
        assert_eq!(events.next().0, "connected");
        events
    }

    /// Waits until the host ends the stream.
    fn ends(mut self) {
        let started = Instant::now();
        let mut line = String::new();
        while self.0.read_line(&mut line).unwrap() > 0 {
            // One that goes on has a sign of life now and then.
            assert!(started.elapsed() < DEADLINE, "the stream goes on: {line}");
        }
    }

    /// The next event's type and data.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let mut event = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.0.read_line(&mut line).unwrap() > 0,
                "the stream has ended"
            );
            if let Some(name) = line.trim_end().strip_prefix("event: ") {
                event = name.to_owned();
            }
            if let Some(data) = line.trim_end().strip_prefix("data: ") {
                return (event, serde_json::from_str(data).unwrap());
            }
        }
    }
}

/// The whole walk: tables, cache, event, webhook, translations, widget.
#[track_caller]
fn walk(arguments: &[String]) {
    walk_in(Setup::new(), arguments);
}

#[track_caller]
fn walk_in(setup: Setup, arguments: &[String]) {
    let (host, hooks) = tickets_in(setup, arguments);
    let plugin = host.plugin("tickets-go");
    assert_eq!(plugin["state"], "running", "{plugin}");
    let mut events = Events::subscribe(&host, "/api/v1/plugins/tickets-go/events/tickets");
    let empty = host.get(&format!("{BASE}/tickets")).expect(200).json();
    assert_eq!(empty, json!({ "tickets": [] }));
    let none = host
        .get("/api/v1/plugins/tickets-go/widgets/by-state")
        .expect(200);
    assert_eq!(none.text(), "<p>No tickets yet</p>");

    let mut ids = Vec::new();
    // Beyond 2^53 a float would have lost digits; quotes and wildcards are data.
    for (title, priority) in [
        ("Goat's \"bell\"", 9_007_199_254_740_993_i64),
        ("100 % ünïcode 🐐", -1),
        ("third", 0),
    ] {
        let body = json!({ "title": title, "priority": priority });
        let made = host
            .admin("POST", &format!("{BASE}/tickets"))
            .json(&body)
            .send();
        let made = made.expect(201).json();
        assert_eq!(
            (&made["title"], &made["priority"]),
            (&json!(title), &json!(priority))
        );
        let (event, data) = events.next();
        assert_eq!(
            (event.as_str(), &data["id"]),
            ("ticket.created", &made["id"])
        );
        let (hook, data) = hooks.recv_timeout(DEADLINE).unwrap();
        assert_eq!(
            (hook.as_str(), &data["title"]),
            ("ticket.created", &json!(title))
        );
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let one = host
        .get(&format!("{BASE}/tickets/{}", ids[0]))
        .expect(200)
        .json();
    assert_eq!(one["priority"].as_i64(), Some(9_007_199_254_740_993));
    let all = host
        .get(&format!("{BASE}/tickets?state=open"))
        .expect(200)
        .json();
    assert_eq!(all["tickets"].as_array().unwrap().len(), 3);
    host.get(&format!("{BASE}/tickets/nonsense")).expect(404);
    let injection = host
        .get(&format!("{BASE}/tickets?state=open'%20OR%20'1'='1"))
        .expect(200)
        .json();
    assert_eq!(injection, json!({ "tickets": [] }));
    let bad = host
        .admin("POST", &format!("{BASE}/tickets"))
        .json(&json!({ "title": " " }))
        .send();
    assert!(bad.expect(400).error().contains("1 to 200"));

    // The statistic is counted once, comes from the cache, and is forgotten with a change.
    let statistics = || host.get(&format!("{BASE}/statistics")).expect(200).json();
    let open = json!([{ "state": "open", "tickets": 3 }]);
    assert_eq!(statistics(), json!({ "counts": open, "cached": false }));
    assert_eq!(statistics(), json!({ "counts": open, "cached": true }));
    let close = format!("{BASE}/tickets/{}/close", ids[2]);
    let closed = host.admin("POST", &close).send().expect(200).json();
    assert_eq!(
        (&closed["state"], &closed["version"]),
        (&json!("closed"), &json!(2))
    );
    host.admin("POST", &close).send().expect(409);
    assert_eq!(events.next().0, "ticket.closed");
    let counts = json!([{ "state": "open", "tickets": 2 }, { "state": "closed", "tickets": 1 }]);
    assert_eq!(statistics(), json!({ "counts": counts, "cached": false }));

    let widget = |language| {
        let path = "/api/v1/plugins/tickets-go/widgets/by-state";
        host.admin("GET", path)
            .header("Accept-Language", language)
            .send()
            .expect(200)
            .text()
    };
    let (english, german) = (widget("en"), widget("de-AT,de;q=0.9"));
    assert!(
        english.starts_with("<svg ") && english.contains(">Open<") && english.contains("3 tickets"),
        "{english}"
    );
    assert!(
        german.contains(">Offen<")
            && german.contains(">Erledigt<")
            && german.contains("3 Vorgänge"),
        "{german}"
    );

    let usage = host
        .get("/api/v1/plugins/tickets-go/policy")
        .expect(200)
        .json();
    assert_eq!(
        (&usage["origin"], &usage["usage"]["errors"]),
        (&json!("declared"), &json!(0))
    );
    assert!(usage["usage"]["db_queries"].as_u64() > Some(5), "{usage}");
}

#[test]
fn tickets_on_sqlite_and_memory() {
    walk(&[]);
}

#[test]
fn tickets_on_postgresql_and_redis() {
    let (postgres, redis) = (Postgres::start().unwrap(), Redis::start().unwrap());
    walk(&[
        format!("--database-url={}", postgres.url()),
        format!("--cache-url={}", redis.url()),
    ]);
}

/// An operator's own authority, as the machine's.
#[test]
fn tickets_over_tls() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (root, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate = Certificate {
        certificate: &root,
        key: &key,
    };
    let mariadb = Mariadb::start_with_tls(&certificate).unwrap();
    let redis = Redis::start_with_tls(&certificate).unwrap();
    let setup = Setup::new().file("machine.pem", &root);
    let path = setup.path("machine.pem");
    walk_in(
        setup.variable("SSL_CERT_FILE", path),
        &[
            format!("--database-url={}?sslmode=require", mariadb.url()),
            format!("--cache-url={}", redis.url()),
        ],
    );
}

#[test]
fn tickets_on_mariadb_and_redis() {
    let (mariadb, redis) = (Mariadb::start().unwrap(), Redis::start().unwrap());
    walk(&[
        format!("--database-url={}", mariadb.url()),
        format!("--cache-url={}", redis.url()),
    ]);
}

#[test]
fn the_operators_word_counts_at_once() {
    let (host, _hooks) = tickets(&[]);
    let events = Events::subscribe(&host, "/api/v1/plugins/tickets-go/events/tickets");
    let policy = "/api/v1/plugins/tickets-go/policy";
    let list = format!("{BASE}/tickets");
    host.get(&list).expect(200);

    // Reading only: the running plugin learns so with its next statement.
    let reads = json!({ "status": "restricted", "permissions": [
        { "type": "db", "access": "read", "scope": ["tickets_go_*"] }] });
    let set = host
        .admin("PUT", policy)
        .json(&reads)
        .send()
        .expect(200)
        .json();
    assert_eq!(
        (&set["origin"], &set["policy"]["status"]),
        (&json!("stored"), &json!("restricted"))
    );
    host.get(&list).expect(200);
    let made = host
        .admin("POST", &list)
        .json(&json!({ "title": "t" }))
        .send();
    let error = made.expect(500).error();
    assert!(
        error.contains("database write access not granted"),
        "{error}"
    );
    // No other plugin's tables, the host's neither.
    let other = json!({ "status": "approved", "permissions": [{ "type": "db", "access": "read", "scope": ["other_*"] }] });
    host.admin("PUT", policy).json(&other).send().expect(200);
    let error = host.get(&list).expect(500).error();
    assert!(error.contains("tickets_go_ticket"), "{error}");

    host.admin("PUT", policy)
        .json(&json!({ "status": "blocked" }))
        .send()
        .expect(200);
    let error = host.get(&list).expect(403).error();
    assert!(error.contains("blocked"), "{error}");
    host.get("/api/v1/plugins/tickets-go/widgets/by-state")
        .expect(403);
    host.function("tickets-go", "list", &json!({})).expect(403);
    host.get("/api/v1/plugins/tickets-go/events/tickets")
        .expect(403);
    // Those who had subscribed are let go.
    events.ends();

    for (body, says) in [
        (json!({ "status": "aproved" }), "aproved"),
        (
            json!({ "status": "approved", "permissions": [{ "type": "dbx" }] }),
            "dbx",
        ),
    ] {
        let refused = host.admin("PUT", policy).json(&body).send().expect(400);
        assert!(refused.error().contains(says), "{}", refused.text());
    }
    host.admin("DELETE", policy).send().expect(204);
    host.admin("DELETE", policy).send().expect(404);
    // A block ends the process; its end starts it anew.
    crate::eventually("it serves again", || {
        (host.get(&list).status == 200).then_some(())
    });
    let agent = host.new_token("agnes", "agent");
    host.call("PUT", policy)
        .token(&agent)
        .json(&json!({ "status": "approved" }))
        .send()
        .expect(403);
    host.call("GET", policy).token(&agent).send().expect(403);
}

/// A policy's limit of a call holds from the next one on; so does its end.
#[test]
fn a_policy_shortens_the_next_call() {
    let host = Setup::new()
        .plugin_with("gen3", "gen3", "call_timeout: 100s")
        .settled();
    let policy = "/api/v1/plugins/gen3/policy";
    let sleep = |ms: u32| host.function("gen3", "sleep", &json!({ "ms": ms }));
    sleep(1).expect(200);
    let body = json!({ "status": "approved", "call_timeout": "250ms", "memory_mb": 64 });
    let set = host.admin("PUT", policy).json(&body).send().expect(200);
    assert_eq!(set.json()["policy"]["call_timeout"], "250ms");
    assert_eq!(set.json()["policy"]["memory_mb"], 64);
    let late = sleep(60_000).expect(504).error();
    assert!(
        late.contains("within 250ms") && late.contains("its policy"),
        "{late}"
    );
    host.admin("DELETE", policy).send().expect(204);
    // Longer than the policy let it be.
    sleep(300).expect(200);
    let body = json!({ "status": "approved", "call_timeout": "0s" });
    let refused = host.admin("PUT", policy).json(&body).send().expect(400);
    assert!(refused.error().contains("more than 0s"));
}

/// What runs in a plugin when it is blocked is given up, with a clear word to who called.
#[test]
fn a_block_ends_calls_that_run() {
    let host = Setup::new()
        .plugin_with("gen3", "gen3", "call_timeout: 600s")
        .settled();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| host.function("gen3", "sleep", &json!({ "ms": 500_000 })));
        crate::lifecycle::in_flight(&host, "gen3");
        let blocked = json!({ "status": "blocked" });
        host.admin("PUT", "/api/v1/plugins/gen3/policy")
            .json(&blocked)
            .send()
            .expect(200);
        let error = call.join().unwrap().expect(403).error();
        assert!(error.contains("blocked by its policy while"), "{error}");
    });
}

/// Who listens with a token listens no longer than it is valid; others go on.
#[test]
fn a_deleted_token_ends_its_streams() {
    let (host, _hooks) = tickets(&[]);
    let path = "/api/v1/plugins/tickets-go/events/tickets";
    let mut stays = Events::subscribe(&host, path);
    let token = host.new_token("agnes", "agent");
    let goes = Events::subscribe_as(&host, path, &token);
    let list = host.get("/api/v1/tokens").expect(200).json();
    let ids: Vec<_> = list
        .as_array()
        .unwrap_or_else(|| panic!("{list}"))
        .iter()
        .filter(|token| token["login"] == "agnes")
        .map(|token| token["id"].as_i64().unwrap())
        .collect();
    for id in ids {
        host.admin("DELETE", &format!("/api/v1/tokens/{id}"))
            .send()
            .expect(204);
    }
    goes.ends();
    host.admin("POST", &format!("{BASE}/tickets"))
        .json(&json!({ "title": "t" }))
        .send()
        .expect(201);
    assert!(!stays.next().0.is_empty());
}

/// Without the operator's word a plugin gets what is safe, and says itself what it lacks.
#[test]
fn a_plugin_that_nobody_reviewed_writes_nothing() {
    let manifest = include_str!("../../plugins/tickets-go/plugin.yaml");
    let host = Setup::new()
        .plugin("tickets-go", "tickets-go")
        .file("plugins/tickets-go/plugin.yaml", manifest)
        .plugin("hello-go", "hello-go")
        .settled();
    let plugin = host.plugin("tickets-go");
    assert_eq!(plugin["state"], "failed");
    let error = plugin["error"].as_str().unwrap();
    assert!(
        error.contains("database write access not granted"),
        "{error}"
    );
    host.expect_serving("hello-go");
    let view = host
        .get("/api/v1/plugins/tickets-go/policy")
        .expect(200)
        .json();
    assert_eq!(
        (&view["origin"], &view["policy"]["status"]),
        (&json!("default"), &json!("pending_review"))
    );
    let granted = view["policy"]["permissions"].as_array().unwrap();
    assert!(
        granted
            .iter()
            .all(|entry| entry["type"] != "http" && entry["access"] != "write"),
        "{view}"
    );
    assert_eq!(
        view["requested"]["permissions"].as_array().unwrap().len(),
        3
    );
}

/// What streams by itself does not hold up the host's end.
#[test]
fn a_subscriber_does_not_hold_up_the_end() {
    let (host, _hooks) = tickets(&[]);
    let events = Events::subscribe(&host, "/api/v1/plugins/tickets-go/events");
    let (family, root) = host.family("tickets-go");
    host.stop(family, &root);
    events.ends();
}

const NOTES: &str = "permissions:
  - {type: db, access: readwrite, scope: ['notes_*']}
  - {type: cache, access: readwrite}
  - {type: file, access: readwrite}
  - {type: config, access: read}
  - {type: plugin_call, scope: [hello-go]}";

/// The Rust SDK's client, typed, against the real host.
#[test]
fn notes_in_rust() {
    let host = Setup::new()
        .plugin_with("notes", "rust-notes", NOTES)
        .plugin("hello-go", "hello-go")
        .argument("--trust-declared-permissions")
        .variable("GOATFLOW_SECURE_KEY", "ab".repeat(32))
        .settled();
    let plugin = host.plugin("notes");
    assert_eq!(plugin["state"], "running", "{plugin}");
    let path = "/api/plugins/notes/notes";
    for id in [3, 1, i64::MAX, 2, 4] {
        let note = json!({ "id": id, "text": format!("note {id}") });
        let added = host.admin("POST", path).json(&note).send().expect(200);
        assert_eq!(added.json(), note);
    }
    let error = host
        .admin("POST", path)
        .json(&json!({ "id": 1, "text": "again" }))
        .send();
    assert!(error.expect(500).error().to_lowercase().contains("unique"));
    let all = host.get(path).expect(200).json();
    let ids: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, [1, 2, 3, 4, i64::MAX]);
    for cached in [false, true] {
        let count = host
            .function("notes", "count", &json!({}))
            .expect(200)
            .json();
        assert_eq!(count, json!({ "notes": "5", "cached": cached }));
    }
    let tour = host
        .admin("POST", "/api/v1/plugins/notes/call/tour")
        .header("Accept-Language", "de");
    let mut tour = tour.json(&json!({})).send().expect(200).json();
    let refused = tour["refused"].take();
    assert!(
        refused
            .as_str()
            .unwrap()
            .contains("HTTP outbound access not granted"),
        "{refused}"
    );
    assert!(tour["year"].take().as_i64() > Some(2025));
    // What the host knows of the call's user goes along from one plugin to another; nothing else is added.
    let mut echoed = tour["echoed"].take();
    assert!(echoed["_user_id"].take().is_i64());
    assert!(echoed["_request_id"].take().is_string());
    assert_eq!(
        echoed,
        json!({
            "n": 1, "_is_admin": true, "_lang": "de", "_request_id": null, "_user_id": null, "_user_login": "admin",
            "_user_role": "Admin",
        })
    );
    assert_eq!(
        tour,
        json!({
            "key": "visits", "visits": "1", "file": "hello", "files": 1, "secret": "hush", "app": "GoatKit",
            "text": "Hallo, Ann", "year": null, "echoed": null, "refused": null,
        })
    );
    // The secret is nowhere in the clear, and what the host keeps is nobody else's to read.
    let mut files = 0;
    for entry in std::fs::read_dir(host.path("data")).unwrap() {
        let path = entry.unwrap().path();
        // A journal is removed when it has served.
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.is_file() {
            let mode = metadata.permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            assert!(
                !bytes.windows(4).any(|window| window == b"hush"),
                "{}",
                path.display()
            );
            files += 1;
        }
    }
    assert!(files >= 3);
    assert!(!host.log().contains("hush") && !host.log().contains("abababab"));
}
