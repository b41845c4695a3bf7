//! `gk build`: the plugin's program, in the place where the host looks for it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Serialize;

use super::Project;
use super::compiler::{run, tool};
use super::program;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The plugin's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Optimise; this is what is done without --debug.
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Keep what a debugger needs, and do not optimise.
    #[arg(long)]
    debug: bool,
    /// Build for another machine, such as linux/arm64.
    #[arg(long, value_name = "OS/ARCH")]
    target: Option<String>,
    /// Arguments for `go build` or `cargo build`.
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

/// Way in which a plugin is built.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recipe {
    pub(crate) profile: Profile,
    /// Another machine, such as linux/arm64.
    pub(crate) target: Option<String>,
    /// Further arguments for `go build` or `cargo build`.
    pub(crate) rest: Vec<OsString>,
    /// Ends the compiler when it becomes true. The compiler then is in a process group of its own.
    pub(crate) interrupt: Option<Arc<AtomicBool>>,
}

/// Purpose of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Profile {
    /// Optimised.
    #[default]
    Release,
    /// Built quickly.
    Quick,
    /// With what a debugger needs.
    Debug,
}

/// A binary that was built.
#[derive(Debug, Serialize)]
struct Built {
    name: String,
    version: String,
    path: PathBuf,
    size: u64,
}

impl BuildArgs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let project = Project::open(&self.dir, terminal)?;
        let recipe = Recipe {
            profile: match self.debug {
                true => Profile::Debug,
                false => Profile::Release,
            },
            target: self.target,
            rest: self.rest,
            interrupt: None,
        };
        recipe.build(&project, terminal)?;
        let path = project.program();
        let metadata = path
            .metadata()
            .map_err(|error| Failure::file("read", &path, &error))?;
        let built = Built {
            name: project.manifest.name.to_string(),
            version: project.manifest.version.clone(),
            size: metadata.len(),
            path: path.clone(),
        };
        terminal.document(&built, built.name.as_str(), || {
            format!("{}\n", path.display())
        })
    }
}

impl Recipe {
    /// Builds the program, and puts it where the manifest says.
    pub(crate) fn build(&self, project: &Project, terminal: &Terminal) -> Result<(), Failure> {
        let go = project.directory.join("go.mod").is_file();
        let rust = project.directory.join("Cargo.toml").is_file();
        match (go, rust) {
            (true, false) => self.go(project, terminal),
            (false, true) => self.rust(project, terminal),
            (true, true) => Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} has both a go.mod and a Cargo.toml",
                    project.directory.display()
                ),
                "build with the plugin's own build.sh, or take one of the two away",
            )),
            (false, false) => Err(Failure::new(
                Exit::NotFound,
                format!(
                    "{} has neither a go.mod nor a Cargo.toml",
                    project.directory.display()
                ),
                "name the plugin's directory; plugins in other languages are built by their own tools",
            )),
        }
    }

    fn go(&self, project: &Project, terminal: &Terminal) -> Result<(), Failure> {
        let place = temporary_place(project)?;
        let mut go = tool("go");
        go.current_dir(&project.directory);
        go.arg("build");
        match self.profile {
            // A debugger finds the sources by their paths.
            Profile::Debug => go.args(["-gcflags", "all=-N -l"]),
            Profile::Release | Profile::Quick => go.arg("-trimpath"),
        };
        if let Some(target) = &self.target {
            let (os, arch) = target.split_once('/').ok_or_else(|| wrong_target(target))?;
            go.env("GOOS", os)
                .env("GOARCH", arch)
                .env("CGO_ENABLED", "0");
        } else if std::env::var_os("CGO_ENABLED").is_none() {
            // Static: the program then needs nothing of the system that it runs on.
            go.env("CGO_ENABLED", "0");
        }
        go.arg("-o").arg(&place.0).args(&self.rest).arg(".");
        self.run(
            &mut go,
            terminal,
            "Go",
            "https://go.dev/dl has it; on Debian and Ubuntu: sudo apt install golang-go",
        )?;
        put(&place.0, project)
    }

    fn rust(&self, project: &Project, terminal: &Terminal) -> Result<(), Failure> {
        const INSTALL: &str =
            "install Rust: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";
        let mut cargo = tool("cargo");
        cargo.current_dir(&project.directory).arg("build");
        cargo.arg("--message-format=json-render-diagnostics");
        if self.profile == Profile::Release {
            cargo.arg("--release");
        }
        if let Some(target) = &self.target {
            let triple = triple(target)?;
            ensure_installed(&triple, INSTALL, terminal)?;
            cargo.args(["--target", &triple]);
            if triple.ends_with("-musl") {
                // No C is in a plugin, so the linker that comes with Rust is enough for another
                // processor.
                let key = triple.to_uppercase().replace('-', "_");
                let key = format!("CARGO_TARGET_{key}_LINKER");
                if std::env::var_os(&key).is_none() {
                    cargo.env(key, "rust-lld");
                }
            }
        }
        cargo.args(&self.rest).stdout(Stdio::piped());
        let output = self.run(&mut cargo, terminal, "Rust", INSTALL)?;
        let built = executables(&output);
        let name = project.manifest.name.as_str();
        let known = [name.to_owned(), super::scaffold::crate_name(name)];
        let chosen = match built.as_slice() {
            [(_, path)] => path,
            all => all
                .iter()
                .find(|(name, _)| known.contains(name))
                .map(|(_, path)| path)
                .ok_or_else(|| {
                    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
                    Failure::new(
                        Exit::Failed,
                        format!("cargo built {} programs ({}), none of them is {name}", all.len(), names.join(", ")),
                        "name the program in Cargo.toml as the plugin, or build only it: gk build -- --bin NAME",
                    )
                })?,
        };
        let place = temporary_place(project)?;
        fs::copy(chosen, &place.0).map_err(|error| Failure::file("copy", chosen, &error))?;
        put(&place.0, project)
    }

    fn run(
        &self,
        command: &mut Command,
        terminal: &Terminal,
        name: &str,
        install: &str,
    ) -> Result<Vec<u8>, Failure> {
        run(command, terminal, name, install, self.interrupt.as_deref())
    }
}

/// A file that is removed unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // The file is gone if all went well. If it did not, there is an error already.
        let _ = fs::remove_file(&self.0);
    }
}

/// A place beside the binary: what starts with a dot is not packaged, and a rename stays on the
/// file system.
fn temporary_place(project: &Project) -> Result<Temporary, Failure> {
    let program = project.program();
    let absolute =
        std::path::absolute(&program).map_err(|error| Failure::file("write", &program, &error))?;
    let name = absolute
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if let Some(parent) = absolute.parent() {
        fs::create_dir_all(parent).map_err(|error| Failure::file("write", parent, &error))?;
    }
    Ok(Temporary(absolute.with_file_name(format!(
        ".{name}.gk-build-{}",
        std::process::id()
    ))))
}

/// Renames what was built to the plugin's binary: a program that runs is not written to.
fn put(place: &Path, project: &Project) -> Result<(), Failure> {
    let program = project.program();
    let renamed = fs::set_permissions(place, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(place, &program));
    renamed.map_err(|error| Failure::file("write", &program, &error))
}

/// The programs that cargo says it has built: target and path.
fn executables(output: &[u8]) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in output.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else {
            continue;
        };
        let target = &message["target"];
        let is_program = target["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"));
        if let (true, Some(name), Some(path)) = (
            is_program,
            target["name"].as_str(),
            message["executable"].as_str(),
        ) {
            found.push((name.to_owned(), path.into()));
        }
    }
    found
}

fn wrong_target(target: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("--target {target}: this is no target"),
        "write system and processor, such as linux/amd64 or linux/arm64",
    )
}

/// Rust's name of a target. Linux on another processor is built with musl, whose programs are
/// static and need no linker for that processor.
fn triple(target: &str) -> Result<String, Failure> {
    let Some((os, arch)) = target.split_once('/') else {
        // A triple is taken as it is.
        return match target.matches('-').count() {
            2.. => Ok(target.to_owned()),
            _ => Err(wrong_target(target)),
        };
    };
    let native = (std::env::consts::OS, program::here()) == (os, arch);
    let libc = if native { "gnu" } else { "musl" };
    let triple = match (os, arch) {
        ("linux", "amd64") => format!("x86_64-unknown-linux-{libc}"),
        ("linux", "arm64") => format!("aarch64-unknown-linux-{libc}"),
        ("linux", "386") => format!("i686-unknown-linux-{libc}"),
        ("linux", "riscv64") => format!("riscv64gc-unknown-linux-{libc}"),
        ("darwin", "amd64") => "x86_64-apple-darwin".to_owned(),
        ("darwin", "arm64") => "aarch64-apple-darwin".to_owned(),
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                format!("--target {target} has no name in Rust that gk knows"),
                "write Rust's own name of the target, as `rustc --print target-list` lists it",
            ));
        }
    };
    Ok(triple)
}

/// The target's standard library must be there: cargo's own words on that do not say so.
fn ensure_installed(triple: &str, install: &str, terminal: &Terminal) -> Result<(), Failure> {
    let mut rustc = tool("rustc");
    rustc
        .args(["--print", "target-libdir", "--target", triple])
        .stdout(Stdio::piped());
    let output = run(&mut rustc, terminal, "Rust", install, None)?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output).trim());
    match directory.is_dir() {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failed,
            format!("Rust's standard library for {triple} is not installed"),
            format!("rustup target add {triple}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let other = if program::here() == "arm64" {
            ("amd64", "x86_64")
        } else {
            ("arm64", "aarch64")
        };
        let found = triple(&format!("linux/{}", other.0)).unwrap();
        assert_eq!(found, format!("{}-unknown-linux-musl", other.1));
        assert_eq!(
            triple("x86_64-unknown-freebsd").unwrap(),
            "x86_64-unknown-freebsd"
        );
        for wrong in ["linux", "plan9/mips", ""] {
            assert_eq!(triple(wrong).unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn programs_of_cargo() {
        let output = br#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"a"},"executable":null}
no json
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"a"},"executable":"/t/a"}
"#;
        assert_eq!(
            executables(output),
            [("a".to_owned(), PathBuf::from("/t/a"))]
        );
    }
}
