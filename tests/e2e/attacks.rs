//! The attacker, and the process outside that it attacks.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::host::Setup;
use crate::program;
use crate::users::{self, Limits, User};

/// A process that attacks are made on.
pub(crate) struct Outside {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// What attacks must know of it.
    pub(crate) params: Value,
}

impl Outside {
    pub(crate) fn start() -> Self {
        Self::of(User::Same)
    }

    /// One that this user runs.
    pub(crate) fn of(user: User) -> Self {
        let mut child = users::command(&program("escape"), user, Limits::AsTheyAre)
            .arg("-outside")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self {
            stdin: child.stdin.take(),
            child,
            stdout,
            params: serde_json::from_str(&line).unwrap(),
        }
    }

    /// Ends it; what it noticed.
    pub(crate) fn end(mut self) -> Value {
        drop(self.stdin.take());
        let mut seen = String::new();
        self.stdout.read_to_string(&mut seen).unwrap();
        serde_json::from_str(&seen).unwrap()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn the_attacker_answers_for_every_item_of_the_list() {
    let outside = Outside::start();
    let host = Setup::new()
        .plugin_with("escape", "escape", "call_timeout: 2m")
        .settled();
    let list = host
        .function("escape", "attacks", &json!({}))
        .expect(200)
        .json();
    for item in 1..=42 {
        let found = list
            .as_array()
            .unwrap()
            .iter()
            .any(|attack| attack["item"] == item);
        assert!(found, "no attack has the number {item}");
    }
    // One that is let through, one that has no meaning here, and one that its victim notices.
    let ids = ["34d", "40e", "5a"];
    let request = json!({ "ids": ids, "params": outside.params });
    let results = host
        .function("escape", "attack", &request)
        .expect(200)
        .json();
    for (result, id) in results.as_array().unwrap().iter().zip(ids) {
        assert_eq!(result["id"], id);
        let outcome = result["outcome"].as_str().unwrap();
        let known = ["open", "blocked", "contained", "not applicable"];
        assert!(known.contains(&outcome), "{result}");
    }
    let unknown = host.function("escape", "attack", &json!({ "ids": ["99"] }));
    assert!(
        unknown.text().contains("there is no attack"),
        "{}",
        unknown.text()
    );
    // What the victim says agrees with what the attacker says.
    let signalled = results[2]["outcome"] == "open";
    let seen = outside.end();
    assert_eq!(seen["signals"].as_u64().unwrap() > 0, signalled, "{seen}");
}
