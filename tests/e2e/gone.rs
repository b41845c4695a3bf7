//! A host that ends leaves nothing behind, however it ends.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::host::{Host, Setup};
use crate::processes::{self, Watched};
use crate::users::{HOSTS, User};

/// How soon nothing may be left of a host that was killed: what is promised. It takes a fraction of it.
const SOON: Duration = Duration::from_secs(2);

/// All that a host is on this machine.
struct Traces {
    processes: Watched,
    keeper: u32,
    sockets: PathBuf,
    plugins: Vec<String>,
}

fn started(user: User) -> (Host, Vec<String>) {
    let plugins: Vec<String> = (0..4)
        .map(|number| format!("load-{}-{}-{number}", user.name(), std::process::id()))
        .collect();
    let mut setup = Setup::of(user);
    for plugin in &plugins {
        setup = setup.plugin_with(plugin, "escape", "call_timeout: 1m");
    }
    (setup.settled(), plugins)
}

impl Traces {
    fn of(host: &Host, plugins: Vec<String>) -> Self {
        let all = processes::descendants(host.pid());
        let keeper = processes::keeper(host.pid());
        // The keeper, and for each plugin its first process, itself and its daemon.
        assert!(all.len() > 3 * plugins.len(), "{all:?}");
        let sockets = processes::socket_root(host.plugin_pid(&plugins[0]));
        let traces = Self {
            processes: Watched::these(all),
            keeper,
            sockets,
            plugins,
        };
        assert!(traces.sockets.exists());
        traces
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        processes::cgroups(self.keeper)
    }

    #[track_caller]
    fn expect_gone(self) {
        let started = Instant::now();
        let cgroups = || processes::cgroups(self.keeper);
        self.processes.expect_end();
        let took = started.elapsed();
        // The keeper ends last, so now there is nothing to wait for.
        assert!(took < SOON, "{took:?}");
        assert_eq!(cgroups(), Vec::<PathBuf>::new());
        assert!(!self.sockets.exists(), "{}", self.sockets.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for plugin in &self.plugins {
            assert!(!mounts.contains(plugin.as_str()), "{mounts}");
        }
    }
}

/// Calls that are under way when the host ends: each plugin has a daemon, and bombs whose processes live for a while.
fn under_load(user: User, end: impl FnOnce(&mut Host)) {
    let (mut host, plugins) = started(user);
    for plugin in &plugins {
        let daemon = json!({ "ids": ["39a"] });
        let result = host.function(plugin, "attack", &daemon).expect(200).json();
        assert!(
            ["open", "contained"].contains(&result[0]["outcome"].as_str().unwrap()),
            "{result}"
        );
    }
    let traces = Traces::of(&host, plugins.clone());
    if user == User::Root {
        assert!(
            !traces.cgroups().is_empty(),
            "a host that is root has control groups"
        );
    }
    let calls: Vec<_> = plugins
        .iter()
        .map(|plugin| {
            let path = format!("/api/v1/plugins/{plugin}/call/attack");
            let request = json!({ "ids": ["38f", "36a", "38f"], "params": { "bytes": 64 << 20, "processes": 100 } });
            let call = host.admin_owned(&path, &request);
            std::thread::spawn(call)
        })
        .collect();
    // Until the calls have come to their plugins: each starts processes then.
    let before = traces.processes.len();
    crate::eventually("processes of the calls", || {
        (processes::descendants(host.pid()).len() > before + plugins.len()).then_some(())
    });
    let more = Watched::these(processes::descendants(host.pid()));
    end(&mut host);
    traces.expect_gone();
    more.expect_end();
    for call in calls {
        call.join().unwrap();
    }
}

#[test]
fn a_killed_host_leaves_nothing() {
    for user in HOSTS {
        under_load(user, Host::kill);
    }
}

#[test]
fn a_stopped_host_leaves_nothing() {
    for user in HOSTS {
        under_load(user, |host| {
            host.signal(Signal::TERM);
            assert!(host.wait().success());
        });
    }
}
