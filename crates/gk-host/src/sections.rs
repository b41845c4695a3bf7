//! Sections of the configuration for the services of the host API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use gk_jobs::RUNNING_MAX;
use gk_jobs::schedule::time_zone;
use gk_manifest::GoDuration;
use gk_runtime::HealthConfig;
use gk_services::email::{MailConfig, MailCredentials, MailTls, Mailer};
use serde::{Deserialize, Serialize};

use crate::sources::process_variable;

/// A value that debug output does not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub(crate) String);

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Hidden(text.to_owned()))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Section `[health]`: interval, timeout and number of the health probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HealthSection {
    interval: GoDuration,
    timeout: GoDuration,
    misses: u32,
}

impl Default for HealthSection {
    fn default() -> Self {
        let defaults = HealthConfig::default();
        HealthSection {
            interval: defaults.interval.try_into().unwrap_or_default(),
            timeout: defaults.timeout.try_into().unwrap_or_default(),
            misses: defaults.misses,
        }
    }
}

impl HealthSection {
    /// Checks the values. An error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        let config = self.to_config();
        if config.interval < Duration::from_millis(100) {
            bail!(
                "health.interval is {}; it must be 100ms or more",
                self.interval
            );
        }
        if config.timeout.is_zero() || config.timeout > config.interval {
            bail!(
                "health.timeout is {}; it must be more than 0s, and no more than health.interval",
                self.timeout
            );
        }
        if config.misses == 0 {
            bail!("health.misses is 0; it must be 1 or more");
        }
        Ok(())
    }

    /// Returns the runtime's configuration.
    pub(crate) fn to_config(&self) -> HealthConfig {
        let mut config = HealthConfig::default();
        config.interval = self.interval.to_std().unwrap_or_default();
        config.timeout = self.timeout.to_std().unwrap_or_default();
        config.misses = self.misses;
        config
    }
}

/// Value of `jobs.timezone` for the zone of `[app]`.
const ZONE_OF_APP: &str = "app";

/// Maximum of `jobs.max_running`.
const MAX_RUNNING_MAX: usize = 10_000;

/// Section `[jobs]`: the time zone of schedules, and how many jobs run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JobsSection {
    timezone: String,
    pub(crate) max_running: usize,
}

impl Default for JobsSection {
    fn default() -> Self {
        JobsSection {
            timezone: "UTC".to_owned(),
            max_running: RUNNING_MAX,
        }
    }
}

impl JobsSection {
    /// Checks the values. An error names the key.
    pub(crate) fn check(&self, app_zone: &str) -> Result<()> {
        if let Err(error) = time_zone(self.zone(app_zone)) {
            bail!("jobs.timezone: {error}; {}", error.remedy());
        }
        if !(1..=MAX_RUNNING_MAX).contains(&self.max_running) {
            bail!(
                "jobs.max_running is {}; it must be 1 to {MAX_RUNNING_MAX}",
                self.max_running
            );
        }
        Ok(())
    }

    /// Name of the time zone of schedules that name none.
    pub(crate) fn zone<'a>(&'a self, app_zone: &'a str) -> &'a str {
        match self.timezone == ZONE_OF_APP {
            true => app_zone,
            false => &self.timezone,
        }
    }
}

/// Minimum of `cluster.lost_after`: three signs of life, of which each may be late.
const LOST_AFTER_MIN: Duration = Duration::from_secs(3);

/// Section `[cluster]`: where the state is that this host shares with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterSection {
    database_url: Option<Hidden>,
    redis_url: Option<Hidden>,
    files_url: Option<Hidden>,
    /// Name of this host; the machine's without it.
    name: Option<String>,
    lost_after: Option<GoDuration>,
}

/// Where the shared state is.
#[derive(Debug, Clone)]
pub(crate) struct SharedUrls {
    pub(crate) database: Hidden,
    pub(crate) redis: Hidden,
    pub(crate) files: Hidden,
}

impl ClusterSection {
    /// Checks the values. An error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        let urls = [
            ("database_url", &self.database_url),
            ("redis_url", &self.redis_url),
            ("files_url", &self.files_url),
        ];
        let of = |wanted: bool| {
            let some = urls.iter().filter(|(_, url)| url.is_some() == wanted);
            some.map(|(key, _)| *key).collect::<Vec<_>>()
        };
        if let (Some(set), missing) = (of(true).first(), of(false))
            && !missing.is_empty()
        {
            bail!(
                "cluster.{set} is set, and {} not: half of the state would be each host's own; set database_url, redis_url and files_url, or none of them",
                missing.join(" and ")
            );
        }
        if self.lost_after() < LOST_AFTER_MIN {
            bail!(
                "cluster.lost_after is {:?}; it must be {LOST_AFTER_MIN:?} or more",
                self.lost_after()
            );
        }
        if let Some(name) = &self.name
            && (name.is_empty() || name.len() > 128 || !name.bytes().all(|b| b.is_ascii_graphic()))
        {
            bail!("cluster.name is {name:?}; it must have 1 to 128 printable ASCII characters");
        }
        Ok(())
    }

    /// Returns true if this host shares its state with others.
    pub(crate) fn is_set(&self) -> bool {
        self.database_url.is_some()
    }

    /// Returns where the shared state is; `None` if this host shares it with none.
    pub(crate) fn urls(&self) -> Option<SharedUrls> {
        Some(SharedUrls {
            database: self.database_url.clone()?,
            redis: self.redis_url.clone()?,
            files: self.files_url.clone()?,
        })
    }

    /// Name of this host; the machine's without one.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let system = rustix::system::uname();
            system.nodename().to_string_lossy().into_owned()
        })
    }

    /// Time without a sign of life after which a host's runs of jobs are lost.
    pub(crate) fn lost_after(&self) -> Duration {
        let set = self
            .lost_after
            .map(|time| time.to_std().unwrap_or_default());
        set.unwrap_or(gk_cluster::member::LOST_AFTER)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpSection {
    /// Networks that requests may go to although they are private, such as `10.1.2.0/24`.
    pub(crate) allow_networks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailSection {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: Tls,
    user: Option<String>,
    password: Option<Hidden>,
    from: String,
    timeout: Option<GoDuration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tls {
    Off,
    #[default]
    Starttls,
    Implicit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AppSection {
    pub(crate) name: String,
    pub(crate) timezone: String,
    pub(crate) env: String,
}

impl Default for AppSection {
    fn default() -> Self {
        AppSection {
            name: "GoatKit".into(),
            timezone: "UTC".into(),
            env: "production".into(),
        }
    }
}

/// Returns true if a policy can grant tables of a database of this name.
fn is_database_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// Checks the sections without opening a service. An error begins with its key.
pub(crate) fn check<'a>(
    databases: impl Iterator<Item = &'a String>,
    http: &HttpSection,
    mail: Option<&MailSection>,
) -> Result<()> {
    for name in databases {
        if !is_database_name(name) {
            bail!(
                "databases: {name:?} is no name that a policy can grant as \"@name:table\"; use letters, digits, - and _"
            );
        }
    }
    for network in &http.allow_networks {
        network
            .parse::<ipnet::IpNet>()
            .with_context(|| no_network(network))?;
    }
    let Some(mail) = mail else {
        return Ok(());
    };
    if let Some(timeout) = mail.timeout
        && timeout.to_std().unwrap_or_default().is_zero()
    {
        bail!("mail.timeout is {timeout}; it must be more than 0s");
    }
    mailer(mail).map(drop)
}

pub(crate) fn no_network(network: &str) -> String {
    format!("http.allow_networks: {network:?} is no network such as 10.1.2.0/24")
}

pub(crate) fn mailer(section: &MailSection) -> Result<Mailer> {
    let password = section.password.clone().or_else(|| {
        let password = process_variable("GK_MAIL_PASSWORD")?;
        password.into_string().ok().map(Hidden)
    });
    let credentials = match (&section.user, password) {
        (Some(user), Some(Hidden(password))) => Some(MailCredentials {
            user: user.clone(),
            password: password.into(),
        }),
        (None, None) => None,
        (Some(_), None) => {
            bail!("mail.user is set, but no password; set mail.password or GK_MAIL_PASSWORD")
        }
        (None, Some(_)) => bail!("mail.password is set, but no user; set mail.user"),
    };
    let (tls, port) = match section.tls {
        Tls::Off => (MailTls::Off, 25),
        Tls::Starttls => (MailTls::StartTls, 587),
        Tls::Implicit => (MailTls::Implicit, 465),
    };
    let config = MailConfig {
        host: section.host.clone(),
        port: section.port.unwrap_or(port),
        tls,
        credentials,
        from: section.from.clone(),
        timeout: section
            .timeout
            .and_then(GoDuration::to_std)
            .unwrap_or(Duration::from_secs(10)),
        extra_roots_pem: Vec::new(),
    };
    Mailer::new(&config).context("mail")
}
