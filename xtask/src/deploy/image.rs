//! Builds the container image of `deploy/Containerfile`, and looks at what it says of itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Programs, as_root};
use crate::command::{command, output, root, run, say};

const FILE: &str = "deploy/Containerfile";

/// Name of the image that is built here.
pub(super) const IMAGE: &str = "localhost/goatkit:check";

/// The image that the file begins with, and Debian's name of that release. What Debian's packages
/// make is taken in its place: the image itself comes from a registry, which tests do not ask.
const BASE: (&str, &str) = ("docker.io/library/debian:12-slim", "bookworm");

/// A base that is older is made anew: packages that it names would be gone from the archive.
const BASE_AGE_MAX: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Images and containers of one check; they go with it.
pub(super) struct Storage {
    made: tempfile::TempDir,
}

impl Storage {
    pub(super) fn new() -> Result<Self> {
        let made = tempfile::tempdir().context("cannot make a temporary directory")?;
        Ok(Self { made })
    }

    fn buildah(&self) -> Result<std::process::Command> {
        let mut buildah = as_root("buildah")?;
        buildah.args(self.places()).stdout(Stdio::null());
        Ok(buildah)
    }

    /// A call of podman. On a machine with both versions of control groups version 2 is hidden from
    /// it, since crun takes one of them.
    pub(super) fn podman(&self) -> Result<std::process::Command> {
        const BOTH: &str = "/sys/fs/cgroup/unified";
        let mut podman = as_root("unshare")?;
        let script = format!("if [ -e {BOTH} ]; then umount {BOTH}; fi; exec podman \"$@\"");
        podman.args(["--mount", "sh", "-ec", &script, "sh"]);
        podman.args(self.places());
        podman.args(["--cgroup-manager=cgroupfs", "--tmpdir"]);
        podman.arg(self.made.path().join("libpod"));
        Ok(podman)
    }

    fn places(&self) -> [PathBuf; 3] {
        let place = |option: &str, name: &str| {
            format!("--{option}={}", self.made.path().join(name).display()).into()
        };
        [
            place("root", "storage"),
            place("runroot", "run"),
            "--storage-driver=vfs".into(),
        ]
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let removed = self.podman().and_then(|mut podman| {
            output(podman.args(["rm", "--all", "--force", "--time=0"]))?;
            // Its files are root's.
            output(as_root("rm")?.arg("-rf").arg(self.made.path()))
        });
        if let Err(error) = removed {
            say(format!(
                "{} is left behind: {error:#}",
                self.made.path().display()
            ));
        }
    }
}

/// Builds the image.
pub(super) fn build(storage: &Storage, programs: &Programs) -> Result<()> {
    let text =
        fs::read_to_string(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    base_is(&text)?;
    let archive = base()?;
    // `buildah from` prints the name, which is to be one of ours.
    run(storage.buildah()?.args(["from", "--name=base", "scratch"]))?;
    run(storage
        .buildah()?
        .args(["add", "--quiet", "base"])
        .arg(&archive)
        .arg("/"))?;
    run(storage
        .buildah()?
        .args(["commit", "--quiet", "--rm", "base", BASE.0]))?;
    let context = tempfile::tempdir().context("cannot make a temporary directory")?;
    prefix(context.path(), programs)?;
    let mut build = storage.buildah()?;
    build.args([
        "build",
        "--quiet",
        "--pull-never",
        "--layers=false",
        "--isolation=chroot",
    ]);
    build.args(["--format=docker", "--tag", IMAGE, "--file"]);
    run(build.arg(root().join(FILE)).arg(context.path()))
}

/// The file begins with the image that is made here.
fn base_is(text: &str) -> Result<()> {
    let froms: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .collect();
    ensure!(
        froms == [BASE.0],
        "{FILE} begins with {froms:?}, and the check makes {}: change BASE in xtask/src/deploy/image.rs with it",
        BASE.0
    );
    Ok(())
}

/// An archive of the base, made of Debian's packages once in a while.
fn base() -> Result<PathBuf> {
    let place = root().join("target/deploy");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let archive = place.join(format!("{}.tar", BASE.1));
    let made = archive.metadata().and_then(|found| found.modified());
    let age = made
        .ok()
        .and_then(|made| SystemTime::now().duration_since(made).ok());
    if age.is_some_and(|age| age < BASE_AGE_MAX) {
        return Ok(archive);
    }
    say(format!("making {} of Debian's packages", archive.display()));
    let staging = archive.with_extension("staging.tar");
    let mut make = as_root("mmdebstrap")?;
    make.args(["--variant=apt", "--mode=root", "--quiet"]);
    for directory in ["doc", "locale", "man"] {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{directory}/*"));
    }
    run(make.arg(BASE.1).arg(&staging)).context("the base of the image cannot be made")?;
    fs::rename(&staging, &archive)?;
    Ok(archive)
}

/// What of the release archive the image needs, with programs that were built for the tests.
fn prefix(place: &Path, programs: &Programs) -> Result<()> {
    let doc = place.join("share/doc/goatkit");
    fs::create_dir_all(&doc)?;
    fs::create_dir_all(place.join("bin"))?;
    let mut sums = String::new();
    for program in [&programs.gk, &programs.host] {
        let name = program.file_name().context("a program has no name")?;
        let to = place.join("bin").join(name);
        stripped(program, &to)?;
        let digest = Sha256::digest(fs::read(&to)?);
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        sums.push_str(&format!("{digits}  bin/{}\n", name.display()));
    }
    fs::write(doc.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// Copies a program without its symbols, which are most of it.
pub(super) fn stripped(program: &Path, to: &Path) -> Result<()> {
    run(command("objcopy").arg("--strip-all").arg(program).arg(to))
}

/// The part of `podman image inspect` that matters.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: Config,
    healthcheck: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    user: String,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    stop_signal: String,
    volumes: serde_json::Map<String, serde_json::Value>,
    exposed_ports: serde_json::Map<String, serde_json::Value>,
    labels: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    test: Vec<String>,
}

/// Checks what the image says of itself.
pub(super) fn describes_itself(storage: &Storage) -> Result<()> {
    let text = output(storage.podman()?.args(["image", "inspect", IMAGE]))?;
    let images: Vec<Image> = serde_json::from_str(&text).context("podman image inspect")?;
    let image = images.first().context("there is no image")?;
    let config = &image.config;
    let user = config
        .user
        .split(':')
        .next()
        .and_then(|user| user.parse::<u32>().ok());
    ensure!(
        user.is_some_and(|user| user != 0),
        "{FILE}: the user {:?} is root, or no number, which Kubernetes needs for runAsNonRoot",
        config.user
    );
    let health = image
        .healthcheck
        .as_ref()
        .map(|health| health.test.join(" "));
    ensure!(
        health.as_deref() == Some("CMD gk ps --output name"),
        "{FILE}: the health check is {health:?}"
    );
    ensure!(
        config.entrypoint == ["gk-host"] && config.cmd == ["serve"],
        "{FILE}: it runs {:?} {:?}",
        config.entrypoint,
        config.cmd
    );
    ensure!(
        matches!(&*config.stop_signal, "SIGTERM" | "15"),
        "{FILE}: it is stopped by {}, on which the host does not drain",
        config.stop_signal
    );
    let volumes: Vec<_> = config.volumes.keys().collect();
    ensure!(
        volumes == ["/var/lib/goatkit/data"],
        "{FILE}: volumes are {volumes:?}"
    );
    let ports: Vec<_> = config.exposed_ports.keys().collect();
    ensure!(
        ports == ["8080/tcp", "8081/tcp"],
        "{FILE}: ports are {ports:?}"
    );
    ensure!(
        config
            .labels
            .contains_key("org.opencontainers.image.licenses"),
        "{FILE}: it has no label with its licences"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_base_is_noticed() {
        let text = fs::read_to_string(root().join(FILE)).unwrap();
        base_is(&text).unwrap();
        for from in ["docker.io/library/debian:latest", "debian"] {
            let error = base_is(&text.replace(BASE.0, from)).unwrap_err();
            assert!(error.to_string().contains(from), "{error}");
        }
    }
}
