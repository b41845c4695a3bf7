//! Jobs of plugins: what the plugins that run have declared, and the calls of their functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use gk_cluster::{Member, SharedJobs};
use gk_hostapi::{RequestId, TraceContext, spans};
use gk_jobs::schedule::time_zone;
use gk_jobs::{
    Clock, JobStore, Jobs, JobsConfig, Presence, RunAnswer, RunCall, RunFailure, Runner,
    SystemClock,
};
use gk_manifest::PluginName;
use gk_runtime::{CallContext, CallError, PluginState, Runtime, Snapshot};
use gk_services::store::{Store, StoredJobs};
use tokio::task::JoinHandle;

use crate::config::Config;

/// Minimum time between two looks at what plugins have declared.
const CHANGES_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum time until the ends of runs are stored whose plugins were stopped.
const LAST_ENDS_TIMEOUT: Duration = Duration::from_secs(2);

/// The jobs of a host that runs.
pub(crate) struct RunningJobs {
    pub(crate) jobs: Jobs,
    following: JoinHandle<()>,
    running: JoinHandle<()>,
    sweeping: Option<JoinHandle<()>>,
}

/// Opens the jobs of this store, or those that hosts share, and starts them.
pub(crate) async fn start(
    config: &Config,
    store: Store,
    member: Option<&Arc<Member>>,
    runtime: &Runtime,
) -> Result<RunningJobs> {
    let mut sweeping = None;
    let store: Arc<dyn JobStore> = match member {
        Some(member) => {
            member.appear().await.context("cluster.database_url")?;
            let shared = Arc::new(SharedJobs::new(member));
            let swept = Arc::clone(&shared);
            sweeping = Some(tokio::spawn(async move {
                swept.sweep(|| SystemClock.now()).await;
            }));
            shared
        }
        None => {
            let stored = StoredJobs::open(store, SystemClock.now()).await;
            Arc::new(stored.context("the stored jobs cannot be read")?)
        }
    };
    let runner = PluginRunner {
        runtime: runtime.clone(),
    };
    let (section, zone) = (&config.jobs, config.jobs.zone(&config.app.timezone));
    let mut parts = JobsConfig::new(config.cluster.name(), store, Arc::new(runner));
    parts.zone = time_zone(zone).context("jobs.timezone")?;
    parts.running_max = section.max_running;
    let jobs = Jobs::new(parts);
    Ok(RunningJobs {
        following: tokio::spawn(follow(jobs.clone(), runtime.clone())),
        running: tokio::spawn({
            let jobs = jobs.clone();
            async move { jobs.run().await }
        }),
        sweeping,
        jobs,
    })
}

impl RunningJobs {
    /// Waits for the runs under way, at most `limit`, after [`Jobs::stop`].
    pub(crate) async fn drain(&mut self, limit: Duration) {
        if tokio::time::timeout(limit, &mut self.running)
            .await
            .is_err()
        {
            tracing::warn!("jobs were still under way after {limit:?}; their calls end");
        }
    }

    /// Waits until the ends of runs are stored whose plugins were stopped.
    pub(crate) async fn last_ends(&mut self) {
        if !self.running.is_finished() {
            let _ = tokio::time::timeout(LAST_ENDS_TIMEOUT, &mut self.running).await;
        }
    }

    /// Ends the loops.
    pub(crate) fn end(self) {
        let tasks = [self.following, self.running];
        for task in tasks.into_iter().chain(self.sweeping) {
            task.abort();
        }
    }
}

/// Has the jobs look at the plugins whenever these change.
async fn follow(jobs: Jobs, runtime: Runtime) {
    let mut changed = runtime.changed();
    // The sender lives as long as the runtime.
    while changed.changed().await.is_ok() {
        jobs.plugins_changed();
        // Many plugins change at once when the host starts.
        tokio::time::sleep(CHANGES_INTERVAL).await;
    }
}

fn present(snapshot: &Snapshot) -> BTreeMap<PluginName, Presence> {
    let present = snapshot.plugins.iter().filter_map(|status| {
        let presence = match status.state {
            PluginState::Disabled | PluginState::Blocked => return None,
            // Most plugins have no job, and need not be looked at.
            PluginState::Running => {
                let registration = status.registration.as_ref();
                let with_jobs = registration.filter(|known| !known.jobs.is_empty());
                Presence::Running(Arc::clone(with_jobs?))
            }
            // Also after a failure: what waits is run once the plugin is mended.
            _ => Presence::Coming,
        };
        Some((status.name.clone(), presence))
    });
    present.collect()
}

/// Calls functions of plugins as jobs.
#[derive(Debug)]
struct PluginRunner {
    runtime: Runtime,
}

#[async_trait]
impl Runner for PluginRunner {
    fn present(&self) -> BTreeMap<PluginName, Presence> {
        present(&self.runtime.snapshot())
    }

    async fn run(&self, call: RunCall) -> RunAnswer {
        let plugin = call.key.plugin.as_str();
        let mut context = CallContext::new()
            .with_job_timeout(call.timeout)
            .with_trace(spans::root().unwrap_or_else(|| TraceContext::begin(false)));
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_ok() {
            context.request_id = Some(RequestId::of(u128::from_ne_bytes(random)));
        }
        let status = self.runtime.came_up(plugin, None).await;
        let Some(target) = status.and_then(|status| status.target()) else {
            return RunAnswer {
                generation: None,
                outcome: Err(failure(&self.runtime.not_called(plugin))),
            };
        };
        let outcome = self
            .runtime
            .call_on(&target, &call.handler, call.args, context);
        RunAnswer {
            outcome: outcome.await.map_err(|error| failure(&error)),
            generation: Some(target.generation()),
        }
    }
}

fn failure(error: &CallError) -> RunFailure {
    let text = error.to_string();
    match error {
        CallError::Timeout {
            function, after, ..
        } => RunFailure::TimedOut(format!(
            "{function} did not answer within {after:?}; a longer timeout of the job, and job_timeout of the policy if it has one, give it more"
        )),
        CallError::UnknownPlugin { .. } | CallError::Refused { .. } => RunFailure::Gone(text),
        CallError::NotRunning { .. }
        | CallError::Busy { .. }
        | CallError::Moved { .. }
        | CallError::NoMemory { .. } => RunFailure::NotSent(text),
        _ => RunFailure::Failed(text),
    }
}
