//! Operations in a process's life that take time: each is bounded, and owns its inputs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gk_hostapi::PluginLimits;
use gk_manifest::Registration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::machine::Operation;
use super::package::Package;
use super::probe::probe;
use super::{Generation, Stop, exited};
use crate::backend::{Connected, Connection, ConnectionError, ConnectionLimits, Started, Worker};
use crate::calls::Instance;
use crate::error::{PluginError, Step, chain};
use crate::host_api::ConnectionHostApi;
use crate::launch::LaunchRequest;
use crate::limits::{
    CALLS_IN_FLIGHT_MAX, CONNECT_TIMEOUT, CONTROL_TIMEOUT, DRAIN_TIMEOUT, EXIT_TIMEOUT,
    FIRST_OUTPUT_GRACE, LAST_OUTPUT_GRACE, LAUNCH_TIMEOUT, REPLACED_DRAIN_TIMEOUT, VERIFY_TIMEOUT,
};
use crate::log::{Capture, LogLevel, LogSink, WorkerOutput};
use crate::registry::Registry;
use crate::signatures::{self, Verified};
use crate::timeouts;

/// Result of an operation.
pub(super) enum StepOutput {
    Launched(Started, Box<VerifiedLaunch>),
    Handshake(Vec<WorkerOutput>),
    Connected(Connected),
    Registered(Box<Registration>),
    Nothing,
}

/// Verified package that a process was started from, and the limits of its policy.
pub(super) struct VerifiedLaunch {
    pub(super) verified: Arc<Verified>,
    pub(super) limits: PluginLimits,
}

/// An operation under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<StepOutput, PluginError>> + Send>>;

impl Generation {
    /// Begins an operation.
    pub(super) fn begin(&self, operation: Operation) -> Work {
        let timeouts = self.status.timeouts;
        match operation {
            Operation::Launch => Box::pin(launch(
                Arc::clone(&self.registry),
                Arc::clone(&self.package),
                self.number,
            )),
            Operation::Handshake => with(self.worker.clone(), |worker| {
                bounded(
                    Step::Handshake,
                    self.registry.config.start_timeout,
                    async move { worker.handshake().await.map(StepOutput::Handshake) },
                )
            }),
            Operation::Connect => {
                let api = ConnectionHostApi::new(
                    self.owner.plugin.clone(),
                    self.number,
                    Arc::clone(&self.calls),
                    self.owner.log.clone(),
                    Arc::clone(&self.registry.host_api),
                );
                let memory = self.registry.config.memory.clone();
                let limits = ConnectionLimits::new(memory, CALLS_IN_FLIGHT_MAX);
                with(self.worker.clone(), move |worker| {
                    bounded(Step::Connect, CONNECT_TIMEOUT, async move {
                        let connected = worker.connect(Arc::new(api), limits).await?;
                        Ok(StepOutput::Connected(connected))
                    })
                })
            }
            Operation::Register => with(self.connection.clone(), move |connection| {
                bounded(Step::Register, timeouts.init, register(connection))
            }),
            Operation::Init => {
                let config = self.package.init_config(
                    &self.registry.config,
                    &self.plugin_dir,
                    &self.registry.settings.load(),
                );
                let announce = self.announce();
                with(self.connection.clone(), move |connection| {
                    bounded(Step::Init, timeouts.init, async move {
                        announce.await?;
                        init(connection, config).await
                    })
                })
            }
            Operation::Probe => {
                let registry = Arc::clone(&self.registry);
                let (instance, log) = (self.status.instance.clone(), self.owner.log.clone());
                Box::pin(async move { Err(probe(registry, instance, log).await) })
            }
            Operation::Drain => Box::pin(drain(
                self.status.instance.clone(),
                self.stop.clone(),
                self.owner.log.clone(),
            )),
            Operation::Shutdown => with(self.connection.clone(), move |connection| {
                stop_step("Shutdown", timeouts.shutdown, async move {
                    connection.shutdown().await.map_err(|error| chain(&error))
                })
            }),
            Operation::Quit => with(self.connection.clone(), move |connection| {
                stop_step("Quit", CONTROL_TIMEOUT, async move {
                    connection.quit().await.map_err(|error| chain(&error))
                })
            }),
            // The process's end is an event of its own.
            Operation::AwaitExit(limit) => Box::pin(async move {
                tokio::time::sleep(limit).await;
                Ok(StepOutput::Nothing)
            }),
            Operation::CollectOutput => Box::pin(collect_output(
                Arc::clone(&self.captures),
                self.worker.clone(),
                if self.status.running_since.is_some() {
                    LAST_OUTPUT_GRACE
                } else {
                    FIRST_OUTPUT_GRACE
                },
            )),
        }
    }
}

impl Generation {
    /// Tells the host API of the process, ahead of its first request.
    fn announce(&self) -> impl Future<Output = Result<(), PluginError>> + Send + 'static {
        let api = Arc::clone(&self.registry.host_api);
        let (plugin, generation) = (self.owner.plugin.clone(), self.number);
        let registration = self.status.registration.clone().unwrap_or_default();
        let manifest = &self.manifest.resources;
        let request = match &registration.resources {
            Some(own) => own.or(manifest),
            None => manifest.clone(),
        };
        async move {
            api.prepare(&plugin, generation, &registration, &request)
                .await
                .map_err(|error| PluginError::Refused {
                    reason: error.to_string(),
                })
        }
    }
}

/// Waits until no call is running, or until the calls have had their time.
async fn drain(
    instance: Option<Arc<Instance>>,
    stop: Option<watch::Receiver<Stop>>,
    log: LogSink,
) -> Result<StepOutput, PluginError> {
    if let Some(instance) = instance {
        let begun = Instant::now();
        let deadlines = instance
            .calls
            .running()
            .into_iter()
            .map(|call| call.deadline);
        let left = deadlines
            .max()
            .map(|last| last.saturating_duration_since(begun.into()));
        // The calls get one second more than they have, so that each gets its own answer.
        let left = left.unwrap_or_default() + Duration::from_secs(1);
        tokio::select! {
            () = instance.gate.drained() => {}
            () = out_of_time(stop, left) => {
                let (left, after) = (instance.gate.inside(), begun.elapsed());
                let text = format!(
                    "stopping it although {left} calls are still running after {after:.1?}"
                );
                log.host(instance.generation, LogLevel::Warn, text);
            }
        }
    }
    Ok(StepOutput::Nothing)
}

/// Resolves when the time of running calls is over. The end of a replaced generation is not urgent:
/// its calls have until their own deadlines, at most [`REPLACED_DRAIN_TIMEOUT`].
async fn out_of_time(stop: Option<watch::Receiver<Stop>>, left: Duration) {
    if let Some(mut stop) = stop {
        let limit = REPLACED_DRAIN_TIMEOUT.min(left);
        let ended = stop.wait_for(|stop| *stop == Stop::Ended);
        if timeout(limit, ended).await.is_err() {
            return;
        }
    }
    tokio::time::sleep(DRAIN_TIMEOUT.min(left)).await;
}

/// A start step and its limit.
fn bounded(
    step: Step,
    after: Duration,
    work: impl Future<Output = Result<StepOutput, PluginError>> + Send + 'static,
) -> Work {
    Box::pin(async move {
        timeout(after, work)
            .await
            .unwrap_or(Err(PluginError::TimedOut { step, after }))
    })
}

/// A step of the way down and its limit. Its errors are only logged.
fn stop_step(
    name: &'static str,
    after: Duration,
    work: impl Future<Output = Result<(), String>> + Send + 'static,
) -> Work {
    Box::pin(async move {
        let reason = match timeout(after, work).await {
            Ok(Ok(())) => return Ok(StepOutput::Nothing),
            Ok(Err(reason)) => format!("{name} failed: {reason}"),
            Err(_) => format!("{name} took longer than {after:?}"),
        };
        Err(PluginError::Crashed { step: None, reason })
    })
}

/// Runs an operation on the worker or the connection; fails without one.
fn with<T: ?Sized>(on: Option<Arc<T>>, work: impl FnOnce(Arc<T>) -> Work) -> Work {
    match on {
        Some(on) => work(on),
        None => Box::pin(async {
            Err(PluginError::Crashed {
                step: None,
                reason: "there is nothing to speak with".into(),
            })
        }),
    }
}

/// Judges the plugin's files and starts what was judged.
async fn launch(
    registry: Arc<Registry>,
    package: Arc<Package>,
    generation: u64,
) -> Result<StepOutput, PluginError> {
    let found = &package.found;
    let verified = {
        let (registry, package) = (Arc::clone(&registry), Arc::clone(&package));
        let verifying = tokio::task::spawn_blocking(move || {
            let signatures = registry.signatures.load();
            match &package.pinned {
                Some(pinned) => {
                    signatures::verify_again(&signatures, pinned)?;
                    Ok(Arc::clone(pinned))
                }
                None => {
                    signatures::verify(&signatures, &registry.pinned, &package.found).map(Arc::new)
                }
            }
        });
        match timeout(VERIFY_TIMEOUT, verifying).await {
            Ok(Ok(verified)) => verified?,
            Ok(Err(error)) => {
                return Err(PluginError::Crashed {
                    step: Some(Step::Verify),
                    reason: format!("the host's check failed ({error}); please report this"),
                });
            }
            Err(_) => {
                return Err(PluginError::TimedOut {
                    step: Step::Verify,
                    after: VERIFY_TIMEOUT,
                });
            }
        }
    };
    let resources = &verified.manifest.resources;
    let limits = registry.host_api.limits(&found.name, resources);
    let request = LaunchRequest {
        plugin: found.name.clone(),
        generation,
        artifact: Arc::clone(&verified.artifact),
        program: verified.program.clone(),
        plugin_dir: verified.dir.clone(),
        linked: verified.linked.clone(),
        network: limits.network,
        memory_bytes: timeouts::memory(resources, &limits),
    };
    let launched = timeout(LAUNCH_TIMEOUT, registry.backend.launch(request)).await;
    let launched = launched.map_err(|_| PluginError::TimedOut {
        step: Step::Launch,
        after: LAUNCH_TIMEOUT,
    })??;
    let launch_facts = Box::new(VerifiedLaunch { verified, limits });
    Ok(StepOutput::Launched(launched, launch_facts))
}

async fn register(connection: Arc<dyn Connection>) -> Result<StepOutput, PluginError> {
    match connection.register().await {
        Ok(registration) => Ok(StepOutput::Registered(Box::new(registration))),
        Err(error) => Err(step_error(Step::Register, error)),
    }
}

async fn init(
    connection: Arc<dyn Connection>,
    config: BTreeMap<String, String>,
) -> Result<StepOutput, PluginError> {
    let answered = match connection.init(&config).await {
        // The Ping proves that the new process answers, before an older one is ended in its favour.
        Ok(()) => connection.ping().await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(()) => Ok(StepOutput::Nothing),
        Err(error) => Err(step_error(Step::Init, error)),
    }
}

/// The failure of a start step. A call may notice the connection's end before the connection
/// itself reports it.
fn step_error(step: Step, error: ConnectionError) -> PluginError {
    match error {
        ConnectionError::Closed(reason) => PluginError::Crashed {
            step: Some(step),
            reason: reason.as_ref().to_owned(),
        },
        other => PluginError::Rpc {
            step,
            source: other.into(),
        },
    }
}

/// Number of times that other tasks may run, to read the output of an ended process, after the time
/// is over.
const LAST_OUTPUT_TURNS: usize = 64;

/// Reads the rest of an ended process's output, for a limited time: another process may hold the
/// stream open.
async fn collect_output(
    captures: Arc<Mutex<Vec<Capture>>>,
    worker: Option<Arc<dyn Worker>>,
    grace: Duration,
) -> Result<StepOutput, PluginError> {
    let until = Instant::now() + grace;
    let mut rest = std::pin::pin!(async {
        if let Some(worker) = &worker {
            worker.drain().await;
        }
        for capture in captures.lock().await.iter_mut() {
            capture.ended().await;
        }
    });
    if tokio::time::timeout_at(until, &mut rest).await.is_err() {
        // On a busy machine the time may pass without a turn for the readers. Output that is in the
        // pipe already is read without further waiting.
        for _ in 0..LAST_OUTPUT_TURNS {
            tokio::select! {
                biased;
                () = &mut rest => break,
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // The worker was killed, so its exit is near. Its exit status may contain new facts.
    let _ = timeout(EXIT_TIMEOUT, exited(worker.as_deref())).await;
    Ok(StepOutput::Nothing)
}
