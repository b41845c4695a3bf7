//! Packages over the admin API: installed, replaced, taken back, removed, refused; and what the audit log says of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gk_sign::{PackageToSign, SecretKey, sign_package};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::host::{Host, Setup};
use crate::http::Reply;
use crate::users::User;
use crate::{eventually, program};

/// A plugin's directory to make packages of.
pub(crate) struct Source(tempfile::TempDir, String);

impl Source {
    /// A plugin with this program, of this version.
    pub(crate) fn new(name: &str, built: &str, version: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(program(built), dir.path().join(name)).unwrap();
        fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o755)).unwrap();
        let manifest = format!(
            "name: {name}\nversion: {version}\nruntime: grpc\nbinary: {name}\nresources:\n  init_timeout: 100s\n  call_timeout: 100s\n"
        );
        fs::write(dir.path().join("plugin.yaml"), manifest).unwrap();
        Source(dir, name.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn signed(self, key: &SecretKey) -> Self {
        let manifest = fs::read_to_string(self.path().join("plugin.yaml")).unwrap();
        let version = manifest
            .lines()
            .find_map(|line| line.strip_prefix("version: "));
        let package = PackageToSign {
            directory: self.path().into(),
            name: self.1.clone(),
            version: version.unwrap().into(),
            manifest: "plugin.yaml".into(),
            binary: self.1.clone(),
            date: std::time::SystemTime::now(),
        };
        sign_package(key, &package).unwrap();
        self
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("package.zip");
        let selection = gk_package::Selection::of(self.path()).unwrap();
        gk_package::pack(&selection, &path).unwrap();
        fs::read(path).unwrap()
    }
}

fn install(host: &Host, query: &str, package: &[u8]) -> Reply {
    let path = format!("/api/v1/plugins{query}");
    host.admin("POST", &path)
        .header("Content-Type", "application/zip")
        .body(package)
        .send()
}

fn audit(host: &Host, query: &str) -> Vec<Value> {
    let page = host
        .get(&format!("/api/v1/audit{query}"))
        .expect(200)
        .json();
    page["entries"].as_array().unwrap().clone()
}

/// All that is in the plugins directory: names, and the content of files.
fn tree(root: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                found.insert((entry.path(), Vec::new()));
                queue.push(entry.path());
            } else {
                found.insert((entry.path(), fs::read(entry.path()).unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_package_is_looked_at_installed_replaced_and_removed() {
    let host = Setup::new().settled();
    let first = Source::new("gen3", "gen3", "1.0.0").pack();
    let before = tree(&host.path("plugins"));
    let report = install(&host, "?dry_run=true", &first).expect(200).json();
    assert_eq!(report["step"], "would_install");
    assert_eq!(
        (&report["name"], &report["version"]),
        (&json!("gen3"), &json!("1.0.0"))
    );
    assert_eq!(report["signature"]["state"], "unsigned");
    assert_eq!(
        tree(&host.path("plugins")),
        before,
        "a dry run changes something"
    );
    assert!(audit(&host, "").is_empty(), "a dry run is no change");

    let report = install(&host, "?wait=100s", &first).expect(200).json();
    assert_eq!(
        (&report["step"], &report["outcome"]["outcome"]),
        (&json!("installed"), &json!("serving"))
    );
    host.expect_serving("gen3");
    let digest = report["digest"].clone();

    // The same once more is nothing.
    let report = install(&host, "?wait=100s", &first).expect(200).json();
    assert_eq!(
        (&report["step"], &report["outcome"]["generation"]),
        (&json!("same"), &json!(1))
    );

    let second = Source::new("gen3", "gen3", "1.1.0")
        .file("extra.txt", "more")
        .pack();
    let report = install(&host, "?dry_run=true", &second).expect(200).json();
    assert_eq!(
        (&report["step"], &report["installed_version"]),
        (&json!("would_replace"), &json!("1.0.0"))
    );
    let changes = json!([
        { "path": "extra.txt", "change": "added" },
        { "path": "plugin.yaml", "change": "changed" },
    ]);
    assert_eq!(report["changes"], json!({ "files": changes, "count": 2 }));
    let report = install(&host, "?wait=100s", &second).expect(200).json();
    assert_eq!(
        (&report["step"], &report["outcome"]["generation"]),
        (&json!("replaced"), &json!(2))
    );
    assert_eq!(
        fs::read(host.path("plugins/gen3/extra.txt")).unwrap(),
        b"more"
    );

    // Files of the version before do not stay.
    let report = install(&host, "?wait=100s", &first).expect(200).json();
    assert_eq!(
        (&report["step"], &report["digest"]),
        (&json!("replaced"), &digest)
    );
    assert!(!host.path("plugins/gen3/extra.txt").exists());
    host.expect_serving("gen3");

    let reply = host
        .admin("DELETE", "/api/v1/plugins/gen3")
        .send()
        .expect(200)
        .json();
    assert_eq!(
        (&reply["version"], &reply["message"]),
        (&json!("1.0.0"), &json!("plugin uninstalled"))
    );
    assert!(
        reply["kept"]
            .as_array()
            .unwrap()
            .contains(&json!("work directory")),
        "{reply}"
    );
    host.get("/api/v1/plugins/gen3").expect(404);
    host.get("/api/plugins/gen3/status").expect(404);
    assert!(host.path("data/plugins/gen3").is_dir());
    assert_eq!(tree(&host.path("plugins")), before, "something is left");

    let changes: Vec<_> = audit(&host, "?target=gen3")
        .into_iter()
        .map(|entry| (entry["change"].clone(), entry["outcome"].clone()))
        .collect();
    let done = |change: &str| (json!(change), json!("done"));
    assert_eq!(
        changes,
        [
            done("uninstall"),
            done("install"),
            done("install"),
            done("install")
        ]
    );
}

#[test]
fn what_does_not_come_up_is_taken_back() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let before = tree(&host.path("plugins"));
    let pid = host.plugin_pid("gen3");
    // Its Init fails: misbehave takes its mode from a file.
    let broken = Source::new("gen3", "misbehave", "2.0.0")
        .file("mode", "fail-init\n")
        .pack();
    let report = install(&host, "?wait=100s", &broken).expect(409).json();
    assert_eq!(
        (&report["step"], &report["outcome"]["outcome"]),
        (&json!("rolled_back"), &json!("failed"))
    );
    let error = report["outcome"]["error"].as_str().unwrap();
    assert!(error.contains("Init"), "{error}");
    assert_eq!(tree(&host.path("plugins")), before);
    host.expect_serving("gen3");
    assert_eq!(
        host.plugin_pid("gen3"),
        pid,
        "what served has been started anew"
    );

    // One that was not there is not there afterwards.
    let new = Source::new("crash-init", "misbehave", "1.0.0").pack();
    let report = install(&host, "?wait=100s", &new).expect(409).json();
    assert_eq!(report["step"], "rolled_back");
    assert_eq!(tree(&host.path("plugins")), before);
    host.get("/api/v1/plugins/crash-init").expect(404);

    // Unless it is to stay, for a look at it.
    let report = install(&host, "?wait=100s&keep_failed=true", &new)
        .expect(409)
        .json();
    assert_eq!(report["step"], "installed");
    host.get("/api/v1/plugins/crash-init").expect(200);
    let entries = audit(&host, "?change=install");
    assert!(
        entries
            .iter()
            .all(|entry| entry["outcome"] == "failed" && entry["error"].is_string()),
        "{entries:?}"
    );
}

#[test]
fn a_version_that_replaces_the_one_before_is_taken_back_too() {
    // What runs ends before the new one starts: the old one has to be started again.
    let setup = Setup::new().plugin("gen3", "gen3").file(
        "plugins/gen3/plugin.yaml",
        "name: gen3\nversion: 1.0.0\nruntime: grpc\nreload: {strategy: recreate}\nresources: {init_timeout: 100s}\n",
    );
    let host = setup.settled();
    let broken = Source::new("gen3", "misbehave", "2.0.0")
        .file("mode", "fail-init\n")
        .pack();
    let report = install(&host, "?wait=100s", &broken).expect(409).json();
    assert_eq!(report["step"], "rolled_back", "{report}");
    eventually("the version before", || {
        (host.plugin("gen3")["state"] == "running").then_some(())
    });
    host.expect_serving("gen3");
}

#[test]
fn a_signature_is_judged_before_anything_is_touched() {
    let (author, stranger) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let host = Setup::new()
        .variable("GOATFLOW_REQUIRE_SIGNATURES", "1")
        .variable("GOATFLOW_TRUSTED_KEYS", author.public().to_hex())
        .settled();
    let before = tree(&host.path("plugins"));
    let unsigned = Source::new("gen3", "gen3", "1.0.0");
    let foreign = Source::new("gen3", "gen3", "1.0.0").signed(&stranger);
    let tampered = Source::new("gen3", "gen3", "1.0.0").signed(&author);
    let tampered = tampered.file("extra.txt", "put in later");
    for (source, says) in [
        (unsigned, "unsigned"),
        (foreign, "untrusted key"),
        (tampered, "tampered"),
    ] {
        for query in ["?dry_run=true", "?wait=100s"] {
            let reply = install(&host, query, &source.pack()).expect(403).json();
            let error = reply["error"].as_str().unwrap();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains(".gk-staging"), "{error}");
        }
    }
    assert_eq!(tree(&host.path("plugins")), before);
    assert!(audit(&host, "").is_empty());
    let signed = Source::new("gen3", "gen3", "1.0.0").signed(&author);
    let report = install(&host, "?wait=100s", &signed.pack())
        .expect(200)
        .json();
    assert_eq!(report["signature"]["state"], "valid");
    assert_eq!(report["signature"]["key"], author.public().id().to_string());
    assert_eq!(host.plugin("gen3")["signature"], "valid");
}

type Entry = (&'static str, Vec<u8>, u32);

/// A ZIP file as another program makes it: whatever it is told to.
fn zip(entries: &[Entry]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content, mode) in entries {
        let options = SimpleFileOptions::default().unix_permissions(*mode);
        writer.start_file(*path, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn manifest() -> Entry {
    let text = "name: evil\nversion: 1.0.0\nruntime: grpc\nbinary: evil\n";
    ("plugin.yaml", text.into(), 0o644)
}

fn binary() -> Entry {
    ("evil", b"#!/bin/sh\nexit 1\n".to_vec(), 0o755)
}

#[test]
fn hostile_packages_are_refused_before_anything_is_touched() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let before = tree(&host.path("plugins"));
    let with = |entry: Entry| zip(&[manifest(), binary(), entry]);
    let many: Vec<Entry> = {
        let names: Vec<String> = (0..1000).map(|number| format!("f{number}")).collect();
        let names = names
            .into_iter()
            .map(|name| &*Box::leak(name.into_boxed_str()));
        names.map(|name| (name, Vec::new(), 0o644)).collect()
    };
    let link = {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content, mode) in [manifest(), binary()] {
            let options = SimpleFileOptions::default().unix_permissions(mode);
            writer.start_file(path, options).unwrap();
            writer.write_all(&content).unwrap();
        }
        let options = SimpleFileOptions::default();
        writer.add_symlink("link", "/etc/passwd", options).unwrap();
        writer.finish().unwrap().into_inner()
    };
    // Its central directory says another length.
    let lie = {
        let mut bytes = with(("lie", vec![b'x'; 1000], 0o644));
        let at = bytes
            .windows(4)
            .rposition(|window| window == b"PK\x01\x02")
            .unwrap();
        bytes[at + 24..at + 28].copy_from_slice(&10_u32.to_le_bytes());
        bytes
    };
    let bomb = with(("bomb", vec![0; 101 << 20], 0o644));
    assert!(bomb.len() < 1 << 20);
    let packages: Vec<(&str, Vec<u8>)> = vec![
        ("climbs", with(("../escaped", b"x".to_vec(), 0o644))),
        (
            "climbs later",
            with(("a/../../escaped", b"x".to_vec(), 0o644)),
        ),
        ("absolute", with(("/tmp/escaped", b"x".to_vec(), 0o644))),
        ("backslash", with(("a\\..\\escaped", b"x".to_vec(), 0o644))),
        ("link", link),
        (
            "1002 files",
            zip(&[vec![manifest(), binary()], many].concat()),
        ),
        ("bomb", bomb),
        ("lie", lie),
        (
            "two manifests",
            with(("sub/plugin.yaml", b"name: other\n".to_vec(), 0o644)),
        ),
        ("another case", with(("EVIL", b"x".to_vec(), 0o755))),
        ("no manifest", zip(&[binary()])),
        ("no binary", zip(&[manifest()])),
        (
            "bad manifest",
            zip(&[("plugin.yaml", b"name: [".to_vec(), 0o644), binary()]),
        ),
        ("no ZIP file", b"something else".to_vec()),
        ("nothing", Vec::new()),
        ("half", {
            let mut bytes = zip(&[manifest(), binary()]);
            bytes.truncate(bytes.len() / 2);
            bytes
        }),
        (
            "climbing name",
            zip(&[
                (
                    "plugin.yaml",
                    b"name: ../evil\nversion: 1.0.0\nruntime: grpc\n".to_vec(),
                    0o644,
                ),
                binary(),
            ]),
        ),
    ];
    for (what, package) in packages {
        let reply = install(&host, "?wait=100s", &package).expect(400).json();
        let error = reply["error"].as_str().unwrap();
        assert!(
            !error.is_empty() && !error.contains(".gk-staging"),
            "{what}: {error}"
        );
        assert_eq!(tree(&host.path("plugins")), before, "{what}");
    }
    assert!(!Path::new("/tmp/escaped").exists());
    host.expect_serving("gen3");
    // Without an attack the same is taken, though what it runs does not come up.
    let report = install(&host, "?dry_run=true", &zip(&[manifest(), binary()]))
        .expect(200)
        .json();
    assert_eq!(report["name"], "evil");
}

#[test]
fn a_package_does_not_take_the_place_of_something_else() {
    let host = Setup::new()
        .plugin("gen3", "gen3")
        .file("plugins/hello-go/notes.txt", "somebody's")
        .settled();
    let package = Source::new("hello-go", "hello-go", "1.0.0").pack();
    let reply = install(&host, "?wait=100s", &package).expect(409).json();
    assert!(
        reply["error"].as_str().unwrap().contains("holds no plugin"),
        "{reply}"
    );
    assert_eq!(
        fs::read(host.path("plugins/hello-go/notes.txt")).unwrap(),
        b"somebody's"
    );
    // Nor of a link, behind which the operator keeps releases.
    fs::rename(host.path("plugins/gen3"), host.path("release")).unwrap();
    std::os::unix::fs::symlink(host.path("release"), host.path("plugins/gen3")).unwrap();
    let package = Source::new("gen3", "gen3", "1.1.0").pack();
    let reply = install(&host, "?wait=100s", &package).expect(409).json();
    assert!(
        reply["error"].as_str().unwrap().contains("is a link"),
        "{reply}"
    );
    host.expect_serving("gen3");
}

#[test]
fn only_administrators_install_and_remove() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let agent = host.new_token("ann", "agent");
    for token in [None, Some(agent)] {
        let asked = |method, path| {
            let call = host.call(method, path);
            match &token {
                Some(token) => call.token(token),
                None => call,
            }
        };
        let status = if token.is_some() { 403 } else { 401 };
        asked("POST", "/api/v1/plugins")
            .body("x")
            .send()
            .expect(status);
        asked("DELETE", "/api/v1/plugins/gen3")
            .send()
            .expect(status);
        asked("GET", "/api/v1/audit").send().expect(status);
    }
    host.expect_serving("gen3");
}

#[test]
fn removing_data_removes_all_of_it() {
    let host = Setup::new()
        .plugin("gen3", "gen3")
        .argument("--trust-declared-permissions")
        .settled();
    let policy = json!({ "status": "approved", "permissions": [] });
    host.admin("PUT", "/api/v1/plugins/gen3/policy")
        .json(&policy)
        .send()
        .expect(200);
    fs::write(host.path("data/plugins/gen3/own"), "x").unwrap();
    host.admin("POST", "/api/v1/plugins/gen3/disable?wait=100s")
        .send()
        .expect(200);
    assert!(host.path("data/plugin-state/gen3.json").exists());
    let reply = host
        .admin("DELETE", "/api/v1/plugins/gen3?keep_data=false")
        .send()
        .expect(200)
        .json();
    for what in ["files", "keys and values", "secrets", "policy"] {
        assert!(
            reply["removed"].as_array().unwrap().contains(&json!(what)),
            "{what}: {reply}"
        );
    }
    assert!(!host.path("data/plugins/gen3").exists());
    assert!(!host.path("data/plugin-state/gen3.json").exists());
    // One that comes later begins anew.
    let package = Source::new("gen3", "gen3", "1.0.0").pack();
    let report = install(&host, "?wait=100s", &package).expect(200).json();
    assert_eq!(report["outcome"]["outcome"], "serving", "{report}");
    let view = host.get("/api/v1/plugins/gen3/policy").expect(200).json();
    assert_ne!(view["origin"], "stored");
}

#[test]
fn what_an_installation_left_behind_goes_at_the_next_start() {
    let setup = Setup::new().file("plugins/.gk-staging-left/new/plugin.yaml", "name: x\n");
    let host = setup.settled();
    assert!(!host.path("plugins/.gk-staging-left").exists());
}

/// Sends a change, and does not wait for its answer.
fn send_alone(host: &Host, method: &str, path: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(host.address()).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/zip\r\nContent-Length: {}\r\n\r\n",
        host.admin_token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

#[test]
fn a_host_that_ends_before_a_new_version_is_up_starts_with_the_old_one() {
    let mut host = Setup::new().plugin("gen3", "gen3").settled();
    let before = tree(&host.path("plugins"));
    let hanging = Source::new("gen3", "misbehave", "2.0.0")
        .file("mode", "hang-init\n")
        .pack();
    let _request = send_alone(&host, "POST", "/api/v1/plugins?wait=100s", &hanging);
    let manifest = host.path("plugins/gen3/plugin.yaml");
    eventually("the new version is in place", || {
        let manifest = fs::read_to_string(&manifest).ok()?;
        manifest.contains("2.0.0").then_some(())
    });
    host.kill();
    let host = host.after_kill(User::Same).settled();
    host.wait_for_log("the version before is in place again");
    assert_eq!(tree(&host.path("plugins")), before);
    host.expect_serving("gen3");
}

#[test]
fn a_change_is_carried_out_and_written_down_although_its_client_has_gone() {
    let host = Setup::new()
        .plugin("hang-start", "misbehave")
        .argument("--start-timeout")
        .argument("600s")
        .start();
    let outcome = || {
        let entries = audit(&host, "?change=restart");
        Some(entries.first()?["outcome"].as_str()?.to_owned())
    };
    let path = "/api/v1/plugins/hang-start/restart?wait=1s";
    let client = send_alone(&host, "POST", path, b"");
    eventually("it is under way", || {
        (outcome()? == "unknown").then_some(())
    });
    drop(client);
    eventually("it is written down what came of it", || {
        (outcome()? != "unknown").then_some(())
    });
}
