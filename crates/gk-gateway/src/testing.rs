//! A gateway without plugins, and databases that hosts share, for tests.

use std::sync::Arc;

use gk_runtime::testing::InMemory;

use crate::tokens::Tokens;
use crate::{Gateway, GatewayConfig};

pub(crate) async fn gateway() -> Gateway {
    let runtime = InMemory::new().start().unwrap();
    runtime.settled().await;
    let dir = tempfile::tempdir().unwrap();
    let tokens = Arc::new(Tokens::open(&dir.path().join("host.db")).await.unwrap());
    let config = GatewayConfig::new(runtime, tokens, "1.2.3", Arc::new(String::new));
    Gateway::new(config)
}

/// A schema of its own in the PostgreSQL that tests share.
pub(crate) async fn shared_database(name: &str) -> gk_cluster::Database {
    let url = gk_servers::shared_postgres().unwrap();
    let number = getrandom::u64().unwrap();
    let url = format!("{url}?schema=gateway_{name}_{number:x}");
    gk_cluster::Database::open(&url).await.unwrap()
}
