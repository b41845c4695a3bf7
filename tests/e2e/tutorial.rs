//! The tutorial's walk through the host, with the sample plugins in Go and in Rust.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::host::{Host, Setup};

const SAMPLES: [&str; 2] = ["hello-go", "hello-rust"];

fn samples() -> Host {
    let setup = SAMPLES
        .into_iter()
        .fold(Setup::new(), |setup, name| setup.plugin(name, name));
    setup.settled()
}

#[test]
fn both_samples_answer_the_tutorials_requests() {
    let host = samples();
    assert!(
        host.printed().contains("2 plugins running, 0 failed"),
        "{}",
        host.printed()
    );
    let list = host.get("/api/v1/plugins").expect(200).json();
    let list = list.as_array().expect("the list is an array");
    assert_eq!(list.len(), 2);
    for name in SAMPLES {
        host.expect_serving(name);
        // jq '.[] | select(.Name == "…")'
        let item = list.iter().find(|item| item["Name"] == name).unwrap();
        assert_eq!(item["name"], name);
        assert_eq!(
            (&item["state"], &item["loaded"], &item["version"]),
            (&json!("running"), &json!(true), &json!("1.0.0"))
        );
        let one = host.plugin(name);
        assert_eq!(one["Name"], name);
        assert_eq!(one["widgets"][0]["id"], "my-widget");
        assert_eq!(
            one["routes"][0]["path"],
            format!("/api/plugins/{name}/status")
        );
        assert_eq!(one["refused_routes"], json!([]));
        assert_eq!(one["timeouts_ms"]["call"], 100_000);

        let widget = host
            .get(&format!("/api/v1/plugins/{name}/widgets/my-widget"))
            .expect(200);
        assert!(
            widget.header("content-type").starts_with("text/html"),
            "{:?}",
            widget.headers
        );
        assert!(widget.text().contains("<p>"), "{}", widget.text());
        let answer = host
            .function(name, "echo", &json!({ "a": [1, null, "ü"] }))
            .expect(200);
        assert_eq!(answer.json()["a"], json!([1, null, "ü"]));
        let unknown = host.function(name, "no-such-function", &json!({}));
        assert!(
            unknown.expect(404).error().contains("no-such-function"),
            "the plugin's own words"
        );
    }
}

#[test]
fn tokens_open_what_their_role_may_see() {
    let host = samples();
    let path = "/api/plugins/hello-go/status";
    let mode = fs::metadata(host.path("data/admin.token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        host.printed().contains("admin.token"),
        "the start says where the token is: {}",
        host.printed()
    );
    assert!(
        !host.printed().contains(host.admin_token()) && !host.log().contains(host.admin_token()),
        "nobody prints it"
    );

    let without = host.call("GET", path).send().expect(401);
    assert_eq!(without.header("www-authenticate"), "Bearer");
    for wrong in ["", "nonsense", &"0".repeat(host.admin_token().len())] {
        let reply = host.call("GET", path).token(wrong).send().expect(401);
        assert!(!reply.error().is_empty());
    }
    host.call("GET", path)
        .header("Authorization", "Basic YTpi")
        .send()
        .expect(401);

    let agent = host.new_token("anna", "agent");
    let customer = host.new_token("carl@example.org", "customer");
    for token in [&agent, &customer] {
        host.call("GET", path).token(token).send().expect(200);
        for (method, path) in [
            ("POST", "/api/v1/plugins/hello-go/call/echo"),
            ("GET", "/api/v1/plugins/hello-go/logs"),
            ("GET", "/api/v1/tokens"),
            ("POST", "/api/v1/tokens"),
            ("DELETE", "/api/v1/tokens/1"),
        ] {
            host.call(method, path).token(token).send().expect(403);
        }
    }
    let list = host.call("GET", "/api/v1/plugins").token(&agent).send();
    let list = list.expect(200).json();
    assert!(
        list[0].get("pid").is_none() && list[0].get("directory").is_none(),
        "for administrators only: {list}"
    );
    host.call("GET", "/api/v1/plugins")
        .token(&customer)
        .send()
        .expect(403);

    let tokens = host.get("/api/v1/tokens").expect(200);
    assert!(!tokens.text().contains(&agent), "{}", tokens.text());
    let tokens = tokens.json();
    let anna = tokens
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["login"] == "anna")
        .unwrap();
    host.admin("DELETE", &format!("/api/v1/tokens/{}", anna["id"]))
        .send()
        .expect(204);
    host.call("GET", path).token(&agent).send().expect(401);
    for bad in [
        json!({ "login": "x" }),
        json!({ "login": "x", "role": "root" }),
        json!([]),
    ] {
        host.admin("POST", "/api/v1/tokens")
            .json(&bad)
            .send()
            .expect(400);
    }
}

#[test]
fn nobody_writes_the_hosts_envelope() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let spoof = json!({
        "_user_id": 1, "_user_role": "Admin", "_is_admin": true, "_user_login": "root", "_made_up": 1,
        "org_id": 7, "id": "from the body", "big": 12345678901234567890123456789_f64, "kept": "yes",
    });
    let customer = host.new_token("carl@example.org", "customer");
    let seen = host
        .call(
            "POST",
            "/api/plugins/gen3/echo/from%20the%20path?_is_admin=true&org_id=9&_user_role=Admin&q=1&_lang=xx",
        )
        .token(&customer)
        .header("Accept-Language", "de-DE,de;q=0.9")
        .json(&spoof)
        .send()
        .expect(200)
        .json();
    let text = |name: &str| seen[name].as_str().unwrap_or_default();
    assert_eq!(seen["_is_admin"], false);
    assert_eq!(text("_user_login"), "carl@example.org");
    assert_eq!(text("_user_role"), "Customer");
    assert_eq!(text("_customer_login"), "carl@example.org");
    assert_eq!(text("_method"), "POST");
    assert_eq!(text("id"), "from the path");
    assert_eq!((text("q"), text("kept")), ("1", "yes"));
    assert!(text("_lang").starts_with("de"), "{seen}");
    assert_eq!(seen.get("_made_up"), None);
    assert_eq!(seen.get("org_id"), None, "{seen}");
    assert_ne!(seen["_user_id"], 1);

    let seen = host
        .call("GET", "/api/plugins/gen3/public?_user_id=1&x=%C3%BC")
        .send();
    let seen = seen.expect(200).json();
    assert_eq!(
        (&seen["x"], &seen["_is_admin"]),
        (&json!("ü"), &json!(false))
    );
    assert_eq!(seen.get("_user_id"), None);

    let by_call = host.function(
        "gen3",
        "echo",
        &json!({ "_user_login": "root", "_x": 1, "kept": 1 }),
    );
    let by_call = by_call.expect(200).json();
    assert_eq!(
        (&by_call["kept"], by_call.get("_x")),
        (&json!(1), None::<&Value>)
    );
    assert_eq!(by_call["_user_login"], "admin");
}

#[test]
fn methods_paths_and_sizes_are_answered_as_http_has_it() {
    let host = Setup::new().plugin("gen3", "gen3").settled();
    let head = host.admin("HEAD", "/api/plugins/gen3/status").send();
    assert!(head.expect(200).body.is_empty());
    for path in [
        "/nothing",
        "/api/plugins/gen3/nothing",
        "/api/plugins/absent/status",
        "/api/v1/plugins/absent",
        "/api/v1/nothing",
        "/api/v1/plugins/gen3/widgets/absent",
    ] {
        assert!(!host.get(path).expect(404).error().is_empty(), "{path}");
    }
    host.function("absent", "echo", &json!({})).expect(404);
    let reply = host
        .admin("DELETE", "/api/plugins/gen3/status")
        .send()
        .expect(405);
    assert_eq!(reply.header("allow"), "GET");
    assert!(!reply.error().is_empty());
    let reply = host.admin("PATCH", "/api/v1/plugins").send().expect(405);
    assert!(reply.header("allow").contains("GET"), "{:?}", reply.headers);

    let route = "/api/plugins/gen3/echo/1";
    let large = format!(r#"{{"x":"{}"}}"#, "a".repeat(4 << 20));
    let reply = host
        .admin("POST", route)
        .header("Content-Type", "application/json")
        .body(large)
        .send();
    assert!(reply.expect(413).error().contains("4 MiB"));
    let fits = "a".repeat(4 << 20);
    let reply = host
        .admin("POST", route)
        .header("Content-Type", "text/plain")
        .body(fits.clone())
        .send();
    assert_eq!(
        reply.expect(200).json()["_body"].as_str().map(str::len),
        Some(fits.len())
    );
    for broken in ["{", "[1", "\u{0}"] {
        let reply = host
            .admin("POST", route)
            .header("Content-Type", "application/json")
            .body(broken)
            .send();
        reply.expect(400);
    }
    host.expect_serving("gen3");
}
