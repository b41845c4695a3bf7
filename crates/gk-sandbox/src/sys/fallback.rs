//! Unix systems other than Linux: a plain start, without the parent-death signal and without the
//! guarantee about inherited descriptors (Rust's own are close-on-exec). Nothing here is unsafe.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Once;

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::{Failure, Prepared, Started, Step};

pub(crate) fn enter_spawner_thread() {}

/// The wait for a child by its id, which is its own until it is reaped.
pub(crate) fn wait_id(pid: Pid, _pidfd: &OwnedFd) -> WaitId<'_> {
    WaitId::Pid(pid)
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the place that starts processes"
)]
pub(crate) fn start(prepared: &Prepared) -> Result<Started, Failure> {
    static WARNING: Once = Once::new();
    WARNING.call_once(|| tracing::warn!("processes run unconfined on this system, and outlive a host that is killed; use Linux in production"));

    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let mut command = Command::new(text(prepared.program.as_bytes()));
    command
        .args(prepared.argv.iter().skip(1).map(|arg| text(arg.as_bytes())))
        .env_clear();
    for entry in &prepared.envp {
        let entry = entry.as_bytes();
        let at = entry
            .iter()
            .position(|&byte| byte == b'=')
            .unwrap_or(entry.len());
        command.env(
            text(&entry[..at]),
            text(entry.get(at + 1..).unwrap_or_default()),
        );
    }
    let dir = text(prepared.working_dir.as_bytes());
    std::fs::read_dir(&dir).map_err(|source| Failure::new(Step::WorkingDir, source))?;
    command
        .current_dir(dir)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|source| Failure::new(Step::Exec, source))?;

    let clone_failed =
        |what: &str| Failure::new(Step::Clone, std::io::Error::other(what.to_owned()));
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| clone_failed("no process id"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(clone_failed("no pipes"));
    };
    // The pipe's end says "ended": its writer lives as long as the process is unwaited for.
    let (pidfd, ended) = rustix::pipe::pipe().map_err(|errno| Failure::new(Step::Pipes, errno))?;
    std::thread::Builder::new()
        .name("gk-waiter".into())
        .spawn(move || {
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(
                    WaitId::Pid(pid),
                    WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
                )
            });
            drop(ended);
        })
        .map_err(|source| Failure::new(Step::Clone, source))?;
    Ok(Started {
        pid,
        pidfd,
        stdout: stdout.into(),
        stderr: stderr.into(),
    })
}
