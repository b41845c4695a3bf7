//! Host and plugin end against each other, over a socket pair.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::Registration;
use gk_protocol::host::{
    self, ConnectOptions, FunctionError, HostApiHandler, HostRequest, PluginConnection,
};
use gk_protocol::plugin::{self, Call, HostApiClient, PluginHandler};
use gk_protocol::{Handshake, RpcError, SdkGeneration};
use tokio::sync::{Mutex, Notify};

/// More than the budget of a host has.
const LARGE_BYTES: usize = 2 << 20;

#[derive(Default)]
struct Plugin {
    host: Mutex<Option<HostApiClient>>,
    release: Notify,
    entered: Notify,
}

#[async_trait]
impl PluginHandler for Plugin {
    async fn register(&self) -> Result<Registration, String> {
        Ok(Registration {
            name: "test".into(),
            version: "1.0.0".into(),
            ..Registration::default()
        })
    }

    async fn init(
        &self,
        config: BTreeMap<String, String>,
        host: Option<HostApiClient>,
    ) -> Result<(), String> {
        assert_eq!(config.get("host_version").map(String::as_str), Some("1"));
        *self.host.lock().await = host;
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Bytes, String> {
        match call.function.as_str() {
            "echo" => Ok(call.args),
            "fail" => Err("it failed".into()),
            "hang" => {
                self.entered.notify_one();
                self.release.notified().await;
                Ok(Bytes::from_static(b"late"))
            }
            "large" => Ok(vec![b'7'; LARGE_BYTES].into()),
            "tell" | "wish" => {
                let host = self.host.lock().await.clone().ok_or("no host")?;
                let args = match call.function.as_str() {
                    "tell" => vec![b'7'; LARGE_BYTES].into(),
                    _ => Bytes::new(),
                };
                let answer = host.call(&call.function, args, "").await;
                answer.map_err(|error| error.to_string())
            }
            "ask" => {
                let host = self.host.lock().await.clone().ok_or("no host")?;
                host.call("who", call.args, &call.call_token)
                    .await
                    .map_err(|error| error.to_string())
            }
            other => Err(format!("unknown function: {other}")),
        }
    }

    async fn shutdown(&self) -> Result<(), String> {
        Err("cannot tidy up".into())
    }
}

struct Host;

#[async_trait]
impl HostApiHandler for Host {
    async fn call(&self, request: HostRequest) -> Result<Bytes, String> {
        assert_eq!(request.generation, SdkGeneration::G3);
        match request.method.as_str() {
            "who" => Ok(format!("{:?}", request.call_token).into()),
            "tell" => Ok(Bytes::from_static(b"heard")),
            "wish" => Ok(vec![b'7'; LARGE_BYTES].into()),
            other => Err(format!("unknown host API method: {other}")),
        }
    }
}

type Pair = (
    PluginConnection,
    gk_wire::plugin::Connection,
    Arc<Plugin>,
    host::PluginOutput,
);

async fn pair() -> Pair {
    pair_with(ConnectOptions::default()).await
}

async fn pair_with(options: ConnectOptions) -> Pair {
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let handler = Arc::new(Plugin::default());
    let serving = plugin::server(handler.clone()).serve_connection(far);
    let handshake = Handshake::parse(b"1|1|unix|/nowhere|netrpc|").unwrap();
    let (connection, output) = host::connect(near, &handshake, Arc::new(Host), options)
        .await
        .unwrap();
    (connection, serving, handler, output)
}

fn config() -> BTreeMap<String, String> {
    BTreeMap::from([("host_version".to_owned(), "1".to_owned())])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_session() {
    let (connection, serving, _, _output) = pair().await;
    connection.ping().await.unwrap();
    assert_eq!(connection.register().await.unwrap().name, "test");
    connection.init(&config()).await.unwrap();
    assert_eq!(
        connection.call("echo", "[1]".into(), "").await.unwrap(),
        "[1]"
    );
    assert_eq!(connection.call("echo", Bytes::new(), "").await.unwrap(), "");
    assert!(
        matches!(connection.call("fail", Bytes::new(), "").await, Err(FunctionError::Application(text)) if text == "it failed")
    );
    assert_eq!(
        connection.call("ask", Bytes::new(), "token").await.unwrap(),
        "Some(\"token\")"
    );
    assert_eq!(
        connection.call("ask", Bytes::new(), "").await.unwrap(),
        "None"
    );
    assert!(
        matches!(connection.shutdown().await, Err(RpcError::Remote(text)) if text == "cannot tidy up")
    );
    connection.quit().await.unwrap();
    serving.closed().await;
    assert!(matches!(
        connection.call("echo", Bytes::new(), "").await,
        Err(FunctionError::Rpc(RpcError::Closed(_)))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_every_size_and_many_callers() {
    let (connection, _serving, _, _output) = pair().await;
    connection.init(&config()).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for caller in 0..64_usize {
        let connection = connection.clone();
        calls.spawn(async move {
            for round in 0..20_usize {
                let size = [
                    0,
                    1,
                    127,
                    128,
                    4095,
                    8192,
                    65_536,
                    262_144,
                    1 << 20,
                    3_000_000,
                ][(caller + round) % 10];
                let args: Bytes = (0..size)
                    .map(|at| u8::try_from((at + caller) % 251).unwrap())
                    .collect::<Vec<_>>()
                    .into();
                assert_eq!(
                    connection.call("echo", args.clone(), "t").await.unwrap(),
                    args
                );
            }
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_reply_is_thrown_away_and_others_are_not_disturbed() {
    let (connection, _serving, handler, _output) = pair().await;
    connection.init(&config()).await.unwrap();
    let hanging = connection.call("hang", Bytes::new(), "");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), hanging)
            .await
            .is_err()
    );
    handler.entered.notified().await;
    assert_eq!(connection.call("echo", "1".into(), "").await.unwrap(), "1");
    handler.release.notify_one();
    assert_eq!(connection.call("echo", "2".into(), "").await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_fails_every_call_under_way() {
    let (connection, serving, handler, _output) = pair().await;
    connection.init(&config()).await.unwrap();
    let hanging = tokio::spawn({
        let connection = connection.clone();
        async move { connection.call("hang", Bytes::new(), "").await }
    });
    handler.entered.notified().await;
    serving.close();
    assert!(matches!(
        hanging.await.unwrap(),
        Err(FunctionError::Rpc(RpcError::Closed(_)))
    ));
    assert_eq!(connection.closed().await, "the peer closed the connection");
}

/// A result, a request and an answer that the host's budget has no room for fail alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_budget_has_no_room_for_fails_alone() {
    let memory = gk_wire::MemoryBudget::new(1 << 20);
    let mut options = ConnectOptions::default();
    options.limits.memory = Some(memory.clone());
    let (connection, _serving, _, _output) = pair_with(options).await;
    connection.init(&config()).await.unwrap();
    for round in 0..3 {
        let refused = connection.call("large", Bytes::new(), "").await;
        assert!(
            matches!(refused, Err(FunctionError::Rpc(RpcError::NoMemory(bytes))) if bytes >= LARGE_BYTES),
            "{refused:?}"
        );
        for function in ["tell", "wish"] {
            let refused = connection.call(function, Bytes::new(), "").await;
            let Err(FunctionError::Application(text)) = refused else {
                panic!("{function} in round {round}: {refused:?}");
            };
            assert!(text.contains("try again later"), "{function}: {text}");
        }
        let small = connection
            .call("echo", vec![b'x'; 100_000].into(), "")
            .await;
        assert_eq!(small.unwrap().len(), 100_000);
    }
    // With room for them they come through, and count until they are gone.
    drop(connection);
    let memory = gk_wire::MemoryBudget::new(16 << 20);
    let mut options = ConnectOptions::default();
    options.limits.memory = Some(memory.clone());
    let (connection, _serving, _, _output) = pair_with(options).await;
    connection.init(&config()).await.unwrap();
    let result = connection.call("large", Bytes::new(), "").await.unwrap();
    assert!(result.len() == LARGE_BYTES && memory.used() >= LARGE_BYTES);
    for function in ["tell", "wish"] {
        connection.call(function, Bytes::new(), "").await.unwrap();
    }
    drop(result);
    let all_back = async {
        while memory.used() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_back)
        .await
        .unwrap();
}
