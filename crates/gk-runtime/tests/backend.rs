//! A second kind of plugin, which has neither a process nor a socket nor a wire: the supervisor
//! does everything for it that it does for a native plugin.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::BasicHostApi;
use gk_manifest::Registration;
use gk_protocol::SdkGeneration;
use gk_protocol::host::{HostApiHandler, HostRequest};
use gk_runtime::{
    Backend, CallContext, CallError, Connected, Connection, ConnectionError, ConnectionLimits,
    ExitStatus, LaunchError, LaunchRequest, LogLevel, LogQuery, LogSource, Outcome, PluginError,
    PluginState, Runtime, RuntimeConfig, Started, Worker, WorkerOutput,
};
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

/// Upper bound for each wait; far more than any of them takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Starts plugins that are values of this program.
#[derive(Debug, Default)]
struct InProgram {
    started: AtomicUsize,
    running: Mutex<Option<Arc<Running>>>,
    events: watch::Sender<Vec<&'static str>>,
}

/// A running generation of a plugin.
struct Running {
    number: usize,
    end: watch::Sender<Option<ExitStatus>>,
    closed: watch::Sender<bool>,
    stderr: tokio::sync::Mutex<DuplexStream>,
    host_api: Mutex<Option<Arc<dyn HostApiHandler>>>,
    events: watch::Sender<Vec<&'static str>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.number)
    }
}

impl Running {
    fn event(&self, event: &'static str) {
        self.events.send_modify(|events| events.push(event));
    }

    fn end(&self, status: ExitStatus) {
        self.end.send_if_modified(|end| {
            let runs = end.is_none();
            end.get_or_insert(status);
            runs
        });
        self.closed.send_replace(true);
    }
}

#[async_trait]
impl Backend for InProgram {
    async fn launch(&self, request: LaunchRequest) -> Result<Started, LaunchError> {
        assert_eq!(request.plugin.as_str(), "goat");
        let (stderr, output) = tokio::io::duplex(1024);
        let running = Arc::new(Running {
            number: self.started.fetch_add(1, Ordering::Relaxed) + 1,
            end: watch::Sender::new(None),
            closed: watch::Sender::new(false),
            stderr: tokio::sync::Mutex::new(stderr),
            host_api: Mutex::default(),
            events: self.events.clone(),
        });
        *self.running.lock() = Some(Arc::clone(&running));
        let output = WorkerOutput::new(LogSource::Stderr, Box::new(output));
        Ok(Started::new(
            Arc::new(InProgramWorker(running)),
            vec![output],
        ))
    }
}

#[derive(Debug)]
struct InProgramWorker(Arc<Running>);

#[async_trait]
impl Worker for InProgramWorker {
    async fn connect(
        &self,
        host_api: Arc<dyn HostApiHandler>,
        limits: ConnectionLimits,
    ) -> Result<Connected, PluginError> {
        assert!(limits.calls > 0);
        *self.0.host_api.lock() = Some(host_api);
        let connection = Arc::new(InProgramConnection(Arc::clone(&self.0)));
        Ok(Connected::new(connection, Vec::new()))
    }

    async fn exited(&self) -> ExitStatus {
        let mut end = self.0.end.subscribe();
        let status = *end.wait_for(Option::is_some).await.unwrap();
        status.unwrap()
    }

    fn kill(&self) {
        self.0.event("kill");
        self.0.end(ExitStatus::Signaled {
            signal: 9,
            core_dumped: false,
        });
    }
}

#[derive(Debug)]
struct InProgramConnection(Arc<Running>);

#[async_trait]
impl Connection for InProgramConnection {
    async fn register(&self) -> Result<Registration, ConnectionError> {
        Ok(Registration {
            name: "goat".into(),
            version: "1.0.0".into(),
            ..Registration::default()
        })
    }

    async fn init(&self, config: &BTreeMap<String, String>) -> Result<(), ConnectionError> {
        self.0.event("init");
        match config["plugin_name"].as_str() {
            "goat" => Ok(()),
            other => Err(ConnectionError::Plugin(other.into())),
        }
    }

    async fn call(
        &self,
        function: &str,
        args: Bytes,
        call_token: &str,
    ) -> Result<Bytes, ConnectionError> {
        match function {
            "echo" => Ok(args),
            "number" => Ok(self.0.number.to_string().into()),
            "log" => {
                let host_api = self.0.host_api.lock().clone().unwrap();
                let args = Bytes::from_static(br#"{"level":"warn","message":"bleat"}"#);
                let token = Some(call_token.to_owned());
                let request = HostRequest::new("log", args, token, SdkGeneration::G3);
                host_api
                    .call(request)
                    .await
                    .map_err(ConnectionError::Plugin)
            }
            "wait" => {
                let mut closed = self.0.closed.subscribe();
                self.0.event("wait");
                closed.wait_for(|closed| *closed).await.unwrap();
                Err(ConnectionError::Closed("it is gone".into()))
            }
            "full" => Err(ConnectionError::TooManyCalls(7)),
            other => Err(ConnectionError::Plugin(format!("there is no {other}"))),
        }
    }

    async fn ping(&self) -> Result<(), ConnectionError> {
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), ConnectionError> {
        self.0.event("shutdown");
        Ok(())
    }

    async fn quit(&self) -> Result<(), ConnectionError> {
        self.0.event("quit");
        self.0.end(ExitStatus::Exited { code: 0 });
        Ok(())
    }

    fn close(&self) {
        self.0.closed.send_replace(true);
    }

    async fn closed(&self) -> String {
        let mut closed = self.0.closed.subscribe();
        closed.wait_for(|closed| *closed).await.unwrap();
        "it was closed".into()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.expect("nothing may hang")
}

async fn call(runtime: &Runtime, function: &str, args: &'static str) -> Result<Bytes, CallError> {
    within(runtime.call("goat", function, args.into(), CallContext::new())).await
}

#[tokio::test]
async fn a_kind_without_process_and_wire_lives_like_any_other() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("plugins/goat");
    std::fs::create_dir_all(&dir).unwrap();
    let manifest = "name: goat\nversion: 1.0.0\nruntime: grpc\n";
    std::fs::write(dir.join("plugin.yaml"), manifest).unwrap();
    std::fs::write(dir.join("goat"), "not executed").unwrap();
    std::fs::set_permissions(dir.join("goat"), PermissionsExt::from_mode(0o755)).unwrap();
    let backend = Arc::new(InProgram::default());
    let running = || backend.running.lock().clone().unwrap();

    let (plugins, data) = (root.path().join("plugins"), root.path().join("data"));
    let config = RuntimeConfig::new(plugins, data, "1.0.0");
    let host_api = Arc::new(BasicHostApi::new());
    let runtime = Runtime::start_backend(config, Arc::clone(&backend) as _, host_api).unwrap();
    within(runtime.settled()).await;
    let status = Arc::clone(runtime.snapshot().get("goat").unwrap());
    assert_eq!(
        status.state,
        PluginState::Running,
        "{:?}",
        status.last_error
    );
    assert_eq!((status.pid, status.sandbox.is_some()), (None, false));

    // Calls, their errors, and a request to the host API during one.
    assert_eq!(call(&runtime, "echo", "1").await.unwrap(), "1");
    let error = call(&runtime, "nothing", "").await.unwrap_err();
    assert!(
        matches!(&error, CallError::Application { message, .. } if message == "there is no nothing"),
        "{error}"
    );
    let error = call(&runtime, "full", "").await.unwrap_err();
    assert!(
        matches!(error, CallError::Busy { running: 7, .. }),
        "{error}"
    );
    call(&runtime, "log", "").await.unwrap();
    within(runtime.ping("goat")).await.unwrap();

    // A reload starts the next generation beside the one that serves.
    let reloaded = within(runtime.reload("goat", true, DEADLINE)).await;
    assert_eq!(reloaded.unwrap(), Outcome::Serving(2));
    assert_eq!(call(&runtime, "number", "").await.unwrap(), "2");

    // A crash fails the running call with what the plugin printed last, and it is started again.
    let waiting = tokio::spawn({
        let runtime = runtime.clone();
        async move { call(&runtime, "wait", "").await }
    });
    let mut events = backend.events.subscribe();
    let entered = events.wait_for(|events| events.contains(&"wait"));
    drop(within(entered).await.unwrap());
    let crashing = running();
    crashing
        .stderr
        .lock()
        .await
        .write_all(b"out of grass\n")
        .await
        .unwrap();
    crashing.end(ExitStatus::Exited { code: 3 });
    let error = waiting.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("code 3"), "{error}");
    let mut changed = runtime.changed();
    within(async {
        while runtime.snapshot().get("goat").unwrap().generation != 3 {
            changed.changed().await.unwrap();
        }
    })
    .await;
    assert_eq!(call(&runtime, "number", "").await.unwrap(), "3");
    let failed = runtime.snapshot().get("goat").unwrap().last_error.clone();
    let logs = runtime.logs("goat", &LogQuery::all()).unwrap();
    let logged = |source, message: &str| {
        let mut logs = logs.iter();
        logs.any(|entry| entry.source == source && entry.message == message)
    };
    assert!(failed.is_some_and(|error| error.contains("code 3")));
    assert!(logged(LogSource::HostApi, "bleat"));
    assert!(logged(LogSource::Stderr, "out of grass"));
    assert!(logs.iter().any(|entry| entry.level == LogLevel::Error));

    // The way down, in order.
    backend.events.send_modify(Vec::clear);
    within(runtime.shutdown()).await;
    let events = backend.events.borrow().clone();
    assert_eq!(events, ["shutdown", "quit", "kill"]);
}
