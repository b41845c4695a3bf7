//! Inside a sandbox: its first process, which sets the sandbox up and stays to watch.
//!
//! The first process is the host's own code. It runs as long as the program does. It takes over
//! orphaned processes, kills all that is left when the program ends or the host lets go of the
//! lifeline, and adds up the memory of the sandbox where no control group limits that. The program
//! cannot trace the first process, because that is not dumpable. The program cannot signal it
//! either: the first process of a namespace gets only signals that it handles, and this one handles
//! none.
//!
//! | Module | What it does |
//! |---|---|
//! | `input` | takes the plan from the keeper |
//! | `namespaces` | namespaces, root and user of the first process |
//! | `program` | forks the program's process, confines and executes it |

mod input;
mod namespaces;
mod program;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use self::input::SetupInput;
pub(super) use self::input::{Assignment, Inherited, KeeperRequest, Mapping};
use super::channel;
use super::message::{Event, FailedStep, Failure, NOT_SET_UP};
use super::root::Directories;
use super::watch::{WATCHDOG_MILLIS, Watched};
use crate::layers::privileges;
use crate::report::{Layer, LayerReport, State};
use crate::sys::process;

/// Lowest `oom_score_adj` of a sandbox, in the kernel's range of -1000 to 1000. Ordinary processes
/// have 0.
const OUT_OF_MEMORY_SCORE: i32 = 300;

/// A failed step that ends the start.
struct Fatal(Failure);

impl Fatal {
    fn new(step: FailedStep, what: impl Into<String>, errno: Option<i32>) -> Self {
        Self(Failure {
            step,
            what: what.into(),
            errno: errno.unwrap_or(0),
        })
    }

    /// The failure for a layer that the plan requires and that is absent or degraded.
    fn refused(entry: &LayerReport) -> Self {
        let what = match entry.detail.is_empty() {
            true => entry.state.to_string(),
            false => format!("{}: {}", entry.state, entry.detail),
        };
        Self::new(FailedStep::Layer(entry.layer), what, entry.errno)
    }
}

fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error()
}

/// Runs the first process of a sandbox, from its creation to its end.
pub(super) fn first_process(inherited: Inherited) -> ! {
    // A panic must not unwind into the keeper's frames, of which this process has a copy.
    let input = std::panic::catch_unwind(AssertUnwindSafe(|| inherited.wait()));
    let Ok(Some(input)) = input else {
        process::exit(NOT_SET_UP)
    };
    let control = Arc::clone(&input.control);
    let outcome =
        std::panic::catch_unwind(AssertUnwindSafe(|| Setup::new(input).and_then(Setup::run)));
    let code = match outcome {
        Ok(Ok(code)) => code,
        Err(_) => NOT_SET_UP,
        Ok(Err(Fatal(failure))) => {
            // A host that is gone does not need to know: the result is ignored.
            let _ = channel::send(&*control, &Event::Failed(failure), &[]);
            NOT_SET_UP
        }
    };
    process::exit(code)
}

/// A sandbox that is being set up.
struct Setup {
    input: SetupInput,
    layers: Vec<LayerReport>,
    /// `true` if the root is the sandbox's own.
    own_root: bool,
    /// Directories in which the host looks for the program's socket.
    directories: Directories,
}

impl Setup {
    fn new(mut input: SetupInput) -> Result<Self, Fatal> {
        let layers = std::mem::take(&mut input.layers);
        let mut setup = Self {
            input,
            layers: Vec::new(),
            own_root: false,
            directories: Directories::default(),
        };
        for entry in layers {
            setup.note(entry)?;
        }
        Ok(setup)
    }

    /// Notes the state of a layer.
    ///
    /// # Errors
    /// When the layer does not hold and the plan insists on all layers.
    fn note(&mut self, entry: LayerReport) -> Result<(), Fatal> {
        if self.input.plan.required && !entry.holds() {
            return Err(Fatal::refused(&entry));
        }
        self.layers.push(entry);
        Ok(())
    }

    fn wants(&self, layer: Layer) -> bool {
        self.input.plan.wants(layer)
    }

    /// The newest entry of a layer; earlier ones were replaced by it.
    fn entry(&self, layer: Layer) -> Option<&LayerReport> {
        self.layers.iter().rev().find(|entry| entry.layer == layer)
    }

    /// Returns `true` if no control group limits memory although the plan asks for a limit.
    fn adds_up_memory(&self) -> bool {
        let entry = self.entry(Layer::Memory);
        entry.is_some_and(|entry| matches!(entry.state, State::Absent | State::Degraded))
    }

    /// Returns `true` if the process was created in a namespace (`CLONE_NEW…`).
    fn was_created_in(&self, namespace: i32) -> bool {
        self.input.namespaces & namespace != 0
    }

    /// Sets the sandbox up, starts the program and watches it. Returns the exit code of this
    /// process.
    ///
    /// The order of the steps is part of the sandbox: each comment says what depends on it.
    fn run(mut self) -> Result<i32, Fatal> {
        // An unprivileged process maps its own user. That comes before `prepare_process` makes the
        // process undumpable: afterwards its files in /proc belong to root.
        if !self.input.privileged {
            self.map_own_user()?;
        }
        // The mount namespace is made now and not at creation. This process may have waited for its
        // plan for a long time, and a namespace has the host's mounts of the moment it is made.
        let own_mounts = self.mount_namespace()?;
        self.prepare_process()?;
        // The sysctl is written through the host's /proc, which the new root replaces.
        self.forbid_executable_memfds()?;
        // The watchdog's view of /proc is opened before the new root hides other users' processes.
        let processes = self.watched_processes();
        // The root is built with the keeper's user, so that it can show any file that the host may
        // read. Mounts that exist before the process enters its user namespace belong to the parent
        // namespace, so the program could not change them even with all capabilities in its own.
        if own_mounts {
            self.enter_root()?;
        }
        // The name is set before the user namespace is entered, which has no right to the outer
        // UTS namespace.
        self.set_host_name()?;
        // A privileged process enters its user namespace last: the outer namespace owns what was
        // made before, so the program cannot undo it.
        let mapping = match self.user_namespace()? {
            true => Some(self.mapped_by_keeper()?),
            false => None,
        };
        // The keeper has moved this process into its control groups by now, so the namespace shows
        // these groups as the root.
        self.cgroup_namespace()?;
        self.become_user(mapping)?;
        // A change of users makes a process dumpable again and clears its parent-death signal.
        let _ = privileges::undumpable();
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        // The host may have ended while there was no parent-death signal.
        if lifeline_cut(&self.input.lifeline) {
            return Ok(NOT_SET_UP);
        }
        let watched = self.watch_memory(processes)?;
        self.start_program(watched)
    }

    /// Gives this process a session of its own and the program's output.
    fn prepare_process(&mut self) -> Result<(), Fatal> {
        let input = &self.input;
        let step = |what: &'static str| {
            move |error: io::Error| Fatal::new(FailedStep::Process, what, errno(&error))
        };
        process::stdio(input.stdout.as_fd(), 1).map_err(step("arrange stdout"))?;
        process::stdio(input.stderr.as_fd(), 2).map_err(step("arrange stderr"))?;
        rustix::process::setsid().map_err(|errno| step("start a session")(errno.into()))?;
        raise_oom_score();
        let _ = privileges::undumpable();
        if !self.was_created_in(libc::CLONE_NEWPID) {
            // Without a process namespace orphans would go to the host's init. They come here
            // instead, to be killed with the rest.
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        Ok(())
    }

    /// The processes whose memory the watchdog adds up; `None` if a control group limits it or the
    /// kernel does not let this process read it.
    fn watch_memory(&mut self, processes: Option<Watched>) -> Result<Option<Watched>, Fatal> {
        let ungrouped = self.entry(Layer::Memory);
        let ungrouped = ungrouped.filter(|entry| entry.state == State::Absent);
        let Some(ungrouped) = ungrouped.cloned() else {
            return Ok(None);
        };
        let watched = processes.filter(|processes| processes.memory().is_ok());
        if watched.is_some() {
            let detail = format!(
                "added up every {WATCHDOG_MILLIS} ms, as the host {}",
                ungrouped.detail
            );
            let entry = LayerReport::degraded(Layer::Memory, detail, ungrouped.errno);
            self.note(entry)?;
        }
        Ok(watched)
    }
}

/// Makes the kernel end this sandbox before the host and before most other processes when the
/// machine runs out of memory, whatever score the host was given for its own protection.
fn raise_oom_score() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let inherited = std::fs::read_to_string(SCORE).ok();
    let inherited: i32 = inherited
        .and_then(|score| score.trim().parse().ok())
        .unwrap_or(0);
    let score = inherited.max(OUT_OF_MEMORY_SCORE).to_string();
    let _ = process::write_at_once(SCORE, &score);
}

/// Returns `true` if the host has let go of the sandbox.
fn lifeline_cut(lifeline: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(lifeline, PollFlags::IN)];
    matches!(
        rustix::event::poll(&mut fds, Some(&Timespec::default())),
        Ok(1..)
    )
}
