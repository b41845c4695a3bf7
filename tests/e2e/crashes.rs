//! Processes that die: the calls they were serving fail at once, and nobody else notices.

use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::bad_plugins::explained;
use crate::eventually;
use crate::host::{Host, Setup};
use crate::processes::{self, Watched};

/// How many calls are under way when the process dies.
const PENDING: usize = 16;

/// How long a pending call would take if nobody noticed, in milliseconds: as long as calls may take, and longer than any
/// request here waits for its answer.
const PENDING_MS: u64 = 600_000;

fn host() -> Host {
    Setup::new()
        .plugin_with("doomed", "gen3", "call_timeout: 600s")
        .plugin("hello-go", "hello-go")
        .plugin("hello-rust", "hello-rust")
        .settled()
}

/// Makes calls, ends the process when all are under way, and expects that they fail, with these words.
fn dies_with_calls(host: &Host, end: impl FnOnce(), words: &[&str]) {
    thread::scope(|scope| {
        let calls: Vec<_> = (0..PENDING)
            .map(|_| scope.spawn(|| host.function("doomed", "sleep", &json!({ "ms": PENDING_MS }))))
            .collect();
        eventually("all calls are under way", || {
            let running = host.metric("gk_plugin_calls_in_flight", "doomed")?;
            (running >= 16.0).then_some(())
        });
        end();
        for call in calls {
            let error = call.join().unwrap().expect(502).error();
            assert!(error.contains("\"doomed\""), "{error}");
        }
    });
    let error = eventually("it is known how it ended", || host.failure("doomed"));
    for word in words.iter().chain(&["\"doomed\""]) {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    // Whoever calls now waits for the process that takes its place.
    host.function("doomed", "echo", &json!({})).expect(200);
    host.expect_serving("doomed");
    host.expect_serving("hello-go");
    host.expect_serving("hello-rust");
    assert_eq!(
        host.metric("gk_plugin_calls_in_flight", "doomed"),
        Some(0.0)
    );
    assert_eq!(host.metric("gk_plugin_crashes_total", "doomed"), Some(1.0));
}

#[test]
fn an_exit_fails_the_pending_calls_with_the_exit_code() {
    let host = host();
    let crash = || {
        let error = host
            .function("doomed", "crash", &json!({}))
            .expect(502)
            .error();
        let error = explained(&host, "doomed", error);
        assert!(error.contains("code 3"), "{error}");
    };
    dies_with_calls(&host, crash, &["exited with code 3"]);
}

#[test]
fn a_panic_is_shown_by_its_first_line() {
    let host = host();
    let panic = || {
        host.function("doomed", "panic", &json!({})).expect(502);
    };
    let words = ["exited with code 2", "panic: a handler panicked"];
    dies_with_calls(&host, panic, &words);
    let error = host.failure("doomed").unwrap();
    assert!(!error.contains("goroutine"), "{error}");
}

#[test]
fn a_kill_fails_the_pending_calls_with_the_signal() {
    let host = host();
    let pid = host.plugin_pid("doomed");
    dies_with_calls(
        &host,
        || processes::send(pid, Signal::KILL),
        &["signal 9", "SIGKILL"],
    );
}

#[test]
fn a_killed_host_leaves_no_plugin_alive() {
    let names = ["hello-go", "hello-rust", "gen1", "hang-shutdown"];
    let mut host = Setup::new()
        .plugin("hello-go", "hello-go")
        .plugin("hello-rust", "hello-rust")
        .plugin("gen1", "gen1")
        .plugin("hang-shutdown", "misbehave")
        .settled();
    let plugins = Watched::these(names.map(|name| host.plugin_pid(name)));
    assert_eq!(plugins.len(), names.len());
    host.signal(Signal::KILL);
    assert_eq!(host.wait().code(), None, "a signal has no exit code");
    plugins.expect_end();
}
