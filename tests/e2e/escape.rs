//! The attacker in the real host: what it gets, attack by attack, where the host is root and where it is not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::attacks::Outside;
use crate::host::{Host, Setup};
use crate::users::{self, HOSTS, User};

/// How attacks end: (`open`, `blocked`, …), by their ids.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// How one attack ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) outcome: String,
    pub(crate) detail: String,
}

/// How many copies of the attacker a host gets. At most the bombs end one each.
const COPIES: u32 = 12;

/// How often an attack that hangs is made.
const TRIES: u32 = 3;

/// A host that attacks are made in.
pub(crate) struct Attacked {
    pub(crate) host: Host,
    /// Copies of the attacker that are alive: a limit of memory ends one with its attack.
    plugins: RefCell<Vec<String>>,
    outside: Outside,
    params: Value,
    _leaked: std::os::fd::OwnedFd,
}

impl Attacked {
    /// `without` are the layers that are off.
    pub(crate) fn start(user: User, without: &[&str]) -> Self {
        Self::on(Setup::of(user), user, without)
    }

    /// On a machine that has none, and no root.
    pub(crate) fn start_without_user_namespaces() -> Self {
        let user = User::Unprivileged;
        Self::on(Setup::of(user).without_user_namespaces(), user, &[])
    }

    fn on(setup: Setup, user: User, without: &[&str]) -> Self {
        // Temporary directories go by the plugins' names.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let plugins: Vec<String> = (0..COPIES)
            .map(|copy| format!("escape-{}-{number}-{copy}", std::process::id()))
            .collect();
        let list: Vec<String> = without.iter().map(|layer| format!("{layer:?}")).collect();
        let config = format!(
            "[sandbox]\nwithout = [{}]\nprocesses = 128\nopen_files = 256\ntemp_mb = 64\n",
            list.join(", ")
        );
        let mut setup = setup
            .file("host.toml", &config)
            .plugin("neighbour", "gen3")
            .argument("--config");
        for plugin in &plugins {
            setup = setup.plugin_with(plugin, "escape", "call_timeout: 45s\nmemory_mb: 128");
        }
        let config = setup.path("host.toml");
        let leaked = users::leak();
        let host = setup.argument(config).settled();
        // Without one, who reads the list of keys finds nothing, and whether he may is not seen.
        let running = plugins
            .iter()
            .map(|plugin| host.plugin(plugin)["pid"].as_u64());
        let users: BTreeSet<u32> = running.flatten().map(users::of_process).collect();
        users.into_iter().for_each(users::plant_key);
        let outside = Outside::of(user);
        let mut params = outside.params.clone();
        params["other_plugin_dir"] = json!(host.path("plugins/neighbour"));
        // Beyond each limit, and not by much: what is let through must not take the machine with it.
        params["processes"] = json!(256);
        params["threads"] = json!(256);
        params["descriptors"] = json!(1024);
        params["bytes"] = json!(256 << 20);
        params["lines"] = json!(500);
        if without.is_empty() {
            // No bomb is meant to go off: on a busy machine a watchdog takes its time to see one.
            params["held_ms"] = json!(5000);
        }
        Self {
            host,
            plugins: RefCell::new(plugins),
            outside,
            params,
            _leaked: leaked,
        }
    }

    /// Makes every attack, each in a call of its own, as some end their plugin.
    pub(crate) fn attack(&self) -> Outcomes {
        let list = self.host.function(&self.plugin(), "attacks", &json!({}));
        let list = list.expect(200).json();
        let attacks = list.as_array().unwrap();
        let mut outcomes = Outcomes::new();
        for attack in attacks {
            let id = attack["id"].as_str().unwrap();
            let (outcome, detail) = self.one(id);
            let known = ["open", "blocked", "contained", "not applicable"];
            assert!(
                known.contains(&outcome.as_str()),
                "{id}: {outcome} {detail}"
            );
            let name = attack["name"].as_str().unwrap().to_owned();
            outcomes.insert(
                id.to_owned(),
                Outcome {
                    name,
                    outcome,
                    detail,
                },
            );
        }
        outcomes
    }

    /// Whether the attacker has come up at all. One copy may fail to on a machine that is very busy; why it did is
    /// printed.
    pub(crate) fn runs(&self) -> bool {
        self.plugins.borrow_mut().retain(|plugin| {
            let entry = self.host.plugin(plugin);
            let runs = entry["state"] == "running";
            if !runs {
                eprintln!("{plugin} does not run: {}", entry["error"]);
            }
            runs
        });
        !self.plugins.borrow().is_empty()
    }

    /// The report on its layers.
    pub(crate) fn sandbox(&self) -> Value {
        self.host.plugin(&self.plugin())["sandbox"]["layers"].clone()
    }

    fn plugin(&self) -> String {
        let plugins = self.plugins.borrow();
        plugins
            .last()
            .expect("a copy of the attacker is alive")
            .clone()
    }

    fn one(&self, id: &str) -> (String, String) {
        let request = json!({ "ids": [id], "params": self.params });
        for _ in 0..TRIES {
            let plugin = self.plugin();
            let reply = self.host.function(&plugin, "attack", &request);
            if reply.status == 200 {
                let result = &reply.json()[0];
                let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
                return (text("outcome"), text("detail"));
            }
            // It took its plugin with it, which the host does not start again; or it hangs, as forks of a process with
            // threads do now and then, and another copy tries.
            let error = reply.error();
            self.plugins.borrow_mut().pop();
            if reply.status != 504 {
                assert_eq!(reply.status, 502, "{id}: {error}");
                return ("contained".to_owned(), error.replace(&plugin, "the plugin"));
            }
        }
        panic!("{id} hangs whenever it is tried");
    }

    /// What the victim noticed; the host has to be well.
    pub(crate) fn end(self) -> Value {
        self.is_well();
        let (family, root) = self.host.family("neighbour");
        self.host.stop(family, &root);
        self.outside.end()
    }

    /// Where layers are off, what an attack has started outlives its host, and is ended here.
    pub(crate) fn end_with_all(mut self) {
        self.is_well();
        let (family, _) = self.host.family("neighbour");
        self.host.signal(Signal::TERM);
        assert!(self.host.wait().success());
        family.end();
        self.outside.end();
    }

    fn is_well(&self) {
        let echo = self.host.function("neighbour", "echo", &json!({}));
        echo.expect(200);
    }
}

/// As numbers first, so that 9a comes before 10a.
pub(crate) fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().collect();
    ids.sort_by_key(|id| {
        let digits = id.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        (digits.parse::<u32>().unwrap(), id.clone())
    });
    ids
}

/// Attacks whose outcome depends on the moment (how far a bomb comes before it is noticed) or on the machine (its network,
/// its services, whether its process 1 can be looked into, whether a signal of Go's scheduler comes while the kernel reads
/// a program for bpf, which it then gives up) as long as something holds them: with all layers on, they are
/// never open all the same.
pub(crate) const UNSTEADY: &[&str] = &[
    "4a", "4b", "4c", "4d", "6a", "6b", "7b", "8c", "8e", "16a", "17b", "25b", "25d", "25e", "28c",
    "31g", "32a", "36a", "36b", "38a", "38b", "38c", "38d", "38e", "38f",
];

/// A file that a test compares with what it finds, line by line as `steady` makes them, and writes with `GK_BLESS=1`.
#[track_caller]
pub(crate) fn golden(path: &str, found: &str, what: &str, steady: impl Fn(&str) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("GK_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| {
        let lines = text.lines().map(&steady);
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let (expected, found) = (lines(&expected), lines(found));
    let missing: Vec<_> = expected
        .iter()
        .filter(|line| !found.contains(line))
        .collect();
    let new: Vec<_> = found
        .iter()
        .filter(|line| !expected.contains(line))
        .collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "{what} {} is not what was found; if it ought to change, GK_BLESS=1 writes it.\nexpected: {missing:#?}\nfound: {new:#?}",
        path.display()
    );
}

#[test]
fn the_sandbox_stops_every_attack_of_the_list() {
    let found: Vec<(Outcomes, Value)> = std::thread::scope(|scope| {
        let running = HOSTS.map(|user| {
            scope.spawn(move || {
                let attacked = Attacked::start(user, &[]);
                let outcomes = attacked.attack();
                (outcomes, attacked.end())
            })
        });
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut table = String::from("id\troot\tuser\tattack\n");
    let mut counts = [BTreeMap::new(), BTreeMap::new()];
    let mut open = Vec::new();
    for id in sorted(found[0].0.keys().cloned()) {
        let row: Vec<&Outcome> = found.iter().map(|(outcomes, _)| &outcomes[&id]).collect();
        for ((outcome, counts), user) in row.iter().zip(&mut counts).zip(HOSTS) {
            *counts.entry(outcome.outcome.clone()).or_insert(0) += 1;
            println!(
                "{:5} {:5} {:14} {}: {}",
                user.name(),
                id,
                outcome.outcome,
                outcome.name,
                outcome.detail
            );
            if outcome.outcome == "open" {
                open.push(format!(
                    "{} {id} {}: {}",
                    user.name(),
                    outcome.name,
                    outcome.detail
                ));
            }
        }
        writeln!(
            table,
            "{id}\t{}\t{}\t{}",
            row[0].outcome, row[1].outcome, row[0].name
        )
        .unwrap();
    }
    println!(
        "as root: {:?}; as a user without rights: {:?}",
        counts[0], counts[1]
    );
    for ((_, seen), user) in found.iter().zip(HOSTS) {
        println!("{}: the victim saw {seen}", user.name());
    }
    assert!(
        open.is_empty(),
        "{} attacks are open:\n{}",
        open.len(),
        open.join("\n")
    );
    for item in 1..=42 {
        let number = |id: &str| {
            id.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) == item.to_string()
        };
        assert!(
            found[0].0.keys().any(|id| number(id)),
            "no attack has the number {item}"
        );
    }
    // The victim agrees: nothing reached it.
    for (_, seen) in &found {
        for what in ["signals", "tcp", "udp", "unix", "abstract"] {
            assert_eq!(seen[what], 0, "{what}: {seen}");
        }
        assert_eq!(seen["changed"], json!([]), "{seen}");
    }
    golden("e2e/escape.tsv", &table, "the table", |line| {
        let id = line.split('\t').next().unwrap_or_default();
        if UNSTEADY.contains(&id) {
            line.replace("contained", "blocked")
        } else {
            line.to_owned()
        }
    });
}
