//! Real processes that misbehave: each gives one clear error, and the others are not affected. The
//! plugins are shell scripts; tests with a peer that speaks the protocol are in `in_memory.rs`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gk_runtime::{
    CallContext, CallError, LogQuery, LogSource, PluginState, Runtime, RuntimeConfig,
};

/// Maximum time of any wait here; far more than needed, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["plugins", "data", "tmp"] {
            std::fs::create_dir(root.path().join(dir)).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn plugin(self, name: &str, script: &str) -> Self {
        self.file(
            name,
            "plugin.yaml",
            &format!("name: {name}\nversion: 1.0.0\nruntime: grpc\n"),
            0o644,
        )
        .file(name, name, &format!("#!/bin/sh\n{script}\n"), 0o755)
    }

    fn file(self, plugin: &str, name: &str, content: &str, mode: u32) -> Self {
        let dir = self.path("plugins").join(plugin);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), content).unwrap();
        std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    fn config(&self) -> RuntimeConfig {
        let mut config = RuntimeConfig::new(self.path("plugins"), self.path("data"), "1.0.0");
        config.temp_dir = self.path("tmp");
        config
    }

    fn start(&self) -> Runtime {
        Runtime::start(self.config()).unwrap()
    }

    /// Starts everything, waits until it has settled.
    async fn settled(&self) -> Runtime {
        let runtime = self.start();
        within(runtime.settled()).await;
        runtime
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("nothing may hang")
}

fn error(runtime: &Runtime, plugin: &str) -> String {
    let snapshot = runtime.snapshot();
    let status = snapshot
        .get(plugin)
        .unwrap_or_else(|| panic!("{plugin} is not there"));
    match status.last_error.as_deref().or(status.state.error()) {
        Some(error) => error.to_owned(),
        None => panic!("{plugin} is {}", status.state),
    }
}

/// Waits until it has failed, whether it is started again by then or not.
async fn until_failed(runtime: &Runtime, plugin: &str) {
    let mut changed = runtime.changed();
    within(async {
        while runtime.snapshot().get(plugin).unwrap().last_error.is_none() {
            changed.changed().await.unwrap();
        }
    })
    .await;
}

/// The script of a plugin that prints `line` (expanded by the shell) and then hangs.
fn prints(line: &str) -> String {
    format!("echo \"{line}\"; exec sleep 1000")
}

async fn fails_with(script: &str, expected: &[&str]) {
    let host = Host::new().plugin("bad", script);
    let runtime = host.settled().await;
    let error = error(&runtime, "bad");
    assert!(error.starts_with("plugin \"bad\": "), "{error}");
    for expected in expected {
        assert!(error.contains(expected), "{expected:?} is not in: {error}");
    }
    within(runtime.shutdown()).await;
}

#[tokio::test]
async fn a_banner_is_shown_and_told_from_a_handshake() {
    fails_with(
        &prints("Welcome to my plugin!"),
        &[
            "Welcome to my plugin!",
            "1|1|unix|<socket>|netrpc|",
            "stderr",
        ],
    )
    .await;
    fails_with(&prints(""), &["handshake"]).await;
}

#[tokio::test]
async fn no_handshake_shows_the_exit_code_and_stderr() {
    fails_with(
        "echo oops >&2; exit 3",
        &["printed nothing", "exited with code 3", "oops"],
    )
    .await;
    fails_with("echo half; kill -9 $$", &["half", "SIGKILL"]).await;
    fails_with(
        "echo 'This binary is a plugin. These are not meant to be executed directly.' >&2; exit 1",
        &["GOATKIT_PLUGIN=goatkit-v1"],
    )
    .await;
}

#[tokio::test]
async fn an_endless_first_line_is_refused() {
    fails_with(
        "exec tr '\\0' x < /dev/zero",
        &["longer than", "xxxx", "and more"],
    )
    .await;
}

#[tokio::test]
async fn a_handshake_that_leads_elsewhere_is_refused() {
    fails_with(&prints("1|1|tcp|127.0.0.1:10000|netrpc|"), &["TCP"]).await;
    fails_with(
        &prints("1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/../other|netrpc|"),
        &["directly in neither PLUGIN_UNIX_SOCKET_DIR"],
    )
    .await;
    fails_with(
        &prints("1|1|unix|/run/docker.sock|netrpc|"),
        &["/run/docker.sock", "directly in neither"],
    )
    .await;
    fails_with(
        &prints("1|7|unix|$PLUGIN_UNIX_SOCKET_DIR/s|netrpc|"),
        &["version 7"],
    )
    .await;
    fails_with(
        &prints("1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|grpc|"),
        &["gRPC"],
    )
    .await;
    fails_with(
        &prints("1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/absent|netrpc|"),
        &["absent", "cannot be opened"],
    )
    .await;
    fails_with(
        &format!(
            "ln -s /run/x $PLUGIN_UNIX_SOCKET_DIR/s; {}",
            prints("1|1|unix|$PLUGIN_UNIX_SOCKET_DIR/s|netrpc|")
        ),
        &["symbolic link"],
    )
    .await;
}

#[tokio::test]
async fn a_start_that_hangs_is_ended() {
    let host = Host::new().plugin("slow", "printf 'not yet'; sleep 1000 & exec sleep 1000");
    let mut config = host.config();
    // Long enough for the shell to print.
    config.start_timeout = Duration::from_secs(5);
    let runtime = Runtime::start(config).unwrap();
    within(runtime.settled()).await;
    let error = error(&runtime, "slow");
    assert!(
        error.contains("took longer than 5s") && error.contains("not yet"),
        "{error}"
    );
}

#[tokio::test]
async fn binaries_that_cannot_be_executed_say_why() {
    let manifest = |name: &str| format!("name: {name}\nversion: 1.0.0\nruntime: grpc\n");
    let host = Host::new()
        .file("absent", "plugin.yaml", &manifest("absent"), 0o644)
        .file("plain", "plugin.yaml", &manifest("plain"), 0o644)
        .file("plain", "plain", "#!/bin/sh\n", 0o644)
        .file("text", "plugin.yaml", &manifest("text"), 0o644)
        .file("text", "text", "no program\n", 0o755)
        .file("interp", "plugin.yaml", &manifest("interp"), 0o644)
        .file("interp", "interp", "#!/no/such/interpreter\n", 0o755)
        .file("yaml", "plugin.yaml", "name: [", 0o644);
    let runtime = host.settled().await;
    for (plugin, expected) in [
        ("absent", "does not exist"),
        ("plain", "chmod +x"),
        ("text", "not an executable for this machine"),
        ("interp", "/no/such/interpreter"),
        ("yaml", "plugin.yaml"),
    ] {
        let error = error(&runtime, plugin);
        assert!(
            error.contains(expected) && error.contains(&format!("\"{plugin}\"")),
            "{error}"
        );
    }
    let refused = runtime
        .call("absent", "f", "{}".into(), CallContext::new())
        .await
        .unwrap_err();
    assert!(matches!(refused, CallError::NotRunning { .. }), "{refused}");
    assert!(refused.to_string().contains("does not exist"), "{refused}");
    let unknown = runtime
        .call("nobody", "f", "{}".into(), CallContext::new())
        .await
        .unwrap_err();
    assert!(
        matches!(unknown, CallError::UnknownPlugin { .. }),
        "{unknown}"
    );
}

#[tokio::test]
async fn many_hanging_plugins_do_not_keep_another_from_its_turn() {
    let mut host = Host::new();
    for number in 0..20 {
        host = host.plugin(&format!("hang-{number}"), "exec sleep 1000");
    }
    let host = host.plugin("zz-quick", "exit 4");
    let runtime = host.start();
    until_failed(&runtime, "zz-quick").await;
    assert!(error(&runtime, "zz-quick").contains("code 4"));
    within(runtime.shutdown()).await;
    let snapshot = runtime.snapshot();
    assert!(
        snapshot
            .plugins
            .iter()
            .filter(|status| status.state == PluginState::Stopped)
            .count()
            == 20
    );
}

#[tokio::test]
async fn the_environment_is_minimal_and_private() {
    // `env` is a child of the script's shell, which adds PWD, OLDPWD, SHLVL and _ by itself.
    let host = Host::new().plugin("env", "env | sed 's/^/E /' >&2; echo \"D $(pwd)\" >&2; stat -c 'M %a' \"$HOME\" \"$PLUGIN_UNIX_SOCKET_DIR\" . >&2; exit 1");
    let mut config = host.config();
    config.timezone = Some("Europe/Berlin".into());
    config.variables = vec![
        ("GOATFLOW_PLUGIN_ENV_SECRET".into(), "s3cret".into()),
        ("LEAK".into(), "1".into()),
    ];
    let runtime = Runtime::start(config).unwrap();
    within(runtime.settled()).await;
    let logs = runtime.logs("env", &LogQuery::all()).unwrap();
    let printed: Vec<&str> = logs
        .iter()
        .filter(|entry| entry.source == LogSource::Stderr)
        .map(|entry| entry.message.as_str())
        .collect();
    let mut names: Vec<&str> = printed
        .iter()
        .filter_map(|line| line.strip_prefix("E ")?.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "GOATFLOW_NO_NETWORK",
            "GOATKIT_PLUGIN",
            "HOME",
            "PATH",
            "PLUGIN_MAX_PORT",
            "PLUGIN_MIN_PORT",
            "PLUGIN_PROTOCOL_VERSIONS",
            "PLUGIN_UNIX_SOCKET_DIR",
            "TMPDIR",
            "TZ"
        ]
    );
    let home = host
        .path("tmp")
        .canonicalize()
        .unwrap()
        .join("goatflow-plugin-env");
    assert!(
        printed.contains(&format!("E HOME={}", home.display()).as_str()),
        "{printed:?}"
    );
    assert!(
        printed.contains(
            &format!(
                "D {}",
                host.path("data")
                    .canonicalize()
                    .unwrap()
                    .join("plugins/env")
                    .display()
            )
            .as_str()
        ),
        "{printed:?}"
    );
    assert_eq!(
        printed.iter().filter(|line| **line == "M 700").count(),
        3,
        "{printed:?}"
    );
}

#[tokio::test]
async fn stopping_leaves_nothing_behind() {
    // Neither plugin answers anything; one ignores signals and has a grandchild on its stdout.
    let fifo_dir = tempfile::tempdir().unwrap();
    let fifo = fifo_dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut alive = tokio::net::unix::pipe::OpenOptions::new()
        .open_receiver(&fifo)
        .unwrap();
    let host = Host::new().plugin(
        "stubborn",
        &format!(
            "trap '' TERM INT HUP; exec 3>'{}'; sleep 1000 & echo up >&3; wait",
            fifo.display()
        ),
    );
    let runtime = host.start();
    let mut up = [0; 3];
    within(tokio::io::AsyncReadExt::read_exact(&mut alive, &mut up))
        .await
        .unwrap();
    within(runtime.shutdown()).await;
    within(runtime.shutdown()).await;
    // The pipe was held by both processes: its end means that they are gone.
    assert_eq!(
        within(tokio::io::AsyncReadExt::read(&mut alive, &mut up))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        runtime.snapshot().get("stubborn").unwrap().state,
        PluginState::Stopped
    );
    drop(runtime);
    assert_eq!(left(&host.path("tmp")), Vec::<String>::new());
}

#[tokio::test]
async fn dropping_the_runtime_ends_the_plugins() {
    let fifo_dir = tempfile::tempdir().unwrap();
    let fifo = fifo_dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut alive = tokio::net::unix::pipe::OpenOptions::new()
        .open_receiver(&fifo)
        .unwrap();
    let host = Host::new().plugin(
        "p",
        &format!("exec 3>'{}'; echo up >&3; exec sleep 1000", fifo.display()),
    );
    let runtime = host.start();
    let mut up = [0; 3];
    within(tokio::io::AsyncReadExt::read_exact(&mut alive, &mut up))
        .await
        .unwrap();
    drop(runtime);
    assert_eq!(
        within(tokio::io::AsyncReadExt::read(&mut alive, &mut up))
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_blocks_nothing() {
    // The grandchild leaves the session, so that no group kill reaches it; it ends with this test's
    // directory.
    let host = Host::new().plugin(
        "p",
        "setsid sh -c 'while test -d /proc/self && test -e \"$HOME\"; do sleep 0.1; done' & exit 5",
    );
    let runtime = host.settled().await;
    assert!(
        error(&runtime, "p").contains("code 5"),
        "{}",
        error(&runtime, "p")
    );
    within(runtime.shutdown()).await;
}

#[tokio::test]
async fn a_flood_on_stderr_is_bounded_and_drained() {
    let host = Host::new().plugin("flood", "head -c 4000000 /dev/zero | tr '\\0' y >&2; i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 6");
    let runtime = host.settled().await;
    assert!(error(&runtime, "flood").contains("code 6"));
    assert!(
        error(&runtime, "flood").contains("line 2999"),
        "{}",
        error(&runtime, "flood")
    );
    let logs = runtime.logs("flood", &LogQuery::all()).unwrap();
    assert!(logs.len() <= gk_runtime::limits::LOG_RING_ENTRIES);
    assert!(
        logs.iter().map(|entry| entry.message.len()).sum::<usize>()
            <= gk_runtime::limits::LOG_RING_BYTES
    );
}

fn left(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The example plugin, which `cargo test` builds beside this test.
fn goat() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let goat = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/goat");
    assert!(
        goat.exists(),
        "{} is missing; run: cargo build -p gk-runtime --example goat",
        goat.display()
    );
    goat
}

impl Host {
    fn with_goat(self) -> Self {
        let dir = self.path("plugins").join("goat");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(goat(), dir.join("goat")).unwrap();
        std::fs::write(
            dir.join("plugin.yaml"),
            "name: goat\nversion: 1.0.0\nruntime: grpc\n",
        )
        .unwrap();
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_plugin_runs_beside_bad_ones_and_exits_by_itself() {
    let host = Host::new()
        .with_goat()
        .plugin("bad", "echo nonsense; exec sleep 1000");
    let runtime = host.settled().await;
    assert_eq!(
        runtime.snapshot().get("goat").unwrap().state,
        PluginState::Running
    );
    let pid = within(runtime.call("goat", "pid", "".into(), CallContext::new()))
        .await
        .unwrap();
    assert_eq!(
        runtime
            .snapshot()
            .get("goat")
            .unwrap()
            .pid
            .unwrap()
            .to_string()
            .as_bytes(),
        pid
    );
    let calls: Vec<_> = (0..64)
        .map(|number: u32| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    let args = format!("{number} {round}");
                    assert_eq!(
                        runtime
                            .call("goat", "echo", args.clone().into(), CallContext::new())
                            .await
                            .unwrap(),
                        args
                    );
                }
            })
        })
        .collect();
    for call in calls {
        within(call).await.unwrap();
    }
    within(runtime.ping("goat")).await.unwrap();
    within(runtime.shutdown()).await;
    let logs = runtime
        .logs(
            "goat",
            &LogQuery::all().min_level(gk_runtime::LogLevel::Warn),
        )
        .unwrap();
    // The warning that it is not signed is the only one, and is logged once.
    let [unsigned] = logs.as_slice() else {
        panic!("stopping was not clean: {logs:?}");
    };
    assert!(
        unsigned.message.contains("if signatures were required"),
        "{unsigned:?}"
    );
    drop(runtime);
    assert_eq!(left(&host.path("tmp")), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_fails_its_calls_with_the_signal() {
    let host = Host::new().with_goat();
    let runtime = host.settled().await;
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                runtime
                    .call("goat", "hang", "".into(), CallContext::new())
                    .await
            })
        })
        .collect();
    within(runtime.call("goat", "echo", "".into(), CallContext::new()))
        .await
        .unwrap();
    let pid = i32::try_from(runtime.snapshot().get("goat").unwrap().pid.unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    for call in calls {
        let error = within(call).await.unwrap().unwrap_err();
        // A call that had not been admitted yet finds the plugin gone.
        assert!(
            matches!(
                error,
                CallError::Crashed { .. } | CallError::NotRunning { .. }
            ),
            "{error}"
        );
        // A call waits for the report only for a moment, which may pass on a busy machine before
        // the report is complete.
        let error = error.to_string();
        assert!(
            error.contains("SIGKILL") || error.contains("the peer closed the connection"),
            "{error}"
        );
    }
    until_failed(&runtime, "goat").await;
    assert!(error(&runtime, "goat").contains("SIGKILL"));
}

#[tokio::test]
async fn a_plugin_cannot_lend_its_name_to_another() {
    let host = Host::new().with_goat();
    let dir = host.path("plugins");
    std::fs::rename(dir.join("goat"), dir.join("sheep")).unwrap();
    std::fs::write(
        dir.join("sheep/plugin.yaml"),
        "name: sheep\nversion: 1.0.0\nruntime: grpc\nbinary: goat\n",
    )
    .unwrap();
    let runtime = host.settled().await;
    assert!(
        error(&runtime, "sheep").contains("registers as \"goat\""),
        "{}",
        error(&runtime, "sheep")
    );
}
