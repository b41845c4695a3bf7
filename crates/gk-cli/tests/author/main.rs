//! The author's commands: the real program, in directories of its own.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod build;
mod completion;
mod help;
mod init;
mod keys;
mod package;
mod sign;
mod tools;
mod validate;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a home and nothing of the person who runs the tests.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Place {
            temp: tempfile::tempdir().unwrap(),
        };
        for directory in ["home", "work"] {
            fs::create_dir(place.temp.path().join(directory)).unwrap();
        }
        place
    }

    /// A path in the directory in which commands run.
    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join("work").join(path)
    }

    fn key_file(&self) -> PathBuf {
        self.temp.path().join("home/.config/gk/keys/default.key")
    }

    fn gk<I: IntoIterator>(&self, arguments: I) -> Gk
    where
        I::Item: AsRef<OsStr>,
    {
        let mut command = program(env!("CARGO_BIN_EXE_gk"));
        command
            .args(arguments)
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.temp.path().join("home"));
        Gk { command }
    }

    /// A plugin whose program is a script.
    fn plugin(&self, name: &str) -> PathBuf {
        let directory = self.path(name);
        fs::create_dir_all(&directory).unwrap();
        let manifest = format!("name: {name}\nversion: \"1.0.0\"\nruntime: grpc\n");
        fs::write(directory.join("plugin.yaml"), manifest).unwrap();
        let binary = directory.join(name);
        fs::write(&binary, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        directory
    }
}

/// A call of the command.
struct Gk {
    command: Command,
}

/// What came of it.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Gk {
    fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    fn run(mut self) -> Outcome {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().unwrap();
        Outcome {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// It has to go well; what is on stdout.
    fn ok(self) -> String {
        let outcome = self.run();
        assert_eq!(
            outcome.code,
            Some(0),
            "{}{}",
            outcome.stdout,
            outcome.stderr
        );
        outcome.stdout
    }

    /// It has to fail with this code; what is on stderr. Every error has a line that says what to
    /// do.
    fn fails(self, code: i32) -> String {
        let outcome = self.run();
        assert_eq!(
            outcome.code,
            Some(code),
            "{}{}",
            outcome.stdout,
            outcome.stderr
        );
        let has_help =
            outcome.stderr.contains("help: ") || outcome.stderr.contains("For more information");
        assert!(has_help, "{}", outcome.stderr);
        outcome.stderr
    }
}

#[expect(clippy::disallowed_methods, reason = "the tools that people use")]
fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}
