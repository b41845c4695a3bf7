//! The state that this host shares with others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use gk_cluster::member::HEARTBEAT;
use gk_cluster::{
    Database, Follower, Member, MemberConfig, Rates, Redis, SharedEvents, SharedFiles, Topic,
};
use gk_gateway::Gateway;
use gk_gateway::tokens::{TokenError, Tokens};
use gk_hostapi::{Host, HostError};
use gk_runtime::Runtime;
use gk_services::events::Events;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::sections::ClusterSection;

/// The shared state, before anything follows it.
pub(crate) struct Cluster {
    pub(crate) member: Arc<Member>,
    /// Plugins that an administrator has enabled or disabled.
    pub(crate) enabled: Arc<RwLock<BTreeMap<String, bool>>>,
    pub(crate) files: SharedFiles,
    /// Events, which go to all hosts.
    pub(crate) events: Arc<Events>,
    /// Rates, which all hosts keep together.
    pub(crate) rates: Arc<Rates>,
    bus: Arc<SharedEvents>,
}

/// Joins the hosts that share a state; `None` if this host shares it with none.
pub(crate) async fn join(section: &ClusterSection, version: &str) -> Result<Option<Cluster>> {
    let Some(urls) = section.urls() else {
        return Ok(None);
    };
    let database = Database::open(&urls.database.0).await;
    let database = database.context("cluster.database_url")?;
    let redis = Redis::new(&urls.redis.0).context("cluster.redis_url")?;
    let files = SharedFiles::new(&urls.files.0, text_variables(), database.clone());
    let files = files.context("cluster.files_url")?;
    let config = MemberConfig {
        name: section.name(),
        release: version.to_owned(),
        lost_after: section.lost_after(),
    };
    let member = Member::join(database.clone(), config).await;
    let member = member.context("cluster.database_url")?;
    let enabled = database.enabled_plugins().await;
    let enabled = enabled.context("cluster.database_url")?;
    let (redis, events) = (Arc::new(redis), Arc::new(Events::new()));
    // Before any plugin runs: what it publishes goes to all hosts from the beginning.
    let bus = SharedEvents::connect(Arc::clone(&redis), &events);
    tracing::info!(
        id = member.id(),
        name = member.name(),
        "this host shares its state"
    );
    Ok(Some(Cluster {
        member,
        enabled: Arc::new(RwLock::new(enabled)),
        files,
        events,
        rates: Arc::new(Rates::new(redis)),
        bus,
    }))
}

/// The variables of this process that are text.
fn text_variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

impl Cluster {
    /// Puts in force from now on what other hosts change.
    pub(crate) fn follow(
        self,
        (host_api, tokens): (Arc<Host>, Arc<Tokens>),
        runtime: &Runtime,
        gateway: &Gateway,
    ) -> Following {
        let follower = Shared {
            database: self.member.database().clone(),
            enabled: self.enabled,
            host_api,
            tokens,
            runtime: runtime.clone(),
            gateway: gateway.clone(),
        };
        let (member, files, rates) = (Arc::clone(&self.member), self.files, self.rates);
        let (bus, events) = (self.bus, self.events);
        let task = async move {
            tokio::join!(
                member.follow(&follower),
                count_hosts(&member, &rates),
                bus.follow(&events),
                files.sweep(),
            );
        };
        Following {
            member: self.member,
            task: tokio::spawn(task),
        }
    }
}

/// A host that puts in force what others change.
pub(crate) struct Following {
    member: Arc<Member>,
    task: JoinHandle<()>,
}

impl Following {
    /// Leaves the other hosts.
    pub(crate) async fn leave(self) {
        self.task.abort();
        // It may be in the middle of a sign of life.
        let _ = self.task.await;
        self.member.leave().await;
    }
}

/// Has the rates know how many hosts there are: while Redis cannot be reached, each has its part.
async fn count_hosts(member: &Member, rates: &Rates) {
    loop {
        if let Ok(hosts) = member.count_fresh().await {
            rates.set_hosts(hosts);
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// The parts of this host that follow the shared state.
struct Shared {
    database: Database,
    enabled: Arc<RwLock<BTreeMap<String, bool>>>,
    host_api: Arc<Host>,
    tokens: Arc<Tokens>,
    runtime: Runtime,
    gateway: Gateway,
}

#[async_trait]
impl Follower for Shared {
    async fn apply(&self, topic: Topic) -> Result<(), HostError> {
        match topic {
            Topic::Policies => {
                let changed = self.host_api.policies().refresh().await?;
                if !changed.is_empty() {
                    self.gateway.policies_changed(&changed);
                }
                Ok(())
            }
            Topic::Tokens => self.tokens.refresh().await.map_err(|error| match error {
                TokenError::Shared(error) => error,
                error => HostError::failed(error.to_string()),
            }),
            Topic::Plugins => self.enable().await,
        }
    }

    fn details(&self) -> Value {
        self.gateway.details()
    }
}

impl Shared {
    /// Enables and disables plugins as the shared state has them.
    async fn enable(&self) -> Result<(), HostError> {
        let enabled = self.database.enabled_plugins().await?;
        self.enabled.write().clone_from(&enabled);
        let mut failed = Ok(());
        for status in &self.runtime.snapshot().plugins {
            let name = status.name.as_str();
            let Some(wanted) = enabled
                .get(name)
                .filter(|wanted| **wanted != status.is_enabled)
            else {
                continue;
            };
            let order = self.runtime.enable(name, *wanted, Duration::ZERO).await;
            if let Err(error) = order {
                tracing::error!(plugin = name, %error, "the plugin is not as the other hosts have it");
                failed = Err(HostError::failed(error.to_string()));
            }
        }
        failed
    }
}
