//! What a policy grants, and when.

use super::*;

#[tokio::test]
async fn without_a_permission_nothing_is_reached() {
    let rig = Rig::trusting(&[]).await;
    for (method, args, says) in [
        (
            "db_query",
            json!({"query": "SELECT 1"}),
            "database read access not granted",
        ),
        (
            "db_exec",
            json!({"query": "DELETE FROM t"}),
            "database write access not granted",
        ),
        ("cache_get", json!({"key": "k"}), "cache access not granted"),
        (
            "cache_set",
            json!({"key": "k"}),
            "cache write access not granted",
        ),
        (
            "cache_delete",
            json!({"key": "k"}),
            "cache delete access not granted",
        ),
        (
            "http_request",
            json!({"url": "http://x"}),
            "HTTP outbound access not granted",
        ),
        (
            "send_email",
            json!({"to": "a@b"}),
            "email access not granted",
        ),
        (
            "config_get",
            json!({"key": "app.name"}),
            "config access not granted",
        ),
        (
            "plugin_call",
            json!({"plugin": "o", "function": "f"}),
            "plugin-to-plugin calls not granted",
        ),
        (
            "store_file",
            json!({"key": "k"}),
            "file write access not granted",
        ),
        (
            "get_file",
            json!({"key": "k"}),
            "file read access not granted",
        ),
        (
            "delete_file",
            json!({"key": "k"}),
            "file write access not granted",
        ),
        ("list_files", json!({}), "file read access not granted"),
    ] {
        assert_eq!(
            rig.denied(method, args).await,
            format!("plugin \"goat\": {says}")
        );
    }
    let view = rig.host.policies().view(&name("goat")).unwrap();
    assert_eq!((view.usage.requests, view.usage.errors), (13, 13));
}

#[tokio::test]
async fn scopes_are_the_whole_grant() {
    let rig = Rig::trusting(&[
        permission("db", "readwrite", &["goat_*"]),
        permission("cache", "readwrite", &["mine:"]),
        permission("config", "read", &["theme.*"]),
        permission("plugin_call", "", &["other"]),
        permission("http", "", &["api.example.com"]),
    ])
    .await;
    rig.ask("db_exec", json!({"query": "CREATE TABLE goat_t (a INT)"}))
        .await
        .unwrap();
    let error = rig
        .denied(
            "db_query",
            json!({"query": "SELECT 1 FROM goat_t, secrets"}),
        )
        .await;
    assert!(
        error.starts_with("plugin \"goat\": ") && error.contains("secrets"),
        "{error}"
    );
    rig.denied("db_exec", json!({"query": "CREATE TABLE xgoat_t (a INT)"}))
        .await;
    rig.ask("cache_set", json!({"key": "mine:1", "value": ""}))
        .await
        .unwrap();
    rig.denied("cache_set", json!({"key": "yours:1", "value": ""}))
        .await;
    rig.denied("cache_get", json!({"key": "m"})).await;
    rig.ask("config_get", json!({"key": "theme.colour"}))
        .await
        .unwrap();
    rig.denied("config_get", json!({"key": "smtp.password"}))
        .await;
    rig.denied("config_get", json!({"key": "app.name"})).await;
    rig.denied("plugin_call", json!({"plugin": "another", "function": "f"}))
        .await;
    rig.denied(
        "http_request",
        json!({"url": "http://evil.example/?api.example.com"}),
    )
    .await;
}

/// What a plugin declares is a request. Upstream (row 21) grants it.
#[tokio::test]
async fn nobody_is_granted_what_nobody_reviewed() {
    let rig = Rig::new(false);
    let wants = [
        permission("db", "readwrite", &[]),
        permission("cache", "readwrite", &[]),
        permission("http", "", &[]),
        permission("plugin_call", "", &[]),
        permission("file", "readwrite", &[]),
    ];
    let installed = |names: &[&str]| {
        let plugins = names.iter();
        let plugins = plugins.map(|plugin| (name(plugin), ResourceRequest::default()));
        rig.host.installed(&plugins.collect());
    };
    installed(&["goat", "sheep"]);
    // Before it registers it has nothing at all.
    rig.denied("cache_get", json!({"key": "k"})).await;
    rig.register("goat", &wants).await.unwrap();
    rig.ask("cache_get", json!({"key": "k"})).await.unwrap();
    rig.ask("list_files", json!({})).await.unwrap();
    rig.denied("http_request", json!({"url": "http://example.com"}))
        .await;
    rig.denied("plugin_call", json!({"plugin": "sheep", "function": "f"}))
        .await;
    rig.denied("db_exec", json!({"query": "CREATE TABLE goat_t (a INT)"}))
        .await;
    let error = rig
        .denied("db_query", json!({"query": "SELECT * FROM sheep_t"}))
        .await;
    assert!(error.contains("sheep_t"), "{error}");
    // A plugin that arrives later, whose tables the name would include, ends that.
    let own = json!({"query": "SELECT * FROM gk_goat_x_t"});
    assert_eq!(
        rig.ask("db_query", own.clone()).await.unwrap_err().kind(),
        ErrorKind::Failed
    );
    installed(&["goat", "goat-x"]);
    rig.denied("db_query", own).await;
}

#[tokio::test]
async fn a_policy_applies_at_once_and_is_kept() {
    let rig = Rig::new(false);
    let wants = [
        permission("cache", "readwrite", &[]),
        permission("plugin_call", "", &[]),
    ];
    rig.register("goat", &wants).await.unwrap();
    let call = json!({"plugin": "other", "function": "f"});
    rig.denied("plugin_call", call.clone()).await;
    let approved = br#"{"status":"approved","permissions":[{"type":"plugin_call","access":"","scope":["other"]}]}"#;
    let policies = rig.host.policies();
    policies
        .set(&name("goat"), Policy::from_json(approved).unwrap())
        .await
        .unwrap();
    rig.ask("plugin_call", call.clone()).await.unwrap();
    rig.denied("cache_get", json!({"key": "k"})).await;
    // Another start of the process does not change it.
    rig.register("goat", &wants).await.unwrap();
    rig.ask("plugin_call", call.clone()).await.unwrap();

    let blocked = Policy::from_json(br#"{"status":"blocked"}"#).unwrap();
    policies.set(&name("goat"), blocked).await.unwrap();
    for method in [
        "log",
        "time_now",
        "kv_list",
        "translate",
        "publish_event",
        "org_id",
        "nonsense",
    ] {
        let error = rig.denied(method, json!({})).await;
        assert!(error.contains("blocked"), "{method}: {error}");
    }
    assert!(HostApi::admit(&rig.host, &name("goat")).is_err());
    assert!(
        rig.register("goat", &wants).await.is_err(),
        "a blocked plugin must not start"
    );
    // Another host on the same store knows before the plugin registers.
    let again = Policies::new(rig.store.clone(), true);
    again.load().await.unwrap();
    assert!(again.is_blocked(&name("goat")));

    assert!(policies.reset(&name("goat")).await.unwrap());
    rig.ask("cache_get", json!({"key": "k"})).await.unwrap();
    rig.denied("plugin_call", call).await;
    assert!(!policies.reset(&name("goat")).await.unwrap());
}

/// Row 22: upstream falls back to the declared policy, and a stored `blocked` is lost.
#[tokio::test]
async fn a_store_that_fails_widens_nothing() {
    let rig = Rig::new(true);
    let blocked = Policy::from_json(br#"{"status":"blocked"}"#).unwrap();
    rig.host
        .policies()
        .set(&name("goat"), blocked)
        .await
        .unwrap();
    let everything = [
        permission("cache", "readwrite", &[]),
        permission("http", "", &[]),
    ];
    for damage in [
        "UPDATE policy SET policy = '{\"status\":'",
        "UPDATE policy SET policy = '{\"status\":\"approved\",\"unknown\":1}'",
        "ALTER TABLE policy RENAME TO gone",
    ] {
        rig.store
            .run(move |connection| Ok(connection.execute_batch(damage)?))
            .await
            .unwrap();
        let error = rig.register("goat", &everything).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{damage}: {error}");
        rig.denied("cache_get", json!({"key": "k"})).await;
        rig.denied("http_request", json!({"url": "http://example.com"}))
            .await;
    }
    // What cannot be stored does not apply.
    let wide = Policy::from_json(
        br#"{"status":"approved","permissions":[{"type":"cache","access":"read"}]}"#,
    );
    rig.host
        .policies()
        .set(&name("goat"), wide.unwrap())
        .await
        .unwrap_err();
    rig.denied("cache_get", json!({"key": "k"})).await;
}

#[tokio::test]
async fn rates_are_the_plugins_and_not_the_processs() {
    let rig = Rig::new(false);
    let policy = br#"{"status":"approved","max_db_queries_per_min":3,"max_calls_per_second":2,
        "permissions":[{"type":"db","access":"readwrite"},{"type":"plugin_call","access":""},{"type":"email","access":""}]}"#;
    let policy = Policy::from_json(policy).unwrap();
    rig.host
        .policies()
        .set(&name("goat"), policy)
        .await
        .unwrap();
    let query = json!({"query": "SELECT 1"});
    for _ in 0..2 {
        rig.register("goat", &[]).await.unwrap();
        rig.ask("db_query", query.clone()).await.unwrap();
    }
    let _ = rig
        .ask("db_exec", json!({"query": "DELETE FROM nothing"}))
        .await
        .unwrap_err();
    for _ in 0..2 {
        // A reload starts no new window.
        rig.host.ended(&name("goat"), 1);
        rig.register("goat", &[]).await.unwrap();
        let error = rig.ask("db_query", query.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(
            error.to_string(),
            "plugin \"goat\": DB query rate limit exceeded (3 per minute)"
        );
    }
    // Ten mails a minute, whatever becomes of them; here no server is configured.
    for _ in 0..10 {
        let error = rig
            .ask("send_email", json!({"to": "a@b.example"}))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let error = rig
        .ask("send_email", json!({"to": "a@b.example"}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    // Another plugin has its own.
    let policy = Policy::from_json(
        br#"{"status":"approved","permissions":[{"type":"db","access":"read"}]}"#,
    );
    rig.host
        .policies()
        .set(&name("sheep"), policy.unwrap())
        .await
        .unwrap();
    rig.ask_as(&rig.caller("sheep"), "db_query", query)
        .await
        .unwrap();
}
