//! Compilers, run to their end or until a build is no longer wanted.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Maximum time that an interrupted compiler takes to end.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);

/// Interval at which a compiler that may be interrupted is asked for its end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The compiler that builds the plugin. It runs as its author does, unconfined: it is the author's
/// own code.
#[expect(
    clippy::disallowed_methods,
    reason = "compilers are no plugins: they are not to be confined"
)]
pub(super) fn tool(name: &str) -> Command {
    Command::new(name)
}

/// Runs a compiler and returns what it wrote to stdout, if that is piped.
pub(super) fn run(
    command: &mut Command,
    terminal: &Terminal,
    name: &str,
    install: &str,
    interrupt: Option<&AtomicBool>,
) -> Result<Vec<u8>, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let line: Vec<_> = std::iter::once(program.as_str().into())
        .chain(command.get_args().map(|arg| arg.to_string_lossy()))
        .collect();
    terminal.detail(line.join(" "));
    command.stderr(Stdio::inherit()).stdin(Stdio::null());
    let output = match interrupt {
        None => command.spawn().and_then(Child::wait_with_output),
        Some(interrupt) => interruptible(command, interrupt),
    };
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::Failed,
            format!("there is no `{program}` on PATH; the plugin is built with {name}"),
            install,
        ),
        _ => Failure::new(
            Exit::Failed,
            format!("`{program}` cannot be started: {error}"),
            install,
        ),
    })?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(Failure::new(
            Exit::Failed,
            format!("`{program} build` failed ({})", output.status),
            "correct what the compiler says above; with -v you see its command line",
        )),
    }
}

/// Runs a compiler to its end, or until it is interrupted: with it ends all that it started.
fn interruptible(command: &mut Command, interrupt: &AtomicBool) -> io::Result<Output> {
    // And what it leaves behind: Go's does if it is interrupted early.
    let temp = tempfile::Builder::new().prefix("gk-build-").tempdir()?;
    command.env("TMPDIR", temp.path());
    let mut child = command.process_group(0).spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let reader = child.stdout.take().map(|mut stdout| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        })
    });
    let mut interrupted: Option<Instant> = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let signal = match interrupted {
            None if interrupt.load(Ordering::Relaxed) => Some(Signal::INT),
            Some(since) if since.elapsed() > INTERRUPT_TIMEOUT => Some(Signal::KILL),
            _ => None,
        };
        if let (Some(signal), Some(group)) = (signal, group) {
            interrupted = Some(Instant::now());
            // The compiler was not waited for yet, so the group is still its own.
            let _ = rustix::process::kill_process_group(group, signal);
        }
        std::thread::sleep(LOOK_INTERVAL);
    };
    let read = reader.and_then(|reader| reader.join().ok());
    Ok(Output {
        status,
        stdout: read.transpose()?.unwrap_or_default(),
        stderr: Vec::new(),
    })
}
