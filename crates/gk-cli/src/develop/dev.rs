//! `gk dev`: the plugin runs on a host of its own, and every save builds it and puts it in place of
//! what runs.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use gk_api::{Operation, Outcome, OutcomeWord, PluginDetail};

use super::sources::{Look, Sources};
use super::{INTERRUPTED, follow, on_interrupt, routes};
use crate::author::Project;
use crate::author::build::{Profile, Recipe};
use crate::client::Body;
use crate::failure::{Exit, Failure};
use crate::localhost::{LocalHost, LocalOptions};
use crate::terminal::{BOLD, DIM, GOOD, Terminal, styled};

/// Minimum time without a change before the sources are built: an editor writes several files, and
/// some twice.
const QUIET: Duration = Duration::from_millis(60);

/// Maximum time that a build is put off because files keep changing.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Interval at which the sources are looked at although the system tells of no change, and the host
/// is asked for its end.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time that the host takes to report on a reload.
const RELOAD_WAIT: &str = "2m";

/// Files that a build itself writes: changes to them during a build do not start another one.
const LOCKS: &[&str] = &["Cargo.lock", "go.sum"];

/// `hot_reload`: the order to reload comes once all files are in place.
const CONFIG: &str = "hot_reload = false\n";

const AFTER_HELP: &str = "\
The host has this plugin alone, in temporary directories that go with it, and grants what
plugin.yaml asks for. A build that fails, or a version that does not come up, leaves the one before
in place. What is not watched: .git, target, node_modules, dist, hidden files, the plugin's binary,
and what its .gitignore names.

Exit codes: 0 when it is interrupted (130 by the second interrupt, which kills the host), 1 if the host ends by itself, 3 if there is no plugin.";

/// Run a plugin on a host of its own, and build it anew on every save.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DevArgs {
    /// The plugin's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the host listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// Optimise, which takes longer in Rust.
    #[arg(long)]
    release: bool,
    /// Arguments for `go build` or `cargo build`.
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

/// An event of the loop.
enum Event {
    /// Sources may have changed.
    Touched,
    /// A build has ended.
    Built(Build, Result<(), Failure>),
    /// The host has answered the reload of a build.
    Reloaded(Build, Result<Outcome, Failure>),
    /// The command is to end.
    Interrupted,
}

/// An attempt to build.
struct Build {
    number: u64,
    project: Project,
    /// When the last of its sources was saved, or the command was started.
    since: SystemTime,
    is_first: bool,
}

/// Work that is under way.
struct Session<'scope, 'env> {
    args: &'env DevArgs,
    terminal: &'env Terminal,
    scope: &'scope Scope<'scope, 'env>,
    sender: Sender<Event>,
    sources: Sources,
    /// The sources of the last build that was begun.
    seen: Look,
    /// The number of the last build that was begun.
    number: u64,
    /// Ends the build that runs.
    interrupt: Option<Arc<AtomicBool>>,
    /// When to look at the sources, once they are quiet.
    due: Option<Instant>,
    touched: Option<Instant>,
    /// The host, and the plugin that it has.
    host: Option<(LocalHost, String)>,
    /// Version and generation that serve.
    serving: Option<(String, u64)>,
    /// Routes that were printed.
    shown: String,
}

pub(crate) fn run(args: DevArgs, terminal: &Terminal) -> Result<(), Failure> {
    let (sender, events) = mpsc::channel();
    on_interrupt(Event::Interrupted, sender.clone())?;
    // A missing manifest ends the command; a faulty one does not, because the next save may mend
    // it.
    if !args.dir.join(gk_package::MANIFEST).is_file() {
        return Project::open(&args.dir, terminal).map(drop);
    }
    let root = args
        .dir
        .canonicalize()
        .map_err(|error| Failure::file("read", &args.dir, &error))?;
    let touched = sender.clone();
    let (sources, watching) = Sources::new(root, move || drop(touched.send(Event::Touched)));
    if let Err(error) = watching {
        terminal.warn(format_args!(
            "the system does not tell of all changes ({error}); files are looked at every {} s instead",
            LOOK_INTERVAL.as_secs()
        ));
    }
    std::thread::scope(|scope| {
        let mut session = Session {
            args: &args,
            terminal,
            scope,
            sender,
            sources,
            seen: Look::default(),
            number: 0,
            interrupt: None,
            due: None,
            touched: None,
            host: None,
            serving: None,
            shown: String::new(),
        };
        let ended = session.run(&events);
        session.stop_build();
        ended
    })
}

impl Session<'_, '_> {
    fn run(&mut self, events: &Receiver<Event>) -> Result<(), Failure> {
        self.build(SystemTime::now());
        loop {
            let wait = self.due.map_or(LOOK_INTERVAL, |due| {
                due.saturating_duration_since(Instant::now())
            });
            match events.recv_timeout(wait) {
                Ok(Event::Interrupted) => {
                    self.terminal.say(INTERRUPTED);
                    return Ok(());
                }
                Ok(Event::Touched) => {
                    let now = Instant::now();
                    let first = *self.touched.get_or_insert(now);
                    self.due = Some((now + QUIET).min(first + QUIET_MAX));
                }
                Ok(Event::Built(build, result)) => self.built(build, result)?,
                Ok(Event::Reloaded(build, result)) => self.told(&build, result),
                Err(RecvTimeoutError::Timeout) => {
                    (self.due, self.touched) = (None, None);
                    self.look();
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if let Some((host, _)) = &self.host {
                host.check()?;
            }
        }
    }

    /// Builds if the sources are not those of the last build.
    fn look(&mut self) {
        let now = self.sources.look();
        if let Some((changed, saved)) = now.since(&self.seen) {
            let names: Vec<_> = changed.iter().filter_map(|path| path.file_name()).collect();
            let is_of_build = |name: &&OsStr| LOCKS.iter().any(|lock| name == lock);
            if self.interrupt.is_some() && names.iter().all(is_of_build) {
                self.seen = now;
                return;
            }
            let shown = match names.as_slice() {
                [name] => name.to_string_lossy().into_owned(),
                names => format!("{} files", names.len()),
            };
            self.terminal
                .say(styled(DIM, format_args!("{shown} changed")));
            self.build(saved);
        }
    }

    /// Begins a build; one that runs ends.
    fn build(&mut self, since: SystemTime) {
        self.stop_build();
        self.number += 1;
        self.seen = self.sources.look();
        let project = match Project::open(&self.args.dir, self.terminal) {
            Ok(project) => project,
            Err(failure) => return self.failed(&failure),
        };
        let made = std::path::absolute(project.program());
        self.sources.made = made
            .ok()
            .and_then(|made| Some(made.parent()?.canonicalize().ok()?.join(made.file_name()?)));
        if let Some(made) = &self.sources.made {
            self.seen.forget(made);
        }
        let interrupt = Arc::new(AtomicBool::new(false));
        self.interrupt = Some(Arc::clone(&interrupt));
        let recipe = Recipe {
            profile: match self.args.release {
                true => Profile::Release,
                false => Profile::Quick,
            },
            target: None,
            rest: self.args.rest.clone(),
            interrupt: Some(interrupt),
        };
        let (number, sender, terminal) = (self.number, self.sender.clone(), self.terminal);
        self.scope.spawn(move || {
            let result = recipe.build(&project, terminal);
            let build = Build {
                number,
                project,
                since,
                is_first: number == 1,
            };
            // Nobody receives it if the command ends.
            let _ = sender.send(Event::Built(build, result));
        });
    }

    fn stop_build(&mut self) {
        if let Some(interrupt) = self.interrupt.take() {
            interrupt.store(true, Ordering::Relaxed);
        }
    }

    /// Gives the host what was built.
    fn built(&mut self, build: Build, result: Result<(), Failure>) -> Result<(), Failure> {
        // A build that a newer one has replaced is ignored, whatever its result.
        if build.number != self.number {
            return Ok(());
        }
        self.interrupt = None;
        if let Err(failure) = result {
            self.failed(&failure);
            return Ok(());
        }
        let name = build.project.manifest.name.to_string();
        if self
            .host
            .as_ref()
            .is_some_and(|(_, plugin)| *plugin != name)
        {
            self.terminal.say(format_args!(
                "The plugin is called {name} now; its host starts anew."
            ));
            (self.host, self.serving) = (None, None);
        }
        let (directory, manifest) = (&build.project.directory, &build.project.manifest);
        let placed = match &self.host {
            Some((host, _)) => host.replace(&name, directory),
            None => match LocalOptions::of_package(directory, manifest) {
                // Without a host there is nothing to go on with.
                Ok(options) => Ok(self.start(options, name)?),
                Err(failure) => Err(failure),
            },
        };
        if let Err(failure) = placed {
            self.failed(&failure);
        } else if let Some((host, plugin)) = &self.host {
            let (client, plugin) = (host.client()?, plugin.clone());
            let sender = self.sender.clone();
            self.scope.spawn(move || {
                let query = [("wait", RELOAD_WAIT.to_owned())];
                let told = client.send(Operation::ReloadPlugin, &[&plugin], &query, Body::Nothing);
                let _ = sender.send(Event::Reloaded(build, told));
            });
        }
        Ok(())
    }

    /// Starts the host with the plugin of this name.
    fn start(&mut self, mut options: LocalOptions, name: String) -> Result<(), Failure> {
        options.listen = Some(self.args.listen.clone());
        CONFIG.clone_into(&mut options.config);
        let host = LocalHost::start(options)?;
        let (client, plugin, terminal) = (host.client()?, name.clone(), self.terminal);
        self.scope.spawn(move || follow(&client, &plugin, terminal));
        self.host = Some((host, name));
        Ok(())
    }

    /// Says what came of a version.
    fn told(&mut self, build: &Build, told: Result<Outcome, Failure>) {
        let outcome = match told {
            Ok(outcome) => outcome,
            Err(failure) => return self.failed(&failure),
        };
        let name = build.project.manifest.name.as_str();
        if outcome.outcome != OutcomeWord::Serving || outcome.error.is_some() {
            let error = outcome
                .error
                .unwrap_or_else(|| format!("it is {:?}", outcome.outcome).to_lowercase());
            return self.failed(&Failure::new(
                Exit::Failed,
                format!("{name} does not come up: {error}"),
                "correct it, and save",
            ));
        }
        let Some((host, _)) = &self.host else {
            return;
        };
        let detail = host
            .client()
            .and_then(|client| client.get::<PluginDetail>(Operation::GetPlugin, &[name], &[]));
        let detail = match detail {
            Ok(detail) => detail,
            Err(failure) => return self.failed(&failure),
        };
        let serving = (detail.plugin.version.clone(), detail.plugin.generation);
        let took = build.since.elapsed().unwrap_or_default().as_millis();
        if self.serving.as_ref() == Some(&serving) {
            self.terminal.say(format_args!(
                "Nothing of the plugin has changed: {} (generation {}) still serves.",
                serving.0, serving.1
            ));
        } else {
            self.terminal.say(format_args!(
                "{} {name} {} (generation {}), {took} ms after the {}",
                styled(GOOD, "serving"),
                serving.0,
                serving.1,
                if build.is_first { "start" } else { "save" }
            ));
        }
        self.serving = Some(serving);
        match routes(host, &detail) {
            Ok(routes) if routes == self.shown => {}
            Ok(routes) => {
                self.terminal.say(&routes);
                self.shown = routes;
            }
            Err(failure) => self.terminal.failure(&failure),
        }
    }

    /// Says what went wrong, and what serves all the same.
    fn failed(&self, failure: &Failure) {
        self.terminal.failure(failure);
        let still = match &self.serving {
            Some((version, generation)) => {
                format!("{version} (generation {generation}) still serves")
            }
            None => "nothing serves yet".to_owned(),
        };
        self.terminal.say(format_args!(
            "{}",
            styled(BOLD, format_args!("{still}; waiting for a change."))
        ));
    }
}
