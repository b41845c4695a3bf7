//! `gk keys`: private keys stay private.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use gk_sign::SecretKey;

use crate::{Place, json};

#[test]
fn a_key_in_the_default_place() {
    let place = Place::new();
    let shown = place.gk(["keys", "generate"]).ok();
    let file = place.key_file();
    let text = fs::read_to_string(&file).unwrap();
    let private = text.lines().next().unwrap();
    let key = SecretKey::from_hex(private).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert!(
        shown.contains(&format!(
            "GOATFLOW_TRUSTED_KEYS={}\n",
            key.public().to_hex()
        )),
        "{shown}"
    );
    assert!(shown.contains(&key.public().id().to_string()), "{shown}");
    assert!(!shown.contains(&private[..32]), "{shown}");

    // Never written over unless that is asked for.
    let error = place.gk(["keys", "generate"]).fails(1);
    assert!(
        error.contains("is there already") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    place.gk(["keys", "generate", "--force"]).ok();
    assert_ne!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn xdg_config_home() {
    let place = Place::new();
    let config = place.path("config");
    place
        .gk(["keys", "generate"])
        .env("XDG_CONFIG_HOME", &config)
        .ok();
    assert!(config.join("gk/keys/default.key").is_file());
    assert!(!place.key_file().exists());
    // A relative one is none, says the specification.
    place
        .gk(["keys", "generate"])
        .env("XDG_CONFIG_HOME", "config")
        .ok();
    assert!(place.key_file().is_file());
}

#[test]
fn printed_as_upstream_does() {
    let place = Place::new();
    let printed = place.gk(["keys", "generate", "--print"]).ok();
    let mut lines = printed.lines().map(|line| line.rsplit(' ').next().unwrap());
    let key = SecretKey::from_hex(lines.next().unwrap()).unwrap();
    assert_eq!(lines.next().unwrap(), key.public().to_hex());
    assert!(!place.key_file().exists());
}

#[test]
fn listed_and_shown() {
    let place = Place::new();
    assert_eq!(
        json(&place.gk(["keys", "list", "-o", "json"]).ok()),
        json("[]")
    );
    place.gk(["keys", "show"]).fails(3);
    place.gk(["keys", "generate"]).ok();
    let other = place.key_file().with_file_name("other.key");
    place
        .gk(["keys", "generate", "--out", other.to_str().unwrap()])
        .ok();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(other.with_file_name("broken.key"), "abc\n").unwrap();
    let list = json(&place.gk(["keys", "list", "-o", "json"]).ok());
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert!(
        list[0]["error"]
            .as_str()
            .unwrap()
            .contains("not a private key"),
        "{list}"
    );
    assert_eq!(
        (&list[1]["too_open"], &list[2]["too_open"]),
        (&false.into(), &true.into())
    );
    assert_eq!(list[1]["public_key"].as_str().unwrap().len(), 64);
    let table = place.gk(["keys", "list"]).ok();
    assert!(table.contains("too open; run: chmod 600"), "{table}");
    let outcome = place
        .gk(["keys", "show", other.to_str().unwrap(), "-o", "name"])
        .run();
    assert_eq!(outcome.code, Some(0));
    assert_eq!(outcome.stdout.trim_end(), list[2]["id"].as_str().unwrap());
    assert!(
        outcome.stderr.contains("warning: others can read"),
        "{}",
        outcome.stderr
    );
}
