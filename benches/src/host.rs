//! Our own runtime, with the plugin that stands in the directory.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use gk_runtime::{CallContext, Runtime, RuntimeConfig};

use crate::measure::{measure, next_wanted, payload, report};

/// As `gk-host serve` has them: half of the processors.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

pub(crate) async fn run(plugins_dir: PathBuf) -> Result<()> {
    let data = tempfile::tempdir()?;
    let start = Instant::now();
    let runtime = Runtime::start(RuntimeConfig::new(plugins_dir, data.path(), "0.0.0"))?;
    runtime.settled().await;
    let spawn = start.elapsed();
    let snapshot = runtime.snapshot();
    let status = snapshot
        .plugins
        .first()
        .context("no plugin in the directory")?;
    if !status.is_running() {
        bail!("{:?}", status.state);
    }
    let name = status.name.clone();
    while let Some(wanted) = next_wanted()? {
        let args = Bytes::from(payload(wanted.payload_bytes));
        let (runtime, name) = (runtime.clone(), name.clone());
        let start = Instant::now();
        let times = measure(wanted, move || {
            let (runtime, name, args) = (runtime.clone(), name.clone(), args.clone());
            async move {
                let result = runtime
                    .call(name.as_str(), "echo", args.clone(), CallContext::new())
                    .await?;
                if result.len() != args.len() {
                    bail!("echo of {} bytes has {}", args.len(), result.len())
                }
                Ok(())
            }
        })
        .await?;
        report(wanted, times, start.elapsed(), spawn)?;
    }
    runtime.shutdown().await;
    Ok(())
}
