//! The host in memory that the SDK gives to plugins' tests.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gk_plugin::testing::{Answer, TestHost, TestPlugin, User};
use gk_plugin::{
    Context, Error, Host, HostError, Html, HttpResponse, LogLevel, Plugin, Route, StoredFile,
    Widget,
};
use gk_protocol::registration::I18nSpec;
use serde_json::{Map, Value, json};

#[tokio::test]
async fn the_trace_of_a_call() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let seen = async |context: Context, _: Value| {
        // The host knows the call by its token, whatever is told in it.
        context.host().kv().set("called", b"1").await?;
        let told = [context.traceparent(), context.tracestate()];
        Ok::<_, Error>(told.map(|value| value.map(ToOwned::to_owned)))
    };
    let route = Route::get("/api/plugins/sample/seen");
    let plugin = Plugin::new("sample", "1.0.0").route(route, "seen", seen);
    let plugin = TestHost::new().start(plugin).await.unwrap();
    let get = || plugin.get("/api/plugins/sample/seen");
    let got: Value = get().send().await.unwrap();
    assert_eq!(got, json!([null, null]));
    let got: Value = get().trace(parent, None).send().await.unwrap();
    assert_eq!(got, json!([parent, null]));
    let got: Value = get().trace(parent, Some("a=b;c")).send().await.unwrap();
    assert_eq!(got, json!([parent, "a=b;c"]));
}

async fn echo(_: Context, args: Value) -> Result<Value, Error> {
    Ok(args)
}

fn plugin() -> Plugin {
    Plugin::new("sample", "1.0.0")
        .registration(|registration| {
            let texts = json!({ "translations": {
                "en": { "hello": "Hello, {0}", "percent": "%d of %s: 100%%" }, "de": { "hello": "Hallo, {0}" },
            } });
            registration.i18n = serde_json::from_value::<I18nSpec>(texts).ok();
        })
        .route(Route::get("/api/plugins/sample/items/:id").auth(), "item", echo)
        .route(Route::get("/api/plugins/sample/items/new"), "new", async |_: Context, (): ()| {
            Ok::<_, Error>("new")
        })
        .route(Route::get("/api/plugins/sample/files/*path"), "files", echo)
        .route(Route::post("/api/plugins/sample/items").middleware("agent"), "add", echo)
        .route(Route::get("/ui/sample_page/x"), "page", echo)
        .route(Route::post("/webhook/x"), "hook", echo)
        .route(Route::get("/api/plugins/sample/odd").middleware("group:x"), "odd", echo)
        .widget(Widget::new("w", "W"), "widget", async |context: Context, (): ()| {
            let text = context.host().translate("hello", ("Ann",)).await?;
            Ok::<_, Error>(Html(format!("<p>{text}</p>")))
        })
        .function("missing", async |_: Context, (): ()| {
            Err::<(), _>(Error::with_status(404, "no such lamp"))
        })
        .function("fails", async |_: Context, (): ()| Err::<(), _>(Error::new("no")))
        .function("panics", async |_: Context, (): ()| -> Result<(), Error> { panic!("at the disco") })
        .function("colour", async |context: Context, (): ()| {
            Ok::<_, Error>(context.config("colour").map(ToOwned::to_owned))
        })
        .function("ask", async |context: Context, (): ()| {
            let args = json!({ "a": 1, "_user_id": 99 });
            Ok::<Value, Error>(context.host().plugin_call("other", "sum", &args).await?)
        })
        .on_init(async |context| {
            if context.config("refuse").is_some() {
                return Err(Error::new("it refuses"));
            }
            context.host().kv().set("started", b"1").await?;
            Ok(())
        })
        .on_shutdown(async |context| {
            context.host().kv().set("stopped", b"1").await?;
            Ok(())
        })
}

async fn start() -> (TestHost, TestPlugin) {
    let host = TestHost::new();
    let plugin = host.start(plugin()).await.unwrap();
    (host, plugin)
}

/// What the host refuses with.
fn refused<T: std::fmt::Debug>(result: Result<T, HostError>) -> String {
    match result {
        Err(HostError::Refused(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_is_started_called_and_shut_down() {
    let host = TestHost::new();
    host.set_config("colour", "brown");
    let plugin = host.start(plugin()).await.unwrap();
    assert_eq!(plugin.registration().name, "sample");
    assert_eq!(host.kv("started").as_deref(), Some(&b"1"[..]));
    assert_eq!(host.calls()[0].function, None);
    assert_eq!(
        plugin
            .call::<Option<String>>("colour", &())
            .await
            .unwrap()
            .as_deref(),
        Some("brown")
    );
    assert_eq!(plugin.call_raw("new", "").await.unwrap(), "\"new\"");
    let missing = plugin.call::<Value>("missing", &()).await.unwrap_err();
    assert_eq!(missing, Error::with_status(404, "no such lamp"));
    assert_eq!(
        plugin.call::<Value>("fails", &()).await.unwrap_err(),
        Error::new("no")
    );
    let unknown = plugin.call::<Value>("nothing", &()).await.unwrap_err();
    assert_eq!(unknown, Error::new("unknown function: nothing"));
    let panicked = plugin.call::<Value>("panics", &()).await.unwrap_err();
    assert!(
        panicked.to_string().contains("\"panics\" panicked"),
        "{panicked}"
    );
    let other = plugin
        .call::<i64>("new", &())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        other.starts_with("the result of new: ") && other.ends_with("\"new\""),
        "{other}"
    );
    plugin.shutdown().await.unwrap();
    assert_eq!(host.kv("stopped").as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_plugin_that_does_not_start_says_why() {
    let host = TestHost::new();
    host.set_config("refuse", "1");
    let error = host.start(plugin()).await.unwrap_err();
    assert_eq!(error.to_string(), "it refuses");
    let nameless = TestHost::new()
        .start(Plugin::new("", "1.0.0"))
        .await
        .unwrap_err();
    assert!(
        nameless.to_string().contains("the registration: "),
        "{nameless}"
    );
    let twice = plugin().function("ask", echo);
    let error = TestHost::new().start(twice).await.unwrap_err().to_string();
    assert!(
        error.contains("more than one function is named \"ask\""),
        "{error}"
    );
}

#[tokio::test]
async fn statements_have_the_answers_that_were_set_up() {
    let host = TestHost::new();
    let context = host.context("f");
    let db = context.host().db();
    let query = async |query: &str| db.query::<Value>(query, (1, "a", None::<i32>)).await;
    assert_eq!(
        refused(query("SELECT 1").await),
        "no answer to db_query \"SELECT 1\"; set one up with TestHost::on_query or TestHost::on_statement"
    );
    host.on_query(
        "SELECT  n\nFROM t",
        json!([{ "n": 9_007_199_254_740_993_i64 }]),
    );
    assert_eq!(
        query("SELECT n FROM t").await.unwrap(),
        [json!({ "n": 9_007_199_254_740_993_i64 })]
    );
    assert_eq!(
        host.calls_to("db_query")[1].args["args"],
        json!([1, "a", null])
    );
    assert_eq!(host.calls()[0].function.as_deref(), Some("f"));
    let hint = refused(db.execute("SELECT n FROM t", ()).await);
    assert!(hint.contains("(there is one for another method)"), "{hint}");

    host.on_execute("DELETE", 3);
    assert_eq!(db.execute("DELETE", ()).await.unwrap(), 3);
    let hint = refused(query("DELETE").await);
    assert!(hint.contains("(there is one for another method)"), "{hint}");
    let answer = Answer::affected(1)
        .with_last_insert_id(7)
        .with_rows(json!([{ "id": 7 }]));
    host.on_write("INSERT", answer);
    let written = db.write("INSERT", ()).await.unwrap();
    assert_eq!((written.affected, written.last_insert_id), (1, Some(7)));
    assert_eq!(written.rows::<Value>().unwrap(), [json!({ "id": 7 })]);

    host.on_statement(|statement| match &*statement.query {
        "UPDATE" => Some(Err("UNIQUE constraint failed".to_owned())),
        _ => None,
    });
    host.on_statement(|statement| {
        let args = i64::try_from(statement.args.len()).ok()?;
        Some(Ok(Answer::affected(args)))
    });
    let batch = db
        .batch()
        .add("DELETE", ())
        .unwrap()
        .add("other", (1, 2))
        .unwrap();
    let batch = batch.add("SELECT n FROM t", ()).unwrap();
    let results = batch.run().await.unwrap();
    assert_eq!((results[0].affected, results[1].affected), (3, 2));
    assert_eq!(results[2].rows::<Value>().unwrap().len(), 1);
    let batch = db
        .batch()
        .add("DELETE", ())
        .unwrap()
        .add("UPDATE", ())
        .unwrap();
    assert_eq!(
        refused(batch.run().await),
        "statement 2: UNIQUE constraint failed"
    );
}

#[test]
#[should_panic(expected = "rows are a list of structs or maps")]
fn rows_are_objects() {
    TestHost::new().on_query("q", [1]);
}

#[tokio::test]
async fn the_cache_ends_by_the_clock() {
    let host = TestHost::new();
    let context = host.context("f");
    let cache = context.host().cache();
    assert_eq!(cache.get("k").await.unwrap(), None);
    cache
        .set("k", b"v", Some(Duration::from_secs(60)))
        .await
        .unwrap();
    host.advance(Duration::from_secs(60) - Duration::from_nanos(1));
    assert_eq!(cache.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    host.advance(Duration::from_nanos(1));
    assert_eq!(cache.get("k").await.unwrap(), None);
    host.set_cached("k", "");
    host.advance(Duration::from_secs(3600 - 1));
    assert_eq!(host.cached("k"), Some(Bytes::new()));
    assert_eq!(cache.get("k").await.unwrap(), Some(Bytes::new()));
    host.advance(Duration::from_secs(1));
    assert_eq!(host.cached("k"), None);
    cache
        .set("k", b"v", Some(Duration::from_secs(1 << 40)))
        .await
        .unwrap();
    host.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(host.cached("k"), None);
    cache.set("k", b"v", None).await.unwrap();
    cache.delete("k").await.unwrap();
    cache.delete("k").await.unwrap();
    assert_eq!(host.cached("k"), None);
    assert_eq!(refused(cache.get("").await), "the key is empty");
    assert_eq!(context.host().time_now().await.unwrap(), host.now());
}

#[tokio::test]
async fn what_is_stored_is_there() {
    let host = TestHost::new();
    let context = host.context("f");
    let api = context.host();
    for number in 0..150 {
        host.set_kv(&format!("k{number:03}"), "v");
    }
    let page = api.kv().list("k", None, 0).await.unwrap();
    assert_eq!((page.keys.len(), page.next.as_deref()), (100, Some("k099")));
    let (mut keys, mut count) = (api.kv().keys("k"), 0);
    while keys.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 150);
    let full = api.kv().list("k", Some("k049"), 100).await.unwrap();
    assert_eq!((full.keys.len(), full.next), (100, None));
    api.kv().delete("k000").await.unwrap();
    assert_eq!(host.kv("k000"), None);

    assert_eq!(
        refused(api.secure_config("key").await),
        "secure config key \"key\" not found"
    );
    api.set_secure_config("key", "hush").await.unwrap();
    assert_eq!(host.secret("key").as_deref(), Some("hush"));
    assert_eq!(api.secure_config("key").await.unwrap(), "hush");
    assert_eq!(
        refused(api.config("app.name").await),
        "unknown config key: app.name"
    );
    host.set_setting("app.name", "Test");
    assert_eq!(api.config("app.name").await.unwrap(), "Test");

    let metadata = BTreeMap::from([("content-type".to_owned(), "a/b".to_owned())]);
    assert_eq!(
        refused(api.files().get("a/b").await),
        "file \"a/b\" not found"
    );
    let odd = refused(api.files().store("../b", b"", &metadata).await);
    assert!(odd.contains("a part begins with a dot"), "{odd}");
    api.files()
        .store("a/b", &[0, 255], &metadata)
        .await
        .unwrap();
    host.set_file(
        "a/a",
        StoredFile {
            data: "x".into(),
            metadata: BTreeMap::new(),
        },
    );
    let file = api.files().get("a/b").await.unwrap();
    assert_eq!((&file.data[..], &file.metadata), (&[0, 255][..], &metadata));
    let files = api.files().list("a/").await.unwrap();
    let shown: Vec<_> = files
        .iter()
        .map(|file| (&*file.key, file.size, &*file.content_type))
        .collect();
    assert_eq!(
        shown,
        [("a/a", 1, "application/octet-stream"), ("a/b", 2, "a/b")]
    );
    assert_eq!(files[0].modified_at, host.now());
    api.files().delete("a/b").await.unwrap();
    assert_eq!(host.file("a/b"), None);
}

#[tokio::test]
async fn what_is_sent_is_kept() {
    let host = TestHost::new();
    let context = host.context("f");
    let api = context.host();
    api.send_email("a@example.com", "s", "b", true)
        .await
        .unwrap();
    api.publish_event("c", "e", &json!({ "a": 1 }))
        .await
        .unwrap();
    let fields = Map::from_iter([("ms".to_owned(), json!(1200))]);
    api.log(LogLevel::Warn, "slow", fields).await.unwrap();
    let (mails, events, logs) = (host.mails(), host.events(), host.logs());
    assert_eq!(
        (
            &*mails[0].to,
            &*mails[0].subject,
            &*mails[0].body,
            mails[0].html
        ),
        ("a@example.com", "s", "b", true)
    );
    assert_eq!(
        (
            &*events[0].channel,
            &*events[0].event_type,
            &*events[0].data
        ),
        ("c", "e", "{\"a\":1}")
    );
    assert_eq!(
        (&*logs[0].level, &*logs[0].message, &logs[0].fields["ms"]),
        ("warn", "slow", &json!(1200))
    );
    host.forget_calls();
    assert!(
        host.calls().is_empty()
            && host.events().is_empty()
            && host.mails().is_empty()
            && host.logs().is_empty()
    );
}

#[tokio::test]
async fn outgoing_requests_are_answered_by_the_test() {
    let host = TestHost::new();
    let context = host.context("f");
    let get = async |url: &str| context.host().http("", url).send().await;
    let text = refused(get("https://api.example.com/v1").await);
    assert_eq!(
        text,
        "no answer to GET https://api.example.com/v1; set one up with TestHost::on_http"
    );
    host.on_http(|request| HttpResponse {
        status: 201,
        headers: BTreeMap::from([("X-Url".to_owned(), vec![request.url.clone()])]),
        body: request.body.clone(),
    });
    let request = context
        .host()
        .http("POST", "https://api.example.com/v1")
        .header("X-A", "1");
    let response = request.json(&json!([1])).unwrap().send().await.unwrap();
    assert_eq!(
        (response.status, response.header("x-url")),
        (201, Some("https://api.example.com/v1"))
    );
    assert_eq!(response.json::<Value>().unwrap(), json!([1]));
    for url in [
        "api.example.com",
        "ftp://x/",
        "https://user@x/",
        "https:///x",
    ] {
        assert!(refused(get(url).await).starts_with("invalid URL"), "{url}");
    }
}

#[tokio::test]
async fn other_plugins_and_methods_are_answered_by_the_test() {
    let (host, plugin) = start().await;
    let text = plugin
        .call::<Value>("ask", &())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.ends_with("set one up with TestHost::on_plugin_call"),
        "{text}"
    );
    host.on_plugin_call("other", "sum", Ok);
    let told: Value = plugin.call("ask", &()).await.unwrap();
    assert_eq!(told, json!({ "a": 1, "_is_admin": false }));
    host.on_plugin_call("other", "sum", |_| Err("no such lamp".to_owned()));
    let text = plugin
        .call::<Value>("ask", &())
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(text, "host: no such lamp");

    let context = host.context("f");
    let text = refused(context.host().org_id().await);
    assert_eq!(
        text,
        "method \"org_id\" is not provided by this host; in a test, TestHost::on_method(\"org_id\", …) provides it"
    );
    host.on_method("org_id", |_| Ok(json!(5)));
    assert_eq!(context.host().org_id().await.unwrap(), 5);
    let text = refused(context.host().call::<Value>("new_method", &()).await);
    assert_eq!(text, "unknown host API method: new_method");
}

#[tokio::test]
async fn a_method_can_be_denied_and_fail() {
    let (host, _plugin) = start().await;
    let context = host.context("f");
    let query = async || context.host().db().query::<Value>("q", ()).await;
    host.on_query("q", json!([]));
    host.deny("db_query");
    host.deny("kv_get");
    assert_eq!(
        refused(query().await),
        "plugin \"sample\": database read access not granted"
    );
    let text = refused(context.host().kv().get("k").await);
    assert_eq!(text, "plugin \"sample\": it is blocked by its policy");
    host.fail("db_query", "the disk is full");
    assert_eq!(refused(query().await), "the disk is full");
    host.allow("db_query");
    assert!(query().await.unwrap().is_empty());
    assert_eq!(host.calls_to("db_query").len(), 3);
}

#[test]
#[should_panic(expected = "the host API has no method \"db_qurey\"")]
fn a_misspelt_method_is_not_denied() {
    TestHost::new().deny("db_qurey");
}

#[tokio::test]
async fn routes_get_what_a_host_gives_them() {
    let (_, plugin) = start().await;
    let plugin = plugin.grant_route("/webhook/*");
    let base = |method: &str, path: &str| json!({ "_client_ip": "192.0.2.1", "_is_admin": false, "_lang": "en", "_method": method, "_path": path, "_request_id": "testing" });
    let with = |mut object: Value, more: Value| {
        object
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        object
    };
    let agent = json!({ "_user_id": 2, "_user_login": "agent@example.com", "_user_email": "agent@example.com", "_user_role": "Agent" });

    let path = "/api/plugins/sample/items/7";
    let got: Value = plugin
        .get(&format!(
            "{path}?ID=8&tag=a+b&tag=%C3%A4&_user_id=1&_x=1&org_id=5"
        ))
        .query("tag", "c")
        .as_user(User::agent())
        .send()
        .await
        .unwrap();
    let told = with(base("GET", path), agent.clone());
    assert_eq!(
        got,
        with(told, json!({ "id": "7", "tag": ["a b", "ä", "c"] }))
    );

    let got: String = plugin
        .route("HEAD", "/api/plugins/sample/items/new")
        .send()
        .await
        .unwrap();
    assert_eq!(
        got, "new",
        "a part that is written out comes before a parameter"
    );

    let request = plugin
        .get("/api/plugins/sample/files/a/b%20c")
        .language("de")
        .client_ip("::1")
        .request_id("r");
    let got: Value = request.send().await.unwrap();
    assert_eq!(
        (
            &got["path"],
            &got["_lang"],
            &got["_client_ip"],
            &got["_request_id"]
        ),
        (&json!("a/b c"), &json!("de"), &json!("::1"), &json!("r"))
    );

    let path = "/api/plugins/sample/items";
    let body = json!({ "n": 9_007_199_254_740_993_i64, "_is_admin": true });
    let got: Value = plugin
        .post(path)
        .json(&body)
        .as_user(User::agent())
        .send()
        .await
        .unwrap();
    let told = with(base("POST", path), agent);
    assert_eq!(got, with(told, json!({ "n": 9_007_199_254_740_993_i64 })));

    let hook = || plugin.post("/webhook/x");
    let told = base("POST", "/webhook/x");
    for (request, more) in [
        (
            hook().form("a", "1").form("b", "1").form("b", "2"),
            json!({ "a": "1", "b": ["1", "2"] }),
        ),
        (
            hook().body("text/plain", "hi"),
            json!({ "_body": "hi", "_content_type": "text/plain" }),
        ),
        (
            hook().body("image/png", &[255, 0][..]),
            json!({ "_body": "/wA=", "_body_encoding": "base64", "_content_type": "image/png" }),
        ),
        (
            hook().json(&[1]),
            json!({ "_body": "[1]", "_content_type": "application/json" }),
        ),
        (
            hook().file("f", "a.bin", "x/y", &[255, 0]).form("a", "1"),
            json!({ "a": "1", "_files": [{ "name": "f", "filename": "a.bin", "content_type": "x/y", "size": 2, "data": "/wA=" }] }),
        ),
    ] {
        let got: Value = request.send().await.unwrap();
        assert_eq!(got, with(told.clone(), more));
    }

    let page = plugin.get("/ui/sample_page/x").as_user(User::customer());
    let got: Value = page.send().await.unwrap();
    assert_eq!(
        (&got["_customer_login"], &got["_user_role"]),
        (&json!("customer@example.com"), &json!("Customer"))
    );
}

#[tokio::test]
async fn requests_that_a_host_does_not_pass_on_are_refused() {
    let (host, plugin) = start().await;
    host.forget_calls();
    for (method, path, user, status) in [
        ("GET", "/api/plugins/sample/none", None, 404),
        ("GET", "/api/plugins/sample/items/", None, 404),
        ("GET", "/api/plugins/sample/files/", None, 404),
        (
            "GET",
            "/api/plugins/sample/items/a%2Fb",
            Some(User::agent()),
            404,
        ),
        ("GET", "/api/plugins/sample/files/a/../b", None, 404),
        ("DELETE", "/api/plugins/sample/items/7", None, 405),
        ("GET", "/api/plugins/sample/items/7", None, 401),
        (
            "POST",
            "/api/plugins/sample/items",
            Some(User::customer()),
            403,
        ),
        ("GET", "/api/plugins/sample/odd", Some(User::agent()), 404),
        ("POST", "/webhook/x", None, 404),
    ] {
        let mut request = plugin.route(method, path);
        if let Some(user) = user {
            request = request.as_user(user);
        }
        let error = request.send::<Value>().await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{method} {path}: {error}");
    }
    assert_eq!(
        plugin.widget("none").html().await.unwrap_err().status(),
        Some(404)
    );
    let customer = plugin.widget("w").as_user(User::customer());
    assert_eq!(customer.html().await.unwrap_err().status(), Some(403));
    assert!(host.calls().is_empty());
}

#[tokio::test]
async fn texts_are_in_the_language_of_the_call() {
    let (host, plugin) = start().await;
    for (language, text) in [("de-AT", "<p>Hallo, Ann</p>"), ("fr", "<p>Hello, Ann</p>")] {
        assert_eq!(
            plugin.widget("w").language(language).html().await.unwrap(),
            text
        );
    }
    host.set_texts("other", "en", &[("bye", "Bye")]);
    let context = host.context("f");
    let translate =
        async |key: &str, args: Value| context.host().translate(key, args).await.unwrap();
    for (key, args, text) in [
        ("sample.hello", json!([1.5]), "Hello, 1.5"),
        ("hello", json!([]), "Hello, {0}"),
        ("percent", json!([3, "x"]), "3 of x: 100%"),
        ("percent", json!([null]), " of %s: 100%"),
        ("other.bye", json!([]), "Bye"),
        ("none.{x} {100} 5%", json!([1]), "none.{x} {100} 5%"),
    ] {
        assert_eq!(translate(key, args).await, text, "{key}");
    }
}

#[tokio::test]
async fn a_handle_that_outlives_its_call_is_refused() {
    use std::sync::{Arc, Mutex};
    let kept: Arc<Mutex<Option<Host>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let plugin =
        Plugin::new("sample", "1.0.0").function("keep", move |context: Context, (): ()| {
            let keeps = Arc::clone(&keeps);
            async move {
                context.host().kv().set("k", b"").await?;
                *keeps.lock().unwrap() = Some(context.host().clone());
                Ok::<_, Error>(())
            }
        });
    let host = TestHost::new();
    host.start(plugin)
        .await
        .unwrap()
        .call::<()>("keep", &())
        .await
        .unwrap();
    let kept = kept.lock().unwrap().take().unwrap();
    assert_eq!(
        refused(kept.kv().get("k").await),
        "unknown or finished call context"
    );
    assert_eq!(
        kept.detached().kv().get("k").await.unwrap(),
        Some(Bytes::new())
    );
}

#[tokio::test]
async fn a_start_after_another_finds_what_was_stored() {
    let (host, first) = start().await;
    host.set_kv("k", "v");
    first.shutdown().await.unwrap();
    let again = host.start(Plugin::new("sample", "1.0.1")).await.unwrap();
    assert_eq!(again.registration().version, "1.0.1");
    let context = host.context("f");
    assert_eq!(
        context.host().kv().get("k").await.unwrap().as_deref(),
        Some(&b"v"[..])
    );
    for key in ["hello", "sample.hello"] {
        let text = context.host().translate(key, ()).await.unwrap();
        assert_eq!(text, key, "texts of the version before are gone");
    }
    assert_eq!(context.config("plugin_name"), Some("sample"));
}
