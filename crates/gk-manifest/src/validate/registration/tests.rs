//! Tests of whole registrations.

use serde_json::{Value, json};

use super::*;

fn registration(extra: &Value) -> Registration {
    let mut value = json!({"name": "my-plugin", "version": "1.0.0"});
    for (key, extra) in extra.as_object().unwrap() {
        value[key] = extra.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn findings(extra: &Value) -> Vec<String> {
    registration(extra)
        .validate()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_tutorials_registration() {
    let extra = json!({
        "description": "My custom gRPC plugin", "author": "Your Name", "license": "Apache-2.0",
        "routes": [{"method": "GET", "path": "/api/plugins/my-plugin/status", "handler": "get_status",
                    "middleware": ["auth"], "description": "Get plugin status"}],
        "widgets": [{"id": "my-widget", "title": "My Widget", "handler": "render_widget",
                     "location": "agent_home", "size": "medium"}],
    });
    assert_eq!(findings(&extra), Vec::<String>::new());
}

/// Everything the contract lists, under the contract's JSON keys.
fn complete() -> Value {
    json!({
        "name": "full", "version": "1.0.0", "description": "d", "author": "a", "license": "MIT",
        "homepage": "https://example.org", "icon": "fa-star",
        "routes": [{"method": "PUT", "path": "/x/:id/*rest", "handler": "h", "middleware": ["auth"], "description": "d"}],
        "menu_items": [{"id": "m", "label": "l", "icon": "i", "path": "/m", "location": "agent", "parent": "p", "order": -1,
                        "children": [{"id": "c", "label": "l", "path": "https://example.org"}]}],
        "widgets": [{"id": "w", "title": "t", "description": "d", "handler": "h", "location": "dashboard", "size": "full",
                     "order": 2, "refreshable": true, "refresh_sec": 30}],
        "jobs": [{"id": "j", "handler": "h", "schedule": "*/5 * * * *", "description": "d", "enabled": true, "timeout": "5m"}],
        "templates": [{"name": "n", "path": "p", "override": true}],
        "i18n": {"namespace": "n", "languages": ["de"], "translations": {"de": {"k": "v"}}},
        "error_codes": [{"code": "c", "message": "m", "http_status": 404}],
        "event_authorizer": "f", "hide_menu_items": ["tickets"], "landing_page": "/home",
        "groups": [{"name": "g", "description": "d"}],
        "custom_fields": [{"name": "n", "label": "l", "entity_type": "ticket", "field_type": "text", "section": "s", "order": 1,
                           "required": true, "description": "d", "placeholder": "p", "config": {"max": 3}}],
        "uis": [{"id": "u", "name": "n", "description": "d", "type": "kiosk", "icon": "i", "shell": "none",
                 "routes": [{"path": "/", "method": "POST", "handler": "h"}],
                 "nav": {"position": "top", "items": [{"label": "l", "icon": "i", "path": "/", "badge": "b", "order": 1}]},
                 "branding": {"app_name": "a", "logo": "l", "favicon": "f", "color": "c"},
                 "auth": {"method": "session", "groups": ["g"]},
                 "pwa": {"enabled": true, "start_url": "/", "display": "d", "theme_color": "t", "cache_routes": ["/"]},
                 "data_scope": "org", "rate_limit": 5, "ticket_view": {"path": "/t", "param": "id", "label": "l"}}],
        "cascades": [{"entity_type": "ticket", "on_soft_delete": "s", "on_hard_delete": "h"}],
        "mcp_tools": [{"name": "n", "description": "d", "handler": "h", "input_schema": {"type": "object"}}],
        "setup_tasks": [{"id": "i", "title": "t", "description": "d", "icon": "i", "handler": "h", "category": "c"}],
        "skip_org_injection": true, "min_host_version": "v0.1.0",
        "resources": {"memory_mb": 1, "call_timeout": "1s", "init_timeout": "2s", "shutdown_timeout": "3s",
                      "permissions": [{"type": "db", "access": "read", "scope": ["t"]}], "max_file_storage_bytes": 9},
    })
}

#[test]
fn every_field_survives_a_round_trip_and_is_valid() {
    let registration: Registration = serde_json::from_value(complete()).unwrap();
    // A key that the structs did not know would be missing here.
    assert_eq!(serde_json::to_value(&registration).unwrap(), complete());
    assert_eq!(registration.validate(), []);
}

#[test]
fn null_means_not_set() {
    let mut all = complete();
    for value in all.as_object_mut().unwrap().values_mut() {
        *value = Value::Null;
    }
    let registration: Registration = serde_json::from_value(all).unwrap();
    assert_eq!(registration, Registration::default());
    let registration = self::registration(
        &json!({"uis": [{"id": "u", "type": "kiosk", "routes": null}], "unknown": 1}),
    );
    assert_eq!(registration.validate(), []);
}

#[test]
fn what_is_refused() {
    let many: Vec<_> = (0..600)
        .map(|i| json!({"id": format!("w{i}"), "handler": "h"}))
        .collect();
    let mut deep = json!({"id": "x9", "label": "l"});
    for level in (0..9).rev() {
        deep = json!({"id": format!("x{level}"), "label": "l", "children": [deep]});
    }
    let route = |path: &str| json!({"method": "GET", "path": path, "handler": "h"});
    for (extra, expected) in [
        (json!({"name": ""}), "error: name: the name is empty"),
        (
            json!({"name": "../x"}),
            "error: name: \"../x\" starts with '.'",
        ),
        (
            json!({"version": "one"}),
            "warning: version: \"one\" is not a semantic version",
        ),
        (
            json!({"routes": [{"method": "get", "path": "/x", "handler": "h"}]}),
            "routes[0].method: \"get\" is not a method (write `GET`)",
        ),
        (
            json!({"routes": [{"path": "/x", "handler": "h"}]}),
            "routes[0].method: is empty (write one of GET",
        ),
        (
            json!({"routes": [{"method": "GET", "path": "/x"}]}),
            "routes[0].handler: is empty",
        ),
        (
            json!({"routes": [route("x")]}),
            "routes[0].path: \"x\" does not start with `/`",
        ),
        (
            json!({"routes": [route("/*a/b")]}),
            "routes[0].path: \"*a\" is not at the end",
        ),
        (
            json!({"routes": [route("/a/:x"), route("/a/:y")]}),
            "routes[1].path: GET /a/:y is declared by routes[0] already",
        ),
        (
            json!({"widgets": [{"id": "a b", "handler": "h"}]}),
            "widgets[0].id: \"a b\" is not a valid id",
        ),
        (
            json!({"widgets": [{"id": "a", "handler": "h"}, {"id": "a", "handler": "h"}]}),
            "widgets[1].id: \"a\" occurs twice",
        ),
        (
            json!({"widgets": [{"id": "a", "handler": "h", "size": "meduim"}]}),
            "warning: widgets[0].size: unknown size \"meduim\": the host chooses one (did you mean `medium`?)",
        ),
        (
            json!({"widgets": [{"id": "a", "handler": "h", "refresh_sec": -1}]}),
            "error: widgets[0].refresh_sec",
        ),
        (
            json!({"widgets": many}),
            "widgets: 600 entries; at most 512 are allowed",
        ),
        (
            json!({"jobs": [{"id": "j", "handler": "h"}]}),
            "jobs[0].schedule: the job has no schedule",
        ),
        (
            json!({"jobs": [{"id": "j", "handler": "h", "schedule": "* * * *"}]}),
            "is not a cron expression with five fields",
        ),
        (
            json!({"jobs": [{"id": "j", "handler": "h", "schedule": "@dayly"}]}),
            "(did you mean `@daily`?)",
        ),
        (
            json!({"jobs": [{"id": "j", "handler": "h", "schedule": "@every 0s"}]}),
            "0s is not an interval",
        ),
        (
            json!({"jobs": [{"id": "j", "handler": "h", "schedule": "@daily", "timeout": "5"}]}),
            "jobs[0].timeout: \"5\" is not a duration",
        ),
        (
            json!({"menu_items": [deep]}),
            "more than 8 levels of menu items",
        ),
        (
            json!({"menu_items": [{"id": "m", "label": "l", "path": "javascript:alert(1)"}]}),
            "error: menu_items[0].path",
        ),
        (
            json!({"menu_items": [{"id": "m", "label": "l", "children": [{"id": "m", "label": "l"}]}]}),
            "menu_items[0].children[0].id: \"m\" occurs twice",
        ),
        (
            json!({"error_codes": [{"code": "c", "http_status": 200}]}),
            "error_codes[0].http_status: 200 is not an error status",
        ),
        (json!({"landing_page": "//evil"}), "error: landing_page"),
        (
            json!({"uis": [{"id": "u", "type": "public"}]}),
            "uis[0].type: \"public\" is not a type",
        ),
        (
            json!({"uis": [{"id": "u", "type": "kiosk", "auth": {"method": "pin"}}]}),
            "uis[0].auth.method: \"pin\" is not a way",
        ),
        (
            json!({"mcp_tools": [{"name": "n", "handler": "h", "input_schema": [1]}]}),
            "mcp_tools[0].input_schema: is not a JSON object",
        ),
        (
            json!({"custom_fields": [{"name": "n", "entity_type": "t", "field_type": "x"}, {"name": "n", "entity_type": "t", "field_type": "x"}]}),
            "custom_fields[1].name: \"n\" occurs twice for \"t\"",
        ),
        (
            json!({"min_host_version": "soon"}),
            "error: min_host_version",
        ),
        (
            json!({"permissions": ["db:read"]}),
            "warning: permissions: this list is never evaluated",
        ),
        (
            json!({"resources": {"call_timeout": "1 s"}}),
            "error: resources.call_timeout",
        ),
        (
            json!({"description": "x".repeat(20_000)}),
            "description: 20000 bytes long",
        ),
        (json!({"author": "a\nb"}), "author: \"a\\nb\" contains"),
    ] {
        let found = findings(&extra);
        assert!(
            found.iter().any(|f| f.contains(expected)),
            "{extra}\nexpected {expected}\ngot {found:#?}"
        );
    }
}

#[test]
fn what_is_fine() {
    for extra in [
        json!({"routes": [{"method": "GET", "path": "/a", "handler": "h"}, {"method": "POST", "path": "/a", "handler": "h"}]}),
        json!({"jobs": [{"id": "j", "handler": "h", "schedule": "CRON_TZ=Europe/Berlin 0 9 * * MON-FRI"}]}),
        json!({"jobs": [{"id": "j", "handler": "h", "schedule": "@every 1h30m"}]}),
        json!({"custom_fields": [{"name": "n", "entity_type": "a", "field_type": "x"}, {"name": "n", "entity_type": "b", "field_type": "x"}]}),
    ] {
        assert_eq!(findings(&extra), Vec::<String>::new(), "{extra}");
    }
}
