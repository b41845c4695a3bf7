//! What takes time in a process's life: each operation bounded, owning what it needs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gk_manifest::{PermissionKind, Registration};
use gk_protocol::RpcError;
use gk_protocol::host::{
    ConnectError, ConnectOptions, PluginConnection, PluginOutput, RegisterError,
};
use gk_wire::{Handshake, HandshakeError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Life, exited};
use crate::error::{PluginError, Printed, Step, chain};
use crate::host_api::ConnectionHostApi;
use crate::launch::{LaunchRequest, Launched, Output, Process};
use crate::limits::{
    CALLS_IN_FLIGHT_MAX, CONNECT_TIMEOUT, CONTROL_TIMEOUT, DRAIN_TIMEOUT, HANDSHAKE_BYTES_MAX,
    LAST_OUTPUT_GRACE, MEMORY_DEFAULT, MEMORY_MAX, MEMORY_MIN,
};
use crate::log::{Capture, LogLevel, NoLine, read_first_line};
use crate::runtime::{Hub, Plugin};
use crate::supervisor::Operation;

/// What an operation achieved.
pub(super) enum Product {
    Launched(Launched),
    Handshake(Handshake),
    Connected(PluginConnection, PluginOutput),
    Registered(Box<Registration>),
    Nothing,
}

/// An operation under way.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Product, PluginError>> + Send>>;

/// The plugin's stdout until its handshake is read, and what was read of it.
#[derive(Default)]
pub(super) struct FirstOutput {
    pub(super) stream: Option<Output>,
    pub(super) printed: Vec<u8>,
}

impl Life {
    /// Begins an operation.
    pub(super) fn begin(&self, operation: Operation) -> Work {
        let timeouts = self.status.timeouts;
        match operation {
            Operation::Launch => bounded(
                Step::Launch,
                CONNECT_TIMEOUT,
                launch(
                    Arc::clone(&self.hub),
                    Arc::clone(&self.plugin),
                    self.generation,
                ),
            ),
            Operation::ReadHandshake => bounded(
                Step::Handshake,
                self.hub.config.start_timeout,
                read_handshake(Arc::clone(&self.first_output)),
            ),
            Operation::Connect => {
                let api = ConnectionHostApi::new(
                    self.plugin.found.name.clone(),
                    self.generation,
                    Arc::clone(&self.calls),
                    self.log.clone(),
                    Arc::clone(&self.hub.host_api),
                );
                bounded(
                    Step::Connect,
                    CONNECT_TIMEOUT,
                    connect(self.process.clone(), self.handshake.clone(), api),
                )
            }
            Operation::Register => with(self.connection.clone(), move |connection| {
                bounded(Step::Register, timeouts.init, register(connection))
            }),
            Operation::Init => {
                let config = self.plugin.init_config(&self.hub.config);
                let announce = self.announce();
                with(self.connection.clone(), move |connection| {
                    bounded(Step::Init, timeouts.init, async move {
                        announce.await?;
                        init(connection, config).await
                    })
                })
            }
            Operation::Drain => {
                let instance = self.status.instance.clone();
                let limit = DRAIN_TIMEOUT.min(timeouts.call);
                let log = self.log.clone();
                let generation = self.generation;
                Box::pin(async move {
                    if let Some(instance) = instance
                        && timeout(limit, instance.gate.drained()).await.is_err()
                    {
                        let left = instance.gate.inside();
                        log.host(generation, LogLevel::Warn, format!("stopping it although {left} calls are still running after {limit:?}"));
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
            )),
        }
    }
}

impl Life {
    /// Tells the host API of the process, ahead of its first request.
    fn announce(&self) -> impl Future<Output = Result<(), PluginError>> + Send + 'static {
        let api = Arc::clone(&self.hub.host_api);
        let (plugin, generation) = (self.plugin.found.name.clone(), self.generation);
        let registration = self.status.registration.clone().unwrap_or_default();
        let manifest = &self.plugin.found.manifest.resources;
        let request = match &registration.resources {
            Some(own) => own.or(manifest),
            None => manifest.clone(),
        };
        async move {
            api.registered(&plugin, generation, &registration, &request)
                .await
                .map_err(|error| PluginError::Refused {
                    reason: error.to_string(),
                })
        }
    }
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

async fn launch(
    hub: Arc<Hub>,
    plugin: Arc<Plugin>,
    generation: u64,
) -> Result<Product, PluginError> {
    let found = &plugin.found;
    let network = found
        .manifest
        .resources
        .permissions
        .iter()
        .any(|permission| permission.kind() == Some(PermissionKind::Http));
    let request = LaunchRequest {
        plugin: found.name.clone(),
        generation,
        program: found.dir.join(&found.manifest.binary),
        plugin_dir: found.dir.clone(),
        network,
        memory_bytes: memory(&found.manifest.resources),
    };
    Ok(Product::Launched(hub.launcher.launch(request).await?))
}

/// How much memory a plugin gets: what it asks for, within the limits.
fn memory(resources: &gk_manifest::ResourceRequest) -> u64 {
    match u64::try_from(resources.memory_mb) {
        Ok(0) | Err(_) => MEMORY_DEFAULT,
        Ok(asked) => asked.saturating_mul(1 << 20).clamp(MEMORY_MIN, MEMORY_MAX),
    }
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
        gk_protocol::host::connect(socket, &handshake, Arc::new(api), connect_options())
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
fn connect_options() -> ConnectOptions {
    let mut options = ConnectOptions::default();
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
    match connection.init(&config).await {
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

/// Reads what is left of an ended process's output, for a moment: somebody else may hold it open.
async fn collect_output(
    first: Arc<Mutex<FirstOutput>>,
    captures: Arc<Mutex<Vec<Capture>>>,
    process: Option<Arc<dyn Process>>,
) -> Result<Product, PluginError> {
    let until = Instant::now() + LAST_OUTPUT_GRACE;
    let rest = async {
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
    };
    let _ = tokio::time::timeout_at(until, rest).await;
    // It was killed: its end is near, and reaping it then takes no time.
    let _ = tokio::time::timeout_at(until, exited(process.as_deref())).await;
    Ok(Product::Nothing)
}
