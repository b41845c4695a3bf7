//! Changes that the file system tells of late, otherwise, or not at all.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::eventually;
use crate::goat::{
    built, goat_in, serving, settled_generation, tool, version, wait_for, write_package,
};
use crate::host::Setup;
use crate::users::{self, Limits, User};

/// The longest there is: what is found without it was found by an event.
const HARDLY_EVER: (&str, &str) = ("GK_RESCAN_INTERVAL", "1h");

/// As with `docker -v`: the directory of the host is a mount of another one, in which somebody else writes.
#[test]
fn a_mounted_directory_is_changed_on_the_other_side() {
    tool(&["unshare"], "util-linux");
    let mut trial = users::command(Path::new("/usr/bin/unshare"), User::Same, Limits::AsTheyAre);
    let may = trial.args(["--mount", "true"]).status().unwrap().success();
    assert!(
        may,
        "no mount namespace can be had: run this as root with CAP_SYS_ADMIN"
    );
    let setup = Setup::new();
    let outside = setup.path("outside");
    write_package(&outside.join("goat"), "goat", 1);
    let mount = "mount --bind outside plugins && exec \"$0\" \"$@\"";
    let host = setup
        .variable(HARDLY_EVER.0, HARDLY_EVER.1)
        .through([
            "/usr/bin/unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            mount,
        ])
        .settled();
    let inside = fs::read_dir(host.path("plugins")).unwrap().count();
    assert_eq!(inside, 0, "the mount is to be the host's alone");
    wait_for(&host, 1);
    fs::write(outside.join("goat/goat"), built(2)).unwrap();
    wait_for(&host, 2);
    let staged = host.path("staged");
    write_package(&staged, "goat", 3);
    fs::rename(staged.join("goat"), outside.join("goat/goat")).unwrap();
    wait_for(&host, 3);
    assert_eq!(settled_generation(&host), 3);
}

/// The kernel drops what no longer fits into the queue, and says only that it did.
#[test]
fn what_does_not_fit_into_the_queue_of_events_is_found() {
    let (host, place) = goat_in(Setup::new().variable(HARDLY_EVER.0, HARDLY_EVER.1));
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // Nobody takes events out of the queue now. Those of hidden names are no reason to look.
    host.signal(Signal::STOP);
    for turn in 0..limit.div_ceil(2) {
        // Equal events in a row would be one.
        fs::write(place.join(format!(".noise-{}", turn % 2)), "noise").unwrap();
    }
    fs::write(place.join("goat"), built(2)).unwrap();
    host.signal(Signal::CONT);
    wait_for(&host, 2);
    // The watch goes on.
    fs::write(place.join("goat"), built(3)).unwrap();
    wait_for(&host, 3);
    assert_eq!(settled_generation(&host), 3);
}

/// Others have used up what this machine has of instances, or watches.
#[test]
fn without_a_watch_changes_are_found_by_looking() {
    for limit in ["inotify_instances", "inotify_watches"] {
        let setup = Setup::of(User::Unprivileged).without(limit);
        let (host, place) = goat_in(setup.variable("GK_RESCAN_INTERVAL", "1s"));
        host.wait_for_log("the plugins directory cannot be watched");
        fs::write(place.join("goat"), built(2)).unwrap();
        wait_for(&host, 2);
        write_package(&place.with_file_name("cow"), "cow", 1);
        eventually("a new plugin is found, too", || {
            let reply = host.function("cow", "version", &serde_json::json!({}));
            (reply.status == 200).then_some(())
        });
        assert_eq!(settled_generation(&host), 2);
        assert_eq!(serving(&host), Some(version(2)));
        let told = host.log().matches("cannot be watched").count();
        assert_eq!(told, 1, "{}", host.log());
    }
}
