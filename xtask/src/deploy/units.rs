//! The units of systemd, and the files of systemd-sysusers and systemd-tmpfiles.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use super::local::{Process, ask, connects, free, status};
use super::{Programs, as_root};
use crate::command::{command, output, root};

const SERVICE: &str = "deploy/goatkit.service";
const SOCKET: &str = "deploy/goatkit.socket";
const SYSUSERS: &str = "deploy/sysusers.d/goatkit.conf";
const TMPFILES: &str = "deploy/tmpfiles.d/goatkit.conf";

/// Program of the unit, where the release archive puts it.
const PROGRAM: &str = "/usr/local/bin/gk-host";

/// The unit's exposure as `systemd-analyze security` rates it, times ten. A change of the unit may
/// lower it.
const EXPOSURE_MAX: u32 = 35;

/// Complaints of older versions of systemd about what newer ones know.
const NEWER: &[&str] = &["Unknown key 'DelegateSubgroup' in section [Service], ignoring."];

/// Checks the units, and applies the other files to an empty root.
pub(super) fn check(programs: &Programs) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let service = read(SERVICE)?;
    let place = made.path().join("goatkit.service");
    fs::write(&place, with_program(&service, &programs.host)?)?;
    let socket = made.path().join("goatkit.socket");
    fs::copy(root().join(SOCKET), &socket)?;
    verify(&[&place, &socket])?;
    exposure(&place, EXPOSURE_MAX)?;
    directories(&service)?;
    activation(programs)
}

/// Lets systemd hold an address, as the socket unit does: the first request starts the host, which
/// answers it.
fn activation(programs: &Programs) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let address = format!("127.0.0.1:{}", free(&["127.0.0.1"])?);
    let mut activate = command("systemd-socket-activate");
    activate.arg(format!("--listen={address}"));
    fs::create_dir(made.path().join("plugins"))?;
    for (name, directory) in [("GK_DATA_DIR", "data"), ("GK_PLUGINS_DIR", "plugins")] {
        let path = made.path().join(directory);
        activate.arg(format!("--setenv={name}={}", path.display()));
    }
    let activate = activate
        .arg(&programs.host)
        .arg("serve")
        .stderr(Stdio::null());
    let _host = Process(activate.stdout(Stdio::null()).spawn()?);
    connects(&address)?;
    let answer = ask(&address, "GET", "/livez", None)?;
    ensure!(
        status(&answer) == 200,
        "a host that systemd starts for a request does not answer it: {answer:?}"
    );
    Ok(())
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// The unit with a program that is there.
fn with_program(service: &str, program: &Path) -> Result<String> {
    ensure!(
        service.contains(PROGRAM),
        "{SERVICE} does not start {PROGRAM}, where the release archive puts it"
    );
    Ok(service.replace(PROGRAM, &program.display().to_string()))
}

/// Lets systemd read units; what it says about them is an error, too.
fn verify(units: &[&Path]) -> Result<()> {
    let mut verify = command("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(units);
    let said = verify.output().context("cannot start systemd-analyze")?;
    let text = String::from_utf8_lossy(&said.stderr);
    let complaints: Vec<_> = text
        .lines()
        .filter(|line| !NEWER.iter().any(|known| line.ends_with(known)))
        .collect();
    if !said.status.success() || !complaints.is_empty() {
        bail!(
            "systemd finds fault with the units: {}",
            complaints.join("\n")
        );
    }
    Ok(())
}

/// Fails if the unit gives away more than a limit, in tenths.
fn exposure(unit: &Path, max: u32) -> Result<()> {
    let mut security = command("systemd-analyze");
    security
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(format!("--threshold={max}"))
        .arg(unit);
    output(&mut security).map(drop).with_context(|| {
        format!(
            "the exposure of {SERVICE} is above {}.{}",
            max / 10,
            max % 10
        )
    })
}

/// Applies the user and the directories to an empty root, and holds them against the unit.
fn directories(service: &str) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let place = made.path();
    fs::create_dir_all(place.join("etc/goatkit"))?;
    fs::write(place.join("etc/goatkit/host.env"), "")?;
    fs::write(place.join("etc/goatkit/host.toml"), "")?;
    let option = format!("--root={}", place.display());
    said_nothing(
        as_root("systemd-sysusers")?
            .arg(&option)
            .arg(root().join(SYSUSERS)),
    )?;
    said_nothing(
        as_root("systemd-tmpfiles")?
            .args([&option, "--create"])
            .arg(root().join(TMPFILES)),
    )?;
    let user = id(&place.join("etc/passwd"), "goatkit")?;
    let group = id(&place.join("etc/group"), "goatkit")?;
    for (path, mode, owner, group) in [
        ("etc/goatkit", 0o755, 0, 0),
        ("etc/goatkit/host.toml", 0o640, 0, group),
        ("etc/goatkit/host.env", 0o600, 0, 0),
        ("var/lib/goatkit", 0o750, user, group),
        ("var/lib/goatkit/plugins", 0o750, user, group),
        ("var/lib/goatkit/data", 0o750, user, group),
    ] {
        let found = fs::metadata(place.join(path))
            .with_context(|| format!("{TMPFILES} does not make /{path}"))?;
        let is = (found.mode() & 0o7777, found.uid(), found.gid());
        ensure!(
            is == (mode, owner, group),
            "{TMPFILES}: /{path} is {is:?} (mode, user, group) and not {:?}",
            (mode, owner, group)
        );
    }
    // What the unit makes is the same.
    for line in [
        "User=goatkit",
        "Group=goatkit",
        "StateDirectory=goatkit goatkit/plugins goatkit/data",
        "StateDirectoryMode=0750",
    ] {
        ensure!(
            service.lines().any(|found| found == line),
            "{SERVICE} has no line {line}, which {TMPFILES} was written for"
        );
    }
    Ok(())
}

/// Runs a command that prints nothing on stderr when all is well, or only what it made.
fn said_nothing(command: &mut std::process::Command) -> Result<()> {
    let said = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&said.stderr);
    let complaint = text.lines().find(|line| !line.starts_with("Creating "));
    if !said.status.success() || complaint.is_some() {
        bail!("{command:?}: {}\n{text}", said.status);
    }
    Ok(())
}

/// The number of a user or a group.
fn id(file: &Path, name: &str) -> Result<u32> {
    let text = fs::read_to_string(file).with_context(|| format!("{SYSUSERS} makes no {name}"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok())
        .with_context(|| format!("{SYSUSERS} makes no {name}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let made = tempfile::tempdir().unwrap();
        let unit = made.path().join("goatkit.service");
        let text = with_program(text, Path::new("/bin/true")).unwrap();
        fs::write(&unit, text).unwrap();
        (made, unit)
    }

    #[test]
    fn a_unit_that_gives_more_away_is_refused() {
        let service = read(SERVICE).unwrap();
        let (_made, unit) = written(&service);
        exposure(&unit, EXPOSURE_MAX).unwrap();
        assert!(
            exposure(&unit, EXPOSURE_MAX - 1).is_err(),
            "lower EXPOSURE_MAX"
        );
        let (_made, unit) = written(&service.replace("ProtectSystem=strict\n", ""));
        let error = exposure(&unit, EXPOSURE_MAX).unwrap_err();
        assert!(format!("{error:#}").contains("above 3.5"), "{error:#}");
    }

    #[test]
    fn a_unit_with_a_mistake_is_refused() {
        let service = read(SERVICE).unwrap();
        let (_made, unit) = written(&service);
        verify(&[&unit]).unwrap();
        for (from, to, what) in [
            ("KillMode=mixed", "KilMode=mixed", "KilMode"),
            ("WatchdogSec=30", "WatchdogSec=thirty", "thirty"),
        ] {
            let (_made, unit) = written(&service.replace(from, to));
            let error = verify(&[&unit]).unwrap_err();
            assert!(format!("{error:#}").contains(what), "{error:#}");
        }
        assert!(with_program("ExecStart=/usr/bin/gk-host\n", Path::new("/bin/true")).is_err());
    }
}
