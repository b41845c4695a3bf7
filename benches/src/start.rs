//! What the sandbox costs: from a plugin's start to its being initialised, and per call, plain and
//! confined in turn.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use gk_hostapi::BasicHostApi;
use gk_runtime::{
    CallContext, KeeperProgram, Launcher, PluginState, PluginStatus, ProcessLauncher, Report,
    Runtime, RuntimeConfig, SandboxConfig,
};

use crate::measure::median;

/// Calls per round.
const CALLS: usize = 2000;

#[derive(Default)]
struct Figures {
    start_ms: Vec<f64>,
    call_us: Vec<f64>,
}

/// Starts the one plugin of a directory so many times each way, and prints the medians as a JSON
/// line.
pub(crate) async fn run(plugins_dir: PathBuf, rounds: usize) -> Result<()> {
    // A directory each: with a sandbox it belongs to the plugin's own user.
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let plain_config = RuntimeConfig::new(&plugins_dir, one.path(), "0.1.0");
    let mut confined_config = RuntimeConfig::new(&plugins_dir, other.path(), "0.1.0");
    confined_config.sandbox = Some(SandboxConfig::new(KeeperProgram::this()?));
    // All rounds share one launcher: a host starts its keeper once.
    let plain_launcher = Arc::new(ProcessLauncher::new(&plain_config)?);
    let confined_launcher = Arc::new(ProcessLauncher::new(&confined_config)?);
    let (mut plain, mut confined) = (Figures::default(), Figures::default());
    let mut report = None;
    for _ in 0..rounds {
        round(&plain_config, &plain_launcher, &mut plain).await?;
        report = round(&confined_config, &confined_launcher, &mut confined).await?;
    }
    let report = report.context("no round was run")?;
    let line = serde_json::json!({
        "rounds": rounds,
        "sandbox": report.to_string(),
        "start_ms": { "plain": median(plain.start_ms), "confined": median(confined.start_ms) },
        "call_us": { "plain": median(plain.call_us), "confined": median(confined.call_us) },
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

async fn round(
    config: &RuntimeConfig,
    launcher: &Arc<ProcessLauncher>,
    figures: &mut Figures,
) -> Result<Option<Report>> {
    let launcher = Arc::clone(launcher) as Arc<dyn Launcher>;
    let runtime = Runtime::start_with(config.clone(), launcher, Arc::new(BasicHostApi::new()))?;
    runtime.settled().await;
    let snapshot = runtime.snapshot();
    let status = snapshot.plugins.first().context("there is no plugin")?;
    figures.start_ms.push(start_time(status)?);
    let name = status.name.as_str().to_owned();
    for _ in 0..CALLS {
        let begun = Instant::now();
        let args = Bytes::from_static(b"{\"a\":1}");
        runtime
            .call(&name, "echo", args, CallContext::new())
            .await?;
        figures.call_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let report = status.sandbox.as_deref().cloned();
    runtime.shutdown().await;
    Ok(report)
}

/// When a plugin's start began, and since when it runs.
pub(crate) fn began_and_ran(status: &PluginStatus) -> Result<(SystemTime, SystemTime)> {
    let times = status.started_at.zip(status.running_since);
    times.with_context(|| match &status.state {
        PluginState::Failed { error } => error.clone(),
        state => format!("the plugin is {state}"),
    })
}

/// The duration of a plugin's start, in milliseconds.
pub(crate) fn start_time(status: &PluginStatus) -> Result<f64> {
    let (began, ran) = began_and_ran(status)?;
    Ok(ran.duration_since(began)?.as_secs_f64() * 1e3)
}
