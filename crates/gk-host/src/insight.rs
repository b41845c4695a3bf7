//! State of the host for the admin API: its settings, the resource use of its plugins, and checks
//! of the parts it depends on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use gk_api::{Check, CheckState};
use gk_cluster::{Member, SharedFiles};
use gk_gateway::{About, Insight, Seen};
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use gk_runtime::Runtime;
use gk_services::Services;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::sandbox::SandboxLevel;
use crate::telemetry::Metrics;

/// Maximum time for the answer to one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the host shares with others.
struct Sharing {
    member: Arc<Member>,
    files: SharedFiles,
}

/// The host's view of itself.
pub(crate) struct Own {
    started_at: SystemTime,
    pub(crate) config: Config,
    pub(crate) runtime: Runtime,
    pub(crate) services: Arc<Services>,
    pub(crate) metrics: Metrics,
    cluster: Option<Sharing>,
}

#[async_trait]
impl Insight for Own {
    fn about(&self) -> About {
        let absolute = |path: &std::path::Path| {
            let absolute = std::path::absolute(path);
            absolute
                .unwrap_or_else(|_| path.to_owned())
                .to_string_lossy()
                .into_owned()
        };
        let mut about = About::default();
        about.name = self.config.cluster.name();
        about.started_at = Some(self.started_at);
        about.plugins_dir = absolute(&self.config.plugins_dir);
        about.data_dir = absolute(&self.config.data_dir);
        about.hot_reload = self.config.hot_reload();
        about.signatures_required = self.runtime.signatures().is_required();
        about.sandbox_level = self.config.sandbox_level.to_string();
        about
    }

    fn figures(&self) -> Seen {
        self.metrics.figures(&self.runtime.snapshot())
    }

    async fn doctor(&self) -> Vec<Check> {
        let (sandbox, mut network, mut shared) =
            tokio::join!(self.sandbox(), self.network(), self.shared());
        let mut checks = vec![self.plugins()];
        checks.extend(sandbox);
        checks.append(&mut network);
        checks.append(&mut shared);
        checks.push(self.signatures());
        checks.push(self.secrets());
        checks
    }
}

fn check(
    name: impl Into<String>,
    state: CheckState,
    detail: impl Into<String>,
    remedy: &str,
) -> Check {
    Check {
        name: name.into(),
        state,
        detail: detail.into(),
        remedy: remedy.to_owned(),
    }
}

impl Own {
    /// The view of a host that starts now.
    pub(crate) fn new(
        config: &Config,
        runtime: &Runtime,
        services: &Arc<Services>,
        (metrics, cluster): (Metrics, Option<&Cluster>),
    ) -> Self {
        Self {
            cluster: cluster.map(|cluster| Sharing {
                member: Arc::clone(&cluster.member),
                files: cluster.files.clone(),
            }),
            started_at: SystemTime::now(),
            config: config.clone(),
            runtime: runtime.clone(),
            services: Arc::clone(services),
            metrics,
        }
    }

    /// Checks the states of all plugins.
    fn plugins(&self) -> Check {
        let snapshot = self.runtime.snapshot();
        let failed = snapshot
            .plugins
            .iter()
            .filter(|status| status.state.error().is_some());
        let failed: Vec<_> = failed.map(|status| status.name.as_str()).collect();
        let running = snapshot
            .plugins
            .iter()
            .filter(|status| status.is_running())
            .count();
        match (failed.len(), snapshot.problems.len()) {
            (0, 0) => check("plugins", CheckState::Ok, format!("{running} running"), ""),
            (0, problems) => check(
                "plugins",
                CheckState::Warning,
                format!(
                    "{running} running; {problems} directories hold no plugin that can be loaded"
                ),
                "gk ps names them, each with what is wrong",
            ),
            (_, _) => check(
                "plugins",
                CheckState::Failed,
                format!("{running} running; failed: {}", failed.join(", ")),
                "gk info NAME says why, gk logs NAME what it printed",
            ),
        }
    }

    /// Checks the layers of the sandbox, by creating one as plugins get it.
    async fn sandbox(&self) -> Vec<Check> {
        let name = "sandbox";
        if self.config.sandbox_level == SandboxLevel::Off {
            let remedy =
                "remove sandbox_level from the configuration, unless all plugins are your own";
            let detail = "sandbox_level is off: a plugin can do whatever the host's user can";
            return vec![check(name, CheckState::Warning, detail, remedy)];
        }
        let config = self.config.sandbox.to_config(SandboxLevel::BestEffort);
        let probed = tokio::task::spawn_blocking(move || {
            let config = config?.ok_or_else(|| anyhow::anyhow!("there is none"))?;
            Ok::<_, anyhow::Error>(config.probe()?)
        });
        let report = match probed.await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                let remedy = "gk-host doctor, run as the host's user, says what this machine does not let it do";
                return vec![check(
                    name,
                    CheckState::Failed,
                    format!("{error:#}"),
                    remedy,
                )];
            }
            Err(error) => {
                return vec![check(
                    name,
                    CheckState::Failed,
                    error.to_string(),
                    "please report this",
                )];
            }
        };
        let required = self.config.sandbox_level == SandboxLevel::Required;
        let layers = report.layers.iter().map(|entry| {
            let state = match (entry.holds(), required) {
                (true, _) if entry.state.as_str() == "off" => CheckState::Off,
                (true, _) => CheckState::Ok,
                (false, false) => CheckState::Warning,
                (false, true) => CheckState::Failed,
            };
            let detail = match entry.detail.is_empty() {
                true => entry.layer.purpose(),
                false => &entry.detail,
            };
            let remedy = entry.remedy().map(|remedy| remedy.to_string());
            check(
                format!("sandbox: {}", entry.layer.name()),
                state,
                detail,
                &remedy.unwrap_or_default(),
            )
        });
        layers.collect()
    }

    /// Checks the services that are reached over a network, all at once: databases, cache, mail.
    async fn network(&self) -> Vec<Check> {
        let services = &self.services;
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let mut checks = Vec::new();
        let names = services.db.names();
        let default = services.db.has_default().then_some(None);
        let databases = default
            .into_iter()
            .chain(names.iter().map(|name| Some(name.as_str())));
        for name in databases {
            let label =
                name.map_or_else(|| "database".to_owned(), |name| format!("database: {name}"));
            let answered = services.db.check(name, deadline).await;
            let remedy = "check that the server runs, and the URL in database_url or [databases]";
            checks.push(answered_as(label, answered, "answers", remedy));
        }
        let is_in_memory = self.config.cache_url.is_none() && self.cluster.is_none();
        checks.push(match is_in_memory {
            true => check("cache", CheckState::Ok, "in memory", ""),
            false => {
                let answered = match PluginName::new("gk-doctor") {
                    Ok(nobody) => services
                        .cache
                        .get(&nobody, "doctor", deadline)
                        .await
                        .map(drop),
                    Err(_) => Ok(()),
                };
                let remedy = "check that Redis runs, and cache_url or cluster.redis_url";
                answered_as("cache".to_owned(), answered, "Redis answers", remedy)
            }
        });
        checks.push(match &services.mail {
            None => check(
                "mail",
                CheckState::Off,
                "no mail server is configured: plugins cannot send mail",
                "set host and from in [mail] if they should",
            ),
            Some(mailer) => {
                let answered = mailer.check(deadline).await;
                let remedy =
                    "check [mail]: host, port, tls, user, and the password in GK_MAIL_PASSWORD";
                answered_as("mail".to_owned(), answered, "the server takes mail", remedy)
            }
        });
        checks
    }

    /// Checks what this host shares with others.
    async fn shared(&self) -> Vec<Check> {
        let Some(Sharing { member, files }) = &self.cluster else {
            return Vec::new();
        };
        let (hosts, files) = tokio::join!(member.hosts(), files.check());
        let database = match hosts {
            Ok(hosts) => {
                let (fresh, behind) = (
                    hosts.iter().filter(|host| host.is_fresh()),
                    hosts
                        .iter()
                        .filter(|host| host.is_fresh() && !host.is_current),
                );
                let behind: Vec<_> = behind.map(|host| host.name.as_str()).collect();
                match behind.is_empty() {
                    true => {
                        let detail = format!("answers; {} hosts share it", fresh.count());
                        check("shared database", CheckState::Ok, detail, "")
                    }
                    false => check(
                        "shared database",
                        CheckState::Warning,
                        format!("not every change is in force on {}", behind.join(", ")),
                        "if it lasts, look at the logs of these hosts",
                    ),
                }
            }
            Err(error) => check(
                "shared database",
                CheckState::Failed,
                error.to_string(),
                "check that PostgreSQL runs, and cluster.database_url",
            ),
        };
        let remedy = "check the object store, cluster.files_url and the AWS_ variables";
        let files = answered_as(
            "shared files".to_owned(),
            files,
            "the store answers",
            remedy,
        );
        vec![database, files]
    }

    /// Checks the trust settings for plugins' signatures.
    fn signatures(&self) -> Check {
        let name = "signatures";
        let signatures = self.runtime.signatures();
        let trusted = match signatures.trusted_keys() {
            Ok(trusted) => trusted,
            Err(error) => {
                let remedy = "mend the file of revocations: until then no plugin starts";
                return check(name, CheckState::Failed, error.to_string(), remedy);
            }
        };
        match (signatures.is_required(), trusted) {
            (true, 0) => check(
                name,
                CheckState::Failed,
                "signatures are required, and no key is trusted: no plugin starts",
                "name a public key in [signatures] trusted_keys, and send the host SIGHUP",
            ),
            (true, trusted) => check(
                name,
                CheckState::Ok,
                format!("required; {trusted} keys are trusted"),
                "",
            ),
            (false, trusted) => check(
                name,
                CheckState::Warning,
                format!("not required: unsigned plugins run; {trusted} keys are trusted"),
                "set required = true in [signatures] where you install plugins of others",
            ),
        }
    }

    /// Checks if plugins can store secrets.
    fn secrets(&self) -> Check {
        let name = "secret keys";
        match self.services.secure.has_keys() {
            true => check(name, CheckState::Ok, "secrets are encrypted", ""),
            false => check(
                name,
                CheckState::Off,
                "no key is configured: plugins cannot keep secrets",
                "openssl rand -hex 32 makes a key; name its file (mode 0600) in secure_keys_file",
            ),
        }
    }
}

fn answered_as(name: String, answered: Result<(), HostError>, well: &str, remedy: &str) -> Check {
    match answered {
        Ok(()) => check(name, CheckState::Ok, well, ""),
        Err(error) => check(name, CheckState::Failed, error.to_string(), remedy),
    }
}
