//! The host API as a whole: what the wire says, through guard and policy, with what effect.

mod methods;
mod plugins;
mod policy;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::policy::{Policies, Policy};
use gk_hostapi::scope::Scope;
use gk_hostapi::{
    CallInfo, CallPlugins, Caller, Chain, ErrorKind, Granted, Host, HostApi, HostError, LogLevel,
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
    fn log(
        &self,
        level: LogLevel,
        message: &str,
        fields: &Map<String, Value>,
        _: Option<&CallInfo>,
    ) {
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
