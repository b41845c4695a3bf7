//! `gk debug`: the plugin runs on a host of its own that waits for it, so that a debugger can be
//! attached.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use gk_api::{Operation, PluginDetail};
use serde_json::json;

use super::{INTERRUPTED, follow, on_interrupt, routes};
use crate::author::Project;
use crate::author::build::{Profile, Recipe};
use crate::client::{Host, json as body};
use crate::failure::Failure;
use crate::localhost::{LocalHost, LocalOptions};
use crate::terminal::{BOLD, Terminal, styled};

/// Interval at which the command looks for the host's end and the plugin's process.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The longest that a policy can allow.
const CALL_TIMEOUT: &str = "10m";
const INIT_TIMEOUT: &str = "5m";

const AFTER_HELP: &str = "\
The program is built with what a debugger needs, and the host waits: there is no limit until the
handshake, a call may take 10 minutes, Init 5, and no probe ends a process that stands at a
breakpoint. The sandbox lets its own user and root attach from outside. Without it, with --no-sandbox,
the process has no limits and sees what you see. Where the system lets nobody attach to a process
that is not a child (kernel.yama.ptrace_scope), gk debug says what to do.

To stop in main or Init, let it sleep there for some seconds at its beginning: `gk restart` at the
socket that is shown starts another process, which is shown, too.

Exit codes: 0 when it is interrupted (130 by the second interrupt, which kills the host), 1 if it cannot be built or the host ends by itself.";

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
    /// Run the plugin without its sandbox.
    #[arg(long)]
    no_sandbox: bool,
    /// Take the program that is there.
    #[arg(long, conflicts_with = "rest")]
    no_build: bool,
    /// Arguments for `go build` or `cargo build`.
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: DebugArgs, terminal: &Terminal) -> Result<(), Failure> {
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
    let (sender, interrupted) = mpsc::channel();
    on_interrupt((), sender)?;
    let name = project.manifest.name.to_string();
    let mut options = LocalOptions::of_package(&project.directory, &project.manifest)?;
    options.listen = Some(args.listen);
    options.config = config(args.no_sandbox.then_some(&*name));
    let local = LocalHost::start(options)?;
    let (host, client) = (local.client()?, local.client()?);
    give_time(&host, &name)?;
    let program = std::path::absolute(project.program())
        .map_err(|error| Failure::file("read", &project.program(), &error))?;
    let session = Session {
        local,
        host,
        name: &name,
        program,
        terminal,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&client, &name, terminal));
        // The host ends before the scope does, and with it the stream that is followed.
        session.run(&interrupted)
    })
}

/// A plugin that can be attached to.
struct Session<'a> {
    local: LocalHost,
    host: Host,
    name: &'a str,
    /// The program with its symbols.
    program: PathBuf,
    terminal: &'a Terminal,
}

impl Session<'_> {
    /// Shows the process whenever it is another one, and why there is none, until the user
    /// interrupts.
    fn run(self, interrupted: &Receiver<()>) -> Result<(), Failure> {
        let (mut process, mut trouble, mut has_shown_routes) = (None, None, false);
        loop {
            self.local.check()?;
            let detail: PluginDetail = self.host.get(Operation::GetPlugin, &[self.name], &[])?;
            if detail.plugin.loaded && !has_shown_routes {
                self.terminal.say(routes(&self.local, &detail)?);
                has_shown_routes = true;
            }
            let inside = detail.plugin.inside.unwrap_or_default();
            if inside.pid != process {
                process = inside.pid;
                if let Some(pid) = process {
                    self.show(pid)?;
                }
            }
            if inside.error != trouble {
                trouble = inside.error;
                if let Some(error) = &trouble {
                    self.terminal.warn(format_args!(
                        "{} is {}: {error}",
                        self.name, detail.plugin.state
                    ));
                }
            }
            match interrupted.recv_timeout(LOOK_INTERVAL) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => {
                    self.terminal.say(INTERRUPTED);
                    return Ok(());
                }
            }
        }
    }

    fn show(&self, pid: u32) -> Result<(), Failure> {
        // The process runs from memory, so a debugger is told where the file with its symbols is.
        let program = self.program.display();
        self.terminal.say(format_args!(
            "{} is process {}. Attach, set a breakpoint, continue, and ask a route:",
            self.name,
            styled(BOLD, pid)
        ));
        if let Some(obstacle) = obstacle() {
            self.terminal.warn(obstacle);
        }
        self.terminal
            .line(format_args!("dlv attach {pid} {program}"))?;
        self.terminal.line(format_args!("gdb -p {pid} {program}"))?;
        Ok(())
    }
}

/// The setting that keeps this user from attaching.
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

/// The host's configuration: time, and no sandbox for one that is to have none.
fn config(unconfined: Option<&str>) -> String {
    let off: Vec<_> = unconfined.iter().collect();
    format!(
        "hot_reload = false\nstart_timeout = \"0s\"\n\n[sandbox]\noff = {off:?}\n\n[health]\ninterval = \"24h\"\n"
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
