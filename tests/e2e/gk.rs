//! The `gk` command: an author's way from an empty directory to a signed plugin that serves, and an operator's day.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts programs as a person does"
)]

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::eventually;
use crate::host::{Host, Setup};
use crate::packages::Source;
use crate::person::Person;
use crate::users::User;

/// A host that requires signatures of the key that this person has made.
fn strict_host(person: &mut Person) -> Host {
    let shown = person.does("", &["gk", "keys", "show", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let key = shown["public_key"].as_str().unwrap();
    Setup::new()
        .variable("GOATFLOW_REQUIRE_SIGNATURES", "1")
        .variable("GOATFLOW_TRUSTED_KEYS", key)
        .settled()
}

/// The two requests of the tutorial's Step 6.
fn tutorial_answers(host: &Host) -> Value {
    let list = host.get("/api/v1/plugins").expect(200).json();
    let mut list = list.as_array().unwrap().iter();
    let of_name = list.find(|plugin| plugin["Name"] == "my-plugin");
    assert_eq!(of_name.expect("jq selects nothing")["state"], "running");
    host.get("/api/plugins/my-plugin/status").expect(200).json()
}

/// Builds what was changed, copies it over what runs, signs it anew, and waits for the new answer.
fn change(person: &mut Person, host: &Host, source: &str, from: &str, to: &str, build: &[&str]) {
    let path = person.path("my-plugin").join(source);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
    person.does("my-plugin", build);
    let place = host.path("plugins/my-plugin");
    // As the tutorial does it: over the binary that runs.
    let place = place.to_str().unwrap();
    person.does("my-plugin", &["cp", "my-plugin", place]);
    person.does("my-plugin", &["gk", "sign"]);
    person.does("my-plugin", &["cp", "plugin.sig", place]);
    eventually("the new answer", || {
        let answer = host.get("/api/plugins/my-plugin/status");
        (answer.status == 200 && answer.json()["status"] == "changed").then_some(())
    });
    assert_eq!(host.plugin("my-plugin")["signature"], "valid");
}

#[test]
fn from_an_empty_directory_to_a_signed_plugin_in_go() {
    let mut person = Person::new();
    person.does("", &["gk", "init", "my-plugin", "--type", "grpc"]);
    person.does("my-plugin", &["./build.sh"]);
    let tested = person.does("my-plugin", &["gk", "test"]);
    assert!(tested.contains(" 0 failed"), "{tested}");
    person.does("my-plugin", &["gk", "keys", "generate"]);
    person.does("my-plugin", &["gk", "sign"]);
    person.does("my-plugin", &["gk", "package"]);
    let host = strict_host(&mut person);
    let package = person.path("my-plugin/dist/my-plugin-1.0.0.zip");
    let installed = person.asks(&host, &["install", package.to_str().unwrap()]);
    assert!(
        installed.contains("my-plugin 1.0.0 is installed and running"),
        "{installed}"
    );
    assert_eq!(
        tutorial_answers(&host),
        json!({ "status": "running", "version": "1.0.0" })
    );
    let build = ["go", "build", "-o", "my-plugin", "."];
    change(
        &mut person,
        &host,
        "main.go",
        "\"running\"",
        "\"changed\"",
        &build,
    );
    person.report();
}

#[test]
fn from_an_empty_directory_to_a_signed_plugin_in_rust() {
    let mut person = Person::new();
    person.does(
        "",
        &[
            "gk",
            "init",
            "my-plugin",
            "--type",
            "grpc",
            "--lang",
            "rust",
        ],
    );
    person.does("my-plugin", &["./build.sh"]);
    let tested = person.does("my-plugin", &["gk", "test"]);
    assert!(tested.contains(" 0 failed"), "{tested}");
    person.does("my-plugin", &["gk", "keys", "generate"]);
    person.does("my-plugin", &["gk", "sign"]);
    person.does("my-plugin", &["gk", "package"]);
    let host = strict_host(&mut person);
    let package = person.path("my-plugin/dist/my-plugin-1.0.0.zip");
    person.asks(&host, &["install", package.to_str().unwrap()]);
    assert_eq!(tutorial_answers(&host)["status"], "running");
    let source = ["src/lib.rs", "src/main.rs"]
        .into_iter()
        .find(|source| {
            let text = fs::read_to_string(person.path("my-plugin").join(source));
            text.is_ok_and(|text| text.contains("\"running\""))
        })
        .expect("no source says \"running\"");
    change(
        &mut person,
        &host,
        source,
        "\"running\"",
        "\"changed\"",
        &["./build.sh"],
    );
    person.report();
}

#[test]
fn an_operators_day() {
    let mut person = Person::new();
    let asks = "permissions:\n  - {type: db, access: readwrite, scope: [tickets_go_*]}\n  - {type: cache, access: readwrite}";
    let host = Setup::new()
        .plugin("hello-go", "hello-go")
        .plugin_with("tickets-go", "tickets-go", asks)
        .settled();
    let list: Value = serde_json::from_str(&person.asks(&host, &["ps", "-o", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(
        person.asks(&host, &["ps", "-o", "name"]),
        "hello-go\ntickets-go\n"
    );
    let table = person.asks(&host, &["ps"]);
    assert!(
        table.starts_with("NAME") && table.contains("hello-go    1.0.0"),
        "{table}"
    );
    assert!(
        person
            .asks(&host, &["info", "hello-go"])
            .contains("/api/plugins/hello-go/status")
    );

    // Several names: the rest is done although one fails, and the exit code says so.
    let (code, out, err) =
        person.tries(&host, &["restart", "hello-go", "no-such", "--wait", "100s"]);
    assert_eq!(
        (code, out.trim()),
        (3, "hello-go is running, generation 2"),
        "{err}"
    );
    assert!(err.contains("no-such") && err.contains("help:"), "{err}");
    person.asks(&host, &["disable", "hello-go", "--wait", "100s"]);
    host.get("/api/plugins/hello-go/status").expect(403);
    person.asks(&host, &["enable", "hello-go", "--wait", "100s"]);
    host.expect_serving("hello-go");
    let answer = person.asks(
        &host,
        &[
            "call",
            "hello-go",
            "echo",
            "--input",
            r#"{"a":[1,2]}"#,
            "-o",
            "json",
        ],
    );
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap()["a"],
        json!([1, 2])
    );
    let (_, _, err) = person.tries(&host, &["call", "hello-go", "echo", "--repeat", "20"]);
    assert!(err.contains("20 calls: p50"), "{err}");
    assert!(
        person
            .asks(&host, &["logs", "hello-go", "--level", "info"])
            .contains("on host")
    );
    assert_eq!(
        person.asks(&host, &["logs", "hello-go", "--grep", "no such text"]),
        ""
    );

    // What a plugin asks for, and how it gets it.
    let diff = person.asks(&host, &["policy", "diff", "tickets-go"]);
    assert!(
        diff.contains("missing") && diff.contains("gk policy approve tickets-go"),
        "{diff}"
    );
    let (code, _, err) = person.tries(&host, &["policy", "approve", "tickets-go"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--yes"), "{err}");
    person.asks(&host, &["policy", "approve", "tickets-go", "--yes"]);
    let diff = person.asks(&host, &["policy", "diff", "tickets-go"]);
    assert!(!diff.contains("missing"), "{diff}");
    // What policy show prints is taken back.
    let shown = person.asks(&host, &["policy", "show", "tickets-go", "-o", "yaml"]);
    fs::write(person.path("policy.yaml"), shown).unwrap();
    let file = person.path("policy.yaml");
    person.asks(
        &host,
        &["policy", "set", "tickets-go", file.to_str().unwrap()],
    );
    person.asks(&host, &["policy", "block", "hello-go"]);
    host.get("/api/plugins/hello-go/status").expect(403);
    person.asks(&host, &["policy", "reset", "hello-go"]);
    eventually("hello-go again", || {
        (host.get("/api/plugins/hello-go/status").status == 200).then_some(())
    });

    // Tokens.
    let made = person.asks(
        &host,
        &[
            "tokens",
            "create",
            "ann",
            "--role",
            "admin",
            "--expires-in",
            "1h",
        ],
    );
    let list: Value =
        serde_json::from_str(&person.asks(&host, &["tokens", "list", "-o", "json"])).unwrap();
    let ann = list
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["login"] == "ann")
        .unwrap();
    assert!(
        ann["expires_at"].is_string() && ann["last_used_at"].is_null(),
        "{ann}"
    );
    host.call("GET", "/api/v1/tokens")
        .token(made.trim())
        .send()
        .expect(200);
    person.asks(&host, &["tokens", "delete", &ann["id"].to_string()]);
    host.call("GET", "/api/v1/tokens")
        .token(made.trim())
        .send()
        .expect(401);

    let stats: Value = serde_json::from_str(&person.asks(&host, &["stats", "-o", "json"])).unwrap();
    let calls = stats[0]["figures"]["calls"].as_u64().unwrap();
    assert!(
        calls >= 20 && stats[0]["figures"]["memory_bytes"].as_u64() > Some(0),
        "{stats}"
    );
    assert!(person.asks(&host, &["top", "-n", "1"]).contains("hello-go"));
    assert!(person.asks(&host, &["jobs", "list"]).starts_with("PLUGIN"));
    assert!(person.asks(&host, &["doctor"]).contains("database"));
    assert_eq!(
        person.asks(&host, &["uninstall", "hello-go", "-o", "name"]),
        "hello-go\n"
    );

    // All of it is written down, with whose doing it was.
    let log: Value = serde_json::from_str(&person.asks(&host, &["audit", "-o", "json"])).unwrap();
    let own = format!("uid:{}", rustix::process::geteuid().as_raw());
    let log = log.as_array().unwrap();
    assert!(log.iter().all(
        |entry| entry["actor"]["login"] == own.as_str() && entry["actor"]["address"].is_null()
    ));
    let changes: Vec<_> = log
        .iter()
        .rev()
        .map(|entry| entry["change"].as_str().unwrap())
        .collect();
    assert_eq!(
        changes,
        [
            "restart",
            "restart",
            "disable",
            "enable",
            "set_policy",
            "set_policy",
            "set_policy",
            "reset_policy",
            "create_token",
            "delete_token",
            "uninstall"
        ]
    );
    let failed: Vec<_> = log
        .iter()
        .filter(|entry| entry["outcome"] == "failed")
        .collect();
    assert_eq!((failed.len(), &failed[0]["target"]), (1, &json!("no-such")));
    let text = Value::Array(log.clone()).to_string();
    assert!(
        !text.contains(made.trim()),
        "a token's text is in the audit log"
    );
}

#[test]
fn wrong_usage_and_hosts_that_are_not_there_have_their_exit_codes() {
    let mut person = Person::new();
    let host = Setup::new().plugin("hello-go", "hello-go").settled();
    let agent = host.new_token("ann", "agent");
    fs::write(person.path("token"), &agent).unwrap();
    let open = person.path("token");
    let set_mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&open, mode).unwrap();
    };
    let url = format!("http://{}", host.address());
    let cases: &[(&[&str], u32, i32, &str)] = &[
        (&["gk"], 0o600, 2, "Usage: gk"),
        (&["gk", "pss"], 0o600, 2, "similar"),
        (&["gk", "ps", "-o", "xml"], 0o600, 2, "possible values"),
        (
            &[
                "gk", "call", "hello-go", "echo", "--url", &url, "--input", "[]",
            ],
            0o600,
            2,
            "JSON object",
        ),
        (
            &[
                "gk",
                "info",
                "nobody",
                "--url",
                &url,
                "--token-file",
                "token",
            ],
            0o600,
            3,
            "gk ps",
        ),
        (
            &["gk", "ps", "--context", "nowhere"],
            0o600,
            3,
            "gk context set",
        ),
        (
            &["gk", "restart", "hello-go", "--url", &url],
            0o600,
            4,
            "GK_TOKEN",
        ),
        (
            &[
                "gk",
                "restart",
                "hello-go",
                "--url",
                &url,
                "--token-file",
                "token",
            ],
            0o600,
            4,
            "administrator",
        ),
        (
            &["gk", "ps", "--url", &url, "--token-file", "token"],
            0o644,
            4,
            "chmod 600",
        ),
        (
            &["gk", "ps", "--url", "http://127.0.0.1:1"],
            0o600,
            5,
            "check that the host runs",
        ),
        (
            &["gk", "ps", "--url", "unix:/nowhere/admin.sock"],
            0o600,
            5,
            "start the host",
        ),
        (&["gk", "ps", "--url", "nonsense"], 0o600, 2, "unix:/path"),
    ];
    for (words, mode, code, says) in cases {
        set_mode(*mode);
        let command = person.command("", words);
        let output = person.run(command, &words.join(" "));
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(*code), "{words:?}: {err}");
        assert!(err.contains(says), "{words:?}: {err}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
    // A token is not sent where everybody on the way can read it.
    let mut command = person.command("", &["gk", "ps", "--url", "http://host.example"]);
    command.env("GK_TOKEN", &agent);
    let output = person.run(command, "ps");
    assert_eq!(output.status.code(), Some(4));
    // Contexts.
    set_mode(0o600);
    person.does(
        "",
        &["gk", "context", "set", "here", &url, "--token", "token"],
    );
    assert!(person.does("", &["gk", "ps"]).contains("hello-go"));
    assert!(person.does("", &["gk", "context", "list"]).contains("here"));
    person.does("", &["gk", "context", "remove", "here"]);
}

/// The local socket is for the host's own user and root, and needs no token; other addresses do.
#[test]
fn the_local_socket_needs_no_token() {
    let host = Setup::new().plugin("hello-go", "hello-go").settled();
    let socket = host.path("data/admin.sock");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let ask = |head: &str| {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        write!(
            stream,
            "GET /api/v1/tokens HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(ask("").starts_with("HTTP/1.1 200"));
    // Who shows a token is who it says.
    assert!(ask("Authorization: Bearer wrong\r\n").starts_with("HTTP/1.1 401"));
    let agent = host.new_token("ann", "agent");
    assert!(ask(&format!("Authorization: Bearer {agent}\r\n")).starts_with("HTTP/1.1 403"));
    host.call("GET", "/api/v1/tokens").send().expect(401);
}

#[test]
fn the_local_socket_lets_no_other_user_in() {
    assert!(
        rustix::process::geteuid().is_root(),
        "another user can be had by root only: run the tests as root"
    );
    let host = Setup::of(User::Same).settled();
    // As an operator's mistake would open it.
    let socket = host.path("data/admin.sock");
    for path in [socket.clone(), host.path("data"), host.path("")] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(path, mode).unwrap();
    }
    let text = format!(
        "exec curl -sS --max-time 60 --unix-socket {} http://x/api/v1/tokens",
        socket.display()
    );
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "/bin/sh",
        "-c",
        &text,
    ]);
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    host.wait_for_log("another user has come to the local socket");
}

#[test]
fn a_log_is_followed() {
    let mut person = Person::new();
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let mut command = person.command("", &["gk", "logs", "-f", "gen3", "-n", "1"]);
    command.env(
        "GK_URL",
        format!("unix:{}", host.path("data/admin.sock").display()),
    );
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    // What is there already comes first.
    assert!(lines.next().unwrap().unwrap().contains("running"));
    person.asks(&host, &["restart", "gen3", "--wait", "100s"]);
    let goes_on = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("running"));
    assert!(goes_on);
    // The limit is for what was there: nothing is left out of what comes.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    host.function("gen3", "print", &json!({})).expect(200);
                }
            });
        }
    });
    let structured = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("a structured line"));
    assert_eq!(structured.take(40).count(), 40);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_index_offers_versions() {
    let mut person = Person::new();
    let host = Setup::new().settled();
    let files = person.path("files");
    fs::create_dir(&files).unwrap();
    let mut versions = Vec::new();
    for version in ["1.0.0", "1.1.0"] {
        let package = Source::new("gen3", "gen3", version).pack();
        let file = format!("gen3-{version}.zip");
        fs::write(files.join(&file), &package).unwrap();
        let digest = gk_sign::Digest::of(&package).to_string();
        versions
            .push(json!({ "version": version, "url": format!("files/{file}"), "sha256": digest }));
    }
    versions
        .push(json!({ "version": "9.0.0", "min_host_version": "99.0.0", "url": "files/none.zip" }));
    let mut index = json!({ "version": 1, "updated_at": "x", "plugins": [
        { "name": "gen3", "description": "A test plugin", "tags": ["x"], "versions": versions },
        { "name": "needy", "versions": [{ "version": "1.0.0", "url": "files/gen3-1.0.0.zip" }], "dependencies": ["nobody"] },
        { "name": "other", "versions": [{ "version": "1.0.0", "url": "files/gen3-1.0.0.zip" }] },
    ] });
    let place = person.path("index.json");
    fs::write(&place, index.to_string()).unwrap();
    let place = place.to_str().unwrap().to_owned();
    assert!(
        person
            .asks(&host, &["search", "TEST", "--index", &place])
            .contains("gen3")
    );
    person.asks(
        &host,
        &["install", "gen3@1.0.0", "--index", &place, "--wait", "100s"],
    );
    assert_eq!(host.plugin("gen3")["version"], "1.0.0");
    let dry = person.asks(&host, &["update", "--dry-run", "--index", &place]);
    assert_eq!(dry, "gen3 1.0.0 would become 1.1.0\n");
    person.asks(&host, &["update", "--index", &place, "--wait", "100s"]);
    let version = fs::read_to_string(host.path("plugins/gen3/plugin.yaml")).unwrap();
    assert!(version.contains("1.1.0"), "{version}");
    // It registers as 1.0.0 whatever its plugin.yaml says; the package is known by its files.
    let again = person.asks(&host, &["update", "gen3", "--index", &place]);
    assert_eq!(
        again,
        "gen3 1.1.0 is installed already and running, generation 2\n"
    );
    for (what, code, says) in [
        ("gen3@9.0.0", 1, "99.0.0"),
        ("gen3@3.0.0", 3, "no version 3.0.0"),
        ("nobody", 3, "has no plugin"),
        ("needy", 1, "nobody"),
        ("other", 4, "\"gen3\""),
    ] {
        let (status, _, err) = person.tries(&host, &["install", what, "--index", &place]);
        assert_eq!(status, code, "{what}: {err}");
        assert!(err.contains(says), "{what}: {err}");
    }
    // What the index promised is what must come.
    index["plugins"][0]["versions"][0]["sha256"] = json!("00".repeat(32));
    fs::write(&place, index.to_string()).unwrap();
    let (status, _, err) = person.tries(&host, &["install", "gen3@1.0.0", "--index", &place]);
    assert_eq!(status, 4, "{err}");
}
