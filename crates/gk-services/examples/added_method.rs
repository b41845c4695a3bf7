//! A host application that provides a method of its own, behind the same guard as all others.
//!
//! `cargo run -p gk-services --example added_method` asks it as two plugins would.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::policy::{Policies, Policy};
use gk_hostapi::{
    CallInfo, Caller, Granted, Host, HostApi, HostError, LogLevel, Method, MethodSpec,
    PluginProcess,
};
use gk_manifest::{Access, PermissionKind, PluginName};
use gk_services::cache::{Cache, CacheConfig};
use gk_services::kv::{Kv, KvQuota};
use gk_services::store::Store;
use serde_json::{Map, Value, json};

/// `list_ticket_states`, one of the methods that a host without tickets does not provide.
#[derive(Debug)]
struct ListTicketStates;

#[async_trait]
impl Method for ListTicketStates {
    fn spec(&self) -> MethodSpec {
        let read = Some(Access::Read);
        let denied = "ticket read access not granted";
        MethodSpec::needing("list_ticket_states", PermissionKind::Ticket, read, denied)
    }

    async fn call(&self, _: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
        let states =
            json!({ "states": [{ "id": 1, "name": "open" }, { "id": 2, "name": "closed" }] });
        Ok(Bytes::from(states.to_string()))
    }
}

/// What a supervisor knows of a plugin's process; here there is none.
#[derive(Debug)]
struct NoProcess;

impl PluginProcess for NoProcess {
    fn log(&self, _: LogLevel, message: &str, _: &Map<String, Value>, _: Option<&CallInfo>) {
        println!("log: {message}");
    }

    fn running_calls(&self) -> Vec<CallInfo> {
        Vec::new()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(&dir.path().join("hostapi.db"))?;
    let mut host = Host::new(Arc::new(Policies::new(store.clone(), false)));
    // Services are installed one by one, or all together with `gk_services::Services`.
    host.install(Arc::new(Cache::memory(CacheConfig::default())))?;
    host.install(Arc::new(Kv::new(store, KvQuota::default())))?;
    host.add(Arc::new(ListTicketStates))?;

    let approved = br#"{"status":"approved","permissions":[{"type":"ticket","access":"read"}]}"#;
    let trusted = PluginName::new("trusted")?;
    host.policies()
        .set(&trusted, Policy::from_json(approved)?)
        .await?;
    for plugin in [trusted, PluginName::new("unknown")?] {
        let caller = Caller::new(plugin.clone(), 1, Arc::new(NoProcess));
        match host
            .call(&caller, "list_ticket_states", Bytes::from_static(b"{}"))
            .await
        {
            Ok(answer) => println!("{plugin}: {}", String::from_utf8_lossy(&answer)),
            Err(error) => println!("{plugin}: {error}"),
        }
    }
    Ok(())
}
