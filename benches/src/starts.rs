//! Starts of a plugin in our host, confined and verified, from the start's begin to the plugin's
//! being initialised.

use std::collections::HashMap;
use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gk_hostapi::BasicHostApi;
use gk_runtime::{
    KeeperProgram, Launcher, Outcome, ProcessLauncher, Runtime, RuntimeConfig, SandboxConfig,
    Signatures,
};
use gk_sign::{PackageToSign, Requirement, SecretKey, TrustStore};
use serde_json::json;

use crate::measure::print;
use crate::start::{began_and_ran, start_time};

/// A host that is up but for its plugin: its keeper runs, nothing was started yet.
struct Prepared {
    config: RuntimeConfig,
    launcher: Arc<dyn Launcher>,
    /// Data directory of the host, and the signed package.
    _directory: tempfile::TempDir,
}

impl Prepared {
    fn new(line: &str) -> Result<Self> {
        let (kind, plugins_dir) = line
            .split_once(' ')
            .with_context(|| format!("{line:?} is neither \"unsigned DIR\" nor \"signed DIR\""))?;
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        let mut config = match kind {
            "unsigned" => RuntimeConfig::new(plugins_dir, data, "0.1.0"),
            "signed" => {
                let signed = directory.path().join("plugins");
                let signatures = sign(Path::new(plugins_dir), &signed)?;
                let mut config = RuntimeConfig::new(signed, data, "0.1.0");
                config.signatures = signatures;
                config
            }
            _ => bail!("{kind:?} is neither \"unsigned\" nor \"signed\""),
        };
        config.sandbox = Some(SandboxConfig::new(KeeperProgram::this()?));
        let launcher = Arc::new(ProcessLauncher::new(&config)?);
        Ok(Self {
            config,
            launcher,
            _directory: directory,
        })
    }

    /// Starts the plugin in a runtime that has not seen it, and again in the same; both in
    /// milliseconds.
    async fn start(&self, pause: Duration) -> Result<(f64, f64)> {
        tokio::time::sleep(pause).await;
        let launcher = Arc::clone(&self.launcher);
        let runtime =
            Runtime::start_with(self.config.clone(), launcher, Arc::new(BasicHostApi::new()))?;
        runtime.settled().await;
        let snapshot = runtime.snapshot();
        let first = snapshot.plugins.first().context("there is no plugin")?;
        let first_ms = start_time(first)?;
        tokio::time::sleep(pause).await;
        let name = first.name.as_str();
        let outcome = runtime.restart(name, Duration::from_secs(60)).await?;
        ensure!(
            matches!(outcome, Outcome::Serving(_)),
            "the plugin was not started again: {outcome:?}"
        );
        let snapshot = runtime.snapshot();
        let again = snapshot.plugins.first().context("the plugin is gone")?;
        ensure!(
            began_and_ran(again)? != began_and_ran(first)?,
            "the plugin that ran before runs on"
        );
        let again_ms = start_time(again)?;
        runtime.shutdown().await;
        Ok((first_ms, again_ms))
    }
}

/// Copies the packages of a directory and signs them; who is trusted then, and no other.
fn sign(plugins_dir: &Path, signed: &Path) -> Result<Signatures> {
    let key = SecretKey::generate()?;
    for package in fs::read_dir(plugins_dir)? {
        let package = package?;
        let place = signed.join(package.file_name());
        fs::create_dir_all(&place)?;
        for file in fs::read_dir(package.path())? {
            let file = file?;
            fs::copy(file.path(), place.join(file.file_name()))?;
        }
        let name = package.file_name().to_string_lossy().into_owned();
        let package = PackageToSign {
            directory: place,
            name: name.clone(),
            version: "1.0.0".into(),
            manifest: "plugin.yaml".into(),
            binary: name,
            date: std::time::SystemTime::now(),
        };
        gk_sign::sign_package(&key, &package)?;
    }
    let mut trust = TrustStore::new();
    trust.trust(key.public())?;
    Ok(Signatures::new(trust, Requirement::Enforce))
}

/// Answers each line of stdin with a JSON line.
pub(crate) async fn run() -> Result<()> {
    // Starts in quick succession share what the first of them waits for, as those of a host at work
    // do not.
    let pause = Duration::from_millis(250);
    let mut prepared = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !prepared.contains_key(&line) {
            let new = Prepared::new(&line)?;
            // The keeper's first start is no plugin's.
            new.start(pause).await?;
            prepared.insert(line.clone(), new);
        }
        let host = prepared.get(&line).context("prepared just now")?;
        let (first_ms, again_ms) = host.start(pause).await?;
        print(&json!({ "first_ms": first_ms, "again_ms": again_ms }))?;
    }
    Ok(())
}
