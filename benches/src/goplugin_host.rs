//! The crate `goplugin` as host of the Go plugin.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use gobwire::{Gob, Interface};
use goplugin::{Client, ClientConfig, Dispensed, HandshakeConfig, PluginCommand};
use serde_json::json;

use crate::measure::{self, measure, next_wanted, payload, report};

#[derive(Gob, Debug, Default)]
struct InitRequest {
    #[gob(name = "Config")]
    config: HashMap<String, String>,
    #[gob(name = "HostAPIID")]
    host_api_id: u32,
}

#[derive(Gob, Debug, Default)]
struct CallRequest {
    #[gob(name = "Function")]
    function: String,
    #[gob(name = "Args")]
    args: Vec<u8>,
}

#[derive(Gob, Debug, Default)]
struct CallResponse {
    #[gob(name = "Result")]
    result: Vec<u8>,
    #[gob(name = "Error")]
    error: String,
}

async fn start(plugin: &Path) -> Result<(Client, Dispensed)> {
    let mut config = ClientConfig::new(HandshakeConfig {
        protocol_version: 1,
        magic_cookie_key: "GOATKIT_PLUGIN".into(),
        magic_cookie_value: "goatkit-v1".into(),
    });
    config.cmd = Some(PluginCommand::new(plugin));
    let client = Client::start(config).await?;
    let dispensed = client.dispense("gkplugin").await?;
    let config = HashMap::from([("plugin_name".to_owned(), "bench".to_owned())]);
    let init = InitRequest {
        config,
        host_api_id: 0,
    };
    dispensed
        .client
        .call::<_, Option<Interface>>("Plugin.Init", &init)
        .await?;
    Ok((client, dispensed))
}

pub(crate) async fn run(plugin: PathBuf, instances: Option<usize>) -> Result<()> {
    if let Some(instances) = instances {
        let begin = Instant::now();
        let mut running = Vec::new();
        let mut spawn = Duration::ZERO;
        for _ in 0..instances {
            running.push(Box::pin(start(&plugin)).await?);
            if running.len() == 1 {
                spawn = begin.elapsed();
            }
        }
        measure::print(&json!({
            "spawn_ms": spawn.as_secs_f64() * 1e3,
            "rss_kb": measure::rss_kb()?,
        }))?;
        for (client, _) in running {
            client.kill().await;
        }
        return Ok(());
    }
    let begin = Instant::now();
    let (client, dispensed) = Box::pin(start(&plugin)).await?;
    let spawn = begin.elapsed();
    while let Some(wanted) = next_wanted()? {
        let args = payload(wanted.payload_bytes);
        let rpc = dispensed.client.clone();
        let begin = Instant::now();
        let times = measure(wanted, move || {
            let (rpc, args) = (rpc.clone(), args.clone());
            async move {
                let sent = args.len();
                let request = CallRequest {
                    function: "echo".to_owned(),
                    args,
                };
                let reply: CallResponse = rpc.call("Plugin.Call", &request).await?;
                if !reply.error.is_empty() || reply.result.len() != sent {
                    bail!("echo failed: {}", reply.error);
                }
                Ok(())
            }
        })
        .await?;
        report(wanted, times, begin.elapsed(), spawn)?;
    }
    client.kill().await;
    Ok(())
}
