//! A control group of the tests' own, on machines with version 2 alone.
//!
//! There a group that has processes gives its children no controllers, and the group of a login
//! session or a container has some. So the tests, run by root, get a group below the root's that is
//! theirs to divide; services get the same by `Delegate=`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, setxattr};

use crate::command::say;

const MOUNT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "gk-test-";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Moves this process into a group that it may divide, if it is root's and the machine has version
/// 2 alone. Whether it worked is seen by the tests that need it.
pub(crate) fn enter() {
    let unified = Path::new(MOUNT).join("cgroup.controllers");
    if !rustix::process::geteuid().is_root() || !unified.exists() {
        return;
    }
    remove_remains();
    match make() {
        Ok(group) => say(format!("control group: {}", group.display())),
        Err(error) => say(format!(
            "no control group of the tests' own can be made ({error}); tests of limits need one that is delegated"
        )),
    }
}

fn make() -> io::Result<PathBuf> {
    let root = Path::new(MOUNT);
    let pid = std::process::id();
    let group = root.join(format!("{PREFIX}{pid}"));
    let own = group.join("host");
    divide(root)?;
    fs::create_dir_all(&own)?;
    setxattr(&group, "trusted.delegate", b"1", XattrFlags::empty())?;
    divide(&group)?;
    fs::write(own.join("cgroup.procs"), pid.to_string())?;
    Ok(own)
}

/// Gives the children of a group its controllers, as far as it has them.
fn divide(group: &Path) -> io::Result<()> {
    let available = fs::read_to_string(group.join("cgroup.controllers"))?;
    let control = group.join("cgroup.subtree_control");
    for controller in CONTROLLERS {
        if available
            .split_whitespace()
            .any(|known| known == controller)
        {
            fs::write(&control, format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// Removes groups of earlier runs: a group cannot be removed by who is in it.
fn remove_remains() {
    let entries = fs::read_dir(MOUNT).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // A group that still has processes stays; the next run tries again.
            let _ = fs::remove_dir(entry.path().join("host"));
            let _ = fs::remove_dir(entry.path());
        }
    }
}
