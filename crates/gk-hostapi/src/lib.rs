//! The host API of GoatKit plugins: the interface, the policies, and the guard that no request
//! gets around.
//!
//! A supervisor passes a plugin's requests to a [`HostApi`], with a [`Caller`] that says who asks.
//! The one of this crate is [`Host`]: it looks the method up, and the guard decides by the method's
//! [`MethodSpec`] alone (policy, permission, rate, queue). A method is reached only with the
//! [`Granted`] that the guard hands out, which holds the scopes that the method has to enforce.
//!
//! The crate has no service but `log` and calls from plugin to plugin: databases, cache, HTTP and
//! so on are in gk-services, and a host application adds its own ([`Service`], [`Method`]). It
//! starts no process, opens no file and no connection, and speaks no protocol: bytes of JSON in,
//! bytes of JSON out. Policies are stored where a [`policy::PolicyStore`] puts them.
//!
//! | Module | What it is for |
//! |---|---|
//! | [`policy`] | what a plugin may do: stored policies, the safe default, rates, queues |
//! | [`scope`] | which hosts, recipients and keys of the configuration a permission names |
//! | [`json`] | arguments and results of methods |
//!
//! # Examples
//!
//! A host with one method, which one plugin may call and another one may not:
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use bytes::Bytes;
//! use gk_hostapi::policy::{MemoryPolicyStore, Policies, Policy};
//! use gk_hostapi::{
//!     CallInfo, Caller, ErrorKind, Granted, Host, HostApi, HostError, LogLevel, Method, MethodSpec,
//!     PluginProcess,
//! };
//! use gk_manifest::{Access, PermissionKind, PluginName};
//! use serde_json::{Map, Value};
//!
//! #[derive(Debug)]
//! struct ListTicketStates;
//!
//! #[async_trait]
//! impl Method for ListTicketStates {
//!     fn spec(&self) -> MethodSpec {
//!         let (kind, read) = (PermissionKind::Ticket, Some(Access::Read));
//!         MethodSpec::needing("list_ticket_states", kind, read, "ticket read access not granted")
//!     }
//!
//!     async fn call(&self, _: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
//!         Ok(Bytes::from_static(br#"["open","closed"]"#))
//!     }
//! }
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
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut host = Host::new(Arc::new(Policies::new(MemoryPolicyStore::default(), false)));
//! host.add(Arc::new(ListTicketStates))?;
//! let trusted = PluginName::new("trusted")?;
//! let policy = br#"{"status":"approved","permissions":[{"type":"ticket","access":"read"}]}"#;
//! host.policies().set(&trusted, Policy::from_json(policy)?).await?;
//!
//! let caller = Caller::new(trusted, 1, Arc::new(Process));
//! let states = host.call(&caller, "list_ticket_states", Bytes::new()).await?;
//! assert_eq!(&states[..], br#"["open","closed"]"#);
//! let caller = Caller::new(PluginName::new("unknown")?, 1, Arc::new(Process));
//! let refused = host.call(&caller, "list_ticket_states", Bytes::new()).await.unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::Denied);
//! # Ok(())
//! # }
//! ```
//!
//! # Limits and errors
//!
//! A request fails with a [`HostError`], whose [`ErrorKind`] says who can mend it and whose text
//! never holds addresses or passwords. A request ends after 30 s, or at the deadline of the call it
//! belongs to, and is dropped when the operator blocks the plugin meanwhile.
#![forbid(unsafe_code)]
// A future is copied whenever it is boxed or spawned, as large as its largest state.
#![warn(clippy::large_futures)]

mod api;
mod basic;
mod caller;
mod chain;
mod counts;
mod error;
mod guard;
mod host;
pub mod json;
mod level;
mod method;
mod plugin_call;
pub mod policy;
mod rate;
mod record;
mod request_id;
pub mod scope;
pub mod spans;
mod spec;
mod trace;

pub use api::{Admission, CallPlugins, HostApi, OutgoingCall, PluginLimits};
pub use basic::BasicHostApi;
pub use caller::{CallInfo, Caller, EnvelopeValue, PluginProcess, Shape, User, UserRole};
pub use chain::{Chain, DEPTH_MAX};
pub use error::{ErrorKind, HostError};
pub use guard::{Granted, REQUEST_TIMEOUT};
pub use host::{Host, own_methods};
pub use level::LogLevel;
pub use method::{Answer, Method, Service, ServiceMethod};
pub use rate::RateLimiter;
pub use record::LOG_BYTES_MAX;
pub use request_id::{REQUEST_ID_BYTES_MAX, RequestId};
pub use spec::{MethodSpec, NOT_PROVIDED, Needs};
pub use trace::{
    HexId, TRACEPARENT_BYTES, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX, TraceContext,
    TraceParent,
};
