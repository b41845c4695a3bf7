//! What takes time in a process's life: each operation bounded, owning what it needs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gk_hostapi::PluginLimits;
use gk_manifest::Registration;
use gk_protocol::RpcError;
use gk_protocol::host::{
    ConnectError, ConnectOptions, PluginConnection, PluginOutput, RegisterError,
};
use gk_wire::{Handshake, HandshakeError, MemoryBudget};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::machine::Operation;
use super::package::Package;
use super::probe::probe;
use super::{Generation, Stop, exited};
use crate::error::{PluginError, Printed, Step, chain};
use crate::host_api::ConnectionHostApi;
use crate::hub::Hub;
use crate::launch::{LaunchRequest, Launched, Output, Process};
use crate::limits::{
    CALLS_IN_FLIGHT_MAX, CONNECT_TIMEOUT, CONTROL_TIMEOUT, DRAIN_TIMEOUT, EXIT_TIMEOUT,
    FIRST_OUTPUT_GRACE, HANDSHAKE_BYTES_MAX, LAST_OUTPUT_GRACE, LAUNCH_TIMEOUT,
    REPLACED_DRAIN_TIMEOUT, VERIFY_TIMEOUT,
};
use crate::log::{Capture, LogLevel, NoLine, read_first_line};
use crate::signatures::{self, Verified};
use crate::timeouts;

/// What an operation achieved.
pub(super) enum Product {
    Launched(Launched, Box<Cleared>),
    Handshake(Handshake),
    Connected(PluginConnection, PluginOutput),
    Registered(Box<Registration>),
    Nothing,
}

/// What a process was started from, and within which limits.
pub(super) struct Cleared {
    pub(super) verified: Arc<Verified>,
    pub(super) limits: PluginLimits,
}

/// An operation under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Product, PluginError>> + Send>>;

/// The plugin's stdout until its handshake is read, and what was read of it.
#[derive(Default)]
pub(super) struct FirstOutput {
    pub(super) stream: Option<Output>,
    pub(super) printed: Vec<u8>,
}

impl Generation {
    /// Begins an operation.
    pub(super) fn begin(&self, operation: Operation) -> Work {
        let timeouts = self.status.timeouts;
        match operation {
            Operation::Launch => Box::pin(launch(
                Arc::clone(&self.hub),
                Arc::clone(&self.package),
                self.number,
            )),
            Operation::ReadHandshake => bounded(
                Step::Handshake,
                self.hub.config.start_timeout,
                read_handshake(Arc::clone(&self.first_output)),
            ),
            Operation::Connect => {
                let api = ConnectionHostApi::new(
                    self.owner.plugin.clone(),
                    self.number,
                    Arc::clone(&self.calls),
                    self.owner.log.clone(),
                    Arc::clone(&self.hub.host_api),
                );
                bounded(
                    Step::Connect,
                    CONNECT_TIMEOUT,
                    connect(
                        self.process.clone(),
                        self.handshake.clone(),
                        api,
                        connect_options(self.hub.config.memory.clone()),
                    ),
                )
            }
            Operation::Register => with(self.connection.clone(), move |connection| {
                bounded(Step::Register, timeouts.init, register(connection))
            }),
            Operation::Init => {
                let config = self.package.init_config(
                    &self.hub.config,
                    &self.plugin_dir,
                    &self.hub.settings.load(),
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
                let hub = Arc::clone(&self.hub);
                let (instance, log) = (self.status.instance.clone(), self.owner.log.clone());
                Box::pin(async move { Err(probe(hub, instance, log).await) })
            }
            Operation::Drain => {
                let instance = self.status.instance.clone();
                let (stop, calls) = (self.stop.clone(), Arc::clone(&self.calls));
                let log = self.owner.log.clone();
                let generation = self.number;
                Box::pin(async move {
                    if let Some(instance) = instance {
                        let begun = Instant::now();
                        let deadlines = calls.running().into_iter().map(|call| call.deadline);
                        let left = deadlines
                            .max()
                            .map(|last| last.saturating_duration_since(begun.into()));
                        // A moment more than they have, so that each gets its own answer.
                        let left = left.unwrap_or_default() + Duration::from_secs(1);
                        let out_of_time = out_of_time(stop, left);
                        tokio::select! {
                            () = instance.gate.drained() => {}
                            () = out_of_time => {
                                let (left, after) = (instance.gate.inside(), begun.elapsed());
                                log.host(generation, LogLevel::Warn, format!("stopping it although {left} calls are still running after {after:.1?}"));
                            }
                        }
                    }
                    Ok(Product::Nothing)
                })
            }
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
                Ok(Product::Nothing)
            }),
            Operation::CollectOutput => Box::pin(collect_output(
                Arc::clone(&self.first_output),
                Arc::clone(&self.captures),
                self.process.clone(),
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
        let api = Arc::clone(&self.hub.host_api);
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

/// Resolves when running calls have had their time. Nobody waits for the end of a generation that was replaced: its
/// calls have until their own deadlines, at most [`REPLACED_DRAIN_TIMEOUT`].
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
    work: impl Future<Output = Result<Product, PluginError>> + Send + 'static,
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
            Ok(Ok(())) => return Ok(Product::Nothing),
            Ok(Err(reason)) => format!("{name} failed: {reason}"),
            Err(_) => format!("{name} took longer than {after:?}"),
        };
        Err(PluginError::Crashed { step: None, reason })
    })
}

/// An operation on the connection; without one there is nothing to do.
fn with(connection: Option<PluginConnection>, work: impl FnOnce(PluginConnection) -> Work) -> Work {
    match connection {
        Some(connection) => work(connection),
        None => Box::pin(async {
            Err(PluginError::Crashed {
                step: None,
                reason: "there is no connection".into(),
            })
        }),
    }
}

/// Judges the plugin's files and starts what was judged.
async fn launch(
    hub: Arc<Hub>,
    package: Arc<Package>,
    generation: u64,
) -> Result<Product, PluginError> {
    let found = &package.found;
    let verified = {
        let (hub, package) = (Arc::clone(&hub), Arc::clone(&package));
        let verifying = tokio::task::spawn_blocking(move || {
            let signatures = hub.signatures.load();
            match &package.pinned {
                Some(pinned) => {
                    signatures::verify_again(&signatures, pinned)?;
                    Ok(Arc::clone(pinned))
                }
                None => signatures::verify(&signatures, &hub.pinned, &package.found).map(Arc::new),
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
    let limits = hub.host_api.limits(&found.name, resources);
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
    let launched = timeout(LAUNCH_TIMEOUT, hub.launcher.launch(request)).await;
    let launched = launched.map_err(|_| PluginError::TimedOut {
        step: Step::Launch,
        after: LAUNCH_TIMEOUT,
    })??;
    let cleared = Box::new(Cleared { verified, limits });
    Ok(Product::Launched(launched, cleared))
}

async fn read_handshake(first: Arc<Mutex<FirstOutput>>) -> Result<Product, PluginError> {
    let mut first = first.lock().await;
    let FirstOutput { stream, printed } = &mut *first;
    let Some(stream) = stream else {
        return Err(PluginError::Handshake {
            why: "its stdout is closed".into(),
            printed: Printed(vec![]),
        });
    };
    let line = read_first_line(stream, printed).await;
    let why = match line {
        Ok(len) => match Handshake::parse(&printed[..len]) {
            Ok(handshake) => return Ok(Product::Handshake(handshake)),
            // What it printed instead is shown below.
            Err(HandshakeError::NotAHandshake(_)) => "its first line is no handshake".to_owned(),
            Err(error) => format!("its handshake cannot be read: {}", chain(&error)),
        },
        Err(NoLine::Ended) => "it closed its stdout before its handshake".to_owned(),
        Err(NoLine::TooLong) => {
            format!("its first line is longer than {HANDSHAKE_BYTES_MAX} bytes")
        }
    };
    Err(PluginError::Handshake {
        why,
        printed: Printed(printed.clone()),
    })
}

async fn connect(
    process: Option<Arc<dyn Process>>,
    handshake: Option<Handshake>,
    api: ConnectionHostApi,
    options: ConnectOptions,
) -> Result<Product, PluginError> {
    let (Some(process), Some(handshake)) = (process, handshake) else {
        return Err(PluginError::Crashed {
            step: Some(Step::Connect),
            reason: "there is no process".into(),
        });
    };
    let socket = process.connect(&handshake).await?;
    drop(process);
    let (connection, output) =
        gk_protocol::host::connect(socket, &handshake, Arc::new(api), options)
            .await
            .map_err(|error| match error {
                ConnectError::Dispense(RpcError::Closed(reason)) => {
                    closed_during(Step::Connect, &reason)
                }
                other => PluginError::Connect(other.into()),
            })?;
    Ok(Product::Connected(connection, output))
}

/// What is taken from a plugin, and how much it may owe.
fn connect_options(memory: Option<MemoryBudget>) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.limits.memory = memory;
    // Calls whose caller has given up count until the plugin answers: it still works on them.
    options.limits.max_calls = CALLS_IN_FLIGHT_MAX;
    options
}

async fn register(connection: PluginConnection) -> Result<Product, PluginError> {
    match connection.register().await {
        Ok(registration) => Ok(Product::Registered(Box::new(registration))),
        Err(RegisterError::Rpc(RpcError::Closed(reason))) => {
            Err(closed_during(Step::Register, &reason))
        }
        Err(other) => Err(PluginError::Rpc {
            step: Step::Register,
            source: other.into(),
        }),
    }
}

async fn init(
    connection: PluginConnection,
    config: BTreeMap<String, String>,
) -> Result<Product, PluginError> {
    let answered = match connection.init(&config).await {
        // A sign of life, before anything else is ended for it.
        Ok(()) => connection.ping().await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(()) => Ok(Product::Nothing),
        Err(RpcError::Closed(reason)) => Err(closed_during(Step::Init, &reason)),
        Err(other) => Err(PluginError::Rpc {
            step: Step::Init,
            source: other.into(),
        }),
    }
}

/// The connection's end, noticed by a call of ours before the connection itself said so.
fn closed_during(step: Step, reason: &str) -> PluginError {
    PluginError::Crashed {
        step: Some(step),
        reason: reason.to_owned(),
    }
}

/// How many turns the others get to read what an ended process has printed, when its time is over.
const LAST_OUTPUT_TURNS: usize = 64;

/// Reads what is left of an ended process's output, for a moment: somebody else may hold it open.
async fn collect_output(
    first: Arc<Mutex<FirstOutput>>,
    captures: Arc<Mutex<Vec<Capture>>>,
    process: Option<Arc<dyn Process>>,
    grace: Duration,
) -> Result<Product, PluginError> {
    let until = Instant::now() + grace;
    let mut rest = std::pin::pin!(async {
        {
            let mut first = first.lock().await;
            let FirstOutput { stream, printed } = &mut *first;
            if let Some(stream) = stream {
                let _ = read_first_line(stream, printed).await;
            }
        }
        for capture in captures.lock().await.iter_mut() {
            capture.ended().await;
        }
    });
    if tokio::time::timeout_at(until, &mut rest).await.is_err() {
        // On a busy machine the moment may have passed without anybody having had a turn: what lies there still
        // counts, and takes no more waiting.
        for _ in 0..LAST_OUTPUT_TURNS {
            tokio::select! {
                biased;
                () = &mut rest => break,
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // It was killed: its end is near, and how it ended may be news.
    let _ = timeout(EXIT_TIMEOUT, exited(process.as_deref())).await;
    Ok(Product::Nothing)
}
