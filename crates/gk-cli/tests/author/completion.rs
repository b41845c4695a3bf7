//! Completions, as shells ask for them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use gk_api::Plugin;

use crate::{Outcome, Place, program};

/// Far more than a completion takes, and less than the answer to another request may.
const DEADLINE: Duration = Duration::from_secs(60);

/// What bash offers for the last of these words.
fn bash(place: &Place, words: &str, url: &str) -> Outcome {
    const SCRIPT: &str = r#"
        source <(gk completion bash)
        complete -p gk >/dev/null || exit 9
        COMP_WORDS=($1 "${2-}")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMP_TYPE=9
        _clap_complete_gk gk "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let (before, current) = words.rsplit_once(' ').unwrap();
    let gk = place.gk([""; 0]);
    let own = Path::new(env!("CARGO_BIN_EXE_gk")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = program("bash");
    for (key, value) in gk.command.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    command
        .args(["--norc", "-c", SCRIPT, "bash", before, current])
        .current_dir(place.path(""))
        .env("PATH", format!("{}:{path}", own.display()))
        .env("GK_URL", url);
    crate::Gk { command }.run()
}

/// A host with one plugin, that answers everything with its list.
fn host() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let plugin = Plugin {
        name: Some("hello-go".to_owned()),
        version: "1.2.3".to_owned(),
        state: "running".to_owned(),
        ..Plugin::default()
    };
    let body = serde_json::to_string(&[plugin]).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
                head.extend(byte);
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

/// Where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn bash_completes_commands_options_and_plugins() {
    let place = Place::new();
    let host = host();
    for (words, expected) in [
        ("gk comp", "completion"),
        ("gk completion f", "fish"),
        ("gk ps --outp", "--output"),
        ("gk info he", "hello-go"),
        ("gk restart hello-go he", "hello-go"),
        ("gk logs --follow he", "hello-go"),
    ] {
        let outcome = bash(&place, words, &host);
        assert_eq!(outcome.stderr, "", "{words}");
        let offered: Vec<_> = outcome.stdout.lines().map(str::trim).collect();
        assert!(offered.contains(&expected), "{words}: {offered:?}");
    }
    let all = bash(&place, "gk ", &host).stdout;
    assert!(
        all.contains("restart") && !all.contains("generate"),
        "{all}"
    );
}

#[test]
fn the_host_is_that_of_the_command_line() {
    let place = Place::new();
    let host = host();
    let words = format!("gk --url {host} info he");
    assert_eq!(bash(&place, &words, &nowhere()).stdout.trim(), "hello-go");
    place.gk(["context", "set", "near", &host]).ok();
    let outcome = bash(&place, "gk --context n", "");
    assert_eq!(outcome.stdout.trim(), "near", "{}", outcome.stderr);
    let outcome = bash(&place, "gk --context near info he", &nowhere());
    assert_eq!(outcome.stdout.trim(), "hello-go", "{}", outcome.stderr);
}

#[test]
fn a_host_that_cannot_be_asked_gives_no_names_and_no_messages() {
    let place = Place::new();
    for url in [&*nowhere(), "http://", "unix:/nonexistent/admin.sock"] {
        let outcome = bash(&place, "gk info he", url);
        assert_eq!((outcome.stdout.trim(), &*outcome.stderr), ("", ""), "{url}");
    }
    // One that takes connections and never answers is not waited for.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(bash(&place, "gk info he", &url)));
    let outcome = ended
        .recv_timeout(DEADLINE)
        .expect("the completion waits for an answer that does not come");
    assert_eq!((outcome.stdout.trim(), &*outcome.stderr), ("", ""));
    drop(silent);
}

#[test]
fn scripts_and_pages_are_written_to_a_directory() {
    let place = Place::new();
    place.gk(["generate", "completions", "--out", "c"]).ok();
    for (file, shell) in [("gk", "bash"), ("_gk", "zsh"), ("gk.fish", "fish")] {
        let written = std::fs::read_to_string(place.path("c").join(file)).unwrap();
        assert_eq!(written, place.gk(["completion", shell]).ok());
        assert!(!written.contains(env!("CARGO_MANIFEST_DIR")), "{written}");
    }
    place.gk(["generate", "man", "--out", "m"]).ok();
    let page = std::fs::read_to_string(place.path("m/gk-keys-generate.1")).unwrap();
    assert!(
        page.starts_with(".ie") && page.contains("SYNOPSIS"),
        "{page}"
    );
    assert!(!place.path("m/gk-generate.1").exists(), "it is hidden");
    place.gk(["completion", "tcsh"]).fails(2);
}
