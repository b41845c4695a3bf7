//! Plugins that change, come and go while the host serves.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use serde_json::json;

use crate::goat::{built, generation, goat, goat_in, serving, version, wait_for, write_package};
use crate::host::Setup;
use crate::{DEADLINE, eventually};

/// A call that runs goes on in the process that it began in, beside the new one.
#[test]
fn a_running_call_ends_where_it_began() {
    let (host, place) = goat();
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| host.function("goat", "sleep", &json!({ "ms": 20_000 })));
        eventually("the call runs", || {
            (host.metric("gk_plugin_calls_in_flight", "goat")? > 0.0).then_some(())
        });
        fs::write(place.join("goat"), built(2)).unwrap();
        wait_for(&host, 2);
        let entry = host.plugin("goat");
        assert_eq!(
            (&entry["draining"], &entry["state"]),
            (&json!(1), &json!("running"))
        );
        sleeping.join().unwrap().expect(200);
    });
    eventually("the old one ends", || {
        (host.plugin("goat")["draining"] == 0).then_some(())
    });
}

#[test]
fn what_does_not_start_changes_nothing_and_is_shown() {
    let (host, place) = goat();
    let program = place.join("goat");
    fs::write(&program, "#!/bin/sh\nexit 7\n").unwrap();
    let candidate = eventually("the candidate fails", || {
        let candidate = host.plugin("goat")["candidate"].clone();
        (candidate["state"] == "failed").then_some(candidate)
    });
    let error = candidate["error"].as_str().unwrap();
    assert!(
        error.contains("handshake") && error.contains('7'),
        "{error}"
    );
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    // What is back is what runs.
    fs::write(&program, built(1)).unwrap();
    eventually("nothing is wrong any more", || {
        host.plugin("goat")["candidate"].is_null().then_some(())
    });
    assert_eq!(generation(&host), 1);
    // The same for a manifest that is none.
    fs::write(&program, built(2)).unwrap();
    wait_for(&host, 2);
    assert!(host.plugin("goat")["candidate"].is_null());
    let manifest = fs::read_to_string(place.join("plugin.yaml")).unwrap();
    fs::write(place.join("plugin.yaml"), "name: [\n").unwrap();
    eventually("the manifest is refused", || {
        (host.plugin("goat")["candidate"]["state"] == "failed").then_some(())
    });
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
    // Once it is as it was there is nothing to do.
    let before = generation(&host);
    fs::write(place.join("plugin.yaml"), &manifest).unwrap();
    eventually("nothing is wrong any more", || {
        host.plugin("goat")["candidate"].is_null().then_some(())
    });
    assert_eq!(generation(&host), before);
    // What the manifest says counts.
    fs::write(
        place.join("plugin.yaml"),
        manifest.replace("1.0.1", "1.0.9") + "description: mended\n",
    )
    .unwrap();
    eventually("the new manifest counts", || {
        (generation(&host) > before).then_some(())
    });
}

#[test]
fn plugins_come_and_go() {
    let (host, place) = goat();
    let plugins = place.parent().unwrap();
    // Made elsewhere and moved here, and made here.
    let staged = host.path("staged");
    write_package(&staged, "sheep", 1);
    fs::rename(&staged, plugins.join("sheep")).unwrap();
    write_package(&plugins.join("cow"), "cow", 1);
    for name in ["sheep", "cow"] {
        eventually("it is served", || {
            let reply = host.function(name, "version", &json!({}));
            (reply.status == 200).then_some(())
        });
    }
    // One that is replaced as a whole, with a moment in between, is never gone.
    fs::rename(plugins.join("cow"), host.path("old")).unwrap();
    write_package(&plugins.join("cow"), "cow", 2);
    eventually("the new one serves", || {
        let reply = host.function("cow", "version", &json!({}));
        assert_eq!(reply.status, 200, "{}", reply.text());
        (serde_json::from_slice::<String>(&reply.body).unwrap() == version(2)).then_some(())
    });
    fs::remove_dir_all(plugins.join("sheep")).unwrap();
    eventually("it is gone", || {
        let reply = host.admin("GET", "/api/v1/plugins/sheep").send();
        (reply.status == 404).then_some(())
    });
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    write_package(&plugins.join("sheep"), "sheep", 3);
    eventually("it is back", || {
        let reply = host.function("sheep", "version", &json!({}));
        (reply.status == 200).then_some(())
    });
}

#[test]
fn a_reload_can_be_asked_for() {
    let (host, place) = goat_in(Setup::new().variable("GOATFLOW_PLUGIN_HOT_RELOAD", "false"));
    let reload = |query: &str| {
        host.admin("POST", &format!("/api/v1/plugins/goat/reload{query}"))
            .send()
    };
    let same = reload("?wait=60s").expect(200).json();
    assert_eq!(
        (&same["outcome"], &same["generation"]),
        (&json!("serving"), &json!(1))
    );
    let forced = reload("?wait=60s&force=true").expect(200).json();
    assert_eq!(forced["generation"], 2);
    fs::write(place.join("goat"), built(2)).unwrap();
    let new = reload("?wait=60s").expect(200).json();
    assert_eq!(new["generation"], 3);
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
    fs::write(place.join("goat"), "nothing").unwrap();
    let failed = reload("?wait=60s").expect(409).json();
    assert_eq!(
        (&failed["outcome"], &failed["generation"]),
        (&json!("failed"), &json!(3))
    );
    assert_eq!(serving(&host).as_deref(), Some(&*version(2)));
    host.admin("POST", "/api/v1/plugins/nobody/reload")
        .send()
        .expect(404);
    host.call("POST", "/api/v1/plugins/goat/reload")
        .send()
        .expect(401);
    reload("?wait=soon").expect(400);
}

/// What is known of a plugin hangs on its directory, whatever that is called: a typo in its plugin.yaml is no removal.
#[test]
fn a_directory_may_be_called_otherwise() {
    let (host, place) = goat();
    let shed = place.with_file_name("shed");
    write_package(&shed, "cow", 1);
    let serves = || host.function("cow", "version", &json!({})).status == 200;
    eventually("it is served", || serves().then_some(()));
    fs::write(shed.join("plugin.yaml"), "name: [\n").unwrap();
    eventually("the manifest is refused", || {
        (host.plugin("cow")["candidate"]["state"] == "failed").then_some(())
    });
    assert!(serves());
    host.admin("GET", "/api/v1/plugins/shed").send().expect(404);
}

/// A directory that is exchanged is away for a moment. Nobody makes an empty one in its place, or ends what runs.
#[test]
fn a_plugins_directory_that_is_away_ends_nothing() {
    let (host, place) = goat();
    let plugins = place.parent().unwrap();
    fs::rename(plugins, host.path("old")).unwrap();
    host.wait_for_log("the plugins cannot be looked for");
    assert!(!plugins.exists());
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    // Another one is there: it is watched from now on.
    write_package(&host.path("new/goat"), "goat", 2);
    fs::rename(host.path("new"), plugins).unwrap();
    wait_for(&host, 2);
    fs::write(place.join("goat"), built(3)).unwrap();
    wait_for(&host, 3);
}

/// While a client sends its body another version comes up: the request goes there, and is answered.
#[test]
fn a_request_that_is_still_read_goes_to_the_new_version() {
    let (host, place) = goat();
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = "POST /api/plugins/goat/form HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\":";
    stream.write_all(head.as_bytes()).unwrap();
    fs::write(place.join("goat"), built(2)).unwrap();
    wait_for(&host, 2);
    eventually("the old one has ended", || {
        (host.plugin("goat")["draining"] == 0).then_some(())
    });
    stream.write_all(b"\"b\"}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A handler that never ends was stopped by nothing but the host's end.
#[test]
fn a_block_ends_the_process_and_its_end_starts_it() {
    let (host, _) = goat();
    let policy = "/api/v1/plugins/goat/policy";
    let pid = host.plugin_pid("goat");
    let blocked = json!({ "status": "blocked" });
    host.admin("PUT", policy).json(&blocked).send().expect(200);
    eventually("its process is gone", || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    eventually("it is blocked", || {
        (host.plugin("goat")["state"] == "blocked").then_some(())
    });
    host.function("goat", "version", &json!({})).expect(403);
    host.admin("DELETE", policy).send().expect(204);
    wait_for(&host, 1);
}
