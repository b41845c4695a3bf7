//! What the machine has to have beside Rust: found by the program that is missing, installed by the
//! system's package manager where this user may, else named in the one command that does it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::command::{command, run, say};
use crate::go::Go;

/// Purpose for which a command of xtask needs programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Building the host and the sample plugins.
    Build,
    /// Running every test, with real servers.
    Test,
    /// That, and putting to use what is in deploy/.
    Deploy,
}

/// `true` if programs may be installed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Install {
    /// Install nothing: if something is missing, say what and how to get it, and stop.
    #[arg(long)]
    no_install: bool,
}

/// Something that must be there, and Debian's packages of it.
struct Requirement {
    need: Need,
    is_there: fn() -> bool,
    packages: &'static [&'static str],
}

const REQUIREMENTS: &[Requirement] = &[
    // SQLite and the TLS library are built from source.
    Requirement {
        need: Need::Build,
        is_there: || on_path("cc"),
        packages: &["gcc", "libc6-dev"],
    },
    Requirement {
        need: Need::Build,
        is_there: || on_path("c++"),
        packages: &["g++"],
    },
    Requirement {
        need: Need::Build,
        is_there: || on_path("make"),
        packages: &["make"],
    },
    Requirement {
        need: Need::Build,
        is_there: || on_path("cmake"),
        packages: &["cmake"],
    },
    // Go comes from the Python package index where there is none; see `go.rs`.
    Requirement {
        need: Need::Build,
        is_there: || Go::is_there() || has_pip(),
        packages: &["python3", "python3-pip"],
    },
    // The servers that tests start for themselves; Debian keeps PostgreSQL's programs off PATH.
    Requirement {
        need: Need::Test,
        is_there: has_postgres,
        packages: &["postgresql"],
    },
    Requirement {
        need: Need::Test,
        is_there: || on_path("mariadbd") || Path::new("/usr/sbin/mariadbd").is_file(),
        packages: &["mariadb-server"],
    },
    Requirement {
        need: Need::Test,
        is_there: || on_path("redis-server"),
        packages: &["redis-server"],
    },
    Requirement {
        need: Need::Test,
        is_there: has_mail_sink,
        packages: &["python3", "python3-aiosmtpd"],
    },
    // The tools by which plugins are put in place.
    Requirement {
        need: Need::Test,
        is_there: || on_path("rsync"),
        packages: &["rsync"],
    },
    Requirement {
        need: Need::Test,
        is_there: || on_path("zip") && on_path("unzip"),
        packages: &["zip", "unzip"],
    },
    Requirement {
        need: Need::Test,
        is_there: || on_path("git"),
        packages: &["git"],
    },
    Requirement {
        need: Need::Test,
        is_there: || on_path("vim") || on_path("vim.tiny"),
        packages: &["vim-tiny"],
    },
    // Judges the rules of alerts.
    Requirement {
        need: Need::Test,
        is_there: || on_path("promtool"),
        packages: &["prometheus"],
    },
    // Programs that docs/getting-started.md uses beside the project's own.
    Requirement {
        need: Need::Test,
        is_there: || on_path("curl") && on_path("jq"),
        packages: &["curl", "jq"],
    },
    // What reads the files of deploy/.
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("systemd-analyze") && on_path("systemd-tmpfiles"),
        packages: &["systemd"],
    },
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("mmdebstrap"),
        packages: &["mmdebstrap"],
    },
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("buildah"),
        packages: &["buildah"],
    },
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("podman") && on_path("crun"),
        packages: &["podman", "crun"],
    },
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("haproxy") || Path::new("/usr/sbin/haproxy").is_file(),
        packages: &["haproxy"],
    },
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("docker-compose"),
        packages: &["docker-compose"],
    },
    Requirement {
        need: Need::Deploy,
        is_there: || on_path("objcopy"),
        packages: &["binutils"],
    },
];

impl Install {
    /// Makes sure that everything is there.
    ///
    /// # Errors
    /// What is missing and could not be installed, with the command that installs it.
    pub(crate) fn ensure(self, need: Need) -> Result<()> {
        let mut packages: Vec<&str> = REQUIREMENTS
            .iter()
            .filter(|requirement| requirement.need <= need && !(requirement.is_there)())
            .flat_map(|requirement| requirement.packages.iter().copied())
            .collect();
        packages.sort_unstable();
        packages.dedup();
        if packages.is_empty() {
            return Ok(());
        }
        let by_hand = format!(
            "apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
        if self.no_install {
            bail!(
                "this machine lacks {}; as root, run: {by_hand}",
                packages.join(", ")
            );
        }
        let Some(prefix) = privileges() else {
            bail!(
                "this machine lacks {}, and this user may not install packages; as root, run: {by_hand}",
                packages.join(", ")
            );
        };
        if !on_path("apt-get") {
            bail!(
                "this machine lacks what Debian calls {}, and has no apt-get; install the same by its own package manager",
                packages.join(", ")
            );
        }
        say(format!(
            "installing {} (--no-install forbids it)",
            packages.join(", ")
        ));
        install(prefix, &packages).with_context(|| format!("as root, run: {by_hand}"))
    }
}

/// The way to run a command as root: directly, or by sudo where that asks for no password.
pub(crate) fn privileges() -> Option<&'static [&'static str]> {
    if rustix::process::geteuid().is_root() {
        return Some(&[]);
    }
    let mut sudo = command("sudo");
    sudo.args(["-n", "true"]).stderr(Stdio::null());
    let may = sudo.status().is_ok_and(|status| status.success());
    may.then_some(&["sudo", "-n"])
}

fn install(prefix: &[&str], packages: &[&str]) -> Result<()> {
    let _held = ServicesHeld::new(prefix)?;
    let mut update = as_root(prefix, &["apt-get", "update", "-qq"]);
    run(&mut update)?;
    let install = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ];
    run(as_root(prefix, &install).args(packages))
}

fn as_root(prefix: &[&str], arguments: &[&str]) -> std::process::Command {
    let mut words = prefix.iter().chain(arguments);
    let mut root = command(words.next().unwrap_or(&"true"));
    root.args(words);
    root
}

/// While it lives, the servers' packages do not start them: tests start their own.
struct ServicesHeld<'a> {
    prefix: &'a [&'a str],
}

/// Asked by Debian's packages before they start a service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl<'a> ServicesHeld<'a> {
    /// `None` if the machine has a policy of its own, which stays as it is.
    fn new(prefix: &'a [&'a str]) -> Result<Option<Self>> {
        if Path::new(POLICY).exists() {
            return Ok(None);
        }
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755))?;
        let mut copy = as_root(prefix, &["cp", "--preserve=mode"]);
        run(copy.arg(file.path()).arg(POLICY))?;
        Ok(Some(Self { prefix }))
    }
}

impl Drop for ServicesHeld<'_> {
    fn drop(&mut self) {
        if let Err(error) = run(&mut as_root(self.prefix, &["rm", "-f", POLICY])) {
            say(format!("{POLICY} is left behind: {error:#}"));
        }
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program)))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn succeeds<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> bool {
    let mut command = command(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has_pip() -> bool {
    succeeds("python3", ["-m", "pip", "--version"])
}

fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    on_path("postgres")
        || versions
            .flatten()
            .any(|version| is_executable(&version.path().join("bin/postgres")))
}

fn has_mail_sink() -> bool {
    // Debian's Python, whatever else is on PATH: the package is Debian's.
    succeeds("/usr/bin/python3", ["-c", "import aiosmtpd"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_path_is_found_and_what_is_not_is_not() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program"));
        assert!(!is_executable(Path::new("/etc/passwd")));
        assert!(succeeds("true", [""; 0]) && !succeeds("false", [""; 0]));
    }

    #[test]
    fn a_test_needs_what_a_build_needs() {
        assert!(Need::Build < Need::Test && Need::Test < Need::Deploy);
        for requirement in REQUIREMENTS {
            assert!(!requirement.packages.is_empty());
        }
    }
}
