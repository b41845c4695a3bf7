//! A generation of a plugin: one process from start to end. Its task carries out the actions of the
//! [state machine](machine), and reports the status to the owner.
//!
//! At most one operation is under way at a time, and each is bounded. An operation owns its inputs
//! and can be dropped at any point; its result comes back as a `StepOutput`.

mod absorb;
mod machine;
mod operations;
mod package;
mod probe;
mod report;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use gk_hostapi::PluginLimits;
use gk_manifest::{Manifest, PluginName};
use gk_sandbox::ExitStatus;
use tokio::sync::{Mutex, OwnedSemaphorePermit, watch};
use tracing::Instrument;

use self::machine::{Action, Ending, Event, Machine, Phase};
use self::operations::{StepOutput, Work};
pub(crate) use self::package::Package;
pub(crate) use self::status::{Failure, GenerationState, GenerationStatus};
use crate::backend::{Connection, Worker};
use crate::calls::{Calls, Gate, Instance};
use crate::error::{PluginError, chain};
use crate::health::Health;
use crate::limits::SLOW_START;
use crate::log::{Capture, LogLevel, LogSink};
use crate::metrics::{self, CallMetrics};
use crate::registry::Registry;
use crate::signatures::SignatureState;
use crate::timeouts::Timeouts;

/// Wording of the host API's refusals. A plugin that fails with the same words counts as refused,
/// too.
const NOT_GRANTED: &str = "not granted";

/// Plugin of a generation, as far as the generation's task needs it.
pub(crate) struct Owner {
    pub(crate) plugin: PluginName,
    pub(crate) log: LogSink,
    /// Receives the status of the generation with every change.
    pub(crate) report: Box<dyn Fn(GenerationStatus) + Send + Sync>,
}

/// Request to end a generation, by the time that its calls have. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    No,
    /// Another generation serves, so the end is not urgent.
    Replaced,
    /// The plugin is to end.
    Ended,
}

/// State of a generation's task.
pub(crate) struct Generation {
    registry: Arc<Registry>,
    owner: Arc<Owner>,
    package: Arc<Package>,
    number: u64,
    status: GenerationStatus,
    /// Manifest that was discovered, until the signed one is verified.
    manifest: Arc<Manifest>,
    /// Directory of the package: as discovered, and after the verification the one that was judged,
    /// without links.
    plugin_dir: PathBuf,
    /// Limits of the policy, as of the start.
    limits: PluginLimits,
    /// Time limit of a call as the plugin asks for it; the policy may have another.
    call_timeout: Duration,

    /// Request to end; `None` before the task runs.
    stop: Option<watch::Receiver<Stop>>,
    worker: Option<Arc<dyn Worker>>,
    /// Exit status of the worker.
    exit: Option<ExitStatus>,
    /// The worker exited before the host killed it.
    exited_by_itself: bool,
    captures: Arc<Mutex<Vec<Capture>>>,
    connection: Option<Arc<dyn Connection>>,
    calls: Arc<Calls>,
    ended: watch::Sender<Option<Arc<str>>>,
}

impl Generation {
    /// Returns the status of a generation before it starts.
    pub(crate) fn initial(package: &Package, number: u64) -> GenerationStatus {
        let found = &package.found;
        GenerationStatus {
            generation: number,
            manifest: Some(Arc::clone(&found.manifest)),
            warnings: found.warnings.clone().into(),
            started_at: Some(SystemTime::now()),
            timeouts: Timeouts::from_resources(&found.manifest.resources),
            ..GenerationStatus::not_started(found.dir.clone(), GenerationState::Starting)
        }
    }

    /// Creates the task of a generation whose owner has the status `status`.
    pub(crate) fn new(
        registry: Arc<Registry>,
        owner: Owner,
        package: Package,
        status: GenerationStatus,
    ) -> Self {
        let found = &package.found;
        Self {
            manifest: Arc::clone(&found.manifest),
            plugin_dir: found.dir.clone(),
            limits: PluginLimits::default(),
            call_timeout: status.timeouts.call,
            registry,
            owner: Arc::new(owner),
            number: status.generation,
            package: Arc::new(package),
            status,
            stop: None,
            worker: None,
            exit: None,
            exited_by_itself: false,
            captures: Arc::default(),
            connection: None,
            calls: Arc::new(Calls::new()),
            ended: watch::Sender::new(None),
        }
    }

    /// Runs in a task of its own until the process is gone.
    pub(crate) fn spawn(self, stop: watch::Receiver<Stop>) {
        let owner = Arc::clone(&self.owner);
        let live = self.registry.alive();
        // Boxed, as a future would have room for the state twice otherwise. Both tasks live as long
        // as the process, and there may be a thousand.
        let mut status = Box::new(self.status.clone());
        // The span has no parent: the end of a generation may start the next one, and each span
        // keeps its parent.
        let span = tracing::info_span!(
            parent: None,
            "generation",
            plugin = %owner.plugin,
            generation = self.number,
        );
        let task = tokio::spawn(Box::new(self).run(stop).instrument(span));
        tokio::spawn(async move {
            // A panic here is a bug of the host's; it must not leave the plugin "starting" for
            // ever. Dropping the process ended it.
            if let Err(error) = task.await {
                let name = &owner.plugin;
                let error = format!(
                    "plugin \"{name}\": the host's supervisor of it failed ({error}); please report this"
                );
                tracing::error!(plugin = %name, "{error}");
                let failure = Failure::Crashed;
                status.state = GenerationState::Failed { error, failure };
                (owner.report)(*status);
            }
            drop(live);
        });
    }

    /// Runs until the process is gone. `stop` asks for that, also by its sender being dropped.
    async fn run(mut self: Box<Self>, mut stop: watch::Receiver<Stop>) {
        self.stop = Some(stop.clone());
        let mut permit = tokio::select! {
            permit = Arc::clone(&self.registry.starts).acquire_owned() => permit.ok(),
            () = stop_requested(&mut stop) => None,
        };
        // Warnings about the manifest that was discovered; normally the same one is verified.
        for warning in &self.package.found.warnings {
            self.log_line(LogLevel::Warn, warning.to_string());
        }
        let slow = tokio::time::sleep(SLOW_START);
        tokio::pin!(slow);
        let (mut machine, actions) = Machine::start();
        let mut work: Option<Work> = self.perform(actions, &machine);
        let (mut stopping, mut disconnected) = (false, false);
        while machine.phase() != Phase::Ended {
            let event = tokio::select! {
                biased;
                () = stop_requested(&mut stop), if !stopping => {
                    stopping = true;
                    Event::StopRequested
                }
                status = exited(self.worker.as_deref()), if self.exit.is_none() => {
                    self.exit = Some(status);
                    self.exited_by_itself = machine.phase() != Phase::Collecting
                        || matches!(status, ExitStatus::MemoryLimit { .. });
                    Event::Exited
                }
                reason = closed(self.connection.as_deref()), if !disconnected => {
                    disconnected = true;
                    Event::Disconnected(reason)
                }
                outcome = next(&mut work) => {
                    work = None;
                    match outcome.and_then(|product| self.absorb(product)) {
                        Ok(()) => Event::Done,
                        Err(error) => {
                            self.note(machine.phase(), &error);
                            Event::Failed(error)
                        }
                    }
                }
                () = &mut slow, if permit.is_some() => {
                    permit = None;
                    continue;
                }
            };
            let actions = machine.on(event);
            if actions
                .iter()
                .any(|action| matches!(action, Action::Begin(_) | Action::Open))
            {
                work = None;
            }
            if let Some(begun) = self.perform(actions, &machine) {
                work = Some(begun);
            }
            permit = permit.filter(|_: &OwnedSemaphorePermit| machine.phase() < Phase::Running);
        }
        drop(work);
        // The future of the end is large; boxed, it takes no room while the process runs.
        Box::pin(self.finish(machine.into_ending())).await;
    }

    /// Carries out actions; an operation that one of them begins is returned.
    fn perform(&mut self, actions: Vec<Action>, machine: &Machine) -> Option<Work> {
        let mut begun = None;
        for action in actions {
            match action {
                Action::Begin(operation) => begun = Some(self.begin(operation)),
                Action::Open => self.open(),
                Action::CloseGate => self.close_gate(machine.has_failed()),
                Action::Disconnect => {
                    if let Some(connection) = &self.connection {
                        connection.close();
                    }
                }
                Action::KillGroup => {
                    if let Some(worker) = &self.worker {
                        worker.kill();
                    }
                }
                // When the machine has ended, `run` finishes.
                Action::Finish => {}
            }
        }
        begun
    }

    fn open(&mut self) {
        let Some(connection) = self.connection.clone() else {
            return;
        };
        let plugin = self.owner.plugin.clone();
        self.status.instance = Some(Arc::new(Instance {
            connection,
            calls: Arc::clone(&self.calls),
            gate: Gate::new(),
            health: Health::new(),
            failing: AtomicBool::new(false),
            call_timeout: self.call_timeout,
            metrics: CallMetrics::new(plugin.as_str()),
            ended: self.ended.subscribe(),
            generation: self.number,
            plugin,
        }));
        self.status.state = GenerationState::Up;
        self.status.running_since = Some(SystemTime::now());
        metrics::started(self.owner.plugin.as_str(), true);
        self.publish();
        let version = self
            .status
            .registration
            .as_ref()
            .map(|registration| registration.version.clone())
            .unwrap_or_default();
        self.log_line(LogLevel::Info, format!("running, version {version:?}"));
    }

    fn close_gate(&mut self, failed: bool) {
        if let Some(instance) = &self.status.instance {
            instance.close(failed);
        }
        // After a failure the report follows within a moment, and one change of the routes is
        // enough.
        if !failed && self.status.state == GenerationState::Up {
            self.status.state = GenerationState::Draining;
            self.publish();
            self.log_line(LogLevel::Info, "stopping");
        }
    }

    /// Logs an error of the way down, which has no other consequence.
    fn note(&self, phase: Phase, error: &PluginError) {
        if matches!(phase, Phase::ShuttingDown | Phase::Quitting) {
            self.log_line(LogLevel::Warn, chain(error));
        }
    }

    async fn finish(mut self: Box<Self>, ending: Ending) {
        let was_running = self.status.running_since.is_some();
        let name = self.owner.plugin.clone();
        let (state, level, text) = match ending {
            Ending::Stopped => (
                GenerationState::Stopped,
                LogLevel::Info,
                "it was stopped".to_owned(),
            ),
            Ending::Failed(PluginError::Stopped) => (
                GenerationState::Stopped,
                LogLevel::Info,
                PluginError::Stopped.to_string(),
            ),
            Ending::Failed(error) => {
                if let PluginError::Unverified(unverified) = &error
                    && let Some(refusal) = unverified.refusal()
                {
                    let (state, key) = (refusal.state(), refusal.key());
                    metrics::verified(name.as_str(), state.as_str());
                    self.status.signature = Some(SignatureState { state, key });
                }
                let mut failure = self.failure(&error);
                let is_answer = matches!(error, PluginError::Rpc { .. });
                let report = self.report(error).await;
                if is_answer && report.contains(NOT_GRANTED) {
                    // Only another policy can help, so there is no other attempt.
                    failure = Failure::Refused;
                }
                if was_running {
                    metrics::crashed(name.as_str());
                } else {
                    metrics::started(name.as_str(), false);
                }
                (
                    GenerationState::Failed {
                        error: format!("plugin \"{name}\": {report}"),
                        failure,
                    },
                    LogLevel::Error,
                    report,
                )
            }
        };
        self.status.state = state;
        self.status.pid = None;
        self.status.sandbox = None;
        self.status.instance = None;
        self.publish();
        self.registry.host_api.ended(&name, self.number);
        self.ended.send_replace(Some(text.clone().into()));
        let host_line = if level == LogLevel::Error {
            format!("failed: {text}")
        } else {
            text
        };
        self.log_line(level, host_line);
        // Dropping the process reaps it and removes its socket.
    }

    /// Reports the status to the owner.
    fn publish(&self) {
        (self.owner.report)(self.status.clone());
    }

    fn log_line(&self, level: LogLevel, text: impl Into<String>) {
        self.owner.log.host(self.number, level, text);
    }
}

/// Resolves when a stop is requested, also by the sender's end.
async fn stop_requested(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(|stop| *stop > Stop::No).await;
}

async fn exited(worker: Option<&dyn Worker>) -> ExitStatus {
    match worker {
        Some(worker) => worker.exited().await,
        None => std::future::pending().await,
    }
}

async fn closed(connection: Option<&dyn Connection>) -> String {
    match connection {
        Some(connection) => connection.closed().await,
        None => std::future::pending().await,
    }
}

async fn next(work: &mut Option<Work>) -> Result<StepOutput, PluginError> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
