//! What `gk` prints for an operator, as it stands there: tables, explanations, what to do next.

use std::fs;

use crate::host::{Host, Setup};
use crate::person::Person;

/// A host with a plugin that serves, and one that was not granted what it needs.
fn host() -> Host {
    let asks = "permissions:\n  - {type: db, access: readwrite, scope: [tickets_go_*]}\n  - {type: cache, access: readwrite}";
    Setup::new()
        .plugin("hello-go", "hello-go")
        .plugin_with("tickets-go", "tickets-go", asks)
        .settled()
}

/// What differs from run to run.
fn filters(host: &Host) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    let directory = regex_of(&host.path("").display().to_string());
    for (pattern, replacement) in [
        (&*directory, "[DIR]/"),
        (r"unix:\[DIR\]/data/admin\.sock", "[SOCKET]"),
        (r"uid:\d+", "uid:[UID]"),
        (r"process \d+", "process [PID]"),
        (r"\b\d+ms\b|\b\d+s\b( ago)?", "[TIME]"),
        // The columns are as wide as the longest of these.
        (r"\[TIME\] +", "[TIME]  "),
    ] {
        settings.add_filter(pattern, replacement);
    }
    settings
}

fn regex_of(text: &str) -> String {
    text.replace('.', r"\.")
}

#[test]
fn of_plugins() {
    let (mut person, host) = (Person::new(), host());
    filters(&host).bind(|| {
        for (name, words) in [
            ("ps", &["ps"][..]),
            ("info-running", &["info", "hello-go"]),
            ("info-failed", &["info", "tickets-go"]),
            ("policy-diff", &["policy", "diff", "tickets-go"]),
            ("policy-show", &["policy", "show", "tickets-go"]),
        ] {
            insta::assert_snapshot!(name, person.asks(&host, words));
        }
    });
}

/// The layers of the sandbox are the machine's, and have a test of their own.
#[test]
fn of_the_doctor() {
    let (mut person, host) = (Person::new(), host());
    let (code, out, err) = person.tries(&host, &["doctor"]);
    assert_eq!(code, 1, "a plugin has failed: {err}");
    let is_layer = |line: &&str| line.contains("sandbox: ");
    assert!(out.lines().filter(is_layer).count() > 10, "{out}");
    // What is to be done about a layer stands below it.
    let mut below_layer = false;
    let rest = out.lines().filter(|line| {
        below_layer = is_layer(line) || (below_layer && line.starts_with(' '));
        !below_layer
    });
    let rest: Vec<_> = rest.collect();
    filters(&host).bind(|| insta::assert_snapshot!("doctor", rest.join("\n")));
    filters(&host).bind(|| insta::assert_snapshot!("doctor-message", err));
}

#[test]
fn of_what_is_not_there() {
    let (mut person, host) = (Person::new(), host());
    fs::write(person.path("policy.yaml"), "status: aproved\n").unwrap();
    filters(&host).bind(|| {
        for (name, code, words) in [
            ("no-plugin", 3, &["info", "hello-goo"][..]),
            ("no-function", 3, &["call", "hello-go", "ekko"]),
            ("no-rollback", 1, &["rollback", "hello-go"]),
            (
                "no-policy",
                2,
                &["policy", "set", "hello-go", "policy.yaml"],
            ),
        ] {
            let (found, out, err) = person.tries(&host, words);
            assert_eq!(found, code, "{words:?}: {err}");
            assert_eq!(out, "", "{words:?}: data and messages are apart");
            insta::assert_snapshot!(name, err);
        }
    });
}
