//! Programs that run as another user. The tests are root's, as in CI; a host need not be.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Nobody's number, and no plugin's.
pub(crate) const UNPRIVILEGED: u32 = 63_210;

/// Who runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Same,
    Root,
    /// A user without any rights.
    Unprivileged,
}

/// The two kinds of hosts there are.
pub(crate) const HOSTS: [User; 2] = [User::Root, User::Unprivileged];

/// What the kernel lets the program have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    AsTheyAre,
    /// A limit of 0 is in force for this, which is that of a user namespace made for it: `user_namespaces` for
    /// `/proc/sys/user/max_user_namespaces`.
    No(&'static str),
}

impl User {
    pub(crate) fn name(self) -> &'static str {
        match self {
            User::Same => "same",
            User::Root => "root",
            User::Unprivileged => "user",
        }
    }

    /// Gives the user a directory and all in it, but for files that have another name elsewhere.
    pub(crate) fn owns(self, path: &Path) {
        use std::os::unix::fs::MetadataExt;
        if self != User::Unprivileged {
            return;
        }
        let found = std::fs::symlink_metadata(path).unwrap();
        if found.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                self.owns(&entry.unwrap().path());
            }
        } else if found.nlink() > 1 {
            return;
        }
        std::os::unix::fs::lchown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    }
}

/// A command for a program, wherever that lies: the user need not be able to get there.
#[expect(clippy::disallowed_methods, reason = "hosts and victims, not plugins")]
pub(crate) fn command(program: &Path, user: User, limits: Limits) -> Command {
    if user == User::Same && limits == Limits::AsTheyAre {
        return Command::new(program);
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can test hosts of other users: run this as root, as CI does (sudo -E cargo xtask test-e2e)"
    );
    // Open for as long as the tests run: a command may be started at any time.
    let file = File::open(program).unwrap().into_raw_fd();
    let by_descriptor = format!("/proc/self/fd/{file}");
    let mut command = match limits {
        Limits::AsTheyAre => Command::new(by_descriptor),
        Limits::No(limit) => {
            // Who makes a user namespace may lower its limit; without capabilities nobody raises it again.
            let id = UNPRIVILEGED;
            let lower = format!(
                "echo 0 > /proc/sys/user/max_{limit} && exec setpriv --inh-caps=-all --ambient-caps=-all -- \"$0\" \"$@\""
            );
            let mut unshare = Command::new("setpriv");
            unshare
                .args([format!("--reuid={id}"), format!("--regid={id}")])
                .args([
                    "--clear-groups",
                    "unshare",
                    "--user",
                    "--map-current-user",
                    "--keep-caps",
                    "sh",
                    "-c",
                    &lower,
                ])
                .arg(inheritable(program));
            unshare
        }
    };
    if user == User::Unprivileged && limits == Limits::AsTheyAre {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

/// A program that several programs in a row can execute.
fn inheritable(program: &Path) -> String {
    let file = File::open(program).unwrap();
    let shared = rustix::io::dup(&file).unwrap();
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    let _ = shared.into_raw_fd();
    path
}

/// A descriptor that every program started from now on inherits, as from a careless host.
pub(crate) fn leak() -> OwnedFd {
    rustix::io::dup(File::open("/etc/hostname").unwrap()).unwrap()
}

/// The user that a process runs as.
pub(crate) fn of_process(pid: u64) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Gives a user a key in the kernel's keyrings that everybody may see, and that goes by itself after an hour. There is
/// one of each user: a second call renews it.
#[expect(
    clippy::disallowed_methods,
    reason = "a helper of the tests, not a plugin"
)]
pub(crate) fn plant_key(user: u32) {
    const PLANT: &str = r#"
import ctypes, os, platform, sys
add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[platform.machine()]
call = ctypes.CDLL(None, use_errno=True).syscall
def made(result):
    if result < 0:
        sys.exit("the kernel keeps no keys here: " + os.strerror(ctypes.get_errno()))
    return result
USER_KEYRING, SETPERM, SET_TIMEOUT = -4, 5, 15
key = made(call(add_key, b"user", b"gk-e2e", b"secret", 6, USER_KEYRING))
made(call(keyctl, SET_TIMEOUT, key, 3600))
made(call(keyctl, SETPERM, key, 0x3f3f3f3f))
"#;
    let output = Command::new("setpriv")
        .args([format!("--reuid={user}"), format!("--regid={user}")])
        .args(["--clear-groups", "/usr/bin/python3", "-c", PLANT])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no key for user {user}: {said}");
}
