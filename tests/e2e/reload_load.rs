//! Reloads while callers go on: none of them may notice but by the version, and nothing is left of what was replaced.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::eventually;
use crate::goat::{
    built, built_from, generation, goat_in, manifest, version, wait_for, write_package,
    write_program,
};
use crate::host::{Host, Setup};
use crate::host_api::Events;
use crate::processes::{cgroups, descendants, keeper};

/// How a new version comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// `cp`: the program that runs is written over.
    Copy,
    /// `mv` of a new one over it.
    Rename,
    /// The manifest names another program, which was there before.
    Manifest,
    /// It is asked for, with `force`, and not looked for.
    Force,
    /// As [`By::Rename`]; the program is built in Go and in Rust in turn.
    Languages,
    /// Its policy sets another memory limit: the same program starts within it.
    Policy,
}

/// What goes on meanwhile.
#[derive(Debug, Clone, Copy)]
struct Load {
    by: By,
    /// Callers also let the plugin ask the host, and let another plugin call it.
    asks: bool,
    /// A client listens to its events.
    listens: bool,
    /// Every third time something comes first that does not start.
    fails: bool,
}

const PLAIN: Load = Load {
    by: By::Copy,
    asks: false,
    listens: false,
    fails: false,
};

/// A test of a few reloads, and one of two hundred that is run by
/// `cargo xtask test-e2e -- --ignored two_hundred --nocapture --test-threads=1`.
macro_rules! under_load {
    ($($few:ident $many:ident: $load:expr;)*) => {
        $(
            #[test]
            fn $few() {
                $load.run(stringify!($few), 8, 8);
            }

            #[test]
            #[ignore = "takes minutes; to be run on a quiet machine"]
            fn $many() {
                $load.run(stringify!($few), 64, 200);
            }
        )*
    };
}

under_load! {
    by_cp two_hundred_by_cp: PLAIN;
    by_mv two_hundred_by_mv: Load { by: By::Rename, ..PLAIN };
    by_the_manifest two_hundred_by_the_manifest: Load { by: By::Manifest, ..PLAIN };
    by_force two_hundred_by_force: Load { by: By::Force, ..PLAIN };
    by_policy two_hundred_by_policy: Load { by: By::Policy, asks: true, ..PLAIN };
    in_two_languages two_hundred_in_two_languages: Load { by: By::Languages, asks: true, listens: true, ..PLAIN };
    that_ask_and_are_asked two_hundred_that_ask_and_are_asked: Load { asks: true, ..PLAIN };
    with_a_listener two_hundred_with_a_listener: Load { listens: true, ..PLAIN };
    with_some_that_fail two_hundred_with_some_that_fail: Load { fails: true, by: By::Rename, ..PLAIN };
}

/// What a host has of what can leak.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    descriptors: usize,
    processes: usize,
    mounts: usize,
    cgroups: usize,
}

impl Held {
    fn now(host: &Host) -> Self {
        let of_process = |name: &str| format!("/proc/{}/{name}", host.pid());
        Self {
            descriptors: fs::read_dir(of_process("fd")).unwrap().count(),
            processes: descendants(host.pid()).len(),
            mounts: fs::read_to_string(of_process("mountinfo"))
                .unwrap()
                .lines()
                .count(),
            cgroups: cgroups(keeper(host.pid())).len(),
        }
    }

    /// What lasts once nothing of a replaced generation is left: the host closes, and the keeper tidies up, when they
    /// get to it.
    fn settled(host: &Host) -> Self {
        eventually("what was replaced has ended", || {
            (host.plugin("goat")["draining"] == 0).then_some(())
        });
        let mut last = Self::now(host);
        let mut same = 0;
        eventually("nothing changes any more", || {
            let now = Self::now(host);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (same > 20).then_some(last)
        })
    }
}

/// In KiB.
fn resident(host: &Host) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// How long calls took, before the first reload and from then on.
#[derive(Default)]
struct Times([Vec<Duration>; 2]);

impl Times {
    fn shown(times: &mut [Duration]) -> String {
        times.sort_unstable();
        let at = |share: usize| {
            times
                .get(times.len() * share / 100)
                .copied()
                .unwrap_or_default()
        };
        format!("p50 {:?}, p99 {:?} of {}", at(50), at(99), times.len())
    }
}

/// What callers share.
struct Calling<'a> {
    host: &'a Host,
    load: Load,
    over: AtomicBool,
    reloading: AtomicBool,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
    times: Mutex<Times>,
}

impl Calling<'_> {
    /// Calls until it is over; no answer is missing, or wrong, or of a version before the last one.
    fn calls(&self) {
        let mut last = version(0);
        let mut times = Times::default();
        for turn in 0_usize.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let (plugin, function, args) = match turn % 3 {
                1 if self.load.asks => ("goat", "ask_host", Value::Null),
                2 if self.load.asks => {
                    let call = json!({ "plugin": "goat", "function": "version", "args": {} });
                    let args = json!({ "method": "plugin_call", "args": call });
                    ("cow", "ask_host", args)
                }
                _ => ("goat", "version", json!({})),
            };
            let begun = Instant::now();
            let reply = match args {
                Value::Null => {
                    let path = format!("/api/v1/plugins/{plugin}/call/{function}");
                    self.host.admin("POST", &path).send()
                }
                args => self.host.function(plugin, function, &args),
            };
            let took = begun.elapsed();
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let right = reply.status == 200
                && match answer.as_str() {
                    Some(now) if turn % 3 != 1 || !self.load.asks => {
                        let right = *now >= *last && now.starts_with("GK_TEST_VERSION_");
                        now.clone_into(&mut last);
                        right
                    }
                    // The time, in whatever form.
                    _ => turn % 3 == 1 && self.load.asks && !answer.is_null(),
                };
            if !right {
                let failure = format!("{} {} after {last}", reply.status, reply.text());
                self.failures.lock().unwrap().push(failure);
            }
            times.0[usize::from(self.reloading.load(Ordering::Relaxed))].push(took);
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        let mut all = self.times.lock().unwrap();
        for (all, own) in all.0.iter_mut().zip(times.0) {
            all.extend(own);
        }
    }

    /// Lets the plugin say its version, and expects that the listener is told: the first and the last that was said.
    fn listens(&self, mut events: Events) -> Option<(Value, Value)> {
        let mut said = None;
        while !self.over.load(Ordering::Relaxed) {
            let reply = self.host.function("goat", "announce", &json!({}));
            let version: Value = reply.expect(200).json();
            let expected = ("version".to_owned(), json!({ "version": version }));
            assert_eq!(events.next(), expected);
            let first = said.map_or_else(|| version.clone(), |(first, _)| first);
            said = Some((first, version));
        }
        said
    }
}

impl Load {
    fn start(self) -> (Host, PathBuf) {
        let mut setup = Setup::new();
        if self.by == By::Force {
            setup = setup.variable("GOATFLOW_PLUGIN_HOT_RELOAD", "false");
        }
        if self.asks {
            write_package(&setup.path("plugins/cow"), "cow", 1);
        }
        let (host, place) = goat_in(setup);
        if self.asks {
            let policy = json!({
                "status": "approved",
                "permissions": [{ "type": "plugin_call", "scope": ["goat"] }],
                "max_calls_per_second": 1_000_000,
            });
            let put = host.admin("PUT", "/api/v1/plugins/cow/policy");
            put.json(&policy).send().expect(200);
        }
        (host, place)
    }

    /// Puts a version in place; the moment from which it is there.
    fn change(self, host: &Host, place: &std::path::Path, number: u32) -> Instant {
        let (program, new) = (place.join("goat"), host.path("new"));
        match self.by {
            By::Copy | By::Force => fs::write(&program, built(number)).unwrap(),
            By::Rename => {
                write_program(&new, number);
                fs::rename(&new, &program).unwrap();
            }
            By::Languages => {
                let language = ["gen3", "rust-versioned"][number as usize % 2];
                fs::write(&new, built_from(language, number)).unwrap();
                fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
                fs::rename(&new, &program).unwrap();
            }
            By::Manifest => {
                write_program(&place.join(format!("v{number}/goat")), number);
                let text = manifest("goat", number) + &format!("binary: v{number}/goat\n");
                fs::write(place.join("plugin.yaml"), text).unwrap();
            }
            By::Policy => {
                let memory_mb = 100 + number % 100;
                let policy = json!({
                    "status": "approved",
                    "permissions": [],
                    "memory_mb": memory_mb,
                    "max_calls_per_second": 1_000_000,
                });
                let put = host.admin("PUT", "/api/v1/plugins/goat/policy");
                put.json(&policy).send().expect(200);
            }
        }
        let written = Instant::now();
        if self.by == By::Force {
            let path = "/api/v1/plugins/goat/reload?force=true&wait=100s";
            let reply = host.admin("POST", path).send().expect(200);
            assert_eq!(reply.json()["outcome"], "serving");
        }
        match self.by {
            By::Policy => eventually("it runs within the new limit", || {
                let is_new = generation(host) == u64::from(number);
                (is_new && host.plugin("goat")["candidate"].is_null()).then_some(())
            }),
            _ => wait_for(host, number),
        }
        if self.by == By::Manifest {
            // Nobody needs the one before any more. The first is not in a directory of its own.
            let _ = fs::remove_dir_all(place.join(format!("v{}", number - 1)));
        }
        written
    }

    /// Puts something in place that does not start, and waits until that is known.
    fn fail(host: &Host, place: &std::path::Path) {
        let new = host.path("new");
        fs::write(&new, "#!/bin/sh\nexit 7\n").unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, place.join("goat")).unwrap();
        eventually("the candidate fails", || {
            (host.plugin("goat")["candidate"]["state"] == "failed").then_some(())
        });
    }

    fn run(self, name: &str, callers: usize, reloads: u32) {
        let (host, place) = self.start();
        // What a first reload leaves open, such as descriptors that are kept for the next one, is no growth.
        self.change(&host, &place, 2);
        // While nobody calls: each call has a descriptor for a moment.
        let before = Held::settled(&host);
        let events = "/api/v1/plugins/goat/events/versions";
        let mut events = self.listens.then(|| Events::subscribe(&host, events));
        let calling = Calling {
            host: &host,
            load: self,
            over: AtomicBool::new(false),
            reloading: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            failures: Mutex::default(),
            times: Mutex::default(),
        };
        let (mut took, mut failed, mut resident_before) = (Vec::new(), 0, 0);
        thread::scope(|scope| {
            let listening = events
                .take()
                .map(|events| scope.spawn(|| calling.listens(events)));
            let callers: Vec<_> = (0..callers)
                .map(|_| scope.spawn(|| calling.calls()))
                .collect();
            // A caller that fails the test must not keep the others from ending.
            let _over = Over(&calling.over);
            eventually("each has called a few times", || {
                let answered = calling.answered.load(Ordering::Relaxed);
                (answered >= 20 * callers.len()).then_some(())
            });
            resident_before = resident(&host);
            calling.reloading.store(true, Ordering::Relaxed);
            for number in 3..3 + reloads {
                if self.fails && number % 3 == 0 {
                    Self::fail(&host, &place);
                    failed += 1;
                }
                let written = self.change(&host, &place, number);
                took.push(written.elapsed());
            }
            calling.over.store(true, Ordering::Relaxed);
            if let Some(listening) = listening {
                let (first, last) = listening.join().unwrap().unwrap();
                assert_eq!(first, version(2));
                assert!(last == version(reloads + 2) || last == version(reloads + 1));
            }
        });
        let failures = calling.failures.into_inner().unwrap();
        assert_eq!(failures, Vec::<String>::new());
        assert_eq!(
            generation(&host),
            u64::from(reloads + failed) + 2,
            "one start for each change"
        );
        let after = Held::settled(&host);
        let grown = resident(&host) - resident_before;
        let mut times = calling.times.into_inner().unwrap();
        let [quiet, busy] = times.0.each_mut().map(|times| Times::shown(times));
        eprintln!(
            "{name}: {reloads} reloads; from the last write to the first answer at most {:?}; calls before: {quiet}, \
             meanwhile: {busy}; resident {grown:+} KiB of {resident_before}; {before:?} became {after:?}",
            took.iter().max().unwrap(),
        );
        // The keeper may have one more process ready for the next start, or not.
        assert!(
            after.descriptors <= before.descriptors + 2
                && after.processes <= before.processes + 1
                && after.mounts <= before.mounts
                && after.cgroups <= before.cgroups + 1,
            "{before:?} became {after:?}"
        );
        // What is kept for each version, such as what was warned of, is small; allocators keep a little more.
        assert!(
            grown <= 16 * 1024,
            "{grown} KiB more are resident after {reloads} reloads"
        );
    }
}

/// Sets a flag when it goes, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
