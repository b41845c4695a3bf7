//! The ways in which people and tools write files, by the tools themselves: each is seen, and starts the program once.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::eventually;
use crate::goat::{
    built, generation, goat, manifest, serving, settled_generation, shell, tool, version, wait_for,
    write_package, write_program,
};
use crate::host::{Host, Setup};

/// Tools of the ways below, and Debian's packages of them.
const TOOLS: [(&str, &str); 5] = [
    ("rsync", "rsync"),
    ("zip", "zip"),
    ("unzip", "unzip"),
    ("tar", "tar"),
    ("install", "coreutils"),
];

/// How long the host waits after a change for the next one.
const QUIET: Duration = Duration::from_millis(500);

/// Scripts that bring the program of `$NEW`, or the package of `$TREE`, into the plugin's directory, in which they run.
/// `$OUT` is a directory elsewhere.
const WAYS: [(&str, &str); 21] = [
    ("cp", "cp \"$NEW\" goat"),
    (
        "cp and chmod",
        "cp --no-preserve=mode \"$NEW\" goat && chmod 755 goat",
    ),
    (
        "chmod last",
        "rm goat && cp --no-preserve=mode \"$NEW\" goat && test ! -x goat && chmod 755 goat",
    ),
    ("mv over it", "mv \"$NEW\" goat"),
    (
        "cp beside and mv",
        "cp \"$NEW\" .goat.tmp && mv .goat.tmp goat",
    ),
    (
        "a visible temporary file",
        "cp \"$NEW\" goat.new && mv goat.new goat",
    ),
    ("install", "install -m 755 \"$NEW\" goat"),
    ("remove and copy", "rm goat && cp \"$NEW\" goat"),
    ("ln -f", "cp \"$NEW\" n && ln -f n goat && rm n"),
    ("cat", "cat \"$NEW\" > goat"),
    (
        "tar",
        "tar -C \"$TREE\" -cf \"$OUT/t.tar\" . && tar -xf \"$OUT/t.tar\"",
    ),
    (
        "tar --overwrite",
        "tar -C \"$TREE\" -cf \"$OUT/t.tar\" . && tar --overwrite -xf \"$OUT/t.tar\"",
    ),
    (
        "unzip -o",
        "rm -f \"$OUT/t.zip\" && (cd \"$TREE\" && zip -q \"$OUT/t.zip\" goat plugin.yaml) && unzip -qo \"$OUT/t.zip\"",
    ),
    // By content: what it goes by else, size and time, may well be the same here.
    ("rsync", "rsync -c \"$NEW\" goat"),
    ("rsync --inplace", "rsync -c --inplace \"$NEW\" goat"),
    (
        "rsync --delete",
        "mkdir old && touch old/file && rsync -rpc --delete \"$TREE/\" ./ && test ! -e old",
    ),
    (
        "rsync --delete of all that was there",
        "mkdir \"$OUT/empty\" && rsync -r --delete \"$OUT/empty/\" ./ && test ! -e plugin.yaml && rsync -a \"$TREE/\" ./",
    ),
    (
        "dd in pieces",
        "dd if=\"$NEW\" of=goat bs=256k conv=notrunc status=none",
    ),
    (
        "the whole directory by mv",
        "cd .. && mv goat \"$OUT/before\" && cp -a \"$TREE\" \"$OUT/after\" && mv \"$OUT/after\" goat",
    ),
    (
        "the whole directory by cp -r",
        "cd .. && rm -r goat && cp -r \"$TREE\" goat",
    ),
    ("a link to it", "cp \"$NEW\" real && ln -sfn real goat"),
];

#[test]
fn however_it_is_written_it_is_served_once() {
    for (name, package) in TOOLS {
        tool(&[name], package);
    }
    let (host, place) = goat();
    let [new, tree, out] = ["new", "tree", "out"].map(|name| host.path(name));
    fs::create_dir(&out).unwrap();
    let run = |script: &str, number: u32| {
        write_program(&new, number);
        write_package(&tree, "goat", number);
        // What it says is the same: only the program changes.
        fs::write(tree.join("plugin.yaml"), manifest("goat", 1)).unwrap();
        let variables = [("NEW", &new), ("TREE", &tree), ("OUT", &out)];
        let begun = Instant::now();
        shell(
            script,
            &place,
            &variables.map(|(name, path)| (name, path.as_os_str())),
        );
        begun.elapsed()
    };
    for (number, (way, script)) in (2..).zip(WAYS) {
        let before = generation(&host);
        let took = run(script, number);
        wait_for(&host, number);
        let starts = settled_generation(&host) - before;
        // Only on a machine so busy that the host could look between two steps of the script may it have found what
        // was there then.
        let allowed = if took < QUIET { 1 } else { 2 };
        assert!((1..=allowed).contains(&starts), "{way}: {starts} starts");
        if starts > 1 {
            eprintln!("{way} took {took:?} on this machine, and {starts} starts");
        }
    }
    // What changes nothing starts nothing.
    let before = generation(&host);
    for script in [
        "touch goat plugin.yaml",
        "cp goat x && cp x goat && rm x",
        "chmod 700 goat && chmod 755 goat",
        "touch file && rm file",
    ] {
        run(script, 1);
        assert_eq!(settled_generation(&host), before, "{script}");
    }
}

/// The host has looked before the last step: what it found cannot be started, and what follows is taken all the same.
#[test]
fn the_mode_may_come_late() {
    let (host, place) = goat();
    let program = place.join("goat");
    fs::remove_file(&program).unwrap();
    fs::write(&program, built(2)).unwrap();
    eventually("it is found as it is", || {
        (host.plugin("goat")["candidate"]["state"] == "failed").then_some(())
    });
    assert_eq!(serving(&host), Some(version(1)));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    wait_for(&host, 2);
    assert!(host.plugin("goat")["candidate"].is_null());
}

/// A program that comes over a slow line: it is complete when whoever writes it closes it, and not before.
#[test]
fn what_is_written_slowly_is_started_when_it_is_complete() {
    let (host, place) = goat();
    let new = host.path("new");
    write_program(&new, 2);
    // Longer than the host waits for the last of several changes.
    let script = "size=$(($(stat -c %s \"$NEW\") / 8 + 1))
        for piece in 0 1 2 3 4 5 6 7; do
            dd if=\"$NEW\" bs=$size skip=$piece count=1 status=none; sleep 1
        done | dd of=goat bs=64k status=none";
    shell(script, &place, &[("NEW", new.as_os_str())]);
    wait_for(&host, 2);
    assert_eq!(settled_generation(&host), 2);
}

/// What an editor does to a file with this text that is to have that one.
type Edit = fn(&Path, before: &str, after: &str);

const EDITORS: [(&str, Edit); 4] = [
    (
        "vim, which renames the old file and writes a new one",
        |file, before, after| {
            vim(file, "no", before, after);
        },
    ),
    (
        "vim, which copies the old file and writes it over",
        |file, before, after| {
            vim(file, "yes", before, after);
        },
    ),
    (
        "VS Code, which truncates and writes, twice",
        |file, before, after| {
            let text = fs::read_to_string(file).unwrap().replace(before, after);
            for _ in 0..2 {
                let mut file = OpenOptions::new().write(true).open(file).unwrap();
                file.set_len(0).unwrap();
                file.write_all(text.as_bytes()).unwrap();
            }
        },
    ),
    ("sed -i", |file, before, after| {
        let script = "sed -i \"s|$BEFORE|$AFTER|\" plugin.yaml";
        let texts = [("BEFORE", before), ("AFTER", after)];
        shell(
            script,
            file.parent().unwrap(),
            &texts.map(|(name, text)| (name, OsStr::new(text))),
        );
    }),
];

fn vim(file: &Path, copies: &str, before: &str, after: &str) {
    let vim = tool(&["vim", "vim.tiny"], "vim-tiny");
    let script = format!(
        "{vim} -es -u NONE -i NONE -c 'set backup backupcopy={copies}' -c '%s#{before}#{after}#' -c wq plugin.yaml"
    );
    shell(&script, file.parent().unwrap(), &[]);
}

/// The manifest is edited; which program it names says which one is in force.
#[test]
fn a_manifest_is_edited() {
    let (host, place) = goat();
    let file = place.join("plugin.yaml");
    for (number, (editor, edit)) in (2..).zip(EDITORS) {
        let [old, new] = [format!("v{}/goat", number - 1), format!("v{number}/goat")];
        write_program(&place.join(&new), number);
        if number == 2 {
            fs::write(&file, manifest("goat", 1) + "binary: goat\n").unwrap();
        }
        let before = settled_generation(&host);
        let old = if number == 2 { "goat" } else { &old };
        edit(&file, &format!("binary: {old}"), &format!("binary: {new}"));
        wait_for(&host, number);
        assert_eq!(settled_generation(&host), before + 1, "{editor}");
    }
}

/// The plugin's directory is a work tree, and another version of it is checked out.
#[test]
fn a_checkout_is_one_change() {
    tool(&["git"], "git");
    let (host, place) = goat();
    let new = host.path("new");
    write_program(&new, 2);
    let git = |script: &str| {
        let script = format!(
            "git() {{ command git -c user.name=goat -c user.email=goat@localhost -c init.defaultBranch=main -c advice.detachedHead=false \"$@\"; }}\n{script}"
        );
        let variables = [
            ("NEW", new.as_os_str()),
            ("OUT", host.path("").as_os_str()),
            // Whoever runs the tests has settings of their own.
            ("GIT_CONFIG_GLOBAL", OsStr::new("/dev/null")),
            ("GIT_CONFIG_SYSTEM", OsStr::new("/dev/null")),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_os_str()))
            .collect();
        shell(&script, &place, &variables);
    };
    git(
        "git init -q && git add . && git commit -qm one && git tag one
        git clone -q . \"$OUT/clone\" && cp \"$NEW\" \"$OUT/clone/goat\" && cd \"$OUT/clone\"
        echo 'description: The second' >> plugin.yaml && git commit -qam two && git tag two",
    );
    git("git fetch -q \"$OUT/clone\" tag two");
    assert_eq!(settled_generation(&host), 1);
    for (tag, number, generation) in [("two", 2, 2), ("one", 1, 3), ("two", 2, 4)] {
        git(&format!("git checkout -q {tag}"));
        wait_for(&host, number);
        assert_eq!(settled_generation(&host), generation, "{tag}");
    }
}

/// Releases are directories elsewhere, and a link says which one is in force.
#[test]
fn a_link_to_a_release_is_switched() {
    let setup = Setup::new();
    let releases = setup.path("releases");
    for number in 1..=3 {
        write_package(&releases.join(number.to_string()), "goat", number);
    }
    symlink(releases.join("1"), setup.path("plugins/goat")).unwrap();
    let host: Host = setup.settled();
    wait_for(&host, 1);
    let plugins = host.path("plugins");
    for (step, number) in (2..).zip([2, 3, 1, 2]) {
        let script = format!("ln -sfn ../releases/{number} goat");
        shell(&script, &plugins, &[]);
        wait_for(&host, number);
        assert_eq!(settled_generation(&host), step, "release {number}");
    }
}
