//! Signed, unsigned, exchanged and revoked plugins on the real host, with and without `GOATFLOW_REQUIRE_SIGNATURES`.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use gk_sign::{PackageToSign, SecretKey, sign_binary, sign_package};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::eventually;
use crate::host::{Host, Setup};

/// Whom the host trusts, a key that it trusts no longer, and a stranger's.
struct Keys {
    author: SecretKey,
    leaked: SecretKey,
    stranger: SecretKey,
}

impl Keys {
    fn new() -> Self {
        let key = || SecretKey::generate().unwrap();
        Self {
            author: key(),
            leaked: key(),
            stranger: key(),
        }
    }
}

fn sign(setup: &Setup, plugin: &str, key: &SecretKey) {
    sign_in(&setup.path("plugins").join(plugin), plugin, key);
}

fn sign_in(directory: &Path, plugin: &str, key: &SecretKey) {
    let package = PackageToSign {
        directory: directory.into(),
        name: plugin.into(),
        version: "1.0.0".into(),
        manifest: "plugin.yaml".into(),
        binary: plugin.into(),
        date: SystemTime::now(),
    };
    sign_package(key, &package).unwrap();
}

/// One plugin of every kind; each serves, if it is let.
fn setup(keys: &Keys) -> Setup {
    let plugins = [
        "valid", "valid-v1", "unsigned", "stranger", "tampered", "renamed", "leaked", "evil",
    ];
    let mut setup = Setup::new();
    for plugin in plugins {
        setup = setup.plugin(plugin, "gen3");
    }
    sign(&setup, "valid", &keys.author);
    let binary = setup.path("plugins/valid-v1/valid-v1");
    sign_binary(&keys.author, &binary).unwrap();
    sign(&setup, "stranger", &keys.stranger);
    sign(&setup, "tampered", &keys.author);
    // One byte of the manifest.
    let setup = setup.file(
        "plugins/tampered/plugin.yaml",
        "name: tampered\nversion: 1.0.1\nruntime: grpc\n",
    );
    let other = setup.path("plugins/renamed/plugin.sig");
    sign_in(&setup.path("plugins/renamed"), "renamed", &keys.author);
    let text = fs::read_to_string(&other).unwrap();
    fs::write(&other, text.replace("name: renamed", "name: valid")).unwrap();
    sign(&setup, "leaked", &keys.leaked);
    sign(&setup, "evil", &keys.author);
    let digest = gk_sign::Digest::of(&fs::read(setup.path("plugins/evil/plugin.yaml")).unwrap());
    let revoked = format!(
        "# since the spring\nkey {}\ndigest {digest}\n",
        keys.leaked.public().id()
    );
    let setup = setup.file("revoked", &revoked);
    let file = setup.path("revoked");
    let configuration = format!("[signatures]\nrevocations_file = {:?}\n", file.display());
    let setup = setup.file("host.toml", &configuration);
    let configuration = setup.path("host.toml");
    let trusted = [&keys.author, &keys.leaked].map(|key| key.public().to_hex());
    setup
        .argument("--config")
        .argument(configuration)
        .variable("GOATFLOW_TRUSTED_KEYS", trusted.join(", "))
}

#[track_caller]
fn expect_refused(host: &Host, plugin: &str, state: &str, words: &[&str]) -> Value {
    let shown = host.plugin(plugin);
    assert_eq!(shown["state"], "failed", "{shown}");
    assert_eq!(shown["signature"], state, "{shown}");
    let error = shown["error"].as_str().unwrap();
    for word in words {
        assert!(
            error.contains(word),
            "{plugin}: {word:?} is not in: {error}"
        );
    }
    let reply = host.function(plugin, "echo", &json!({}));
    assert_ne!(reply.status, 200);
    shown
}

#[track_caller]
fn expect_running(host: &Host, plugin: &str, state: &str) -> Value {
    let shown = host.plugin(plugin);
    assert_eq!(shown["state"], "running", "{shown}");
    assert_eq!(shown["signature"], state, "{shown}");
    host.function(plugin, "echo", &json!({})).expect(200);
    let text = host.call("GET", "/metrics").send().text();
    let counted = text.lines().any(|line| {
        line.starts_with("gk_plugin_signatures_total{")
            && line.contains(&format!("plugin=\"{plugin}\""))
            && line.contains(&format!("state=\"{state}\""))
    });
    assert!(counted, "{plugin} {state} is not counted");
    shown
}

/// Refused whether signatures are required or not: these say that somebody has been at the package.
#[track_caller]
fn expect_never(host: &Host, keys: &Keys) {
    let remedy = "install the package again from its source";
    let author = keys.author.public().id().to_string();
    let words = [
        "tampered/plugin.yaml",
        "was changed after signing",
        &author,
        remedy,
    ];
    expect_refused(host, "tampered", "tampered", &words);
    let words = ["renamed/plugin.sig", "was changed after signing", remedy];
    expect_refused(host, "renamed", "tampered", &words);
    let leaked = keys.leaked.public().id().to_string();
    let words = ["leaked/plugin.sig", "revoked", &leaked, "do not run it"];
    let shown = expect_refused(host, "leaked", "revoked", &words);
    assert_eq!(shown["signing_key"], leaked);
    let words = [
        "evil/plugin.yaml",
        "SHA-256",
        "was revoked",
        "do not run it",
    ];
    expect_refused(host, "evil", "revoked", &words);
}

#[test]
fn where_signatures_are_required_only_the_trusted_run() {
    let keys = Keys::new();
    let host = setup(&keys)
        .variable("GOATFLOW_REQUIRE_SIGNATURES", "1")
        .settled();
    let author = keys.author.public().id().to_string();
    assert_eq!(
        expect_running(&host, "valid", "valid")["signing_key"],
        author
    );
    assert_eq!(
        expect_running(&host, "valid-v1", "valid-v1")["signing_key"],
        author
    );
    let words = [
        "unsigned/unsigned",
        "there is no signature",
        "sign it with a key of your own",
    ];
    expect_refused(&host, "unsigned", "unsigned", &words);
    let stranger = keys.stranger.public().id().to_string();
    let words = [
        "stranger/plugin.sig",
        "not trusted",
        &stranger,
        "add the public key",
    ];
    let shown = expect_refused(&host, "stranger", "untrusted key", &words);
    assert_eq!(shown["signing_key"], stranger);
    expect_never(&host, &keys);
    let (family, root) = host.family("valid");
    assert_eq!(family.len(), 2, "what was refused has no process");
    host.stop(family, &root);
}

#[test]
fn where_they_are_not_others_run_with_a_warning() {
    let keys = Keys::new();
    let host = setup(&keys).settled();
    expect_running(&host, "valid", "valid");
    expect_running(&host, "valid-v1", "valid-v1");
    expect_running(&host, "unsigned", "unsigned");
    expect_running(&host, "stranger", "untrusted key");
    expect_never(&host, &keys);
    for plugin in ["unsigned", "stranger"] {
        let logs = host.get(&format!("/api/v1/plugins/{plugin}/logs?level=warn"));
        let logs = logs.expect(200).json();
        assert_eq!(logs["count"], 1, "{logs}");
        let said = logs["logs"][0]["message"].as_str().unwrap();
        assert!(said.contains("if signatures were required"), "{said}");
    }
    let quiet = host.get("/api/v1/plugins/valid/logs?level=warn");
    assert_eq!(quiet.expect(200).json()["count"], 0);
}

#[test]
fn settings_that_cannot_be_used_end_the_start() {
    let key = SecretKey::generate().unwrap().public().to_hex();
    for (name, value, words) in [
        ("GOATFLOW_REQUIRE_SIGNATURES", "true", "write 1 to refuse"),
        (
            "GOATFLOW_TRUSTED_KEYS",
            "beef",
            "GOATFLOW_TRUSTED_KEYS, entry 1",
        ),
        ("GOATFLOW_TRUSTED_KEYS_FILE", "/absent/keys", "/absent/keys"),
    ] {
        let (status, text) = Setup::new().variable(name, value).refused();
        assert!(!status.success() && text.contains(words), "{name}: {text}");
    }
    let setup = Setup::new().file("keys", &format!("{key}\nnot a key\n"));
    let keys = setup.path("keys");
    let (status, text) = setup.variable("GOATFLOW_TRUSTED_KEYS_FILE", keys).refused();
    assert!(!status.success() && text.contains("keys, line 2"), "{text}");
    let table = "[signatures]\nrevocations_file = \"absent\"\n";
    let setup = Setup::new().file("host.toml", table);
    let configuration = setup.path("host.toml");
    let (status, text) = setup.argument("--config").argument(configuration).refused();
    assert!(
        !status.success() && text.contains("absent cannot be read"),
        "{text}"
    );
}

/// The table of the configuration does what the variables do; without version 1 there is only the new format.
#[test]
fn the_configuration_requires_and_trusts_as_well() {
    let author = SecretKey::generate().unwrap();
    let setup = Setup::new()
        .plugin("new", "gen3")
        .plugin("old", "gen3")
        .plugin("unsigned", "gen3");
    sign(&setup, "new", &author);
    sign_binary(&author, &setup.path("plugins/old/old")).unwrap();
    let table = format!(
        "[signatures]\nrequired = true\naccept_version_1 = false\ntrusted_keys = [\"{}\"]\n",
        author.public().to_hex()
    );
    let setup = setup.file("host.toml", &table);
    let configuration = setup.path("host.toml");
    let mut host = setup.argument("--config").argument(configuration).settled();
    expect_running(&host, "new", "valid");
    let words = ["old/old.sig", "version 1", "ask the author"];
    expect_refused(&host, "old", "valid-v1", &words);
    expect_refused(&host, "unsigned", "unsigned", &["there is no signature"]);
    host.signal(Signal::TERM);
    assert!(host.wait().success());
}

/// The operator's word about keys counts for what runs, too.
#[test]
fn what_runs_ends_when_its_key_is_revoked_and_comes_back_when_it_is_not() {
    let author = SecretKey::generate().unwrap();
    let setup = Setup::new().plugin("ours", "gen3").plugin("theirs", "gen3");
    sign(&setup, "ours", &author);
    let setup = setup.file("revoked", "").file(
        "host.toml",
        &format!(
            "rescan_interval = \"1s\"\n[signatures]\ntrusted_keys = [\"{}\"]\nrevocations_file = \"revoked\"\n",
            author.public().to_hex()
        ),
    );
    let (file, configuration) = (setup.path("revoked"), setup.path("host.toml"));
    let host = setup.argument("--config").argument(configuration).settled();
    expect_running(&host, "ours", "valid");
    let pid = host.plugin_pid("ours");
    // A list that cannot be read says nothing of what runs.
    fs::write(&file, "nonsense\n").unwrap();
    host.wait_for_log("who is trusted cannot be found out");
    assert_eq!(expect_running(&host, "ours", "valid")["generation"], 1);
    host.function("ours", "echo", &json!({})).expect(200);
    fs::write(&file, format!("key {}\n", author.public().id())).unwrap();
    let shown = eventually("it is ended", || {
        let shown = host.plugin("ours");
        (shown["state"] == "failed").then_some(shown)
    });
    let error = shown["error"].as_str().unwrap();
    assert!(error.contains("revoked"), "{error}");
    let process = crate::processes::Watched::these([pid]);
    process.expect_end();
    host.function("ours", "echo", &json!({})).expect(503);
    // A restart is judged as any start.
    host.admin("POST", "/api/v1/plugins/ours/restart?wait=60s")
        .send()
        .expect(409);
    expect_running(&host, "theirs", "unsigned");
    fs::write(&file, "").unwrap();
    eventually("it runs again", || {
        (host.function("ours", "echo", &json!({})).status == 200).then_some(())
    });
}

/// Where signatures are required, a version whose signature does not fit changes nothing.
#[test]
fn a_reload_whose_signature_is_broken_leaves_what_runs() {
    let author = SecretKey::generate().unwrap();
    let setup = Setup::new().plugin("ours", "gen3");
    let place = setup.path("plugins/ours");
    // Not a link to the program of all tests.
    let program = fs::read(place.join("ours")).unwrap();
    fs::remove_file(place.join("ours")).unwrap();
    fs::write(place.join("ours"), &program).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.join("ours"), mode).unwrap();
    sign(&setup, "ours", &author);
    let table = format!(
        "[signatures]\nrequired = true\ntrusted_keys = [\"{}\"]\n",
        author.public().to_hex()
    );
    let setup = setup.file("host.toml", &table);
    let configuration = setup.path("host.toml");
    let host = setup.argument("--config").argument(configuration).settled();
    expect_running(&host, "ours", "valid");
    let mut other = program.clone();
    other.push(0);
    fs::write(place.join("ours"), &other).unwrap();
    let error = eventually("it is refused", || {
        let candidate = &host.plugin("ours")["candidate"];
        candidate["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("ours"), "{error}");
    host.function("ours", "echo", &json!({})).expect(200);
    // Signed anew, it is taken.
    sign_in(&place, "ours", &author);
    eventually("the new one serves", || {
        (host.plugin("ours")["generation"].as_u64() > Some(1)).then_some(())
    });
    expect_running(&host, "ours", "valid");
}

/// A package that is signed anew, because the key of the one that runs is revoked, is started in its place.
#[test]
fn what_is_signed_anew_takes_the_place_of_what_is_revoked() {
    let [old, new] = [(); 2].map(|()| SecretKey::generate().unwrap());
    let setup = Setup::new().plugin("ours", "gen3");
    let place = setup.path("plugins/ours");
    sign(&setup, "ours", &old);
    let table = format!(
        "rescan_interval = \"1h\"\n[signatures]\nrequired = true\ntrusted_keys = [\"{}\", \"{}\"]\nrevocations_file = \"revoked\"\n",
        old.public().to_hex(),
        new.public().to_hex()
    );
    let setup = setup.file("revoked", "").file("host.toml", &table);
    let (revoked, configuration) = (setup.path("revoked"), setup.path("host.toml"));
    let host = setup.argument("--config").argument(configuration).settled();
    expect_running(&host, "ours", "valid");
    // Both are found by one look: only what is written here is noticed by itself.
    fs::write(&revoked, format!("key {}\n", old.public().id())).unwrap();
    sign_in(&place, "ours", &new);
    let id = new.public().id().to_string();
    eventually("the new one serves", || {
        let entry = host.plugin("ours");
        let is_new = entry["state"] == "running" && entry["signing_key"] == *id;
        is_new.then_some(())
    });
    host.function("ours", "echo", &json!({})).expect(200);
}
