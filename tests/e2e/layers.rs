//! What each layer of the sandbox is worth: the attacks that are open without it, and those that it stops alone.
//!
//! What is found is the file `docs/sandbox-layers.md`, which so is true of the machine that last ran this.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::escape::{Attacked, Outcomes, UNSTEADY, golden, sorted};
use crate::users::{HOSTS, User};

/// Hosts at a time: each has a dozen processes, and bombs.
const AT_A_TIME: usize = 6;

const LAYERS: [&str; 19] = [
    "user",
    "mount",
    "pid",
    "network",
    "ipc",
    "uts",
    "cgroup",
    "identity",
    "memfd_noexec",
    "descriptors",
    "limits",
    "mdwe",
    "no_new_privileges",
    "landlock",
    "capabilities",
    "seccomp",
    "memory",
    "processes",
    "cpu",
];

/// Some layers leave a program that cannot get at its own directories.
const NOT_STARTED: &str = "does not start";

/// One host.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    All,
    None,
    Without(&'static str),
    Only(&'static str),
}

/// What a layer cannot be had without.
fn needs(layer: &str, user: User) -> &'static [&'static str] {
    match (layer, user) {
        ("mount" | "pid" | "network" | "ipc" | "uts" | "cgroup", User::Unprivileged) => &["user"],
        ("seccomp" | "landlock", User::Unprivileged) => &["no_new_privileges"],
        // The setting of a process namespace, or else the filter does it.
        ("memfd_noexec", User::Root) => &["pid"],
        ("processes", User::Unprivileged) => &["user", "limits"],
        // The directories of the host are no longer its own then: it needs a view of them.
        ("user" | "identity", User::Root) => &["mount"],
        _ => &[],
    }
}

/// The open attacks of one host, and how the layer in question stands there.
struct Found {
    open: BTreeSet<String>,
    all: usize,
    state: String,
}

fn run(user: User, case: Case) -> Found {
    let off: Vec<&str> = LAYERS
        .into_iter()
        .filter(|layer| match case {
            Case::All => false,
            Case::None => true,
            Case::Without(without) => *layer == without,
            Case::Only(only) => *layer != only && !needs(only, user).contains(layer),
        })
        .collect();
    let attacked = Attacked::start(user, &off);
    if !attacked.runs() {
        return Found {
            open: BTreeSet::new(),
            all: 0,
            state: NOT_STARTED.to_owned(),
        };
    }
    let state = match (case, attacked.sandbox().as_array()) {
        (Case::Only(layer), Some(layers)) => layers
            .iter()
            .find(|entry| entry["layer"] == layer)
            .and_then(|entry| entry["state"].as_str().map(str::to_owned))
            .unwrap(),
        _ => String::new(),
    };
    let outcomes: Outcomes = attacked.attack();
    attacked.end_with_all();
    let open = |id: &String| outcomes[id].outcome == "open";
    Found {
        open: outcomes.keys().filter(|id| open(id)).cloned().collect(),
        all: outcomes.len(),
        state,
    }
}

#[test]
fn the_table_of_the_layers_is_true() {
    let cases: Vec<(User, Case)> = HOSTS
        .into_iter()
        .flat_map(|user| {
            let without = LAYERS.map(Case::Without);
            let only = LAYERS.map(Case::Only);
            [Case::All, Case::None]
                .into_iter()
                .chain(without)
                .chain(only)
                .map(move |case| (user, case))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let found: Vec<Mutex<Option<Found>>> = cases.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(((user, case), place)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(index).zip(found.get(index))
                } {
                    *place.lock().unwrap() = Some(run(*user, *case));
                }
            });
        }
    });
    let found: Vec<Found> = found
        .into_iter()
        .map(|one| one.into_inner().unwrap().unwrap())
        .collect();
    let of = |user: User, case: Case| {
        let index = cases
            .iter()
            .position(|known| *known == (user, case))
            .unwrap();
        &found[index]
    };
    let all = of(User::Root, Case::All).all;
    let none = HOSTS.map(|user| of(user, Case::None).open.len());
    let full = HOSTS.map(|user| of(user, Case::All).open.len());
    let mut page = format!(
        "# What each layer of the sandbox stops\n\n\
         Written by a test (`GK_BLESS=1 cargo xtask test-e2e -- layers`), which makes all {all} attempts of \
         `tests/plugins/escape` in the real\nhost; `tests/e2e/escape.tsv` has their names. \"Root\" is a host that is \
         root, \"user\" one that has no rights at all.\n\n\
         | | root | user |\n|---|---|---|\n\
         | open with no layer | {} | {} |\n| open with all layers | {} | {} |\n\n\
         ## Without one layer\n\nThe attacks that are open when this layer alone is off. Layers overlap, so that a \
         mistake in one of them opens little.\n\n\
         | layer off | open then: root | open then: user |\n|---|---|---|\n",
        none[0], none[1], full[0], full[1]
    );
    let ids = |set: BTreeSet<String>| {
        if set.is_empty() {
            "nothing".to_owned()
        } else {
            sorted(set).join(" ")
        }
    };
    for layer in LAYERS {
        let [root, user] = HOSTS.map(|user| {
            if of(user, Case::Without(layer)).state == NOT_STARTED {
                return NOT_STARTED.to_owned();
            }
            let all = &of(user, Case::All).open;
            ids(of(user, Case::Without(layer))
                .open
                .difference(all)
                .cloned()
                .collect())
        });
        writeln!(page, "| `{layer}` | {root} | {user} |").unwrap();
    }
    page.push_str(
        "\n## With one layer alone\n\nThe attacks that are open without any layer and stopped by this one. Some layers \
         cannot be had alone; what they need\nis named, and what that stops is not left out.\n\n\
         | layer | stopped: root | stopped: user |\n|---|---|---|\n",
    );
    for layer in LAYERS {
        let [root, user] = HOSTS.map(|user| {
            let alone = of(user, Case::Only(layer));
            if alone.state == NOT_STARTED {
                return NOT_STARTED.to_owned();
            }
            let none = &of(user, Case::None).open;
            let stopped: BTreeSet<String> = none.difference(&alone.open).cloned().collect();
            let with = needs(layer, user)
                .iter()
                .map(|needed| format!("with `{needed}`; "))
                .collect::<String>();
            let state = match alone.state.as_str() {
                "enforced" => String::new(),
                state => format!("{state}; "),
            };
            format!(
                "{with}{state}{} of {}: {}",
                stopped.len(),
                none.len(),
                ids(stopped)
            )
        });
        writeln!(page, "| `{layer}` | {root} | {user} |").unwrap();
    }
    assert_eq!(full, [0, 0], "attacks are open with all layers");
    // Attacks that this machine does not know, and counts, are another machine's.
    let known: BTreeSet<&String> = HOSTS
        .iter()
        .flat_map(|user| &of(*user, Case::None).open)
        .collect();
    golden("../docs/sandbox-layers.md", &page, "the page", |line| {
        if line.starts_with("| open with") {
            return String::new();
        }
        let words = line.split(' ');
        let steady = words.filter(|word| {
            let is_attack = word.starts_with(|digit: char| digit.is_ascii_digit())
                && word.ends_with(|letter: char| letter.is_ascii_lowercase());
            let is_number = word.trim_end_matches(':').parse::<u32>().is_ok();
            let counts =
                !is_attack || (known.contains(&(*word).to_owned()) && !UNSTEADY.contains(word));
            counts && !is_number && *word != "nothing"
        });
        steady.collect::<Vec<_>>().join(" ")
    });
}
