//! The typed host API: what goes over the wire, and what comes out of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gk_plugin::{Context, Error, HostError, LogLevel, Plugin};
use gk_protocol::host::{
    self, ConnectOptions, FunctionError, HostApiHandler, HostRequest, PluginConnection,
};
use gk_protocol::{Handshake, SdkGeneration, plugin};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

/// A host that answers what the test says, one answer after the other.
#[derive(Default)]
struct FakeHost {
    answers: Mutex<VecDeque<Result<String, String>>>,
    seen: Mutex<Vec<(String, Value, Option<String>)>>,
    entered: Notify,
    /// Requests of this method are never answered.
    hangs: Mutex<Option<&'static str>>,
}

#[async_trait]
impl HostApiHandler for FakeHost {
    async fn call(&self, request: HostRequest) -> Result<Bytes, String> {
        assert_eq!(request.generation, SdkGeneration::G3);
        let args = serde_json::from_slice(&request.args).unwrap();
        let hangs = *self.hangs.lock().unwrap() == Some(request.method.as_str());
        let seen = (request.method, args, request.call_token);
        self.seen.lock().unwrap().push(seen);
        self.entered.notify_one();
        if hangs {
            std::future::pending::<()>().await;
        }
        let answer = self.answers.lock().unwrap().pop_front();
        answer.expect("an answer").map(Bytes::from)
    }
}

impl FakeHost {
    fn answer(&self, json: &str) {
        self.answers.lock().unwrap().push_back(Ok(json.to_owned()));
    }

    fn refuse(&self, text: &str) {
        self.answers.lock().unwrap().push_back(Err(text.to_owned()));
    }

    fn last(&self) -> (String, Value, Option<String>) {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

/// A plugin in a session with the fake host.
struct Session {
    connection: PluginConnection,
    host: Arc<FakeHost>,
    /// Ends the plugin's side when it is dropped.
    _serving: Box<dyn std::any::Any>,
    _output: host::PluginOutput,
}

impl Session {
    async fn start(plugin: Plugin) -> Self {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let serving = plugin::server(plugin.into_handler()).serve_connection(far);
        let handshake = Handshake::parse(b"1|1|unix|/nowhere|netrpc|").unwrap();
        let host = Arc::new(FakeHost::default());
        let (connection, output) =
            host::connect(near, &handshake, host.clone(), ConnectOptions::default())
                .await
                .unwrap();
        connection.init(&BTreeMap::new()).await.unwrap();
        Self {
            connection,
            host,
            _serving: Box::new(serving),
            _output: output,
        }
    }

    /// Calls the plugin's function with this token.
    async fn call(&self, function: &str) -> Result<Value, String> {
        match self.connection.call(function, Bytes::new(), "token").await {
            Ok(result) => Ok(serde_json::from_slice(&result).unwrap()),
            Err(FunctionError::Application(text)) => Err(text),
            Err(other) => panic!("{other}"),
        }
    }
}

#[derive(Deserialize)]
struct User {
    id: i64,
    name: Option<String>,
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("content-type".to_owned(), "a/b".to_owned())])
}

fn plugin() -> Plugin {
    Plugin::new("test", "1.0.0")
        .function("db_query", async |c: Context, (): ()| {
            let users: Vec<User> = c.host().db().query("q", (1, "a", None::<i32>)).await?;
            Ok::<_, Error>(
                users
                    .into_iter()
                    .map(|user| (user.id, user.name))
                    .collect::<Vec<_>>(),
            )
        })
        .function("db_exec", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().db().execute("q", ()).await?)
        })
        .function("db_write", async |c: Context, (): ()| {
            let written = c.host().db().write("q", (1,)).await?;
            let users: Vec<User> = written.rows()?;
            let users: Vec<i64> = users.iter().map(|user| user.id).collect();
            Ok::<_, Error>((written.affected, written.last_insert_id, users))
        })
        .function("db_batch", async |c: Context, (): ()| {
            let batch = c.host().db().batch().add("a", (1,))?.add("b", ())?;
            let results = batch.run().await?;
            let counts: Vec<i64> = results.iter().map(|result| result.affected).collect();
            let users: Vec<User> = results[1].rows()?;
            Ok::<_, Error>((counts, users.len()))
        })
        .function("db_args", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().db().execute("q", "no list").await?)
        })
        .function("cache_get", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().cache().get("k").await?.map(|value| value.to_vec()))
        })
        .function("cache_set", async |c: Context, (): ()| {
            let ttl = Some(Duration::from_millis(1500));
            Ok::<_, Error>(c.host().cache().set("k", &[0, 255], ttl).await?)
        })
        .function("cache_delete", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().cache().delete("k").await?)
        })
        .function("kv_get", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().kv().get("k").await?.map(|value| value.to_vec()))
        })
        .function("kv_set", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().kv().set("k", b"").await?)
        })
        .function("kv_delete", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().kv().delete("k").await?)
        })
        .function("kv_list", async |c: Context, (): ()| {
            let page = c.host().kv().list("p", Some("a"), 2).await?;
            Ok::<_, Error>((page.keys, page.next))
        })
        .function("http_request", async |c: Context, (): ()| {
            let request = c
                .host()
                .http("POST", "u")
                .header("X-A", "1")
                .json(&json!([1]))?;
            let response = request.send().await?;
            let header = response.header("X-B").map(ToOwned::to_owned);
            Ok::<_, Error>((response.status, header, response.body.to_vec()))
        })
        .function("http_get", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().http("GET", "u").send().await?.json::<Value>()?)
        })
        .function("send_email", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().send_email("t", "s", "b", true).await?)
        })
        .function("log", async |c: Context, (): ()| {
            let fields = Map::from_iter([("a".to_owned(), json!(1))]);
            Ok::<_, Error>(c.host().log(LogLevel::Warn, "m", fields).await?)
        })
        .function("config_get", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().config("k").await?)
        })
        .function("translate", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().translate("k", (1, "x")).await?)
        })
        .function("plugin_call", async |c: Context, (): ()| {
            let args = json!({"a": 1});
            Ok::<_, Error>(
                c.host()
                    .plugin_call::<Option<Value>>("p", "f", &args)
                    .await?,
            )
        })
        .function("publish_event", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().publish_event("c", "e", &json!({"a": 1})).await?)
        })
        .function("publish_text", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().publish_event("", "e", &"text").await?)
        })
        .function("secure_config_get", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().secure_config("k").await?)
        })
        .function("secure_config_set", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().set_secure_config("k", "v").await?)
        })
        .function("org_id", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().org_id().await?)
        })
        .function("time_now", async |c: Context, (): ()| {
            Ok::<_, Error>(
                c.host()
                    .time_now()
                    .await?
                    .unix_timestamp_nanos()
                    .to_string(),
            )
        })
        .function("store_file", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().files().store("k", &[0, 255], &metadata()).await?)
        })
        .function("get_file", async |c: Context, (): ()| {
            let file = c.host().files().get("k").await?;
            Ok::<_, Error>((file.data.to_vec(), file.metadata))
        })
        .function("delete_file", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().files().delete("k").await?)
        })
        .function("list_files", async |c: Context, (): ()| {
            let files = c.host().files().list("p").await?;
            let shown = files
                .into_iter()
                .map(|file| (file.key, file.size, file.modified_at.year()));
            Ok::<_, Error>(shown.collect::<Vec<_>>())
        })
        .function("rows", async |c: Context, (): ()| {
            let db = c.host().db();
            let mut rows = db
                .rows::<User>("SELECT id FROM t ORDER BY id;  ", [7])?
                .page_rows(2);
            let mut ids = Vec::new();
            while let Some(user) = rows.next().await? {
                ids.push(user.id);
            }
            Ok::<_, Error>(ids)
        })
        .function("keys", async |c: Context, (): ()| {
            let mut keys = c.host().kv().keys("p");
            let mut all = Vec::new();
            while let Some(key) = keys.next().await? {
                all.push(key);
            }
            Ok::<_, Error>(all)
        })
        .function("detached", async |c: Context, (): ()| {
            Ok::<_, Error>(c.host().detached().config("k").await?)
        })
        .function("refused", async |c: Context, (): ()| {
            Ok::<_, Error>(match c.host().config("k").await {
                Err(HostError::Refused(text)) => text,
                other => format!("{other:?}"),
            })
        })
        .function("gives_up", async |c: Context, (): ()| {
            let asking = c.host().config("k");
            let waited = tokio::time::timeout(Duration::from_millis(20), asking).await;
            Ok::<_, Error>((waited.is_err(), c.host().org_id().await?))
        })
}

#[tokio::test]
async fn every_method_speaks_as_the_contract_says() {
    let session = Session::start(plugin()).await;
    let ok = r#"{"ok":true}"#;
    let status = r#"{"status":"ok"}"#;
    for (function, method, args, answer, expected) in [
        (
            "db_query",
            "",
            json!({"query": "q", "args": [1, "a", null]}),
            r#"[{"id":9007199254740993,"name":"n"},{"id":-1,"name":null}]"#,
            json!([[9_007_199_254_740_993_i64, "n"], [-1, null]]),
        ),
        (
            "db_query",
            "",
            json!({"query": "q", "args": [1, "a", null]}),
            "null",
            json!([]),
        ),
        (
            "db_exec",
            "",
            json!({"query": "q", "args": []}),
            r#"{"affected":3}"#,
            json!(3),
        ),
        (
            "db_write",
            "db_exec",
            json!({"query": "q", "args": [1]}),
            r#"{"affected":1,"last_insert_id":7,"rows":[{"id":7,"name":null}]}"#,
            json!([1, 7, [7]]),
        ),
        (
            "db_write",
            "db_exec",
            json!({"query": "q", "args": [1]}),
            r#"{"affected":1,"last_insert_id":null}"#,
            json!([1, null, []]),
        ),
        (
            "db_batch",
            "",
            json!({"statements": [{"query": "a", "args": [1]}, {"query": "b", "args": []}]}),
            r#"[{"affected":2,"last_insert_id":null},{"affected":0,"last_insert_id":null,"rows":[{"id":1,"name":"n"}]}]"#,
            json!([[2, 0], 1]),
        ),
        (
            "cache_get",
            "",
            json!({"key": "k"}),
            r#"{"value":"AP8=","found":true}"#,
            json!([0, 255]),
        ),
        (
            "cache_get",
            "",
            json!({"key": "k"}),
            r#"{"value":null,"found":true}"#,
            json!([]),
        ),
        (
            "cache_get",
            "",
            json!({"key": "k"}),
            r#"{"value":null,"found":false}"#,
            json!(null),
        ),
        (
            "cache_set",
            "",
            json!({"key": "k", "value": "AP8=", "ttl": 2}),
            ok,
            json!(null),
        ),
        ("cache_delete", "", json!({"key": "k"}), ok, json!(null)),
        (
            "kv_get",
            "",
            json!({"key": "k"}),
            r#"{"value":"AP8=","found":true}"#,
            json!([0, 255]),
        ),
        (
            "kv_set",
            "",
            json!({"key": "k", "value": ""}),
            ok,
            json!(null),
        ),
        ("kv_delete", "", json!({"key": "k"}), ok, json!(null)),
        (
            "kv_list",
            "",
            json!({"prefix": "p", "after": "a", "limit": 2}),
            r#"{"keys":["p1","p2"],"next":"p2"}"#,
            json!([["p1", "p2"], "p2"]),
        ),
        (
            "http_request",
            "",
            json!({
                "method": "POST", "url": "u", "body": "WzFd",
                "headers": {"x-a": "1", "content-type": "application/json"},
            }),
            r#"{"status":201,"headers":{"x-b":["1","2"]},"body":"AP8="}"#,
            json!([201, "1", [0, 255]]),
        ),
        (
            "http_get",
            "http_request",
            json!({"method": "GET", "url": "u", "body": null, "headers": {}}),
            r#"{"status":200,"body":"WzFd"}"#,
            json!([1]),
        ),
        (
            "send_email",
            "",
            json!({"to": "t", "subject": "s", "body": "b", "html": true}),
            ok,
            json!(null),
        ),
        (
            "log",
            "",
            json!({"level": "warn", "message": "m", "fields": {"a": 1}}),
            ok,
            json!(null),
        ),
        (
            "config_get",
            "",
            json!({"key": "k"}),
            r#"{"value":"v"}"#,
            json!("v"),
        ),
        (
            "config_get",
            "",
            json!({"key": "k"}),
            r#""bare""#,
            json!("bare"),
        ),
        (
            "translate",
            "",
            json!({"key": "k", "args": [1, "x"]}),
            r#"{"value":"v"}"#,
            json!("v"),
        ),
        (
            "plugin_call",
            "",
            json!({"plugin": "p", "function": "f", "args": {"a": 1}}),
            "[1]",
            json!([1]),
        ),
        (
            "plugin_call",
            "",
            json!({"plugin": "p", "function": "f", "args": {"a": 1}}),
            "",
            json!(null),
        ),
        (
            "publish_event",
            "",
            json!({"channel": "c", "event_type": "e", "data": "{\"a\":1}"}),
            status,
            json!(null),
        ),
        (
            "publish_text",
            "publish_event",
            json!({"channel": "", "event_type": "e", "data": "text"}),
            status,
            json!(null),
        ),
        (
            "secure_config_get",
            "",
            json!({"key": "k"}),
            r#"{"value":"v"}"#,
            json!("v"),
        ),
        (
            "secure_config_set",
            "",
            json!({"key": "k", "value": "v"}),
            status,
            json!(null),
        ),
        ("org_id", "", json!({}), "7", json!(7)),
        (
            "time_now",
            "",
            json!({}),
            r#"{"now":"1970-01-01T02:00:01.000000001+02:00"}"#,
            json!("1000000001"),
        ),
        (
            "store_file",
            "",
            json!({"key": "k", "data": "AP8=", "metadata": {"content-type": "a/b"}}),
            status,
            json!(null),
        ),
        (
            "get_file",
            "",
            json!({"key": "k"}),
            r#"{"data":"AP8=","metadata":{"a":"b"}}"#,
            json!([[0, 255], {"a": "b"}]),
        ),
        (
            "get_file",
            "",
            json!({"key": "k"}),
            r#"{"data":null,"metadata":null}"#,
            json!([[], {}]),
        ),
        ("delete_file", "", json!({"key": "k"}), status, json!(null)),
        (
            "list_files",
            "",
            json!({"prefix": "p"}),
            r#"[{"key":"p/1","size":5,"content_type":"a/b","metadata":null,"modified_at":"2026-01-02T03:04:05Z"}]"#,
            json!([["p/1", 5, 2026]]),
        ),
        ("list_files", "", json!({"prefix": "p"}), "null", json!([])),
    ] {
        session.host.answer(answer);
        assert_eq!(
            session.call(function).await,
            Ok(expected),
            "{function} {answer}"
        );
        let method = if method.is_empty() { function } else { method };
        let seen = (method.to_owned(), args, Some("token".to_owned()));
        assert_eq!(session.host.last(), seen, "{function}");
    }
}

#[tokio::test]
async fn rows_and_keys_are_fetched_page_by_page() {
    let session = Session::start(plugin()).await;
    for page in [r#"[{"id":1},{"id":2}]"#, r#"[{"id":3},{"id":4}]"#, "null"] {
        session.host.answer(page);
    }
    assert_eq!(session.call("rows").await, Ok(json!([1, 2, 3, 4])));
    let seen = std::mem::take(&mut *session.host.seen.lock().unwrap());
    let queries: Vec<_> = seen
        .iter()
        .map(|(_, args, _)| args["query"].clone())
        .collect();
    let expected =
        [0, 2, 4].map(|offset| format!("SELECT id FROM t ORDER BY id\nLIMIT 2 OFFSET {offset}"));
    assert_eq!(queries, expected);
    assert!(seen.iter().all(|(_, args, _)| args["args"] == json!([7])));

    session.host.answer(r#"{"keys":["p1"],"next":"p1"}"#);
    // A page without keys is not the end; a page without `next` is.
    session.host.answer(r#"{"keys":[],"next":"p2"}"#);
    session.host.answer(r#"{"keys":["p3"],"next":null}"#);
    assert_eq!(session.call("keys").await, Ok(json!(["p1", "p3"])));
    let seen = session.host.seen.lock().unwrap();
    let after: Vec<_> = seen
        .iter()
        .map(|(_, args, _)| args["after"].clone())
        .collect();
    assert_eq!(after, ["", "p1", "p2"]);
}

#[tokio::test]
async fn errors_are_typed_and_say_whose_they_are() {
    let session = Session::start(plugin()).await;
    session.host.refuse("config key \"k\" access denied");
    assert_eq!(
        session.call("refused").await,
        Ok(json!("config key \"k\" access denied"))
    );
    session.host.refuse("no");
    assert_eq!(session.call("config_get").await, Err("host: no".to_owned()));
    session.host.answer(r#"{"value":7}"#);
    let wrong = session.call("config_get").await.unwrap_err();
    assert!(wrong.starts_with("result of config_get: "), "{wrong}");
    session
        .host
        .answer(r#"{"value":"not base64!","found":true}"#);
    let wrong = session.call("kv_get").await.unwrap_err();
    assert!(wrong.starts_with("result of kv_get: "), "{wrong}");
    let wrong = session.call("db_args").await.unwrap_err();
    assert!(wrong.starts_with("arguments of db_exec: "), "{wrong}");
    // A plugin without a host API is told so, each time.
    let alone = plugin().into_handler();
    let call = gk_protocol::plugin::Call::new("config_get", Bytes::new(), "");
    assert_eq!(
        alone.call(call).await,
        Err("the host offers no host API".to_owned())
    );
}

#[tokio::test]
async fn a_token_is_its_calls_alone_and_not_shown() {
    let session = Session::start(plugin()).await;
    session.host.answer(r#"{"value":"v"}"#);
    session.call("detached").await.unwrap();
    assert_eq!(session.host.last().2, None);
    let shows = Plugin::new("test", "1.0.0").function("shows", async |c: Context, (): ()| {
        Ok::<_, Error>(format!("{c:?} {:?}", c.host()))
    });
    let session = Session::start(shows).await;
    let shown = session.call("shows").await.unwrap();
    assert!(!shown.to_string().contains("token"), "{shown}");
}

#[tokio::test]
async fn a_request_that_is_dropped_disturbs_no_other() {
    let session = Session::start(plugin()).await;
    *session.host.hangs.lock().unwrap() = Some("config_get");
    session.host.answer("7");
    assert_eq!(session.call("gives_up").await, Ok(json!([true, 7])));
    session.host.entered.notified().await;
}
