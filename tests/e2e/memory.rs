//! A plugin over its limit of memory is killed, which is told, and nobody else suffers: by a control group where the
//! host is root, by its watchdog where it is not.

use serde_json::json;

use crate::eventually;
use crate::host::Setup;
use crate::users::{HOSTS, User};

#[test]
fn a_plugin_over_its_limit_is_killed_and_the_others_go_on() {
    for user in HOSTS {
        let plugin = format!("greedy-{}", user.name());
        // The same program, with enough.
        let moderate = format!("moderate-{}", user.name());
        let host = Setup::of(user)
            .plugin_with(&plugin, "harmless", "call_timeout: 1m\nmemory_mb: 64")
            .plugin_with(&moderate, "harmless", "call_timeout: 1m\nmemory_mb: 512")
            .settled();
        let memory = host.plugin(&plugin)["sandbox"]["layers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["layer"] == "memory")
            .unwrap()["state"]
            .clone();
        let expected = if user == User::Root {
            "enforced"
        } else {
            "degraded"
        };
        assert_eq!(memory, expected, "{}", user.name());
        // One of its checks fills 100 MiB. See that it is the limit which ends it: its twin does the same and lives.
        let checks = |name: &str| host.function(name, "checks", &json!({}));
        checks(&moderate).expect(200);
        // The call fails at once; why, it says if that was known by then. A watchdog looks again and again: on a busy
        // machine a check may be over before that, and then the next one is not.
        let error = eventually("the end of a plugin over its limit", || {
            let reply = checks(&plugin);
            (reply.status != 200).then_some(reply)
        });
        if user == User::Root || error.status != 503 {
            let error = error.expect(502).error();
            assert!(error.contains("it crashed"), "{error}");
        }
        let told = eventually("the reason of its end", || host.failure(&plugin));
        assert!(told.contains("was killed: memory limit 64 MB"), "{told}");
        assert!(told.contains("raise resources.memory_mb"), "{told}");
        host.wait_for_log("killed: memory limit 64 MB");
        // It is started again; this counts for two crashes.
        eventually("it is back", || {
            let entry = host.plugin(&plugin);
            let is_back = entry["state"] == "running" && entry["generation"].as_u64() > Some(1);
            is_back.then(|| assert!(entry["crashes"].as_u64() >= Some(2), "{entry}"))
        });
        checks(&moderate).expect(200);
        let (family, root) = host.family(&moderate);
        host.stop(family, &root);
    }
}
