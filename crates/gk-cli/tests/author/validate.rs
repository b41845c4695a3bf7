//! `gk validate`: every finding with its place, and the same for programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::{Place, json};

fn snapshot(name: &str, manifest: &str) {
    let place = Place::new();
    place.plugin("my-plugin");
    fs::write(place.path("my-plugin/plugin.yaml"), manifest).unwrap();
    let shown = place.gk(["validate", "my-plugin"]).fails(1);
    insta::assert_snapshot!(format!("validate-{name}"), shown);
    // The same findings, for programs.
    let outcome = place.gk(["validate", "my-plugin", "--json"]).run();
    assert_eq!((outcome.code, &*outcome.stderr), (Some(1), ""));
    let report = json(&outcome.stdout);
    assert_eq!(report["valid"], false);
    let list = report["diagnostics"].as_array().unwrap();
    let errors = list.iter().filter(|it| it["severity"] == "error").count();
    assert_eq!(report["error_count"], errors);
    assert_eq!(report["warning_count"], list.len() - errors);
    for it in list {
        assert!(shown.contains(it["summary"].as_str().unwrap()), "{it}");
        let (line, column) = (
            &it["range"]["start"]["line"],
            &it["range"]["start"]["column"],
        );
        let place = match line.is_null() {
            true => it["range"]["filename"].as_str().unwrap().to_owned(),
            false => format!("my-plugin/plugin.yaml:{line}:{column}\n"),
        };
        assert!(shown.contains(&place), "{it}");
    }
}

const HEAD: &str = "name: my-plugin\nversion: \"1.0.0\"\nruntime: grpc\n";

#[test]
fn broken_manifests() {
    snapshot(
        "wrong-type",
        &format!("{HEAD}resources:\n  memory_mb: lots\n  permissions: db\n"),
    );
    snapshot(
        "unknown-key",
        &format!("{HEAD}binery: my-plugin\nresources:\n  memory: 64\n"),
    );
    snapshot(
        "bad-duration",
        &format!("{HEAD}resources:\n  call_timeout: 30sec # half a minute\n"),
    );
    snapshot(
        "wrong-name",
        "name: My Plugin\nversion: 1.0\nruntime: grpc\nbinary: my-plugin\n",
    );
    snapshot("no-yaml", &format!("{HEAD}resources: [\n"));
    snapshot("other-runtime", "name: my-plugin\nruntime: wasm\n");
}

#[test]
fn the_program() {
    let place = Place::new();
    let directory = place.plugin("my-plugin");
    let binary = directory.join("my-plugin");
    assert_eq!(
        place.gk(["validate", "my-plugin"]).ok(),
        "the plugin my-plugin is valid\n"
    );
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        place
            .gk(["validate", "my-plugin"])
            .fails(1)
            .contains("is not executable")
    );
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&binary, "text").unwrap();
    assert!(
        place
            .gk(["validate", "my-plugin"])
            .fails(1)
            .contains("is no program")
    );
    // Of another machine, here one that nobody has.
    fs::write(
        &binary,
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\xff",
    )
    .unwrap();
    let outcome = place.gk(["validate", "my-plugin"]).run();
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome
            .stderr
            .contains("ELF machine 65535; this machine is"),
        "{}",
        outcome.stderr
    );
    fs::remove_file(&binary).unwrap();
    let outcome = place.gk(["validate", "my-plugin"]).run();
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (Some(0), "the plugin my-plugin is valid, with 1 warning\n")
    );
    assert!(
        outcome.stderr.contains("is not there yet") && outcome.stderr.contains("gk build"),
        "{}",
        outcome.stderr
    );
    // Warnings count where that is asked for, and are not shown where nothing is to be said.
    assert!(
        place
            .gk(["validate", "my-plugin", "--strict"])
            .fails(1)
            .contains("1 error")
    );
    assert_eq!(place.gk(["validate", "my-plugin", "-q"]).run().stderr, "");
    // The current directory, and the file itself.
    let mut gk = place.gk(["validate"]);
    gk.command.current_dir(&directory);
    assert_eq!(gk.ok(), "the plugin my-plugin is valid, with 1 warning\n");
    place.gk(["validate", "my-plugin/plugin.yaml"]).ok();
}

#[test]
fn names_that_disagree() {
    let place = Place::new();
    let directory = place.plugin("my-plugin");
    let warnings = || place.gk(["validate", "my-plugin"]).run().stderr;
    fs::write(
        directory.join("go.mod"),
        "module example.org/my-plugin/v2\n",
    )
    .unwrap();
    fs::write(
        directory.join("Cargo.toml"),
        "[package]\nname = \"my-plugin\"\n",
    )
    .unwrap();
    assert_eq!(warnings(), "");
    fs::write(directory.join("go.mod"), "module example.org/another\n").unwrap();
    assert!(
        warnings().contains("the Go module is called \"another\""),
        "{}",
        warnings()
    );
    fs::write(
        directory.join("Cargo.toml"),
        "[package]\nname = \"others\"\n",
    )
    .unwrap();
    assert!(
        warnings().contains("the crate is called \"others\""),
        "{}",
        warnings()
    );
    fs::rename(&directory, place.path("renamed")).unwrap();
    let outcome = place.gk(["validate", "renamed"]).run();
    assert!(
        outcome
            .stderr
            .contains("the directory is called \"renamed\""),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_is_not_there() {
    let place = Place::new();
    place.gk(["validate", "nowhere"]).fails(3);
    place.gk(["validate"]).fails(3);
    fs::write(place.path("a.zip"), "no ZIP file").unwrap();
    assert!(
        place
            .gk(["validate", "a.zip"])
            .fails(1)
            .contains("not a ZIP file")
    );
}

#[test]
fn a_package() {
    let place = Place::new();
    place.plugin("my-plugin");
    place
        .gk(["package", "my-plugin", "--out", "p.zip", "-q"])
        .ok();
    assert_eq!(
        place.gk(["validate", "p.zip"]).ok(),
        "the plugin my-plugin is valid\n"
    );
}

#[test]
fn formats() {
    let place = Place::new();
    place.plugin("my-plugin");
    assert_eq!(
        place.gk(["validate", "my-plugin", "-o", "name"]).ok(),
        "my-plugin\n"
    );
    let report = place.gk(["validate", "my-plugin", "-o", "json"]).ok();
    assert_eq!(report, place.gk(["validate", "my-plugin", "--json"]).ok());
    assert_eq!(json(&report)["valid"], true);
    assert!(
        place
            .gk(["validate", "my-plugin", "-o", "yaml"])
            .ok()
            .contains("valid: true")
    );
}
