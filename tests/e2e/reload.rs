//! Plugins that change, come and go while the host serves.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::host::{Host, Setup};
use crate::processes::descendants;
use crate::{DEADLINE, eventually, program};

/// What the program answers to `version`, as it is built.
const PLACEHOLDER: &str = "GK_TEST_VERSION_000000";

fn version(number: u32) -> String {
    format!("GK_TEST_VERSION_{number:06}")
}

/// The reference program with another version in it.
fn built(number: u32) -> Vec<u8> {
    let mut bytes = fs::read(program("gen3")).unwrap();
    let found: Vec<usize> = bytes
        .windows(PLACEHOLDER.len())
        .enumerate()
        .filter(|(_, window)| *window == PLACEHOLDER.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "gen3 has no version to be replaced");
    for at in found {
        bytes[at..at + PLACEHOLDER.len()].copy_from_slice(version(number).as_bytes());
    }
    bytes
}

/// A package directory of a version.
fn write_package(dir: &Path, name: &str, number: u32) {
    fs::create_dir_all(dir).unwrap();
    let manifest = format!(
        "name: {name}\nversion: 1.0.{number}\nruntime: grpc\nresources:\n  init_timeout: 100s\n  call_timeout: 100s\n"
    );
    fs::write(dir.join(name), built(number)).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("plugin.yaml"), manifest).unwrap();
}

/// A host with the plugin `goat` in its version 1.
fn goat() -> (Host, PathBuf) {
    goat_in(Setup::new())
}

fn goat_in(setup: Setup) -> (Host, PathBuf) {
    let place = setup.path("plugins/goat");
    write_package(&place, "goat", 1);
    let host = setup.settled();
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    (host, place)
}

/// The version that answers.
fn serving(host: &Host) -> Option<String> {
    let reply = host.function("goat", "version", &json!({}));
    let version = reply.status == 200;
    version.then(|| serde_json::from_slice(&reply.body).unwrap())
}

fn wait_for(host: &Host, number: u32) {
    eventually(&format!("version {number} serves"), || {
        (serving(host)? == version(number)).then_some(())
    });
}

fn generation(host: &Host) -> u64 {
    host.plugin("goat")["generation"].as_u64().unwrap()
}

fn descriptors(host: &Host) -> usize {
    fs::read_dir(format!("/proc/{}/fd", host.pid()))
        .unwrap()
        .count()
}

/// How many descriptors and processes a host has, once nothing of a replaced generation is left.
fn settled(host: &Host) -> (usize, usize) {
    eventually("what was replaced has ended", || {
        (host.plugin("goat")["draining"] == 0).then_some(())
    });
    let count = || (descriptors(host), descendants(host.pid()).len());
    // The host closes, and the keeper tidies up, when they get to it: what lasts is what counts.
    let mut last = count();
    let mut same = 0;
    eventually("nothing changes any more", || {
        let now = count();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same > 20).then_some(last)
    })
}

/// Copies over what runs, again and again, while callers go on: none of them may notice but by the version.
fn reloads_under_load(callers: usize, reloads: u32) {
    let (host, place) = goat();
    let program = place.join("goat");
    // What a first reload leaves open, such as descriptors that are kept for the next one, is no growth.
    fs::write(&program, built(2)).unwrap();
    wait_for(&host, 2);
    let left = settled(&host);
    let over = AtomicBool::new(false);
    let failures = Mutex::new(Vec::new());
    let (took, answered) = thread::scope(|scope| {
        let calling: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut answered) = (version(0), 0);
                    while !over.load(Ordering::Relaxed) {
                        let reply = host.function("goat", "version", &json!({}));
                        let now: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                        match now
                            .as_str()
                            .filter(|now| reply.status == 200 && **now >= *last)
                        {
                            Some(now) => now.clone_into(&mut last),
                            None => failures.lock().unwrap().push(format!(
                                "{} {} after {last}",
                                reply.status,
                                reply.text()
                            )),
                        }
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let mut took = Vec::new();
        for number in 3..3 + reloads {
            // As `cp` does: the file is written over.
            fs::write(&program, built(number)).unwrap();
            let written = Instant::now();
            wait_for(&host, number);
            took.push(written.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        let answered: usize = calling
            .into_iter()
            .map(|calling| calling.join().unwrap())
            .sum();
        (took, answered)
    });
    let failures = failures.into_inner().unwrap();
    assert_eq!(failures, Vec::<String>::new());
    let slowest = took.iter().max().unwrap();
    eprintln!("{reloads} reloads beside {answered} calls; the slowest took {slowest:?} to serve");
    assert_eq!(
        generation(&host),
        u64::from(reloads) + 2,
        "one start for each change"
    );
    // Everything of those that were replaced is gone.
    // The keeper may have one more process ready for the next start, or not.
    let now = settled(&host);
    assert!(
        now.0 <= left.0 + 2 && now.1 <= left.1 + 1,
        "descriptors, processes: {left:?} became {now:?}"
    );
}

#[test]
fn a_reload_loses_no_call() {
    reloads_under_load(8, 12);
}

/// `cargo xtask test-e2e -- --ignored two_hundred --nocapture`.
#[test]
#[ignore = "takes minutes; to be run on a quiet machine"]
fn two_hundred_reloads_lose_no_call() {
    reloads_under_load(64, 200);
}

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

#[expect(clippy::disallowed_methods, reason = "the tools that people use")]
fn shell(script: &str, place: &Path, new: &Path) {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-ec", script])
        .current_dir(place)
        .env("NEW", new);
    assert!(command.status().unwrap().success(), "{script}");
}

/// The ways in which people and tools write files, by the tools themselves; each must be seen, and start the program once.
#[test]
fn however_it_is_written_it_is_served_once() {
    let (host, place) = goat();
    let new = host.path("new");
    let ways = [
        ("cp", "cp \"$NEW\" goat"),
        (
            "cp and chmod",
            "cp --no-preserve=mode \"$NEW\" goat && chmod 755 goat",
        ),
        ("mv over it", "mv \"$NEW\" goat"),
        (
            "cp beside and mv",
            "cp \"$NEW\" .goat.tmp && mv .goat.tmp goat",
        ),
        (
            "a visible temporary file",
            "cp \"$NEW\" goat.new && mv goat.new goat",
        ),
        ("install", "install -m 755 \"$NEW\" goat"),
        ("remove and copy", "rm goat && cp \"$NEW\" goat"),
        ("ln -f", "cp \"$NEW\" n && ln -f n goat && rm n"),
        ("cat", "cat \"$NEW\" > goat"),
        (
            "tar",
            "mkdir t && cp \"$NEW\" t/goat && tar -C t -cf t.tar goat && tar -xf t.tar && rm -r t t.tar",
        ),
        (
            "dd in pieces",
            "dd if=\"$NEW\" of=goat bs=256k conv=notrunc status=none",
        ),
        ("a link to it", "cp \"$NEW\" real && ln -sfn real goat"),
    ];
    for (number, (way, script)) in (2..).zip(ways) {
        fs::write(&new, built(number)).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        let before = generation(&host);
        shell(script, &place, &new);
        wait_for(&host, number);
        assert_eq!(generation(&host), before + 1, "{way}");
    }
    // What changes nothing starts nothing.
    let before = generation(&host);
    for script in [
        "touch goat plugin.yaml",
        "cp goat x && cp x goat && rm x",
        "chmod 700 goat && chmod 755 goat",
    ] {
        shell(script, &place, &new);
        host.admin("POST", "/api/v1/plugins/goat/reload?wait=60s")
            .send()
            .expect(200);
        assert_eq!(generation(&host), before, "{script}");
    }
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
