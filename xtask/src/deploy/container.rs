//! Runs the image as Podman does, as a user without rights on a read-only root, and looks at how it
//! does: a plugin, the health check, the layers of the sandbox, the end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, getrlimit};

use super::Programs;
use super::image::{IMAGE, Storage, stripped};
use super::local::{ask, status};
use crate::command::{output, root};

/// Name of the container that runs.
const NAME: &str = "goatkit";

/// Seconds that the host has for its end.
const STOP_SECONDS: &str = "30";

/// Descriptors and processes of the container, at most. Podman's own defaults are above what a root
/// without `CAP_SYS_RESOURCE` may set.
const FILES_MAX: u64 = 65_536;
const PROCESSES_MAX: u64 = 4096;

/// A way to run the image, and the layers that do not hold in full then. The table in
/// docs/operations.md ("In a container") has a row with the same.
struct Way {
    name: &'static str,
    seccomp: Seccomp,
    missing: &'static [&'static str],
}

enum Seccomp {
    /// What Docker's profile, and containerd's, refuses a container without rights.
    LikeDocker,
    /// The project's own.
    File(&'static str),
    /// The profile that Podman takes if none is named, which CRI-O has, too.
    Default,
}

/// How the container that serves is run.
const PODMAN: Way = Way {
    name: "of Podman, CRI-O",
    seccomp: Seccomp::Default,
    missing: &["uts", "identity", "memory", "processes"],
};

/// Other ways.
const WAYS: &[Way] = &[
    Way {
        name: "of Docker, containerd",
        seccomp: Seccomp::LikeDocker,
        missing: &[
            "user",
            "mount",
            "pid",
            "network",
            "ipc",
            "uts",
            "cgroup",
            "identity",
            "memory",
            "processes",
        ],
    },
    Way {
        name: "`deploy/seccomp.json`",
        seccomp: Seccomp::File("deploy/seccomp.json"),
        missing: &["identity", "memory", "processes"],
    },
];

/// Calls that Docker's profile allows with `CAP_SYS_ADMIN` only, or never, as far as a sandbox is
/// made of them.
const DOCKER_REFUSES: &[&str] = &[
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "setdomainname",
    "sethostname",
    "setns",
    "umount",
    "umount2",
    "unshare",
];

/// `CLONE_NEW…`, which it refuses one by one.
const NAMESPACES: &[u64] = &[
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// Runs the image in all ways.
pub(super) fn check(storage: &Storage, programs: &Programs) -> Result<()> {
    serves(storage, programs)?;
    WAYS.iter().try_for_each(|way| layers(storage, way))
}

/// `podman run`, as an operator would: without rights, with a read-only root.
fn container(storage: &Storage) -> Result<Command> {
    let most = |resource, max: u64| {
        getrlimit(resource)
            .maximum
            .map_or(max, |hard| hard.min(max))
    };
    let files = most(Resource::Nofile, FILES_MAX);
    let processes = most(Resource::Nproc, PROCESSES_MAX);
    let mut podman = storage.podman()?;
    podman.args([
        "run",
        "--rm",
        "--cgroups=disabled",
        "--read-only",
        "--tmpfs=/tmp",
    ]);
    podman.args(["--cap-drop=all", "--security-opt=no-new-privileges"]);
    podman.arg(format!("--ulimit=nofile={files}:{files}"));
    podman.arg(format!("--ulimit=nproc={processes}:{processes}"));
    Ok(podman)
}

/// Starts the host with a plugin, asks it in each way, and stops it.
fn serves(storage: &Storage, programs: &Programs) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let plugin = made.path().join("hello-rust");
    fs::create_dir(&plugin)?;
    readable(made.path())?;
    stripped(&programs.plugin, &plugin.join("hello-rust"))?;
    fs::copy(
        root().join("plugins/hello-rust/plugin.yaml"),
        plugin.join("plugin.yaml"),
    )?;
    let mut run = container(storage)?;
    // Of the network of this machine only the loopback addresses.
    run.args(["--name", NAME, "--network=host"]);
    run.args([
        "--env=GK_LISTEN=127.0.0.1:0",
        "--env=GK_HEALTH_LISTEN=127.0.0.1:0",
    ]);
    run.arg(format!(
        "--volume={}:/var/lib/goatkit/plugins:ro",
        made.path().display()
    ));
    let mut child = run
        .arg(IMAGE)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start podman")?;
    let asked = child
        .stdout
        .take()
        .context("podman has no stdout")
        .and_then(|stdout| answers(storage, stdout));
    let stopped = output(
        storage
            .podman()?
            .args(["stop", "--time", STOP_SECONDS, NAME]),
    );
    ended(&mut child, asked, stopped.map(drop))
}

/// Other users come into a directory that is made for this one.
fn readable(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot change {}", directory.display()))
}

/// What the host in the container tells, and what it answers.
fn answers(storage: &Storage, stdout: ChildStdout) -> Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    let mut after = |start: &str| {
        let mut found = lines.by_ref().map_while(Result::ok);
        found
            .find_map(|line| line.strip_prefix(start).map(str::to_owned))
            .with_context(|| format!("the host in the container did not say {start:?}"))
    };
    let public = after("listening on http://")?;
    let health = after("telling how the host is on http://")?;
    let plugins = after("1 plugins running")?;
    ensure!(plugins == ", 0 failed", "its plugin did not come up");
    // Nothing blocks on a full pipe: the host has told all that it tells on stdout.
    for address in [health, public] {
        let answer = ask(&address, "GET", "/readyz", None)?;
        ensure!(status(&answer) == 200, "{address} answers {answer:?}");
    }
    output(storage.podman()?.args(["healthcheck", "run", NAME])).context("its health check")?;
    // Where no host answers, the health check fails.
    let mut lost = storage.podman()?;
    lost.args(["exec", "--env=GK_URL=http://127.0.0.1:1", NAME, "gk", "ps"]);
    let lost = lost
        .stderr(Stdio::null())
        .status()
        .context("cannot start podman")?;
    ensure!(
        lost.code() == Some(5),
        "gk ps without a host ends with {lost}, so that the health check tells nothing"
    );
    let mut doctor = storage.podman()?;
    doctor.args(["exec", NAME, "gk-host", "doctor", "--json"]);
    PODMAN.compare(&mut doctor)?;
    let listed = output(
        storage
            .podman()?
            .args(["exec", NAME, "gk", "ps", "--output", "name"]),
    )?;
    ensure!(
        listed.trim() == "hello-rust",
        "gk ps in it prints {listed:?}"
    );
    let mut call = storage.podman()?;
    let said = output(call.args(["exec", NAME, "gk", "call", "hello-rust", "get_status"]))?;
    ensure!(said.contains("running"), "its plugin answers {said:?}");
    let token = output(
        storage
            .podman()?
            .args(["exec", NAME, "gk", "tokens", "list"]),
    )?;
    ensure!(
        token.contains("admin"),
        "gk in it may not do what the host's user may: {token}"
    );
    Ok(())
}

/// Tells the first thing that went wrong; the end of the host is one of them.
fn ended(child: &mut Child, asked: Result<()>, stopped: Result<()>) -> Result<()> {
    if stopped.is_err() {
        // It did not come as far as a container.
        child.kill()?;
    }
    let status = child.wait()?;
    asked?;
    stopped?;
    // 137 is that of a process that was killed after its time.
    ensure!(
        status.success(),
        "the host in the container ended with {status}"
    );
    Ok(())
}

/// Lets the host look at the sandbox that it can make.
fn layers(storage: &Storage, way: &Way) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut run = container(storage)?;
    run.arg("--network=none");
    match way.seccomp {
        Seccomp::Default => {}
        Seccomp::LikeDocker => {
            let file = made.path().join("seccomp.json");
            fs::write(&file, like_docker().to_string())?;
            run.arg(format!("--security-opt=seccomp={}", file.display()));
        }
        Seccomp::File(file) => {
            let file = root().join(file);
            run.arg(format!("--security-opt=seccomp={}", file.display()));
        }
    }
    run.args([IMAGE, "doctor", "--json"]);
    way.compare(&mut run)
}

impl Way {
    /// Holds what doctor prints in a container of this way against what is written here.
    fn compare(&self, doctor: &mut Command) -> Result<()> {
        let said = doctor.output().context("cannot start podman")?;
        let stderr = String::from_utf8_lossy(&said.stderr);
        let missing = missing(&said.stdout)
            .with_context(|| format!("with the seccomp profile {}: {stderr}", self.name))?;
        if missing != self.missing {
            bail!(
                "with the seccomp profile {} the layers {missing:?} do not hold in full, and not {:?}, as docs/operations.md says",
                self.name,
                self.missing
            );
        }
        Ok(())
    }
}

/// The layers that doctor does not call enforced; `cpu` is off unless the configuration sets it.
fn missing(report: &[u8]) -> Result<Vec<String>> {
    let report: serde_json::Value = serde_json::from_slice(report).context("no report")?;
    let layers = report["layers"].as_array().context("no layers")?;
    let open = layers
        .iter()
        .filter(|layer| layer["state"] != "enforced" && layer["layer"] != "cpu");
    let names = open.map(|layer| layer["layer"].as_str().map(str::to_owned));
    names.collect::<Option<_>>().context("a layer has no name")
}

/// A profile that refuses what Docker's refuses, and allows all else.
fn like_docker() -> serde_json::Value {
    const EPERM: u32 = 1;
    const ENOSYS: u32 = 38;
    let refuse = |names: &[&str], errno: u32| serde_json::json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
    let mut rules = vec![refuse(DOCKER_REFUSES, EPERM), refuse(&["clone3"], ENOSYS)];
    for flag in NAMESPACES {
        let mut rule = refuse(&["clone"], EPERM);
        rule["args"] = serde_json::json!([
            {"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}
        ]);
        rules.push(rule);
    }
    serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_same() {
        let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
        for way in WAYS.iter().chain([&PODMAN]) {
            let line = format!("| {} | `{}` |", way.name, way.missing.join("`, `"));
            assert!(text.contains(&line), "docs/operations.md has no row {line}");
        }
    }

    #[test]
    fn layers_that_do_not_hold_are_named() {
        let report = br#"{"layers": [
            {"layer": "user", "state": "absent"}, {"layer": "mount", "state": "enforced"},
            {"layer": "memory", "state": "degraded"}, {"layer": "cpu", "state": "off"}]}"#;
        assert_eq!(missing(report).unwrap(), ["user", "memory"]);
        for no_report in [&b""[..], b"{}", br#"{"layers": [{}]}"#] {
            assert!(missing(no_report).is_err());
        }
    }
}
