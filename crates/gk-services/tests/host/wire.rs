//! Names, arguments and results of the methods.

use super::*;

/// Contract §6.2: names, arguments and results of every method that is served.
#[tokio::test]
async fn the_wire_is_upstreams() {
    let everything = [
        permission("db", "readwrite", &[]),
        permission("cache", "readwrite", &[]),
        permission("file", "readwrite", &[]),
        permission("config", "read", &[]),
        permission("plugin_call", "", &["other"]),
    ];
    let rig = Rig::trusting(&everything).await;
    for (method, args, expected) in [
        (
            "db_exec",
            json!({"query": "CREATE TABLE t (a BIGINT, b TEXT)"}),
            json!({"affected": 0}),
        ),
        (
            "db_exec",
            json!({"query": "INSERT INTO t VALUES (?, ?)", "args": [9_007_199_254_740_993_i64, "x"]}),
            json!({"affected": 1, "last_insert_id": 1}),
        ),
        (
            "db_query",
            json!({"query": "SELECT a, b FROM t", "args": null}),
            json!([{"a": 9_007_199_254_740_993_i64, "b": "x"}]),
        ),
        (
            "db_query",
            json!({"query": "SELECT a FROM t WHERE b = ?", "args": ["y"]}),
            json!([]),
        ),
        (
            "cache_get",
            json!({"key": "k"}),
            json!({"value": null, "found": false}),
        ),
        (
            "cache_set",
            json!({"key": "k", "value": "AAH/", "ttl": 60}),
            json!({"ok": true}),
        ),
        (
            "cache_get",
            json!({"key": "k"}),
            json!({"value": "AAH/", "found": true}),
        ),
        ("cache_delete", json!({"key": "k"}), json!({"ok": true})),
        (
            "cache_get",
            json!({"key": "k"}),
            json!({"value": null, "found": false}),
        ),
        (
            "cache_set",
            json!({"key": "e", "value": null, "ttl": 0}),
            json!({"ok": true}),
        ),
        (
            "cache_get",
            json!({"key": "e"}),
            json!({"value": "", "found": true}),
        ),
        (
            "log",
            json!({"level": "warn", "message": "m", "fields": {"a": 1}}),
            json!({"ok": true}),
        ),
        (
            "log",
            json!({"level": "shout", "message": "m", "fields": null}),
            json!({"ok": true}),
        ),
        (
            "config_get",
            json!({"key": "app.name"}),
            json!({"value": "GoatKit"}),
        ),
        (
            "translate",
            json!({"key": "no.such", "args": null}),
            json!({"value": "no.such"}),
        ),
        (
            "publish_event",
            json!({"event_type": "made", "data": {"id": 1}}),
            json!({"status": "ok"}),
        ),
        (
            "publish_event",
            json!({"channel": "c", "event_type": "made", "data": "text"}),
            json!({"status": "ok"}),
        ),
        (
            "secure_config_set",
            json!({"key": "s", "value": "hush"}),
            json!({"status": "ok"}),
        ),
        (
            "secure_config_get",
            json!({"key": "s"}),
            json!({"value": "hush"}),
        ),
        (
            "store_file",
            json!({"key": "a/b.txt", "data": "aGk=", "metadata": {"content-type": "text/plain"}}),
            json!({"status": "ok"}),
        ),
        (
            "get_file",
            json!({"key": "a/b.txt"}),
            json!({"data": "aGk=", "metadata": {"content-type": "text/plain"}}),
        ),
        (
            "delete_file",
            json!({"key": "a/b.txt"}),
            json!({"status": "ok"}),
        ),
        ("list_files", json!({"prefix": ""}), json!([])),
        (
            "kv_set",
            json!({"key": "k", "value": "AQ=="}),
            json!({"ok": true, "version": 1}),
        ),
        (
            "kv_get",
            json!({"key": "k"}),
            json!({"value": "AQ==", "found": true, "version": 1}),
        ),
        (
            "kv_set",
            json!({"key": "k", "value": "Ag==", "if_version": 7}),
            json!({"ok": false, "version": 1}),
        ),
        (
            "kv_set",
            json!({"key": "k", "value": "AQ==", "if_version": 1}),
            json!({"ok": true, "version": 2}),
        ),
        (
            "kv_list",
            json!({"prefix": "", "after": null, "limit": 0}),
            json!({"keys": ["k"], "next": null}),
        ),
        ("kv_delete", json!({"key": "k"}), json!({"ok": true})),
        (
            "kv_get",
            json!({"key": "k"}),
            json!({"value": null, "found": false}),
        ),
    ] {
        let answer = rig.ask(method, args.clone()).await;
        assert_eq!(
            answer.as_ref().ok(),
            Some(&expected),
            "{method} {args}: {answer:?}"
        );
    }
    assert_eq!(
        rig.process.log.lock()[..],
        ["Warn m {\"a\":1}", "Info m {}"]
    );
    rig.ask("store_file", json!({"key": "f", "data": "aGk="}))
        .await
        .unwrap();
    let files = rig.ask("list_files", json!({"prefix": "f"})).await.unwrap();
    assert_eq!(
        (&files[0]["key"], &files[0]["size"]),
        (&json!("f"), &json!(2))
    );
    let called = rig
        .ask(
            "plugin_call",
            json!({"plugin": "other", "function": "f", "args": {"x": 1}}),
        )
        .await
        .unwrap();
    assert_eq!(
        (&called["target"], &called["args"]),
        (&json!("other"), &json!({"x": 1, "_is_admin": false}))
    );
    // RFC 3339 with nanoseconds and an offset.
    let now = rig.ask("time_now", json!({})).await.unwrap();
    let now = now["now"].as_str().unwrap().to_owned();
    let zone = &now[29..];
    assert!(
        &now[19..20] == "." && (zone == "Z" || zone.len() == 6),
        "{now}"
    );
    // Old SDKs decode a bare string.
    let old = rig.caller("goat").with_shape(Shape::BareString);
    let bare = rig
        .ask_as(&old, "config_get", json!({"key": "app.name"}))
        .await
        .unwrap();
    assert_eq!(bare, "GoatKit");
    let bare = rig
        .ask_as(&old, "translate", json!({"key": "k"}))
        .await
        .unwrap();
    assert_eq!(bare, "k");
    // Bad arguments say where.
    let error = rig.ask("cache_get", json!({"kay": 1})).await.unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
    let empty = rig
        .host
        .call(&rig.caller("goat"), "db_query", Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_batch_over_the_wire() {
    let rig = Rig::trusting(&[permission("db", "readwrite", &[])]).await;
    rig.ask(
        "db_exec",
        json!({"query": "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)"}),
    )
    .await
    .unwrap();
    let statements = json!({"statements": [
        {"query": "INSERT INTO t (s) VALUES (?)", "args": ["a"]},
        {"query": "INSERT INTO t (s) VALUES ('b') RETURNING id, s", "args": null},
        {"query": "SELECT COUNT(*) AS n FROM t"},
    ]});
    let expected = json!([
        {"affected": 1, "last_insert_id": 1},
        {"affected": 1, "last_insert_id": 2, "rows": [{"id": 2, "s": "b"}]},
        {"affected": 0, "rows": [{"n": 2}]},
    ]);
    assert_eq!(rig.ask("db_batch", statements).await.unwrap(), expected);
    for none in [
        json!({}),
        json!({"statements": null}),
        json!({"statements": []}),
    ] {
        assert_eq!(rig.ask("db_batch", none).await.unwrap(), json!([]));
    }
    let error = rig
        .ask("db_batch", json!({"statements": [{"args": []}]}))
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
}
