//! `gk build`, with the real compilers; and that what `gk init` writes builds and passes its tests
//! at once.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::tools::go_directory;
use crate::{Place, replace};

/// A plugin of the shape that GoatFlow's tutorial teaches.
const TUTORIAL: &str = include_str!("like-the-tutorial.go");

#[test]
fn a_new_plugin_in_go() {
    let place = Place::new();
    place.gk(["init", "my-plugin", "--type", "grpc"]).ok();
    let directory = place.path("my-plugin");
    let go = |arguments: &[&str]| {
        let go = go_directory().join("go");
        place
            .gk([""; 0])
            .with_go()
            .instead(go.to_str().unwrap(), &directory)
            .args(arguments)
    };
    // As the tutorial has it. Nothing is missing in go.mod and go.sum.
    go(&["build", "-mod=readonly", "-o", "my-plugin", "."]).ok();
    go(&["vet", "-mod=readonly", "./..."]).ok();
    go(&["test", "-mod=readonly", "."]).ok();
    fs::remove_file(directory.join("my-plugin")).unwrap();
    // From anywhere.
    let script = place.path("my-plugin/build.sh");
    place
        .gk([""; 0])
        .with_go()
        .instead(script.to_str().unwrap(), Path::new("/"))
        .ok();
    assert!(directory.join("my-plugin").is_file());

    // A program that is there is replaced and not written to.
    let before = directory.join("my-plugin").metadata().unwrap().ino();
    let path = place.gk(["build", "my-plugin"]).with_go().ok();
    assert_eq!(path, "my-plugin/my-plugin\n");
    assert_ne!(
        directory.join("my-plugin").metadata().unwrap().ino(),
        before
    );
    assert_eq!(
        place.gk(["validate", "my-plugin", "--strict"]).ok(),
        "the plugin my-plugin is valid\n"
    );

    // For another machine: validate says so.
    let other = if cfg!(target_arch = "aarch64") {
        "amd64"
    } else {
        "arm64"
    };
    place
        .gk(["build", "my-plugin", "--target", &format!("linux/{other}")])
        .with_go()
        .ok();
    let error = place.gk(["validate", "my-plugin", "--strict"]).fails(1);
    assert!(
        error.contains(&format!("a Linux program for {other}")),
        "{error}"
    );

    // What does not compile leaves what was there.
    let before = directory.join("my-plugin").metadata().unwrap().ino();
    replace(&directory.join("main.go"), "func main()", "func mein()");
    let error = place.gk(["build", "my-plugin"]).with_go().fails(1);
    assert!(error.contains("`go build` failed"), "{error}");
    assert_eq!(
        directory.join("my-plugin").metadata().unwrap().ino(),
        before
    );
    let left = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !left
            .into_iter()
            .any(|name| name.to_string_lossy().contains("gk-build"))
    );

    // A source of the tutorial's shape compiles, with the tests that were written for ours.
    fs::write(directory.join("main.go"), TUTORIAL).unwrap();
    place.gk(["build", "my-plugin"]).with_go().ok();
    go(&["test", "-mod=readonly", "."]).ok();
}

/// In a directory that stays, so that only the plugin and the SDK are compiled anew.
#[test]
fn a_new_plugin_in_rust() {
    let place = Place::new();
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scaffold");
    let target = work.join("target");
    let directory = work.join("my-plugin");
    let _ = fs::remove_dir_all(&directory);
    let dir = directory.to_str().unwrap();
    place
        .gk([
            "init",
            "my-plugin",
            "--type",
            "grpc",
            "--lang",
            "rust",
            "--dir",
            dir,
        ])
        .ok();
    let lock = fs::read_to_string(directory.join("Cargo.lock")).unwrap();
    assert!(!Path::new(dir).join("my-plugin").exists());
    place
        .gk(["build", dir, "--debug"])
        .with_rust()
        .env("CARGO_TARGET_DIR", &target)
        .ok();
    assert!(directory.join("my-plugin").is_file());
    place.gk(["validate", dir, "--strict"]).ok();
    // No version is another than those that the SDK was tested with, and no C is in it.
    let after = fs::read_to_string(directory.join("Cargo.lock")).unwrap();
    let added: Vec<_> = after
        .lines()
        .filter(|line| line.starts_with("checksum") && !lock.contains(line))
        .collect();
    assert_eq!(added, [""; 0]);
    let cargo = |arguments: &[&str]| {
        let cargo = place
            .gk([""; 0])
            .with_rust()
            .env("CARGO_TARGET_DIR", &target);
        cargo.instead("cargo", &directory).args(arguments)
    };
    let tree = cargo(&["tree", "--edges", "normal,build", "--prefix", "none"]).ok();
    for name in ["aws-lc", "cc ", "serde-saphyr", "regex-automata", "rustls"] {
        assert!(!tree.contains(name), "{name}: {tree}");
    }
    cargo(&["test", "--quiet", "--test", "plugin"]).ok();
    let script = directory.join("build.sh");
    assert!(
        fs::read_to_string(script)
            .unwrap()
            .contains("release/my-plugin")
    );

    let error = place
        .gk(["build", dir, "--target", "linux/riscv64"])
        .with_rust()
        .fails(1);
    assert!(
        error.contains("rustup target add riscv64gc-unknown-linux-"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_built() {
    let place = Place::new();
    place.gk(["build", "nowhere"]).fails(3);
    let error = place.gk(["build"]).fails(3);
    assert!(error.contains("gk init NAME --type grpc"), "{error}");
    place.plugin("a");
    let error = place.gk(["build", "a"]).fails(3);
    assert!(
        error.contains("neither a go.mod nor a Cargo.toml"),
        "{error}"
    );
    fs::write(place.path("a/go.mod"), "module a\n").unwrap();
    // No toolchain: the error says where to get one.
    let error = place.gk(["build", "a"]).env("PATH", "/nowhere").fails(1);
    assert!(
        error.contains("no `go` on PATH") && error.contains("https://go.dev/dl"),
        "{error}"
    );
    fs::write(place.path("a/Cargo.toml"), "").unwrap();
    place.gk(["build", "a"]).fails(1);
    fs::remove_file(place.path("a/go.mod")).unwrap();
    let error = place.gk(["build", "a"]).env("PATH", "/nowhere").fails(1);
    assert!(
        error.contains("no `cargo` on PATH") && error.contains("rustup.rs"),
        "{error}"
    );
    let error = place.gk(["build", "a", "--target", "solaris"]).fails(2);
    assert!(error.contains("linux/arm64"), "{error}");
}
