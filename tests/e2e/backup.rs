//! `gk-host backup` of a host that is written to, and `gk-host restore`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::host::{Host, Setup};
use crate::{eventually, program};

fn gk_host(words: &[&str], paths: &[&Path]) -> Output {
    #[expect(
        clippy::disallowed_methods,
        reason = "the host's own commands, as an operator gives them"
    )]
    let mut command = Command::new(program("gk-host"));
    command.args(words).args(paths).env_clear();
    command.output().unwrap()
}

fn succeeds(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ask(host: &Host, method: &str, args: &Value) -> Value {
    let question = json!({ "method": method, "args": args });
    host.function("gen3", "ask_host", &question)
        .expect(200)
        .json()
}

#[test]
fn what_was_acknowledged_before_a_backup_is_there_after_its_restore() {
    let mut host = Setup::new().plugin("gen3", "gen3").settled();
    let policy =
        json!({ "status": "approved", "permissions": [{ "type": "file", "access": "readwrite" }] });
    host.admin("PUT", "/api/v1/plugins/gen3/policy")
        .json(&policy)
        .send()
        .expect(200);
    let stored = json!({ "key": "a/b.txt", "data": "a2VwdA==" });
    ask(&host, "store_file", &stored);
    let token = host.new_token("anna", "agent");

    let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let backup = host.path("host.backup");
    let before = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1.. {
                let pair = json!({ "key": format!("n/{number:06}"), "value": "a2VwdA==" });
                ask(&host, "kv_set", &pair);
                acknowledged.store(number, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        eventually("some writes", || {
            assert!(!writer.is_finished(), "a write failed");
            (acknowledged.load(Ordering::SeqCst) > 50).then_some(())
        });
        let before = acknowledged.load(Ordering::SeqCst);
        let data = host.path("data");
        let backed_up = gk_host(&["backup", "--data-dir"], &[&data, &backup]);
        stop.store(true, Ordering::SeqCst);
        let told = succeeds(&backed_up);
        assert!(told.contains("keys that secrets"), "{told}");
        before
    });
    assert_eq!(
        backup.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    let beside = fs::read_dir(host.path("")).unwrap();
    let beside = beside.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    assert_eq!(
        beside
            .filter(|name| name.starts_with(".host.backup"))
            .count(),
        0
    );
    host.kill();

    let setup = Setup::new().plugin("gen3", "gen3");
    succeeds(&gk_host(
        &["restore", "--data-dir"],
        &[&setup.path("data"), &backup],
    ));
    let restored = setup.settled();
    let last = ask(
        &restored,
        "kv_get",
        &json!({ "key": format!("n/{before:06}") }),
    );
    assert_eq!(
        last["value"], "a2VwdA==",
        "the last write before the backup: {last}"
    );
    let mut found = 0;
    let mut after = Value::Null;
    loop {
        let page = json!({ "prefix": "n/", "after": after, "limit": 1000 });
        let page = ask(&restored, "kv_list", &page);
        found += page["keys"].as_array().unwrap().len();
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert!(found >= before, "{found} of {before}");
    assert_eq!(
        ask(&restored, "get_file", &json!({ "key": "a/b.txt" }))["data"],
        "a2VwdA=="
    );
    let policy = restored.get("/api/v1/plugins/gen3/policy").json();
    assert_eq!(
        (&policy["origin"], &policy["policy"]["status"]),
        (&json!("stored"), &json!("approved"))
    );
    restored
        .call("GET", "/api/v1/jobs")
        .token(&token)
        .send()
        .expect(200);
    assert_eq!(restored.admin_token(), host.admin_token());
}

#[test]
fn what_is_no_backup_or_no_place_for_one_is_refused() {
    let host = Setup::new().settled();
    let (data, backup) = (host.path("data"), host.path("host.backup"));
    succeeds(&gk_host(&["backup", "--data-dir"], &[&data, &backup]));
    let again = fails(&gk_host(&["backup", "--data-dir"], &[&data, &backup]));
    assert!(again.contains("--force"), "{again}");
    succeeds(&gk_host(
        &["backup", "--force", "--data-dir"],
        &[&data, &backup],
    ));
    let none = fails(&gk_host(
        &["backup", "--data-dir"],
        &[&host.path("plugins"), &host.path("b")],
    ));
    assert!(none.contains("no data directory"), "{none}");

    let into = fails(&gk_host(&["restore", "--data-dir"], &[&data, &backup]));
    assert!(into.contains("not empty"), "{into}");
    let place = host.path("restored");
    let bytes = fs::read(&backup).unwrap();
    let damaged = host.path("damaged");
    let mut cases = vec![
        (Vec::new(), "no backup"),
        (b"not at all".to_vec(), "no backup"),
    ];
    cases.push((bytes[..bytes.len() - 9].to_vec(), "damaged"));
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x10;
    cases.push((flipped, ""));
    for (content, says) in cases {
        fs::write(&damaged, content).unwrap();
        let refused = fails(&gk_host(&["restore", "--data-dir"], &[&place, &damaged]));
        assert!(refused.contains(says), "{refused}");
        assert!(!place.exists(), "half a directory is left");
    }
    succeeds(&gk_host(&["restore", "--data-dir"], &[&place, &backup]));
    assert_eq!(
        place.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
}
