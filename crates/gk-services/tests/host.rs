//! The host API as a whole: what the wire says, through guard and policy, with what effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::policy::{Policies, Policy};
use gk_hostapi::scope::Scope;
use gk_hostapi::{
    CallInfo, CallPlugins, Caller, Chain, ErrorKind, Granted, Host, HostApi, HostError, Level,
    Method, MethodSpec, OutgoingCall, PluginProcess, RequestId, Shape, User, UserRole,
};
use gk_manifest::{
    Access, I18nSpec, Permission, PermissionKind, PluginName, Registration, ResourceRequest,
};
use gk_services::Services;
use gk_services::cache::{Cache, CacheConfig};
use gk_services::config::{AppSettings, Config};
use gk_services::db::{DatabaseConfig, Databases, DatabasesConfig};
use gk_services::events::{Delivery, Events};
use gk_services::files::Files;
use gk_services::http::{HttpClient, HttpConfig};
use gk_services::i18n::Catalogue;
use gk_services::kv::{Kv, KvQuota};
use gk_services::secure::{SecureConfig, SecureKeys};
use gk_services::store::Store;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

/// A process whose log is kept and whose running calls are given.
#[derive(Debug, Default)]
struct Process {
    log: Mutex<Vec<String>>,
    running: Mutex<Vec<CallInfo>>,
}

impl PluginProcess for Process {
    fn log(&self, level: Level, message: &str, fields: &Map<String, Value>, _: Option<&CallInfo>) {
        let line = format!("{level:?} {message} {}", Value::Object(fields.clone()));
        self.log.lock().push(line);
    }

    fn running_calls(&self) -> Vec<CallInfo> {
        self.running.lock().clone()
    }
}

/// Plugins that answer with what they were asked.
#[derive(Debug, Default)]
struct Echo;

#[async_trait]
impl CallPlugins for Echo {
    async fn call_plugin(
        &self,
        target: &PluginName,
        function: &str,
        args: Bytes,
        call: OutgoingCall,
    ) -> Result<Bytes, HostError> {
        let args: Value = serde_json::from_slice(&args).unwrap_or_default();
        let left = call.deadline.saturating_duration_since(Instant::now());
        let answer = json!({
            "target": target, "function": function, "args": args, "chain": call.chain.to_string(),
            "user": call.user.as_ref().map(|user| &*user.login), "seconds": left.as_secs(),
        });
        Ok(Bytes::from(answer.to_string()))
    }
}

struct Rig {
    host: Host,
    services: Services,
    store: Store,
    process: Arc<Process>,
    _dir: tempfile::TempDir,
}

fn name(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

fn permission(kind: &str, access: &str, scope: &[&str]) -> Permission {
    Permission {
        kind_name: kind.into(),
        access: access.into(),
        scope: scope.iter().map(|&pattern| pattern.into()).collect(),
    }
}

fn request(permissions: &[Permission]) -> ResourceRequest {
    ResourceRequest {
        permissions: permissions.to_vec(),
        ..ResourceRequest::default()
    }
}

impl Rig {
    fn new(trust_declared: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("hostapi.db")).unwrap();
        let app = AppSettings {
            name: "GoatKit".into(),
            timezone: "UTC".into(),
            env: "test".into(),
        };
        let settings = BTreeMap::from([
            ("theme.colour".into(), "brown".into()),
            ("smtp.password".into(), "hush".into()),
        ]);
        let mut databases = DatabasesConfig::default();
        let path = dir.path().join("plugins.db");
        databases.default = Some(DatabaseConfig::new(format!("sqlite:{}", path.display())));
        let mut http = HttpConfig::default();
        http.allow_networks.push("127.0.0.0/8".parse().unwrap());
        let services = Services {
            db: Databases::open(&databases).unwrap().into(),
            cache: Cache::memory(CacheConfig::default()).into(),
            http: HttpClient::new(http).unwrap().into(),
            mail: None,
            config: Config::new(app, settings).into(),
            secure: Arc::new(SecureConfig::new(
                store.clone(),
                Some(SecureKeys::parse(&"ab".repeat(32)).unwrap()),
            )),
            i18n: Catalogue::new().into(),
            files: Files::open(&dir.path().join("files")).unwrap().into(),
            kv: Kv::new(store.clone(), KvQuota::default()).into(),
            events: Events::new().into(),
        };
        let policies = Policies::new(store.clone(), trust_declared);
        let mut host = Host::new(Arc::new(policies));
        services.install(&mut host).unwrap();
        host.connect(Arc::new(Echo));
        Rig {
            host,
            services,
            store,
            process: Arc::default(),
            _dir: dir,
        }
    }

    /// A host that trusts what plugins declare, with a plugin `goat` that declares this.
    async fn trusting(permissions: &[Permission]) -> Self {
        let rig = Rig::new(true);
        rig.register("goat", permissions).await.unwrap();
        rig
    }

    async fn register(&self, plugin: &str, permissions: &[Permission]) -> Result<(), HostError> {
        let registration = Registration::default();
        self.host
            .prepare(&name(plugin), 1, &registration, &request(permissions))
            .await
    }

    fn caller(&self, plugin: &str) -> Caller {
        Caller::new(name(plugin), 1, Arc::clone(&self.process) as _)
    }

    async fn ask_as(&self, caller: &Caller, method: &str, args: Value) -> Result<Value, HostError> {
        let answer = self
            .host
            .call(caller, method, Bytes::from(args.to_string()))
            .await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    async fn ask(&self, method: &str, args: Value) -> Result<Value, HostError> {
        self.ask_as(&self.caller("goat"), method, args).await
    }

    async fn denied(&self, method: &str, args: Value) -> String {
        let error = self.ask(method, args).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        error.to_string()
    }
}

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
            json!({"ok": true}),
        ),
        (
            "kv_get",
            json!({"key": "k"}),
            json!({"value": "AQ==", "found": true}),
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

#[tokio::test]
async fn calls_from_plugin_to_plugin_are_bounded_by_their_caller() {
    let rig = Rig::trusting(&[permission("plugin_call", "", &[])]).await;
    let chain = Chain::new().then(name("goat"), "f");
    let mut call = CallInfo::new(Instant::now() + Duration::from_secs(70), chain.clone());
    call.user = Some(User::new(7, "alice@a.example", UserRole::Agent));
    call.language = Some("de".into());
    call.request_id = RequestId::new(b"r-1");
    let caller = rig.caller("goat").with_call(Some(call));
    let args = json!({"plugin": "other", "function": "g"});
    let answer = rig
        .ask_as(&caller, "plugin_call", args.clone())
        .await
        .unwrap();
    assert_eq!(
        (&answer["chain"], &answer["user"]),
        (&json!("goat.f"), &json!("alice@a.example"))
    );
    assert!(answer["seconds"].as_u64().unwrap() < 70);
    // What a caller says of itself under the host's keys does not arrive; what the host knows does.
    let forged = json!({"a": [1, 2.50], "_is_admin": true, "_user_role": "Admin", "_user_id": 1, "_any": 1,
            "_request_id": "r-2"});
    let forge = |args: &Value| json!({"plugin": "other", "function": "g", "args": args});
    let answer = rig
        .ask_as(&caller, "plugin_call", forge(&forged))
        .await
        .unwrap();
    let told = json!({"a": [1, 2.50], "_is_admin": false, "_user_role": "Agent", "_user_id": 7,
        "_user_login": "alice@a.example", "_user_email": "alice@a.example", "_lang": "de",
        "_request_id": "r-1"});
    assert_eq!(answer["args"], told);
    // Without a running call there is no user; what is no object has no keys.
    let answer = rig.ask("plugin_call", forge(&forged)).await.unwrap();
    assert_eq!(answer["args"], json!({"a": [1, 2.50], "_is_admin": false}));
    let answer = rig.ask("plugin_call", forge(&json!([1]))).await.unwrap();
    assert_eq!(answer["args"], json!([1]));
    // A circle, with a token and without.
    let there = chain.then(name("other"), "g").then(name("goat"), "f");
    let inner = CallInfo::new(Instant::now() + Duration::from_secs(70), there);
    let caller = rig.caller("goat").with_call(Some(inner.clone()));
    let error = rig
        .ask_as(&caller, "plugin_call", args.clone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    rig.process.running.lock().push(inner);
    let error = rig.ask("plugin_call", args.clone()).await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    // Too deep, where no function comes twice.
    let deep = (0..11).fold(Chain::new(), |chain, number| {
        chain.then(name("goat"), &format!("f{number}"))
    });
    *rig.process.running.lock() = vec![CallInfo::new(Instant::now(), deep)];
    let error = rig.ask("plugin_call", args).await.unwrap_err();
    assert!(
        error.to_string().contains("depth exceeded (max 10)"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn plugins_see_nothing_of_each_other() {
    let all = [
        permission("cache", "readwrite", &[]),
        permission("file", "readwrite", &[]),
    ];
    let rig = Rig::new(true);
    rig.register("goat", &all).await.unwrap();
    rig.register("sheep", &all).await.unwrap();
    let texts = I18nSpec {
        translations: serde_json::from_value(json!({"en": {"hello": "bleat"}})).unwrap(),
        ..I18nSpec::default()
    };
    let registration = Registration {
        i18n: Some(texts),
        ..Registration::default()
    };
    rig.host
        .prepare(&name("goat"), 2, &registration, &request(&all))
        .await
        .unwrap();
    for (method, args) in [
        ("cache_set", json!({"key": "k", "value": "AQ=="})),
        ("kv_set", json!({"key": "k", "value": "AQ=="})),
        ("store_file", json!({"key": "k", "data": "AQ=="})),
        ("secure_config_set", json!({"key": "k", "value": "hush"})),
    ] {
        rig.ask(method, args).await.unwrap();
    }
    let sheep = rig.caller("sheep");
    // A namespace that another plugin was quicker to take keeps nobody from starting.
    let mut taken = registration.clone();
    if let Some(texts) = &mut taken.i18n {
        texts.namespace = "goat".to_owned();
    }
    rig.host
        .prepare(&name("sheep"), 2, &taken, &request(&all))
        .await
        .unwrap();
    let key = json!({"key": "k"});
    let nothing = json!({"value": null, "found": false});
    assert_eq!(
        rig.ask_as(&sheep, "cache_get", key.clone()).await.unwrap(),
        nothing
    );
    assert_eq!(
        rig.ask_as(&sheep, "kv_get", key.clone()).await.unwrap(),
        nothing
    );
    assert_eq!(
        rig.ask_as(&sheep, "kv_list", json!({})).await.unwrap()["keys"],
        json!([])
    );
    assert_eq!(
        rig.ask_as(&sheep, "list_files", json!({})).await.unwrap(),
        json!([])
    );
    for method in ["get_file", "secure_config_get"] {
        let error = rig.ask_as(&sheep, method, key.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{method}: {error}");
    }
    let events = &rig.services.events;
    let mut theirs = events.subscribe(&name("sheep"), "c", None).unwrap();
    rig.ask(
        "publish_event",
        json!({"channel": "c", "event_type": "t", "data": 1}),
    )
    .await
    .unwrap();
    rig.ask_as(
        &sheep,
        "publish_event",
        json!({"channel": "c", "event_type": "own", "data": 2}),
    )
    .await
    .unwrap();
    let Delivery::Event(event) = theirs.next().await else {
        panic!("no event")
    };
    assert_eq!(event.event_type(), "own");
    // A plugin's texts go with its process.
    let hello = json!({"key": "hello"});
    assert_eq!(
        rig.ask("translate", hello.clone()).await.unwrap()["value"],
        "bleat"
    );
    rig.host.ended(&name("goat"), 2);
    assert_eq!(rig.ask("translate", hello).await.unwrap()["value"], "hello");
}

/// Grants, texts and streams are those of the generation that serves, until another one does.
#[tokio::test]
async fn a_generation_that_fails_changes_nothing() {
    let rig = Rig::new(true);
    let goat = name("goat");
    let cache = [permission("cache", "readwrite", &[])];
    let of = |generation| Caller::new(goat.clone(), generation, Arc::clone(&rig.process) as _);
    let get = json!({"key": "k"});
    let text = async |rig: &Rig| {
        let hello = json!({"key": "goat.hello"});
        rig.ask("translate", hello).await.unwrap()["value"].clone()
    };
    let saying = |hello: &str| Registration {
        i18n: Some(I18nSpec {
            translations: serde_json::from_value(json!({"en": {"hello": hello}})).unwrap(),
            ..I18nSpec::default()
        }),
        ..Registration::default()
    };
    let prepare = |generation: u64, hello: &str, wants: &[Permission]| {
        let (registration, wants) = (saying(hello), request(wants));
        let (host, goat) = (&rig.host, &goat);
        async move { host.prepare(goat, generation, &registration, &wants).await }
    };
    prepare(1, "bleat", &cache).await.unwrap();
    rig.host.commit(&goat, 1);
    let events = &rig.services.events;
    let mut stream = events.subscribe(&goat, "c", None).unwrap();

    // The next one asks for less and says something else. It has what it asks for, and nobody else notices.
    prepare(2, "moo", &[]).await.unwrap();
    rig.ask_as(&of(1), "cache_get", get.clone()).await.unwrap();
    let refused = rig.ask_as(&of(2), "cache_get", get.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
    let view = rig.host.policies().view(&goat).unwrap();
    assert_eq!(view.requested.permissions, cache);
    assert_eq!(text(&rig).await, "bleat");
    rig.host.ended(&goat, 2);
    rig.ask_as(&of(1), "cache_get", get.clone()).await.unwrap();
    assert_eq!(text(&rig).await, "bleat");
    events
        .publish(&goat, "c", "t", &json!("still here"))
        .unwrap();
    let Delivery::Event(event) = stream.next().await else {
        panic!("the stream ended with a generation that never served")
    };
    assert_eq!(event.data(), "still here");

    // One that serves takes over, and the old one's end is not its end.
    prepare(3, "moo", &[]).await.unwrap();
    rig.host.commit(&goat, 3);
    assert_eq!(text(&rig).await, "moo");
    assert!(
        rig.host
            .policies()
            .view(&goat)
            .unwrap()
            .requested
            .permissions
            .is_empty()
    );
    rig.ask_as(&of(1), "cache_get", get.clone()).await.unwrap();
    let refused = rig.ask_as(&of(3), "cache_get", get.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
    rig.host.ended(&goat, 1);
    assert_eq!(text(&rig).await, "moo");
    events.publish(&goat, "c", "t", &json!("on")).unwrap();
    assert!(matches!(stream.next().await, Delivery::Event(_)));
    // It may be started again: who listens, listens on until nothing of the plugin comes any more.
    rig.host.ended(&goat, 3);
    events.publish(&goat, "c", "t", &json!("later")).unwrap();
    assert!(matches!(stream.next().await, Delivery::Event(_)));
    rig.host.stopped(&goat);
    assert!(matches!(stream.next().await, Delivery::Closed));
}

#[derive(Debug)]
struct OrgId;

#[async_trait]
impl Method for OrgId {
    fn spec(&self) -> MethodSpec {
        let access = Some(Access::Read);
        MethodSpec::needing(
            "org_id",
            PermissionKind::Entity,
            access,
            "entity read access not granted",
        )
    }

    async fn call(&self, granted: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
        let scope = granted
            .grants()
            .scope(PermissionKind::Entity, Some(Access::Read));
        let Some(Scope::Only(scope)) = scope else {
            return Err(HostError::failed(format!("{scope:?}")));
        };
        Ok(Bytes::from(
            json!({"plugin": granted.plugin(), "scope": scope}).to_string(),
        ))
    }
}

#[tokio::test]
async fn a_host_application_adds_methods_behind_the_same_guard() {
    let mut rig = Rig::trusting(&[permission("entity", "read", &["ticket"])]).await;
    let error = rig.ask("org_id", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotProvided);
    assert_eq!(
        error.to_string(),
        "method \"org_id\" is not provided by this host"
    );
    let error = rig.ask("orgid", json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown host API method: orgid");
    rig.host.add(Arc::new(OrgId)).unwrap();
    assert!(rig.host.add(Arc::new(OrgId)).is_err());
    let answer = rig.ask("org_id", json!({})).await.unwrap();
    assert_eq!(answer, json!({"plugin": "goat", "scope": ["ticket"]}));
    rig.register("sheep", &[]).await.unwrap();
    let error = rig
        .ask_as(&rig.caller("sheep"), "org_id", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_plugin_has_so_many_requests_under_way_and_no_more() {
    use gk_hostapi::policy::HTTP_IN_FLIGHT_MAX;
    let rig = Arc::new(Rig::trusting(&[permission("http", "", &["127.0.0.1:*"])]).await);
    // A server that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut requests = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..HTTP_IN_FLIGHT_MAX {
        let (rig, args) = (Arc::clone(&rig), json!({ "url": url }));
        requests.spawn(async move { rig.ask("http_request", args).await });
        held.push(silent.accept().await.unwrap());
    }
    let error = rig
        .ask("http_request", json!({ "url": url }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    // One that ends makes room.
    drop(held.pop());
    requests.join_next().await.unwrap().unwrap().unwrap_err();
    let (again, args) = (Arc::clone(&rig), json!({ "url": url }));
    requests.spawn(async move { again.ask("http_request", args).await });
    silent.accept().await.unwrap();
}

/// While all places are taken, what cannot run is refused, and not kept waiting with its arguments.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_arguments_are_refused_unread() {
    let rig = Arc::new(Rig::trusting(&[permission("db", "readwrite", &[])]).await);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) \
                   SELECT COUNT(*) FROM n";
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let rig = Arc::clone(&rig);
        running.spawn(async move { rig.ask("db_query", json!({ "query": endless })).await });
    }
    let refused = async |method: &str, args: Value| {
        let asked = tokio::time::timeout(Duration::from_secs(10), rig.ask(method, args));
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{method}: {error}");
    };
    let many = vec![0; 1000];
    for method in ["db_query", "db_exec"] {
        refused(method, json!({"query": "SELECT 1", "args": many})).await;
        refused(
            method,
            json!({"query": "SELECT 1", "args": vec![0; 65_000]}),
        )
        .await;
    }
    let statement = json!({"query": "SELECT ?", "args": many});
    refused(
        "db_batch",
        json!({"statements": [{"query": "SELECT 1"}, statement]}),
    )
    .await;
    refused(
        "db_batch",
        json!({"statements": vec![json!({"query": "SELECT 1"}); 101]}),
    )
    .await;
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

/// A method that never answers.
#[derive(Debug, Default)]
struct Endless {
    began: tokio::sync::Notify,
    dropped: Arc<std::sync::atomic::AtomicBool>,
}

struct Dropped(Arc<std::sync::atomic::AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

#[async_trait]
impl Method for Endless {
    fn spec(&self) -> MethodSpec {
        MethodSpec::free("endless")
    }

    async fn call(&self, _: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
        let _dropped = Dropped(Arc::clone(&self.dropped));
        self.began.notify_one();
        std::future::pending().await
    }
}

/// Row 20: upstream lets what runs go on when a plugin is blocked.
#[tokio::test]
async fn a_block_ends_requests_that_run() {
    let mut rig = Rig::trusting(&[]).await;
    let endless = Arc::new(Endless::default());
    rig.host.add(endless.clone()).unwrap();
    let (set, asked) = tokio::join!(
        async {
            endless.began.notified().await;
            // Another policy ends nothing.
            let approved = Policy::from_json(br#"{"status":"approved"}"#).unwrap();
            let policies = rig.host.policies();
            policies.set(&name("goat"), approved).await.unwrap();
            assert!(!endless.dropped.load(std::sync::atomic::Ordering::Acquire));
            let blocked = Policy::from_json(br#"{"status":"blocked"}"#).unwrap();
            policies.set(&name("goat"), blocked).await
        },
        tokio::time::timeout(Duration::from_secs(20), rig.ask("endless", json!({}))),
    );
    set.unwrap();
    let error = asked.expect("the request goes on").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("blocked by its policy while"),
        "{error}"
    );
    assert!(endless.dropped.load(std::sync::atomic::Ordering::Acquire));
}
