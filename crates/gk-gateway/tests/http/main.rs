//! The whole gateway over plugins without processes.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod access;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use gk_gateway::server::Answer;
use gk_gateway::tokens::{Role, Tokens};
use gk_gateway::{BODY_BYTES_MAX, Front, Gateway, GatewayConfig};
use gk_manifest::{Registration, RouteSpec, WidgetSpec};
use gk_protocol::plugin::{Call, HostApiClient, PluginHandler};
use gk_runtime::Runtime;
use gk_runtime::testing::InMemory;
use serde_json::{Value, json};
use tokio::sync::Notify;

struct Plugin(Registration);

#[async_trait]
impl PluginHandler for Plugin {
    async fn register(&self) -> Result<Registration, String> {
        Ok(self.0.clone())
    }

    async fn init(
        &self,
        _: BTreeMap<String, String>,
        _: Option<HostApiClient>,
    ) -> Result<(), String> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Bytes, String> {
        match call.function.as_str() {
            "echo" => Ok(call.args),
            "named" => Ok(Bytes::from_static(
                br#"{"_headers":{"X-Request-Id":"its own"},"id":5}"#,
            )),
            "created" => Ok(Bytes::from_static(
                br#"{"_status":201,"_headers":{"X-First-Id":"5"},"id":5}"#,
            )),
            "widget" => Ok(Bytes::from_static(br#"{"html":"<p>w</p>"}"#)),
            "no_widget" => Ok(Bytes::from_static(b"[]")),
            other => Err(format!("unknown function: {other}")),
        }
    }

    async fn shutdown(&self) -> Result<(), String> {
        Ok(())
    }
}

fn route(method: &str, path: &str, handler: &str, middleware: &[&str]) -> RouteSpec {
    RouteSpec {
        method: method.into(),
        path: path.into(),
        handler: handler.into(),
        middleware: middleware.iter().map(|name| (*name).to_owned()).collect(),
        ..RouteSpec::default()
    }
}

fn widget(id: &str, handler: &str) -> WidgetSpec {
    WidgetSpec {
        id: id.into(),
        title: "A <title>".into(),
        handler: handler.into(),
        ..WidgetSpec::default()
    }
}

struct Setup {
    front: Front,
    gateway: Gateway,
    runtime: Runtime,
    plugins: InMemory,
    tokens: BTreeMap<&'static str, String>,
    _dir: tempfile::TempDir,
}

/// A plugin whose route needs no token at first, and is the administrator's from its second process
/// on.
#[derive(Default)]
struct Closing {
    registered: AtomicUsize,
    called: AtomicUsize,
    /// A second process registers.
    second: Notify,
    /// And may go on.
    go_on: Notify,
}

#[async_trait]
impl PluginHandler for Closing {
    async fn register(&self) -> Result<Registration, String> {
        let closed: &[&str] = match self.registered.fetch_add(1, Ordering::SeqCst) {
            0 => &[],
            _ => {
                self.second.notify_one();
                self.go_on.notified().await;
                &["admin"]
            }
        };
        Ok(Registration {
            name: "closing".into(),
            version: "1.0.0".into(),
            routes: vec![route("GET", "/api/plugins/closing/it", "it", closed)],
            ..Registration::default()
        })
    }

    async fn init(
        &self,
        _: BTreeMap<String, String>,
        _: Option<HostApiClient>,
    ) -> Result<(), String> {
        Ok(())
    }

    async fn call(&self, _: Call) -> Result<Bytes, String> {
        self.called.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from_static(b"{}"))
    }

    async fn shutdown(&self) -> Result<(), String> {
        Ok(())
    }
}

async fn setup() -> Setup {
    let first = Registration {
        name: "first".into(),
        version: "1.0.0".into(),
        routes: vec![
            route("GET", "/api/plugins/first/public", "echo", &[]),
            route("GET", "/api/plugins/first/auth", "echo", &["auth"]),
            route("POST", "/api/plugins/first/items/:id", "echo", &["auth"]),
            route(
                "GET",
                "/api/plugins/first/agents",
                "echo",
                &["auth", "agent"],
            ),
            route("GET", "/api/plugins/first/customers", "echo", &["customer"]),
            route("GET", "/api/plugins/first/admins", "echo", &["admin"]),
            route("POST", "/api/plugins/first/created", "created", &[]),
            route("GET", "/api/plugins/first/fails", "fails", &[]),
            route("GET", "/api/plugins/first/named", "named", &[]),
            route("GET", "/shared", "echo", &[]),
            route("GET", "/api/plugins/first/closed", "echo", &["group:staff"]),
            route("GET", "/api/v1/plugins", "echo", &[]),
        ],
        widgets: vec![widget("w", "widget"), widget("bad", "no_widget")],
        ..Registration::default()
    };
    let second = Registration {
        name: "second".into(),
        version: "2.0.0".into(),
        routes: vec![
            route("GET", "/shared", "echo", &[]),
            route("GET", "/api/plugins/first/x", "echo", &[]),
        ],
        ..Registration::default()
    };
    let plugins = InMemory::new()
        .with("first", Arc::new(Plugin(first)))
        .with("second", Arc::new(Plugin(second)));
    serving(plugins).await
}

async fn serving(plugins: InMemory) -> Setup {
    let runtime = plugins.start().unwrap();
    runtime.settled().await;
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(&dir.path().join("host.db")).await;
    let tokens = Arc::new(tokens.unwrap());
    let mut made = BTreeMap::new();
    for (login, role) in [
        ("admin", Role::Admin),
        ("agent", Role::Agent),
        ("customer", Role::Customer),
    ] {
        let (text, _) = tokens.create(login, role, None).await.unwrap();
        made.insert(login, text);
    }
    let config = GatewayConfig::new(
        runtime.clone(),
        tokens,
        "1.2.3",
        Arc::new(|| "metric 1\n".to_owned()),
    );
    let gateway = Gateway::new(config);
    Setup {
        front: gateway.front(),
        gateway,
        runtime,
        plugins,
        tokens: made,
        _dir: dir,
    }
}

impl Setup {
    async fn send(
        &self,
        method: &str,
        path: &str,
        who: &str,
        body: Option<&str>,
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path);
        if let Some(token) = self.tokens.get(who) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Body::from(body.unwrap_or_default().to_owned()))
            .unwrap();
        let response = self.front.answer(request).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (
            parts.status,
            parts.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    async fn status(&self, method: &str, path: &str, who: &str) -> u16 {
        self.send(method, path, who, None).await.0.as_u16()
    }

    async fn json(&self, method: &str, path: &str, who: &str, body: Option<&str>) -> Value {
        let (status, _, text) = self.send(method, path, who, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

#[tokio::test]
async fn the_envelope_cannot_be_forged() {
    let setup = setup().await;
    let body = r#"{"_is_admin":true,"_user_id":99,"_user_role":"Admin","id":"x","org_id":3,"a":1,"_request_id":"x"}"#;
    let path = "/api/plugins/first/items/5?_is_admin=true&q=1&_request_id=y";
    let mut seen = setup.json("POST", path, "customer", Some(body)).await;
    let made = seen.as_object_mut().unwrap().remove("_request_id");
    let made = made.unwrap().as_str().unwrap().to_owned();
    assert!(
        made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{made}"
    );
    assert_eq!(
        seen,
        json!({
            "_method": "POST", "_path": "/api/plugins/first/items/5", "_lang": "en", "_is_admin": false,
            "_user_id": 3, "_user_login": "customer", "_user_role": "Customer", "_customer_login": "customer",
            "id": "5", "a": 1, "q": "1",
        })
    );
    let called = setup
        .json(
            "POST",
            "/api/v1/plugins/first/call/echo",
            "admin",
            Some(body),
        )
        .await;
    assert_eq!(
        (&called["_user_id"], &called["_is_admin"], &called["org_id"]),
        (&json!(1), &json!(true), &json!(3))
    );
}

#[tokio::test]
async fn every_answer_says_which_request_it_belongs_to() {
    let setup = setup().await;
    let long = "x".repeat(128);
    let longer = "x".repeat(129);
    for path in [
        "/api/plugins/first/public",
        "/api/plugins/first/auth",
        "/api/plugins/first/named",
        "/nothing",
        "/livez",
        "/api/v1/plugins",
    ] {
        let mut made = Vec::new();
        for (sent, taken) in [
            (&["a-1"][..], true),
            (&[&*long], true),
            (&[&*longer], false),
            (&["a b"], false),
            (&[""], false),
            (&["a", "b"], false),
            (&[], false),
        ] {
            let request = Request::get(path);
            let request = sent
                .iter()
                .fold(request, |request, id| request.header("x-request-id", *id));
            let request = request.body(Body::empty()).unwrap();
            let response = setup.front.answer(request).await;
            let told: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
            let [told] = told[..] else {
                panic!("{path} {sent:?}: {told:?}")
            };
            let told = told.to_str().unwrap().to_owned();
            if taken {
                assert_eq!(told, sent[0], "{path}");
            } else {
                assert_eq!(told.len(), 32, "{path} {sent:?}: {told}");
                made.push(told.clone());
            }
            if path.ends_with("public") {
                let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                let seen: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(seen["_request_id"], *told);
            }
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 5, "{path}: each has its own");
    }
}

#[tokio::test]
async fn results_become_answers() {
    let setup = setup().await;
    let (status, headers, body) = setup
        .send("POST", "/api/plugins/first/created", "nobody", None)
        .await;
    assert_eq!(
        (
            status.as_u16(),
            &headers["x-first-id"].to_str().unwrap(),
            &*body
        ),
        (201, &"5", r#"{"id":5}"#)
    );
    let (status, _, body) = setup
        .send("GET", "/api/plugins/first/fails", "nobody", None)
        .await;
    assert_eq!(
        (status.as_u16(), &*body),
        (500, r#"{"error":"unknown function: fails"}"#)
    );
    let (status, headers, body) = setup
        .send(
            "GET",
            "/api/v1/plugins/first/widgets/w?wrap=true",
            "agent",
            None,
        )
        .await;
    assert!(
        status.is_success()
            && headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/html")
    );
    assert!(
        body.contains("A &lt;title&gt;") && body.contains("<p>w</p>"),
        "{body}"
    );
    assert_eq!(
        setup
            .status("GET", "/api/v1/plugins/first/widgets/bad", "agent")
            .await,
        502
    );
    assert_eq!(
        setup
            .status("GET", "/api/v1/plugins/first/widgets/none", "agent")
            .await,
        404
    );
    assert_eq!(
        setup
            .status("GET", "/api/v1/plugins/none/widgets/w", "agent")
            .await,
        404
    );
}

/// An HTTP/2 server would send any body of an answer.
#[tokio::test]
async fn the_answer_to_head_has_a_length_and_no_body() {
    let setup = setup().await;
    for path in [
        "/api/plugins/first/none",
        "/api/v1/plugins",
        "/livez",
        "/nowhere",
    ] {
        let (status, _, body) = setup.send("GET", path, "admin", None).await;
        let (headed, headers, nothing) = setup.send("HEAD", path, "admin", None).await;
        assert_eq!((headed, &*nothing), (status, ""), "{path}");
        let length = headers["content-length"].to_str().unwrap();
        assert_eq!(length, body.len().to_string(), "{path}");
    }
    // A plugin's answer, which has the method in it, and a path that only other methods have.
    for (path, expected) in [
        ("/api/plugins/first/public", 200),
        ("/api/v1/plugins/first/reload", 405),
    ] {
        let (status, headers, nothing) = setup.send("HEAD", path, "admin", None).await;
        assert_eq!((status.as_u16(), &*nothing), (expected, ""), "{path}");
        assert_ne!(headers["content-length"], "0", "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let setup = setup().await;
    assert_eq!(setup.status("GET", "/nowhere", "admin").await, 404);
    assert_eq!(
        setup.status("GET", "/api/v1/plugins/none", "admin").await,
        404
    );
    assert_eq!(
        setup
            .status("POST", "/api/v1/plugins/none/call/x", "admin")
            .await,
        404
    );
    assert_eq!(setup.status("POST", "/livez", "admin").await, 405);
    let (status, headers, _) = setup
        .send("DELETE", "/api/plugins/first/auth", "admin", None)
        .await;
    assert_eq!(
        (status.as_u16(), headers["allow"].to_str().unwrap()),
        (405, "GET")
    );
    assert_eq!(
        setup
            .status("HEAD", "/api/plugins/first/public", "nobody")
            .await,
        200
    );
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    assert_eq!(
        setup
            .send("POST", "/api/plugins/first/items/1", "admin", Some(&large))
            .await
            .0
            .as_u16(),
        413
    );
    assert_eq!(
        setup
            .send("POST", "/api/plugins/first/items/1", "admin", Some("{"))
            .await
            .0
            .as_u16(),
        400
    );
    assert_eq!(
        setup
            .send(
                "POST",
                "/api/v1/plugins/first/call/echo",
                "admin",
                Some("[1]")
            )
            .await
            .0
            .as_u16(),
        400
    );
}

#[tokio::test]
async fn the_list_is_an_array_with_both_names_and_the_refusals() {
    let setup = setup().await;
    let list = setup.json("GET", "/api/v1/plugins", "admin", None).await;
    let list = list.as_array().unwrap();
    let names: Vec<_> = list
        .iter()
        .map(|item| {
            (
                item["name"].as_str().unwrap(),
                item["Name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(names, [("first", "first"), ("second", "second")]);
    let reasons = |item: &Value| -> Vec<String> {
        let refused = item["refused_routes"].as_array().unwrap();
        refused
            .iter()
            .map(|route| route["reason"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = reasons(&list[0]);
    assert!(
        first[0].contains("not the plugin's own")
            && first[1].contains("unknown middleware \"group:staff\"")
            && first[2].contains("belongs to the host"),
        "{first:?}"
    );
    let second = reasons(&list[1]);
    assert!(
        second[0].contains("not the plugin's own")
            && second[1].contains("in the place of plugin \"first\""),
        "{second:?}"
    );
    assert_eq!(
        setup
            .status("GET", "/api/plugins/first/closed", "admin")
            .await,
        404
    );
    assert!(list[0].get("directory").is_some());
    let seen_by_agent = setup.json("GET", "/api/v1/plugins", "agent", None).await;
    assert!(seen_by_agent[0].get("directory").is_none() && seen_by_agent[0].get("pid").is_none());
}

/// The version that runs a function decides which callers may call it, regardless of the version
/// that a request was meant for.
#[tokio::test]
async fn a_request_runs_in_no_version_that_wants_another_caller() {
    let plugin = Arc::new(Closing::default());
    let handler = Arc::clone(&plugin) as Arc<dyn PluginHandler>;
    let lines = "reload: {wait: 60s}\nresources: {init_timeout: 100s}";
    let setup = serving(InMemory::new().with_manifest("closing", lines, handler)).await;
    let it = "/api/plugins/closing/it";
    assert_eq!(setup.status("GET", it, "nobody").await, 200);
    setup
        .plugins
        .crash("closing", gk_runtime::ExitStatus::Exited { code: 2 }, "")
        .await;
    let within = std::time::Duration::from_secs(120);
    tokio::time::timeout(within, plugin.second.notified())
        .await
        .expect("no second process");
    // Two requests have passed the first version's check and wait for the second one: one that
    // found the first version's routes, and one that found that no version serves them.
    let mut asked = Vec::new();
    for _ in 0..2 {
        let mut request = Box::pin(setup.status("GET", it, "nobody"));
        for _ in 0..100 {
            tokio::select! {
                biased;
                status = &mut request => panic!("answered {status} while nothing serves"),
                () = tokio::task::yield_now() => {}
            }
        }
        asked.push(request);
        setup.gateway.rebuild();
    }
    plugin.go_on.notify_one();
    for request in asked {
        assert_eq!(request.await, 503);
    }
    assert_eq!(
        plugin.called.load(Ordering::SeqCst),
        1,
        "only the first one was called"
    );
    assert_eq!(setup.status("GET", it, "nobody").await, 401);
    assert_eq!(setup.status("GET", it, "admin").await, 200);
}

#[tokio::test]
async fn routes_stay_a_plugins_own_while_it_does_not_run() {
    let setup = setup().await;
    let following = tokio::spawn({
        let gateway = setup.gateway.clone();
        async move { gateway.follow().await }
    });
    setup
        .plugins
        .crash(
            "first",
            gk_runtime::ExitStatus::Exited { code: 2 },
            "panic: secret\n",
        )
        .await;
    let mut changed = setup.runtime.changed();
    let noticed = async {
        let crashed = || setup.runtime.snapshot().get("first").unwrap().crashes > 0;
        while !crashed() {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), noticed)
        .await
        .expect("the end of a plugin is not noticed");
    // The plugin restarts, and requests wait for that.
    let public = "/api/plugins/first/public";
    assert_eq!(setup.status("GET", public, "nobody").await, 200);
    let health = setup
        .json("GET", "/api/v1/plugins/first/health", "admin", None)
        .await;
    assert_eq!(
        (&health["healthy"], &health["restart_attempts"]),
        (&true.into(), &1.into())
    );
    assert!(
        health["last_error"].as_str().unwrap().contains("code 2"),
        "{health}"
    );
    assert_eq!(
        setup
            .status("GET", "/api/v1/plugins/nobody/health", "agent")
            .await,
        404
    );
    let all = setup
        .json("GET", "/api/v1/plugins/health", "agent", None)
        .await;
    assert_eq!(all["plugins"]["first"]["state"], "running");

    let control = |action: &'static str| setup.json("POST", action, "admin", None);
    let disabled = control("/api/v1/plugins/first/disable?wait=60s").await;
    assert_eq!(
        (&disabled["status"], &disabled["outcome"]),
        (&"disabled".into(), &"stopped".into())
    );
    assert_eq!(setup.status("GET", public, "nobody").await, 403);
    // The plugin's routes are still known, and ask for the same middleware.
    for (path, status) in [
        ("/api/plugins/first/none", 404),
        ("/api/plugins/first/auth", 401),
    ] {
        assert_eq!(setup.status("GET", path, "nobody").await, status, "{path}");
    }
    let reloaded = setup
        .send(
            "POST",
            "/api/v1/plugins/first/reload?wait=60s",
            "admin",
            None,
        )
        .await;
    assert_eq!(reloaded.0, StatusCode::CONFLICT);
    let enabled = control("/api/v1/plugins/first/enable?wait=60s").await;
    assert_eq!(
        (&enabled["status"], &enabled["outcome"]),
        (&"enabled".into(), &"serving".into())
    );
    assert_eq!(setup.status("GET", public, "nobody").await, 200);
    let reset = control("/api/v1/plugins/first/reset-crashloop?wait=60s").await;
    assert_eq!(reset["status"], "reset");
    let restarted = control("/api/v1/plugins/first/restart?wait=60s").await;
    assert!(restarted["generation"].as_u64() > enabled["generation"].as_u64());
    let back = setup
        .send("POST", "/api/v1/plugins/first/rollback", "admin", None)
        .await;
    assert_eq!(back.0, StatusCode::CONFLICT, "{}", back.2);
    for action in [
        "enable",
        "disable",
        "restart",
        "reset-crashloop",
        "rollback",
    ] {
        let path = format!("/api/v1/plugins/first/{action}");
        assert_eq!(setup.status("POST", &path, "agent").await, 403, "{action}");
        let path = format!("/api/v1/plugins/nobody/{action}");
        assert_eq!(setup.status("POST", &path, "admin").await, 404, "{action}");
    }
    following.abort();
}

#[tokio::test]
async fn tokens_are_made_and_ended() {
    let setup = setup().await;
    let made = setup
        .json(
            "POST",
            "/api/v1/tokens",
            "admin",
            Some(r#"{"login":"ann","role":"agent"}"#),
        )
        .await;
    let token = made["token"].as_str().unwrap();
    let list = || {
        Request::get("/api/v1/plugins")
            .header("authorization", format!("bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(setup.front.answer(list()).await.status(), StatusCode::OK);
    let all = setup.json("GET", "/api/v1/tokens", "admin", None).await;
    assert_eq!(all.as_array().unwrap().len(), 4);
    assert!(!all.to_string().contains(token));
    let path = format!("/api/v1/tokens/{}", made["id"]);
    assert_eq!(setup.status("DELETE", &path, "admin").await, 204);
    assert_eq!(setup.status("DELETE", &path, "admin").await, 404);
    assert_eq!(
        setup.front.answer(list()).await.status(),
        StatusCode::UNAUTHORIZED
    );
    for body in [
        r#"{"login":"","role":"agent"}"#,
        r#"{"login":"x","role":"root"}"#,
        "{}",
        "x",
    ] {
        assert_eq!(
            setup
                .send("POST", "/api/v1/tokens", "admin", Some(body))
                .await
                .0
                .as_u16(),
            400,
            "{body}"
        );
    }
}

#[tokio::test]
async fn every_endpoint_of_the_document_exists() {
    let setup = setup().await;
    assert_eq!(setup.status("GET", "/readyz", "nobody").await, 503);
    setup.gateway.set_ready(true);
    assert_eq!(setup.status("GET", "/readyz", "nobody").await, 200);
    let document = setup.json("GET", "/openapi.json", "nobody", None).await;
    assert_eq!(document["info"]["version"], "1.2.3");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/plugins/first/items/{id}"));
    for (path, operations) in paths {
        let real = path
            .replace("{plugin}", "first")
            .replace("{id}", "w")
            .replace("{function}", "echo");
        let real = if path.starts_with("/api/v1/tokens/") {
            path.replace("{id}", "1")
        } else {
            real
        };
        for method in operations.as_object().unwrap().keys() {
            let status = setup.status(&method.to_uppercase(), &real, "nobody").await;
            assert!(
                ![404, 405].contains(&status),
                "{method} {path} gives {status}"
            );
        }
    }
}
