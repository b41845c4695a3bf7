//! The services behind a GoatKit host API: databases, cache, outgoing HTTP, mail, files, secrets,
//! keys and values, events, configuration and translations.
//!
//! Each service is a module with a typed API of its own, and with the methods through which plugins
//! reach it (`methods.rs` beside it, a table of [`gk_hostapi::ServiceMethod`]). [`Services`] holds
//! them all and installs them in a [`gk_hostapi::Host`], whose guard every request passes first. A
//! service whose check depends on what happens on the way (tables of a statement, redirects of a
//! request) takes the granted scope as an argument and enforces it itself.
//!
//! | Module | What it is for |
//! |---|---|
//! | [`db`] | SQLite, PostgreSQL, MySQL and MariaDB |
//! | [`cache`] | the cache, in memory or in Redis |
//! | [`config`] | configuration that plugins may read |
//! | [`events`] | events for browsers |
//! | [`i18n`] | translations |
//! | `http` | outgoing HTTP requests |
//! | `email` | mail by SMTP |
//! | `files` | files of a plugin |
//! | `kv` | keys and values of a plugin |
//! | `secure` | secrets, encrypted at rest |
//! | `redis` | a connection to Redis that all requests share |
//! | `store` | the SQLite file under `kv`, `secure` and the policies |
//!
//! # Examples
//!
//! All that a plugin keeps is in one directory here; this plugin may use the cache and nothing
//! else.
//!
//! ```
//! # #[cfg(not(all(feature = "files", feature = "http", feature = "smtp", feature = "sqlite")))]
//! # fn main() {}
//! # #[cfg(all(feature = "files", feature = "http", feature = "smtp", feature = "sqlite"))]
//! # mod example {
//! use std::sync::Arc;
//!
//! use gk_hostapi::policy::{Policies, Policy};
//! use gk_hostapi::{CallInfo, Caller, ErrorKind, Host, HostApi, LogLevel, PluginProcess};
//! use gk_services::{Services, cache, config, db, files, http, kv, secure, store};
//! use serde_json::{Map, Value};
//!
//! /// What the supervisor knows of the plugin's process: where its log goes, and which calls run.
//! #[derive(Debug)]
//! struct Process;
//!
//! impl PluginProcess for Process {
//!     fn log(&self, _: LogLevel, message: &str, _: &Map<String, Value>, _: Option<&CallInfo>) {
//!         println!("{message}");
//!     }
//!
//!     fn running_calls(&self) -> Vec<CallInfo> {
//!         Vec::new()
//!     }
//! }
//!
//! # pub
//! async fn ask(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//!     let store = store::Store::open(&dir.join("hostapi.db"))?;
//!     let services = Services {
//!         db: db::Databases::open(&db::DatabasesConfig::default())?.into(),
//!         cache: cache::Cache::memory(cache::CacheConfig::default()).into(),
//!         http: http::HttpClient::new(http::HttpConfig::default())?.into(),
//!         mail: None,
//!         config: config::Config::default().into(),
//!         secure: secure::SecureConfig::new(store.clone(), None).into(),
//!         i18n: Default::default(),
//!         files: files::Files::open(&dir.join("files"))?.into(),
//!         kv: kv::Kv::new(store.clone(), kv::KvQuota::default()).into(),
//!         events: Default::default(),
//!     };
//!     let mut host = Host::new(Arc::new(Policies::new(store, false)));
//!     services.install(&mut host)?;
//!     let plugin = gk_manifest::PluginName::new("my-plugin")?;
//!     let policy = br#"{"status":"approved","permissions":[{"type":"cache","access":"readwrite"}]}"#;
//!     host.policies().set(&plugin, Policy::from_json(policy)?).await?;
//!
//!     let caller = Caller::new(plugin, 1, Arc::new(Process));
//!     let set = br#"{"key":"k","value":"aGk="}"#;
//!     host.call(&caller, "cache_set", set[..].into()).await?;
//!     let answer = host.call(&caller, "cache_get", br#"{"key":"k"}"#[..].into()).await?;
//!     assert_eq!(serde_json::from_slice::<Value>(&answer)?["value"], "aGk=");
//!     let query = br#"{"query":"SELECT 1","args":[]}"#;
//!     let refused = host.call(&caller, "db_query", query[..].into()).await.unwrap_err();
//!     assert_eq!(refused.kind(), ErrorKind::Denied);
//!     Ok(())
//! }
//! # }
//! # #[cfg(all(feature = "files", feature = "http", feature = "smtp", feature = "sqlite"))]
//! # fn main() {
//! #     let dir = tempfile::tempdir().unwrap();
//! #     let runtime = tokio::runtime::Runtime::new().unwrap();
//! #     runtime.block_on(example::ask(dir.path())).unwrap();
//! # }
//! ```
//!
//! `examples/added_method.rs` adds a method of the host application's own, behind the same guard.
//!
//! # Limits and errors
//!
//! Every service bounds what it takes, keeps and answers; docs/hostapi.md in the repository has all
//! methods with their arguments, permissions and limits, and a test compares it with the code.
//! Errors are [`gk_hostapi::HostError`]s.
//!
//! # Features
//!
//! `sqlite`, `postgres`, `mysql`, `redis`, `smtp`, `http` and `files`, all of them default ones.
//! Without one of them its dependencies are not built. A database or cache that is configured and
//! whose engine is not compiled in is an error that says so; methods of a service that is not
//! compiled in are not provided. `sqlite` also has the host's own file, and with it `kv`, `secure`
//! and the store of policies.
#![forbid(unsafe_code)]
// A future is copied whenever it is boxed or spawned, as large as its largest state.
#![warn(clippy::large_futures)]

pub mod cache;
mod clock;
pub mod config;
#[cfg_attr(
    not(all(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(
        dead_code,
        unreachable_code,
        unused_variables,
        reason = "what an engine uses that is not compiled in"
    )
)]
pub mod db;
#[cfg(feature = "smtp")]
pub mod email;
pub mod events;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "http")]
pub mod http;
pub mod i18n;
#[cfg(feature = "sqlite")]
pub mod kv;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod secure;
mod services;
#[cfg(feature = "sqlite")]
pub mod store;
mod wire;

pub use clock::Clock;
pub use services::{Services, methods};

/// The error of an engine that is configured and not compiled in.
#[cfg(not(all(
    feature = "mysql",
    feature = "postgres",
    feature = "redis",
    feature = "sqlite"
)))]
fn not_compiled(what: &str, feature: &str) -> gk_hostapi::HostError {
    gk_hostapi::HostError::unavailable(format!(
        "{what} is configured, and this host is built without it: build gk-services with the feature \
         `{feature}`, or configure another one"
    ))
}

#[cfg(all(
    test,
    not(all(feature = "mysql", feature = "postgres", feature = "sqlite"))
))]
mod tests {
    use gk_hostapi::ErrorKind;

    use crate::db::{DatabaseConfig, Databases, DatabasesConfig};

    #[test]
    fn an_engine_that_is_not_compiled_in_says_so() {
        for (url, is_there, feature) in [
            ("sqlite:/nowhere/x.db", cfg!(feature = "sqlite"), "sqlite"),
            (
                "postgres://u@localhost/d",
                cfg!(feature = "postgres"),
                "postgres",
            ),
            ("mariadb://u@localhost/d", cfg!(feature = "mysql"), "mysql"),
        ] {
            if is_there {
                continue;
            }
            let mut config = DatabasesConfig::default();
            config.default = Some(DatabaseConfig::new(url));
            let error = Databases::open(&config).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(
                error.to_string().contains(&format!("`{feature}`")),
                "{error}"
            );
        }
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn a_cache_in_redis_that_is_not_compiled_in_says_so() {
        use crate::cache::{Cache, CacheConfig};
        let error = Cache::redis("redis://localhost", CacheConfig::default()).unwrap_err();
        assert!(error.to_string().contains("`redis`"), "{error}");
    }
}
