//! Plugins without processes, for tests of what is built on the runtime (feature `test-util`).
//!
//! A plugin is a [`PluginHandler`] at the other end of a socket pair: everything but the process
//! is real, the wire included.
//!
//! ```
//! # use std::{collections::BTreeMap, sync::Arc};
//! # use async_trait::async_trait;
//! # use bytes::Bytes;
//! # use gk_manifest::Registration;
//! # use gk_protocol::plugin::{Call, HostApiClient, PluginHandler};
//! use gk_runtime::testing::InMemory;
//! use gk_runtime::{CallContext, PluginState};
//!
//! struct Echo;
//!
//! #[async_trait]
//! impl PluginHandler for Echo {
//!     async fn register(&self) -> Result<Registration, String> {
//!         Ok(Registration { name: "echo".into(), version: "1.0.0".into(), ..Registration::default() })
//!     }
//!     async fn init(&self, _: BTreeMap<String, String>, _: Option<HostApiClient>) -> Result<(), String> {
//!         Ok(())
//!     }
//!     async fn call(&self, call: Call) -> Result<Bytes, String> {
//!         Ok(call.args)
//!     }
//!     async fn shutdown(&self) -> Result<(), String> {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plugins = InMemory::new().with("echo", Arc::new(Echo));
//! let runtime = plugins.start()?;
//! runtime.settled().await;
//! assert_eq!(runtime.snapshot().get("echo").unwrap().state, PluginState::Running);
//! assert_eq!(runtime.call("echo", "any", "1".into(), CallContext::new()).await?, "1");
//!
//! plugins.crash("echo", gk_runtime::ExitStatus::Exited { code: 2 }, "panic: boom\n").await;
//! let failure = || runtime.snapshot().get("echo").unwrap().last_error.clone();
//! let mut changed = runtime.changed();
//! while failure().is_none() {
//!     changed.changed().await?;
//! }
//! let failure = failure().unwrap();
//! assert!(failure.contains("code 2") && failure.contains("boom"), "{failure}");
//! // It is started again, and calls wait for that.
//! assert_eq!(runtime.call("echo", "any", "2".into(), CallContext::new()).await?, "2");
//! runtime.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use gk_hostapi::BasicHostApi;
use gk_manifest::Manifest;
use gk_protocol::plugin::{PluginHandler, server};
use gk_wire::Handshake;
use gk_wire::plugin::Connection;
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::{
    ExitStatus, LaunchError, LaunchRequest, Launched, Launcher, Process, Runtime, RuntimeConfig,
    StartError,
};

/// Number of bytes of a plugin's output that may wait to be read.
const PIPE_BYTES: usize = 64 * 1024;

/// A set of plugins, and the directories a runtime wants. A cheap clone.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    plugins: Mutex<BTreeMap<String, Plugin>>,
    root: Mutex<Option<tempfile::TempDir>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemory")
            .field("plugins", &self.plugins.lock().keys())
            .finish_non_exhaustive()
    }
}

struct Plugin {
    handler: Arc<dyn PluginHandler>,
    manifest: String,
    running: Option<Running>,
}

struct Running {
    connection: Arc<Connection>,
    stderr: Option<DuplexStream>,
    exit: watch::Sender<Option<ExitStatus>>,
}

impl InMemory {
    /// Creates a set without plugins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plugin of that name.
    #[must_use]
    pub fn with(self, name: &str, handler: Arc<dyn PluginHandler>) -> Self {
        self.with_manifest(name, "", handler)
    }

    /// Adds a plugin of that name, with more lines for its `plugin.yaml`.
    #[must_use]
    pub fn with_manifest(self, name: &str, lines: &str, handler: Arc<dyn PluginHandler>) -> Self {
        let manifest = format!("name: {name}\nversion: 1.0.0\nruntime: grpc\n{lines}\n");
        self.shared.plugins.lock().insert(
            name.to_owned(),
            Plugin {
                handler,
                manifest,
                running: None,
            },
        );
        self
    }

    /// Starts a runtime with these plugins and the basic host API, in a temporary directory.
    ///
    /// # Errors
    /// As [`Runtime::start`], or when there is no temporary directory.
    pub fn start(&self) -> Result<Runtime, StartError> {
        self.start_in(|_| {})
    }

    /// As [`InMemory::start`], with changes to the configuration.
    ///
    /// # Errors
    /// As [`InMemory::start`].
    pub fn start_in(&self, change: impl FnOnce(&mut RuntimeConfig)) -> Result<Runtime, StartError> {
        let temp = std::env::temp_dir();
        let failed = |source: io::Error| StartError::Directory {
            what: "temporary directory",
            path: temp.clone(),
            source,
        };
        let root = tempfile::tempdir().map_err(failed)?;
        for (name, plugin) in self.shared.plugins.lock().iter() {
            write_package(&root.path().join("plugins").join(name), &plugin.manifest)
                .map_err(failed)?;
        }
        let mut config = RuntimeConfig::new(
            root.path().join("plugins"),
            root.path().join("data"),
            "1.0.0",
        );
        change(&mut config);
        *self.shared.root.lock() = Some(root);
        Runtime::start_with(
            config,
            Arc::new(self.clone()),
            Arc::new(BasicHostApi::new()),
        )
    }

    /// Ends a plugin as a process ends that crashes: `last_words` on stderr, then gone.
    pub async fn crash(&self, name: &str, status: ExitStatus, last_words: &str) {
        let Some(mut running) = self
            .shared
            .plugins
            .lock()
            .get_mut(name)
            .and_then(|plugin| plugin.running.take())
        else {
            return;
        };
        if let Some(mut stderr) = running.stderr.take() {
            let _ = stderr.write_all(last_words.as_bytes()).await;
        }
        running.exit.send_replace(Some(status));
        running.connection.close();
    }
}

/// A package: its binary is verified as any other, and then not executed.
fn write_package(dir: &Path, manifest: &str) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let file = dir.join("plugin.yaml");
    std::fs::write(&file, manifest)?;
    let Ok((manifest, _)) = Manifest::load(&file) else {
        return Ok(());
    };
    let binary = dir.join(&manifest.binary);
    std::fs::write(&binary, "#!/bin/false\n")?;
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))
}

#[async_trait]
impl Launcher for InMemory {
    async fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        let (host_end, plugin_end) = UnixStream::pair().map_err(LaunchError::Pipes)?;
        let (mut stdout, host_stdout) = tokio::io::duplex(PIPE_BYTES);
        let (stderr, host_stderr) = tokio::io::duplex(PIPE_BYTES);
        stdout
            .write_all(b"1|1|unix|/in/memory|netrpc|\n")
            .await
            .map_err(LaunchError::Pipes)?;
        let mut plugins = self.shared.plugins.lock();
        let Some(plugin) = plugins.get_mut(request.plugin.as_str()) else {
            return Err(LaunchError::Refused {
                why: "there is no such plugin in memory".into(),
            });
        };
        let connection = Arc::new(server(Arc::clone(&plugin.handler)).serve_connection(plugin_end));
        let exit = watch::Sender::new(None);
        // A process exits when its host hangs up.
        let (hung_up, exits) = (Arc::clone(&connection), exit.clone());
        tokio::spawn(async move {
            hung_up.closed().await;
            end(&exits, ExitStatus::Exited { code: 0 });
        });
        let process = InMemoryProcess {
            connection: Arc::clone(&connection),
            exit: exit.clone(),
            socket: Mutex::new(Some(host_end)),
            _stdout: stdout,
        };
        plugin.running = Some(Running {
            connection,
            stderr: Some(stderr),
            exit,
        });
        Ok(Launched::new(
            Box::new(process),
            Box::new(host_stdout),
            Box::new(host_stderr),
        ))
    }
}

struct InMemoryProcess {
    connection: Arc<Connection>,
    exit: watch::Sender<Option<ExitStatus>>,
    socket: Mutex<Option<UnixStream>>,
    _stdout: DuplexStream,
}

impl std::fmt::Debug for InMemoryProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemoryProcess").finish_non_exhaustive()
    }
}

#[async_trait]
impl Process for InMemoryProcess {
    fn pid(&self) -> Option<u32> {
        None
    }

    async fn exited(&self) -> ExitStatus {
        match self
            .exit
            .subscribe()
            .wait_for(Option::is_some)
            .await
            .map(|status| *status)
        {
            Ok(Some(status)) => status,
            // The sender is a field of this process, so it cannot be dropped before.
            _ => std::future::pending().await,
        }
    }

    fn kill(&self) {
        end(
            &self.exit,
            ExitStatus::Signaled {
                signal: 9,
                core_dumped: false,
            },
        );
        self.connection.close();
    }

    async fn connect(&self, _handshake: &Handshake) -> Result<UnixStream, LaunchError> {
        let socket = self.socket.lock().take();
        socket.ok_or_else(|| LaunchError::Refused {
            why: "it was connected to before".into(),
        })
    }
}

/// Gives the process its status, unless it has one.
fn end(exit: &watch::Sender<Option<ExitStatus>>, with: ExitStatus) {
    exit.send_if_modified(|status| {
        let alive = status.is_none();
        status.get_or_insert(with);
        alive
    });
}
