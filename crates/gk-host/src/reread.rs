//! Changes while the host runs: on SIGHUP the host reads the configuration again, and scans the
//! plugins directory.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use gk_api::Change;
use gk_gateway::audit::Audit;
use gk_gateway::server::ServerLimits;
use gk_runtime::{MemoryBudget, Runtime};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, ServeArgs};
use crate::telemetry::{self, LogFilter};
use crate::{service, signatures};

/// Keys whose changes take effect without a restart of the host.
const CHANGEABLE: &[&str] = &["log", "limits", "signatures", "plugin_config"];

/// Actor in the audit log: a signal does not carry its sender.
const ACTOR: &str = "SIGHUP";

/// Target of the change in the audit log.
const TARGET: &str = "configuration";

/// Meaning of SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Read the configuration again and scan the plugins.
    Reread,
    /// The terminal that the host was started at is gone: stop.
    Stop,
    /// Ignored: the host was started so, as nohup does.
    Ignore,
}

/// Returns the meaning of SIGHUP to this process. At a terminal the signal is sent when that goes
/// away.
pub(crate) fn hangup() -> Hangup {
    if is_ignored(SignalKind::hangup()) {
        return Hangup::Ignore;
    }
    let at_terminal = std::io::stdin().is_terminal()
        || std::io::stdout().is_terminal()
        || std::io::stderr().is_terminal();
    match at_terminal {
        true => Hangup::Stop,
        false => Hangup::Reread,
    }
}

/// Returns true if a signal is ignored, which a process inherits. False if the system does not
/// tell.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw_value() - 1) & 1 == 1)
}

/// Returns a stream of SIGHUPs if they mean to read the configuration again. From now on the signal
/// does not end the process.
pub(crate) fn hangups() -> Result<Option<Signal>> {
    match hangup() {
        Hangup::Reread => {
            let hangups = signal(SignalKind::hangup());
            hangups.map(Some).context("signals cannot be received")
        }
        Hangup::Stop | Hangup::Ignore => Ok(None),
    }
}

/// Parts of the host that accept changes while it runs.
pub(crate) struct Changing {
    pub(crate) runtime: Runtime,
    pub(crate) memory: MemoryBudget,
    pub(crate) limits: watch::Sender<ServerLimits>,
    pub(crate) audit: Audit,
}

/// State from the start of the host that a new configuration is compared with.
pub(crate) struct Startup {
    pub(crate) args: ServeArgs,
    pub(crate) config: Config,
    pub(crate) filter: LogFilter,
}

impl Startup {
    /// Rereads on each SIGHUP. Runs until the host ends.
    pub(crate) async fn follow(self, changing: Changing, hangups: Option<Signal>) {
        let Some(mut hangups) = hangups else {
            return;
        };
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: everything is looked at again");
            service::reloading();
            let (after, error) = match self.again(&changing).await {
                Ok(differences) => (differences, None),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(
                        error,
                        "the configuration cannot be taken over; nothing of it was changed"
                    );
                    (Value::Null, Some(error))
                }
            };
            let change = Change::Reconfigure;
            let noted = changing.audit.note(ACTOR, change, TARGET, after, error);
            noted.await;
            if let Err(error) = changing.runtime.look_now().await {
                tracing::error!(%error, "the plugins cannot be looked for; those that run go on");
            }
            service::ready();
        }
    }

    /// Applies the keys that can change, and returns the keys that differ from the host's start.
    /// The whole configuration is checked before any change.
    async fn again(&self, changing: &Changing) -> Result<Value> {
        let config = Config::load(&self.args)?;
        let filter = telemetry::filter(&config)?;
        let signatures = signatures::open(&config.signatures)?;
        let differences = self.config.differences(&config);
        let (now, later): (Vec<_>, Vec<_>) = differences
            .into_iter()
            .partition(|key| CHANGEABLE.contains(&&**key));
        self.filter.reload(filter)?;
        let front = config.front();
        changing.memory.set_limit(front.counted_bytes());
        changing.limits.send_replace(front.server_limits());
        let runtime = &changing.runtime;
        // The files named by the configuration may have changed even if the configuration did not.
        runtime.set_signatures(signatures).await;
        runtime.set_settings(config.plugin_config.clone());
        if !now.is_empty() {
            tracing::info!(
                keys = now.join(", "),
                "the configuration differs in these keys from the host's start, and they are in force"
            );
        }
        if !later.is_empty() {
            tracing::warn!(
                keys = later.join(", "),
                "the configuration differs in these keys, which take effect at the host's next start"
            );
        }
        Ok(serde_json::json!({ "in_force": now, "at_next_start": later }))
    }
}
