//! What `gk` does with what may be hostile: indexes, texts, proxies, sockets that somebody put there; and what it leaves of
//! an approval.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs as a person does"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};

use serde_json::{Value, json};

use crate::DEADLINE;
use crate::host::{Host, Setup};
use crate::packages::Source;
use crate::person::Person;

/// Reads the head of a request, tells of it, answers, and closes.
fn answer(mut stream: impl Read + Write, answer: &[u8], heads: &Sender<String>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
    // A look whether somebody listens asks nothing.
    if !head.is_empty() {
        // Nobody receives it once the test is over.
        let _ = heads.send(String::from_utf8_lossy(&head).into_owned());
        let _ = stream.write_all(answer);
    }
}

/// A server on this machine that answers each request with the same, and tells of each.
fn server(with: Vec<u8>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &with, &sender);
        }
    });
    (address, heads)
}

/// The same behind a socket, which knows no plugins.
fn socket_server(path: &Path) -> Receiver<String> {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &ok("[]"), &sender);
        }
    });
    heads
}

fn ok(body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

fn run(person: &mut Person, command: Command) -> (Option<i32>, String, String) {
    let output = person.run(command, "gk");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// An index of one plugin, `gen3`, with packages of these versions under others' numbers.
fn index(person: &Person, offers: &[(&str, &str)]) -> String {
    let mut versions = Vec::new();
    for (offered, real) in offers {
        let file = format!("gen3-{offered}.zip");
        let package = Source::new("gen3", "gen3", real).pack();
        fs::write(person.path(&file), package).unwrap();
        versions.push(json!({ "version": offered, "url": file }));
    }
    let plugin = json!({ "name": "gen3", "versions": versions,
        "description": "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}x" });
    let index = json!({ "version": 1, "plugins": [plugin] });
    let place = person.path("index.json");
    fs::write(&place, index.to_string()).unwrap();
    place.to_str().unwrap().to_owned()
}

fn installed(host: &Host) -> String {
    let text = fs::read_to_string(host.path("plugins/gen3/plugin.yaml")).unwrap();
    let version = text.lines().find_map(|line| line.strip_prefix("version: "));
    version.unwrap().to_owned()
}

#[test]
fn an_index_cannot_pass_an_old_version_off_as_a_new_one() {
    let mut person = Person::new();
    let host = Setup::new().settled();
    let place = index(&person, &[("1.1.0", "1.1.0")]);
    person.asks(
        &host,
        &["install", "gen3", "--index", &place, "--wait", "100s"],
    );
    let place = index(&person, &[("9.9.9", "1.0.0")]);
    for command in ["install", "update"] {
        let (code, _, err) = person.tries(&host, &[command, "gen3", "--index", &place]);
        assert_eq!(code, 4, "{err}");
        assert!(
            err.contains("version 1.0.0") && err.contains("9.9.9"),
            "{err}"
        );
        assert_eq!(installed(&host), "1.1.0");
    }
    // What runs registers as 1.0.0, whatever its package says: the package counts.
    let place = index(&person, &[("1.0.5", "1.0.5")]);
    let (code, _, err) = person.tries(&host, &["update", "gen3", "--index", &place]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("is not older: 1.1.0"), "{err}");
    assert_eq!(installed(&host), "1.1.0");
    // Whoever asks for an older version by its number means it.
    person.asks(
        &host,
        &["install", "gen3@1.0.5", "--index", &place, "--wait", "100s"],
    );
    assert_eq!(installed(&host), "1.0.5");
}

#[test]
fn texts_from_elsewhere_give_a_terminal_no_orders() {
    let mut person = Person::new();
    let place = index(&person, &[("1.0.0", "1.0.0")]);
    let search = ["gk", "search", "--index", &place, "--color", "always", "-o"];
    for format in ["table", "json", "yaml"] {
        let words = [&search[..], &[format]].concat();
        let command = person.command("", &words);
        let (code, out, err) = run(&mut person, command);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("]0;owned"), "{out}");
        let orders = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'];
        assert!(!out.contains(orders), "{out:?}");
    }
    // Also in an error, which has gk's own colours.
    let wrong = "unix:/nowhere/x\u{1b}]0;owned\u{7}";
    let command = person.command("", &["gk", "ps", "--color", "always", "--url", wrong]);
    let (code, _, err) = run(&mut person, command);
    assert_eq!(code, Some(5), "{err}");
    assert!(err.contains("\u{1b}[31m"), "{err:?}");
    assert!(
        !err.contains("\u{1b}]") && !err.contains('\u{7}'),
        "{err:?}"
    );
}

#[test]
fn a_proxy_does_not_see_what_is_for_this_machine() {
    let mut person = Person::new();
    let host = Setup::new().settled();
    let token = host.new_token("ann", "admin");
    let (proxy, seen) = server(ok("[]"));
    let place = index(&person, &[("1.0.0", "1.0.0")]);
    let (web, asked) = server(ok(&fs::read_to_string(place).unwrap()));
    let (url, index) = (
        format!("http://{}", host.address()),
        format!("http://{web}/index.json"),
    );
    for words in [
        ["gk", "tokens", "list", "--url", &url],
        ["gk", "search", "gen3", "--index", &index],
    ] {
        let mut command = person.command("", &words);
        for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env(variable, format!("http://{proxy}"));
        }
        command.env("GK_TOKEN", &token);
        let (code, out, err) = run(&mut person, command);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("ann") || out.contains("gen3"), "{out}");
        assert!(seen.try_recv().is_err(), "the proxy was asked");
    }
    assert!(asked.try_recv().is_ok());
    // Nor does a name that only looks like this machine's.
    let evil = format!("http://localhost:x@{proxy}");
    let mut command = person.command("", &["gk", "ps", "--url", &evil]);
    command.env("GK_TOKEN", &token);
    let (code, _, err) = run(&mut person, command);
    assert_eq!(code, Some(2), "{err}");
    assert!(seen.try_recv().is_err());
}

#[test]
fn a_redirect_to_another_place_on_this_machine_is_not_followed() {
    let mut person = Person::new();
    let (inside, seen) = server(ok("{}"));
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{inside}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (web, asked) = server(answer.into_bytes());
    let index = format!("http://ann:secret@{web}/index.json?key=secret");
    let command = person.command("", &["gk", "search", "-v", "--index", &index]);
    let (code, _, err) = run(&mut person, command);
    assert_eq!(code, Some(5), "{err}");
    assert!(
        asked.try_recv().is_ok() && seen.try_recv().is_err(),
        "{err}"
    );
    assert!(
        err.contains("index.json") && !err.contains("secret"),
        "{err}"
    );
}

#[test]
fn a_socket_that_is_found_gets_no_token_and_must_be_ones_own() {
    let mut person = Person::new();
    let socket = person.path("data/admin.sock");
    let ps = |person: &mut Person, more: &[&str]| {
        let mut command = person.command("", &[&["gk", "ps"], more].concat());
        command.env("GK_TOKEN", "secret");
        run(person, command)
    };

    // One's own.
    let heads = socket_server(&socket);
    let (code, _, err) = ps(&mut person, &[]);
    assert_eq!(code, Some(0), "{err}");
    let head = heads.recv_timeout(DEADLINE).unwrap();
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    // One that is named gets the token that is given for it, and no other.
    let place = format!("unix:{}", socket.display());
    ps(&mut person, &["--url", &place]);
    let head = heads.recv_timeout(DEADLINE).unwrap();
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
    let file = person.path("token");
    fs::write(&file, "given").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, mode).unwrap();
    ps(&mut person, &["--url", &place, "--token-file", "token"]);
    let head = heads.recv_timeout(DEADLINE).unwrap();
    assert!(head.contains("Bearer given"), "{head}");

    // Another user's.
    assert!(
        rustix::process::geteuid().is_root(),
        "another user can be had by root only: run the tests as root"
    );
    std::os::unix::fs::chown(&socket, Some(65534), None).unwrap();
    let next = socket_server(&person.path("target/data/admin.sock"));
    let (code, _, err) = ps(&mut person, &[]);
    assert_eq!(code, Some(0), "{err}");
    assert!(next.try_recv().is_ok() && heads.try_recv().is_err());
}

/// A version of `gen3` that asks for something, and comes up or not.
fn asking(version: &str, comes_up: bool) -> Source {
    let built = if comes_up { "gen3" } else { "misbehave" };
    let manifest = format!(
        "name: gen3\nversion: {version}\nruntime: grpc\nbinary: gen3\nresources:\n  init_timeout: 100s\n  permissions:\n    - {{type: http, scope: [example.org]}}\n"
    );
    Source::new("gen3", built, version)
        .file("plugin.yaml", &manifest)
        .file("mode", "fail-init\n")
}

#[test]
fn an_approval_keeps_what_was_decided_and_is_taken_back_with_the_version() {
    let mut person = Person::new();
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let (good, bad) = (person.path("good.zip"), person.path("bad.zip"));
    fs::write(&good, asking("1.1.0", true).pack()).unwrap();
    fs::write(&bad, asking("1.2.0", false).pack()).unwrap();
    let install = |person: &mut Person, package: &Path| {
        let package = package.to_str().unwrap();
        person.tries(&host, &["install", package, "--approve", "--wait", "100s"])
    };
    let policy = || -> Value { host.get("/api/v1/plugins/gen3/policy").expect(200).json() };
    let set = |policy: Value| {
        let call = host.admin("PUT", "/api/v1/plugins/gen3/policy");
        call.json(&policy).send().expect(200);
    };
    let http = json!([{ "type": "http", "scope": ["example.org"] }]);

    // Nothing was stored before, and nothing is afterwards.
    let (code, _, err) = install(&mut person, &bad);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("what it was before --approve"), "{err}");
    assert_ne!(policy()["origin"], "stored");

    // What was stored is there again.
    let stored = json!({ "status": "restricted", "permissions": [{ "type": "cache", "access": "read" }],
        "memory_mb": 200, "call_timeout": "20s", "max_http_req_per_min": 7 });
    set(stored);
    let before = policy()["policy"].clone();
    let (code, _, err) = install(&mut person, &bad);
    assert_eq!(code, 1, "{err}");
    assert_eq!(policy()["policy"], before);

    // Of what is approved the limits stay.
    let (code, _, err) = install(&mut person, &good);
    assert_eq!(code, 0, "{err}");
    let mut expected = before;
    (expected["status"], expected["permissions"]) = (json!("approved"), http);
    let now = policy()["policy"].clone();
    assert_eq!(now["permissions"][0]["type"], "http", "{now}");
    expected["permissions"] = now["permissions"].clone();
    assert_eq!(now, expected);

    // A block is not lifted.
    set(json!({ "status": "blocked" }));
    let (code, _, err) = install(&mut person, &bad);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("gk policy reset gen3"), "{err}");
    assert_eq!(policy()["policy"]["status"], "blocked");
    assert_eq!(installed(&host), "1.1.0");
}
