//! Every way to be a bad plugin that we know of, all at once beside one good plugin.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use crate::host::{Host, Setup};
use crate::users::User;
use crate::{eventually, processes, program};

/// What the host makes of a mode of `misbehave`.
pub(crate) enum Expect {
    /// It does not come up; the error has these words.
    Fails(&'static [&'static str]),
    /// It runs, and nothing is wrong with its calls.
    Runs,
    /// It runs; a call is answered with this status and these words.
    Call(u16, &'static [&'static str]),
    /// It runs until some moment after its start.
    Dies(&'static [&'static str]),
}

use Expect::{Call, Dies, Fails, Runs};

/// Every mode; what it does is said by `misbehave -list`.
pub(crate) const MODES: &[(&str, Expect)] = &[
    // Before the handshake.
    (
        "banner",
        Fails(&[
            "printed \"Welcome to my plugin!",
            "the first line on stdout must be the handshake",
            "has to go to stderr",
        ]),
    ),
    (
        "blank-line",
        Fails(&["printed \"\\n", "must be the handshake"]),
    ),
    (
        "wrong-cookie",
        Fails(&["exited with code 1", "GOATKIT_PLUGIN=goatkit-v1"]),
    ),
    (
        "wrong-app-version",
        Fails(&["version 2 of the plugin protocol", "rebuild it"]),
    ),
    (
        "wrong-core-version",
        Fails(&["core protocol version", "printed \"2|1|unix|"]),
    ),
    ("grpc-handshake", Fails(&["gRPC", "net/rpc", "ServePlugin"])),
    ("unknown-protocol", Fails(&["carrier-pigeon"])),
    ("unasked-cert", Fails(&["certificate", "without TLS"])),
    (
        "short-handshake",
        Fails(&["printed \"1|1|unix\\n", "must be the handshake"]),
    ),
    (
        "half-line",
        Fails(&["handshake", "printed \"1|1|unix|/tmp/x\""]),
    ),
    (
        "dotdot-path",
        Fails(&[
            "directly in neither PLUGIN_UNIX_SOCKET_DIR",
            "create it there",
        ]),
    ),
    (
        "other-path",
        Fails(&[
            "/run/other.sock",
            "directly in neither PLUGIN_UNIX_SOCKET_DIR",
            "create it there",
        ]),
    ),
    (
        "relative-path",
        Fails(&["plugin.sock", "directly in neither PLUGIN_UNIX_SOCKET_DIR"]),
    ),
    ("tcp", Fails(&["TCP", "must listen on a unix socket"])),
    ("no-socket", Fails(&["absent.sock", "No such file"])),
    ("socket-link", Fails(&["link-", "symbolic link"])),
    ("temp-link", Fails(&["link-", "symbolic link"])),
    ("socket-file", Fails(&["file-", "is not a socket"])),
    (
        "close-at-once",
        Fails(&["connecting to its socket", "closed the connection"]),
    ),
    (
        "exit-1",
        Fails(&["exited with code 1", "cannot load the licence file"]),
    ),
    ("exit-0", Fails(&["exited with code 0", "printed nothing"])),
    (
        "hang-start",
        Fails(&[
            "handshake line took longer than 60s",
            "is it a GoatKit plugin?",
            "printed nothing",
        ]),
    ),
    ("handshake-flood", Fails(&["longer than", "and more"])),
    // In a method.
    (
        "crash-register",
        Fails(&[
            "GKRegister",
            "exited with code 3",
            "/api/v1/plugins/crash-register/logs",
        ]),
    ),
    (
        "hang-register",
        Fails(&["GKRegister took longer than 20s", "init_timeout"]),
    ),
    (
        "fail-register",
        Fails(&["GKRegister failed", "the licence has expired"]),
    ),
    ("crash-init", Fails(&["Init", "exited with code 3"])),
    (
        "hang-init",
        Fails(&["Init took longer than 20s", "init_timeout"]),
    ),
    (
        "fail-init",
        Fails(&["Init failed", "the licence has expired"]),
    ),
    (
        "panic-init",
        Fails(&["Init", "exited with code 2", "panic: a handler panicked"]),
    ),
    ("crash-call", Call(502, &["code 3"])),
    ("hang-call", Call(504, &["within 5s", "call_timeout"])),
    (
        "panic-call",
        Call(502, &["code 2", "panic: a handler panicked"]),
    ),
    ("exit-during-call", Call(502, &["code 0"])),
    ("hang-shutdown", Runs),
    ("crash-shutdown", Runs),
    ("crash-after-init", Dies(&["exited with code 3"])),
    // In what it registers.
    (
        "name-mismatch",
        Fails(&["\"somebody-else\"", "make the two names equal"]),
    ),
    (
        "invalid-name",
        Fails(&["\"../evil\"", "make the two names equal"]),
    ),
    ("invalid-json", Fails(&["GKRegister", "cannot be read"])),
    (
        "invalid-route",
        Fails(&["routes[0].path", "does not start with"]),
    ),
    ("unknown-middleware", Runs),
    ("reserved-route", Runs),
    ("foreign-route", Runs),
    ("shared-route", Runs),
    // On the wire.
    ("huge-gob", Fails(&["gob", "1073741824", "over the limit"])),
    (
        "huge-gob-register",
        Fails(&["GKRegister", "1073741824", "over the limit"]),
    ),
    (
        "huge-gob-call",
        Call(502, &["1073741824", "over the limit"]),
    ),
    ("garbage-gob", Fails(&["gob", "malformed"])),
    (
        "garbage-gob-register",
        Fails(&["GKRegister", "gob", "malformed"]),
    ),
    ("garbage-gob-call", Call(502, &["gob", "malformed"])),
    ("double-answer", Runs),
    // An answer to no running call may be a late one: it is dropped.
    ("wrong-seq", Call(504, &["within 5s", "call_timeout"])),
    ("huge-frame", Fails(&["yamux"])),
    ("bad-yamux-version", Fails(&["yamux version 9"])),
    // With its output and its processes.
    ("stdout-flood", Runs),
    ("stderr-flood", Runs),
    ("stream-flood", Runs),
    ("bad-hclog", Runs),
    ("grandchild", Runs),
];

/// Directories that hold no plugin that could be started: directory, files in it, words of the error.
const DIRECTORIES: &[(&str, &str, &[&str])] = &[
    ("yaml-syntax", "name: [\n", &["plugin.yaml", "yaml-syntax"]),
    (
        "yaml-type",
        "name: yaml-type\nversion: 1.0.0\nruntime: grpc\nresources: 5\n",
        &["plugin.yaml", "resources"],
    ),
    (
        "yaml-name",
        "name: No Such Name\nversion: 1.0.0\nruntime: grpc\n",
        &["plugin.yaml", "name"],
    ),
    (
        "yaml-timeout",
        "name: yaml-timeout\nversion: 1.0.0\nruntime: grpc\nresources:\n  call_timeout: soon\n",
        &["plugin.yaml:5", "call_timeout", "30s"],
    ),
    (
        "climbs",
        "name: climbs\nversion: 1.0.0\nruntime: grpc\nbinary: ../hello-go/hello-go\n",
        &["binary"],
    ),
    (
        "missing-binary",
        "name: missing-binary\nversion: 1.0.0\nruntime: grpc\nbinary: absent\n",
        &["missing-binary", "absent"],
    ),
    (
        "not-executable",
        "name: not-executable\nversion: 1.0.0\nruntime: grpc\nbinary: text\n",
        &["not-executable", "chmod"],
    ),
    (
        "no-program",
        "name: no-program\nversion: 1.0.0\nruntime: grpc\nbinary: text\n",
        &["no-program"],
    ),
    (
        "twin",
        "name: hello-go\nversion: 1.0.0\nruntime: grpc\n",
        &["\"hello-go\"", "twin", "same name", "rename"],
    ),
];

fn setup() -> Setup {
    // A probe is a call, too: to some of them the first one is what this test does.
    let setup = Setup::new().file("host.toml", "[health]\ninterval = \"1h\"\n");
    let config = setup.path("host.toml");
    let mut setup = setup
        .plugin("hello-go", "hello-go")
        .argument("--config")
        .argument(config)
        .argument("--start-timeout")
        .argument("60s");
    for (mode, _) in MODES {
        let resources = match *mode {
            // All that comes before it is honest work.
            "hang-init" | "hang-register" => "init_timeout: 20s\ncall_timeout: 100s",
            "hang-call" | "wrong-seq" => "init_timeout: 100s\ncall_timeout: 5s",
            "hang-shutdown" => "init_timeout: 100s\ncall_timeout: 100s\nshutdown_timeout: 1s",
            // The others are not meant to run into a limit, however busy the machine is.
            _ => "init_timeout: 100s\ncall_timeout: 100s",
        };
        setup = setup.plugin_with(mode, "misbehave", resources);
    }
    for (directory, manifest, _) in DIRECTORIES {
        setup = setup.file(&format!("plugins/{directory}/plugin.yaml"), manifest);
    }
    setup
        .file("plugins/not-executable/text", "#!/bin/sh\n")
        .file("plugins/no-program/text", "neither a program nor a script")
        .executable("plugins/no-program/text")
        .file("plugins/a-file-of-somebody", "is not looked at")
        .file("plugins/empty/readme", "has no plugin.yaml")
}

#[track_caller]
fn expect_words(subject: &str, error: &str, words: &[&str]) {
    for word in words {
        assert!(
            error.contains(word),
            "{subject}: {word:?} is not in: {error}"
        );
    }
    assert!(
        error.len() < 8192,
        "{subject}: {} bytes of error",
        error.len()
    );
}

/// The error of a call, or, if it was over before it was known how the plugin ended, as on a busy
/// machine, that of the plugin: a call never waits long for it.
pub(crate) fn explained(host: &Host, plugin: &str, error: String) -> String {
    if !error.contains("the peer closed the connection") {
        return error;
    }
    eventually("how it ended", || host.failure(plugin))
}

#[track_caller]
fn expect_failed(host: &Host, name: &str, words: &[&str]) {
    // It may be started again by now.
    let plugin = host.plugin(name);
    let states = ["failed", "backing_off", "crash_looping", "starting"];
    let state = plugin["state"].as_str().unwrap();
    assert!(states.contains(&state), "{name}: {plugin}");
    let error = plugin["last_error"].as_str().unwrap();
    assert!(
        error.starts_with(&format!("plugin \"{name}\": ")),
        "{error}"
    );
    expect_words(name, error, words);
}

/// The socket and the handshake are judged the same where the host is not root.
#[test]
fn an_unprivileged_host_is_led_nowhere_either() {
    const SOCKETS: [&str; 9] = [
        "dotdot-path",
        "other-path",
        "relative-path",
        "tcp",
        "socket-link",
        "temp-link",
        "socket-file",
        "no-socket",
        "close-at-once",
    ];
    let mut setup = Setup::of(User::Unprivileged).plugin("gen3", "gen3");
    for mode in SOCKETS {
        setup = setup.plugin(mode, "misbehave");
    }
    let host = setup.settled();
    for mode in SOCKETS {
        let expect = MODES.iter().find(|(name, _)| *name == mode);
        let Some((_, Fails(words))) = expect else {
            panic!("{mode} is no mode that fails")
        };
        expect_failed(&host, mode, words);
    }
    assert_eq!(host.plugin("gen3")["state"], "running");
    let (family, root) = host.family("gen3");
    host.stop(family, &root);
}

#[test]
fn the_table_has_every_mode() {
    #[expect(clippy::disallowed_methods, reason = "only asks for a list")]
    let list = Command::new(program("misbehave")).arg("-list").output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let modes: BTreeSet<_> = list
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let table: BTreeSet<_> = MODES.iter().map(|(mode, _)| *mode).collect();
    assert_eq!(modes, table);
    assert_eq!(table.len(), MODES.len());
}

#[test]
fn each_gives_one_clear_error_and_the_good_one_serves_on() {
    let host = setup().settled();
    host.expect_serving("hello-go");

    for (mode, expect) in MODES {
        match expect {
            Fails(words) => expect_failed(&host, mode, words),
            Runs => {
                assert_eq!(host.plugin(mode)["state"], "running", "{mode}");
                host.function(mode, "echo", &json!({})).expect(200);
            }
            Call(status, words) => {
                assert_eq!(host.plugin(mode)["state"], "running", "{mode}");
                let error = host.function(mode, "echo", &json!({})).expect(*status);
                let error = error.error();
                assert!(error.contains(mode), "{error}");
                expect_words(mode, &explained(&host, mode, error), words);
            }
            Dies(words) => {
                let error = eventually(mode, || host.failure(mode));
                expect_words(mode, &error, words);
            }
        }
        host.expect_serving("hello-go");
    }

    let list = host.get("/api/v1/plugins").expect(200).json();
    for (directory, _, words) in DIRECTORIES {
        let end = format!("/{directory}");
        let entry = list.as_array().unwrap().iter().find(|entry| {
            entry["directory"]
                .as_str()
                .is_some_and(|path| path.ends_with(&end))
        });
        let entry = entry.unwrap_or_else(|| panic!("{directory} is not listed: {list}"));
        assert_eq!(entry["state"], "failed", "{entry}");
        expect_words(directory, entry["error"].as_str().unwrap(), words);
        // Each error is in the log, too, once; what the host prints comes when it is read.
        let told = eventually(directory, || {
            let log = host.log();
            let told = |line: &&str| line.contains("ERROR") && line.contains(directory);
            Some(log.lines().filter(told).count()).filter(|told| *told > 0)
        });
        assert_eq!(told, 1, "{directory} in the log:\n{}", host.log());
    }

    // The one that started a process of its own: it is found by what it inherited.
    let held = host.function("grandchild", "echo", &json!({})).expect(200);
    let held: u32 = held.text().parse().unwrap();
    let (family, root) = host.family("hello-go");
    let grandchild = family.contains_inside(host.plugin_pid("grandchild"), held);
    assert!(grandchild, "the grandchild is watched");
    assert!(
        family.contains(host.plugin_pid("hang-shutdown")) && family.len() >= 10,
        "{} processes",
        family.len()
    );
    host.stop(family, &root);
    // Those that nobody saw before as well, as soon as the kernel has ended them.
    eventually("the end of all processes", || {
        (processes::Watched::family(&root).len() == 0).then_some(())
    });
}
