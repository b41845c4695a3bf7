//! `gk debug`: the plugin runs on a host of its own that waits for it, so that a debugger can be attached.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use gk_api::{Operation, PluginDetail};
use serde_json::json;

use super::{follow, on_interrupt, routes};
use crate::author::Project;
use crate::author::build::{Profile, Recipe};
use crate::client::{Host, json as body};
use crate::failure::{Exit, Failure};
use crate::localhost::{LocalHost, LocalOptions};
use crate::terminal::{BOLD, Terminal, styled};

/// How long the plugin may take to come up before it is said what is to be done.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether the host lives, and which process the plugin is.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The longest that a policy can allow.
const CALL_TIMEOUT: &str = "10m";
const INIT_TIMEOUT: &str = "5m";

const AFTER_HELP: &str = "\
The program is built with what a debugger needs, and the host waits: there is no limit until the
handshake, a call may take 10 minutes, Init 5, and no probe ends a process that stands at a
breakpoint. The plugin runs WITHOUT its sandbox, as your user, because no sandbox lets a debugger in.

To stop in main or Init, let Delve wait for the next process, and start one:
  dlv attach --waitfor PROGRAM        (gk debug prints the line)
  gk --url unix:SOCKET restart NAME

Exit codes: 0 when it is interrupted, 1 if the plugin does not come up or the host ends by itself.";

/// Run a plugin so that a debugger can be attached to it, while the host waits.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DebugArgs {
    /// The plugin's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the host listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// Take the program that is there.
    #[arg(long, conflicts_with = "rest")]
    no_build: bool,
    /// Arguments for `go build` or `cargo build`.
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: DebugArgs, terminal: &Terminal) -> Result<(), Failure> {
    let (sender, interrupted) = mpsc::channel();
    on_interrupt((), sender)?;
    let project = Project::open(&args.dir, terminal)?;
    if args.no_build {
        project.built()?;
    } else {
        let recipe = Recipe {
            profile: Profile::Debug,
            rest: args.rest,
            ..Recipe::default()
        };
        recipe.build(&project, terminal)?;
    }
    let name = project.manifest.name.as_str();
    let mut options = LocalOptions::of_package(&project.directory, &project.manifest)?;
    options.listen = Some(args.listen);
    options.config = config(name);
    let local = LocalHost::start(&options)?;
    let host = local.client()?;
    let (client, plugin) = (local.client()?, name);
    std::thread::scope(|scope| {
        scope.spawn(move || follow(&client, plugin, terminal));
        // It ends before the scope does, and with it the stream that is followed.
        let local = local;
        let detail = local.settled(&host, name, START_TIMEOUT)?;
        if !detail.plugin.loaded {
            let inside = detail.plugin.inside.unwrap_or_default();
            let error = inside.error.or(inside.last_error);
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{name} does not come up: {}",
                    error.unwrap_or_else(|| format!("it is {}", detail.plugin.state))
                ),
                "to stop in main or Init: dlv attach --waitfor, and then gk debug again; `gk debug --help` says more",
            ));
        }
        give_time(&host, name)?;
        let program = std::path::absolute(project.program())
            .map_err(|error| Failure::file("read", &project.program(), &error))?;
        terminal.say(routes(&local, &detail)?);
        wait(&local, &host, name, &program, &interrupted, terminal)
    })
}

/// Shows the process that is to be attached to, whenever it is another one, until the user interrupts.
fn wait(
    local: &LocalHost,
    host: &Host,
    name: &str,
    program: &Path,
    interrupted: &Receiver<()>,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let mut shown = None;
    loop {
        local.check()?;
        let detail: PluginDetail = host.get(Operation::GetPlugin, &[name], &[])?;
        let pid = detail.plugin.inside.and_then(|inside| inside.pid);
        if pid != shown {
            match pid {
                Some(pid) => show(pid, program, local, name, terminal)?,
                None => terminal.say("No process of the plugin runs."),
            }
            shown = pid;
        }
        match interrupted.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => {
                terminal.say("Interrupted; the host stops.");
                return Ok(());
            }
        }
    }
}

fn show(
    pid: u32,
    program: &Path,
    local: &LocalHost,
    name: &str,
    terminal: &Terminal,
) -> Result<(), Failure> {
    // The process runs from memory, so a debugger is told where the file with its symbols is.
    let shown = program.display();
    terminal.say(format_args!(
        "{name} runs as process {} and waits for nothing: attach, set a breakpoint, continue, and ask a route.",
        styled(BOLD, pid)
    ));
    if let Some(obstacle) = obstacle() {
        terminal.warn(obstacle);
    }
    terminal.line(format_args!("dlv attach {pid} {shown}"))?;
    terminal.line(format_args!("gdb -p {pid} {shown}"))?;
    terminal.say(format_args!(
        "To stop in main or Init: dlv attach --waitfor {shown}, and gk --url unix:{} restart {name}",
        local.socket().display()
    ));
    Ok(())
}

/// What keeps this user from attaching.
fn obstacle() -> Option<String> {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    let root = rustix::process::geteuid().is_root();
    match scope.trim() {
        "1" | "2" if !root => Some(format!(
            "the system lets root alone attach (kernel.yama.ptrace_scope is {}): put sudo in front, or run: sudo sysctl kernel.yama.ptrace_scope=0",
            scope.trim()
        )),
        "3" => Some(
            "the system lets nobody attach (kernel.yama.ptrace_scope is 3), until it is started with another setting"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The host's configuration: no sandbox, and time.
fn config(name: &str) -> String {
    format!(
        "hot_reload = false\nstart_timeout = \"0s\"\n\n[sandbox]\noff = [{name:?}]\n\n[health]\ninterval = \"24h\"\n"
    )
}

/// Gives calls, and processes that start from now on, as long as a policy can.
fn give_time(host: &Host, name: &str) -> Result<(), Failure> {
    let policy = json!({
        "status": "approved",
        "permissions": "requested",
        "call_timeout": CALL_TIMEOUT,
        "init_timeout": INIT_TIMEOUT,
    });
    host.raw(Operation::SetPolicy, &[name], &[], body(&policy))
        .map(drop)
}
