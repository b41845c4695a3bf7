//! The host API as the configuration wants it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gk_hostapi::cache::{Cache, CacheConfig};
use gk_hostapi::config::{AppSettings, Config as Settings};
use gk_hostapi::db::{DatabaseConfig, Databases, DatabasesConfig};
use gk_hostapi::email::{MailConfig, MailCredentials, MailTls, Mailer};
use gk_hostapi::events::Events;
use gk_hostapi::files::Files;
use gk_hostapi::http::{HttpClient, HttpConfig};
use gk_hostapi::i18n::Catalogue;
use gk_hostapi::kv::{Kv, KvQuota};
use gk_hostapi::policy::Policies;
use gk_hostapi::secure::{SecureConfig, SecureKeys};
use gk_hostapi::store::Store;
use gk_hostapi::{Host, Services};
use gk_manifest::GoDuration;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The store of policies, secrets, keys and values, in the data directory.
const STORE_FILE: &str = "hostapi.db";
/// The plugins' database where no other is configured, in the data directory.
const DATABASE_FILE: &str = "plugins.db";
/// The plugins' files, in the data directory.
const FILES_DIR: &str = "files";
/// Upstream's variable with the keys that secrets are encrypted with.
const SECURE_KEY_VARIABLE: &str = "GOATFLOW_SECURE_KEY";

/// A value that is not shown.
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HttpSection {
    /// Networks that requests may go to although they are private, as `10.1.2.0/24`.
    allow_networks: Vec<String>,
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
    name: String,
    timezone: String,
    env: String,
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

/// Opens everything. What is only reached over a network is not connected to yet.
pub(crate) async fn open(config: &Config) -> Result<Arc<Host>> {
    let data_dir = &config.data_dir;
    let store = Store::open(&data_dir.join(STORE_FILE)).with_context(|| {
        format!(
            "the store {} cannot be opened",
            data_dir.join(STORE_FILE).display()
        )
    })?;
    if config.trust_declared_permissions {
        tracing::warn!(
            "plugins without a stored policy are granted everything they declare (trust_declared_permissions)"
        );
    }
    let policies = Policies::new(store.clone(), config.trust_declared_permissions);
    policies
        .load()
        .await
        .context("the stored policies cannot be read")?;
    let files =
        Files::open(&data_dir.join(FILES_DIR)).context("the directory of the plugins' files")?;
    let cache = CacheConfig::default();
    let services = Services {
        db: databases(config, data_dir)?,
        cache: match &config.cache_url {
            Some(Hidden(url)) => Cache::redis(url, cache).context("cache_url")?,
            None => Cache::memory(cache),
        },
        http: http(&config.http)?,
        mail: config.mail.as_ref().map(mailer).transpose()?,
        config: settings(config),
        secure: SecureConfig::new(store.clone(), secure_keys(config)?),
        i18n: Catalogue::new(),
        files,
        kv: Kv::new(store, KvQuota::default()),
        events: Arc::new(Events::new()),
    };
    Ok(Arc::new(Host::new(services, Arc::new(policies))))
}

/// Whether a policy can grant tables of a database of this name.
fn is_database_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// What can be said of the sections without opening anything. An error begins with its key.
pub(crate) fn check(config: &Config) -> Result<()> {
    for name in config.databases.keys() {
        if !is_database_name(name) {
            bail!(
                "databases: {name:?} is no name that a policy can grant as \"@name:table\"; use letters, digits, - and _"
            );
        }
    }
    for network in &config.http.allow_networks {
        network
            .parse::<ipnet::IpNet>()
            .with_context(|| no_network(network))?;
    }
    let Some(mail) = &config.mail else {
        return Ok(());
    };
    if let Some(timeout) = mail.timeout
        && timeout.to_std().unwrap_or_default().is_zero()
    {
        bail!("mail.timeout is {timeout}; it must be more than 0s");
    }
    mailer(mail).map(drop)
}

fn no_network(network: &str) -> String {
    format!("http.allow_networks: {network:?} is no network such as 10.1.2.0/24")
}

fn databases(config: &Config, data_dir: &Path) -> Result<Databases> {
    let default = match &config.database_url {
        Some(Hidden(url)) => url.clone(),
        None => format!("sqlite:{}", data_dir.join(DATABASE_FILE).display()),
    };
    let mut databases = DatabasesConfig::default();
    databases.default = Some(DatabaseConfig::new(default));
    databases.named = config
        .databases
        .iter()
        .map(|(name, Hidden(url))| (name.clone(), DatabaseConfig::new(url.clone())))
        .collect();
    Databases::open(&databases).context("the databases (database_url, [databases])")
}

fn http(section: &HttpSection) -> Result<HttpClient> {
    let mut config = HttpConfig::default();
    for network in &section.allow_networks {
        let parsed = network.parse().with_context(|| no_network(network))?;
        config.allow_networks.push(parsed);
    }
    HttpClient::new(config).context("[http]")
}

fn mailer(section: &MailSection) -> Result<Mailer> {
    let password = section
        .password
        .clone()
        .or_else(|| std::env::var("GK_MAIL_PASSWORD").ok().map(Hidden));
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

fn settings(config: &Config) -> Settings {
    let app = AppSettings {
        name: config.app.name.clone(),
        timezone: config.app.timezone.clone(),
        env: config.app.env.clone(),
    };
    Settings::new(app, config.settings.clone())
}

/// The file beats the variable; without either, secrets are refused with a text that says what to do.
fn secure_keys(config: &Config) -> Result<Option<SecureKeys>> {
    if let Some(file) = &config.secure_keys_file {
        let keys = SecureKeys::from_file(file);
        return keys
            .map(Some)
            .with_context(|| format!("secure_keys_file {}", file.display()));
    }
    match std::env::var(SECURE_KEY_VARIABLE) {
        Ok(text) => SecureKeys::parse(&text)
            .map(Some)
            .context(SECURE_KEY_VARIABLE),
        Err(_) => Ok(None),
    }
}
