//! `gk init`: what is written, and what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::Place;

#[test]
fn the_tutorials_command() {
    let place = Place::new();
    assert_eq!(
        place.gk(["init", "my-plugin", "--type", "grpc"]).ok(),
        "my-plugin\n"
    );
    for file in [
        "plugin.yaml",
        "main.go",
        "main_test.go",
        "go.mod",
        "go.sum",
        "build.sh",
        "README.md",
        ".gitignore",
        ".gkignore",
        ".github/workflows/ci.yml",
        "sdk/go.mod",
        "sdk/pkg/plugin/grpcutil/serve.go",
    ] {
        assert!(place.path("my-plugin").join(file).is_file(), "{file}");
    }
    let mode = |file: &str| place.path(file).metadata().unwrap().permissions().mode();
    assert_eq!(mode("my-plugin/build.sh") & 0o111, 0o111);
    assert_eq!(mode("my-plugin/main.go") & 0o111, 0);
    // It is valid at once, but for the program that is not built yet.
    let report = place.gk(["validate", "my-plugin", "--json"]).ok();
    assert_eq!(crate::json(&report)["warning_count"], 1, "{report}");
}

#[test]
fn the_other_form_makes_the_same() {
    let place = Place::new();
    place
        .gk(["init", "a", "--type", "grpc", "--dir", "one"])
        .ok();
    place
        .gk(["plugin", "init", "a", "grpc", "--dir", "two"])
        .ok();
    for file in ["plugin.yaml", "main.go", "go.mod", "sdk/go.mod"] {
        let read = |directory| fs::read(place.path(directory).join(file)).unwrap();
        assert_eq!(read("one"), read("two"), "{file}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let place = Place::new();
    let error = place.gk(["init"]).fails(2);
    assert!(
        error.contains("the plugin's name is missing") && error.contains("NAME"),
        "{error}"
    );
    let error = place.gk(["init", "a"]).fails(2);
    assert!(
        error.contains("the kind of plugin is missing") && error.contains("--type grpc"),
        "{error}"
    );
}

#[test]
fn wrong_names_get_a_suggestion() {
    let place = Place::new();
    let error = place.gk(["init", "My Plugin", "--type", "grpc"]).fails(2);
    assert!(error.contains("did you mean my-plugin?"), "{error}");
    let error = place.gk(["init", "../evil", "--type", "grpc"]).fails(2);
    assert!(error.contains("did you mean evil?"), "{error}");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn wasm_is_coming() {
    let place = Place::new();
    for arguments in [
        &["init", "a", "--type", "wasm"][..],
        &["plugin", "init", "a", "wasm"],
        &["init", "--type", "wasm"],
    ] {
        let error = place.gk(arguments).fails(1);
        assert!(
            error.contains("WASM plugins are coming") && error.contains("--type grpc"),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn files_are_not_overwritten() {
    let place = Place::new();
    let init = |more: &[&str]| place.gk([&["init", "a", "--type", "grpc"], more].concat());
    fs::create_dir(place.path("a")).unwrap();
    fs::write(place.path("a/main.go"), "mine").unwrap();
    symlink("/nowhere", place.path("a/plugin.yaml")).unwrap();
    fs::write(place.path("a/other"), "mine").unwrap();
    let error = init(&[]).fails(1);
    assert!(
        error.contains("a/main.go\n") && error.contains("a/plugin.yaml\n"),
        "{error}"
    );
    assert!(!error.contains("a/other"), "{error}");
    // Nothing else was written either.
    assert_eq!(fs::read_dir(place.path("a")).unwrap().count(), 3);
    init(&["--force"]).ok();
    assert!(
        fs::read_to_string(place.path("a/main.go"))
            .unwrap()
            .starts_with("// a is")
    );
    assert!(
        place
            .path("a/plugin.yaml")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
    assert_eq!(fs::read_to_string(place.path("a/other")).unwrap(), "mine");
    // What cannot be replaced stays in the way.
    fs::remove_dir_all(place.path("a/sdk")).unwrap();
    fs::write(place.path("a/sdk"), "").unwrap();
    assert!(init(&["--force"]).fails(1).contains("a/sdk\n"));
}

#[test]
fn the_sdk_from_elsewhere() {
    let place = Place::new();
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/sdk-go");
    place.gk(["init", "a", "--type", "grpc", "--sdk", sdk]).ok();
    let module = fs::read_to_string(place.path("a/go.mod")).unwrap();
    assert!(module.contains("/plugins/sdk-go\n"), "{module}");
    assert!(!place.path("a/sdk").exists());
    place
        .gk(["init", "b", "--type", "grpc", "--sdk", "v1.2.3"])
        .ok();
    let module = fs::read_to_string(place.path("b/go.mod")).unwrap();
    assert!(
        module.contains("require github.com/goatkit/goatflow v1.2.3\n"),
        "{module}"
    );
    // The path is GoatFlow's: without this its module would be fetched.
    let replaces = "replace github.com/goatkit/goatflow => github.com/goatkit/plugin-host/plugins/sdk-go v1.2.3\n";
    assert!(module.ends_with(replaces), "{module}");
    place
        .gk([
            "init", "c", "--type", "grpc", "--lang", "rust", "--sdk", "1.2.3",
        ])
        .ok();
    let manifest = fs::read_to_string(place.path("c/Cargo.toml")).unwrap();
    assert!(manifest.contains("gk-plugin = \"1.2.3\"\n"), "{manifest}");
    assert!(!place.path("c/sdk").exists());
    place
        .gk(["init", "d", "--type", "grpc", "--sdk", "./nowhere"])
        .fails(2);
    let error = place
        .gk(["init", "d", "--type", "grpc", "--sdk", "."])
        .fails(3);
    assert!(error.contains("go.mod"), "{error}");
    assert!(!place.path("d").exists());
}
