//! The whole protocol without a process: plugins are tasks at the other end of a socket pair, so
//! that each can misbehave at a chosen moment.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::{Admission, BasicHostApi, Caller, Chain, HostApi, HostError, PluginLimits};
use gk_manifest::{PluginName, Registration, ResourceRequest};
use gk_protocol::plugin::{Call, HostApiClient, PluginHandler, server};
use gk_runtime::{
    CallContext, CallError, ExitStatus, LaunchError, LaunchRequest, Launched, Launcher, LogLevel,
    LogQuery, LogSource, Outcome, PluginState, PluginStatus, Process, Runtime, RuntimeConfig,
    StartError,
};
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

#[path = "in_memory/calls.rs"]
mod calls;
#[path = "in_memory/spans.rs"]
mod spans;

/// Maximum time of any wait here; far more than needed, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Behaviour of a plugin at one of its steps.
#[derive(Debug, Clone, Default)]
enum Does {
    #[default]
    Well,
    Fails(&'static str),
    Hangs,
    Crashes,
}

/// A plugin whose behaviour the test controls.
#[derive(Default)]
struct Fake {
    register: Does,
    init: Does,
    shutdown: Does,
    registration: Mutex<Registration>,
    /// Exit status of the process that was started last.
    exit: Mutex<watch::Sender<Option<ExitStatus>>>,
    connection: Mutex<Option<gk_wire::plugin::Connection>>,
    stderr: Mutex<Option<DuplexStream>>,
    host: Mutex<Option<HostApiClient>>,
    config: Mutex<BTreeMap<String, String>>,
    /// Token of the last call that hangs.
    token: Mutex<String>,
    /// Events in order.
    events: Mutex<Vec<String>>,
    entered: Notify,
    release: Notify,
    late: Notify,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    fn event(&self, event: &str) {
        self.events.lock().push(event.to_owned());
    }

    /// Ends as a process does that exits: its last words, its connection, its status.
    async fn crash(&self) {
        let stderr = self.stderr.lock().take();
        if let Some(mut stderr) = stderr {
            stderr.write_all(b"panic: out of goats\n").await.unwrap();
        }
        self.disconnect();
        let exit = self.exit.lock().clone();
        exit.send_replace(Some(ExitStatus::Exited { code: 2 }));
    }

    fn disconnect(&self) {
        if let Some(connection) = self.connection.lock().as_ref() {
            connection.close();
        }
    }

    async fn step(&self, does: &Does) -> Result<(), String> {
        match does {
            Does::Well => Ok(()),
            Does::Fails(text) => Err((*text).to_owned()),
            Does::Hangs => std::future::pending().await,
            Does::Crashes => {
                self.crash().await;
                std::future::pending().await
            }
        }
    }
}

struct Handler(Arc<Fake>);

#[async_trait]
impl PluginHandler for Handler {
    async fn register(&self) -> Result<Registration, String> {
        self.0.step(&self.0.register).await?;
        Ok(self.0.registration.lock().clone())
    }

    async fn init(
        &self,
        config: BTreeMap<String, String>,
        host: Option<HostApiClient>,
    ) -> Result<(), String> {
        *self.0.config.lock() = config;
        *self.0.host.lock() = host;
        self.0.step(&self.0.init).await
    }

    async fn call(&self, call: Call) -> Result<Bytes, String> {
        let fake = &self.0;
        fake.event(&format!("call {}", call.function));
        match call.function.as_str() {
            "echo" => Ok(call.args),
            "fail" => Err("no such goat".into()),
            "hang" => {
                *fake.token.lock() = call.call_token;
                fake.entered.notify_one();
                std::future::pending().await
            }
            "wait" => {
                fake.entered.notify_one();
                fake.release.notified().await;
                fake.event("answered");
                fake.late.notify_one();
                Ok("late".into())
            }
            "crash" => {
                fake.crash().await;
                std::future::pending().await
            }
            "disconnect" => {
                fake.disconnect();
                std::future::pending().await
            }
            "big" => Ok(vec![b'x'; gk_runtime::limits::RESULT_BYTES_MAX + 1].into()),
            "token" => Ok(call.call_token.into()),
            // A host call on behalf of this one, or of the one whose token is given.
            "host" => {
                let host = fake.host.lock().clone().ok_or("no host API")?;
                let args: serde_json::Value =
                    serde_json::from_slice(&call.args).map_err(|error| error.to_string())?;
                let token = args["token"].as_str().unwrap_or(&call.call_token);
                let method = args["method"].as_str().unwrap_or_default();
                host.call(method, args["args"].to_string().into(), token)
                    .await
                    .map_err(|error| error.to_string())
            }
            other => Err(format!("unknown function: {other}")),
        }
    }

    async fn shutdown(&self) -> Result<(), String> {
        self.0.event("shutdown");
        self.0.step(&self.0.shutdown).await
    }
}

/// Launches fakes.
#[derive(Debug, Default)]
struct InMemory {
    fakes: BTreeMap<String, Arc<Fake>>,
    /// Plugins to start in place of the first one, from the second generation on, in this order.
    successors: Arc<Mutex<VecDeque<Arc<Fake>>>>,
    /// Network permission and memory limit in bytes of each start.
    started: Arc<Mutex<Vec<(bool, u64)>>>,
}

/// A host API with one policy for all plugins, which may change.
#[derive(Debug, Default)]
struct Ruling {
    limits: Mutex<PluginLimits>,
    call_timeout: Mutex<Option<Duration>>,
    calls: Mutex<(Option<usize>, Option<usize>)>,
}

#[async_trait]
impl HostApi for Ruling {
    async fn call(&self, _: &Caller, _: &str, _: Bytes) -> Result<Bytes, HostError> {
        Err(HostError::not_provided("nothing"))
    }

    fn admit(&self, _: &PluginName) -> Result<Admission, HostError> {
        let mut admission = Admission::within(*self.call_timeout.lock());
        (admission.calls_in_flight, admission.calls_waiting) = *self.calls.lock();
        Ok(admission)
    }

    fn limits(&self, _: &PluginName, _: &ResourceRequest) -> PluginLimits {
        *self.limits.lock()
    }
}

#[derive(Debug)]
struct FakeProcess {
    fake: Arc<Fake>,
    exit: watch::Sender<Option<ExitStatus>>,
    socket: Mutex<Option<UnixStream>>,
    _stdout: DuplexStream,
}

#[async_trait]
impl Launcher for InMemory {
    async fn launch(&self, request: LaunchRequest) -> Result<Launched, LaunchError> {
        let successor = match request.generation {
            1 => None,
            _ => self.successors.lock().pop_front(),
        };
        let fake = successor.unwrap_or_else(|| Arc::clone(&self.fakes[request.plugin.as_str()]));
        let started = (request.network, request.memory_bytes);
        self.started.lock().push(started);
        let (host_end, plugin_end) = UnixStream::pair().unwrap();
        let connection = server(Arc::new(Handler(Arc::clone(&fake)))).serve_connection(plugin_end);
        *fake.connection.lock() = Some(connection);
        let (mut stdout, host_stdout) = tokio::io::duplex(1024);
        stdout
            .write_all(b"1|1|unix|/in/memory|netrpc|\nafter the handshake\n")
            .await
            .unwrap();
        let (stderr, host_stderr) = tokio::io::duplex(1024);
        *fake.stderr.lock() = Some(stderr);
        let exit = watch::Sender::new(None);
        *fake.exit.lock() = exit.clone();
        let process = FakeProcess {
            fake,
            exit,
            socket: Mutex::new(Some(host_end)),
            _stdout: stdout,
        };
        Ok(Launched::new(
            Box::new(process),
            Box::new(host_stdout),
            Box::new(host_stderr),
        ))
    }
}

#[async_trait]
impl Process for FakeProcess {
    fn pid(&self) -> Option<u32> {
        None
    }

    async fn exited(&self) -> ExitStatus {
        self.exit
            .subscribe()
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .unwrap()
    }

    fn kill(&self) {
        self.fake.event("kill");
        self.exit.send_if_modified(|exit| {
            exit.is_none()
                && exit.insert(ExitStatus::Signaled {
                    signal: 9,
                    core_dumped: false,
                }) == &ExitStatus::Signaled {
                    signal: 9,
                    core_dumped: false,
                }
        });
    }

    async fn connect(&self, _: &gk_wire::Handshake) -> Result<UnixStream, LaunchError> {
        Ok(self.socket.lock().take().expect("connected to once"))
    }
}

struct Host {
    root: tempfile::TempDir,
    launcher: InMemory,
}

impl Host {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            launcher: InMemory::default(),
        }
    }

    /// Adds a plugin with these lines in its manifest's `resources`.
    fn with(mut self, name: &str, resources: &str, fake: Fake) -> (Self, Arc<Fake>) {
        let dir = self.path("plugins").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(
            dir.join("plugin.yaml"),
            format!("name: {name}\nversion: 1.0.0\nruntime: grpc\nresources: {{{resources}}}\n"),
        )
        .unwrap();
        let binary = dir.join(name);
        std::fs::write(&binary, "#!/bin/false\n").unwrap();
        std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
        {
            let mut registration = fake.registration.lock();
            registration.version = "1.0.0".into();
            if registration.name.is_empty() {
                registration.name = name.into();
            }
        }
        let fake = Arc::new(fake);
        self.launcher.fakes.insert(name.into(), Arc::clone(&fake));
        (self, fake)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn start(self) -> Result<(Runtime, tempfile::TempDir), StartError> {
        self.start_ruled(Arc::new(BasicHostApi::new()))
    }

    fn start_ruled(
        self,
        api: Arc<dyn HostApi>,
    ) -> Result<(Runtime, tempfile::TempDir), StartError> {
        let mut config = RuntimeConfig::new(self.path("plugins"), self.path("data"), "2.0.0");
        config.hints.grant = |name| format!("PUT /api/v1/plugins/{name}/policy");
        config.variables = vec![("GOATFLOW_PLUGIN_GOAT_COLOUR".into(), "brown".into())];
        Ok((
            Runtime::start_with(config, Arc::new(self.launcher), api)?,
            self.root,
        ))
    }

    async fn settled(self) -> (Runtime, tempfile::TempDir) {
        let (runtime, root) = self.start().unwrap();
        within(runtime.settled()).await;
        (runtime, root)
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("nothing may hang")
}

async fn call(runtime: &Runtime, function: &str, args: &str) -> Result<String, CallError> {
    let result =
        within(runtime.call("goat", function, args.to_owned().into(), CallContext::new())).await?;
    Ok(String::from_utf8(result.to_vec()).unwrap())
}

/// Returns the last failure of a plugin, which may have been restarted since.
fn failure(runtime: &Runtime, plugin: &str) -> String {
    let snapshot = runtime.snapshot();
    let status = snapshot.get(plugin).unwrap();
    match status.last_error.as_deref().or(status.state.error()) {
        Some(error) => error.to_owned(),
        None => panic!("{plugin} is {}", status.state),
    }
}

async fn until(runtime: &Runtime, mut holds: impl FnMut(&PluginState) -> bool) {
    until_status(runtime, |status| holds(&status.state)).await;
}

async fn until_status(runtime: &Runtime, mut holds: impl FnMut(&PluginStatus) -> bool) {
    let mut changed = runtime.changed();
    within(async {
        while !holds(runtime.snapshot().get("goat").unwrap()) {
            changed.changed().await.unwrap();
        }
    })
    .await;
}

/// A call to a generation stays in it; a call that comes when the generation takes no more goes to
/// the next one.
#[tokio::test]
async fn no_call_is_lost_between_two_generations() {
    let (host, first) = Host::new().with("goat", "", Fake::default());
    let second = Arc::new(Fake::default());
    *second.registration.lock() = first.registration.lock().clone();
    host.launcher
        .successors
        .lock()
        .push_back(Arc::clone(&second));
    let broken = Fake {
        init: Does::Fails("no grass"),
        ..Fake::default()
    };
    *broken.registration.lock() = first.registration.lock().clone();
    let successors = Arc::clone(&host.launcher.successors);
    let (runtime, _root) = host.settled().await;
    let target = runtime.snapshot().get("goat").unwrap().target().unwrap();
    assert_eq!(target.generation(), 1);
    let running = {
        let (runtime, target) = (runtime.clone(), target.clone());
        tokio::spawn(async move {
            let context = CallContext::new();
            runtime
                .call_on(&target, "wait", Bytes::new(), context)
                .await
        })
    };
    within(first.entered.notified()).await;
    let reloaded = within(runtime.reload("goat", true, DEADLINE)).await;
    assert_eq!(reloaded.unwrap(), Outcome::Serving(2));
    let status = Arc::clone(runtime.snapshot().get("goat").unwrap());
    assert_eq!((status.generation, status.draining), (2, 1));
    // Looked up before the swap, called after it.
    let args = Bytes::from_static(b"{}");
    let late = within(runtime.call_on(&target, "echo", args.clone(), CallContext::new())).await;
    assert_eq!(late.unwrap(), args);
    assert_eq!(*second.events.lock(), ["call echo"]);
    // The one that was running is answered by whom it asked.
    first.release.notify_one();
    assert_eq!(within(running).await.unwrap().unwrap(), "late");
    let mut changed = runtime.changed();
    within(async {
        while runtime.snapshot().get("goat").unwrap().draining > 0 {
            changed.changed().await.unwrap();
        }
    })
    .await;
    // A candidate that does not come up changes nothing.
    successors.lock().push_back(Arc::new(broken));
    let reloaded = within(runtime.reload("goat", true, DEADLINE))
        .await
        .unwrap();
    let Outcome::Failed { error } = reloaded else {
        panic!("{reloaded:?}");
    };
    assert!(error.contains("no grass"), "{error}");
    within(runtime.call("goat", "echo", args, CallContext::new()))
        .await
        .unwrap();
    let status = Arc::clone(runtime.snapshot().get("goat").unwrap());
    let candidate = status.candidate.clone().unwrap();
    assert_eq!((status.generation, candidate.generation), (2, 3));
    within(runtime.shutdown()).await;
}

/// Starts are repeated for a version that failed, was replaced and comes again; for one that was
/// incomplete; and for one whose policy has changed. The same version is not started again without
/// a reason.
#[tokio::test]
async fn what_has_failed_is_tried_again_when_anything_of_it_has_changed() {
    let (host, first) = Host::new().with("goat", "", Fake::default());
    let successor = |init: Does| {
        let fake = Fake {
            init,
            ..Fake::default()
        };
        *fake.registration.lock() = first.registration.lock().clone();
        Arc::new(fake)
    };
    let (successors, started) = (
        Arc::clone(&host.launcher.successors),
        Arc::clone(&host.launcher.started),
    );
    let dir = host.path("plugins/goat");
    let (runtime, _root) = host.settled().await;
    let write = |text: &str| std::fs::write(dir.join("goat"), text).unwrap();
    let reload = async || {
        within(runtime.reload("goat", false, DEADLINE))
            .await
            .unwrap()
    };
    let starts = || started.lock().len();

    write("#!/bin/false 2\n");
    successors
        .lock()
        .push_back(successor(Does::Fails("no grass")));
    assert!(matches!(reload().await, Outcome::Failed { .. }));
    // Without a change there is no other attempt.
    assert!(matches!(reload().await, Outcome::Failed { .. }));
    assert_eq!(starts(), 2);
    write("#!/bin/false\n");
    assert_eq!(reload().await, Outcome::Serving(1));
    successors
        .lock()
        .push_back(successor(Does::Fails("still none")));
    write("#!/bin/false 2\n");
    let Outcome::Failed { error } = reload().await else {
        panic!("a version that came again was not tried");
    };
    assert!(error.contains("still none"), "{error}");
    // The file that the plugin needs arrives late.
    std::fs::create_dir(dir.join("static")).unwrap();
    std::fs::write(dir.join("static/grass"), "green").unwrap();
    successors
        .lock()
        .push_back(successor(Does::Fails("not granted")));
    let Outcome::Failed { error } = reload().await else {
        panic!("a package that is complete by now was not tried");
    };
    assert!(error.contains("not granted"), "{error}");
    // The policy grants the permission.
    successors.lock().push_back(successor(Does::Well));
    let goat = PluginName::new("goat").unwrap();
    runtime.policy_changed(&goat);
    let mut changed = runtime.changed();
    within(async {
        while runtime.snapshot().get("goat").unwrap().generation == 1 {
            changed.changed().await.unwrap();
        }
    })
    .await;
    assert_eq!(reload().await, Outcome::Serving(5));
    assert_eq!(starts(), 5);
    within(runtime.shutdown()).await;
}

/// Each snapshot costs work in its followers, such as the gateway.
#[tokio::test]
async fn a_look_that_finds_nothing_new_makes_no_snapshot() {
    let fails = Fake {
        init: Does::Fails("no grass"),
        ..Fake::default()
    };
    let (host, _) = Host::new().with("goat", "", Fake::default());
    let (host, _) = host.with("cow", "", fails);
    for (dir, manifest) in [
        ("broken", "name: [\n"),
        ("No Name", "name: [\n"),
        ("wasm", "name: w\nversion: 1.0.0\nruntime: wasm\n"),
    ] {
        let dir = host.path("plugins").join(dir);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("plugin.yaml"), manifest).unwrap();
    }
    let newest = host.path("plugins/empty");
    std::fs::create_dir(&newest).unwrap();
    let (runtime, _root) = host.settled().await;
    let look = async || {
        let reloaded = within(runtime.reload("goat", false, DEADLINE)).await;
        assert_eq!(reloaded.unwrap(), Outcome::Serving(1));
    };
    // Stamps of young files are not reliable, so the files would be compared.
    let newest = std::fs::metadata(newest).unwrap().modified().unwrap();
    while newest
        .elapsed()
        .is_ok_and(|age| age < Duration::from_millis(100))
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    look().await;
    let before = runtime.snapshot().version;
    for _ in 0..3 {
        look().await;
    }
    let after = runtime.snapshot();
    assert_eq!((before, after.problems.len()), (after.version, 1));
    within(runtime.shutdown()).await;
}

#[tokio::test]
async fn a_plugin_comes_up_and_is_called() {
    let (host, fake) = Host::new().with("goat", "call_timeout: 7s", Fake::default());
    let (runtime, root) = host.settled().await;
    let snapshot = runtime.snapshot();
    let status = snapshot.get("goat").unwrap();
    assert_eq!(status.state, PluginState::Running);
    assert_eq!(status.timeouts.call, Duration::from_secs(7));
    assert_eq!(status.registration.as_ref().unwrap().name, "goat");

    let root = root.path().canonicalize().unwrap();
    let config = fake.config.lock().clone();
    let shown: Vec<(&str, &str)> = config
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let (plugin_dir, work_dir) = (root.join("plugins/goat"), root.join("data/plugins/goat"));
    assert_eq!(
        shown,
        [
            ("colour", "brown"),
            ("host_version", "2.0.0"),
            ("plugin_dir", plugin_dir.to_str().unwrap()),
            ("plugin_name", "goat"),
            ("work_dir", work_dir.to_str().unwrap())
        ]
    );

    assert_eq!(
        call(&runtime, "echo", r#"{"a":1}"#).await.unwrap(),
        r#"{"a":1}"#
    );
    assert_eq!(call(&runtime, "echo", "").await.unwrap(), "");
    let refused = call(&runtime, "fail", "").await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Application { message, .. } if message == "no such goat"),
        "{refused}"
    );
    within(runtime.ping("goat")).await.unwrap();
    within(runtime.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_run_concurrently_and_get_their_own_answers() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let waiting = tokio::spawn({
        let runtime = runtime.clone();
        async move { call(&runtime, "wait", "").await }
    });
    within(fake.entered.notified()).await;
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                assert_eq!(
                    call(&runtime, "echo", &number.to_string()).await.unwrap(),
                    number.to_string()
                )
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    fake.release.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn a_timeout_is_enforced_and_the_late_reply_discarded() {
    let (host, fake) = Host::new().with("goat", "call_timeout: 3s", Fake::default());
    let (runtime, _root) = host.settled().await;
    let error = call(&runtime, "wait", "").await.unwrap_err();
    assert_eq!(
        error,
        CallError::Timeout {
            plugin: "goat".parse().unwrap(),
            function: "wait".into(),
            after: Duration::from_secs(3)
        }
    );
    assert!(error.to_string().contains("call_timeout"), "{error}");
    fake.release.notify_one();
    within(fake.late.notified()).await;
    for number in 0..20 {
        assert_eq!(
            call(&runtime, "echo", &number.to_string()).await.unwrap(),
            number.to_string()
        );
    }
    // A caller can only shorten it.
    let long = CallContext::new().with_timeout(Duration::from_secs(3600));
    assert!(
        matches!(within(runtime.call("goat", "hang", Bytes::new(), long)).await, Err(CallError::Timeout { after, .. }) if after == Duration::from_secs(3))
    );
    let short = CallContext::new().with_timeout(Duration::from_millis(20));
    assert!(
        matches!(within(runtime.call("goat", "hang", Bytes::new(), short)).await, Err(CallError::Timeout { after, .. }) if after == Duration::from_millis(20))
    );
}

/// A call waits for the crash report only for a moment. The clock stands still while any task is
/// ready, so the moment is long enough however busy the machine is.
#[tokio::test(start_paused = true)]
async fn a_crash_fails_every_pending_call_with_the_story() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (host, _other) = host.with("other", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let pending: Vec<_> = (0..3)
        .map(|_| {
            let runtime = runtime.clone();
            tokio::spawn(async move { call(&runtime, "hang", "").await })
        })
        .collect();
    for _ in 0..3 {
        while fake
            .events
            .lock()
            .iter()
            .filter(|event| *event == "call hang")
            .count()
            < 3
        {
            within(fake.entered.notified()).await;
        }
    }
    let own = call(&runtime, "crash", "").await.unwrap_err();
    let mut errors = vec![own];
    for call in pending {
        errors.push(call.await.unwrap().unwrap_err());
    }
    for error in errors {
        assert!(matches!(error, CallError::Crashed { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("\"goat\""), "{error}");
        assert!(
            error.contains("exited with code 2") && error.contains("panic: out of goats"),
            "{error}"
        );
    }
    until_status(&runtime, |status| status.last_error.is_some()).await;
    let failure = failure(&runtime, "goat");
    assert!(
        failure.contains("exited with code 2") && failure.contains("panic: out of goats"),
        "{failure}"
    );
    // A later one waits for the process that takes its place.
    assert_eq!(call(&runtime, "echo", "1").await.unwrap(), "1");
    let status = Arc::clone(runtime.snapshot().get("goat").unwrap());
    assert_eq!((status.generation, status.crashes), (2, 1));
    // The other one does not care.
    within(runtime.call("other", "echo", "1".into(), CallContext::new()))
        .await
        .unwrap();
    let logs = runtime
        .logs("goat", &LogQuery::all().min_level(LogLevel::Error))
        .unwrap();
    assert!(
        logs.iter().any(
            |entry| entry.source == LogSource::Stderr && entry.message == "panic: out of goats"
        )
    );
}

/// The clock advances only while no task is ready, so the test measures the waits in the code.
#[tokio::test(start_paused = true)]
async fn a_crash_fails_every_pending_call_within_100_ms() {
    for ending in ["crash", "disconnect"] {
        let (host, fake) = Host::new().with("goat", "", Fake::default());
        let (runtime, _root) = host.settled().await;
        let before = fake.events.lock().len();
        let mut pending = tokio::task::JoinSet::new();
        for _ in 0..63 {
            let runtime = runtime.clone();
            pending.spawn(async move { call(&runtime, "hang", "").await });
        }
        while fake.events.lock().len() < before + 63 {
            fake.entered.notified().await;
        }
        let start = tokio::time::Instant::now();
        call(&runtime, ending, "").await.unwrap_err();
        while let Some(failed) = pending.join_next().await {
            assert!(matches!(failed.unwrap(), Err(CallError::Crashed { .. })));
        }
        let took = start.elapsed();
        assert!(took <= Duration::from_millis(100), "{ending}: {took:?}");
    }
}

#[tokio::test]
async fn calls_that_timed_out_count_until_they_are_answered() {
    let (host, fake) = Host::new().with("goat", "call_timeout: 2s", Fake::default());
    let (runtime, _root) = host.settled().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..gk_runtime::limits::CALLS_IN_FLIGHT_MAX {
        let runtime = runtime.clone();
        // Calls made during another call do not wait for room.
        let context = CallContext::new().with_chain(Chain::new().then("kid".parse().unwrap(), "f"));
        calls.spawn(async move { runtime.call("goat", "wait", Bytes::new(), context).await });
    }
    while let Some(call) = calls.join_next().await {
        assert!(matches!(call.unwrap(), Err(CallError::Timeout { .. })));
    }
    let refused = call(&runtime, "echo", "").await;
    assert!(
        matches!(refused, Err(CallError::Busy { .. })),
        "{refused:?}"
    );
    // A single answer, however late, makes room.
    fake.release.notify_one();
    within(fake.late.notified()).await;
    within(async {
        while !matches!(call(&runtime, "echo", "1").await.as_deref(), Ok("1")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_connection_counts_as_a_crash() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let error = call(&runtime, "disconnect", "").await.unwrap_err();
    assert!(matches!(error, CallError::Crashed { .. }), "{error}");
    until_status(&runtime, |status| status.last_error.is_some()).await;
    // The process was still alive.
    assert!(fake.events.lock().contains(&"kill".to_owned()));
    assert!(
        !failure(&runtime, "goat").contains("SIGKILL"),
        "{}",
        failure(&runtime, "goat")
    );
}

#[tokio::test]
async fn a_bad_start_is_one_clear_error_and_others_run() {
    let registration = |change: fn(&mut Registration)| {
        let mut registration = Registration::default();
        change(&mut registration);
        Mutex::new(registration)
    };
    let cases: Vec<(&str, Fake, &[&str])> = vec![
        (
            "mismatch",
            Fake {
                registration: registration(|r| r.name = "sheep".into()),
                ..Fake::default()
            },
            &["registers as \"sheep\"", "make the two names equal"],
        ),
        (
            "too-new",
            Fake {
                registration: registration(|r| r.min_host_version = "3.0.0".into()),
                ..Fake::default()
            },
            &["3.0.0", "2.0.0", "update the host"],
        ),
        (
            "reg-fails",
            Fake {
                register: Does::Fails("no licence"),
                ..Fake::default()
            },
            &["GKRegister failed", "no licence"],
        ),
        (
            "reg-hangs",
            Fake {
                register: Does::Hangs,
                ..Fake::default()
            },
            &["GKRegister took longer than 3s"],
        ),
        (
            "reg-crashes",
            Fake {
                register: Does::Crashes,
                ..Fake::default()
            },
            &[
                "crashed during GKRegister",
                "exited with code 2",
                "out of goats",
            ],
        ),
        (
            "init-fails",
            Fake {
                init: Does::Fails("no pasture"),
                ..Fake::default()
            },
            &["Init failed", "no pasture", "mend the plugin"],
        ),
        (
            // The plugin cannot remedy a missing grant.
            "init-denied",
            Fake {
                init: Does::Fails("host: database write access not granted"),
                ..Fake::default()
            },
            &["not granted", "PUT /api/v1/plugins/init-denied/policy"],
        ),
        (
            "init-hangs",
            Fake {
                init: Does::Hangs,
                ..Fake::default()
            },
            &["Init took longer than 3s", "init_timeout"],
        ),
        (
            "init-crashes",
            Fake {
                init: Does::Crashes,
                ..Fake::default()
            },
            &["crashed during Init", "exited with code 2", "out of goats"],
        ),
        (
            "bad-routes",
            Fake {
                registration: registration(|r| r.routes.push(gk_manifest::RouteSpec::default())),
                ..Fake::default()
            },
            &["registration is not valid", "routes[0]"],
        ),
    ];
    let (mut host, _good) = Host::new().with("goat", "", Fake::default());
    let mut expected = Vec::new();
    for (name, fake, texts) in cases {
        // Only who hangs is meant to run into it, however busy the machine is.
        let resources = if matches!(fake.register, Does::Hangs) || matches!(fake.init, Does::Hangs)
        {
            "init_timeout: 3s"
        } else {
            "init_timeout: 100s"
        };
        let (next, fake) = host.with(name, resources, fake);
        host = next;
        expected.push((name, fake, texts));
    }
    let (runtime, _root) = host.settled().await;
    for (name, fake, texts) in expected {
        let error = failure(&runtime, name);
        assert!(
            error.starts_with(&format!("plugin \"{name}\": ")),
            "{error}"
        );
        for text in texts {
            assert!(error.contains(text), "{name}: {text:?} is not in: {error}");
        }
        assert!(
            fake.events.lock().contains(&"kill".to_owned()),
            "{name} was not killed"
        );
    }
    assert_eq!(call(&runtime, "echo", "1").await.unwrap(), "1");
    within(runtime.shutdown()).await;
}

#[tokio::test]
async fn stopping_finishes_running_calls_and_then_goes_in_order() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let running = tokio::spawn({
        let runtime = runtime.clone();
        async move { call(&runtime, "wait", "").await }
    });
    within(fake.entered.notified()).await;
    let stopping = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.shutdown().await }
    });
    until(&runtime, |state| *state == PluginState::Stopping).await;
    let refused = call(&runtime, "echo", "").await.unwrap_err();
    assert!(matches!(refused, CallError::NotRunning { .. }), "{refused}");
    assert!(!fake.events.lock().contains(&"shutdown".to_owned()));
    fake.release.notify_one();
    assert_eq!(running.await.unwrap().unwrap(), "late");
    within(stopping).await.unwrap();
    assert_eq!(
        *fake.events.lock(),
        ["call wait", "answered", "shutdown", "kill"]
    );
    assert_eq!(
        runtime.snapshot().get("goat").unwrap().state,
        PluginState::Stopped
    );
}

#[tokio::test]
async fn a_shutdown_that_hangs_is_cut_short() {
    let (host, fake) = Host::new().with(
        "goat",
        "shutdown_timeout: 2s",
        Fake {
            shutdown: Does::Hangs,
            ..Fake::default()
        },
    );
    let (runtime, _root) = host.settled().await;
    within(runtime.shutdown()).await;
    assert!(
        fake.events
            .lock()
            .ends_with(&["shutdown".to_owned(), "kill".to_owned()])
    );
    let logs = runtime
        .logs("goat", &LogQuery::all().min_level(LogLevel::Warn))
        .unwrap();
    assert!(
        logs.iter()
            .any(|entry| entry.message.contains("Shutdown took longer than 2s")),
        "{logs:?}"
    );
}

#[tokio::test]
async fn limits_of_a_call() {
    let (host, _fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let args = vec![0; gk_runtime::limits::ARGS_BYTES_MAX + 1];
    let error = within(runtime.call("goat", "echo", args.into(), CallContext::new()))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::ArgsTooLarge { .. }), "{error}");
    for name in ["", &"f".repeat(257)] {
        assert!(matches!(
            call(&runtime, name, "").await,
            Err(CallError::FunctionName { .. })
        ));
    }
    let error = call(&runtime, "big", "").await.unwrap_err();
    assert!(matches!(error, CallError::ResultTooLarge { .. }), "{error}");
    assert_eq!(
        call(&runtime, "echo", "still there").await.unwrap(),
        "still there"
    );
}

#[tokio::test]
async fn host_calls_belong_to_the_call_they_name() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let logged = call(
        &runtime,
        "host",
        r#"{"method":"log","args":{"level":"info","message":"bleat","fields":{"n":1}}}"#,
    )
    .await
    .unwrap();
    assert_eq!(logged, r#"{"ok":true}"#);
    let logs = runtime.logs("goat", &LogQuery::all()).unwrap();
    assert!(
        logs.iter()
            .any(|entry| entry.source == LogSource::HostApi && entry.message == "bleat"),
        "{logs:?}"
    );

    let finished = call(&runtime, "token", "").await.unwrap();
    assert_eq!(finished.len(), 32);
    let stale = call(
        &runtime,
        "host",
        &format!(r#"{{"method":"log","args":{{}},"token":"{finished}"}}"#),
    )
    .await
    .unwrap_err();
    assert!(
        stale
            .to_string()
            .contains("unknown or finished call context"),
        "{stale}"
    );
    // Outside of any call it is allowed too.
    let api = fake.host.lock().clone().unwrap();
    let args = r#"{"message":"by itself"}"#;
    assert!(within(api.call("log", args.into(), "")).await.is_ok());
}

#[tokio::test]
async fn all_four_outputs_reach_the_log() {
    let (host, fake) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    let mut connection = fake.connection.lock().take().unwrap();
    let (mut stdout, mut stderr) = within(connection.take_stdio()).await.unwrap();
    stdout.write_all(b"through stream 2\n").await.unwrap();
    stderr
        .write_all(b"[WARN] through stream 3\n")
        .await
        .unwrap();
    let mut pipe = fake.stderr.lock().take().unwrap();
    pipe.write_all(b"{\"@level\":\"info\",\"@message\":\"hclog\",\"k\":true}\n")
        .await
        .unwrap();
    let expected = [
        (LogSource::Stdout, LogLevel::Info, "after the handshake"),
        (LogSource::Stdout, LogLevel::Info, "through stream 2"),
        (LogSource::Stderr, LogLevel::Warn, "through stream 3"),
        (LogSource::Stderr, LogLevel::Info, "hclog"),
    ];
    let seen = |runtime: &Runtime| {
        let logs = runtime.logs("goat", &LogQuery::all()).unwrap();
        expected.iter().all(|(source, level, message)| {
            logs.iter().any(|entry| {
                entry.source == *source && entry.level == *level && entry.message == *message
            })
        })
    };
    within(async {
        while !seen(&runtime) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_policy_says_wins_over_what_the_plugin_asks_for() {
    let asks = "call_timeout: 7s, init_timeout: 8s, memory_mb: 100, permissions: [{type: http}]";
    let ruling = Arc::new(Ruling::default());
    let (host, _) = Host::new().with("goat", asks, Fake::default());
    let started = Arc::clone(&host.launcher.started);
    let (runtime, _root) = host.start_ruled(Arc::clone(&ruling) as _).unwrap();
    within(runtime.settled()).await;
    let timeouts = runtime.snapshot().get("goat").unwrap().timeouts;
    let seconds = Duration::from_secs;
    assert_eq!((timeouts.call, timeouts.init), (seconds(7), seconds(8)));
    // Permission for http requests does not imply network access.
    assert_eq!(*started.lock(), [(false, 100 << 20)]);

    let mut limits = PluginLimits::default();
    limits.init_timeout = Some(seconds(3));
    limits.memory_bytes = Some(64 << 20);
    limits.network = true;
    *ruling.limits.lock() = limits;
    let (host, _) = Host::new().with("goat", asks, Fake::default());
    let started = Arc::clone(&host.launcher.started);
    let (ruled, _root) = host.start_ruled(Arc::clone(&ruling) as _).unwrap();
    within(ruled.settled()).await;
    let timeouts = ruled.snapshot().get("goat").unwrap().timeouts;
    assert_eq!((timeouts.call, timeouts.init), (seconds(7), seconds(3)));
    assert_eq!(*started.lock(), [(true, 64 << 20)]);

    // The next call has what the policy says by then, within the host's limits.
    let hang = || runtime.call("goat", "hang", "".into(), CallContext::new());
    *ruling.call_timeout.lock() = Some(Duration::from_nanos(1));
    match within(hang()).await.unwrap_err() {
        CallError::Timeout { after, .. } => assert_eq!(after, gk_runtime::limits::TIMEOUT_MIN),
        other => panic!("{other}"),
    }
    *ruling.call_timeout.lock() = Some(seconds(1_000_000));
    let context = CallContext::new().with_timeout(Duration::from_millis(20));
    let error = within(runtime.call("goat", "hang", "".into(), context)).await;
    assert!(matches!(error, Err(CallError::Timeout { after, .. }) if after.as_millis() == 20));
    *ruling.call_timeout.lock() = None;
    assert_eq!(call(&runtime, "echo", "1").await.unwrap(), "1");
}
