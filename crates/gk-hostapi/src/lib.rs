//! What a GoatKit plugin may ask of its host, and the guard that no request gets around.
//!
//! A supervisor passes a plugin's requests to a [`HostApi`], with a [`Caller`] that says who asks. The one of
//! this crate is `Host`: it looks the method up, has the guard decide (policy, permission, rate), and only
//! with what the guard hands out is a service reached. Each service is a module with a typed API of its own;
//! one whose check depends on what happens on the way (tables of a statement, redirects of a request) takes
//! the granted scope as an argument and enforces it itself.
//!
//! | Module | What it is for |
//! |---|---|
//! | [`policy`] | what a plugin may do: stored policies, the safe default, rates |
//! | [`db`] | SQLite, PostgreSQL, MySQL and MariaDB |
//! | [`cache`] | the cache, in memory or in Redis |
//! | [`http`] | outgoing HTTP requests |
//! | [`email`] | mail by SMTP |
//! | [`config`] | configuration that plugins may read |
//! | [`secure`] | secrets, encrypted at rest |
//! | [`i18n`] | translations |
//! | [`files`] | files of a plugin |
//! | [`kv`] | keys and values of a plugin |
//! | [`events`] | events for browsers |
//! | [`store`] | the SQLite file under kv, secure and policies |
//!
//! It starts no process and speaks no protocol: bytes of JSON in, bytes of JSON out. Of the workspace it needs gk-manifest
//! alone, for names and permissions.
//!
//! # Examples
//!
//! All that a plugin keeps is in one directory here; this plugin may use the cache and nothing else.
//!
//! ```
//! # #[cfg(feature = "services")]
//! # mod example {
//! use std::sync::Arc;
//!
//! use gk_hostapi::policy::{Policies, Policy};
//! use gk_hostapi::{CallInfo, Caller, ErrorKind, Host, HostApi, Level, PluginProcess, Services};
//! use gk_hostapi::{cache, config, db, files, http, kv, secure, store};
//! use serde_json::{Map, Value};
//!
//! /// What the supervisor knows of the plugin's process: where its log goes, and which calls run.
//! #[derive(Debug)]
//! struct Process;
//!
//! impl PluginProcess for Process {
//!     fn log(&self, _: Level, message: &str, _: &Map<String, Value>, _: Option<&CallInfo>) {
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
//!         db: db::Databases::open(&db::DatabasesConfig::default())?,
//!         cache: cache::Cache::memory(cache::CacheConfig::default()),
//!         http: http::HttpClient::new(http::HttpConfig::default())?,
//!         mail: None,
//!         config: config::Config::default(),
//!         secure: secure::SecureConfig::new(store.clone(), None),
//!         i18n: Default::default(),
//!         files: files::Files::open(&dir.join("files"))?,
//!         kv: kv::Kv::new(store.clone(), kv::KvQuota::default()),
//!         events: Arc::default(),
//!     };
//!     let host = Host::new(services, Arc::new(Policies::new(store, false)));
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
//! # #[cfg(feature = "services")]
//! # fn main() {
//! #     let dir = tempfile::tempdir().unwrap();
//! #     let runtime = tokio::runtime::Runtime::new().unwrap();
//! #     runtime.block_on(example::ask(dir.path())).unwrap();
//! # }
//! # #[cfg(not(feature = "services"))]
//! # fn main() {}
//! ```
//!
//! `examples/added_method.rs` adds a method of the host application's own, behind the same guard.
//!
//! # Limits and errors
//!
//! A request fails with a [`HostError`], whose [`ErrorKind`] says whose it is to mend and whose text never holds addresses
//! or passwords. Every service bounds what it takes, keeps and answers; docs/hostapi.md in the repository has all methods
//! with their arguments, permissions and limits, and a test compares it with the code. A request ends after 30 s, or at the
//! deadline of the call it belongs to.
//!
//! Without the feature `services` (a default one) only the interface between supervisor and host API is
//! left, with [`BasicHostApi`].
#![forbid(unsafe_code)]
// Copied whenever it is boxed or spawned, whatever of it is ever used.
#![warn(clippy::large_futures)]

mod api;
mod basic;
mod caller;
mod chain;
mod error;
mod record;
mod request_id;

#[cfg(feature = "services")]
pub mod cache;
#[cfg(feature = "services")]
pub mod config;
#[cfg(feature = "services")]
pub mod db;
#[cfg(feature = "services")]
pub mod email;
#[cfg(feature = "services")]
pub mod events;
#[cfg(feature = "services")]
pub mod files;
#[cfg(feature = "services")]
mod guard;
#[cfg(feature = "services")]
mod host;
#[cfg(feature = "services")]
pub mod http;
#[cfg(feature = "services")]
pub mod i18n;
#[cfg(feature = "services")]
pub mod kv;
#[cfg(feature = "services")]
mod method;
#[cfg(feature = "services")]
pub mod policy;
#[cfg(feature = "services")]
pub mod secure;
#[cfg(feature = "services")]
pub mod store;
#[cfg(feature = "services")]
mod wire;

pub use api::{Admission, CallPlugins, HostApi, OutgoingCall, PluginLimits};
pub use basic::BasicHostApi;
pub use caller::{CallInfo, Caller, Level, PluginProcess, Shape, Told, User, UserRole};
pub use chain::{Chain, DEPTH_MAX};
pub use error::{ErrorKind, HostError};
pub use record::LOG_BYTES_MAX;
pub use request_id::{REQUEST_ID_BYTES_MAX, RequestId};

#[cfg(feature = "services")]
pub use guard::{Granted, REQUEST_TIMEOUT};
#[cfg(feature = "services")]
pub use host::{Host, Method, Services};
#[cfg(feature = "services")]
pub use method::{MethodSpec, NOT_PROVIDED, Needs, methods};
