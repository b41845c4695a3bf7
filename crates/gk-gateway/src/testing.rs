//! A gateway without plugins, for tests.

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
