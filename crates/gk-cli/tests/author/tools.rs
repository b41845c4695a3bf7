//! Compilers, which the command starts and which have caches of their own.

use std::path::{Path, PathBuf};

use crate::{Gk, program};

/// A directory with a `go`: on PATH, or where xtask puts its own.
pub(crate) fn go_directory() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/go/go/bin");
    std::env::split_paths(&path)
        .chain([ours])
        .find(|directory| directory.join("go").is_file())
        .unwrap_or_else(|| {
            panic!("there is no go on PATH, nor under target/: install Go 1.24, or run `cargo xtask build-plugins`")
        })
}

/// What a value of `go env` is for the person who runs the tests.
fn go_env(key: &str) -> String {
    let output = program(go_directory().join("go"))
        .args(["env", key])
        .output()
        .unwrap();
    assert!(output.status.success(), "go env {key} fails");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Gk {
    /// With Go, and the caches of the person who runs the tests.
    pub(crate) fn with_go(mut self) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&path).chain([go_directory()]);
        self.command
            .env("PATH", std::env::join_paths(path).unwrap());
        for key in ["GOMODCACHE", "GOCACHE", "GOPROXY"] {
            self.command.env(key, go_env(key));
        }
        self.command.env("GOFLAGS", "-buildvcs=false");
        self
    }

    /// With Rust, and the crates of this repository, offline.
    pub(crate) fn with_rust(mut self) -> Self {
        let home = std::env::var_os("HOME").unwrap_or_default();
        for (key, default) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let value =
                std::env::var_os(key).unwrap_or_else(|| Path::new(&home).join(default).into());
            self.command.env(key, value);
        }
        for key in ["RUSTUP_TOOLCHAIN", "SSL_CERT_FILE"] {
            if let Some(value) = std::env::var_os(key) {
                self.command.env(key, value);
            }
        }
        self.command.env("CARGO_NET_OFFLINE", "true");
        self
    }

    /// The same environment for another program.
    pub(crate) fn instead(self, name: &str, directory: &Path) -> Self {
        let mut command = program(name);
        command.env_clear();
        for (key, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        // Found on the PATH that it gets, not on ours.
        command.current_dir(directory);
        Gk { command }
    }

    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }
}
