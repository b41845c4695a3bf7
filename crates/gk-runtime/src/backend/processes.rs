//! Native plugins: programs that run as processes of their own.

use std::sync::Arc;

use async_trait::async_trait;
use gk_protocol::host::HostApiHandler;
use gk_sandbox::{ExitStatus, Report};
use gk_wire::{Handshake, HandshakeError};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::{Backend, Connected, ConnectionLimits, Started, Worker, netrpc};
use crate::error::{LaunchError, PluginError, Printed, Step, chain};
use crate::launch::{LaunchRequest, Launcher, Process};
use crate::limits::HANDSHAKE_BYTES_MAX;
use crate::log::{LogSource, NoLine, Output, WorkerOutput, read_first_line};

/// Plugins that a [`Launcher`] starts as processes. Each prints a handshake line and then speaks
/// net/rpc on the socket that the line names.
#[derive(Debug)]
pub struct Processes {
    launcher: Arc<dyn Launcher>,
}

impl Processes {
    /// Creates the backend of plugins that a launcher starts.
    pub fn new(launcher: Arc<dyn Launcher>) -> Self {
        Self { launcher }
    }
}

#[async_trait]
impl Backend for Processes {
    async fn launch(&self, request: LaunchRequest) -> Result<Started, LaunchError> {
        let launched = self.launcher.launch(request).await?;
        let stderr = WorkerOutput::new(LogSource::Stderr, launched.stderr);
        let worker = ProcessWorker {
            process: launched.process,
            first_output: AsyncMutex::new(FirstOutput {
                stream: Some(launched.stdout),
                printed: Vec::new(),
            }),
            handshake: Mutex::new(None),
        };
        Ok(Started::new(Arc::new(worker), vec![stderr]))
    }
}

/// The plugin's stdout until its handshake is read, and what was read of it.
struct FirstOutput {
    stream: Option<Output>,
    printed: Vec<u8>,
}

/// A process, and how far it is with its handshake.
struct ProcessWorker {
    process: Box<dyn Process>,
    /// Locked while the handshake is waited for, and afterwards for the report on a failure.
    first_output: AsyncMutex<FirstOutput>,
    handshake: Mutex<Option<Handshake>>,
}

impl std::fmt::Debug for ProcessWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessWorker")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Worker for ProcessWorker {
    fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    fn sandbox(&self) -> Option<Arc<Report>> {
        self.process.sandbox()
    }

    async fn handshake(&self) -> Result<Vec<WorkerOutput>, PluginError> {
        let mut first = self.first_output.lock().await;
        let FirstOutput { stream, printed } = &mut *first;
        let Some(mut stdout) = stream.as_mut() else {
            return Err(not_a_handshake("its stdout is closed", &[]));
        };
        match read_first_line(&mut stdout, printed).await {
            Ok(len) => match Handshake::parse(&printed[..len]) {
                Ok(handshake) => {
                    *self.handshake.lock() = Some(handshake);
                    let rest = printed.split_off(printed.len().min(len + 1));
                    printed.clear();
                    Ok(stream
                        .take()
                        .map(|stream| WorkerOutput {
                            first: rest,
                            ..WorkerOutput::new(LogSource::Stdout, stream)
                        })
                        .into_iter()
                        .collect())
                }
                // The error's own text has the line, which the report shows anyway.
                Err(HandshakeError::NotAHandshake(_)) => {
                    Err(not_a_handshake("its first line is no handshake", printed))
                }
                Err(error) => Err(not_a_handshake(
                    &format!("its handshake cannot be read: {}", chain(&error)),
                    printed,
                )),
            },
            Err(NoLine::Ended) => Err(not_a_handshake(
                "it closed its stdout before its handshake",
                printed,
            )),
            Err(NoLine::TooLong) => Err(not_a_handshake(
                &format!("its first line is longer than {HANDSHAKE_BYTES_MAX} bytes"),
                printed,
            )),
        }
    }

    async fn connect(
        &self,
        host_api: Arc<dyn HostApiHandler>,
        limits: ConnectionLimits,
    ) -> Result<Connected, PluginError> {
        let handshake = self.handshake.lock().take();
        let Some(handshake) = handshake else {
            return Err(PluginError::Crashed {
                step: Some(Step::Connect),
                reason: "there is no handshake".into(),
            });
        };
        let socket = self.process.connect(&handshake).await?;
        netrpc::connect_over(socket, &handshake, host_api, limits).await
    }

    async fn exited(&self) -> ExitStatus {
        self.process.exited().await
    }

    fn kill(&self) {
        self.process.kill();
    }

    async fn drain(&self) {
        let mut first = self.first_output.lock().await;
        let FirstOutput { stream, printed } = &mut *first;
        if let Some(stream) = stream {
            let _ = read_first_line(stream, printed).await;
        }
    }

    async fn printed(&self) -> Vec<u8> {
        self.first_output.lock().await.printed.clone()
    }
}

fn not_a_handshake(why: &str, printed: &[u8]) -> PluginError {
    PluginError::Handshake {
        why: why.to_owned(),
        printed: Printed(printed.to_vec()),
    }
}
