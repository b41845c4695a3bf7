//! `gk package`: what is handed out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use gk_package::Archive;

use crate::{Place, json, replace};

#[test]
fn a_package() {
    let place = Place::new();
    place.plugin("a");
    fs::write(place.path("a/.gkignore"), "*.go\n").unwrap();
    fs::write(place.path("a/main.go"), "").unwrap();
    let outcome = place.gk(["package", "a", "-o", "json"]).run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("the package is not signed"),
        "{}",
        outcome.stderr
    );
    let made = json(&outcome.stdout);
    assert_eq!(made["path"], "a/dist/a-1.0.0.zip");
    let out = place.path("a/dist/a-1.0.0.zip");
    assert_eq!(made["size"], out.metadata().unwrap().len());
    let archive = Archive::open(&out).unwrap();
    let paths: Vec<_> = archive
        .entries()
        .iter()
        .map(gk_package::Entry::path)
        .collect();
    assert_eq!(paths, ["a", "plugin.yaml"]);
    assert!(archive.entry("a").unwrap().is_executable());
    // It does not contain itself the next time.
    let again = json(&place.gk(["package", "a", "-o", "json"]).ok());
    assert_eq!(again, made);
    assert_eq!(
        place.gk(["package", "a", "--list", "-o", "name"]).ok(),
        "a\nplugin.yaml\n"
    );

    place.gk(["keys", "generate"]).ok();
    place.gk(["sign", "a"]).ok();
    let outcome = place.gk(["package", "a", "--out", "a.zip"]).run();
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
    assert!(
        outcome.stdout.contains("signed:  valid"),
        "{}",
        outcome.stdout
    );
    place.gk(["verify", "a.zip", "--require"]).ok();
    replace(&place.path("a/a"), "exit 1", "exit 3");
    let outcome = place.gk(["package", "a"]).run();
    assert!(
        outcome
            .stderr
            .contains("changed after signing; no host runs this package"),
        "{}",
        outcome.stderr
    );
    place.gk(["verify", "a/dist/a-1.0.0.zip"]).fails(4);
}

/// Another path, other times, another umask: the same bytes.
#[test]
fn packages_are_reproducible() {
    let place = Place::new();
    let make = |directory: &str, mask: u32, seconds: u64| {
        let files = [
            (
                "plugin.yaml",
                "name: a\nversion: \"1.0.0\"\nruntime: grpc\n",
                0o666,
            ),
            ("a", "#!/bin/sh\n", 0o777),
            ("assets/z", "z", 0o666),
            ("README.md", "r", 0o666),
        ];
        for (path, text, mode) in files {
            let path = place.path(directory).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode & !mask))
                .unwrap();
        }
        // Only a shell sets the umask of a child alone.
        let script = format!(
            "umask {mask:04o}; exec \"$0\" package {directory} -q --out {directory}/out.zip"
        );
        let shell = place.gk([""; 0]).instead("sh", &place.path(""));
        shell.args(&["-ec", &script, env!("CARGO_BIN_EXE_gk")]).ok();
        fs::read(place.path(directory).join("out.zip")).unwrap()
    };
    assert_eq!(
        make("one", 0o022, 1_000_000_000),
        make("two/deeper/a", 0o077, 1_700_000_000)
    );
}

#[test]
fn what_cannot_be_packed() {
    let place = Place::new();
    place.gk(["package", "nowhere"]).fails(3);
    place.plugin("a");
    fs::remove_file(place.path("a/a")).unwrap();
    assert!(place.gk(["package", "a"]).fails(3).contains("gk build a"));
    assert!(!place.path("a/dist").exists());
    place.plugin("a");
    fs::create_dir_all(place.path("a/sub")).unwrap();
    fs::write(place.path("a/sub/plugin.yaml"), "").unwrap();
    let error = place.gk(["package", "a"]).fails(1);
    assert!(error.contains("a second plugin.yaml"), "{error}");
    fs::remove_dir_all(place.path("a/sub")).unwrap();
    replace(&place.path("a/plugin.yaml"), "version: \"1.0.0\"\n", "");
    assert!(
        place
            .gk(["package", "a"])
            .fails(1)
            .contains("has no version")
    );
    replace(&place.path("a/plugin.yaml"), "name: a", "name: A");
    place.gk(["package", "a"]).fails(1);
}

#[test]
fn a_private_key_does_not_get_into_a_package() {
    let place = Place::new();
    place.plugin("a");
    place.gk(["keys", "generate", "--out", "a/my.key"]).ok();
    for command in [
        &["package", "a"][..],
        &["sign", "a", "--key-file", "a/my.key"],
    ] {
        let error = place.gk(command).fails(1);
        assert!(error.contains("a/my.key is a private key"), "{error}");
    }
    assert!(!place.path("a/dist").exists() && !place.path("a/plugin.sig").exists());
    fs::write(place.path("a/.gkignore"), "*.key\n").unwrap();
    place.gk(["sign", "a", "--key-file", "a/my.key"]).ok();
    place.gk(["package", "a"]).ok();
    let archive = Archive::open(&place.path("a/dist/a-1.0.0.zip")).unwrap();
    assert!(archive.entry("my.key").is_none());
}
