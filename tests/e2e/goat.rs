//! A plugin `goat` of which there is any number of versions, each of which says which one it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::host::{Host, Setup};
use crate::{eventually, program};

/// What a program answers to `version`, as it is built.
const PLACEHOLDER: &str = "GK_TEST_VERSION_000000";

pub(crate) fn version(number: u32) -> String {
    format!("GK_TEST_VERSION_{number:06}")
}

/// The reference program with another version in it.
pub(crate) fn built(number: u32) -> Vec<u8> {
    built_from("gen3", number)
}

/// A program, and where its version is.
type Patchable = Arc<(Vec<u8>, Vec<usize>)>;

/// As [`built`], of another program.
pub(crate) fn built_from(name: &str, number: u32) -> Vec<u8> {
    static READ: Mutex<BTreeMap<String, Patchable>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let known = read.entry(name.to_owned()).or_insert_with(|| {
        let bytes = fs::read(program(name)).unwrap();
        let found: Vec<usize> = bytes
            .windows(PLACEHOLDER.len())
            .enumerate()
            .filter(|(_, window)| *window == PLACEHOLDER.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!found.is_empty(), "{name} has no version to be replaced");
        Arc::new((bytes, found))
    });
    let known = Arc::clone(known);
    drop(read);
    let (mut bytes, found) = (known.0.clone(), &known.1);
    for &at in found {
        bytes[at..at + PLACEHOLDER.len()].copy_from_slice(version(number).as_bytes());
    }
    bytes
}

/// A program of that version in this place.
pub(crate) fn write_program(place: &Path, number: u32) {
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, built(number)).unwrap();
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A package directory of a version.
pub(crate) fn write_package(dir: &Path, name: &str, number: u32) {
    write_program(&dir.join(name), number);
    fs::write(dir.join("plugin.yaml"), manifest(name, number)).unwrap();
}

/// A manifest with times that are long enough for a busy machine.
pub(crate) fn manifest(name: &str, number: u32) -> String {
    format!(
        "name: {name}\nversion: 1.0.{number}\nruntime: grpc\nresources:\n  init_timeout: 100s\n  call_timeout: 100s\n"
    )
}

/// A host with the plugin `goat` in its version 1, and the plugin's directory.
pub(crate) fn goat() -> (Host, PathBuf) {
    goat_in(Setup::new())
}

pub(crate) fn goat_in(setup: Setup) -> (Host, PathBuf) {
    let place = setup.path("plugins/goat");
    write_package(&place, "goat", 1);
    let host = setup.settled();
    assert_eq!(serving(&host).as_deref(), Some(&*version(1)));
    (host, place)
}

/// The version that answers.
pub(crate) fn serving(host: &Host) -> Option<String> {
    let reply = host.function("goat", "version", &json!({}));
    let version = reply.status == 200;
    version.then(|| serde_json::from_slice(&reply.body).unwrap())
}

pub(crate) fn wait_for(host: &Host, number: u32) {
    eventually(&format!("version {number} serves"), || {
        (serving(host)? == version(number)).then_some(())
    });
}

pub(crate) fn generation(host: &Host) -> u64 {
    host.plugin("goat")["generation"].as_u64().unwrap()
}

/// The generation once everything that has been written is taken in: whatever was to be started has been.
pub(crate) fn settled_generation(host: &Host) -> u64 {
    let reloaded = host
        .admin("POST", "/api/v1/plugins/goat/reload?wait=100s")
        .send();
    reloaded.expect(200).json()["generation"].as_u64().unwrap()
}

/// Runs a script of the tools that people use, in this directory, with these variables.
#[expect(clippy::disallowed_methods, reason = "the tools that people use")]
pub(crate) fn shell(script: &str, place: &Path, variables: &[(&str, &OsStr)]) {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-ec", script])
        .current_dir(place)
        .envs(variables.iter().copied());
    assert!(command.status().unwrap().success(), "{script}");
}

/// Fails the test where none of these programs is there, and says what has it. Returns the first that is.
pub(crate) fn tool(names: &[&'static str], package: &str) -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    names
        .iter()
        .find(|name| is_there(name))
        .unwrap_or_else(|| panic!("{names:?} is not on PATH: install the package {package}"))
}
