//! A person at a shell, who has the project's programs and nothing else of it.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test starts programs as a person does, and says how long each step took"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::{program, programs};

/// A person at a shell: a home of their own, and of the project only the two programs on PATH.
pub(crate) struct Person {
    home: tempfile::TempDir,
    /// What they did, and how long it took.
    steps: Vec<(String, Duration)>,
}

/// A directory with a `go`.
fn go_directory() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = programs().join("../go/go/bin");
    std::env::split_paths(&path)
        .chain([ours])
        .find(|directory| directory.join("go").is_file())
        .expect("there is no go on PATH, nor under target/: install Go 1.24, or run `cargo xtask build-plugins`")
}

impl Person {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["gk", "gk-host"] {
            std::os::unix::fs::symlink(program(name), bin.join(name)).unwrap();
        }
        Person {
            home,
            steps: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command in a directory of theirs.
    pub(crate) fn command(&self, directory: &str, words: &[&str]) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = [self.path("bin")].into_iter();
        let directories = directories
            .chain(std::env::split_paths(&path))
            .chain([go_directory()]);
        let path = std::env::join_paths(directories).unwrap();
        let mut command = Command::new("/usr/bin/env");
        command
            .args(words)
            .current_dir(self.path(directory))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("GOFLAGS", "-buildvcs=false")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        // Warm caches: those of the person who runs the tests.
        for key in ["GOMODCACHE", "GOCACHE", "GOPROXY"] {
            let output = Command::new(go_directory().join("go"))
                .args(["env", key])
                .output()
                .unwrap();
            command.env(key, String::from_utf8(output.stdout).unwrap().trim());
        }
        let home = std::env::var_os("HOME").unwrap_or_default();
        for (key, default) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let value =
                std::env::var_os(key).unwrap_or_else(|| Path::new(&home).join(default).into());
            command.env(key, value);
        }
        for key in ["RUSTUP_TOOLCHAIN", "SSL_CERT_FILE"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command
    }

    pub(crate) fn run(&mut self, mut command: Command, shown: &str) -> Output {
        let started = Instant::now();
        let output = command.output().unwrap();
        self.steps.push((shown.to_owned(), started.elapsed()));
        output
    }

    /// Runs a command that must succeed; what it printed on stdout.
    #[track_caller]
    pub(crate) fn does(&mut self, directory: &str, words: &[&str]) -> String {
        let command = self.command(directory, words);
        let output = self.run(command, &words.join(" "));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The same, against a host.
    #[track_caller]
    pub(crate) fn asks(&mut self, host: &Host, words: &[&str]) -> String {
        let (status, out, err) = self.tries(host, words);
        assert_eq!(status, 0, "{words:?}\n{out}\n{err}");
        out
    }

    /// Exit code, stdout and stderr.
    pub(crate) fn tries(&mut self, host: &Host, words: &[&str]) -> (i32, String, String) {
        let mut command = self.command("", &[&["gk"], words].concat());
        command.env(
            "GK_URL",
            format!("unix:{}", host.path("data/admin.sock").display()),
        );
        let output = self.run(command, &words.join(" "));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    pub(crate) fn report(&self) {
        for (step, took) in &self.steps {
            println!("{:>8.2} s  {step}", took.as_secs_f64());
        }
    }
}
