//! A small plugin, spoken to by the tests of real processes and by hand.
//!
//! Functions: `echo` answers its arguments, `hang` never answers, `pid` says who it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::Registration;
use gk_protocol::plugin::{Call, HostApiClient, PluginHandler, server};

struct Goat;

#[async_trait]
impl PluginHandler for Goat {
    async fn register(&self) -> Result<Registration, String> {
        Ok(Registration {
            name: "goat".into(),
            version: "1.0.0".into(),
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

    async fn call(&self, call: Call) -> Result<Bytes, String> {
        match call.function.as_str() {
            "echo" => Ok(call.args),
            "hang" => std::future::pending().await,
            "pid" => Ok(std::process::id().to_string().into()),
            other => Err(format!("unknown function: {other}")),
        }
    }

    async fn shutdown(&self) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(server(Arc::new(Goat)).serve().await?)
}
