//! Jobs on a real host: schedules, overlaps, reloads, and hosts that end.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::host::Host;
use crate::users::User;
use crate::{eventually, goat};

const JOB: &str = "/api/v1/plugins/goat/jobs/note";

/// The plugin's files that the job reads and writes.
fn file(host: &Host, name: &str) -> PathBuf {
    host.path("data/plugins/goat").join(name)
}

/// The arguments of all runs, as the plugin has noted them.
fn noted(host: &Host) -> Vec<Value> {
    let text = fs::read_to_string(file(host, "jobs.log")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn set(host: &Host, settings: &Value) -> Value {
    let path = format!("{JOB}/settings");
    host.admin("PUT", &path)
        .json(settings)
        .send()
        .expect(200)
        .json()
}

fn order(host: &Host, what: &str) -> Value {
    host.admin("POST", &format!("{JOB}/{what}"))
        .send()
        .expect(200)
        .json()
}

fn runs(host: &Host) -> Vec<Value> {
    let page = host.get(&format!("{JOB}/runs?limit=100")).json();
    page["runs"].as_array().unwrap().clone()
}

fn job(host: &Host) -> Value {
    let jobs = host.get("/api/v1/jobs").json();
    let jobs = jobs.as_array().unwrap();
    jobs.iter()
        .find(|job| job["plugin"] == "goat")
        .unwrap()
        .clone()
}

/// Waits for the newest run to be in a state.
fn newest(host: &Host, state: &str) -> Value {
    eventually(&format!("the newest run is {state}"), || {
        let newest = runs(host).into_iter().next()?;
        (newest["state"] == state).then_some(newest)
    })
}

fn every_second() -> Value {
    json!({ "enabled": true, "schedule": "@every 1s" })
}

#[test]
fn a_job_runs_by_its_schedule_until_it_is_suspended() {
    let (host, _) = goat::goat();
    let before = job(&host);
    assert_eq!(
        (&before["enabled"], &before["next_start"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(before["timeout"], "1m40s");
    let now = set(&host, &every_second());
    assert_eq!(
        (&now["enabled"], &now["schedule"]),
        (&json!(true), &json!("@every 1s"))
    );
    eventually("three runs", || (noted(&host).len() >= 3).then_some(()));
    let suspended = order(&host, "suspend");
    assert_eq!(
        (&suspended["suspended"], &suspended["next_start"]),
        (&json!(true), &Value::Null)
    );
    newest(&host, "succeeded");
    let noted = noted(&host);
    let mut ticks: Vec<_> = noted
        .iter()
        .map(|args| args["_tick"].as_str().unwrap())
        .collect();
    assert!(
        noted
            .iter()
            .all(|args| args["_job"] == "note" && args["_attempt"] == 1)
    );
    let count = ticks.len();
    ticks.sort_unstable();
    ticks.dedup();
    assert_eq!(ticks.len(), count, "a tick ran twice: {noted:?}");
    let runs = runs(&host);
    assert_eq!(runs.len(), count, "each has its record");
    let newest = &runs[0];
    assert_eq!(newest["trigger"], "schedule");
    assert!(
        newest["result"]["pid"].is_u64() && newest["generation"] == 1,
        "{newest}"
    );
    assert!(!newest["host"].as_str().unwrap().is_empty());
    assert!(host.metric("gk_job_runs_total", "goat").unwrap() >= 3.0);
    // Suspended ones run when somebody asks.
    let run = host
        .admin("POST", &format!("{JOB}/run"))
        .send()
        .expect(200)
        .json();
    assert_eq!(
        (&run["trigger"], &run["state"]),
        (&json!("manual"), &json!("succeeded"))
    );
    assert_eq!(self::noted(&host).len(), count + 1);
    order(&host, "resume");
    eventually("a further run", || {
        (self::noted(&host).len() > count + 1).then_some(())
    });
    // Without settings the plugin's count again.
    let now = set(&host, &json!({}));
    assert_eq!(
        (&now["enabled"], &now["schedule"]),
        (&json!(false), &json!("@hourly"))
    );
}

#[test]
fn a_run_that_goes_on_keeps_others_out() {
    let (host, _) = goat::goat();
    fs::write(file(&host, "jobs.hold"), "").unwrap();
    set(&host, &every_second());
    newest(&host, "running");
    eventually("ticks are skipped", || {
        (job(&host)["skipped"].as_u64()? >= 2).then_some(())
    });
    let busy = host.admin("POST", &format!("{JOB}/run")).send().expect(409);
    assert!(busy.text().contains("has not ended"), "{}", busy.text());
    assert_eq!(noted(&host).len(), 1);
    // With `replace` the next one takes its place.
    set(
        &host,
        &json!({ "enabled": true, "schedule": "@every 1s", "concurrency": "replace" }),
    );
    eventually("the first is replaced", || {
        let first = runs(&host).into_iter().last()?;
        (first["state"] == "replaced").then_some(())
    });
    order(&host, "suspend");
    fs::remove_file(file(&host, "jobs.hold")).unwrap();
    newest(&host, "succeeded");
}

#[test]
fn a_run_stays_in_its_generation_over_a_reload() {
    let (host, dir) = goat::goat();
    fs::write(file(&host, "jobs.hold"), "").unwrap();
    set(&host, &every_second());
    newest(&host, "running");
    let first = host.plugin_pid("goat");
    goat::write_program(&dir.join("goat.new"), 2);
    fs::rename(dir.join("goat.new"), dir.join("goat")).unwrap();
    eventually("the second generation serves", || {
        (host.plugin("goat")["generation"] == 2).then_some(())
    });
    assert_eq!(runs(&host)[0]["state"], "running");
    fs::remove_file(file(&host, "jobs.hold")).unwrap();
    eventually("a run in the second generation", || {
        runs(&host)
            .iter()
            .any(|run| run["generation"] == 2)
            .then_some(())
    });
    order(&host, "suspend");
    let newest = newest(&host, "succeeded");
    assert_ne!(newest["result"]["pid"], first);
    let runs = runs(&host);
    let old = runs.last().unwrap();
    assert_eq!(
        (&old["state"], &old["generation"]),
        (&json!("succeeded"), &json!(1))
    );
    let mut ticks: Vec<_> = runs
        .iter()
        .map(|run| run["tick"].as_str().unwrap())
        .collect();
    ticks.dedup();
    assert_eq!(ticks.len(), runs.len());
    assert_eq!(noted(&host).len(), runs.len(), "each started once");
}

#[test]
fn a_failed_run_is_repeated_and_says_why() {
    let (host, _) = goat::goat();
    fs::write(file(&host, "jobs.fail"), "").unwrap();
    set(&host, &json!({ "retries": 2, "backoff": "10ms" }));
    let reply = host.admin("POST", &format!("{JOB}/run")).send().expect(502);
    assert!(
        reply.text().contains("there is no disk"),
        "{}",
        reply.text()
    );
    let attempts: Vec<_> = noted(&host)
        .iter()
        .map(|args| args["_attempt"].clone())
        .collect();
    assert_eq!(attempts, [json!(1), json!(2), json!(3)]);
    let run = &runs(&host)[0];
    assert_eq!(
        (&run["state"], &run["attempt"]),
        (&json!("failed"), &json!(3))
    );
    // A repetition that is due later is not waited for, if one does not want to.
    set(&host, &json!({ "retries": 1, "backoff": "1h" }));
    let run = host
        .admin("POST", &format!("{JOB}/run?wait=0s"))
        .send()
        .expect(202)
        .json();
    eventually("it waits for its repetition", || {
        let run = runs(&host)
            .into_iter()
            .find(|known| known["id"] == run["id"])?;
        (run["state"] == "waiting" && run["attempt"] == 2).then_some(())
    });
}

#[test]
fn settings_and_names_that_are_wrong_are_refused() {
    let (host, _) = goat::goat();
    for (settings, says) in [
        (json!({ "schedule": "0 0 30 2 *" }), "never due"),
        (json!({ "schedule": "whenever" }), "five fields"),
        (json!({ "time_zone": "Mars/Olympus" }), "time zone"),
        (json!({ "concurrency": "maybe" }), "maybe"),
        (json!({ "timeout": "-1s" }), "timeout"),
        (json!({ "retries": 21 }), "retries"),
        (json!({ "starting_deadline": "0s" }), "starting_deadline"),
        (json!({ "shedule": "@daily" }), "shedule"),
        (json!([]), "settings"),
    ] {
        let path = format!("{JOB}/settings");
        let reply = host.admin("PUT", &path).json(&settings).send().expect(400);
        assert!(reply.text().contains(says), "{settings}: {}", reply.text());
    }
    assert_eq!(job(&host)["overrides"], json!({}));
    let none = host
        .admin("POST", "/api/v1/plugins/goat/jobs/other/run")
        .send();
    assert!(none.expect(404).text().contains("no job"));
    host.get("/api/v1/plugins/sheep/jobs/note/runs").expect(404);
    for limit in ["0", "101"] {
        host.get(&format!("{JOB}/runs?limit={limit}")).expect(400);
    }
    let audit = host.get("/api/v1/audit?change=set_job").json();
    let refused = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| !entry["error"].is_null());
    assert!(refused.count() >= 1, "{audit}");
}

#[test]
fn what_was_to_run_when_the_host_was_killed() {
    let (mut host, _) = goat::goat();
    fs::write(file(&host, "jobs.hold"), "").unwrap();
    set(&host, &json!({ "retries": 1, "concurrency": "allow" }));
    let repeated = host
        .admin("POST", &format!("{JOB}/run?wait=0s"))
        .send()
        .expect(202)
        .json();
    newest(&host, "running");
    set(&host, &json!({ "concurrency": "allow" }));
    let lost = host
        .admin("POST", &format!("{JOB}/run?wait=0s"))
        .send()
        .expect(202)
        .json();
    newest(&host, "running");
    host.kill();
    fs::remove_file(file(&host, "jobs.hold")).unwrap();
    let host = host.after_kill(User::Same).settled();
    let of = |host: &Host, id: &Value| runs(host).into_iter().find(|run| run["id"] == *id).unwrap();
    let run = eventually("the one with a repetition is repeated", || {
        let run = of(&host, &repeated["id"]);
        (run["state"] == "succeeded").then_some(run)
    });
    assert_eq!(run["attempt"], 2);
    let run = of(&host, &lost["id"]);
    assert_eq!(
        (&run["state"], &run["attempt"]),
        (&json!("lost"), &json!(1))
    );
    let attempts: Vec<_> = noted(&host)
        .iter()
        .map(|args| args["_attempt"].clone())
        .collect();
    assert_eq!(attempts, [json!(1), json!(1), json!(2)]);
}

#[test]
fn a_host_that_stops_lets_runs_finish() {
    let (mut host, _) = goat::goat();
    fs::write(file(&host, "jobs.hold"), "").unwrap();
    let run = host
        .admin("POST", &format!("{JOB}/run?wait=0s"))
        .send()
        .expect(202)
        .json();
    newest(&host, "running");
    host.signal(Signal::TERM);
    host.wait_for_log("stopping");
    fs::remove_file(file(&host, "jobs.hold")).unwrap();
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
    let host = host.after_kill(User::Same).settled();
    let found = runs(&host)
        .into_iter()
        .find(|known| known["id"] == run["id"])
        .unwrap();
    assert_eq!(found["state"], "succeeded", "{found}");
}

#[test]
fn a_plugin_that_is_disabled_or_blocked_runs_no_job() {
    let (host, _) = goat::goat();
    set(&host, &every_second());
    eventually("a run", || (!noted(&host).is_empty()).then_some(()));
    host.admin("POST", "/api/v1/plugins/goat/disable?wait=60s")
        .send()
        .expect(200);
    let count = noted(&host).len();
    let reply = host.admin("POST", &format!("{JOB}/run")).send().expect(503);
    assert!(reply.text().contains("not running"), "{}", reply.text());
    // Its last runs can be read, and it can be suspended.
    assert!(!runs(&host).is_empty());
    assert_eq!(order(&host, "suspend")["suspended"], true);
    assert_eq!(order(&host, "resume")["suspended"], false);
    host.admin("POST", "/api/v1/plugins/goat/enable?wait=60s")
        .send()
        .expect(200);
    eventually("a further run", || {
        (noted(&host).len() > count).then_some(())
    });
    let policy = json!({ "status": "blocked" });
    host.admin("PUT", "/api/v1/plugins/goat/policy")
        .json(&policy)
        .send()
        .expect(200);
    eventually("the plugin is stopped", || {
        (host.plugin("goat")["state"] == "blocked").then_some(())
    });
    assert!(
        host.get("/api/v1/jobs")
            .json()
            .as_array()
            .unwrap()
            .is_empty()
    );
}
