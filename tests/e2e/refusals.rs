//! Routes that plugins ask for and do not get, each with the reason.

use serde_json::json;

use crate::eventually;
use crate::host::{Host, Setup};

/// The reasons for the routes that a plugin does not get.
fn refused(host: &Host, plugin: &str) -> Vec<String> {
    let plugin = host.plugin(plugin);
    let refused = plugin["refused_routes"].as_array().unwrap();
    refused
        .iter()
        .map(|route| {
            assert_eq!(route["method"], "GET");
            assert!(route["path"].is_string());
            route["reason"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn what_belongs_to_others_is_refused_and_stays_theirs() {
    let host = Setup::new()
        .plugin("hello-go", "hello-go")
        .plugin("foreign-route", "misbehave")
        .plugin("reserved-route", "misbehave")
        .plugin("unknown-middleware", "misbehave")
        .settled();
    for (plugin, words) in [
        (
            "foreign-route",
            &["\"hello-go\"", "/api/plugins/foreign-route/"][..],
        ),
        (
            "reserved-route",
            &["belongs to the host", "/api/plugins/reserved-route/"],
        ),
        (
            "unknown-middleware",
            &["\"frobnicate\"", "auth, admin, agent and customer"],
        ),
    ] {
        let reasons = refused(&host, plugin);
        let [reason] = reasons.as_slice() else {
            panic!("{plugin}: {reasons:?}")
        };
        for word in words {
            assert!(
                reason.contains(word),
                "{plugin}: {word:?} is not in: {reason}"
            );
        }
        eventually("the refusal is logged", || {
            let log = host.log();
            let told = log.lines().any(|line| {
                line.contains("WARN")
                    && line.contains("a route is not served")
                    && line.contains(&format!("plugin={plugin} "))
            });
            told.then_some(())
        });
        // The plugin runs all the same: a function can be called.
        assert_eq!(host.plugin(plugin)["state"], "running");
    }
    // Failing closed: the route with the unknown middleware is served to nobody.
    host.get("/api/plugins/unknown-middleware/x").expect(404);
    host.expect_serving("hello-go");
    assert!(host.get("/api/v1/plugins").expect(200).json().is_array());
}

#[test]
fn a_path_that_is_nobodys_is_a_plugins_if_the_operator_says_so() {
    let host = Setup::new()
        .plugin("zebra", "misbehave")
        .file("data/plugins/zebra/mode", "shared-route")
        .plugin("aardvark", "misbehave")
        .file("data/plugins/aardvark/mode", "shared-route")
        .settled();
    for plugin in ["aardvark", "zebra"] {
        let reasons = refused(&host, plugin);
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].contains("not the plugin's own"), "{reasons:?}");
    }
    host.get("/shared/status").expect(404);
    // At once, and of two the first has it.
    for plugin in ["zebra", "aardvark"] {
        host.admin("PUT", &format!("/api/v1/plugins/{plugin}/policy"))
            .json(&json!({ "status": "approved", "routes": ["/shared/*"] }))
            .send()
            .expect(200);
        host.get("/shared/status").expect(200);
    }
    assert_eq!(refused(&host, "aardvark"), Vec::<String>::new());
    let reasons = refused(&host, "zebra");
    assert!(
        reasons[0].contains("collides") && reasons[0].contains("\"aardvark\""),
        "{reasons:?}"
    );
}
