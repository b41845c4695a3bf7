//! Jobs on three hosts of which some are killed, sleep and come back.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Shared;
use crate::host::{Host, Setup};
use crate::users::User;
use crate::{eventually, goat};

const JOB: &str = "/api/v1/plugins/goat/jobs/note";

/// Number of ticks that the test waits for.
const TICKS: usize = 100;

fn start(shared: &Shared, setup: Setup, name: &str) -> Host {
    let setup = shared.sharing(setup, name);
    setup.variable("GK_CLUSTER_LOST_AFTER", "4s").start()
}

fn new(shared: &Shared, name: &str) -> Host {
    let setup = Setup::new();
    goat::write_package(&setup.path("plugins/goat"), "goat", 1);
    start(shared, setup, name)
}

fn set(host: &Host, settings: &Value) {
    let path = format!("{JOB}/settings");
    host.admin("PUT", &path).json(settings).send().expect(200);
}

/// The ticks that ran on a host, as its plugin has noted them.
fn noted(host: &Host) -> Vec<String> {
    let file = host.path("data/plugins/goat/jobs.log");
    let text = fs::read_to_string(file).unwrap_or_default();
    // A host that is killed may have its plugin write half a line.
    let runs = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    runs.map(|run| run["_tick"].as_str().unwrap().to_owned())
        .collect()
}

fn counted(hosts: &[Option<Host>]) -> BTreeMap<String, usize> {
    let mut ticks = BTreeMap::new();
    for tick in hosts.iter().flatten().flat_map(noted) {
        *ticks.entry(tick).or_default() += 1;
    }
    ticks
}

#[test]
fn each_tick_starts_once_while_hosts_are_killed_sleep_and_come_back() {
    let shared = Shared::new();
    let mut hosts: Vec<_> = ["a", "b", "c"].map(|name| Some(new(&shared, name))).into();
    for host in hosts.iter().flatten() {
        eventually("the plugin serves", || goat::serving(host));
    }
    let every_second = json!({ "enabled": true, "schedule": "@every 1s", "concurrency": "allow" });
    set(hosts[0].as_ref().unwrap(), &every_second);
    let mut dice = RandomState::new().hash_one(TICKS) | 1;
    println!("the order of what happens follows from {dice}");
    let mut roll = move |sides: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % sides).unwrap()
    };
    let mut killed_since: Option<(usize, Host)> = None;
    while counted(&hosts).len() < TICKS {
        // What happens takes its time, as it does.
        let until = Instant::now() + Duration::from_millis(500 + 500 * roll(5) as u64);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some((place, dead)) = killed_since.take() {
            let name = ["a", "b", "c"][place];
            hosts[place] = Some(start(&shared, dead.after_kill(User::Same), name));
            continue;
        }
        let place = roll(3);
        match roll(3) {
            0 => {
                let mut host = hosts[place].take().unwrap();
                host.kill();
                killed_since = Some((place, host));
            }
            1 => {
                // Longer than the time after which its runs are lost.
                let host = hosts[place].as_ref().unwrap();
                host.signal(Signal::STOP);
                std::thread::sleep(Duration::from_secs(6));
                host.signal(Signal::CONT);
            }
            _ => {
                let host = hosts[place].take().unwrap();
                let name = ["a", "b", "c"][place];
                hosts[place] = Some(start(&shared, host.again(User::Same), name));
            }
        }
    }
    if let Some((place, dead)) = killed_since.take() {
        let name = ["a", "b", "c"][place];
        hosts[place] = Some(start(&shared, dead.after_kill(User::Same), name));
    }
    let ticks = counted(&hosts);
    let twice: Vec<_> = ticks.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    // Several hosts had a part in it.
    let shares: Vec<_> = hosts
        .iter()
        .flatten()
        .map(|host| noted(host).len())
        .collect();
    assert!(
        shares.iter().filter(|share| **share > 0).count() >= 2,
        "{shares:?}"
    );
    println!("ticks by host: {shares:?}");
}
