//! `gk sign` and `gk verify`: from signed to tampered.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use gk_sign::SecretKey;

use crate::{Place, json, replace};

/// A signed plugin.
fn signed(place: &Place) {
    place.plugin("a");
    place.gk(["keys", "generate"]).ok();
    place.gk(["sign", "a"]).ok();
}

fn state(place: &Place) -> String {
    let outcome = place.gk(["verify", "a", "-o", "json"]).run();
    json(&outcome.stdout)["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_package_from_signed_to_tampered() {
    let place = Place::new();
    place.plugin("a");
    assert_eq!(state(&place), "unsigned");
    let outcome = place.gk(["verify", "a"]).run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("warning: unsigned: a/a: there is no signature"),
        "{}",
        outcome.stderr
    );
    place.gk(["verify", "a", "--require"]).fails(1);

    place.gk(["sign", "a"]).fails(3);
    place.gk(["keys", "generate"]).ok();
    // 2026-11-27T00:00:00Z.
    let path = place
        .gk(["sign", "a"])
        .env("SOURCE_DATE_EPOCH", "1795737600")
        .ok();
    assert_eq!(path, "a/plugin.sig\n");
    let verdict = json(&place.gk(["verify", "a", "--require", "-o", "json"]).ok());
    assert_eq!(
        (&verdict["state"], &verdict["files"]),
        (&"valid".into(), &2.into())
    );
    assert_eq!(verdict["date"], "2026-11-27T00:00:00Z");
    assert!(verdict["reason"].is_null(), "{verdict}");
    let text = place.gk(["verify", "a"]).ok();
    assert!(text.starts_with("state:   valid\n"), "{text}");

    // Somebody else's machine: the key is not known there.
    let outcome = place.gk(["verify", "a"]).env("HOME", place.path("")).run();
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome.stderr.contains("untrusted key"),
        "{}",
        outcome.stderr
    );
    place
        .gk(["verify", "a", "--require"])
        .env("HOME", place.path(""))
        .fails(1);
    // Unless it is told.
    let key = json(&place.gk(["keys", "show", "-o", "json"]).ok())["public_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let elsewhere = |arguments: &[&str]| {
        place
            .gk([&["verify", "a", "--require"], arguments].concat())
            .env("HOME", place.path(""))
    };
    elsewhere(&["--key", &key]).ok();
    elsewhere(&[]).env("GOATFLOW_TRUSTED_KEYS", &key).ok();
    fs::write(place.path("keys"), format!("# mine\n{key}\n")).unwrap();
    elsewhere(&["--keys-file", "keys"]).ok();
    elsewhere(&[])
        .env("GOATFLOW_TRUSTED_KEYS_FILE", place.path("keys"))
        .ok();
    elsewhere(&["--key", "abc"]).fails(2);

    // A file that does not belong to the package changes nothing; one that does, everything.
    fs::write(place.path("a/.notes"), "").unwrap();
    assert_eq!(state(&place), "valid");
    fs::write(place.path("a/more.txt"), "").unwrap();
    let error = place.gk(["verify", "a"]).fails(4);
    assert!(
        error.contains("tampered: a/more.txt: the file is not among the signed ones"),
        "{error}"
    );
    fs::remove_file(place.path("a/more.txt")).unwrap();
    assert_eq!(state(&place), "valid");
    replace(&place.path("a/a"), "exit 1", "exit 2");
    let error = place.gk(["verify", "a"]).fails(4);
    assert!(
        error.contains("a/a: the file was changed after signing"),
        "{error}"
    );
    place.gk(["sign", "a"]).ok();
    assert_eq!(state(&place), "valid");
}

/// A host judges all that is in a directory.
#[test]
fn a_directory_with_more_than_the_package() {
    let place = Place::new();
    signed(&place);
    assert_eq!(place.gk(["sign", "a", "-q"]).run().stderr, "");
    fs::write(place.path("a/.gitignore"), "").unwrap();
    let outcome = place.gk(["sign", "a"]).run();
    assert_eq!(outcome.code, Some(0));
    let expected =
        "the directory has more than the package, such as a/.gitignore: a host refuses it";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    place.gk(["verify", "a", "--require"]).ok();
}

#[test]
fn the_same_key_and_date_sign_the_same() {
    let place = Place::new();
    signed(&place);
    let sign = || {
        place.gk(["sign", "a"]).env("SOURCE_DATE_EPOCH", "1").ok();
        fs::read(place.path("a/plugin.sig")).unwrap()
    };
    assert_eq!(sign(), sign());
    place
        .gk(["sign", "a"])
        .env("SOURCE_DATE_EPOCH", "today")
        .fails(1);
}

#[test]
fn version_1() {
    let place = Place::new();
    place.plugin("a");
    place.gk(["keys", "generate"]).ok();
    assert_eq!(place.gk(["sign", "a", "--format", "v1"]).ok(), "a/a.sig\n");
    assert_eq!(state(&place), "valid-v1");
    assert_eq!(
        fs::read_to_string(place.path("a/a.sig")).unwrap().len(),
        128
    );
    assert_eq!(
        place.gk(["sign", "a", "--format", "both"]).ok(),
        "a/a.sig\na/plugin.sig\n"
    );
    assert_eq!(state(&place), "valid");
    // A package that is judged by plugin.sig does not get a file that this does not have.
    let error = place.gk(["sign", "a", "--format", "v1"]).fails(1);
    assert!(error.contains("--format both"), "{error}");
    let outcome = place.gk(["sign", "a/a"]).run();
    assert!(
        outcome.stderr.contains("warning: a/a.sig is not among"),
        "{}",
        outcome.stderr
    );
    // A signature that does not belong to the package.
    fs::write(place.path("a/.gkignore"), "*.sig\n").unwrap();
    let error = place.gk(["sign", "a", "--format", "both"]).fails(1);
    assert!(error.contains("!/a.sig"), "{error}");
}

/// As upstream: a file gets a signature beside it.
#[test]
fn a_file() {
    let place = Place::new();
    signed(&place);
    place.gk(["package", "a", "--out", "a.zip"]).ok();
    assert_eq!(place.gk(["sign", "a.zip"]).ok(), "a.zip.sig\n");
    let outcome = place.gk(["verify", "a.zip"]).run();
    assert_eq!(outcome.code, Some(0));
    assert!(
        outcome.stderr.contains("a.zip.sig: made by key "),
        "{}",
        outcome.stderr
    );
    fs::write(place.path("a.zip.sig"), "ab".repeat(64)).unwrap();
    let outcome = place.gk(["verify", "a.zip"]).run();
    assert!(
        outcome.stderr.contains("no trusted key made it"),
        "{}",
        outcome.stderr
    );
    fs::write(place.path("a.zip.sig"), "no hex").unwrap();
    place.gk(["verify", "a.zip"]).fails(4);
    fs::write(place.path("a.zip"), "no ZIP").unwrap();
    place.gk(["verify", "a.zip"]).fails(1);
}

#[test]
fn where_the_key_comes_from() {
    let place = Place::new();
    place.plugin("a");
    let key = SecretKey::generate().unwrap();
    let id = key.public().id().to_string();
    let signer = |gk: crate::Gk| json(&gk.ok())["key"].as_str().unwrap().to_owned();
    let from_variable = place
        .gk(["sign", "a", "-o", "json"])
        .env("GOATFLOW_SIGNING_KEY", &*key.to_hex());
    assert_eq!(signer(from_variable), id);
    // A file that is named comes first.
    place.gk(["keys", "generate", "--out", "own.key"]).ok();
    let from_file = place.gk(["sign", "a", "-o", "json", "--key-file", "own.key"]);
    assert_ne!(
        signer(from_file.env("GOATFLOW_SIGNING_KEY", &*key.to_hex())),
        id
    );
    // One that others can read is not used.
    fs::set_permissions(place.path("own.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = place.gk(["sign", "a", "--key-file", "own.key"]).fails(4);
    assert!(error.contains("chmod 600 own.key"), "{error}");
    // A wrong one is not repeated.
    let wrong = &key.to_hex()[..100];
    let error = place
        .gk(["sign", "a"])
        .env("GOATFLOW_SIGNING_KEY", wrong)
        .fails(1);
    assert!(
        error.contains("GOATFLOW_SIGNING_KEY: this is not a private key"),
        "{error}"
    );
    assert!(!error.contains(&wrong[..16]), "{error}");
    let error = place.gk(["sign", "a", "--key", wrong]).fails(2);
    assert!(error.contains("every user of this machine"), "{error}");
    assert!(!error.contains(&wrong[..16]), "{error}");
    place.gk(["sign", "a", "--key"]).fails(2);
    assert!(!place.gk(["sign", "--help"]).ok().contains("--key "));
}

#[test]
fn what_cannot_be_signed() {
    let place = Place::new();
    signed(&place);
    fs::remove_file(place.path("a/a")).unwrap();
    let error = place.gk(["sign", "a"]).fails(3);
    assert!(error.contains("gk build a"), "{error}");
    place.plugin("a");
    std::os::unix::fs::symlink("a", place.path("a/link")).unwrap();
    assert!(
        place
            .gk(["sign", "a"])
            .fails(1)
            .contains("a/link is a symbolic link")
    );
    fs::remove_file(place.path("a/link")).unwrap();
    fs::write(place.path("a/.gkignore"), "/a\n").unwrap();
    assert!(place.gk(["sign", "a"]).fails(1).contains("!/a"));
    replace(&place.path("a/plugin.yaml"), "version: \"1.0.0\"\n", "");
    fs::remove_file(place.path("a/.gkignore")).unwrap();
    assert!(
        place
            .gk(["sign", "a"])
            .fails(1)
            .contains("version: \"1.0.0\"")
    );
    replace(&place.path("a/plugin.yaml"), "grpc", "grcp");
    let error = place.gk(["sign", "a"]).fails(1);
    assert!(error.contains("a/plugin.yaml:2:10"), "{error}");
}
